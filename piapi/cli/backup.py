"""piapi backup, piapi restore: all that is kept, in one file."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import click

import config
from piapi import __version__
from piapi.cli.data import as_owner_of, in_words, opened_database
from piapi.clock import SystemClock
from piapi.services.timelapses.backup import TimelapseFiles
from piapi.storage.backup import write_backup
from piapi.storage.files import FolderLock, sync_folder
from piapi.storage.marker import require_disk
from piapi.storage.restore import Restored, restore_backup, settings_in


@click.command()
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
@click.option("--files", is_flag=True, help="With the pictures, and frames and films of time-lapses.")
@click.option("--force", is_flag=True, help="In the place of a file that is there already.")
def backup(file: Path, files: bool, force: bool) -> None:
    """Write settings and database (and with --files pictures and time-lapses) to FILE, a tar; - is standard output.

    It holds hashes of secrets, and passwords of cameras, so it is for its owner's eyes alone. Works beside a running
    service.
    """
    with in_words():
        found = config.load().file
    settings = found.read_bytes() if found else None
    with _target(file, force) as target, opened_database(make=False) as database:
        others = TimelapseFiles(database.path.parent)
        written = write_backup(target, database, settings, files, __version__, SystemClock().now(), others)
    of_lapses = f", {written.others} files of time-lapses" if written.others else ""
    click.echo(
        f"{written.photos} pictures{of_lapses}, the database{' and the settings' if found else ''} are in {file}.",
        err=True,
    )
    if written.gone:
        click.echo(f"{written.gone} photos have no file; their rows are in it.", err=True)
    if written.others_gone:
        click.echo(f"{written.others_gone} files of time-lapses are not there: see piapi fsck.", err=True)


@click.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
def restore(file: Path) -> None:
    """Put back a backup. Stop piapi before. What was there is kept, under another name."""
    now = SystemClock().now()
    with in_words(), file.open("rb") as archive:
        settings = settings_in(archive)
        place = config.find_file(os.environ) or Path("piapi.toml")
        storage = _storage(place, settings)
        require_disk(storage.path, storage.on_own_disk)
        storage.path.mkdir(parents=True, exist_ok=True)
        with as_owner_of(storage.path), _locked(storage.path):
            restored = restore_backup(archive, storage.path, storage.floor_bytes, now)
    for line in _told(restored, storage.path):
        click.echo(line)
    if settings is not None:
        click.echo(_restore_settings(place, settings, storage.path.stat()))


@contextlib.contextmanager
def _target(file: Path, force: bool) -> Iterator[IO[bytes]]:
    """The file, written whole or not at all, and readable by its owner alone."""
    if str(file) == "-":
        if sys.stdout.isatty():
            raise click.UsageError("this is a terminal; name a file, or send the output elsewhere")
        yield sys.stdout.buffer
        return
    if file.exists() and not force:
        raise click.ClickException(f"{file} is there already; --force puts the backup in its place")
    name = None
    try:
        descriptor, name = tempfile.mkstemp(prefix=f"{file.name}.", suffix=".part", dir=file.parent)
        with os.fdopen(descriptor, "wb") as target:
            yield target
            target.flush()
            os.fsync(target.fileno())
        Path(name).replace(file)
        name = None
        sync_folder(file.parent)
    except OSError as error:
        raise click.ClickException(f"{file} cannot be written: {error.strerror}") from error
    finally:
        if name is not None:
            Path(name).unlink(missing_ok=True)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    lock = FolderLock(folder)
    lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _storage(place: Path, settings: bytes | None) -> config.Storage:
    """By the settings that are there; else by those of the backup."""
    if place.exists():
        return config.load().storage
    elsewhere = {name: value for name, value in os.environ.items() if name != "PIAPI_CONFIG"}
    if settings is None:
        return config.load(elsewhere).storage
    with tempfile.NamedTemporaryFile(suffix=".toml") as file:
        file.write(settings)
        file.flush()
        return config.load(elsewhere, Path(file.name)).storage


def _told(restored: Restored, folder: Path) -> Iterator[str]:
    yield f"The database of {restored.made_at} is back in {folder}."
    if restored.kept:
        yield f"The one that was there is kept as {restored.kept.name}."
    yield f"{restored.put_back} pictures were put back, {restored.there_already} were there."
    if restored.different:
        yield f"{restored.different} pictures are there with other bytes, and were left as they are: see piapi fsck."
    if restored.damaged:
        yield f"{restored.damaged} of them are damaged in the backup: see piapi fsck."
    if restored.gone:
        yield f"{restored.gone} photos have no file here; they are hidden until it is put back."
    lapses = restored.timelapses
    if lapses.put_back or lapses.there_already:
        yield f"{lapses.put_back} files of time-lapses were put back, {lapses.there_already} were there."
    if lapses.different:
        yield f"{lapses.different} are there with other bytes, and were left as they are: see piapi fsck."
    if lapses.damaged:
        yield f"{lapses.damaged} of them are damaged in the backup: see piapi fsck."
    if lapses.gone:
        yield f"{lapses.gone} frames of time-lapses have no file here: see piapi fsck."


def _restore_settings(place: Path, settings: bytes, owner: os.stat_result) -> str:
    """Into their place where there are none; else beside those that are there. They are the data's owner's to read."""
    if place.exists():
        if place.read_bytes() == settings:
            return f"The settings are those of {place}."
        place = place.with_name(f"{place.name}.restored")
    place.parent.mkdir(parents=True, exist_ok=True)
    with open(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:  # noqa: PTH123 — a mode
        file.write(settings)
        if os.geteuid() == 0:
            os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
    return f"The settings of the backup are in {place}."
