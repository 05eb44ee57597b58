"""Time-lapses in a backup: the files that its database knows, also while jobs run.

The film is ahead of that database by what was captured since: segments with a frame that it does not know stay behind,
and are made again from the frames. A job that keeps no frames removes them meanwhile, so those that it still has are
copied right after the database is.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from piapi.film import segments
from piapi.film.segments import NotWhole
from piapi.storage.backup import Member
from piapi.storage.files import PART
from piapi.storage.frames import FrameFiles

_INDEX = "index"


class TimelapseFiles:
    """Of one data folder, for one backup."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files = FrameFiles(folder, 0)
        self._staged: dict[Path, Path] = {}

    def stage(self, copy: Path) -> bool:
        """Copy what may go before it is read. False when some of it has gone since the database was copied."""
        self.clear()
        incoming = self._folder / "incoming"
        with contextlib.closing(sqlite3.connect(copy)) as connection:
            for seq, id, plan, _ in _jobs(connection):
                if json.loads(plan)["video"]["keep_frames"]:
                    continue
                for (tick,) in connection.execute(_FRAMES.format("tick"), (seq,)):
                    place, staged = self._files.place(id, tick), incoming / f"{copy.stem}-{id}-{tick}{PART}"
                    self._staged[place] = staged
                    try:
                        shutil.copyfile(place, staged)
                    except FileNotFoundError:
                        return False
        return True

    def members(self, copy: Path) -> Iterator[Member]:
        """All files that belong to that database."""
        with contextlib.closing(sqlite3.connect(copy)) as connection:
            for seq, id, _, is_film_done in _jobs(connection):
                for tick, captured_at in connection.execute(_FRAMES.format("tick, captured_at"), (seq,)):
                    place = self._files.place(id, tick)
                    yield self._member(place, captured_at, self._staged.get(place, place))
                (last,) = connection.execute("SELECT max(tick) FROM frames WHERE timelapse = ?", (seq,)).fetchone()
                (at,) = connection.execute("SELECT created_at FROM timelapses WHERE seq = ?", (seq,)).fetchone()
                for path in self._film(id, -1 if last is None else last, bool(is_film_done)):
                    yield self._member(path, at)
                renders = connection.execute(
                    "SELECT id, ended_at FROM renders WHERE timelapse = ? AND state = 'finished'", (id,)
                )
                for render, ended_at in renders:
                    yield self._member(self._files.folder(id) / "renders" / f"{render}.mp4", ended_at)

    def clear(self) -> None:
        """Remove what was copied."""
        for staged in self._staged.values():
            staged.unlink(missing_ok=True)
        self._staged = {}

    def _member(self, place: Path, millis: int, source: Path | None = None) -> Member:
        return Member(place.relative_to(self._folder).as_posix(), source or place, millis / 1000)

    def _film(self, id: str, last: int, is_done: bool) -> Iterator[Path]:
        folder = self._files.film_folder(id)
        for path in sorted(folder.glob(f"*{segments.SUFFIX}")):
            with contextlib.suppress(NotWhole):  # a damaged one is taken as it is
                if segments.read(path).indices[-1] > last:
                    return
            yield path
        if is_done and (folder / _INDEX).exists():
            yield folder / _INDEX


_FRAMES = "SELECT {} FROM frames WHERE timelapse = ? AND has_file = 1 ORDER BY tick"


def _jobs(connection: sqlite3.Connection) -> list[tuple[int, str, str, int]]:
    return connection.execute("SELECT seq, id, plan, is_film_done FROM timelapses ORDER BY seq").fetchall()
