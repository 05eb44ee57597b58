"""Where a job is on its grid: which tick comes next, when, and which ones went by. No thread and no hardware.

Spacing is by CLOCK_BOOTTIME, in whole microseconds, so that no tick ever drifts. The wall clock is asked where a plan
speaks of it (windows, dates), and to find the grid again after the machine was off. It is believed only while somebody
who knows says that it is right: a Pi wakes up in the past.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

from piapi.clock import Clock
from piapi.services.timelapses.schedule import next_due
from piapi.services.timelapses.window import Calendar
from piapi.storage.ledger import Job, Miss, from_micros, to_micros
from piapi.timelapse import Cause

#: Microseconds in a second.
SECOND_US = 1_000_000

#: A step of the wall clock, in microseconds: less is how long it takes to look at two clocks on a busy machine.
STEP_US = 50_000


class Course:
    """A job's way along its grid. Whoever calls holds the job's lock."""

    def __init__(
        self,
        job: Job,
        calendar: Calendar | None,
        clock: Clock,
        boot_id: str,
        is_clock_believed: Callable[[], bool],
    ) -> None:
        self.job = job
        self.calendar = calendar
        self._clock = clock
        self._boot_id = boot_id
        self._is_clock_believed = is_clock_believed
        self._has_believed = False
        self._is_provisional = False
        """Whether the grid was found again by a clock that nobody believes."""
        self.reached = job.settled
        """The last tick that is settled or under way, also where that is not written down yet."""
        self.outstanding = 0
        """Ticks up to that one that were due, and are not counted in the job yet."""

    # The clocks -------------------------------------------------------------------------------------------------------

    def now_us(self) -> int:
        """CLOCK_BOOTTIME."""
        return round(self._clock.monotonic() * SECOND_US)

    def believes(self) -> bool:
        """Whether the wall clock is right; once it was, it is for as long as this runs."""
        if not self._has_believed:
            self._has_believed = self._is_clock_believed()
        return self._has_believed

    @property
    def start_us(self) -> int:
        """Tick 0, by CLOCK_BOOTTIME."""
        return self.job.boot_us or 0

    @property
    def has_begun(self) -> bool:
        """Whether its grid is known in this boot."""
        return self.job.boot_id == self._boot_id and self.job.boot_us is not None

    def due_us(self, tick: int) -> int:
        """When a tick is due, by CLOCK_BOOTTIME."""
        return self.start_us + tick * self.job.interval_us

    def last_due(self, at_us: int) -> int:
        """The last tick that was due at a moment."""
        return (at_us - self.start_us) // self.job.interval_us

    def look_at_clock(self) -> None:
        """Where tick 0 is by the wall clock as it goes now: a step of that clock moves no tick, only its label."""
        anchor = to_micros(self._clock.now()) - self.now_us() + self.start_us
        believes = self.believes()
        if believes or not self.job.is_anchored:
            if self.job.anchor_us is None or abs(anchor - self.job.anchor_us) > STEP_US:
                self.job.anchor_us = anchor
            self.job.is_anchored = believes
            self.job.started_at = from_micros(self.job.anchor_us)

    # Beginning --------------------------------------------------------------------------------------------------------

    def may_begin(self) -> bool:
        """Whether its start is known: a plan that speaks of the wall clock waits until that is right."""
        return not self.job.plan.has_calendar or self.believes()

    def begin(self) -> None:
        """Lay the grid: tick 0 is at the start that was asked for, or now."""
        now_us = self.now_us()
        start_at = self.job.plan.start_at
        wait_us = to_micros(start_at) - to_micros(self._clock.now()) if start_at else 0
        self.job.boot_id, self.job.boot_us = self._boot_id, now_us + wait_us
        self.look_at_clock()

    def rejoin(self) -> None:
        """Find the grid again in another boot, by the wall clock."""
        now_us, anchor_us = self.now_us(), self.job.anchor_us or 0
        start_us = now_us - (to_micros(self._clock.now()) - anchor_us)
        went_by = (now_us - start_us) // self.job.interval_us
        believes = self.believes()
        if went_by < self.job.settled or (believes and not self.job.is_anchored):
            # One of the clocks is wrong, so nobody knows how long it was off: on with the next tick, now.
            start_us = now_us - (self.job.settled + 1) * self.job.interval_us
        self._is_provisional = self.job.is_anchored and not believes
        self.job.boot_id, self.job.boot_us = self._boot_id, start_us
        self.look_at_clock()

    def catch_up(self) -> bool:
        """Once the clock is right: move the grid on if it was off for longer than was known. True if so."""
        if not self._is_provisional or not self.believes():
            return False
        self._is_provisional = False
        start_us = self.now_us() - (to_micros(self._clock.now()) - (self.job.anchor_us or 0))
        moves = start_us < self.start_us - STEP_US
        if moves:
            self.job.boot_us = start_us
        self.look_at_clock()
        return moves

    # Ticks ------------------------------------------------------------------------------------------------------------

    @property
    def due(self) -> int:
        """Ticks that have been due, with those that are under way."""
        return self.job.due + self.outstanding

    def next_tick(self) -> int | None:
        """The first tick that is due and of which nothing is settled yet; None: there is none any more."""
        tick = self.reached + 1
        if self.calendar is not None and not self.calendar.contains(self.job.wall_time(tick)):
            following = next_due(self.job.wall_time(0), self.job.plan.interval_s, self.calendar, tick)
            if following is None:
                return None
            tick = following
        return None if self.is_past_end(tick) else tick

    def is_past_end(self, tick: int) -> bool:
        """Whether this tick, which is not settled, is not due any more."""
        last = self.last_tick(tick)
        return last is not None and tick > last

    def last_tick(self, tick: int) -> int | None:
        """The last one that is due, if all are from this one on, which is not settled; None: that is not known."""
        plan, interval_us = self.job.plan, self.job.interval_us
        if plan.count is not None:
            return tick + plan.count - self.due - 1
        if plan.duration_s is not None:
            return (round(plan.duration_s * SECOND_US) - 1) // interval_us
        if plan.until is not None:
            return (to_micros(plan.until) - (self.job.anchor_us or 0) - 1) // interval_us
        return None

    def is_on_grid(self, tick: int) -> bool:
        """Whether this one may have been captured: it is not past the end."""
        return tick > self.reached and not self.is_past_end(tick)

    def take(self, tick: int) -> None:
        """This one is under way."""
        self.reached = tick
        self.outstanding += 1

    def skip_to(self, at_us: int) -> None:
        """None of the ticks up to a moment are due: its owner had paused it."""
        last = self.last_due(at_us)
        if last > self.reached:
            self.job.memory["skipped"] = self.job.memory.get("skipped", 0) + last - self.reached
            self.reached = last

    def miss_until(self, at_us: int, cause: Cause) -> Iterator[Miss]:
        """The ticks that were due up to a moment and are settled by nobody, as runs."""
        last = self.last_due(at_us)
        while (tick := self.next_tick()) is not None and tick <= last:
            yield self.miss(tick, min(last, self._last_of_run(tick)), cause)
        self.reached = max(self.reached, last)

    def miss(self, first: int, last: int, cause: Cause) -> Miss:
        """A run of ticks is missed."""
        self.reached = last
        self.outstanding += last - first + 1
        return Miss(first, last, self.job.wall_time(first), cause)

    def _last_of_run(self, tick: int) -> int:
        """The last tick from this one on up to which all are due."""
        last = self.last_tick(tick)
        change = self.calendar.next_change(self.job.wall_time(tick)) if self.calendar is not None else None
        if change is not None:
            closes = (to_micros(change) - (self.job.anchor_us or 0) - 1) // self.job.interval_us
            last = closes if last is None else min(last, closes)
        return tick if last is None else max(last, tick)

    def wall_time_of_us(self, at_us: int) -> datetime:
        """A moment of CLOCK_BOOTTIME by the wall clock as it goes now."""
        return self._clock.now() + timedelta(microseconds=at_us - self.now_us())
