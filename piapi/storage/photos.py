"""The photo library on disk: a file for each photo, and its row.

The file comes first and the row second, so that a row always has its file; `photos/ab/abcdef….jpg` spreads the files
over 256 folders, and no name depends on the time. A photo goes the other way: row, then file. What a crash leaves is
settled at the next start, here (`prepare`) and in `piapi/services/recovery.py`.
"""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from piapi.errors import NotFound, StorageError, StorageFull
from piapi.models import Photo, PhotoFilter, PhotoFormat
from piapi.storage.database import Along, Database, from_millis, to_millis
from piapi.storage.files import PENDING, in_words, pending, require_space, sync_folder, write_durably, write_whole

log = logging.getLogger(__name__)

ENDINGS: Mapping[PhotoFormat, str] = {"jpeg": "jpg", "png": "png", "dng": "dng"}

MOST_LINES = 20
"""In the log, for one kind of finding at a start; what is more is a sum."""

#: The last marker of a JPEG (ITU-T T.81, table B.1).
_END_OF_IMAGE = b"\xff\xd9"


class PhotoLibrary:
    """Photos, their files and their thumbnails."""

    def __init__(
        self,
        database: Database,
        folder: Path,
        floor_bytes: int = 0,
        is_clock_believed: Callable[[], bool] = lambda: True,
    ) -> None:
        self.on_full: list[Callable[[int], None]] = []
        """Called with the bytes that found no space, by the thread that brought them."""
        self._database = database
        self._folder = folder
        self._floor_bytes = floor_bytes
        self._is_clock_believed = is_clock_believed
        self._incoming = folder / "incoming"

    def prepare(self) -> None:
        """Make the folders, durably, and clear away what was never acknowledged. For the owner alone.

        Raises StorageError.
        """
        parts = 0
        try:
            for name in ("photos", "thumbnails", "incoming"):
                (self._folder / name).mkdir(parents=True, exist_ok=True)
            for left in self._incoming.iterdir():
                if left.suffix == PENDING:
                    self._settle(left.stem)
                else:
                    parts += 1
                    if parts <= MOST_LINES:
                        log.info("removed %s, which was half written and never acknowledged", left.name)
                left.unlink()
            if parts > MOST_LINES:
                log.info("… and %d more", parts - MOST_LINES)
            sync_folder(self._folder)
        except OSError as error:
            raise in_words(error) from error

    def _settle(self, name: str) -> None:
        """Killed between a file and its row: nobody was told of this photo, so none may come of it by itself."""
        path = self.place(name)
        if self.get(path.stem) is None and path.exists():
            set_aside = self.set_aside(path)
            log.warning("moved %s to %s: it was never acknowledged", name, set_aside.relative_to(self._folder))

    def set_aside(self, path: Path) -> Path:
        """Move a file out of the library, durably, to where nothing of piapi ever looks. Gives its new place."""
        folder = self._folder / "set-aside"
        folder.mkdir(exist_ok=True)
        place, number = folder / path.name, 0
        while place.exists():
            number += 1
            place = folder / f"{path.stem}.{number}{path.suffix}"
        path.rename(place)
        sync_folder(folder)
        sync_folder(path.parent)
        return place

    def add(self, photo: Photo, data: bytes, *along: Along) -> Photo:
        """Keep a photo: file and row are on disk, synced, when this returns, and `along` with them.

        Raises StorageFull.
        """
        path = self.path(photo)
        try:
            require_space(self._folder, len(data), self._floor_bytes)
            with pending(path, self._incoming):
                write_durably(path, data, self._incoming)
                return self.add_row(photo, *along, is_dated=self._is_clock_believed())
        except StorageFull:
            for tell in self.on_full:
                tell(len(data))
            raise

    def add_row(self, photo: Photo, *along: Along, is_dated: bool) -> Photo:
        """Keep a photo whose file is in its place already. `is_dated`: the clock was believed when it was taken."""
        values = (
            photo.id,
            photo.camera,
            to_millis(photo.captured_at),
            photo.width,
            photo.height,
            photo.size_bytes,
            photo.format,
            photo.sha256,
            photo.label,
            photo.pinned,
            json.dumps(photo.metadata, separators=(",", ":")),
            photo.emulated,
            is_dated,
        )
        with self._database.write() as connection:
            cursor = connection.execute(
                "INSERT INTO photos (id, camera, captured_at, width, height, size_bytes, format, sha256, label,"
                " pinned, metadata, emulated, is_dated) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                values,
            )
            for more in along:
                more(connection)
        return replace(photo, seq=cursor.lastrowid or 0)

    def get(self, id: str) -> Photo | None:
        """The photo with this id; also one whose file is missing."""
        row = self._database.read_one("SELECT * FROM photos WHERE id = ?", (id,))
        return _photo(row) if row else None

    def page(self, chosen: PhotoFilter, limit: int, before: tuple[int, int] | None = None) -> list[Photo]:
        """Newest first, after the key (captured_at in ms, seq) of the last one seen; none whose file is missing."""
        where, values = _where(chosen)
        if before:
            where.append("(captured_at, seq) < (?, ?)")
            values += before
        rows = self._database.read(
            f"SELECT * FROM photos WHERE {' AND '.join(where)} ORDER BY captured_at DESC, seq DESC LIMIT ?",  # noqa: S608 — no value in it
            (*values, limit),
        )
        return [_photo(row) for row in rows]

    def change(self, photo: Photo, *along: Along) -> None:
        """Keep a new label or pin, and `along` with it. Raises NotFound when it was removed meanwhile."""
        with self._database.write() as connection:
            changed = connection.execute(
                "UPDATE photos SET label = ?, pinned = ? WHERE id = ?", (photo.label, photo.pinned, photo.id)
            )
            if not changed.rowcount:
                raise NotFound(f"There is no photo {photo.id}.")
            for more in along:
                more(connection)

    def remove(self, photo: Photo, *along: Along) -> None:
        """Remove a photo for good: row (and `along` with it) and file are gone from the disk when this returns.

        Row first: cut off between the two, it comes back at the next start, and nobody was told that it had gone.
        Works on a disk that is full. Raises StorageError.
        """

        def delete(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM photos WHERE id = ?", (photo.id,))
            for more in along:
                more(connection)

        self._database.write_to_free(delete)
        self._remove_files([photo])

    def remove_unpinned(self, photos: Sequence[Photo], tell: Callable[[Photo], Along]) -> list[Photo]:
        """Remove those that have not been pinned or removed meanwhile, in one transaction with what `tell` makes."""

        def delete(connection: sqlite3.Connection) -> list[Photo]:
            removed = []
            for photo in photos:
                if connection.execute("DELETE FROM photos WHERE id = ? AND pinned = 0", (photo.id,)).rowcount:
                    tell(photo)(connection)
                    removed.append(photo)
            return removed

        removed = self._database.write_to_free(delete)
        self._remove_files(removed)
        return removed

    def _remove_files(self, photos: Sequence[Photo]) -> None:
        try:
            for photo in photos:
                self.path(photo).unlink(missing_ok=True)
                for thumbnail in self._thumbnail(photo, 0).parent.glob(f"{photo.id}-*.jpg"):
                    thumbnail.unlink(missing_ok=True)
            for folder in {self.path(photo).parent for photo in photos}:
                if folder.exists():
                    sync_folder(folder)
        except OSError as error:
            raise in_words(error) from error

    def after(self, seq: int, limit: int) -> list[Photo]:
        """Those that have their file, in the order in which they were kept, behind the one with this number."""
        rows = self._database.read(
            "SELECT * FROM photos WHERE seq > ? AND missing_since IS NULL ORDER BY seq LIMIT ?", (seq, limit)
        )
        return [_photo(row) for row in rows]

    def totals(self) -> tuple[int, int]:
        """How many photos have their file, and their bytes."""
        row = self._database.read_one("SELECT photos, bytes FROM photo_totals")
        return (row["photos"], row["bytes"]) if row else (0, 0)

    def taken_bytes(self) -> int:
        """Of all photos that have their file."""
        return self.totals()[1]

    def first_unpinned(self, limit: int) -> list[Photo]:
        """In the order in which they were kept, which no clock that jumps can change."""
        rows = self._database.read(
            "SELECT * FROM photos WHERE pinned = 0 AND missing_since IS NULL ORDER BY seq LIMIT ?", (limit,)
        )
        return [_photo(row) for row in rows]

    def unpinned_before(self, moment: datetime, limit: int) -> list[Photo]:
        """Taken before `moment` for certain, oldest first.

        One that was taken by a clock nobody believed (a Pi wakes up in the past) counts only when one that was kept
        after it was taken before `moment` too.
        """
        millis = to_millis(moment)  # +seq: else SQLite goes back from the newest photo instead of by time
        rows = self._database.read(
            "SELECT * FROM photos WHERE captured_at < ? AND missing_since IS NULL AND pinned = 0 AND (is_dated OR seq <"
            " (SELECT max(+seq) FROM photos WHERE captured_at < ? AND missing_since IS NULL AND is_dated))"
            " ORDER BY captured_at, seq LIMIT ?",
            (millis, millis, limit),
        )
        return [_photo(row) for row in rows]

    def path(self, photo: Photo) -> Path:
        """Where its file is."""
        return self.place(name_of(photo.id, photo.format))

    def place(self, name: str) -> Path:
        """Where the file of this name belongs."""
        return self._folder / "photos" / name[:2] / name

    def thumbnail(self, photo: Photo, width: int) -> bytes | None:
        """A thumbnail that was kept; not one that a power cut left empty or cut off, as they are not synced."""
        try:
            data = self._thumbnail(photo, width).read_bytes()
        except FileNotFoundError:
            return None
        return data if data.endswith(_END_OF_IMAGE) else None

    def keep_thumbnail(self, photo: Photo, width: int, data: bytes) -> None:
        """Keep a thumbnail, where there is space and the photo is still there."""
        kept = self._thumbnail(photo, width)
        try:
            require_space(self._folder, len(data), self._floor_bytes)
            write_whole(kept, data)
        except StorageError as error:
            log.warning("a thumbnail is not kept: %s", error)
            return
        if self.get(photo.id) is None:  # removed meanwhile, perhaps after its other thumbnails were
            kept.unlink(missing_ok=True)

    def _thumbnail(self, photo: Photo, width: int) -> Path:
        return self._folder / "thumbnails" / photo.id[:2] / f"{photo.id}-{width}.jpg"


def name_of(id: str, format: PhotoFormat) -> str:
    """Of the file of a photo."""
    return f"{id}.{ENDINGS[format]}"


def key_of(photo: Photo) -> tuple[int, int]:
    """Its place in the order of pages."""
    return to_millis(photo.captured_at), photo.seq


def _where(chosen: PhotoFilter) -> tuple[list[str], list[Any]]:
    where = ["missing_since IS NULL"]
    values: list[Any] = []
    if chosen.cameras is not None:
        where.append(f"camera IN ({', '.join('?' * len(chosen.cameras))})")
        values += sorted(chosen.cameras)
    if chosen.since is not None:
        where.append("captured_at >= ?")
        values.append(to_millis(chosen.since))
    if chosen.until is not None:
        where.append("captured_at < ?")
        values.append(to_millis(chosen.until))
    if chosen.label is not None:
        where.append("label = ?")
        values.append(chosen.label)
    return where, values


def _photo(row: sqlite3.Row) -> Photo:
    return Photo(
        seq=row["seq"],
        id=row["id"],
        camera=row["camera"],
        captured_at=from_millis(row["captured_at"]),
        width=row["width"],
        height=row["height"],
        size_bytes=row["size_bytes"],
        format=row["format"],
        sha256=row["sha256"],
        label=row["label"],
        pinned=bool(row["pinned"]),
        metadata=json.loads(row["metadata"]),
        emulated=bool(row["emulated"]),
        is_missing=row["missing_since"] is not None,
    )
