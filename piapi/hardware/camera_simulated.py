"""A camera that is not there: it looks at a drawn scene (`scene`), and says `emulated` of itself.

What it is for: trying piapi without a camera, and tests. It keeps a real camera's ways: live frames come at their
time, a long exposure takes long, automatic exposure needs a moment to settle, and things go wrong (`Faults`).
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from piapi.clock import Clock, wall_time_of
from piapi.errors import CameraTimeout, CameraUnavailable, UnsupportedControl
from piapi.hardware.base import (
    CameraConfig,
    Capabilities,
    Control,
    ControlValue,
    Frame,
    Still,
    StillRequest,
    ignore,
)
from piapi.hardware.scene import (
    WHITE_BALANCES,
    Exposure,
    Light,
    Scene,
    Tone,
    cast_of,
    gains_of,
    hour_at,
    write_over,
)

#: Pixels of a side that the scene needs; smaller pictures are scaled when they are encoded.
SMALLEST = 64

#: Those of a Camera Module 3 (Sony IMX708), and what is often asked for.
RESOLUTIONS = ((4608, 2592), (2304, 1296), (1920, 1080), (1280, 720), (640, 480))

CONTROLS: Mapping[str, Control] = {
    "brightness": Control(0.0, -1.0, 1.0),
    "contrast": Control(1.0, 0.0, 2.0),
    "saturation": Control(1.0, 0.0, 2.0),
    "exposure": Control("auto", choices=("auto", "manual")),
    "exposure_s": Control(None, 0.0001, 60.0),
    "gain": Control(None, 1.0, 16.0),
    "white_balance": Control("auto", choices=(*WHITE_BALANCES, "manual")),
    "red_gain": Control(None, 0.1, 8.0),
    "blue_gain": Control(None, 0.1, 8.0),
}

#: Seconds in which automatic exposure gets two thirds of the way to the right one.
_SETTLING_S = 0.25

#: Too short to wait for: a sum of times need not be exact.
_NO_TIME_S = 1e-6

_GONE = "The simulated camera is unplugged. Check its cable, and that it is plugged in."


@dataclass(frozen=True, slots=True)
class _Fault:
    busy: bool = False
    unplugged: bool = False
    unplugged_times: int = 0
    hanging: bool = False
    slow_s: float = 0.0
    tearing: bool = False


class Faults:
    """What goes wrong with a simulated camera, on demand, from any thread; the camera feels it at once."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.now = _Fault()

    def unplug(self) -> None:
        """From now on every call raises CameraUnavailable; after `plug_in` the camera has to be opened again."""
        self._set(unplugged=True, unplugged_times=self.now.unplugged_times + 1)

    def plug_in(self) -> None:
        """The cable is back."""
        self._set(unplugged=False)

    @contextlib.contextmanager
    def busy(self) -> Iterator[None]:
        """Meanwhile `open` finds the camera in use by another program."""
        with self._during(busy=True):
            yield

    @contextlib.contextmanager
    def hanging(self) -> Iterator[None]:
        """Meanwhile every call blocks whatever its deadline, `close` too, as it does in a wedged driver."""
        with self._during(hanging=True):
            yield

    @contextlib.contextmanager
    def slow(self, seconds: float) -> Iterator[None]:
        """Meanwhile each picture comes so many seconds late."""
        with self._during(slow_s=seconds):
            yield

    @contextlib.contextmanager
    def tearing(self) -> Iterator[None]:
        """Meanwhile the lower half of each picture is missing: grey, as a decoder shows a JPEG that was cut off."""
        with self._during(tearing=True):
            yield

    @contextlib.contextmanager
    def _during(self, **changes: Any) -> Iterator[None]:
        before = {name: getattr(self.now, name) for name in changes}
        self._set(**changes)
        try:
            yield
        finally:
            self._set(**before)

    def _set(self, **changes: Any) -> None:
        with self.changed:
            self.now = replace(self.now, **changes)
            self.changed.notify_all()

    def wait_while_hanging(self) -> None:
        """What a call into the driver does first."""
        with self.changed:
            self.changed.wait_for(lambda: not self.now.hanging)


