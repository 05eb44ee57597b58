"""picamera2 and libcamera without a Pi, by the rules of the real ones (picamera2 0.3.38): what they refuse, it refuses.

`install(monkeypatch, clock)` puts both into `sys.modules` and returns the `Pi`: what is plugged in, what it looks at,
and what goes wrong. Nothing runs by itself: frames come while somebody waits for a job, and time passes as they do (a
fake clock is advanced, the machine's is waited for). What is held:

- a request taken and not released is missing to the camera, which stops when it has none left; releasing twice raises;
- controls go with the next request released, and are unknown, of the wrong type or too early as in libcamera;
- exposure and gain come into force two frames later, everything else with the frame of their request, and automatic
  exposure needs some frames to find the right one again;
- `wait` without a bound fails the test, since on a lost cable it would never end; a job that nobody takes back stays;
- a camera taken by another is busy; each constructor that fails leaks its pipe, as the real one does;
- buffers are padded, and cost contiguous memory, of which there is only so much.
"""

from __future__ import annotations

import concurrent.futures
import errno
import importlib.machinery
import os
import sys
import threading
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from piapi.clock import Clock, SystemClock

CAMERA_MODULE_3 = {
    "Brightness": (-1.0, 1.0, 0.0),
    "Contrast": (0.0, 32.0, 1.0),
    "Saturation": (0.0, 32.0, 1.0),
    "Sharpness": (0.0, 16.0, 1.0),
    "AeEnable": (False, True, True),
    "ExposureTime": (26, 220417486, 20000),
    "AnalogueGain": (1.1228070259094238, 16.0, 1.0),
    "AwbEnable": (False, True, None),
    "AwbMode": (0, 7, 0),
    "ColourGains": (0.0, 32.0, None),
    "AfMode": (0, 2, 0),
    "AfTrigger": (0, 1, 0),
    "LensPosition": (0.0, 32.0, 1.0),
    "FrameDurationLimits": (69669, 220535845, 33333),
    "NoiseReductionMode": (0, 4, 0),
    "ScalerCrop": ((0, 0, 64, 64), (0, 0, 4608, 2592), (0, 0, 4608, 2592)),
}
_OF_A_LENS = ("AfMode", "AfTrigger", "LensPosition")
CAMERA_MODULE_2 = {name: range_ for name, range_ in CAMERA_MODULE_3.items() if name not in _OF_A_LENS} | {
    "ExposureTime": (75, 11766829, 20000),
    "AnalogueGain": (1.0, 10.666666984558105, 1.0),
    "FrameDurationLimits": (47183, 11767556, 33333),
}
_WHOLE_NUMBERS = ("ExposureTime", "AwbMode", "AfMode", "AfTrigger", "NoiseReductionMode")
_SENSOR_DELAY = 2


@dataclass
class Sensor:
    """One camera that is plugged in."""

    model: str = "imx708"
    size: tuple[int, int] = (4608, 2592)
    controls: Mapping[str, tuple[Any, Any, Any]] = field(default_factory=lambda: dict(CAMERA_MODULE_3))
    id: str = "/base/axi/pcie@1000120000/rp1/i2c@88000/imx708@1a"
    of_pi: bool = True
    only_yuyv: bool = False
    metered_us: int = 12000
    """What automatic exposure finds right."""
    balance: tuple[float, float] = (2.125, 1.75)
    """The gains that automatic white balance finds right, red and blue."""
    scanning_frames: int = 3
    """For so many frames the lens moves, once it was told to focus."""


@dataclass
class Pi:
    """The machine that the tests steer."""

    clock: Clock
    sensors: list[Sensor]
    scene: tuple[int, int, int] = (90, 120, 150)
    """The colour it looks at, red, green and blue from 0 to 255."""
    cma_bytes: int = 512 * 1024 * 1024
    busy: bool = False
    """Another program has the camera."""
    forbidden: bool = False
    """This user is not in the group `video`."""
    unplugged: bool = False
    """The ribbon cable has come off: no frames, and starting fails."""
    hanging: bool = False
    """No frame comes, and nothing says why."""
    close_hangs: threading.Event | None = None
    """While it is there and not set, `close` does not return."""
    fail_make_array: Exception | None = None
    taken: dict[int, Picamera2] = field(default_factory=dict)
    waits: list[float] = field(default_factory=list)
    opened: list[Picamera2] = field(default_factory=list)

    def let_pass(self, seconds: float) -> None:
        """Time goes on by itself."""
        if seconds <= 0:
            return
        advance = getattr(self.clock, "advance", None)
        if advance is not None:
            advance(seconds)
        else:
            threading.Event().wait(seconds)

    def put_back(self) -> None:
        """The cable is in again."""
        self.unplugged = False


