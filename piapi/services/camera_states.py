"""Which cameras are ready and which are not, as the journal has it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from piapi.clock import Clock
from piapi.services.cameras import Cameras, CameraService
from piapi.services.events import Events

#: Changes of one camera that are written at once, and seconds until one more may be: a loose cable must not wear out
#: the card. What is left out is caught up with then.
MOST_AT_ONCE = 6
ONE_MORE_S = 60.0


@dataclass(slots=True)
class _Noted:
    """What the journal says of a camera, and how many changes may still be written."""

    data: dict[str, Any] | None
    allowed: float
    at: float


class CameraStates:
    """Looks at the cameras now and then. That somebody watches (`streaming`) is no news: it comes and goes often."""

    def __init__(self, cameras: Cameras, events: Events, clock: Clock) -> None:
        self._cameras = cameras
        self._events = events
        self._clock = clock
        self._noted: dict[str, _Noted] = {}

    def note(self) -> None:
        """Write down what has changed."""
        now = self._clock.monotonic()
        for camera in self._cameras:
            noted = self._noted.setdefault(camera.name, _Noted(None, MOST_AT_ONCE, now))
            data = _state_of(camera)
            noted.allowed = min(noted.allowed + (now - noted.at) / ONE_MORE_S, MOST_AT_ONCE)
            noted.at = now
            if data is None or data == noted.data or noted.allowed < 1:
                continue
            noted.allowed -= 1
            if self._events.note("camera.state", f"camera:{camera.name}", data):
                noted.data = data


def _state_of(camera: CameraService) -> dict[str, Any] | None:
    """None while it is being opened for the first time."""
    if camera.owner.capabilities is None and camera.is_well():
        return None
    state = camera.state()
    if state.state == "unavailable":
        return {"state": "unavailable", "detail": state.detail, "emulated": state.emulated}
    return {"state": "ready", "emulated": state.emulated}
