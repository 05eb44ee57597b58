"""A job that has not ended, and what is decided about it when time comes. Its methods say when to ask again.

The one that captures (`taking.py`) and the one that keeps time (`scheduler.py`) both come here, and hold its lock.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from dataclasses import asdict
from datetime import datetime

from piapi.clock import format_time
from piapi.errors import NotFound, StorageError
from piapi.film.flicker import one_more
from piapi.models import NOBODY
from piapi.services.events import Events
from piapi.services.timelapses.account import Account
from piapi.services.timelapses.course import SECOND_US, Course
from piapi.services.timelapses.room import WANTS_SPACE, wants
from piapi.services.timelapses.ticks import Decision, Tick
from piapi.storage.database import Along
from piapi.storage.ledger import Job, Miss
from piapi.storage.timelapses import TimelapseStore
from piapi.timelapse import Cause, Film, Row, State

log = logging.getLogger(__name__)

#: Seconds after which a job that waits for something else than its next tick looks again.
LOOK_EVERY_S = 15

#: Seconds between two looks whether the clock is right now, for a job that waits for that.
CLOCK_EVERY_S = 2

#: Seconds before its next frame for which a camera is opened: it takes about one, and its exposure settles.
LEAD_S = 3.0

#: Microseconds before it is due at which a tick is handed out: what has to be done first is done then, and the camera
#: waits for the moment itself.
EARLY_US = 10_000

#: Seconds that a camera may take to open before a job that begins now begins without it.
OPENING_S = 5

#: Seconds by which a tick may be late, on a busy machine, and still be captured: a tenth of the interval between these.
LATE_S, MOST_LATE_S = 2, 60

MAY_NOT_FIT = "There is not room for all of it beside what is promised to others. It captures as long as there is."

WAITS_FOR_CLOCK = "It waits for the clock: nobody has set it since the machine started ([clock] trust)."


class ActiveJob:
    """One of them."""

    def __init__(
        self,
        course: Course,
        store: TimelapseStore,
        events: Events,
        is_camera_ready: Callable[[], bool],
        free_for: Callable[[Job], int],
        on_end: Callable[[ActiveJob], None],
        is_recovering: bool = False,
    ) -> None:
        self.course = course
        self.job = course.job
        self.lock = threading.RLock()
        self.in_flight: int | None = None
        """The tick that is being captured."""
        self.is_removed = False
        self.account = Account(course, store, events)
        self._store = store
        self._is_camera_ready = is_camera_ready
        self._free_for = free_for
        self._on_end = on_end
        self._is_recovering = is_recovering
        """Since the start no frame has come yet: what is missed was lost to the restart."""
        self._is_to_write_off = is_recovering
        self._asked_us = course.now_us()

    @property
    def is_short_of_space(self) -> bool:
        """Whether it is paused by itself, until there is space."""
        return bool(self.job.memory.get("short_of_space"))

    # Time has come ----------------------------------------------------------------------------------------------------

    def decide(self) -> Decision:
        """What is to be done now."""
        job, course = self.job, self.course
        with self.lock:
            if job.has_ended or self.is_removed or (job.state == "paused" and not self.is_short_of_space):
                return Decision()
            if not course.has_begun:
                if (waits := self._begin()) is not None:
                    return waits
            elif self._is_to_write_off or course.catch_up():
                self._write_off("power")
            self._is_to_write_off = False
            return self._next()

    def _begin(self) -> Decision | None:
        """Lay the grid, or find it again after a boot."""
        job, course = self.job, self.course
        now_us = course.now_us()
        if not course.may_begin():
            self.become("waiting", WAITS_FOR_CLOCK)
            return Decision(now_us + CLOCK_EVERY_S * SECOND_US)
        if job.boot_us is not None:
            course.rejoin()
            self._write_off("power")
            return None
        if not job.plan.start_at and not self._is_camera_ready() and now_us < self._asked_us + OPENING_S * SECOND_US:
            return Decision(now_us + SECOND_US // 20, expect_us=now_us)
        course.begin()
        if course.start_us < now_us:
            self._write_off("clock")
        self.account.flush(even_if_nothing=True)
        return None

    def _next(self) -> Decision:
        job, course = self.job, self.course
        now_us = course.now_us()
        course.look_at_clock()
        tick = course.next_tick()
        if tick is None:
            return self._end_when_quiet(now_us)
        due_us = course.due_us(tick)
        if due_us - now_us > (EARLY_US if self.in_flight is None else 0):
            return self._until(tick, due_us, now_us)
        last, allowed_us = course.last_due(now_us), self._allowed_us()
        if last > tick or now_us - due_us > allowed_us:
            # The machine slept, or was too busy. The last one is still in time, unless that is too late too.
            is_in_time = now_us - course.due_us(last) <= allowed_us
            self._miss(course.miss_until(course.due_us(last) - is_in_time, self._cause("overrun")))
        elif self.in_flight is not None:
            self._miss([course.miss(tick, tick, self._cause("overrun"))])
        elif (lack := wants(job, self._store, self._free_for)) is not None:
            self._be_short_of_space(lack)
            self._miss([course.miss(tick, tick, "storage")])
        else:
            job.memory.pop("short_of_space", None)
            self._run()
            self.in_flight = tick
            course.take(tick)
            return Decision(now_us, Tick(self, tick, due_us))
        return Decision(now_us)

    def _until(self, tick: int, due_us: int, now_us: int) -> Decision:
        """Nothing is due yet."""
        job, course = self.job, self.course
        early_us = due_us - EARLY_US
        if not self.is_short_of_space:
            if job.settled < 0 and tick == 0 and due_us - now_us > SECOND_US and job.plan.start_at:
                self.become("scheduled", None)
            elif course.calendar is not None and not course.calendar.contains(course.wall_time_of_us(now_us)):
                opens = format_time(job.wall_time(tick))
                self.become("waiting", f"It is outside its window, which opens for it at {opens}.")
            else:
                self._run()
        warm_us = due_us - round(LEAD_S * SECOND_US)
        look_us = max(now_us, course.due_us(course.reached)) + LOOK_EVERY_S * SECOND_US
        again_us = min(look_us, *(at_us for at_us in (warm_us, early_us, due_us) if at_us > now_us))
        return Decision(again_us, expect_us=due_us if now_us >= warm_us else None)

    def _end_when_quiet(self, now_us: int) -> Decision:
        if self.in_flight is not None:
            return Decision()  # whoever captures asks again
        if not self.become("finished", None):
            return Decision(now_us + LOOK_EVERY_S * SECOND_US)
        return Decision()

    # Ticks that are over ----------------------------------------------------------------------------------------------

    def keep(self, frame: Row, is_emulated: bool) -> None:
        """A tick was captured and its file is on disk: its row, and all misses that wait for it. Raises StorageError,
        and then it is still in flight."""
        with self.lock:
            job, before, flicker = self.job, self.in_flight, self.job.memory.get("flicker")
            if self.is_removed:
                raise NotFound("This time-lapse was removed meanwhile.")
            job.captured += 1
            job.bytes += frame.size_bytes or 0
            job.is_emulated = job.is_emulated or is_emulated
            job.lateness.add(frame.lateness_ms or 0.0)
            job.memory["flicker"] = one_more(flicker, frame.luminance)
            self.in_flight = None
            try:
                self.account.write(frame)
            except StorageError:
                job.captured -= 1
                job.bytes -= frame.size_bytes or 0
                self.in_flight, job.memory["flicker"] = before, flicker
                raise
            self._is_recovering = False

    def adopt(self, frame: Row) -> None:
        """A frame whose file outlived a crash, and its row did not; those before it were lost. Raises StorageError."""
        with self.lock:
            before = self.course.due_us(frame.index) - 1
            if self.course.reached < frame.index - 1:
                self._miss(self.course.miss_until(before, "power"))
            self.course.take(frame.index)
            self.in_flight = frame.index
            self.keep(frame, self.job.is_emulated)
            self._is_recovering = True

    def changed(self, by: str) -> None:
        """It has another plan. Raises StorageError."""
        plan = self.job.plan
        data = {"count": plan.count, "duration_s": plan.duration_s, "until": plan.until and format_time(plan.until)}
        self._note(self.account.entry("timelapse.changed", data, by))

    def lose(self, tick: Tick, cause: Cause) -> None:
        """A tick could not be captured."""
        with self.lock:
            self.in_flight = None
            if self.is_removed:
                return
            if cause == "storage":
                self._be_short_of_space()
            due_at = self.job.wall_time(tick.index)
            self.account.add_first(Miss(tick.index, tick.index, due_at, self._cause(cause)))
            self._flush()

    def _write_off(self, cause: Cause) -> None:
        """What went by while nobody was there."""
        self._miss(self.course.miss_until(self.course.now_us(), cause))

    def _miss(self, misses: Iterable[Miss]) -> None:
        for miss in misses:
            self.account.add(miss)
        self._flush()

    def _flush(self) -> None:
        """Write down what was missed, unless a tick before it is in flight."""
        if self.in_flight is None:
            self.account.flush()

    def _cause(self, cause: Cause) -> Cause:
        """Until the camera's first frame after a restart, it is the restart that they were lost to."""
        return "power" if self._is_recovering and cause in ("camera", "overrun") else cause

    # States -----------------------------------------------------------------------------------------------------------

    def become(self, state: State, reason: str | None, *, by: str = NOBODY) -> bool:
        """Change to a state, durably, and tell the journal. False when there is no room to write it down; raises
        StorageError where somebody asked for it."""
        job = self.job
        if (job.state, job.state_reason) == (state, reason):
            return True
        before, is_news = (job.state, job.state_reason, job.ended_at), job.state != state
        job.state, job.state_reason = state, reason
        if job.has_ended:
            job.ended_at = self.course.wall_time_of_us(self.course.now_us())
        along = [self.account.entry("timelapse.state", {"state": state, "reason": reason}, by)] if is_news else []
        try:
            self._note(*along)
        except StorageError as error:
            if job.has_ended or by != NOBODY:
                job.state, job.state_reason, job.ended_at = before
            if by != NOBODY:
                raise
            log.warning("that time-lapse %s is %s cannot be written down now: %s", job.id, state, error)
            return False
        if is_news:
            log.info("time-lapse %s is %s%s", job.id, state, f": {reason}" if reason else "")
        if job.has_ended:
            self._on_end(self)
        return True

    def _note(self, *along: Along) -> None:
        """The job as it is now, and what is known of its ticks. Raises StorageError."""
        self.account.write(None, *along, is_known=self.in_flight is None)

    def _run(self) -> None:
        self.become("running", MAY_NOT_FIT if self.job.is_unpromised else None)

    def _be_short_of_space(self, reason: str = WANTS_SPACE) -> None:
        self.job.memory["short_of_space"] = True
        self.become("paused", reason)

    def pause(self, by: str) -> None:
        """As its owner wants. Raises StorageError."""
        with self.lock:
            self.job.memory.pop("short_of_space", None)
            self.become("paused", None, by=by)

    def go_on(self, by: str) -> None:
        """As its owner wants; what would have been due meanwhile was not. Raises StorageError."""
        with self.lock:
            if self.job.state == "paused" and not self.is_short_of_space:
                if not self.course.has_begun and self.job.boot_us is not None and self.course.may_begin():
                    self.course.rejoin()
                if self.course.has_begun:
                    self.course.skip_to(self.course.now_us() - 1)
                self.become("running", None, by=by)

    def cancel(self, by: str) -> None:
        """End it before its time. Raises StorageError."""
        with self.lock:
            self.become("cancelled", None, by=by)

    def film_done(self, film: Film) -> None:
        """All of its film is closed. Raises StorageError."""
        self.job.is_film_done = True
        self.job.memory["film"] = asdict(film)
        try:
            self._note()
        except StorageError:
            self.job.is_film_done = False
            raise

    def next_frame_at(self) -> datetime | None:
        """When the next tick is due, by the wall clock; None where that is not known."""
        with self.lock:
            job = self.job
            if job.has_ended or not self.course.has_begun or (job.state == "paused" and not self.is_short_of_space):
                return None
            tick = self.course.next_tick()
            return None if tick is None else self.course.wall_time_of_us(self.course.due_us(tick))

    def _allowed_us(self) -> int:
        """How late a tick may be and still be captured."""
        return round(max(LATE_S, min(self.job.plan.interval_s / 10, MOST_LATE_S)) * SECOND_US)
