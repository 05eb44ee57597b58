"""What is known of a door at one moment, for whoever asks."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from piapi.models import DoorOperation
from piapi.services.doors.states import Basis, State, Target


@dataclass(frozen=True, slots=True)
class DoorView:
    """A door, as it is known."""

    state: State
    basis: Basis
    since: datetime
    """Of `state`."""
    closed: bool | None = None
    """Whether the closed sensor is active; None where there is none, or nobody knows."""
    open: bool | None = None
    target: Target | None = None
    """Of the running operation."""
    locked: bool = False
    lock_reason: str | None = None
    operation: DoorOperation | None = None
    """The last one, which may be running."""
    detail: str | None = None
    """Why it takes no command now."""


def allow_all(view: DoorView) -> None:
    """A command that is not tied to what its caller has seen."""
