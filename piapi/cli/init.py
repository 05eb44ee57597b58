"""piapi init: a configuration for this machine."""

from __future__ import annotations

import os
from pathlib import Path

import click

import config
from piapi.cli.settings_file import compose
from piapi.hardware.attached import attached_cameras

MODE = 0o640
"""Of a new file: the address of a network camera may have a password in it."""


@click.command()
@click.option("--output", type=click.Path(path_type=Path), help="The file; else PIAPI_CONFIG, or piapi.toml here.")
@click.option("--force", is_flag=True, help="Overwrite a file that is there.")
@click.option("--examples-only", is_flag=True, help="Look for no hardware, as for another machine.")
def init(output: Path | None, force: bool, examples_only: bool) -> None:
    """Write a piapi.toml from the cameras and the board found here, with every setting in it as a comment."""
    file = (output or config.find_file(os.environ) or Path("piapi.toml")).resolve()
    if file.exists() and not force:
        raise click.ClickException(f"{file} is there already; --force overwrites it, --output names another.")
    cameras = [] if examples_only else attached_cameras()
    defaults = config.Settings(storage=config.Storage(path=Path(os.environ.get(config.HOME, "data"))))
    try:
        _put(file, compose(cameras, "" if examples_only else config.board(), defaults))
    except OSError as error:
        raise click.ClickException(f"{file} cannot be written: {error.strerror}.") from error
    click.echo(f"{file} is written. Cameras found: {len(cameras)}.", err=True)
    for camera in cameras:
        click.echo(f"  {camera.backend}  {camera.source}  {camera.model}", err=True)


def _put(file: Path, text: str) -> None:
    """Write it in one step; one that was there keeps its owner and its mode."""
    before = file.stat() if file.exists() else None
    part = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, MODE), "w", encoding="utf-8") as new:
            if before is not None:
                os.fchmod(new.fileno(), before.st_mode)
                os.fchown(new.fileno(), before.st_uid, before.st_gid)
            new.write(text)
            new.flush()
            os.fsync(new.fileno())
        part.replace(file)
    except OSError:
        part.unlink(missing_ok=True)
        raise
