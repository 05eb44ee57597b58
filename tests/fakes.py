"""A clock that goes only when told, and a camera that does what a test says."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

from piapi.hardware.base import Capabilities, Control, ControlValue, Frame, Still, StillRequest, ignore


class FakeClock:
    """Begins at a fixed time and stands still."""

    def __init__(self) -> None:
        self._now = datetime(2026, 6, 21, 12, 0, tzinfo=UTC)
        self._monotonic = 1000.0
        self._lock = threading.Lock()

    def now(self) -> datetime:
        with self._lock:
            return self._now

    def monotonic(self) -> float:
        with self._lock:
            return self._monotonic

    def advance(self, seconds: float) -> None:
        """Time goes on."""
        with self._lock:
            self._now += timedelta(seconds=seconds)
            self._monotonic += seconds

    def jump(self, seconds: float) -> None:
        """The wall clock is set; spacing is not touched."""
        with self._lock:
            self._now += timedelta(seconds=seconds)

    def wait(self, condition: threading.Condition, timeout: float | None) -> bool:
        """Wait for real until notified; a test that wants the timeout to pass calls `advance`, then notifies."""
        return condition.wait(30)


class FlatImage:
    """A picture that encodes to a few bytes, and counts how often."""

    def __init__(self, width: int = 640, height: int = 480) -> None:
        self.width = width
        self.height = height
        self.encoded = 0

    def rotated(self, degrees: int) -> FlatImage:
        return FlatImage(self.height, self.width) if degrees in (90, 270) else self

    def encode(self, format: str, *, width: int = 0, height: int = 0, quality: int = 0) -> bytes:
        self.encoded += 1
        return f"{format} {width or self.width} q{quality}".encode()


class ScriptedCamera:
    """A camera that does what the test says next: a frame, or an error to raise. It records what was asked of it."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.calls: list[str] = []
        self.controls: dict[str, object] = {}
        self.fail_open: Exception | None = None
        self.fail_next: Exception | None = None
        self.block: threading.Event | None = None
        self.threads: set[int] = set()

    def _called(self, name: str) -> None:
        self.calls.append(name)
        self.threads.add(threading.get_ident())
        if self.block is not None:
            assert self.block.wait(30)

    def open(self) -> Capabilities:
        self._called("open")
        if self.fail_open:
            raise self.fail_open
        return Capabilities("scripted", True, ((640, 480),), {"gain": Control(1.0, 1, 16), "exposure_s": Control(None)})

    def configure(self, controls: Mapping[str, ControlValue]) -> None:
        self._called("configure")
        self.controls = dict(controls)

    def read(self, deadline: float) -> Frame:
        self._called("read")
        if self.fail_next:
            raise self.fail_next
        self.clock.advance(0.1)
        return Frame(FlatImage(), self.clock.monotonic(), {"gain": 1.0})

    def capture(self, request: StillRequest, deadline: float, on_frame: Callable[[Frame], None] = ignore) -> Still:
        self._called("capture")
        if self.fail_next:
            raise self.fail_next
        on_frame(self.read(deadline))
        self.clock.advance(0.1)
        return Still(FlatImage(), self.clock.monotonic(), {"gain": 2.0})

    def close(self) -> None:
        self._called("close")
