"""Whether there is room for the next frames of a job: on the disk, within its owner's quota, and beside the promises to
others."""

from __future__ import annotations

from collections.abc import Callable

from piapi.storage.ledger import Job
from piapi.storage.timelapses import TimelapseStore

#: Free space, above the floor, with which a job that was short of it goes on: frames of this many ticks.
ROOM_TICKS = 2

#: The same for one that leaves to others what they were promised, which is reckoned anew with each of their frames.
ROOM_AGAIN_TICKS = 20

WANTS_SPACE = "The disk is full down to its floor ([storage] floor_bytes). It goes on by itself when there is space."
WANTS_QUOTA = (
    "Time-lapses and pinned photos take all that pictures may ([storage] quota_bytes). It goes on by itself when there "
    "is room again."
)
WANTS_OTHERS = "All that is free is promised to other time-lapses. It goes on by itself when there is room again."

FIRST_FRAME_BYTES = 100_000
"""What a frame is taken to need before there is one, and at least."""


def wants(job: Job, store: TimelapseStore, free_for: Callable[[Job], int]) -> str | None:
    """What keeps it from a frame now; None: nothing does. `free_for` it, beside what is promised to others."""
    frame_bytes = max(job.bytes // job.captured if job.captured else 0, FIRST_FRAME_BYTES)
    if not store.has_room(ROOM_TICKS * frame_bytes):
        return WANTS_SPACE
    if not store.is_within_quota(ROOM_TICKS * frame_bytes):
        return WANTS_QUOTA
    ticks = ROOM_AGAIN_TICKS if job.state_reason == WANTS_OTHERS else ROOM_TICKS
    return WANTS_OTHERS if job.is_unpromised and free_for(job) < ticks * frame_bytes else None
