"""What a plan will come to, and whether there is room for it beside what is promised to those that run."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from piapi.errors import DoesNotFit
from piapi.services.timelapses.course import SECOND_US
from piapi.services.timelapses.schedule import end_of_count, ticks_between
from piapi.services.timelapses.window import Calendar
from piapi.storage.ledger import Job
from piapi.storage.timelapses import TimelapseStore
from piapi.timelapse import Estimate, Plan

#: Bytes of a JPEG for each pixel, where this camera has taken none yet.
BYTES_A_PIXEL = 0.2

#: The part that a frame takes in the film, of what its JPEG takes.
FILM_PART = 0.25

#: Frames of which a job that keeps none has the JPEGs at once: two segments of its film.
UNKEPT_FRAMES = 120


class Promises:
    """Reckons with space."""

    def __init__(
        self,
        store: TimelapseStore,
        free_bytes: Callable[[], int],
        active: Callable[[], Iterable[Job]],
    ) -> None:
        """`free_bytes`: above the floor, and within the quota."""
        self._store = store
        self._free_bytes = free_bytes
        self._active = active

    def estimate(self, camera: str, pixels: int, plan: Plan, start: datetime, calendar: Calendar | None) -> Estimate:
        """What a plan that begins at `start` will come to."""
        frames, ends_at = extent_of(plan, start, calendar)
        frame_bytes = self._frame_bytes(camera, pixels)
        size_bytes = _size_of(plan, frames, frame_bytes)
        fits = size_bytes <= self._free_bytes() - self.promised_bytes()
        return Estimate(frames, size_bytes, ends_at, frames / plan.video.fps, fits)

    def require(self, estimate: Estimate) -> None:
        """Raise DoesNotFit where there is not the room."""
        if not estimate.fits:
            free = max(0, self._free_bytes() - self.promised_bytes())
            raise DoesNotFit(
                f"It would take about {estimate.size_bytes / 1e6:.0f} MB, and {free / 1e6:.0f} MB are free beside what "
                "is promised to others. Take fewer or smaller frames, or keep none of them ("
                '"video": {"keep_frames": false}).',
                estimate,
            )

    def require_change(self, job: Job, plan: Plan, frames: int, ends_at: datetime) -> bool:
        """Whether one that runs is promised its space with another plan, for so many frames. Raises DoesNotFit where it
        would be longer, and there is not the room."""
        wanted, before = self.wanted_by(_replanned(job, plan, frames)), self.wanted_by(job)
        free = self.free_for(job)
        if wanted > max(before, free):
            self.require(Estimate(frames, wanted, ends_at, frames / plan.video.fps, False))
        return wanted <= free or not job.is_unpromised

    def has_room_for(self, job: Job, frames: int) -> bool:
        """Whether all of one that runs would fit, with so many frames."""
        return self.wanted_by(_replanned(job, job.plan, frames)) <= self.free_for(job)

    def promised_bytes(self, but: Job | None = None) -> int:
        """To those that run, for what they have not captured yet."""
        return sum(self.left_of(job) for job in self._active() if job is not but)

    def free_for(self, job: Job) -> int:
        """What one that runs may take, beside the others."""
        return self._free_bytes() - self.promised_bytes(but=job)

    def left_of(self, job: Job) -> int:
        """What is promised to one that runs, for what it has not captured yet."""
        return 0 if job.is_unpromised else self.wanted_by(job)

    def wanted_by(self, job: Job) -> int:
        """What one that runs will still take, as far as there is room for it."""
        if job.has_ended:
            return 0
        total = job.memory.get("frames_total")
        left = max(0, (total if isinstance(total, int) else 0) - job.due)
        frame_bytes = job.bytes / job.captured if job.captured else job.memory.get("frame_bytes", 0)
        return _size_of(job.plan, left, frame_bytes)

    def _frame_bytes(self, camera: str, pixels: int) -> float:
        return (
            self._store.frame_bytes(camera, pixels) or self._store.still_bytes(camera, pixels) or pixels * BYTES_A_PIXEL
        )


def extent_of(plan: Plan, start: datetime, calendar: Calendar | None) -> tuple[int, datetime]:
    """How many ticks will be due of a plan whose tick 0 is at `start`, and when the last one is."""
    if plan.count is not None:
        return plan.count, end_of_count(start, plan.interval_s, plan.count, calendar) or start
    if plan.duration_s is not None:
        stop = start + timedelta(microseconds=round(plan.duration_s * SECOND_US))
    else:
        stop = plan.until or start
    frames = ticks_between(start, stop, plan.interval_s, calendar)
    ends_at = end_of_count(start, plan.interval_s, frames, calendar) if frames else None
    return frames, ends_at or start


def with_end(plan: Plan, changes: dict[str, object]) -> Plan:
    """A plan with another end, or another name."""
    if any(name in changes for name in ("count", "duration_s", "until")):
        plan = replace(plan, count=None, duration_s=None, until=None)
    return replace(plan, **{name: value for name, value in changes.items() if name != "state"})  # type: ignore[arg-type]


def _replanned(job: Job, plan: Plan, frames: int) -> Job:
    """The same job, if it had another plan."""
    return replace(job, plan=plan, memory={**job.memory, "frames_total": frames})


def _size_of(plan: Plan, frames: int, frame_bytes: float) -> int:
    kept = frames if plan.video.keep_frames else min(frames, UNKEPT_FRAMES)
    return round(kept * frame_bytes + frames * frame_bytes * FILM_PART)
