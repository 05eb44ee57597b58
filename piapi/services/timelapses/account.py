"""What has become of a job's ticks, on its way to the ledger: rows, counts and the entry of the journal in one go."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from piapi.errors import StorageError
from piapi.models import NOBODY
from piapi.services.events import Events
from piapi.services.timelapses.course import SECOND_US, Course
from piapi.storage.database import Along
from piapi.storage.ledger import Miss
from piapi.storage.timelapses import TimelapseStore
from piapi.timelapse import Row

log = logging.getLogger(__name__)

#: Seconds from one entry about misses of a job to the next, which sums up those since: the journal is no second ledger.
TELL_EVERY_S = 60


#: In the memory of a job: misses that are in its ledger and not in the journal yet, as the next entry will have them.
_UNTOLD = "untold"


class Account:
    """Of one job. Whoever calls holds the job's lock."""

    def __init__(self, course: Course, store: TimelapseStore, events: Events) -> None:
        self._course = course
        self._job = course.job
        self._store = store
        self._events = events
        self._pending: list[Miss] = []
        """Misses that are not written down yet: a tick before them is in flight, or the disk is full."""
        self._told_us = -(10**15)

    def add(self, miss: Miss) -> None:
        """A run of ticks was missed; it is written down with what comes next."""
        last = self._pending[-1] if self._pending else None
        if last is not None and last.cause == miss.cause and last.last == miss.first - 1:
            self._pending[-1] = Miss(last.first, miss.last, last.due_at, miss.cause)
        else:
            self._pending.append(miss)

    def add_first(self, miss: Miss) -> None:
        """The tick that was in flight comes before those that were missed meanwhile."""
        self._pending.insert(0, miss)

    def flush(self, even_if_nothing: bool = False) -> None:
        """Write down what was missed, where there is room; else it waits."""
        if self._pending or even_if_nothing:
            try:
                self.write()
            except StorageError as error:
                log.debug("time-lapse %s waits for room: %s", self._job.id, error)

    def write(self, frame: Row | None = None, *along: Along, is_known: bool = True) -> None:
        """The job as it is now, with a frame and what was missed, in one transaction. Raises StorageError.

        `is_known` False: a tick is in flight, so nothing is said of it and of those after it.
        """
        job, before = self._job, (self._job.settled, self._job.missed, self._job.memory.get(_UNTOLD))
        misses = self._pending if is_known else []
        if is_known:
            job.settled = self._course.reached
            job.missed += sum(map(len, misses))
        untold = job.memory[_UNTOLD] = _summed(before[2], misses)
        now_us = self._course.now_us()
        is_time = job.has_ended or now_us - self._told_us >= TELL_EVERY_S * SECOND_US
        if untold and is_time:
            job.memory[_UNTOLD] = None
            along = (self.entry("timelapse.missed", untold), *along)
        try:
            self._store.save(job, frame, misses, along)
        except StorageError:
            job.settled, job.missed, job.memory[_UNTOLD] = before
            raise
        if untold and is_time:
            self._told_us = now_us
        if is_known:
            self._pending = []
            self._course.outstanding = 0

    def entry(self, type: str, data: dict[str, Any], by: str = NOBODY) -> Along:
        """Of the journal, about this job."""
        job = self._job
        return self._events.entry(type, f"camera:{job.camera}", {"id": job.id, "name": job.plan.name, **data}, actor=by)


def _summed(untold: dict[str, Any] | None, misses: Sequence[Miss]) -> dict[str, Any] | None:
    """What is to be told of misses, with these; None: nothing."""
    for miss in misses:
        causes = dict(untold["causes"]) if untold else {}
        causes[miss.cause] = causes.get(miss.cause, 0) + len(miss)
        first = untold["first"] if untold else miss.first
        untold = {"first": first, "last": miss.last, "count": sum(causes.values()), "causes": causes}
    return untold
