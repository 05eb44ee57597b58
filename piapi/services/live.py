"""Live view: one writer, many viewers, each with a place in the sequence instead of a queue.

A frame is encoded once for each size that somebody looks at, and shared. A viewer that is slow finds a later frame the
next time it asks; it holds nothing up and nothing back.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime

from piapi.errors import DamagedPicture, TooManyViewers
from piapi.hardware.base import ControlValue, Image

log = logging.getLogger(__name__)

Wake = Callable[[], None]

#: The three sizes of a stream, as parts of the full width.
DIVISORS = (4, 2, 1)

#: A viewer that comes is shown the last frame at once if it is no older than this, in seconds.
FRESH_S = 1.0

#: How much too early a frame may be for the rate of a viewer, in seconds.
EARLY_S = 0.01

#: Encodings of one picture that are remembered: as many as there are sizes, and a few more.
MOST_ENCODINGS = 8


class Picture:
    """What a camera took, with what it has been encoded to so far. Encoding happens in the thread that asks first."""

    def __init__(
        self, image: Image, exposed_at: float, captured_at: datetime, metadata: dict[str, ControlValue], emulated: bool
    ) -> None:
        self.image = image
        self.exposed_at = exposed_at
        self.captured_at = captured_at
        self.metadata = metadata
        self.emulated = emulated
        self._encoded: dict[tuple[int, int], Future[bytes]] = {}
        self._lock = threading.Lock()

    def jpeg(self, width: int = 0, quality: int = 0) -> bytes:
        """As a JPEG; `width` in pixels (0, or more than there are: as it is), `quality` 1–100 (0: as it came, or a good
        default). Who asks first encodes, and others wait for that. Raises DamagedPicture."""
        key = (0 if width >= self.image.width else width, quality)
        if (ready := self._encoded.get(key)) is not None and ready.done():
            return ready.result()
        with self._lock:
            known = self._encoded.get(key)
            mine = known is None
            if known is None:
                known = Future()
                if len(self._encoded) < MOST_ENCODINGS:
                    self._encoded[key] = known
        if mine:
            try:
                known.set_result(self.image.encode("jpeg", width=key[0], quality=quality))
            except ValueError as error:
                known.set_exception(DamagedPicture(f"The camera delivered a damaged picture: {error}."))
        return known.result()


@dataclass(frozen=True, slots=True)
class LiveFrame:
    """One encoded frame of a stream. The same object for all viewers of its size."""

    sequence: int
    exposed_at: float
    captured_at: datetime
    jpeg: bytes


class ViewerPlaces:
    """How many may watch at once, over all cameras."""

    def __init__(self, most: int) -> None:
        self._free = most
        self._most = most
        self._lock = threading.Lock()

    def take(self) -> None:
        """Raises TooManyViewers when all are taken."""
        with self._lock:
            if self._free <= 0:
                raise TooManyViewers(f"All {self._most} places for live viewers are taken.", retry_after_s=10)
            self._free -= 1

    def give_back(self) -> None:
        """A viewer has gone."""
        with self._lock:
            self._free += 1


class LiveFeed:
    """The live frames of one camera. The camera's owner publishes; viewers look."""

    def __init__(self, places: ViewerPlaces, monotonic: Callable[[], float], on_demand: Callable[[], None]) -> None:
        self._places = places
        self._monotonic = monotonic
        self._on_demand = on_demand
        self._viewers: tuple[Viewer, ...] = ()
        self._changed = threading.Condition()
        self._sequence = 0
        self.sent = 0
        """Frames that were given to viewers, all together."""
        self._next_due = 0.0
        self._frames: dict[int, LiveFrame] = {}

    @property
    def viewers(self) -> int:
        """How many look now."""
        return len(self._viewers)

    @property
    def encoded(self) -> int:
        """Frames that were encoded for viewers since the start."""
        return self._sequence

    def join(self, width: int, fps: float) -> Viewer:
        """A new viewer, who must `leave`. Raises TooManyViewers."""
        self._places.take()
        viewer = Viewer(self, width, fps)
        with self._changed:
            self._viewers += (viewer,)
            self._next_due = 0.0  # the grid of slower viewers is not the newcomer's
        self._on_demand()
        return viewer

    def publish(self, picture: Picture) -> None:
        """Encode a frame for those who look and tell them. Frames faster than anybody wants are passed over."""
        viewers = self._viewers
        if not viewers or not self._is_due(picture.exposed_at, max(viewer.fps for viewer in viewers)):
            return
        try:
            full = picture.image.width
            sizes = [divisor_for(full, viewer.width) for viewer in viewers]
            encoded = {divisor: picture.jpeg(0 if divisor == 1 else max(1, full // divisor)) for divisor in set(sizes)}
        except (DamagedPicture, ValueError) as error:
            log.warning("a live frame is passed over: %s", error)
            return
        self._sequence += 1
        frames = {
            divisor: LiveFrame(self._sequence, picture.exposed_at, picture.captured_at, jpeg)
            for divisor, jpeg in encoded.items()
        }
        with self._changed:
            self._frames = frames
            for viewer, divisor in zip(viewers, sizes, strict=True):
                viewer.latest = frames[divisor]
            self._changed.notify_all()
        for viewer in viewers:
            viewer.wake()

    def end(self) -> None:
        """The camera has gone: every viewer's stream ends."""
        with self._changed:
            viewers, self._frames = self._viewers, {}
            for viewer in viewers:
                viewer.ended = True
            self._changed.notify_all()
        for viewer in viewers:
            viewer.wake()

    def wait_first(self, viewer: Viewer, timeout: float) -> bool:
        """Wait until a viewer has a first frame or its stream has ended; False when neither came in time."""
        with self._changed:
            return self._changed.wait_for(lambda: viewer.latest is not None or viewer.ended, timeout)

    def _leave(self, viewer: Viewer) -> None:
        with self._changed:
            if viewer not in self._viewers:
                return
            self._viewers = tuple(other for other in self._viewers if other is not viewer)
        self._places.give_back()

    def _is_due(self, exposed_at: float, fps: float) -> bool:
        due, self._next_due = next_due(self._next_due, exposed_at, fps)
        return due


class Viewer:
    """One who looks. `next` is asked by one thread; `leave` may come from any, and more than once."""

    def __init__(self, feed: LiveFeed, width: int, fps: float) -> None:
        self._feed = feed
        self.width = width
        self.fps = fps
        self.latest: LiveFrame | None = None
        self.ended = False
        self.wake: Wake = _nobody
        self._seen = 0
        self._next_due = 0.0

    def next(self) -> LiveFrame | None:
        """The newest frame, if it is one that this viewer has not seen and its own rate lets it."""
        frame = self.latest
        if frame is None or frame.sequence == self._seen:
            return None
        due, self._next_due = next_due(self._next_due, frame.exposed_at, self.fps)
        self._seen = frame.sequence
        if not due:
            return None
        self._feed.sent += 1
        return frame

    def leave(self) -> None:
        """Give the place back."""
        self._feed._leave(self)


def divisor_for(full_width: int, wanted_width: int) -> int:
    """Which of the three sizes a viewer gets: the least that is no smaller than wanted (0: the largest)."""
    if wanted_width:
        for divisor in DIVISORS:
            if full_width // divisor >= wanted_width:
                return divisor
    return 1


def next_due(due_at: float, exposed_at: float, fps: float) -> tuple[bool, float]:
    """Whether a frame is due at a rate, and when the next one is.

    On a grid, so that 10 of 30 frames a second are every third one; frames never come to the microsecond, so
    one that is a little early counts. After a gap the grid starts anew.
    """
    interval = 1.0 / fps
    if exposed_at < due_at - min(interval / 4, EARLY_S):
        return False, due_at
    return True, due_at + interval if exposed_at < due_at + interval else exposed_at + interval


def _nobody() -> None:
    """Wakes nobody: a viewer that is not attached yet."""
