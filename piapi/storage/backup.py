"""A backup: a tar with the settings, the database as it was at one instant, and, if wanted, the pictures.

Sessions and pairings stay behind: who restores a backup has to log in anew. The last member says that it is whole.
"""

from __future__ import annotations

import contextlib
import io
import json
import secrets
import sqlite3
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Protocol

from piapi.clock import format_time
from piapi.storage import schema
from piapi.storage.database import Database
from piapi.storage.files import PART, in_words
from piapi.storage.photos import name_of

FORMAT = 1
MANIFEST, SETTINGS, DATABASE, END = "backup.json", "piapi.toml", "piapi.db", "end"


#: How often the database is copied anew when files have gone that the copy knows.
_TRIES = 10


@dataclass(slots=True)
class Written:
    """What went into a backup."""

    photos: int = 0
    gone: int = 0
    """Photos without their file, or deleted meanwhile."""
    others: int = 0
    """Files of time-lapses."""
    others_gone: int = 0


@dataclass(frozen=True, slots=True)
class Member:
    """A file that goes into a backup."""

    name: str
    source: Path
    moment: float
    """Seconds since 1970."""


class Files(Protocol):
    """Files that belong to a database, and may go while a backup is written."""

    def stage(self, copy: Path, /) -> bool:
        """Secure what may go. False when something has gone since the database was copied."""

    def members(self, copy: Path, /) -> Iterator[Member]:
        """All that belong to that copy of the database."""

    def clear(self) -> None:
        """It is written: let go what was secured."""


def write_backup(
    target: IO[bytes],
    database: Database,
    settings: bytes | None,
    with_files: bool,
    version: str,
    now: datetime,
    others: Files,
) -> Written:
    """Write it, beside a running service; `with_files`: with photos and `others`. Raises StorageError."""
    folder = database.path.parent
    incoming = folder / "incoming"
    copy = incoming / f"backup-{secrets.token_hex(4)}.db{PART}"
    written = Written()
    try:
        incoming.mkdir(exist_ok=True)
        for _ in range(_TRIES):
            database.copy_to(copy)
            if not with_files or others.stage(copy):
                break
        _leave_out_logins(copy)
        with tarfile.open(fileobj=target, mode="w|", format=tarfile.PAX_FORMAT) as tar:
            manifest = {"piapi_backup": FORMAT, "version": version, "schema": schema.VERSION}
            manifest |= {"made_at": format_time(now), "files": with_files}
            _add(tar, MANIFEST, json.dumps(manifest).encode(), now)
            if settings is not None:
                _add(tar, SETTINGS, settings, now)
            with copy.open("rb") as file:
                _add_file(tar, DATABASE, file, now.timestamp())
            if with_files:
                _add_photos(tar, folder, copy, written)
                _add_others(tar, others.members(copy), written)
            _add(tar, END, b"", now)
    except OSError as error:
        raise in_words(error) from error
    finally:
        others.clear()
        copy.unlink(missing_ok=True)
    return written


def _leave_out_logins(copy: Path) -> None:
    with contextlib.closing(sqlite3.connect(copy, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")  # one file
        connection.execute("PRAGMA secure_delete = ON")
        for table in ("sessions", "pairings"):
            connection.execute(f"DELETE FROM {table}")  # noqa: S608 — a name of ours


def _add_photos(tar: tarfile.TarFile, folder: Path, copy: Path, written: Written) -> None:
    query = "SELECT id, format, captured_at FROM photos WHERE missing_since IS NULL ORDER BY seq"
    with contextlib.closing(sqlite3.connect(copy)) as connection:
        for id, format, captured_at in connection.execute(query):
            name = f"photos/{id[:2]}/{name_of(id, format)}"
            try:
                file = (folder / name).open("rb")
            except FileNotFoundError:
                written.gone += 1
                continue
            with file:
                _add_file(tar, name, file, captured_at / 1000)
            written.photos += 1


def _add_others(tar: tarfile.TarFile, members: Iterator[Member], written: Written) -> None:
    for member in members:
        try:
            file = member.source.open("rb")
        except FileNotFoundError:
            written.others_gone += 1
            continue
        with file:
            _add_file(tar, member.name, file, member.moment)
        written.others += 1


def _add(tar: tarfile.TarFile, name: str, data: bytes, at: datetime) -> None:
    _add_file(tar, name, io.BytesIO(data), at.timestamp())


def _add_file(tar: tarfile.TarFile, name: str, file: IO[bytes], at: float) -> None:
    member = tarfile.TarInfo(name)
    member.size = file.seek(0, io.SEEK_END)
    member.mtime = int(at)
    member.mode = 0o600
    file.seek(0)
    tar.addfile(member, file)
