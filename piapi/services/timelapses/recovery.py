"""After a crash: ledger, frames and film are made to agree before a job goes on. Nothing that was captured is lost."""

from __future__ import annotations

import hashlib
import logging
from datetime import UTC, datetime
from pathlib import Path

from piapi.errors import StorageError
from piapi.film.segments import filmed_after
from piapi.services.timelapses.active import ActiveJob
from piapi.storage.timelapses import TimelapseStore
from piapi.timelapse import Row

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
