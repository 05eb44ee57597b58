"""Changes of an input as entries of the journal: a bouncing contact must not wear out the card."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from piapi.services.inputs import Change

Record = Callable[..., None]
"""`record(type, data, actor=…)`: an entry of the journal, written soon."""

Later = Callable[[float, Callable[[], None]], Any]
"""Do something at a moment of `Clock.monotonic`, as `Timetable.at`."""


class EdgeEntries:
    """The first change is an entry at once, those of the next second are one entry at its end."""

    #: Seconds that are summed.
    summed_s = 1.0

    def __init__(self, record: Record, type: str, later: Later, **about: Any) -> None:
        """`about`: what stands in each entry beside the value."""
        self._record = record
        self._type = type
        self._later = later
        self._about = about
        self._summing_until = float("-inf")
        self._summed = 0
        self._latest = False

    def add(self, change: Change) -> None:
        """A change. On the timetable's thread."""
        self._latest = change.is_active
        if change.at < self._summing_until:
            self._summed += 1
            return
        self._summing_until = change.at + self.summed_s
        self._later(self._summing_until, self._sum_up)
        corrected = {"corrected": True} if change.is_corrected else {}
        self._record(self._type, {**self._about, "value": change.is_active, **corrected})

    def _sum_up(self) -> None:
        if self._summed:
            self._record(self._type, {**self._about, "value": self._latest, "edges": self._summed})
            self._summed = 0
