"""The hardware, opened by the names of its backends. A new backend is one file and one line here."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Iterable, Mapping

from piapi.clock import Clock
from piapi.hardware.base import Camera, CameraConfig
from piapi.hardware.unavailable import UnavailableCamera

log = logging.getLogger(__name__)

CAMERAS: Mapping[str, str] = {
    "auto": "piapi.hardware.camera_auto:AutoCamera",
    "picamera2": "piapi.hardware.camera_picamera2:Picamera2Camera",
    "picamera": "piapi.hardware.camera_picamera:PicameraCamera",
    "av": "piapi.hardware.camera_av:AvCamera",
    "simulated": "piapi.hardware.camera_simulated:SimulatedCamera",
}


def open_camera(config: CameraConfig, clock: Clock) -> Camera:
    """The camera of a configuration, not yet opened. One whose library is missing is unavailable, and says why."""
    module, _, name = CAMERAS[config.backend].partition(":")
    try:
        camera: Camera = getattr(importlib.import_module(module), name)(config, clock)
    except (ImportError, OSError, RuntimeError) as error:
        log.exception("camera %s: its backend %s cannot be used", config.name, config.backend)
        return UnavailableCamera(f"The backend {config.backend} cannot be used here: {error}.")
    return camera


def open_hardware(configs: Iterable[CameraConfig], clock: Clock) -> dict[str, Camera]:
    """All cameras by name."""
    return {config.name: open_camera(config, clock) for config in configs}
