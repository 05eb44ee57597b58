"""The legacy picamera 1.13 without a Pi, by the rules of the real one, which refuses what this refuses.

`install(monkeypatch, clock)` puts it into `sys.modules` and returns the `Firmware`, which the tests steer. A recording
writes JPEGs from a thread of its own, each in several parts, with time going on by one frame for each (a fake clock is
advanced). What is held: a recording bars a change of resolution; what a write raises ends the recording, is raised by
`wait_recording`, and lets `close` fail half-way; `PiCamera` has slots, so that nothing can be put on it; values out of
range are refused; a camera can be open once.
"""

from __future__ import annotations

import importlib.machinery
import io
import sys
import threading
import types
from collections import namedtuple
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
import PIL.Image
import pytest

from piapi.clock import Clock, SystemClock

PiVideoFrame = namedtuple("PiVideoFrame", "index complete timestamp")
PiResolution = namedtuple("PiResolution", "width height")

_AWB = ("off", "auto", "sunlight", "cloudy", "shade", "tungsten", "fluorescent", "incandescent", "flash", "horizon")
_PACE_S = 0.002


class PiCameraError(Exception):
    """Not an OSError and not a RuntimeError, as in the real one."""


class PiCameraRuntimeError(PiCameraError, RuntimeError):
    pass


class PiCameraValueError(PiCameraError, ValueError):
    pass


class PiCameraMMALError(PiCameraError):
    pass


@dataclass
class Firmware:
    """What the tests steer."""

    clock: Clock
    enabled: bool = True
    busy: bool = False
    hanging: bool = False
    """Nothing comes, and nothing says why."""
    torn: bool = False
    """Frames come without their ends."""
    timestamps: bool = True
    scene: tuple[int, int, int] = (90, 120, 150)
    fail_write: Exception | None = None
    analog_gain: Fraction = Fraction(2)
    balance: tuple[Fraction, Fraction] = (Fraction(3, 2), Fraction(5, 4))
    """What automatic white balance finds right, red and blue."""
    open: list[PiCamera] = field(default_factory=list)
    captures: list[tuple[tuple[int, int], bool, float]] = field(default_factory=list)
    """Of each: size, whether from the video port, timeout in seconds."""

    def pass_time(self, seconds: float) -> None:
        advance = getattr(self.clock, "advance", None)
        if advance is not None:
            advance(seconds)

    def jpeg(self, size: tuple[int, int]) -> bytes:
        file = io.BytesIO()
        PIL.Image.fromarray(np.full((size[1], size[0], 3), self.scene, np.uint8)).save(file, "JPEG")
        return file.getvalue()


