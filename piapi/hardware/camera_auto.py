"""The first real camera found: picamera2, then the legacy picamera, then a USB webcam. Never a simulated one."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import replace

from piapi.clock import Clock
from piapi.errors import CameraUnavailable
from piapi.hardware.base import Camera, CameraConfig, Capabilities, ControlValue, Frame, Still, StillRequest, ignore
from piapi.hardware.unavailable import UnavailableCamera

CANDIDATES: tuple[tuple[str, str], ...] = (
    ("piapi.hardware.camera_picamera2", "Picamera2Camera"),
    ("piapi.hardware.camera_picamera", "PicameraCamera"),
    ("piapi.hardware.camera_av", "AvCamera"),
)


class AutoCamera:
    """Looks anew each time it is opened, so that a camera that is plugged in later is found."""

    def __init__(
        self, config: CameraConfig, clock: Clock, candidates: tuple[tuple[str, str], ...] = CANDIDATES
    ) -> None:
        self._config = config
        self._clock = clock
        self._candidates = candidates
        self._camera: Camera = UnavailableCamera("The camera is not open.")

    def open(self) -> Capabilities:
        """Open the first one found. Raises CameraUnavailable with what would help."""
        for module_name, class_name in self._candidates:
            module = importlib.import_module(module_name)
            if found := module.detect():
                config = replace(self._config, source=self._config.source or found[0])
                self._camera = getattr(module, class_name)(config, self._clock)
                return self._camera.open()
        from piapi.hardware.detection import explain_absence

        raise CameraUnavailable(explain_absence())

    def configure(self, controls: Mapping[str, ControlValue]) -> None:
        """As the camera found does."""
        self._camera.configure(controls)

    def read(self, deadline: float) -> Frame:
        """As the camera found does."""
        return self._camera.read(deadline)

    def capture(self, request: StillRequest, deadline: float, on_frame: Callable[[Frame], None] = ignore) -> Still:
        """As the camera found does."""
        return self._camera.capture(request, deadline, on_frame)

    def close(self) -> None:
        """Let it go, and forget which it was."""
        self._camera.close()
        self._camera = UnavailableCamera("The camera is not open.")
