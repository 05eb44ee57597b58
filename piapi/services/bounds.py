"""How fast one caller may command: a finger that trembles, or a script gone wild, must not wear out a relay."""

from __future__ import annotations

import contextlib
import math
import threading
from collections import OrderedDict
from collections.abc import Iterator

from piapi.clock import Clock
from piapi.errors import TooManyRequests
from piapi.models import Caller

#: Commands at once, and commands a second after that.
BURST, RATE = 30, 10.0

#: Callers that are remembered. One that is forgotten has its whole burst again.
MOST_CALLERS = 1000


class CommandBounds:
    """A bucket of commands for each caller (token bucket). Only commands that were carried out count."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    @contextlib.contextmanager
    def command(self, caller: Caller) -> Iterator[None]:
        """A command of this caller; if it fails it does not count. Raises TooManyRequests."""
        self._take(caller.identity)
        try:
            yield
        except BaseException:
            self._give_back(caller.identity)
            raise

    def _take(self, caller: str) -> None:
        with self._lock:
            level, now = self._level(caller), self._clock.monotonic()
            if level < 1:
                wait = math.ceil((1 - level) / RATE)
                raise TooManyRequests(
                    f"That is more than {BURST} commands in a row; wait a moment.", retry_after_s=wait
                )
            self._buckets[caller] = (level - 1, now)
            self._buckets.move_to_end(caller)
            while len(self._buckets) > MOST_CALLERS:
                self._buckets.popitem(last=False)

    def _give_back(self, caller: str) -> None:
        with self._lock:
            self._buckets[caller] = (self._level(caller) + 1, self._clock.monotonic())

    def _level(self, caller: str) -> float:
        level, then = self._buckets.get(caller, (float(BURST), self._clock.monotonic()))
        return min(float(BURST), level + (self._clock.monotonic() - then) * RATE)
