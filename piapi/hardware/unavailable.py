"""What stands in the place of hardware that cannot be used: it says so, and never pretends."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from piapi.errors import CameraUnavailable
from piapi.hardware.base import Capabilities, ControlValue, Frame, Still, StillRequest, ignore


class UnavailableCamera:
    """A camera that cannot be opened, for a reason that will not pass by itself."""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def open(self) -> Capabilities:
        """Raises CameraUnavailable."""
        raise CameraUnavailable(self._reason)

    def configure(self, controls: Mapping[str, ControlValue]) -> None:
        """Raises CameraUnavailable."""
        raise CameraUnavailable(self._reason)

    def read(self, deadline: float) -> Frame:
        """Raises CameraUnavailable."""
        raise CameraUnavailable(self._reason)

    def capture(self, request: StillRequest, deadline: float, on_frame: Callable[[Frame], None] = ignore) -> Still:
        """Raises CameraUnavailable."""
        raise CameraUnavailable(self._reason)

    def close(self) -> None:
        """Nothing to let go."""
