"""What has to happen at a moment: one thread for all releases, warnings and deadlines.

Deadlines are absolute, on the clock that never jumps; nothing here drifts. What is done must be quick: a level is
written, an event is put into a queue. A thread for each pulse would cost 4 ms and a stack.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
from collections.abc import Callable

from piapi.clock import Clock

log = logging.getLogger(__name__)


class Appointment:
    """Something that will be done, unless it is cancelled."""

    __slots__ = ("_do", "when")

    def __init__(self, when: float, do: Callable[[], None]) -> None:
        self.when = when
        self._do: Callable[[], None] | None = do

    def cancel(self) -> None:
        """It is not done, unless it is being done already. May be called twice."""
        self._do = None

    def keep(self) -> None:
        """Do it, once."""
        do, self._do = self._do, None
        if do is not None:
            do()


class Timetable:
    """Appointments, kept by one thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._order = itertools.count()
        self._heap: list[tuple[float, int, Appointment]] = []
        self._changed = threading.Condition()
        self._is_closed = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin."""
        self._thread = threading.Thread(target=self._run, name="timetable", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End; what is still to come is not done. May be called twice."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
            self._thread = None

    def at(self, when: float, do: Callable[[], None]) -> Appointment:
        """Do something at a moment of `clock.monotonic()`, in seconds; one in the past is now."""
        appointment = Appointment(when, do)
        with self._changed:
            heapq.heappush(self._heap, (when, next(self._order), appointment))
            if self._heap[0][2] is appointment:
                self._changed.notify_all()
        return appointment

    def lateness_s(self) -> float:
        """How long what is due has not been done."""
        with self._changed:
            return max(0.0, self._clock.monotonic() - self._heap[0][0]) if self._heap else 0.0

    def keep_due(self) -> None:
        """Do all that is due now, on the thread that calls."""
        while (due := self._pop()) is not None:
            try:
                due.keep()
            except Exception:  # noqa: BLE001 — one that fails must not keep another relay on
                log.exception("fault in what was to be done")

    def _pop(self) -> Appointment | None:
        with self._changed:
            if self._is_closed or not self._heap or self._heap[0][0] > self._clock.monotonic():
                return None
            return heapq.heappop(self._heap)[2]

    def _run(self) -> None:
        while not self._is_closed:
            self.keep_due()
            with self._changed:
                wait = self._heap[0][0] - self._clock.monotonic() if self._heap else None
                if not self._is_closed and (wait is None or wait > 0):
                    self._clock.wait(self._changed, wait)