class ColorSpace:
    """libcamera.ColorSpace, as far as it goes: matrix (Kr, Kb) and range."""

    def __init__(self, name: str, red: float, blue: float, full: bool) -> None:
        self.name, self.red, self.blue, self.full = name, red, blue, full

    @staticmethod
    def Sycc() -> ColorSpace:
        return ColorSpace("sYCC", 0.299, 0.114, True)

    @staticmethod
    def Smpte170m() -> ColorSpace:
        return ColorSpace("SMPTE170M", 0.299, 0.114, False)

    @staticmethod
    def Rec709() -> ColorSpace:
        return ColorSpace("Rec709", 0.2126, 0.0722, False)

    def convert(self, rgb: tuple[int, int, int]) -> tuple[int, int, int]:
        r, g, b = (value / 255 for value in rgb)
        y = self.red * r + (1 - self.red - self.blue) * g + self.blue * b
        cb, cr = (b - y) / (2 - 2 * self.blue), (r - y) / (2 - 2 * self.red)
        if self.full:
            return round(255 * y), min(round(128 + 255 * cb), 255), min(round(128 + 255 * cr), 255)
        return round(16 + 219 * y), round(128 + 224 * cb), round(128 + 224 * cr)


class DmaAllocator:
    """Opens the DMA heap, which is where the want of rights shows."""

    pi: Pi

    def __init__(self) -> None:
        if self.pi.forbidden:
            raise PermissionError(errno.EACCES, "Permission denied", "/dev/dma_heap/linux,cma")


class Job:
    """A job in the queue of one camera's event loop."""

    def __init__(self, camera: Picamera2, functions: list[Callable[[], tuple[bool, Any]]]) -> None:
        self._camera = camera
        self._functions = functions
        self._future: concurrent.futures.Future[Any] = concurrent.futures.Future()

    def execute(self) -> bool:
        try:
            result = None
            while self._functions:
                done, result = self._functions[0]()
                if not done:
                    return False
                self._functions.pop(0)
        except Exception as error:  # noqa: BLE001 — it belongs to whoever waits for the job
            self._functions = []
            self._future.set_exception(error)
            return True
        self._future.set_result(result)
        return True

    def get_result(self, timeout: float | None = None) -> Any:
        assert timeout is not None, "a wait without a bound never ends on a lost cable"
        self._camera.pi.waits.append(timeout)
        self._camera.run_until(self._future.done, timeout)
        return self._future.result(timeout=0)

    def cancel(self) -> None:
        self._future.set_exception(concurrent.futures.CancelledError())


