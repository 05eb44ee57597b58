"""One thread that looks at the doors: when a sensor tells something, when a press has ended, or when it is time."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

from piapi.clock import Clock

log = logging.getLogger(__name__)

Look = Callable[[], float | None]
"""Do what is due; gives when to look again, in seconds of the monotonic clock, if nothing happens before."""

AFTER_A_FAULT_S = 1.0
"""Seconds."""


class Watch:
    """Looks at all doors, whichever of them has called: they are few, and a look costs two reads."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._looks: Sequence[Look] = ()
        self._changed = threading.Condition()
        self._is_woken = True
        self._is_closed = False
        self._thread: threading.Thread | None = None
        self._looking_since: float | None = None

    def start(self, looks: Sequence[Look]) -> None:
        """Begin."""
        self._looks = looks
        self._thread = threading.Thread(target=self._run, name="doors", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Look soon. Waits for nothing."""
        with self._changed:
            self._is_woken = True
            self._changed.notify_all()

    def lateness_s(self) -> float:
        """How long a look has taken that is not over."""
        since = self._looking_since
        return 0.0 if since is None else self._clock.monotonic() - since

    def close(self) -> None:
        """End. May be called twice."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        deadline: float | None = None
        while True:
            with self._changed:
                while not (self._is_woken or self._is_closed):
                    wait = None if deadline is None else deadline - self._clock.monotonic()
                    if wait is not None and wait <= 0:
                        break
                    self._clock.wait(self._changed, wait)
                if self._is_closed:
                    return
                self._is_woken = False
            self._looking_since = self._clock.monotonic()
            deadline = min((at for look in self._looks if (at := self._look(look)) is not None), default=None)
            self._looking_since = None

    def _look(self, look: Look) -> float | None:
        try:
            return look()
        except Exception:  # noqa: BLE001 — the other doors have to be looked at all the same
            log.exception("fault while looking at a door")
            return self._clock.monotonic() + AFTER_A_FAULT_S
