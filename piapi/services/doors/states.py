"""The words of a door: its rules, its states, its operations, and what its machine puts out.

Times are seconds of the monotonic clock (`Clock.monotonic`). All of it is frozen and holds plain values only, so that
it can be looked at, compared and written down.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Target = Literal["open", "closed"]
Sensor = Literal["closed", "open"]
State = Literal["open", "closed", "opening", "closing", "stopped", "unknown", "fault"]
Basis = Literal["sensor", "inferred", "none"]
WhileMoving = Literal["refuse", "stop", "reverse"]
OperationState = Literal["warning", "moving", "succeeded", "failed", "timed_out", "superseded", "cancelled", "unknown"]

RUNNING: frozenset[OperationState] = frozenset({"warning", "moving"})
"""The states of an operation that has not ended."""

SETTLE_S = 0.5
SETTLE_SHARE = 0.05
"""A door is at rest at an end when that sensor has been active for so long, or for this share of the travel time if
that is longer: contacts bounce, a door that hits its stop does too, and magnets reach some way from the end."""

LATE_S = 3.0
"""A press that could not be made this long after it was due is not made at all: whoever asked has turned away."""

FAILED_CLOSES = 2
"""After so many closes in a row that failed, a door does not close by itself any more."""

EVIDENCE_MOST = 64
"""Sensor changes kept with one operation; a contact that bounces for hours fills no memory."""


@dataclass(frozen=True, slots=True)
class DoorRules:
    """What an owner has set for one door (`[doors.NAME]`). Durations are seconds.

    Raises ValueError for a door that closes by itself without a closed sensor or without a warning.
    """

    name: str
    closed_sensor: bool = False
    open_sensor: bool = False
    press_s: float = 0.5
    travel_s: float = 20.0
    while_moving: WhileMoving = "refuse"
    min_gap_s: float = 1.0
    """From the end of a press to the beginning of the next."""
    warning_s: float = 0.0
    """0 where there is nothing to warn with."""
    left_open_s: float = 0.0
    auto_close_s: float = 0.0
    steady_s: float = 1.0
    """How long the sensors stay as they are before the first command is taken."""

    @property
    def settle_s(self) -> float:
        """How long a sensor is active before the door is taken to rest there."""
        return max(SETTLE_S, SETTLE_SHARE * self.travel_s)

    def __post_init__(self) -> None:
        if self.auto_close_s and not (self.closed_sensor and self.warning_s):
            raise ValueError("a door closes by itself only with a closed sensor and a warning")


@dataclass(frozen=True, slots=True)
class SensorChange:
    """A sensor went on or off."""

    at: float
    sensor: Sensor
    active: bool


@dataclass(frozen=True, slots=True)
class Operation:
    """What was asked of a door, and what came of it."""

    id: str
    door: str
    target: Target | None
    """None: a toggle, which is one press and no more."""
    requested_by: str
    requested_at: float
    state: OperationState = "moving"
    """`moving` also while it waits for the door to rest, or for the shortest gap, before its first press."""
    presses: int = 0
    pressed_at: float | None = None
    """Of the first press."""
    ended_at: float | None = None
    evidence: tuple[SensorChange, ...] = ()
    detail: str | None = None
    """Why it ended as it did, for a person."""

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self.state in RUNNING


@dataclass(frozen=True, slots=True)
class Remembered:
    """What the journal says of a door at a start: all that outlives a restart."""

    operation: Operation | None = None
    """The last one, if it had not ended."""
    locked: bool = False
    lock_reason: str | None = None
    failed_closes: int = 0


# What a machine puts out, in the order in which it is to be done: facts are written down before a press is made ------


@dataclass(frozen=True, slots=True)
class Press:
    """Make the relay active for `duration_s`, beginning not later than `by`; then tell `press_done` or `press_failed`.

    Neither must be forgotten: until one of them comes nothing else is pressed.
    """

    operation: str
    duration_s: float
    by: float


@dataclass(frozen=True, slots=True)
class Warn:
    """Switch the light or buzzer."""

    on: bool


@dataclass(frozen=True, slots=True)
class OperationChanged:
    """An operation began, was pressed or ended."""

    operation: Operation


@dataclass(frozen=True, slots=True)
class DoorChanged:
    """Another state, or another reason to believe in it."""

    state: State
    basis: Basis
    since: float


@dataclass(frozen=True, slots=True)
class MovedUnasked:
    """The door moves, by hand, by a remote or by itself: nobody asked piapi."""

    at: float
    state: State


@dataclass(frozen=True, slots=True)
class LeftOpen:
    """It has been open since `since`, for longer than the owner wants."""

    since: float


@dataclass(frozen=True, slots=True)
class LockChanged:
    """Locked or unlocked."""

    locked: bool
    reason: str | None


@dataclass(frozen=True, slots=True)
class AutoCloseDue:
    """The owner's rule wants the door closed now: to be given back as a command, with an id of its own."""


@dataclass(frozen=True, slots=True)
class FailedClosesChanged:
    """How many closes in a row have failed, to be remembered. From FAILED_CLOSES on it does not close by itself."""

    count: int


Output = (
    Press
    | Warn
    | OperationChanged
    | DoorChanged
    | MovedUnasked
    | LeftOpen
    | LockChanged
    | AutoCloseDue
    | FailedClosesChanged
)