class _Recording:
    """Writes frames until it is stopped, or until a write fails."""

    def __init__(self, camera: PiCamera, output: Any) -> None:
        self._camera = camera
        self._output = output
        self._stop = threading.Event()
        self.exception: Exception | None = None
        self.frame = PiVideoFrame(0, False, None)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        firmware = self._camera.firmware
        jpeg = firmware.jpeg(self._camera._resolution)
        while not self._stop.wait(_PACE_S):
            if firmware.hanging:
                continue
            firmware.pass_time(1 / float(self._camera._framerate))
            whole = jpeg[: len(jpeg) // 2] if firmware.torn else jpeg
            third = len(whole) // 3
            received = round(firmware.clock.monotonic() * 1e6) + 7_000_000 if firmware.timestamps else None
            try:
                for part in (whole[:third], whole[third : 2 * third], whole[2 * third :]):
                    last = part == whole[2 * third :]
                    self.frame = PiVideoFrame(self.frame.index + last, last, received)
                    if firmware.fail_write is not None:
                        raise firmware.fail_write
                    self._output.write(part)
            except Exception as error:  # noqa: BLE001 — it is raised by wait_recording
                self.exception = error
                return

    def close(self) -> None:
        self._stop.set()
        self._thread.join()


class PiCamera:
    """The class of that name. `install` gives it the firmware."""

    CAPTURE_TIMEOUT = 60
    MAX_RESOLUTION = PiResolution(2592, 1944)
    firmware: Firmware

    __slots__ = ("_camera", "_encoders", "_framerate", "_resolution", "_settings")

    def __init__(
        self, camera_num: int = 0, resolution: Any = None, framerate: Any = 30, clock_mode: str = "reset"
    ) -> None:
        assert clock_mode == "raw", "timestamps that begin with the recording cannot be compared with `timestamp`"
        self._camera: object | None = None
        self._encoders: dict[int, _Recording] = {}
        if not self.firmware.enabled:
            raise PiCameraError("Camera is not enabled. Try running 'sudo raspi-config' and ensure that the camera ...")
        if self.firmware.busy or self.firmware.open:
            raise PiCameraMMALError("Failed to enable connection: Out of resources")
        if camera_num != 0:
            raise PiCameraError("no such camera")
        self._camera = object()
        self._framerate = Fraction(framerate)
        self._resolution = PiResolution(1280, 720)
        self._settings: dict[str, Any] = {"shutter_speed": 0, "awb_mode": "auto", "exposure_mode": "auto"}
        self.firmware.open.append(self)

    def _check_open(self) -> None:
        if self._camera is None:
            raise PiCameraRuntimeError("Camera is closed")

    @property
    def revision(self) -> str:
        return "ov5647"

    @property
    def timestamp(self) -> int:
        self._check_open()
        return round(self.firmware.clock.monotonic() * 1e6) + 7_000_000

    @property
    def frame(self) -> Any:
        self._check_open()
        for encoder in self._encoders.values():
            return encoder.frame
        raise PiCameraRuntimeError("Cannot query frame information when camera is not recording")

    @property
    def exposure_speed(self) -> int:
        self._check_open()
        return int(self._settings["shutter_speed"]) or 9000

    @property
    def analog_gain(self) -> Fraction:
        self._check_open()
        return self.firmware.analog_gain

    @property
    def digital_gain(self) -> Fraction:
        self._check_open()
        return Fraction(1)

    @property
    def awb_gains(self) -> tuple[Fraction, Fraction]:
        self._check_open()
        by_hand = self._settings["awb_mode"] == "off"
        return self._settings.get("awb_gains", (Fraction(0), Fraction(0))) if by_hand else self.firmware.balance

    @awb_gains.setter
    def awb_gains(self, value: tuple[float, float]) -> None:
        self._check_open()
        if not all(0.0 <= gain <= 8.0 for gain in value):
            raise PiCameraValueError(f"Invalid gain(s) in {value}")
        red, blue = value
        self._settings["awb_gains"] = Fraction(red).limit_denominator(65536), Fraction(blue).limit_denominator(65536)

    def _get_resolution(self) -> Any:
        return self._resolution

    def _set_resolution(self, value: tuple[int, int]) -> None:
        self._check_open()
        if self._encoders:
            raise PiCameraRuntimeError("Recording is currently running")
        if not (0 < value[0] <= self.MAX_RESOLUTION[0] and 0 < value[1] <= self.MAX_RESOLUTION[1]):
            raise PiCameraValueError(f"Invalid resolution requested: {value!r}")
        self._resolution = PiResolution(*value)

    resolution = property(_get_resolution, _set_resolution)

    def start_recording(self, output: Any, format: str | None = None, quality: int = 0) -> None:
        self._check_open()
        if 1 in self._encoders:
            raise PiCameraRuntimeError("The camera is already using port 1")
        assert format == "mjpeg" and 1 <= quality <= 100
        self._encoders[1] = recording = _Recording.__new__(_Recording)
        recording.__init__(self, output)  # type: ignore[misc]  # it is there before its first write

    def wait_recording(self, timeout: float = 0, splitter_port: int = 1) -> None:
        if splitter_port not in self._encoders:
            raise PiCameraRuntimeError("There is no recording in progress on port 1")
        if (error := self._encoders[splitter_port].exception) is not None:
            raise error

    def stop_recording(self, splitter_port: int = 1) -> None:
        try:
            self.wait_recording(0, splitter_port)
        finally:
            self._encoders.pop(splitter_port).close()

    def capture(self, output: Any, format: str | None = None, use_video_port: bool = False, quality: int = 85) -> None:
        self._check_open()
        self.firmware.captures.append((tuple(self._resolution), use_video_port, self.CAPTURE_TIMEOUT))
        if self.firmware.hanging:
            self.firmware.pass_time(self.CAPTURE_TIMEOUT)
            raise PiCameraRuntimeError("Timed out waiting for capture to end")
        self.firmware.pass_time(0.5)
        output.write(self.firmware.jpeg(self._resolution))

    def close(self) -> None:
        for port in list(self._encoders):
            self.stop_recording(port)
        if self._camera is not None:
            self._camera = None
            self.firmware.open.remove(self)


def _setting(name: str, check: Any) -> property:
    def read(camera: PiCamera) -> Any:
        camera._check_open()
        return camera._settings[name]

    def write(camera: PiCamera, value: Any) -> None:
        camera._check_open()
        if not check(value):
            raise PiCameraValueError(f"Invalid {name} value: {value}")
        camera._settings[name] = value

    return property(read, write)


for _name in ("contrast", "saturation", "sharpness"):
    setattr(PiCamera, _name, _setting(_name, lambda value: isinstance(value, int) and -100 <= value <= 100))
PiCamera.brightness = _setting("brightness", lambda value: isinstance(value, int) and 0 <= value <= 100)
PiCamera.awb_mode = _setting("awb_mode", lambda value: value in _AWB)
PiCamera.exposure_mode = _setting("exposure_mode", lambda value: value in ("off", "auto", "night"))
PiCamera.shutter_speed = _setting("shutter_speed", lambda value: isinstance(value, int) and value >= 0)


class _CameraInfo:
    """mmalobj.MMALCameraInfo."""

    def __enter__(self) -> Any:
        info = types.SimpleNamespace(num_cameras=1 if PiCamera.firmware.enabled else 0)
        return types.SimpleNamespace(control=types.SimpleNamespace(params={"CAMERA_INFO": info}))

    def __exit__(self, *_error: object) -> None:
        pass


def install(monkeypatch: pytest.MonkeyPatch, clock: Clock | None = None) -> Firmware:
    """Put picamera in place, with a Camera Module 1."""
    firmware = Firmware(clock or SystemClock())
    monkeypatch.setattr(PiCamera, "firmware", firmware, raising=False)
    package = types.ModuleType("picamera")
    package.__spec__ = importlib.machinery.ModuleSpec("picamera", None)
    package.__dict__.update(PiCamera=PiCamera, PiCameraError=PiCameraError)
    package.__dict__.update(
        mmal=types.SimpleNamespace(MMAL_PARAMETER_CAMERA_INFO="CAMERA_INFO"),
        mmalobj=types.SimpleNamespace(MMALCameraInfo=_CameraInfo),
    )
    monkeypatch.setitem(sys.modules, "picamera", package)
    return firmware