class CompletedRequest:
    """A frame. Its buffers are the camera's: they are gone with `release`."""

    def __init__(self, camera: Picamera2, number: int, metadata: dict[str, Any], controls: dict[str, Any]) -> None:
        self.picam2 = camera
        self.ref_count = 1
        self.stop_count = camera.stop_count
        self.config = dict(camera.camera_config)
        self._number = number
        self._metadata = metadata
        self._controls = controls

    def acquire(self) -> None:
        if self.ref_count == 0:
            raise RuntimeError("CompletedRequest: acquiring lock with ref_count 0")
        self.ref_count += 1

    def release(self) -> None:
        self.ref_count -= 1
        if self.ref_count < 0:
            raise RuntimeError("CompletedRequest: lock now has negative ref_count")
        if self.ref_count == 0:
            self.config = {}
            if self.stop_count == self.picam2.stop_count and self.picam2.started:
                self.picam2.queue_again()

    def get_metadata(self) -> dict[str, Any]:
        assert self.ref_count > 0, "used after its release"
        return dict(self._metadata)

    def make_array(self, name: str) -> Any:
        config = self.config.get(name)
        if config is None:
            raise RuntimeError(f"Stream {name!r} is not defined")
        if self.picam2.pi.fail_make_array is not None:
            raise self.picam2.pi.fail_make_array
        width, height = config["size"]
        rgb, brightness = self.picam2.pi.scene, self._controls.get("Brightness", 0.0)
        if config["format"] in ("BGR888", "RGB888"):
            return np.full((height, width, 3), rgb if config["format"] == "BGR888" else rgb[::-1], np.uint8)
        y, u, v = self.picam2.camera_config["colour_space"].convert(rgb)
        stride = config["stride"]
        array = np.full((height * 3 // 2, stride), 77, np.uint8)  # what lies in the padding is anything
        array[:height, :width] = np.clip(round(y + 127 * brightness), 0, 255)
        halves = array.reshape(height * 3, stride // 2)
        halves[2 * height : 2 * height + height // 2, : width // 2] = u
        halves[2 * height + height // 2 :, : width // 2] = v
        return array

    def make_buffer(self, name: str) -> Any:
        config = self.config.get(name)
        if config is None:
            raise RuntimeError(f"Stream {name!r} is not defined")
        return np.zeros(config["stride"] * config["size"][1], np.uint8)


class Helpers:
    """Makes DNGs, into files by their name: picamera2's older versions can nothing else."""

    def __init__(self, camera: Picamera2) -> None:
        self._camera = camera

    def save_dng(self, buffer: Any, metadata: dict[str, Any], config: Mapping[str, Any], file_output: str) -> None:
        width, height = config["size"]
        assert len(buffer) == config["stride"] * height and "SensorTimestamp" in metadata
        Path(file_output).write_bytes(b"II*\0" + f"{width}x{height} {config['format']}".encode())


class LibcameraCamera:
    """What `Picamera2.camera` is."""

    def __init__(self, camera: Picamera2) -> None:
        self._camera = camera

    def release(self) -> None:
        del self._camera.pi.taken[self._camera.camera_idx]


class Picamera2:
    """The class of that name. `install` gives it the machine."""

    pi: Pi

    @staticmethod
    def global_camera_info() -> list[dict[str, Any]]:
        pi = Picamera2.pi
        seen = [] if pi.forbidden else pi.sensors
        return [
            {"Model": sensor.model, "Location": 2, "Rotation": 180, "Id": sensor.id, "Num": number}
            for number, sensor in enumerate(seen)
        ]

    def __init__(self, camera_num: int = 0, allocator: Any = None) -> None:
        self.notifyme_r, self.notifyme_w = os.pipe2(os.O_NONBLOCK)
        self.notifymeread = os.fdopen(self.notifyme_r, "rb")  # closed by the garbage collector; the other end is not
        self._preview: object | None = None
        self.is_open = False
        if camera_num >= len(self.global_camera_info()):
            raise RuntimeError(f'No camera number {camera_num} found - use "rpicam-hello --list-cameras"')
        self.camera_idx = camera_num
        self._sensor = self.pi.sensors[camera_num]
        self.camera = LibcameraCamera(self)
        self.helpers = Helpers(self)
        self.stop_count = 0
        self.started = False
        self.camera_config: dict[str, Any] = {}
        self._jobs: list[Job] = []
        self._completed: list[CompletedRequest] = []
        self._pending: dict[str, Any] = {}
        try:
            self._acquire()
        except RuntimeError as error:
            self.notifymeread.close()
            raise RuntimeError("Camera __init__ sequence did not complete.") from error
        self.is_open = True
        self.allocator = DmaAllocator() if allocator is None else allocator
        self.pi.opened.append(self)

    def _acquire(self) -> None:
        if self.pi.busy or self.camera_idx in self.pi.taken:
            raise RuntimeError("Failed to acquire camera: Device or resource busy")
        self.pi.taken[self.camera_idx] = self

    # What it is -------------------------------------------------------------------------------------------------------

    @property
    def sensor_resolution(self) -> tuple[int, int]:
        return self._sensor.size

    @property
    def camera_properties(self) -> dict[str, Any]:
        return {"Model": self._sensor.model} | ({"ColorFilterArrangement": 0} if self._sensor.of_pi else {})

    @property
    def camera_controls(self) -> dict[str, tuple[Any, Any, Any]]:
        return dict(self._sensor.controls)

    def camera_configuration(self) -> dict[str, Any]:
        return self.camera_config

    # Configuring ------------------------------------------------------------------------------------------------------

    def create_video_configuration(self, main: Any = None, lores: Any = None, raw: Any = (), **options: Any) -> Any:
        return self._configuration({"format": "XBGR8888", "size": (1280, 720)}, main, lores, raw, 6, options)

    def create_still_configuration(self, main: Any = None, lores: Any = None, raw: Any = (), **options: Any) -> Any:
        return self._configuration({"format": "BGR888", "size": self.sensor_resolution}, main, lores, raw, 1, options)

    def _configuration(self, base: Any, main: Any, lores: Any, raw: Any, buffers: int, options: Any) -> Any:
        known = {
            "transform",
            "colour_space",
            "buffer_count",
            "controls",
            "display",
            "encode",
            "queue",
            "sensor",
            "use_case",
        }
        if unknown := set(options) - known:
            raise TypeError(f"unexpected keyword arguments {unknown}")
        main = self._stream(base, main or {})
        stream = None if lores is None else self._stream({"format": "YUV420", "size": main["size"]}, lores)
        negative = None
        if raw is not None and self._sensor.of_pi:
            negative = self._stream({"format": "SBGGR10_CSI2P", "size": main["size"]}, raw or {})
        return {
            "colour_space": ColorSpace.Rec709(),
            "buffer_count": buffers,
            "queue": True,
            "display": "main",
            "encode": "main",
            **options,
            "main": main,
            "lores": stream,
            "raw": negative,
            "controls": {"FrameDurationLimits": (33333, 33333), **options.get("controls", {})},
        }

    @staticmethod
    def _stream(base: dict[str, Any], updates: Mapping[str, Any]) -> dict[str, Any]:
        if bad := set(updates) - {"format", "size", "stride", "preserve_ar"}:
            raise ValueError(f"Bad key {bad}")
        stream = {**base, **updates}
        width, height = stream["size"]
        return {**stream, "size": (width - width % 2, height - height % 2)}

    def configure(self, config: dict[str, Any]) -> None:
        if self.started:
            raise RuntimeError("Camera must be stopped before configuring")
        self.camera_config = {}
        config = {name: dict(value) if isinstance(value, dict) else value for name, value in config.items()}
        if not isinstance(config["colour_space"], ColorSpace):
            raise RuntimeError("Colour space has incorrect type")
        main, lores = config["main"], config["lores"]
        if lores is not None:
            if lores["size"][0] > main["size"][0] or lores["size"][1] > main["size"][1]:
                raise RuntimeError("lores stream dimensions may not exceed main stream")
            if lores["format"] != "YUV420":
                raise RuntimeError("lores stream must be YUV")
        if self._sensor.only_yuyv:
            main["format"] = "YUYV"  # libcamera adjusts what a driver cannot give
        needed = sum(self._laid_out(config[name]) for name in ("main", "lores", "raw") if config[name] is not None)
        if needed * config["buffer_count"] > self.pi.cma_bytes:
            raise OSError(errno.ENOMEM, "Cannot allocate memory")
        self.camera_config = config
        self._pending = {}
        self.set_controls(config["controls"])

    @staticmethod
    def _laid_out(stream: dict[str, Any]) -> int:
        """Rows are padded to 64 bytes, as PiSP does; returns the size of a frame."""
        width, height = stream["size"]
        row = width * 3 if stream["format"] in ("BGR888", "RGB888") else width
        row = width * 10 // 8 if stream["format"].startswith("SBGGR10") else row
        stream["stride"] = -(-row // 64) * 64 if stream["format"] not in ("BGR888", "RGB888") else row
        stream["framesize"] = stream["stride"] * height * 3 // (2 if stream["format"] == "YUV420" else 3)
        return int(stream["framesize"])

    def set_controls(self, controls: Mapping[str, Any]) -> None:
        for name, value in controls.items():
            if name not in self._sensor.controls:
                raise RuntimeError(f"Control {name} is not advertised by libcamera")
            if name in _WHOLE_NUMBERS and not isinstance(value, int):
                raise RuntimeError("Unable to cast Python instance to C++ type")
            if name in ("AeEnable", "AwbEnable") and not isinstance(value, bool):
                raise RuntimeError("Unable to cast Python instance to C++ type")
            if name == "ColourGains" and not (len(value) == 2 and all(isinstance(gain, float) for gain in value)):
                raise RuntimeError("Unable to cast Python instance to C++ type")
            self._pending[name] = value

    # Running ----------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        if not self.camera_config:
            raise RuntimeError("Camera has not been configured")
        self._preview = self._preview or object()
        self._start()

    def _start(self) -> None:
        if self.pi.unplugged:
            raise RuntimeError("Failed to start camera: Remote I/O error")
        self._in_force, self._pending = self._pending, {}
        self._to_come: list[dict[str, Any]] = [{}] * _SENSOR_DELAY
        self._queued: list[dict[str, Any]] = [{} for _ in range(self.camera_config["buffer_count"])]
        self._scanning = self._sensor.scanning_frames
        self._automatic_us = self._sensor.metered_us
        self._gains, self._gains_held = self._sensor.balance, False
        self._balance(self._in_force)
        self._frames = 0
        self._row_at = self.pi.clock.monotonic() + 0.1
        self.started = True

    def _stop(self) -> None:
        self.stop_count += 1
        self.started = False
        self._completed = []

    def queue_again(self) -> None:
        controls, self._pending = self._pending, {}
        self._queued.append(controls)

    def run_until(self, ended: Callable[[], bool], timeout: float) -> None:
        """Let frames come and jobs be done, until it has ended or so many seconds have passed."""
        until = self.pi.clock.monotonic() + timeout
        self._run_jobs()
        while not ended():
            due = self._next_due()
            if due is None or due > until:
                self.pi.let_pass(until - self.pi.clock.monotonic())
                return
            self.pi.let_pass(due - self.pi.clock.monotonic())
            self._complete()
            self._run_jobs()

    def _catch_up(self) -> None:
        """Frames have come and gone while nobody waited; the last one is kept."""
        while (due := self._next_due()) is not None and due <= self.pi.clock.monotonic():
            self._complete()

    def _run_jobs(self) -> None:
        while self._jobs and self._jobs[0].execute():
            self._jobs.pop(0)

    def _duration(self) -> float:
        shortest = max(self._sensor.controls["FrameDurationLimits"][0], self._in_force["FrameDurationLimits"][0])
        assert self._exposure_us() <= self._in_force["FrameDurationLimits"][1], (
            "the frame is too short for its exposure"
        )
        return float(max(shortest, self._exposure_us() + 100)) / 1e6

    def _exposure_us(self) -> int:
        wanted = int(self._in_force.get("ExposureTime", 0) or self._automatic_us)
        return wanted - wanted % 9  # whole lines

    def _meter(self) -> None:
        """Automatic exposure goes from what was in force towards the right one, by half at each frame."""
        if held := self._in_force.get("ExposureTime", 0):
            self._automatic_us = held
        else:
            self._automatic_us += round((self._sensor.metered_us - self._automatic_us) / 2)

    def _next_due(self) -> float | None:
        """When the next frame is complete; None when none will ever be."""
        if not self.started or self.pi.hanging or self.pi.unplugged or not self._queued:
            return None
        behind = self.pi.clock.monotonic() - self._row_at
        if behind > 10 * self._duration():  # frames that nobody looked at
            self._row_at += behind - self._duration()
        return self._row_at + self._sensor.controls["FrameDurationLimits"][0] / 1e6

    def _complete(self) -> None:
        controls = self._queued.pop(0)
        lens = {name: value for name, value in controls.items() if name not in ("ExposureTime", "AnalogueGain")}
        self._in_force = {**self._in_force, **lens}
        if "AfTrigger" in controls or "AfMode" in controls:
            self._scanning = self._sensor.scanning_frames
        self._balance(controls)
        request = CompletedRequest(self, self._frames, self._metadata(), dict(self._in_force))
        self._scanning = max(self._scanning - 1, 0)
        self._frames += 1
        self._to_come.append({name: controls[name] for name in ("ExposureTime", "AnalogueGain") if name in controls})
        self._in_force = {**self._in_force, **self._to_come.pop(0)}
        self._meter()
        self._row_at += self._duration()
        self._completed.append(request)
        kept = 1 if self.camera_config["queue"] and self.camera_config["buffer_count"] > 1 else 0
        self._run_jobs()
        while len(self._completed) > kept:
            self._completed.pop(0).release()

    def _balance(self, controls: Mapping[str, Any]) -> None:
        """As the IPA does: switched off, white balance stays as it is; given gains hold, but 0 is automatic."""
        given = controls.get("ColourGains")
        if "AwbEnable" in controls or given is not None:
            self._gains_held = controls.get("AwbEnable") is False or all(given or (0.0,))
        if given is not None and all(given):
            self._gains = given
        elif not self._gains_held:
            self._gains = self._sensor.balance

    def _metadata(self) -> dict[str, Any]:
        metadata = {
            "SensorTimestamp": round(self._row_at * 1e9),
            "ExposureTime": self._exposure_us(),
            "AnalogueGain": self._in_force.get("AnalogueGain") or 2.0,
            "DigitalGain": 1.0,
            "Lux": 400.123456,
            "ColourGains": self._gains,
            "ColourTemperature": 4500,
            "SensorTemperature": 41.0,
            "FrameDuration": round(self._duration() * 1e6),
            "AeState": 1 if abs(self._automatic_us / self._sensor.metered_us - 1) > 0.01 else 2,
        }
        if "AfMode" in self._sensor.controls:
            metadata["LensPosition"] = self._in_force.get("LensPosition", 1.0)
            idle = self._in_force.get("AfMode", 0) == 0
            metadata["AfState"] = 0 if idle else 1 if self._scanning else 2
        return metadata

    # Jobs -------------------------------------------------------------------------------------------------------------

    def _dispatch(self, functions: list[Callable[[], tuple[bool, Any]]], wait: Any) -> Any:
        assert wait is not None and wait is not True, "a wait without a bound never ends on a lost cable"
        self._catch_up()
        job = Job(self, functions)
        self._jobs.append(job)
        return job.get_result(wait) if wait else job

    def _capture_request(self) -> tuple[bool, Any]:
        return (True, self._completed.pop(0)) if self._completed else (False, None)

    def capture_request(self, wait: Any = None, signal_function: Any = None, flush: Any = None) -> Any:
        assert flush is None, "flush compares with CLOCK_MONOTONIC, and drops the frames of the stream"
        return self._dispatch([self._capture_request], wait)

    def switch_mode(self, camera_config: dict[str, Any], wait: Any = None) -> Any:
        def switch() -> tuple[bool, Any]:
            self._stop()
            self.configure(camera_config)
            self._start()
            return True, self.camera_config

        return self._dispatch([switch], wait)

    def wait(self, job: Job, timeout: float | None = None) -> Any:
        return job.get_result(timeout)

    def cancel_all_and_flush(self) -> None:
        for job in self._jobs:
            job.cancel()
        self._jobs = []

    def stop(self) -> None:
        assert self._preview is None or not (self._jobs or self.pi.hanging or self.pi.unplugged), "waits for ever"
        self._stop()

    def close(self) -> None:
        if self.pi.close_hangs is not None:
            self.pi.close_hangs.wait(60)
        self._preview = None
        if not self.is_open:
            return
        assert not self._jobs, "a job is left in the queue"
        if self.started:
            self._stop()
        self.camera.release()
        self.is_open = False
        self.notifymeread.close()
        os.close(self.notifyme_w)

    @property
    def held(self) -> int:
        """How many requests are in somebody's hands: neither queued nor kept by picamera2."""
        return int(self.camera_config["buffer_count"]) - len(self._queued) - len(self._completed)


def install(monkeypatch: pytest.MonkeyPatch, clock: Clock | None = None, sensors: list[Sensor] | None = None) -> Pi:
    """Put picamera2 and libcamera in place, with a Camera Module 3 unless told otherwise."""
    pi = Pi(clock or SystemClock(), [Sensor()] if sensors is None else sensors)
    monkeypatch.setattr(Picamera2, "pi", pi, raising=False)
    monkeypatch.setattr(DmaAllocator, "pi", pi, raising=False)
    modules: dict[str, dict[str, Any]] = {
        "libcamera": {"ColorSpace": ColorSpace},
        "picamera2": {"Picamera2": Picamera2},
        "picamera2.allocators": {"DmaAllocator": DmaAllocator},
    }
    for name, contents in modules.items():
        module = types.ModuleType(name)
        module.__spec__ = importlib.machinery.ModuleSpec(name, None)
        module.__dict__.update(contents)
        monkeypatch.setitem(sys.modules, name, module)
    return pi
