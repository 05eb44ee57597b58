"""The photo library on disk: a file for each photo, and its row.

The file comes first and the row second, so that a row always has its file; `photos/ab/abcdef….jpg` spreads the files
over 256 folders, and no name depends on the time.
"""

from __future__ import annotations

import json
import logging
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

from piapi.errors import StorageError
from piapi.models import Photo, PhotoFilter
from piapi.storage.database import Along, Database, from_millis, to_millis
from piapi.storage.files import require_space, sync_folder, write_durably, write_whole

log = logging.getLogger(__name__)

ENDINGS = {"jpeg": "jpg", "png": "png", "dng": "dng"}


class PhotoLibrary:
    """Photos, their files and their thumbnails."""

    def __init__(self, database: Database, folder: Path, floor_bytes: int = 0) -> None:
        self._database = database
        self._folder = folder
        self._floor_bytes = floor_bytes
        self._incoming = folder / "incoming"

    def prepare(self) -> None:
        """Make the folders, durably, and remove what was half written when the power went. For the owner alone."""
        for name in ("photos", "thumbnails", "incoming"):
            (self._folder / name).mkdir(parents=True, exist_ok=True)
        for part in self._incoming.iterdir():
            log.info("removed %s, which was half written and never acknowledged", part.name)
            part.unlink()
        sync_folder(self._folder)

    def add(self, photo: Photo, data: bytes, *along: Along) -> Photo:
        """Keep a photo: file and row are on disk, synced, when this returns, and `along` with them.

        Raises StorageFull.
        """
        require_space(self._folder, len(data), self._floor_bytes)
        path = self.path(photo)
        write_durably(path, data, self._incoming)
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
        )
        try:
            with self._database.write() as connection:
                cursor = connection.execute(
                    "INSERT INTO photos (id, camera, captured_at, width, height, size_bytes, format, sha256, label,"
                    " pinned, metadata, emulated) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    values,
                )
                for more in along:
                    more(connection)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return replace(photo, seq=cursor.lastrowid or 0)

    def get(self, id: str) -> Photo | None:
        """The photo with this id."""
        row = self._database.read_one("SELECT * FROM photos WHERE id = ?", (id,))
        return _photo(row) if row else None

    def page(self, chosen: PhotoFilter, limit: int, before: tuple[int, int] | None = None) -> list[Photo]:
        """Newest first, after the key (captured_at in ms, seq) of the last one seen."""
        where, values = _where(chosen)
        if before:
            where.append("(captured_at, seq) < (?, ?)")
            values += before
        clause = f"WHERE {' AND '.join(where)}" if where else ""
        rows = self._database.read(
            f"SELECT * FROM photos {clause} ORDER BY captured_at DESC, seq DESC LIMIT ?",  # noqa: S608 — no value in it
            (*values, limit),
        )
        return [_photo(row) for row in rows]

    def change(self, photo: Photo, *along: Along) -> None:
        """Keep a new label or pin, and `along` with it."""
        with self._database.write() as connection:
            connection.execute(
                "UPDATE photos SET label = ?, pinned = ? WHERE id = ?", (photo.label, photo.pinned, photo.id)
            )
            for more in along:
                more(connection)

    def remove(self, photo: Photo, *along: Along) -> None:
        """Row first, and `along` with it, then file: what a crash leaves between is a file without a row."""
        with self._database.write() as connection:
            connection.execute("DELETE FROM photos WHERE id = ?", (photo.id,))
            for more in along:
                more(connection)
        path = self.path(photo)
        path.unlink(missing_ok=True)
        for thumbnail in self._thumbnail(photo, 0).parent.glob(f"{photo.id}-*.jpg"):
            thumbnail.unlink(missing_ok=True)

    def path(self, photo: Photo) -> Path:
        """Where its file is."""
        return self._folder / "photos" / photo.id[:2] / f"{photo.id}.{ENDINGS[photo.format]}"

    def thumbnail(self, photo: Photo, width: int) -> bytes | None:
        """A thumbnail that was kept."""
        try:
            return self._thumbnail(photo, width).read_bytes()
        except FileNotFoundError:
            return None

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


def key_of(photo: Photo) -> tuple[int, int]:
    """Its place in the order of pages."""
    return to_millis(photo.captured_at), photo.seq


def _where(chosen: PhotoFilter) -> tuple[list[str], list[Any]]:
    where: list[str] = []
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
    )
