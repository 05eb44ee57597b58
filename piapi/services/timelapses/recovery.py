"""After a crash: ledger, frames and film are made to agree before a job goes on. Nothing that was captured is lost."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from piapi.errors import NotFound, StorageError
from piapi.film.catalogue import Hole
from piapi.film.mending import Frame, MendingWriter
from piapi.film.segments import filmed_after
from piapi.services.timelapses.active import ActiveJob
from piapi.storage.ledger import Job
from piapi.storage.timelapses import TimelapseStore
from piapi.timelapse import Row

#: Frames that are read from the ledger at once.
_PAGE = 50

log = logging.getLogger(__name__)

#: How a JPEG begins and ends (ITU-T T.81, table B.1).
_START, _END = b"\xff\xd8", b"\xff\xd9"


def _adopt_filmed(active: ActiveJob, index: int) -> None:
    """The database is from an older backup, and the film knows better: its picture is what is left of this frame."""
    job = active.job
    if active.course.is_on_grid(index):
        due_at = job.wall_time(index)
        active.adopt(Row(index, due_at, "captured", None, due_at, 0.0, 0))
        log.info("time-lapse %s: frame %d was in the film and not in the ledger; it is now", job.id, index)


def mend(active: ActiveJob, store: TimelapseStore) -> None:
    """Take frames into the ledger whose rows were lost between file and row. The film follows the ledger by itself."""
    job = active.job
    found: dict[int, Path | None] = dict.fromkeys(filmed_after(store.film_folder(job.id), job.settled))
    found |= dict(store.files_after(job, job.settled))
    for index, path in sorted(found.items()):
        try:
            if path is None:
                _adopt_filmed(active, index)
                continue
            data = path.read_bytes()
            captured_at = datetime.fromtimestamp(path.stat().st_mtime, UTC)
            if not (data.startswith(_START) and data.endswith(_END)) or not active.course.is_on_grid(index):
                path.unlink()
                log.warning("time-lapse %s: removed frame %d, which was never whole", job.id, index)
                continue
            due_at = job.wall_time(index)
            sha256 = hashlib.sha256(data).hexdigest()
            frame = Row(index, due_at, "captured", None, captured_at, 0.0, len(data), None, True, sha256)
            active.adopt(frame)
            log.info("time-lapse %s: frame %d was on disk and not in the ledger; it is now", job.id, index)
        except (OSError, StorageError) as error:
            log.warning("time-lapse %s: frame %d cannot be mended now: %s", job.id, index, error)
            return


def mend_film(job: Job, store: TimelapseStore, writer: MendingWriter) -> None:
    """Make those segments of a film again that are damaged or lost, from the frames whose files are there.

    Where they cannot be put back into their place, the film is cut off there: what comes after its `last_index` has to
    be appended again. Raises StorageError and HardwareError; then it may be called again.
    """
    while writer.holes:
        hole = writer.holes[0]
        frames = _Within(job, store, hole)
        if not writer.fill(frames, job.plan.video.timestamp):
            log.warning("time-lapse %s: its film is made again from tick %d on", job.id, hole.after + 1)
            writer.truncate_after(hole.after)
        elif frames.gone:
            log.warning(
                "time-lapse %s: %d frames after tick %d cannot be filmed again: their files have gone",
                job.id, frames.gone, hole.after,
            )  # fmt: skip


class _Within:
    """The captured frames of a hole, read one by one."""

    def __init__(self, job: Job, store: TimelapseStore, hole: Hole) -> None:
        self._job, self._store, self._hole = job, store, hole
        self.gone = 0
        """Frames of which there is no file any more."""

    def __iter__(self) -> Iterator[Frame]:
        for row in self._rows():
            try:
                yield row.index, self._store.read_frame(self._job, row.index), row.captured_at or row.due_at
            except NotFound:
                self.gone += 1

    def _rows(self) -> Iterator[Row]:
        after = self._hole.after
        while rows := self._store.captured(self._job, _PAGE, after):
            after = rows[-1].index
            yield from (row for row in rows if row.index < self._hole.before)
            if after >= self._hole.before:
                return
