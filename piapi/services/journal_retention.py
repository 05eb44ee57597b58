"""How long entries of the journal are kept.

What an entry says of its time is a label: a Pi wakes up in the past, one without a network may stay there for months,
and a clock may be a year ahead for a minute. So the age of an entry counts from when a clock that is believed first saw
it there (a mark, one a day), and nothing is removed by a clock that is not believed, or that has jumped since the last
look. Whatever the clocks say, the oldest go when there are more than the disk should hold.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from piapi.clock import Clock
from piapi.storage.events import EventRows

LOOK_EVERY_S = 600.0
"""Seconds between two looks; a clock that was wrong for less than that removes nothing."""

MOST_ENTRIES = 1_000_000
"""About 300 MB."""

AT_ONCE = 200
"""Entries of one transaction: others wait for it."""

MOST_BATCHES = 25
"""Of one look; what is left is for the next one."""

_MARK_EVERY = timedelta(days=1)
_A_JUMP = timedelta(seconds=60)


class JournalRetention:
    """Removes the oldest entries of the journal."""

    def __init__(self, rows: EventRows, clock: Clock, keep_days: int, is_clock_believed: Callable[[], bool]) -> None:
        self._rows = rows
        self._clock = clock
        self._keep = timedelta(days=keep_days)
        self._is_clock_believed = is_clock_believed
        self._booted_at: datetime | None = None

    def keep(self) -> None:
        """Remove what is older than the owner wants. Called now and then. Raises StorageError."""
        oldest, newest = self._rows.bounds()
        through = newest - MOST_ENTRIES
        now = self._clock.now()
        if self._is_steady(now) and self._is_clock_believed():
            last_at, last_id = self._rows.last_mark(now) or (now - _MARK_EVERY, 0)
            if newest > last_id and now - last_at >= _MARK_EVERY:
                self._rows.mark(now)
            through = max(through, self._rows.marked_before(now - self._keep))
        for _ in range(MOST_BATCHES if through >= oldest else 0):
            if self._rows.remove_through(through, AT_ONCE) < AT_ONCE:
                break

    def _is_steady(self, now: datetime) -> bool:
        """Whether the wall clock has gone on since the last look as the one that never jumps."""
        booted_at = now - timedelta(seconds=self._clock.monotonic())
        last, self._booted_at = self._booted_at, booted_at
        return last is not None and abs(booted_at - last) < _A_JUMP
