"""What `piapi fsck` looks at in time-lapses: ledger, frames, film, renders, and files that are nobody's.

It reads page by page, so a month of frames takes no more memory than a minute of them, and works beside a running
service: rows come after files and before films, so each is read in the order in which nothing can seem to be missing,
and what looks wrong is looked at again.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path

from piapi.clock import Clock
from piapi.services.second_look import LEFT_OVER_S, that_stay
from piapi.services.timelapses.film_inspection import faults_of_film
from piapi.storage.database import Database
from piapi.storage.files import PART, fault_of
from piapi.storage.frames import FRAMES_A_FOLDER, JOB_NAME
from piapi.storage.ledger import Job
from piapi.storage.renders import RenderStore
from piapi.storage.timelapses import TimelapseStore
from piapi.timelapse import Render, Row

_AT_ONCE = 1000
_MOST_JOBS = 50

_RENDER_NAME = re.compile(rf"({JOB_NAME.pattern})\.mp4")


class TimelapseInspection:
    """All time-lapses of one data folder, looked at once. Gives a line for each fault."""

    def __init__(self, database: Database, folder: Path, clock: Clock, pause: Callable[[float], None]) -> None:
        self.timelapses, self.frames = 0, 0
        """That were looked at."""
        self._database = database
        self._folder = folder / "timelapses"
        self._store = TimelapseStore(database, folder)
        self._renders = RenderStore(database, folder)
        self._clock = clock
        self._pause = pause

    def faults(self, fast: bool = False) -> Iterator[str]:
        """All of them; `fast` looks at no hash."""
        yield from self._of_folders()
        for row in self._database.read("SELECT id FROM renders WHERE timelapse NOT IN (SELECT id FROM timelapses)"):
            yield f"render {row['id']}: belongs to no time-lapse that is there"
        seq = 0
        while jobs := self._store.jobs_after(seq, _MOST_JOBS):
            for job in jobs:
                self.timelapses += 1
                for fault in self._of_job(job, fast):
                    if self._store.get(job.id) is None:  # removed meanwhile
                        break
                    yield f"time-lapse {job.id}: {fault}"
            seq = jobs[-1].seq

    def _of_folders(self) -> Iterator[str]:
        names = [path.name for path in _in(self._folder)]
        for name in that_stay((name for name in names if JOB_NAME.fullmatch(name)), self._is_orphan, self._pause):
            yield f"timelapses/{name}: has no row; the next start sets it aside"
        for name in names:
            if not JOB_NAME.fullmatch(name) and JOB_NAME.fullmatch(Path(name).stem) and self._is_old(name):
                yield f"timelapses/{name}: left over; the next start clears it away"

    def _is_orphan(self, name: str) -> bool:
        return (self._folder / name).is_dir() and self._store.get(name) is None

    def _is_old(self, *parts: str) -> bool:
        """Whether nothing has been written there, and nothing removed, for a while."""
        path = self._folder.joinpath(*parts)
        try:
            newest = max(each.stat().st_mtime for each in (path, *_in(path)))
        except FileNotFoundError:
            return False
        return self._clock.now().timestamp() - newest > LEFT_OVER_S

    def _of_job(self, job: Job, fast: bool) -> Iterator[str]:
        return chain(
            self._of_ledger(job),
            self._of_frames(job, fast),
            self._of_strays(job),
            faults_of_film(self._store, job, fast),
            self._of_renders(job, fast),
            self._of_left_over(job),
        )

    # The ledger -------------------------------------------------------------------------------------------------------

    def _of_ledger(self, job: Job) -> Iterator[str]:
        totals = self._database.read_one(
            "SELECT captured, missed, bytes, kept_bytes, settled,"
            " (SELECT count(*) FROM frames WHERE timelapse = seq) AS rows,"
            " (SELECT coalesce(sum(last - first + 1), 0) FROM misses WHERE timelapse = seq) AS misses,"
            " (SELECT coalesce(sum(size_bytes), 0) FROM frames WHERE timelapse = seq) AS sizes,"
            " (SELECT coalesce(sum(size_bytes), 0) FROM frames WHERE timelapse = seq AND has_file) AS kept"
            " FROM timelapses WHERE seq = ?",
            (job.seq,),
        )
        if totals is None:
            return
        said = (totals["captured"], totals["missed"], totals["bytes"], totals["kept_bytes"])
        if said != (totals["rows"], totals["misses"], totals["sizes"], totals["kept"]):
            yield "its figures are not those of its ledger"
        before, silent = -1, 0
        for first, last in self._runs(job, totals["settled"]):
            if first > last:
                yield f"its ledger has a run of misses that ends before it begins, at tick {first}"
            if first <= before:
                yield f"tick {first} is in its ledger twice"
            silent += max(0, first - before - 1)
            before = max(before, last)
        plan, due = job.plan, totals["captured"] + totals["missed"]
        if plan.window is None and silent > job.memory.get("skipped", 0):
            yield f"{silent - job.memory.get('skipped', 0)} ticks are neither captured nor missed"
        if plan.window is None and plan.count is not None and job.state == "finished" and due != plan.count:
            yield f"it has finished, and {due} of {plan.count} ticks are in its ledger"

    def _runs(self, job: Job, settled: int) -> Iterator[tuple[int, int]]:
        """Ticks of which it is known what became of them, as (first, last), in order."""
        tick, miss = 0, 0
        while True:
            rows = self._database.read(
                "SELECT tick AS first, tick AS last, 0 AS is_miss FROM frames"
                " WHERE timelapse = ? AND tick >= ? AND tick <= ?"
                " UNION ALL SELECT first, last, 1 FROM misses WHERE timelapse = ? AND first >= ? AND first <= ?"
                " ORDER BY 1, 3 LIMIT ?",
                (job.seq, tick, settled, job.seq, miss, settled, _AT_ONCE),
            )
            if not rows:
                return
            yield from ((row["first"], min(row["last"], settled)) for row in rows)
            tick = rows[-1]["first"] + 1
            miss = tick - 1 + rows[-1]["is_miss"]

    # Frames -----------------------------------------------------------------------------------------------------------

    def _of_frames(self, job: Job, fast: bool) -> Iterator[str]:
        after = -1
        while rows := self._store.captured(job, _AT_ONCE, after):
            for row in rows:
                self.frames += 1
                if row.has_file and (fault := self._of_frame(job, row, fast)):
                    yield f"frame {row.index}: {fault}"
            after = rows[-1].index

    def _of_frame(self, job: Job, row: Row, fast: bool) -> str:
        path = self._store.place(job.id, row.index)
        try:
            return fault_of(path, row.size_bytes, None if fast else row.sha256)
        except FileNotFoundError:
            # Of a job that keeps none they go, after their rows have said so.
            return "its file has gone; put it back" if self._has_file(job, row.index) else ""

    def _has_file(self, job: Job, index: int) -> bool:
        rows = self._store.captured(job, 1, index - 1)
        return bool(rows) and rows[0].index == index and rows[0].has_file

    def _of_strays(self, job: Job) -> Iterator[str]:
        for index in that_stay(self._strays(job), lambda index: self._is_stray(job, index), self._pause):
            path = self._store.place(job.id, index).relative_to(self._store.folder(job.id))
            is_to_come = not job.has_ended and index > job.settled
            yield f"{path}: has no row; {'the next start adopts it' if is_to_come else 'move it away'}"

    def _strays(self, job: Job) -> Iterator[int]:
        for folder in _in(self._store.folder(job.id) / "frames"):
            if not folder.name.isdecimal():
                continue
            first = int(folder.name) * FRAMES_A_FOLDER
            indices = {int(path.stem) for path in _in(folder) if path.stem.isdecimal() and path.suffix == ".jpg"}
            rows = self._store.captured(job, FRAMES_A_FOLDER, first - 1)
            yield from sorted(indices - {row.index for row in rows if row.has_file})

    def _is_stray(self, job: Job, index: int) -> bool:
        return self._store.place(job.id, index).exists() and not self._has_file(job, index)

    # Renders, and what was being written ------------------------------------------------------------------------------

    def _of_renders(self, job: Job, fast: bool) -> Iterator[str]:
        for render in self._renders.of(job.id):
            if render.state == "finished" and (fault := self._of_render(render, fast)):
                yield f"render {render.id}: {fault}"
        names = [path.name for path in _in(self._store.folder(job.id) / "renders")]
        for name in that_stay(names, lambda name: self._is_stray_render(job, name), self._pause):
            yield f"renders/{name}: belongs to no render; move it away"

    def _of_render(self, render: Render, fast: bool) -> str:
        try:
            return fault_of(self._renders.path(render), render.size_bytes, None if fast else render.sha256)
        except FileNotFoundError:
            return "its file has gone; put it back, or delete it" if self._renders.get(render.id) else ""

    def _is_stray_render(self, job: Job, name: str) -> bool:
        match = _RENDER_NAME.fullmatch(name)
        if match is None or not (self._store.folder(job.id) / "renders" / name).exists():
            return False
        render = self._renders.get(match[1])
        return render is None or render.timelapse != job.id or render.state in ("failed", "cancelled")

    def _of_left_over(self, job: Job) -> Iterator[str]:
        renders = any(render.state in ("queued", "running") for render in self._renders.of(job.id))
        for name in ("film",) if renders else ("film", "renders"):
            for path in _in(self._store.folder(job.id) / name):
                if path.suffix == PART and self._is_old(job.id, name, path.name):
                    yield f"{name}/{path.name}: left over; the next start clears it away"


def _in(folder: Path) -> list[Path]:
    """What is in a folder, by name; nothing where there is none."""
    try:
        return [folder / name for name in sorted(os.listdir(folder))]  # noqa: PTH208 — it says what is no folder, too
    except (FileNotFoundError, NotADirectoryError):
        return []
