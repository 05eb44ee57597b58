"""Motion JPEG that a camera writes from a thread of its own, part by part, as whole frames for another thread."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

from piapi.clock import Clock
from piapi.errors import CameraTimeout
from piapi.hardware.mjpeg import whole_jpeg


class PartOf(Protocol):
    """A frame, as picamera's PiVideoFrame tells of it."""

    @property
    def complete(self) -> bool:
        """Whether its last part has come."""

    @property
    def timestamp(self) -> int | None:
        """When its first line arrived, in microseconds of the camera's clock; None where the camera does not know."""


class MjpegFrames:
    """The file-like object that the camera writes to. Only the latest frame is kept; a torn one is dropped."""

    def __init__(self, clock: Clock, frame_now: Callable[[], PartOf], now_us: int) -> None:
        """`frame_now` tells of the frame that the part just written belongs to, `now_us` what the camera's own clock,
        that of its timestamps, shows at this moment."""
        self._clock = clock
        self._frame_now = frame_now
        self._epoch = clock.monotonic() - now_us / 1e6
        self._arrived = threading.Condition()
        self._parts: list[bytes] = []
        self._latest: tuple[bytes, float] | None = None

    def write(self, data: bytes) -> None:
        """A part of a frame; each frame begins with a part of its own."""
        frame = self._frame_now()
        if data[:2] == b"\xff\xd8":
            self._parts.clear()
        self._parts.append(bytes(data))
        if frame.complete and (jpeg := whole_jpeg(b"".join(self._parts))):
            known, stamp = frame.timestamp is not None, (frame.timestamp or 0) / 1e6
            with self._arrived:
                self._latest = jpeg, self._epoch + stamp if known else self._clock.monotonic()
                self._arrived.notify_all()

    def next(self, deadline: float, check: Callable[[], object]) -> tuple[bytes, float]:
        """The latest frame not yet taken, or the next one, and when its first line arrived. `check` is called before
        each wait, to raise what has ended the stream. Raises CameraTimeout past the deadline."""
        with self._arrived:
            while self._latest is None:
                check()
                if (left := deadline - self._clock.monotonic()) <= 0:
                    raise CameraTimeout("The camera delivered nothing in time.")
                self._clock.wait(self._arrived, min(left, 1.0))
            taken, self._latest = self._latest, None
        return taken
