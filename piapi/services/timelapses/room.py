"""Whether there is room for the next frames of a job, on the disk and within its owner's quota."""

from __future__ import annotations

from piapi.storage.ledger import Job
from piapi.storage.timelapses import TimelapseStore

#: Free space, above the floor, with which a job that was short of it goes on: frames of this many ticks.
ROOM_TICKS = 2

WANTS_SPACE = "The disk is full down to its floor ([storage] floor_bytes). It goes on by itself when there is space."
WANTS_QUOTA = (
    "Time-lapses and pinned photos take all that pictures may ([storage] quota_bytes). It goes on by itself when there "
    "is room again."
)

FIRST_FRAME_BYTES = 100_000
"""What a frame is taken to need before there is one, and at least."""


def wants(job: Job, store: TimelapseStore) -> str | None:
    """What keeps it from a frame now: disk or quota; None: neither does."""
    frame_bytes = max(job.bytes // job.captured if job.captured else 0, FIRST_FRAME_BYTES)
    if not store.has_room(ROOM_TICKS * frame_bytes):
        return WANTS_SPACE
    return None if store.is_within_quota(ROOM_TICKS * frame_bytes) else WANTS_QUOTA
