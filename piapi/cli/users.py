"""piapi users: people with a name and a password."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

import click

from piapi.cli.data import opened_database
from piapi.clock import SystemClock, format_time
from piapi.models import CONSOLE, ROLES
from piapi.services.attempts import Attempts
from piapi.services.events import Events
from piapi.services.passwords import Passwords
from piapi.services.users import Users
from piapi.storage.users import UserRows


@click.group()
def users() -> None:
    """People with a name and a password."""


@users.command("add")
@click.argument("name")
@click.option("--role", type=click.Choice(list(ROLES)), help="A bundle of scopes.")
@click.option("--scope", "scopes", multiple=True, help="<kind>:<name>:<verb>, such as camera:front:view.")
def add_user(name: str, role: str | None, scopes: tuple[str, ...]) -> None:
    """Make a user. The password is asked for, or is the first line of standard input."""
    if (role is None) == (not scopes):
        raise click.UsageError("name either --role or one --scope or more")
    with _users() as found:
        found.create(name, _password(), scopes=scopes, role=role, by=CONSOLE)


@users.command("passwd")
@click.argument("name")
def set_password(name: str) -> None:
    """Set another password; sessions and open streams of the user end within 5 s."""
    with _users() as found:
        user = found.user(name)
        found.change(user.name, password=_password(), by=CONSOLE)


@users.command("list")
def list_users() -> None:
    """List the users, newest first."""
    with _users() as found:
        before: tuple[int, str] | None = None
        while page := found.users(200, before):
            for user in page:
                since = f"password of {format_time(user.changed_at)}"
                click.echo(f"{user.name}  {user.role or ' '.join(user.scopes)}  {since}")
            before = found.key_of(page[-1])


@users.command("remove")
@click.argument("name")
def remove_user(name: str) -> None:
    """Remove a user; sessions and open streams end within 5 s."""
    with _users() as found:
        found.remove(name, by=CONSOLE)


@contextlib.contextmanager
def _users() -> Iterator[Users]:
    clock = SystemClock()
    with opened_database() as database:
        yield Users(UserRows(database), Passwords(clock), Attempts(clock), Events(database, clock), clock)


def _password() -> str:
    """Asked twice on a terminal, without echo. Never an argument: everybody on the machine could read it (ps)."""
    if sys.stdin.isatty():
        return str(click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))
    return sys.stdin.readline().rstrip("\r\n")
