"""The pictures that requests wait for, between them and the thread that owns the camera."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field

from piapi.errors import CameraBusy, PiApiError
from piapi.hardware.base import StillRequest
from piapi.services.live import Picture

#: Pictures that may wait for one camera.
MOST_WAITING = 16


#: Seconds that a request tries to get a place: a burst of snapshots is over in a few frames.
PATIENCE_S = 0.25


@dataclass(frozen=True, slots=True)
class Taken:
    """A still, as a picture, with its raw bytes where they were asked for."""

    picture: Picture
    raw: bytes | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """Work for the owner. `request` None: a live frame will do, if its exposure begins after `asked_at`."""

    request: StillRequest | None
    asked_at: float
    deadline: float
    begin_at: float = 0.0
    """No exposure of a still that begins before this will do."""
    result: Future[Taken] = field(default_factory=Future)


class CaptureQueue:
    """Jobs in the order they came. `changed` is notified with each one; `waiting` bounds the requests that wait for any
    camera at once, so that threads are left for the rest."""

    def __init__(self, changed: threading.Condition, waiting: threading.Semaphore | None = None) -> None:
        self._changed = changed
        self._waiting = waiting or threading.Semaphore(MOST_WAITING)
        self._jobs: list[Job] = []

    def __len__(self) -> int:
        return len(self._jobs)

    @contextlib.contextmanager
    def place(self) -> Iterator[None]:
        """A place among those who may wait for a camera. Raises CameraBusy when all are taken, and stay so."""
        if not self._waiting.acquire(timeout=PATIENCE_S):
            raise CameraBusy("Too many requests wait for cameras already.")
        try:
            yield
        finally:
            self._waiting.release()

    def add(self, job: Job, is_bounded: bool = True) -> None:
        """Raises CameraBusy when too many wait for this camera; unless `is_bounded` is False, as for the few ticks."""
        with self._changed:
            if is_bounded and len(self._jobs) >= MOST_WAITING:
                raise CameraBusy(f"{MOST_WAITING} pictures wait for this camera already.")
            self._jobs.append(job)
            self._changed.notify_all()

    def next_still(self) -> Job | None:
        """The first of those who want a still."""
        with self._changed:
            return next((job for job in self._jobs if job.request is not None), None)

    def asking_for(self, request: StillRequest, now: float) -> list[Job]:
        """All for whom a still like this will do whose exposure begins now."""
        with self._changed:
            return [job for job in self._jobs if job.request == request and job.begin_at <= now]

    def served_by_frame(self, exposed_at: float) -> list[Job]:
        """All for whom a live frame exposed then will do."""
        with self._changed:
            return [job for job in self._jobs if job.request is None and job.asked_at <= exposed_at]

    def late(self, now: float) -> list[Job]:
        """All whose time is up."""
        with self._changed:
            return [job for job in self._jobs if job.deadline < now]

    def settle(self, jobs: list[Job], outcome: Taken | PiApiError) -> None:
        """Give these what they wait for, or an error; each once."""
        with self._changed:
            settled = [job for job in self._jobs if job in jobs]
            self._jobs = [job for job in self._jobs if job not in settled]
        for job in settled:
            if isinstance(outcome, Taken):
                job.result.set_result(outcome)
            else:
                job.result.set_exception(outcome)

    def fail_all(self, error: PiApiError) -> None:
        """Nobody gets anything."""
        self.settle(list(self._jobs), error)
