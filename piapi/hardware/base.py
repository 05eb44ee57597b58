"""What hardware looks like to the rest of piapi: protocols, and the errors that they may raise.

A backend is one file that implements `Camera`, or `GpioBoard` (written in gpio.py, and named here too). Nothing
outside `piapi/hardware/` imports a hardware library, and nothing here does either: reading this file is enough to
write a backend (see CONTRIBUTING.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from piapi.errors import CameraTimeout, CameraUnavailable, UnsupportedControl
from piapi.hardware.gpio import GpioBoard, Guard, OnEdge, Pull

__all__ = [
    "Camera",
    "CameraConfig",
    "CameraTimeout",
    "CameraUnavailable",
    "Capabilities",
    "Control",
    "ControlValue",
    "Frame",
    "GpioBoard",
    "Guard",
    "Image",
    "ImageFormat",
    "OnEdge",
    "Pull",
    "Still",
    "StillRequest",
    "UnsupportedControl",
]

ControlValue = float | int | bool | str
ImageFormat = Literal["jpeg", "png"]


@dataclass(frozen=True, slots=True)
class CameraConfig:
    """One `[cameras.NAME]` table of the settings. `width` and `height` (pixels) are those of live frames and, unless a
    request says otherwise, of photos."""

    name: str
    backend: str
    source: str = ""
    width: int = 1920
    height: int = 1080
    rotation: int = 0
    fps: float = 30.0


@dataclass(frozen=True, slots=True)
class Control:
    """One thing that can be set on a camera.

    Numbers have `min` and `max` (both included); a choice has `choices` instead; a switch has neither. `default` is
    None where the camera decides by itself until told (an exposure time under automatic exposure).
    """

    default: ControlValue | None
    min: float | None = None
    max: float | None = None
    choices: tuple[str, ...] | None = None

    def check(self, name: str, value: ControlValue) -> None:
        """Raise UnsupportedControl, in words for a person, when `value` is not one this control takes."""
        if self.choices is not None:
            if value not in self.choices:
                raise UnsupportedControl(name, f"must be one of {', '.join(self.choices)}")
        elif isinstance(self.default, bool):
            if not isinstance(value, bool):
                raise UnsupportedControl(name, "must be true or false")
        elif isinstance(value, bool) or not isinstance(value, int | float):
            raise UnsupportedControl(name, "must be a number")
        elif (self.min is not None and value < self.min) or (self.max is not None and value > self.max):
            raise UnsupportedControl(name, f"must be from {self.min:g} to {self.max:g}")


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What an opened camera can do. Known names of controls, so that clients see the same ones on every backend:

    `brightness`, `contrast`, `saturation`, `sharpness` (as the backend scales them), `exposure` (`auto`, `manual`),
    `exposure_s` (seconds), `gain` (1 is none), `white_balance` (a choice; `manual` where it can be held), `red_gain`
    and `blue_gain` (its factors over green) or `colour_temperature_k` (kelvin, what a webcam has instead),
    `focus_mode` (`auto`, `manual`, `continuous`), `focus_position` (dioptres, 0 is infinity; a webcam's own steps).

    Those with a number mean manual where nothing else is said; manual without the number holds what is in force now,
    but a gain that is not named is 1. Where a frame's metadata has such a number under automatic control, setting it
    makes a picture like that frame.
    """

    model: str
    emulated: bool
    resolutions: tuple[tuple[int, int], ...]
    """Width and height in pixels, the largest (the sensor's) first."""
    controls: Mapping[str, Control] = field(default_factory=dict)
    raw: bool = False
    """Whether stills can be had as DNG."""


class Image(Protocol):
    """A picture in memory that can be encoded as often as wanted, from any thread. It never changes."""

    @property
    def width(self) -> int:
        """Pixels, after rotation."""

    @property
    def height(self) -> int:
        """Pixels, after rotation."""

    def rotated(self, degrees: int) -> Image:
        """The same picture turned clockwise by 0, 90, 180 or 270 degrees."""

    def encode(self, format: ImageFormat, *, width: int = 0, height: int = 0, quality: int = 0) -> bytes:
        """The picture as a file. `width` and `height`, in pixels: scaled to them and cut to their shape (0: as it is,
        or in proportion to the other). `quality` of a JPEG: 1–100 (0: as it came from the camera, or a good default).
        """


@dataclass(frozen=True, slots=True)
class Frame:
    """One live frame."""

    image: Image
    exposed_at: float
    """When its exposure began, in seconds of the monotonic clock; as near as the device can tell."""
    metadata: Mapping[str, ControlValue] = field(default_factory=dict)
    """What the camera says of it: `exposure_s`, `gain`, `red_gain`, `blue_gain`, `lux`, `colour_temperature_k`, …"""


@dataclass(frozen=True, slots=True)
class Still(Frame):
    """One still picture."""

    raw: bytes | None = None
    """The DNG, where the request asked for it."""


@dataclass(frozen=True, slots=True)
class StillRequest:
    """How a still is to be taken."""

    width: int = 0
    """Pixels; 0: as configured. A backend that cannot deliver just this size delivers a larger one: encoding scales."""
    height: int = 0
    controls: Mapping[str, ControlValue] = field(default_factory=dict)
    """Set for this still alone, over those of `configure`."""
    raw: bool = False


def ignore(frame: Frame) -> None:
    """An `on_frame` for when nobody looks."""


class Camera(Protocol):
    """One camera.

    Every call comes from one thread, its owner. A call that waits takes a `deadline` (seconds of the monotonic
    clock) and never waits past it: the owner can do nothing else meanwhile. Images are encoded later, by others, so a
    backend hands out memory that it will not touch again.
    """

    def open(self) -> Capabilities:
        """Take the device and let it run until `close`. Raises CameraUnavailable with what would help."""

    def configure(self, controls: Mapping[str, ControlValue]) -> None:
        """Hold these controls from now on, over the defaults; those not named go back to their default.

        Raises UnsupportedControl for one that `open()` did not list or a value out of range, and then changes none.
        """

    def read(self, deadline: float) -> Frame:
        """The next live frame, at most as large as configured. Raises CameraTimeout, CameraUnavailable."""

    def capture(self, request: StillRequest, deadline: float, on_frame: Callable[[Frame], None] = ignore) -> Still:
        """Take one picture whose exposure begins after this call.

        Live frames that pass meanwhile go to `on_frame`, so that a stream goes on. Raises CameraTimeout past the
        deadline, CameraUnavailable when the device is gone, UnsupportedControl as `configure` does.
        """

    def close(self) -> None:
        """Let the device go. May be called twice, and after any error; the camera can be opened again."""
