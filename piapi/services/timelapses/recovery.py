"""After a crash: ledger, frames and film are made to agree before a job goes on. Nothing that was captured is lost."""

from __future__ import annotations

import hashlib
import logging
from datetime import UTC, datetime

from piapi.errors import StorageError
from piapi.services.timelapses.active import ActiveJob
from piapi.storage.timelapses import TimelapseStore
from piapi.timelapse import Row

log = logging.getLogger(__name__)

#: How a JPEG begins and ends (ITU-T T.81, table B.1).
_START, _END = b"\xff\xd8", b"\xff\xd9"


def mend(active: ActiveJob, store: TimelapseStore) -> None:
    """Take frames into the ledger whose rows were lost between file and row. The film follows the ledger by itself."""
    job = active.job
    for index, path in store.files_after(job, job.settled):
        try:
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
