"""Time-lapses on disk: a row for each job, a ledger of its ticks, and a folder of its frames.

A frame's file comes first and its row second; `frames/000012/000012345.jpg` is named after the number of its tick, so
that no clock can make two of one name. Misses stand as runs: a month without power is one row.
"""

from __future__ import annotations

import itertools
import logging
import shutil
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from piapi.storage.database import Along, Database, to_millis
from piapi.storage.files import PART
from piapi.storage.frames import FRAMES_A_FOLDER, JOB_NAME, REMOVED, RESTORING, FrameFiles
from piapi.storage.ledger import Job, Miss
from piapi.storage.timelapse_rows import columns_of, frame_values, job_of, missed_row, row_of
from piapi.timelapse import Row, State

log = logging.getLogger(__name__)


class TimelapseStore(FrameFiles):
    """Jobs, ledgers and frames."""

    def __init__(self, database: Database, folder: Path, floor_bytes: int = 0, quota_bytes: int = 0) -> None:
        """`quota_bytes`: most that all pictures may take; 0: no limit."""
        super().__init__(folder, floor_bytes)
        self._database = database
        self._quota_bytes = quota_bytes

    # What they take ---------------------------------------------------------------------------------------------------

    def taken_bytes(self) -> int:
        """Of all frames that are kept, all films and all renders."""
        row = self._database.read_one(
            "SELECT (SELECT coalesce(sum(kept_bytes + film_bytes), 0) FROM timelapses) +"
            " (SELECT coalesce(sum(size_bytes), 0) FROM renders WHERE state = 'finished') AS bytes"
        )
        return row["bytes"] if row else 0

    def quota_left(self) -> int | None:
        """Bytes that time-lapses may still take; None: as many as they like. Photos that are not pinned give way."""
        if not self._quota_bytes:
            return None
        row = self._database.read_one(
            "SELECT coalesce(sum(size_bytes), 0) AS bytes FROM photos WHERE pinned = 1 AND missing_since IS NULL"
        )
        return self._quota_bytes - self.taken_bytes() - (row["bytes"] if row else 0)

    def is_within_quota(self, wanted_bytes: int) -> bool:
        """Whether so much more may be taken."""
        left = self.quota_left()
        return left is None or wanted_bytes <= left

    def note_film(self, job: Job, film_bytes: int) -> None:
        """So much the closed part of its film takes now. Raises StorageError."""
        with self._database.write() as connection:
            connection.execute("UPDATE timelapses SET film_bytes = ? WHERE seq = ?", (film_bytes, job.seq))

    # Jobs -------------------------------------------------------------------------------------------------------------

    def add(self, job: Job, *along: Along) -> Job:
        """Keep a new one; gives it its `seq`."""
        with self._database.write() as connection:
            values = {**columns_of(job), "id": job.id, "camera": job.camera, "created_by": job.created_by}
            values |= {"created_at": to_millis(job.created_at)}
            names = ", ".join(values)
            cursor = connection.execute(
                f"INSERT INTO timelapses ({names}) VALUES ({', '.join('?' * len(values))})",  # noqa: S608 — our names
                tuple(values.values()),
            )
            job.seq = cursor.lastrowid or 0
            for also in along:
                also(connection)
        return job

    def save(
        self, job: Job, frame: Row | None = None, misses: Iterable[Miss] = (), along: Sequence[Along] = ()
    ) -> None:
        """A job as it is now, with a frame and misses that are new in its ledger, in one transaction."""
        with self._database.write() as connection:
            if frame is not None:
                connection.execute(
                    "INSERT INTO frames VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", frame_values(job.seq, frame)
                )
            for miss in misses:
                _add_miss(connection, job.seq, miss)
            values = columns_of(job)
            names = ", ".join(f"{name} = ?" for name in values)
            connection.execute(
                f"UPDATE timelapses SET {names} WHERE seq = ?",  # noqa: S608 — our names
                (*values.values(), job.seq),
            )
            for also in along:
                also(connection)

    def get(self, id: str) -> Job | None:
        """One of them."""
        row = self._database.read_one("SELECT * FROM timelapses WHERE id = ?", (id,))
        return job_of(row) if row else None

    def page(
        self, cameras: frozenset[str] | None, limit: int, before: int | None, state: State | None = None
    ) -> list[Job]:
        """Newest first; of these cameras, or of all, and in this state, or in any."""
        where: list[str] = ["seq < ?"]
        values: list[Any] = [2**62 if before is None else before]
        if cameras is not None:
            where.append(f"camera IN ({', '.join('?' * len(cameras))})")
            values += sorted(cameras)
        if state is not None:
            where.append("state = ?")
            values.append(state)
        rows = self._database.read(
            f"SELECT * FROM timelapses WHERE {' AND '.join(where)} ORDER BY seq DESC LIMIT ?",  # noqa: S608
            (*values, limit),
        )
        return [job_of(row) for row in rows]

    def unfinished(self) -> list[Job]:
        """All that may still capture, or whose film is not closed; oldest first."""
        rows = self._database.read("SELECT * FROM timelapses WHERE ended_at IS NULL OR is_film_done = 0 ORDER BY seq")
        return [job_of(row) for row in rows]

    def jobs_after(self, seq: int, limit: int) -> list[Job]:
        """In the order in which they were made, behind the one with this number."""
        rows = self._database.read("SELECT * FROM timelapses WHERE seq > ? ORDER BY seq LIMIT ?", (seq, limit))
        return [job_of(row) for row in rows]

    def ended_before(self, moment: datetime, limit: int) -> list[Job]:
        """Those that ended before `moment`, oldest first."""
        rows = self._database.read(
            "SELECT * FROM timelapses WHERE ended_at < ? ORDER BY ended_at, seq LIMIT ?", (to_millis(moment), limit)
        )
        return [job_of(row) for row in rows]

    def frame_bytes(self, camera: str, pixels: int) -> float | None:
        """Mean size of the frames of the last job on this camera that captured some, scaled to a size in pixels."""
        row = self._database.read_one(
            "SELECT * FROM timelapses WHERE camera = ? AND captured > 0 ORDER BY seq DESC LIMIT 1", (camera,)
        )
        if row is None:
            return None
        job = job_of(row)
        area = job.plan.width * job.plan.height
        return job.bytes / job.captured * (pixels / area if area and pixels else 1.0)

    def still_bytes(self, camera: str, pixels: int) -> float | None:
        """Mean size of the last photos that this camera took as JPEG, scaled to a size in pixels."""
        row = self._database.read_one(
            "SELECT avg(size_bytes * 1.0 / (width * height)) AS mean FROM (SELECT * FROM photos WHERE camera = ?"
            " AND missing_since IS NULL AND format = 'jpeg' ORDER BY captured_at DESC LIMIT 10)",
            (camera,),
        )
        return row["mean"] * pixels if row and row["mean"] else None

    def remove(self, job: Job, *along: Along) -> None:
        """Remove a job for good: row, then files."""

        def change(connection: sqlite3.Connection) -> None:
            for table in ("frames", "misses"):
                connection.execute(f"DELETE FROM {table} WHERE timelapse = ?", (job.seq,))  # noqa: S608 — our names
            connection.execute("DELETE FROM renders WHERE timelapse = ?", (job.id,))
            connection.execute("DELETE FROM timelapses WHERE seq = ?", (job.seq,))
            for also in along:
                also(connection)

        self._database.write_to_free(change)
        self.remove_folder(job.id)

    def clear_left_over(self) -> None:
        """Clear away what a crash has left, and set aside folders that the database does not know: it is from an older
        backup. For the owner alone, before anything works on them. What cannot be done now is done at another start."""
        for path in sorted(self._folder.iterdir()) if self._folder.is_dir() else ():
            try:
                if path.suffix in (REMOVED, RESTORING) and JOB_NAME.fullmatch(path.stem):
                    log.info("removed %s, which a crash had left", path.name)
                    shutil.rmtree(path, ignore_errors=True)
                elif JOB_NAME.fullmatch(path.name) and path.is_dir():
                    self._clear_folder(path)
            except OSError as error:
                log.warning("%s cannot be put in order now: %s", path.name, error)

    def _clear_folder(self, folder: Path) -> None:
        job = self.get(folder.name)
        if job is None:
            if any(path.is_file() for path in folder.rglob("*")):
                place = self.set_folder_aside(folder.name)
                log.warning("moved %s to %s: it has no row", folder.name, place.relative_to(self._data))
            else:  # a crash came before it began
                shutil.rmtree(folder, ignore_errors=True)
            return
        for part in (*folder.glob(f"film/*{PART}"), *folder.glob(f"renders/*{PART}")):
            part.unlink()
        if not job.plan.video.keep_frames:
            for row in self._rows_without_file(job):
                self.place(job.id, row.index).unlink(missing_ok=True)

    def _rows_without_file(self, job: Job) -> Iterator[Row]:
        """The captured ticks whose file has gone, or should have: of those that have one on disk."""
        for folder in (self.folder(job.id) / "frames").glob("*"):
            first = int(folder.name) * FRAMES_A_FOLDER if folder.name.isdecimal() else 0
            if any(folder.iterdir()):
                yield from (row for row in self.captured(job, FRAMES_A_FOLDER, first - 1) if not row.has_file)

    def accept_gone(self) -> None:
        """Mark frames whose file is not there as such that have none. Raises StorageError."""
        seq = 0
        while jobs := self.jobs_after(seq, 1):
            seq = jobs[0].seq
            gone = [row.index for row, path in self.frames(jobs[0]) if not path.exists()]
            if gone:
                log.warning("time-lapse %s: the files of %d frames have gone", jobs[0].id, len(gone))
                with self._database.write() as connection:
                    connection.executemany(
                        "UPDATE frames SET has_file = 0 WHERE timelapse = ? AND tick = ?",
                        ((seq, index) for index in gone),
                    )

    # The ledger -------------------------------------------------------------------------------------------------------

    def rows(self, job: Job, limit: int, before: int | None) -> list[Row]:
        """Rows of the ledger below `before`, newest first."""
        top = 2**62 if before is None else before
        frames = self._database.read(
            "SELECT * FROM frames WHERE timelapse = ? AND tick < ? ORDER BY tick DESC LIMIT ?", (job.seq, top, limit)
        )
        misses = self._database.read(
            "SELECT * FROM misses WHERE timelapse = ? AND first < ? ORDER BY first DESC LIMIT ?", (job.seq, top, limit)
        )
        ticks = ((miss, tick) for miss in misses for tick in range(min(miss["last"], top - 1), miss["first"] - 1, -1))
        found = [row_of(frame) for frame in frames]
        found += [missed_row(job, miss, tick) for miss, tick in itertools.islice(ticks, limit)]
        found.sort(key=lambda row: -row.index)
        return found[:limit]

    def row(self, job: Job, index: int) -> Row | None:
        """One row of the ledger."""
        found = self.rows(job, 1, index + 1)
        return found[0] if found and found[0].index == index else None

    def captured(self, job: Job, limit: int, after: int) -> list[Row]:
        """Captured ticks above `after`, in order."""
        rows = self._database.read(
            "SELECT * FROM frames WHERE timelapse = ? AND tick > ? ORDER BY tick LIMIT ?", (job.seq, after, limit)
        )
        return [row_of(row) for row in rows]

    def latest(self, job: Job) -> Row | None:
        """The newest captured tick."""
        rows = self._database.read("SELECT * FROM frames WHERE timelapse = ? ORDER BY tick DESC LIMIT 1", (job.seq,))
        return row_of(rows[0]) if rows else None

    def frames(self, job: Job, page: int = 200) -> Iterator[tuple[Row, Path]]:
        """Captured ticks that have their file, in order, read page by page."""
        after = -1
        while rows := self.captured(job, page, after):
            after = rows[-1].index
            yield from ((row, self.place(job.id, row.index)) for row in rows if row.has_file)

    def drop_files(self, job: Job, up_to: int) -> None:
        """Let the JPEGs go of all ticks up to this one; their rows stay."""
        rows = self._database.read(
            "SELECT tick FROM frames WHERE timelapse = ? AND tick <= ? AND has_file = 1", (job.seq, up_to)
        )
        if not rows:
            return
        with self._database.write() as connection:
            connection.execute(
                "UPDATE frames SET has_file = 0 WHERE timelapse = ? AND tick <= ? AND has_file = 1", (job.seq, up_to)
            )
        for row in rows:
            self.place(job.id, row["tick"]).unlink(missing_ok=True)


def _add_miss(connection: sqlite3.Connection, job: int, miss: Miss) -> None:
    """As part of the run before it, where that ends just there."""
    longer = connection.execute(
        "UPDATE misses SET last = ? WHERE timelapse = ? AND last = ? AND cause = ? AND first ="
        " (SELECT max(first) FROM misses WHERE timelapse = ?)",
        (miss.last, job, miss.first - 1, miss.cause, job),
    )
    if not longer.rowcount:
        connection.execute(
            "INSERT INTO misses VALUES (?, ?, ?, ?, ?)",
            (job, miss.first, miss.last, to_millis(miss.due_at), miss.cause),
        )