class SimulatedCamera:
    """A camera in front of the scene; see `base.Camera`. Live frames are of the configured size, up to the sensor's."""

    def __init__(self, config: CameraConfig, clock: Clock, faults: Faults | None = None) -> None:
        self._size = _within_sensor(config.width, config.height)
        self._interval = 1.0 / config.fps
        self._clock = clock
        self._faults = faults or Faults()
        self._plugged = 0
        self._scene: Scene | None = None
        self._controls: Mapping[str, ControlValue] = {}
        self._begun: float | None = None
        self._frames = 0
        self._next_due = 0.0
        self._metered: Exposure | None = None
        self._gains: tuple[float, float] | None = None

    def open(self) -> Capabilities:
        """Draw what stands still. The scene goes on from where it was when it was first opened."""
        self.close()
        fault = self._faults.now
        if fault.unplugged:
            raise CameraUnavailable(_GONE)
        if fault.busy:
            raise CameraUnavailable("The simulated camera is in use by another program.")
        self._plugged = fault.unplugged_times
        self._scene = Scene(*self._size)
        self._controls, self._metered, self._gains = {}, None, None
        self._next_due = self._clock.monotonic()
        self._begun = self._next_due if self._begun is None else self._begun
        return Capabilities("Simulated camera", emulated=True, resolutions=RESOLUTIONS, controls=CONTROLS)

    def configure(self, controls: Mapping[str, ControlValue]) -> None:
        """Hold these. `exposure_s` or `gain` without `exposure` means manual; manual without `gain` means 1."""
        self._opened()
        _check(controls)
        self._controls = dict(controls)

    def read(self, deadline: float) -> Frame:
        """The next live frame; those that fell due while nobody read are skipped."""
        scene = self._opened()
        pace = self._pace()
        late = self._clock.monotonic() - self._next_due
        begins = self._next_due if late < pace else self._next_due + math.ceil(late / pace) * pace
        self._wait_until(begins + self._exposure(self._controls, begins).seconds, deadline)
        self._next_due = begins + pace
        return self._live(scene, begins)

    def capture(self, request: StillRequest, deadline: float, on_frame: Callable[[Frame], None] = ignore) -> Still:
        """A picture of just the size asked for. Live frames that are ready before it are passed on meanwhile."""
        scene = self._opened()
        _check(request.controls)
        controls = {**self._controls, **request.controls}
        begins = self._next_due = max(self._clock.monotonic(), self._next_due)
        exposure = self._exposure(controls, begins)
        ready = begins + exposure.seconds
        while (seen := self._next_due + self._exposure(self._controls, self._next_due).seconds) <= ready:
            self._wait_until(seen, deadline)
            on_frame(self._live(scene, self._next_due))
            self._next_due += self._pace()
        self._wait_until(ready, deadline)
        size = _within_sensor(*_asked_for(request, self._size))
        still = self._frame(scene if size == self._size else Scene(*size), begins, controls, exposure)
        return Still(still.image, still.exposed_at, still.metadata)

    def close(self) -> None:
        """Forget the picture of what stands still."""
        self._faults.wait_while_hanging()
        self._scene = None

    # One frame --------------------------------------------------------------------------------------------------------

    def _live(self, scene: Scene, begins: float) -> Frame:
        exposure = self._exposure(self._controls, begins)
        if not _is_manual(self._controls):
            exposure = self._settled(exposure)
        self._metered = exposure
        return self._frame(scene, begins, self._controls, exposure)

    def _frame(self, scene: Scene, begins: float, controls: Mapping[str, ControlValue], exposure: Exposure) -> Frame:
        light = self._light(begins)
        gains = self._balance(controls, light)
        tone = Tone(
            light=exposure.product / light.exposure.product,
            brightness=float(controls.get("brightness", 0.0)),
            contrast=float(controls.get("contrast", 1.0)),
            saturation=float(controls.get("saturation", 1.0)),
            cast=cast_of(gains, light.balance) if gains != light.balance else (0.0, 0.0),
        )
        self._frames += 1
        picture = tone.applied(scene.draw(begins - (self._begun or 0.0)))
        write_over(picture, self._frames, begins, wall_time_of(self._clock, begins))
        if self._faults.now.tearing:
            for plane in (picture.y, picture.u, picture.v):
                plane[plane.shape[0] // 2 :] = 128
        metadata: dict[str, ControlValue] = {
            "frame": self._frames,
            "exposure_s": round(exposure.seconds, 6),
            "gain": round(exposure.gain, 3),
            "red_gain": round(gains[0], 3),
            "blue_gain": round(gains[1], 3),
            "lux": round(light.lux, 1),
            "colour_temperature_k": round(light.kelvin),
        }
        return Frame(picture, begins, metadata)

    def _balance(self, controls: Mapping[str, ControlValue], light: Light) -> tuple[float, float]:
        """The gains of red and blue that these controls mean in this light; those of the last frame are in force."""
        named = {"red_gain", "blue_gain"} & set(controls)
        choice = str(controls.get("white_balance", "manual" if named else "auto"))
        if choice != "manual":
            self._gains = gains_of(WHITE_BALANCES[choice], light.balance)
        elif named:
            self._gains = float(controls.get("red_gain", 1.0)), float(controls.get("blue_gain", 1.0))
        self._gains = self._gains or light.balance
        return self._gains

    def _light(self, moment: float) -> Light:
        return Light(hour_at(moment - (self._begun or 0.0)))

    def _exposure(self, controls: Mapping[str, ControlValue], moment: float) -> Exposure:
        """What these controls mean at this moment."""
        right = self._light(moment).exposure
        if not _is_manual(controls):
            return right
        return Exposure(float(controls.get("exposure_s", right.seconds)), float(controls.get("gain", 1.0)))

    def _settled(self, right: Exposure) -> Exposure:
        """One frame nearer to the right exposure than the last one was."""
        if self._metered is None:
            return right
        stops = math.log2(self._metered.product / right.product) * math.exp(-self._interval / _SETTLING_S)
        return Exposure(right.seconds * 2**stops, right.gain) if abs(stops) > 0.03 else right

    def _pace(self) -> float:
        """Seconds from one live frame to the next: a sensor cannot begin one before the last has ended."""
        return max(self._interval, self._exposure(self._controls, self._next_due).seconds)

    # Waiting and faults -----------------------------------------------------------------------------------------------

    def _opened(self) -> Scene:
        self._faults.wait_while_hanging()
        fault = self._faults.now
        if fault.unplugged or (self._scene is not None and fault.unplugged_times != self._plugged):
            self._scene = None
            raise CameraUnavailable(_GONE)
        if self._scene is None:
            raise CameraUnavailable("The simulated camera is not open.")
        return self._scene

    def _wait_until(self, moment: float, deadline: float) -> None:
        """Wait for the moment, or as long as the deadline lets; for ever while the camera hangs."""
        with self._faults.changed:
            while True:
                self._opened()
                now, until = self._clock.monotonic(), moment + self._faults.now.slow_s
                if now > deadline or deadline - now < _NO_TIME_S < until - now:
                    raise CameraTimeout("The simulated camera delivered no picture in time.")
                if until - now < _NO_TIME_S:
                    return
                self._clock.wait(self._faults.changed, min(until, deadline) - now)


def _check(controls: Mapping[str, ControlValue]) -> None:
    """Raise UnsupportedControl for one that the camera does not have, or a value out of its range."""
    for name, value in controls.items():
        if name not in CONTROLS:
            raise UnsupportedControl(name, f"this camera has no such control; it has {', '.join(CONTROLS)}")
        CONTROLS[name].check(name, value)


def _is_manual(controls: Mapping[str, ControlValue]) -> bool:
    """Whether these controls hold the exposure."""
    return controls.get("exposure", "manual" if {"exposure_s", "gain"} & set(controls) else "auto") == "manual"


def _asked_for(request: StillRequest, size: tuple[int, int]) -> tuple[int, int]:
    """The size of a still: in proportion where one side is named, as configured where none is."""
    width, height = size
    if request.width and request.height:
        return request.width, request.height
    if request.width:
        return request.width, max(1, round(request.width * height / width))
    return (max(1, round(request.height * width / height)), request.height) if request.height else size


def _within_sensor(width: int, height: int) -> tuple[int, int]:
    """The size, or the largest in proportion that the sensor has; at least one that the scene can be drawn in."""
    share = min(1.0, RESOLUTIONS[0][0] / width, RESOLUTIONS[0][1] / height)
    return max(SMALLEST, int(width * share)), max(SMALLEST, int(height * share))
