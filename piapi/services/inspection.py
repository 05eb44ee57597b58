"""What `piapi fsck` looks at: the database, rows against files, sizes and hashes. It changes nothing.

It works beside a running service, so what looks wrong is looked at again: photos that are taken or removed meanwhile
are no faults. Time-lapses are in `timelapses/inspection.py`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from piapi.clock import Clock
from piapi.errors import DatabaseUnusable
from piapi.models import Photo
from piapi.services.second_look import LEFT_OVER_S, pause, that_stay
from piapi.services.timelapses.inspection import TimelapseInspection
from piapi.storage.database import Database
from piapi.storage.files import PENDING, fault_of
from piapi.storage.inventory import Inventory
from piapi.storage.photos import PhotoLibrary

_AT_ONCE = 200


class Inspection:
    """One data folder, looked at once. Gives a line for each fault."""

    def __init__(self, database: Database, folder: Path, clock: Clock, pause: Callable[[float], None] = pause) -> None:
        self.photos = 0
        """That were looked at."""
        self.lapses = TimelapseInspection(database, folder, clock, pause)
        self._database = database
        self._folder = folder
        self._library = PhotoLibrary(database, folder)
        self._clock = clock
        self._pause = pause

    def faults(self, fast: bool = False) -> Iterator[str]:
        """All of them; `fast` looks at no hash."""
        try:
            yield from self._of_database()
            yield from self._left_over()
            yield from self._of_names()
            yield from self._of_files(fast)
            yield from self.lapses.faults(fast)
        except (sqlite3.DatabaseError, DatabaseUnusable) as error:
            yield f"database: {error}"

    def _of_database(self) -> Iterator[str]:
        for row in self._database.read("PRAGMA integrity_check"):
            if row[0] != "ok":
                yield f"database: {row[0]}"
        for row in self._database.read("PRAGMA foreign_key_check"):
            yield f"database: a row of {row['table']} belongs to one of {row['parent']} that is not there"
        totals = self._database.read_one(
            "SELECT photos, bytes, (SELECT count(*) FROM photos WHERE missing_since IS NULL) AS rows,"
            " (SELECT coalesce(sum(size_bytes), 0) FROM photos WHERE missing_since IS NULL) AS sizes FROM photo_totals"
        )
        if totals is None or (totals["photos"], totals["bytes"]) != (totals["rows"], totals["sizes"]):
            yield "database: the totals of photos are not those of its rows"

    def _left_over(self) -> Iterator[str]:
        now = self._clock.now().timestamp()
        for path in self._incoming():
            try:
                age = now - path.stat().st_mtime
            except FileNotFoundError:
                continue
            if age > LEFT_OVER_S:
                yield f"incoming/{path.name}: left over; the next start clears it away"

    def _of_names(self) -> Iterator[str]:
        found = Inventory(self._database, self._folder).compare()
        for id in (*found.gone, *found.known_gone):
            photo = self._library.get(id)
            if photo is not None and not self._library.path(photo).exists():
                yield f"photo {id}: its file has gone; put it back, or delete the photo"
        for id in found.back:
            yield f"photo {id}: its file is back; the next start takes it up again"
        for name in self._still_strays(found.strays):
            yield f"photos/{name[:2]}/{name}: has no row; the next start adopts it"

    def _still_strays(self, names: Iterable[str]) -> list[str]:
        """Those that are nobody's for longer than it takes to make or remove a row."""
        left = that_stay(names, self._is_stray, self._pause)
        pending = {path.stem for path in self._incoming() if path.suffix == PENDING}
        return [name for name in left if name not in pending]

    def _is_stray(self, name: str) -> bool:
        path = self._library.place(name)
        return path.exists() and self._library.get(path.stem) is None

    def _of_files(self, fast: bool) -> Iterator[str]:
        seq = 0
        while photos := self._library.after(seq, _AT_ONCE):
            for photo in photos:
                self.photos += 1
                if (fault := self._of_file(photo, fast)) and self._library.get(photo.id) is not None:
                    yield f"photo {photo.id}: {fault}"
            seq = photos[-1].seq

    def _of_file(self, photo: Photo, fast: bool) -> str:
        """What is wrong with it; nothing for one that is not there, which has been said."""
        try:
            sha256 = None if fast else photo.sha256
            return fault_of(self._library.path(photo), photo.size_bytes, sha256, was="taken")
        except FileNotFoundError:
            return ""

    def _incoming(self) -> list[Path]:
        folder = self._folder / "incoming"
        return sorted(folder.iterdir()) if folder.is_dir() else []
