"""All that a door's machine knows at one moment, frozen."""

from __future__ import annotations

import math
from dataclasses import dataclass

from piapi.services.doors.movement import Whereabouts
from piapi.services.doors.states import Operation, Sensor, State, Target


@dataclass(frozen=True, slots=True)
class Plan:
    """How far a running operation has come. Times are seconds of the monotonic clock."""

    asked_in: tuple[State, Target | None]
    """State and heading of the door when it was asked for: a toggle is for a door as it was seen."""
    press_by: float
    """After that it is not pressed any more."""
    look_at: float
    """When to see again whether it can be pressed."""
    warning_until: float | None = None
    """None where there is no warning."""
    has_stopped: bool = False
    """Its first press has stopped the door; the next one moves it back."""
    is_pressed: bool = False
    """All its presses are made; from then on it watches."""
    pressed_at_end: Sensor | None = None
    """Where the door rested at its last press, if a sensor saw it."""
    has_moved: bool = False
    """A sensor has changed since its last press."""
    ends_by: float = 0.0
    """Whatever the sensors do, it ends by then (from the last press on)."""


@dataclass(frozen=True, slots=True)
class DoorState:
    """One door, and what is under way there. Times are seconds of the monotonic clock."""

    door: Whereabouts
    quarantined_until: float | None
    """The first command is taken then; None: they are taken."""
    locked: bool = False
    lock_reason: str | None = None
    operation: Operation | None = None
    """The running one, or the last."""
    plan: Plan | None = None
    """Of the running operation."""
    relay_on: bool = False
    """A press was given out, and has not been said to be over."""
    gap_until: float = -math.inf
    warning_on: bool = False
    open_since: float | None = None
    left_open_told: bool = False
    seen_closed: bool = False
    """It has rested closed since the start: only then it may close by itself."""
    auto_close_at: float | None = None
    failed_closes: int = 0
