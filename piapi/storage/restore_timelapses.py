"""Files of time-lapses out of a backup.

A time-lapse that is not there is put together beside its place, and moved there at the end; one that is there gets what
it lacks, and nothing of it is written over.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from piapi.storage.files import copy_durably, hash_in, hash_of, sync_folder
from piapi.storage.frames import JOB_NAME, RESTORING, FrameFiles

_ID = JOB_NAME.pattern
_FRAME = re.compile(rf"timelapses/({_ID})/frames/\d{{6,12}}/(\d{{9,15}})\.jpg")
_FILM = re.compile(rf"timelapses/({_ID})/film/(?:\d{{8}}\.segment|index)")
_RENDER = re.compile(rf"timelapses/({_ID})/renders/({_ID})\.mp4")

_EMPTY = (None, 0)


@dataclass(slots=True)
class Tally:
    """What became of some files."""

    put_back: int = 0
    there_already: int = 0
    different: int = 0
    """There with other bytes, and left as they are."""
    damaged: int = 0
    """Put back as they were in the backup, which is not as they were written."""
    gone: int = 0
    """Known to the database, and not there."""


def is_of_timelapse(name: str) -> bool:
    """Whether a member of a backup is a file of a time-lapse."""
    return any(pattern.fullmatch(name) for pattern in (_FRAME, _FILM, _RENDER))


class TimelapseFiles:
    """Those that the database at `database` knows, for the data folder `folder`."""

    def __init__(self, database: Path, folder: Path) -> None:
        self.tally = Tally()
        self._database = database
        self._opened: sqlite3.Connection | None = None
        self._data = folder
        self._folder = folder / "timelapses"
        self._moved: list[Path] = []
        for left in self._folder.glob(f"*{RESTORING}"):
            shutil.rmtree(left)
        self._there = {path.name for path in self._folder.glob("*")}

    @property
    def _connection(self) -> sqlite3.Connection:
        """Made when first asked: the database comes out of the backup before all files."""
        if self._opened is None:
            self._opened = sqlite3.connect(self._database)
        return self._opened

    def let_go(self) -> None:
        """Let the database go, until it is asked again. May be called twice."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def known(self, name: str) -> tuple[str | None, int] | None:
        """SHA-256, where there is one, and time in ms, of a member; None for one that the database does not know."""
        try:
            return self._known(name)
        except sqlite3.OperationalError:  # its schema had no time-lapses
            return None

    def _known(self, name: str) -> tuple[str | None, int] | None:
        if match := _FRAME.fullmatch(name):
            row = self._connection.execute(
                "SELECT lower(hex(sha256)), captured_at FROM frames JOIN timelapses ON seq = timelapse"
                " WHERE id = ? AND tick = ? AND has_file = 1",
                (match[1], int(match[2])),
            ).fetchone()
        elif match := _RENDER.fullmatch(name):
            row = self._connection.execute(
                "SELECT sha256, ended_at FROM renders WHERE timelapse = ? AND id = ? AND state = 'finished'",
                match.groups(),
            ).fetchone()
        elif match := _FILM.fullmatch(name):
            row = self._connection.execute(
                "SELECT '', created_at FROM timelapses WHERE id = ?", match.groups()
            ).fetchone()
        else:
            row = None
        return None if row is None else (row[0] or None, row[1] or 0)

    def lacks(self, name: str) -> bool:
        """Whether nothing is in its place."""
        return not (self._data / name).exists()

    def put_back(self, name: str, file: IO[bytes]) -> None:
        """Write a member, unless something is in its place. Raises StorageError."""
        if not self.lacks(name):
            is_same = hash_of(file) == hash_in(self._data / name)
            self.tally.there_already += is_same
            self.tally.different += not is_same
            return
        sha256, millis = self.known(name) or _EMPTY
        place = self._place(name)
        digest = copy_durably(place, file, self._data / "incoming", unique=Path(name).parts[1])
        os.utime(place, (millis / 1000, millis / 1000))
        self.tally.damaged += sha256 is not None and digest != sha256
        self.tally.put_back += 1

    def _place(self, name: str) -> Path:
        _, id, *rest = Path(name).parts
        return self._folder.joinpath(id if id in self._there else id + RESTORING, *rest)

    def count_gone(self) -> None:
        """See which frames are not there."""
        frames = FrameFiles(self._data, 0)
        rows = self._connection.execute(
            "SELECT id, tick FROM frames JOIN timelapses ON seq = timelapse WHERE has_file = 1 ORDER BY seq, tick"
        )
        for id, tick in rows:
            name = frames.place(id, tick).relative_to(self._data).as_posix()
            self.tally.gone += not self._place(name).exists()

    def move_in(self) -> None:
        """Put those that are new into their place. Raises OSError."""
        for path in sorted(self._folder.glob(f"*{RESTORING}")):
            self._moved.append(path.with_suffix(""))
            path.rename(path.with_suffix(""))
        if self._moved:
            sync_folder(self._folder)

    def close(self, keep: bool) -> None:
        """Let the database go; unless told to keep it, remove what is new. What a crash leaves, a start clears away."""
        self.let_go()
        for path in () if keep else (*self._folder.glob(f"*{RESTORING}"), *self._moved):
            with contextlib.suppress(OSError):
                shutil.rmtree(path)
