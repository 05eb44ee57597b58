"""What passes between a job, the one that keeps time, and the one that captures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from piapi.services.timelapses.active import ActiveJob


@dataclass(frozen=True, slots=True)
class Tick:
    """One that is due, now or in a moment, for whoever captures."""

    active: ActiveJob
    index: int
    due_us: int


@dataclass(slots=True)
class Decision:
    """What is to be done, and when to ask again."""

    again_us: int | None = None
    """By CLOCK_BOOTTIME; None: not by itself."""
    tick: Tick | None = None
    expect_us: int | None = None
    """The camera has work at this moment."""
