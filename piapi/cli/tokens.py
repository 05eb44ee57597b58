"""piapi tokens: keys for people and programs."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Any

import click

from piapi.cli.data import opened_database
from piapi.clock import SystemClock, format_time
from piapi.models import CONSOLE, ROLES, Token
from piapi.services.access import LONGEST_S, Access
from piapi.services.events import Events
from piapi.storage.tokens import TokenRows

_DURATION = re.compile(r"(\d{1,6})([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


class Duration(click.ParamType[int]):
    """A number and a unit, as `30d`; in seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Seconds."""
        match = _DURATION.fullmatch(value)
        if match is None or not int(match[1]):
            self.fail(f"{value} is no duration; write 12h, 30d or the like (s, m, h, d, w)", param, ctx)
        seconds = int(match[1]) * _SECONDS[match[2]]
        if seconds > LONGEST_S:
            self.fail("ten years are the longest; leave this out for a token without an end", param, ctx)
        return seconds


@click.group()
def tokens() -> None:
    """Keys for people and programs."""


@tokens.command("create")
@click.option("--name", required=True, help="Whose key it is, or what for.")
@click.option("--role", type=click.Choice(list(ROLES)), help="A bundle of scopes.")
@click.option("--scope", "scopes", multiple=True, help="<kind>:<name>:<verb>, such as camera:front:view.")
@click.option("--expires", type=Duration(), help="After this time it opens nothing, such as 30d. Never, unless given.")
def create_token(name: str, role: str | None, scopes: tuple[str, ...], expires: int | None) -> None:
    """Make a token and print it: the one time that it is shown."""
    if (role is None) == (not scopes):
        raise click.UsageError("name either --role or one --scope or more")
    with _access() as access:
        _, secret = access.create_token(name, scopes=scopes, role=role, expires_in_s=expires, by=CONSOLE)
    click.echo(secret)


@tokens.command("list")
def list_tokens() -> None:
    """List the tokens, newest first, without their secrets."""
    with _access() as access:
        before: tuple[int, str] | None = None
        while page := access.tokens(200, before):
            for token in page:
                click.echo(_line(token))
            before = access.key_of(page[-1])


@tokens.command("revoke")
@click.argument("id")
def revoke_token(id: str) -> None:
    """Make a token open nothing from now on; its open streams end within 5 s."""
    with _access() as access:
        access.revoke(id, by=CONSOLE)


@contextlib.contextmanager
def _access() -> Iterator[Access]:
    with opened_database() as database:
        yield Access(TokenRows(database), Events(database, SystemClock()), SystemClock())


def _line(token: Token) -> str:
    used = format_time(token.last_used_at) if token.last_used_at else "never used"
    ends = f"until {format_time(token.expires_at)}" if token.expires_at else "for ever"
    return f"{token.id}  {token.name}  {token.role or ' '.join(token.scopes)}  {ends}  {used}"
