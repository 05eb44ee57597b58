"""piapi …: the command line, a thin face on the services. It works on the data beside a running service."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

import config
from piapi import __version__
from piapi.clock import SystemClock, format_time
from piapi.errors import ConfigurationError, PiApiError
from piapi.models import ROLES, Token
from piapi.services.access import LONGEST_S, Access
from piapi.storage.database import Database
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
            self.fail("ten years are the longest; leave --expires out for a token without an end", param, ctx)
        return seconds


@click.group()
@click.version_option(__version__, prog_name="piapi")
def main() -> None:
    """A Raspberry Pi's camera, pins and doors over HTTP."""


@main.group()
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
        _, secret = access.create_token(name, scopes=scopes, role=role, expires_in_s=expires)
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
        access.revoke(id)


@main.command("check-config")
@click.argument("file", required=False, type=click.Path(path_type=Path))
def check_config(file: Path | None) -> None:
    """Name every fault of a configuration, with file, key and remedy."""
    with _in_words():
        settings = config.load(file=file)
    click.echo(f"{settings.file or 'No configuration, all defaults'}: sound.", err=True)


@main.command(hidden=True)
def openapi() -> None:
    """Print the OpenAPI document, as docs/openapi.json has it."""
    from piapi.app import create_app

    app = create_app(config.Settings())
    click.echo(json.dumps(app.extensions["piapi"].openapi(), indent=2, ensure_ascii=False))


@contextlib.contextmanager
def _access() -> Iterator[Access]:
    """Tokens of the data folder that the settings name."""
    with _in_words():
        folder = config.load().storage.path
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise click.ClickException(f"{folder}: {error.strerror}") from error
        with _as_owner_of(folder):
            database = Database(folder / "piapi.db")
            database.open(migrate=False)
            try:
                yield Access(TokenRows(database), SystemClock())
            finally:
                database.close()


@contextlib.contextmanager
def _as_owner_of(folder: Path) -> Iterator[None]:
    """As root, take on the data's owner: a file of root's in there would lock the service out."""
    owner = folder.stat()
    if os.geteuid() != 0 or owner.st_uid == 0:
        yield
        return
    os.setegid(owner.st_gid)
    os.seteuid(owner.st_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


@contextlib.contextmanager
def _in_words() -> Iterator[None]:
    try:
        yield
    except ConfigurationError as error:
        raise click.ClickException("\n".join(error.faults)) from error
    except PiApiError as error:
        raise click.ClickException(str(error)) from error


def _line(token: Token) -> str:
    used = format_time(token.last_used_at) if token.last_used_at else "never used"
    ends = f"until {format_time(token.expires_at)}" if token.expires_at else "for ever"
    return f"{token.id}  {token.name}  {token.role or ' '.join(token.scopes)}  {ends}  {used}"
