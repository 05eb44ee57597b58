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
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO

from piapi.clock import format_time
from piapi.storage import schema
from piapi.storage.database import Database
from piapi.storage.files import PART, in_words
from piapi.storage.photos import name_of

FORMAT = 1
MANIFEST, SETTINGS, DATABASE, END = "backup.json", "piapi.toml", "piapi.db", "end"


@dataclass(slots=True)
class Written:
    """What went into a backup."""

    photos: int = 0
    gone: int = 0
    """Photos without their file, or deleted meanwhile."""


def write_backup(
    target: IO[bytes], database: Database, settings: bytes | None, with_files: bool, version: str, now: datetime
) -> Written:
    """Write it, beside a running service. Raises StorageError."""
    folder = database.path.parent
    incoming = folder / "incoming"
    copy = incoming / f"backup-{secrets.token_hex(4)}.db{PART}"
    written = Written()
    try:
        incoming.mkdir(exist_ok=True)
        database.copy_to(copy)
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
            _add(tar, END, b"", now)
    except OSError as error:
        raise in_words(error) from error
    finally:
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


def _add(tar: tarfile.TarFile, name: str, data: bytes, at: datetime) -> None:
    _add_file(tar, name, io.BytesIO(data), at.timestamp())


def _add_file(tar: tarfile.TarFile, name: str, file: IO[bytes], at: float) -> None:
    member = tarfile.TarInfo(name)
    member.size = file.seek(0, io.SEEK_END)
    member.mtime = int(at)
    member.mode = 0o600
    file.seek(0)
    tar.addfile(member, file)
