"""The data folder, for commands that work on it beside a running service."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import click

import config
from piapi.errors import ConfigurationError, PiApiError
from piapi.storage.database import Database
from piapi.storage.marker import require_disk
from piapi.storage.reserve import Reserve


@contextlib.contextmanager
def opened_database(make: bool = True) -> Iterator[Database]:
    """The database of the data folder that the settings name; made where there is none yet, unless told otherwise."""
    with in_words():
        storage = config.load().storage
        folder = storage.path
        require_disk(folder, storage.on_own_disk)
        if not make and not (folder / "piapi.db").exists():
            raise click.ClickException(f"There is no database in {folder}.")
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise click.ClickException(f"{folder}: {error.strerror}") from error
        with as_owner_of(folder):
            database = Database(folder / "piapi.db", make_room=Reserve(folder).give_up)
            database.open(migrate=False)
            try:
                yield database
            finally:
                database.close()


@contextlib.contextmanager
def as_owner_of(folder: Path) -> Iterator[None]:
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
def in_words() -> Iterator[None]:
    """An error of ours ends the command with its sentence, not with a traceback."""
    try:
        yield
    except ConfigurationError as error:
        raise click.ClickException("\n".join(error.faults)) from error
    except PiApiError as error:
        raise click.ClickException(str(error)) from error
