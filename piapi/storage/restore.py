"""A backup put back: looked through from end to end first, and nothing that is there is lost.

What was the database is moved aside, pictures are put back beside those that are there, and a file that is there under
the same name with other bytes is left as it is.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import sqlite3
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from piapi.errors import NotABackup
from piapi.storage import schema
from piapi.storage.backup import DATABASE, END, FORMAT, MANIFEST, SETTINGS
from piapi.storage.database import Database
from piapi.storage.files import PART, PENDING, hash_in, hash_of, in_words, require_space, sync_folder, write_durably
from piapi.storage.inventory import PHOTO_NAME, Inventory
from piapi.storage.photos import name_of
from piapi.storage.restore_timelapses import Tally, TimelapseFiles, is_of_timelapse

#: More than a photo, or settings, can have: a forged size must not take all memory.
_MOST_BYTES = 500_000_000

_PHOTO = re.compile(rf"photos/([0-9a-f]{{2}})/({PHOTO_NAME.pattern})")


@dataclass(slots=True)
class Restored:
    """What a restore did."""

    made_at: str = ""
    put_back: int = 0
    there_already: int = 0
    different: int = 0
    """Files that are there with other bytes, and were left as they are."""
    damaged: int = 0
    """Put back as they were in the backup, which is not as they were taken."""
    gone: int = 0
    """Photos without a file."""
    timelapses: Tally = field(default_factory=Tally)
    """Their files."""
    kept: Path | None = None
    """Where the database is now that was there before."""


def settings_in(archive: IO[bytes]) -> bytes | None:
    """The settings file of a backup. Raises NotABackup."""
    for member, file in _members(archive):
        if member.name == SETTINGS:
            return file.read()
        if member.name == DATABASE:
            break
    return None


def restore_backup(archive: IO[bytes], folder: Path, floor_bytes: int, now: datetime) -> Restored:
    """Put back the database, and the pictures if they are in it. The caller holds the folder's lock.

    Raises NotABackup, DatabaseUnusable, StorageFull, StorageError; then the database is as it was.
    """
    incoming = folder / "incoming"
    new = incoming / f"restore.db{PART}"
    others, is_done = None, False
    try:
        incoming.mkdir(parents=True, exist_ok=True)
        _remove(new)
        others = TimelapseFiles(new, folder)
        restored = Restored(made_at=_check(archive, new, others))
        others.let_go()  # SQLite takes its log into the file when the last one lets it go
        with _opened(new) as database:
            photos = _photos(database)
            _put_back(archive, folder, photos, others, floor_bytes, restored)
            others.count_gone()
            others.let_go()
            restored.timelapses = others.tally
            inventory = Inventory(database, folder)
            found = inventory.compare()
            inventory.mark(found.gone, now)
            inventory.mark(found.back, None)
            restored.gone = len(found.gone) + len(found.known_gone)
        for mark in incoming.glob(f"*{PENDING}"):  # of the database that goes: what has no row now is to be adopted
            mark.unlink()
        others.move_in()
        restored.kept = _exchange(folder / "piapi.db", new, now)
        is_done = True
    except OSError as error:
        raise in_words(error) from error
    except tarfile.TarError as error:
        raise NotABackup(f"The backup is damaged: {error}.") from error
    finally:
        if others is not None:
            others.close(keep=is_done)
        _remove(new)
    return restored


def _members(archive: IO[bytes]) -> Iterator[tuple[tarfile.TarInfo, IO[bytes]]]:
    """Each file, if all of them are such as a backup has, up to its end. Raises NotABackup."""
    archive.seek(0)
    try:
        with tarfile.open(fileobj=archive, mode="r:") as tar:
            for number, member in enumerate(tar):
                file = tar.extractfile(member) if member.isreg() and member.size >= 0 else None
                if file is None or not _is_ours(member, number):
                    raise NotABackup(f"This is no backup of piapi: {member.name!r} does not belong into one.")
                yield member, file
                if member.name == END:
                    return
    except (tarfile.TarError, EOFError) as error:
        raise NotABackup(f"This is no backup of piapi, or a damaged one: {error}.") from error
    raise NotABackup("The backup is cut off: its end is missing.")


def _is_ours(member: tarfile.TarInfo, number: int) -> bool:
    if number == 0 or member.name == MANIFEST:
        return number == 0 and member.name == MANIFEST and member.size < _MOST_BYTES
    if member.name in (SETTINGS, DATABASE, END):
        return member.name == DATABASE or member.size < _MOST_BYTES
    if is_of_timelapse(member.name):
        return True
    match = _PHOTO.fullmatch(member.name)
    return match is not None and match[2].startswith(match[1]) and member.size < _MOST_BYTES


def _check(archive: IO[bytes], new: Path, others: TimelapseFiles) -> str:
    """Read all of it, leave its database at `new`, and tell when it was made. Raises NotABackup."""
    made_at, photos = "", None
    for member, file in _members(archive):
        if member.name == MANIFEST:
            made_at = _made_at(file.read())
        elif member.name == DATABASE:
            if photos is not None:
                raise NotABackup("This is no backup of piapi: it has two databases.")
            with new.open("xb") as target:
                shutil.copyfileobj(file, target)
            photos = _check_database(new)
        elif member.name.startswith("photos/"):
            if photos is None or Path(member.name).name not in photos:
                raise NotABackup(f"The backup is damaged: its database does not know {member.name}.")
            hash_of(file)  # to its end: one that is cut off is refused now
        elif is_of_timelapse(member.name):
            if photos is None or others.known(member.name) is None:
                raise NotABackup(f"The backup is damaged: its database does not know {member.name}.")
            hash_of(file)
    if photos is None:
        raise NotABackup("This is no backup of piapi: it has no database.")
    return made_at


def _made_at(manifest: bytes) -> str:
    try:
        document = json.loads(manifest)
        format, made_at = document["piapi_backup"], document["made_at"]
    except (ValueError, KeyError, TypeError):
        raise NotABackup("This is no backup of piapi: its first file does not say so.") from None
    if format != FORMAT:
        raise NotABackup(f"This backup was written by a later piapi (form {format}, this one knows {FORMAT}).")
    return str(made_at)


def _check_database(path: Path) -> set[str]:
    """The names of its photos' files. Raises NotABackup."""
    try:
        with contextlib.closing(sqlite3.connect(path)) as connection:
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if not 0 < version <= schema.VERSION:
                raise NotABackup(f"Its database is of schema {version}; this piapi knows 1 to {schema.VERSION}.")
            faults = connection.execute("PRAGMA integrity_check").fetchall()
            faults += connection.execute("PRAGMA foreign_key_check").fetchall()
            if faults != [("ok",)]:
                raise NotABackup(f"The database in the backup is damaged: {faults[0][0]}.")
            return {name_of(id, format) for id, format in connection.execute("SELECT id, format FROM photos")}
    except (sqlite3.DatabaseError, KeyError) as error:
        raise NotABackup(f"The database in the backup is damaged: {error}.") from error


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Database]:
    """That database, brought forward to today's schema."""
    database = Database(path)
    database.open()
    try:
        yield database
    finally:
        database.close()
        for copy in path.parent.glob(f"{path.name}.v*"):  # as it was is in the backup
            copy.unlink()


