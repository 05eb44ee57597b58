"""One thread that keeps the time of all jobs, from a heap of absolute deadlines. It waits for no camera and no disk but
for the rows of misses: what is due is handed to the camera's own taker."""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
from collections.abc import Callable

from piapi.clock import Clock
from piapi.services.timelapses.active import ActiveJob
from piapi.services.timelapses.course import SECOND_US
from piapi.services.timelapses.ticks import Tick

log = logging.getLogger(__name__)

#: Seconds after which a job is asked again about which asking has failed.
AFTER_A_FAULT_S = 5

#: Seconds that the watchdog lets a decision take.
HANG_S = 30.0


class Scheduler:
    """Asks each job when its time has come. `give` takes a tick that is due; `expect` says when a camera has work."""

    def __init__(self, clock: Clock, give: Callable[[Tick], None], expect: Callable[[ActiveJob, float], None]) -> None:
        self._clock = clock
        self._give = give
        self._expect = expect
        self._changed = threading.Condition()
        self._order = itertools.count()
        self._heap: list[tuple[int, int, ActiveJob]] = []
        self._valid: dict[ActiveJob, int] = {}
        """The one entry of each job in the heap that counts."""
        self._busy_since: float | None = None
        self._is_stopping = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin."""
        self._thread = threading.Thread(target=self._run, name="scheduler", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End; no tick is given out afterwards. May be called twice."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def check(self) -> None:
        """Raise TimeoutError when the thread hangs."""
        since = self._busy_since
        if since is not None and self._clock.monotonic() - since > HANG_S:
            raise TimeoutError("The scheduler of time-lapses does not come back.")

    def poke(self, active: ActiveJob) -> None:
        """Something has changed about a job: it is asked now."""
        self._enter(active, -1)

    def forget(self, active: ActiveJob) -> None:
        """Ask it no more."""
        with self._changed:
            self._valid.pop(active, None)

    def _enter(self, active: ActiveJob, when_us: int) -> None:
        with self._changed:
            number = next(self._order)
            self._valid[active] = number
            heapq.heappush(self._heap, (when_us, number, active))
            if self._heap[0][1] == number:
                self._changed.notify_all()

    def run_due(self) -> int | None:
        """Ask all whose time has come. Gives the moment of the next one, in microseconds of CLOCK_BOOTTIME."""
        while not self._is_stopping:
            with self._changed:
                while self._heap and self._valid.get(self._heap[0][2]) != self._heap[0][1]:
                    heapq.heappop(self._heap)
                if not self._heap:
                    return None
                when_us, _, active = self._heap[0]
                if when_us > round(self._clock.monotonic() * SECOND_US):
                    return when_us
                heapq.heappop(self._heap)
                number = self._valid[active]
            self._ask(active, number)
        return None

    def _ask(self, active: ActiveJob, number: int) -> None:
        try:
            decision = active.decide()
        except Exception:  # noqa: BLE001 — one job must not end the time of all others
            log.exception("time-lapse %s: fault in its schedule", active.job.id)
            again_us = round((self._clock.monotonic() + AFTER_A_FAULT_S) * SECOND_US)
            self._enter(active, again_us)
            return
        if decision.expect_us is not None:
            self._expect(active, decision.expect_us / SECOND_US)
        if decision.tick is not None:
            self._give(decision.tick)
        with self._changed:
            if decision.again_us is not None and self._valid.get(active) == number:
                heapq.heappush(self._heap, (decision.again_us, number, active))

    def _run(self) -> None:
        while not self._is_stopping:
            self._busy_since = self._clock.monotonic()
            next_us = self.run_due()
            self._busy_since = None
            with self._changed:
                if self._is_stopping or (self._heap and self._heap[0][0] != next_us):
                    continue
                wait = None if next_us is None else next_us / SECOND_US - self._clock.monotonic()
                if wait is None or wait > 0:
                    self._clock.wait(self._changed, wait)
