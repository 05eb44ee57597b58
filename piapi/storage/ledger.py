"""A time-lapse while it is worked on: what is kept of it, and how late its frames were."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from piapi.timelapse import ENDED, Cause, Plan, State

#: Each step of the lateness is so much larger than the one before; the first is a hundredth of a millisecond.
_RATIO = 1.05
_FIRST_MS = 0.01

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class Lateness:
    """How often which lateness was seen, to a twentieth: some hundred numbers, however many frames."""

    counts: dict[int, int] = field(default_factory=dict)

    def add(self, lateness_ms: float) -> None:
        """One more."""
        step = max(0, math.ceil(math.log(max(lateness_ms, _FIRST_MS) / _FIRST_MS, _RATIO)))
        self.counts[step] = self.counts.get(step, 0) + 1

    def figures(self) -> Mapping[str, float]:
        """`p50`, `p99` and `max`, in milliseconds; nothing before the first frame."""
        if not self.counts:
            return {}
        steps, total = sorted(self.counts), sum(self.counts.values())
        return {
            "p50": self._quantile(steps, total * 0.5),
            "p99": self._quantile(steps, total * 0.99),
            "max": _milliseconds(steps[-1]),
        }

    def _quantile(self, steps: list[int], rank: float) -> float:
        seen = 0
        for step in steps:
            seen += self.counts[step]
            if seen >= rank:
                return _milliseconds(step)
        return _milliseconds(steps[-1])


def _milliseconds(step: int) -> float:
    return round(_FIRST_MS * _RATIO**step, 3)


@dataclass(frozen=True, slots=True)
class Miss:
    """A run of ticks that were due and not captured."""

    first: int
    last: int
    due_at: datetime
    """Of the first."""
    cause: Cause

    def __len__(self) -> int:
        return self.last - self.first + 1


@dataclass(slots=True)
class Job:
    """A time-lapse, as it is kept. Changed by whoever holds its lock, then saved."""

    id: str
    camera: str
    plan: Plan
    created_by: str
    created_at: datetime
    seq: int = 0
    state: State = "scheduled"
    state_reason: str | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    is_emulated: bool = False
    boot_id: str | None = None
    boot_us: int | None = None
    """Tick 0, by CLOCK_BOOTTIME of `boot_id`, in microseconds."""
    anchor_us: int | None = None
    """Tick 0, by the wall clock, in microseconds since 1970."""
    is_anchored: bool = False
    """Whether the wall clock was believed when it said so."""
    settled: int = -1
    """The last tick of which it is known what became of it: captured, missed, or not due."""
    captured: int = 0
    missed: int = 0
    bytes: int = 0
    lateness: Lateness = field(default_factory=Lateness)
    memory: dict[str, Any] = field(default_factory=dict)
    is_film_done: bool = False

    @property
    def interval_us(self) -> int:
        """From one tick to the next."""
        return interval_us(self.plan.interval_s)

    @property
    def due(self) -> int:
        """Ticks that have been due."""
        return self.captured + self.missed

    @property
    def has_ended(self) -> bool:
        """Whether it never captures again."""
        return self.state in ENDED

    @property
    def is_unpromised(self) -> bool:
        """Whether no space is kept for it: there was not the room when it was known how long it goes on."""
        return bool(self.memory.get("unpromised"))

    def wall_time(self, tick: int) -> datetime:
        """When a tick is due, by the wall clock as it was seen last."""
        return from_micros((self.anchor_us or 0) + tick * self.interval_us)


def interval_us(interval_s: float) -> int:
    """In microseconds; whole ones, so that no tick ever drifts, and one at least."""
    return max(round(interval_s * 1_000_000), 1)


def from_micros(micros: int) -> datetime:
    """The moment that is so many microseconds after 1970."""
    return _EPOCH + timedelta(microseconds=micros)


def to_micros(moment: datetime) -> int:
    """Microseconds since 1970."""
    return (moment - _EPOCH) // timedelta(microseconds=1)