def _photos(database: Database) -> dict[str, tuple[str, int]]:
    """Hash, and time in ms, by the names of files."""
    rows = database.read("SELECT id, format, sha256, captured_at FROM photos")
    return {name_of(row["id"], row["format"]): (row["sha256"], row["captured_at"]) for row in rows}


def _put_back(
    archive: IO[bytes],
    folder: Path,
    photos: dict[str, tuple[str, int]],
    others: TimelapseFiles,
    floor_bytes: int,
    restored: Restored,
) -> None:
    missing_bytes = sum(
        member.size for member, _ in _members(archive) if "/" in member.name and not (folder / member.name).exists()
    )
    require_space(folder, missing_bytes, floor_bytes if missing_bytes else 0)
    for member, file in _members(archive):
        if is_of_timelapse(member.name):
            others.put_back(member.name, file)
            continue
        if not _PHOTO.fullmatch(member.name):
            continue
        path = folder / member.name
        sha256, captured_at = photos[path.name]
        if not path.exists():
            data = file.read()
            restored.damaged += hashlib.sha256(data).hexdigest() != sha256
            write_durably(path, data, folder / "incoming")
            os.utime(path, (captured_at / 1000, captured_at / 1000))
            restored.put_back += 1
        elif hash_in(path) == sha256:
            restored.there_already += 1
        else:
            restored.different += 1


def _exchange(database: Path, new: Path, now: datetime) -> Path | None:
    """Put `new` in the place of the database, which is kept beside it. Gives its new name, if there was one."""
    kept = None
    if database.exists():
        # Closed in order, SQLite takes what is in its log into the database. A damaged one keeps its log, beside it.
        with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(database)) as old:
            old.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        kept = database.with_name(f"{database.name}.before-restore-{now.astimezone(UTC):%Y%m%dT%H%M%S%f}")
        try:
            kept.hardlink_to(database)
        except OSError:  # a file system without links
            shutil.copy2(database, kept)
            with kept.open("rb") as file:
                os.fsync(file.fileno())
    for ending in ("-wal", "-shm"):  # of the old one: SQLite would take them for the new one's
        log = database.with_name(database.name + ending)
        if log.exists():
            log.rename((kept or database).with_name((kept or database).name + ending + ("" if kept else ".old")))
    sync_folder(database.parent)
    with new.open("rb") as file:
        os.fsync(file.fileno())
    new.replace(database)
    sync_folder(database.parent)
    return kept


def _remove(new: Path) -> None:
    for path in new.parent.glob(f"{new.name}*"):
        path.unlink(missing_ok=True)
