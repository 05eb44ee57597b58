"""piapi …: the command line, a thin face on the services. It works on the data beside a running service."""

from __future__ import annotations

import json
from pathlib import Path

import click

import config
from piapi import __version__
from piapi.cli.backup import backup, restore
from piapi.cli.data import in_words
from piapi.cli.doors import doors
from piapi.cli.fsck import fsck
from piapi.cli.init import init
from piapi.cli.pair import pair
from piapi.cli.selftest import selftest
from piapi.cli.timelapse import timelapse
from piapi.cli.tokens import tokens
from piapi.cli.users import users


@click.group()
@click.version_option(__version__, prog_name="piapi")
def main() -> None:
    """A Raspberry Pi's camera, pins and doors over HTTP."""


main.add_command(init)
main.add_command(tokens)
main.add_command(pair)
main.add_command(doors)
main.add_command(timelapse)
main.add_command(users)
main.add_command(fsck)
main.add_command(selftest)
main.add_command(backup)
main.add_command(restore)


@main.command("check-config")
@click.argument("file", required=False, type=click.Path(path_type=Path))
def check_config(file: Path | None) -> None:
    """Name every fault of a configuration, with file, key and remedy."""
    with in_words():
        settings = config.load(file=file)
    for hint in config.hints(settings):
        click.echo(f"Look at {hint} (docs/wiring.md).", err=True)
    click.echo(f"{settings.file or 'No configuration, all defaults'}: sound.", err=True)


@main.command(hidden=True)
def openapi() -> None:
    """Print the OpenAPI document, as docs/openapi.json has it."""
    from piapi.app import create_app

    app = create_app(config.Settings())
    click.echo(json.dumps(app.extensions["piapi"].openapi(), indent=2, ensure_ascii=False))
