"""Live sources: V4L2 devices and network cameras, each read by a thread of its own.

The thread takes every frame as it comes and keeps the latest, whether or not somebody asks: frames that nobody fetches
would pile up in buffers on the way, and be old once they are asked for. It is also the only one to wait inside FFmpeg,
where no deadline can be set for a single call.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Protocol
from urllib.parse import urlsplit

from piapi.clock import Clock
from piapi.errors import CameraTimeout, CameraUnavailable
from piapi.hardware import av_source, v4l2
from piapi.hardware.av_source import Arrival
from piapi.hardware.base import CameraConfig

#: Seconds until the first picture. A stream of H.264 shows nothing before its next key frame.
OPEN_S = 10.0
#: Seconds without data after which a network camera counts as gone: one that loses power does not say so.
SILENCE_S = 10.0
#: Seconds that `stop` waits for the thread, which may be inside FFmpeg.
STOP_S = 2.0
#: Seconds after which a picture that nobody took is not handed out any more.
STALE_S = 1.0

#: Frames that FFmpeg has V4L2 hold at most (VIDEO_MAX_FRAME in linux/videodev2.h).
MOST_BUFFERS = 32
#: Seconds that a frame of a webcam may have waited there, beside the time of two frames.
BACKLOG_S = 0.3

log = logging.getLogger(__name__)


class LiveSource(Protocol):
    """Where live pictures come from."""

    single: bool
    """After `arrivals` have ended: whether that was one picture, to be fetched anew each time."""

    def arrivals(self, clock: Clock) -> Generator[Arrival, None, None]:
        """Connect, and give pictures as they come. Raises CameraUnavailable."""

    def interrupt(self) -> None:
        """Called from another thread: end the wait for a picture, where that can be done."""


class NetworkCamera:
    """A camera behind an http, https, rtsp or rtsps address. Its pictures count as exposed when they arrive."""

    #: What FFmpeg may open on behalf of the address: a camera has no business naming files of this machine.
    _PROTOCOLS = "http,https,httpproxy,rtsp,rtsps,rtp,srtp,udp,tcp,tls,crypto"

    def __init__(self, url: str) -> None:
        self._url = url
        self._name = av_source.shown(url)
        self.model = urlsplit(url).hostname or self._name
        self._rtsp = urlsplit(url).scheme in ("rtsp", "rtsps")
        self.single = False

    def options(self) -> dict[str, str]:
        """For FFmpeg. RTSP over TCP, since over UDP large frames lose parts in busy networks, and with half a second of
        looking at what comes in place of five: size and rate are of no use beforehand. Over HTTP what FFmpeg has read
        to find out about the stream is dropped: that is old, or, of a single picture, all there is."""
        options = {"protocol_whitelist": self._PROTOCOLS}
        if self._rtsp:
            options |= {"rtsp_transport": "tcp", "allowed_media_types": "video"}
            options |= {"analyzeduration": "500000", "fpsprobesize": "0"}
        elif not self.single:
            options["fflags"] = "nobuffer"
        return options

    def arrivals(self, clock: Clock) -> Generator[Arrival, None, None]:
        """Each picture when its last byte is here. One that was on its way at a moment is told by `since`, the arrival
        of the one before."""
        since = began = clock.monotonic()
        timeouts = (OPEN_S, SILENCE_S)
        with av_source.opened(self._url, self._name, timeouts=timeouts, options=self.options()) as container:
            if not self.single and _one_picture(container.format.name):
                self.single = True  # dropped by now: the next round fetches it
                return
            # What RTSP sent meanwhile has to be decoded, as it may hold the key frame, and is too old to be shown.
            old_s = clock.monotonic() - began if self._rtsp else 0.0
            first: float | None = None
            for picture, timestamp in av_source.pictures(container, self._name):
                now = clock.monotonic()
                first = timestamp if first is None else first
                if timestamp is None or first is None or timestamp - first >= old_s:
                    yield Arrival(picture, exposed_at=now, since=since)
                since = now

    def interrupt(self) -> None:
        """Nothing can: FFmpeg gives up by itself after `SILENCE_S`."""


def _one_picture(format_name: str) -> bool:
    """FFmpeg's readers of single pictures: by the name of the file, and by what is in it."""
    return format_name == "image2" or format_name.endswith("_pipe")


class Webcam:
    """A V4L2 device. Its pictures carry the moment at which the kernel began to receive them."""

    single = False

    def __init__(self, path: str, config: CameraConfig) -> None:
        self._path = path
        self._config = config

    def arrivals(self, clock: Clock) -> Generator[Arrival, None, None]:
        """A webcam exposes a picture while it sends the one before, so `since` is when that one began."""
        converter = av_source.Converter()
        since = clock.monotonic()
        with self._opened() as container:
            for picture, timestamp, left_out in without_backlog(av_source.pictures(container, self._path)):
                if left_out is not None:
                    since = _moment(left_out, clock)
                if not isinstance(picture, bytes):
                    picture = converter.full_range(picture)  # out of the driver's buffer, which is unmapped at close
                exposed_at = _moment(timestamp, clock)
                yield Arrival(picture, exposed_at, since=since)
                since = exposed_at

    @contextlib.contextmanager
    def _opened(self) -> Iterator[object]:
        options = {
            "video_size": f"{self._config.width}x{self._config.height}",
            "framerate": f"{self._config.fps:g}",
            "fflags": "nobuffer",
        }
        with v4l2.opened(self._path) as fd:
            if v4l2.gives_jpeg(fd):
                options["input_format"] = "mjpeg"
        with av_source.opened(self._path, self._path, format="v4l2", options=options) as container:
            yield container

    def interrupt(self) -> None:
        """End FFmpeg's wait for a frame, which has no limit of its own."""
        v4l2.stop_streaming(self._path)


def without_backlog(
    pictures: Iterable[tuple[av_source.Picture, float | None]], now: Callable[[], float] = time.monotonic
) -> Iterator[tuple[av_source.Picture, float | None, float | None]]:
    """Pictures without those that have waited in the driver's buffers, which come in order and overwrite nothing. Each
    with its timestamp and that of the one before it, if that was left out.

    Whoever takes longer for a frame than the camera does finds them all full, and each frame as many times that late.
    Leaving them out costs little, so the present is caught up with. One that had to be waited for was in no buffer,
    however late its timestamp; and where leaving one out makes the next no younger, there is nothing to catch up with.
    """
    before, left_out, oldest_s, skipped = None, None, OPEN_S, 0
    waiting = iter(pictures)
    while True:
        asked = now()
        try:
            picture, timestamp = next(waiting)
        except StopIteration:
            return
        came, is_late = now(), False
        if timestamp is not None and before is not None and skipped < MOST_BUFFERS:
            age_s, interval_s = came - timestamp, timestamp - before
            is_late = BACKLOG_S + 2 * interval_s < age_s < oldest_s and came - asked < interval_s / 2
            oldest_s = age_s if is_late else OPEN_S
        before = timestamp
        skipped = skipped + 1 if is_late else 0
        if not is_late:
            yield picture, timestamp, left_out
        left_out = timestamp if is_late else None


def _moment(timestamp: float | None, clock: Clock) -> float:
    """A timestamp of the kernel (CLOCK_MONOTONIC) on our clock; the present for a driver that stamps otherwise."""
    age = time.monotonic() - timestamp if timestamp is not None else 0.0
    return clock.monotonic() - (age if 0 <= age < OPEN_S else 0.0)


class LiveFeed:
    """The latest picture of a live source."""

    def __init__(self, source: LiveSource, config: CameraConfig, clock: Clock) -> None:
        self._source = source
        self._clock = clock
        self._pause_s = 1 / config.fps
        self._changed = threading.Condition()
        self._latest: Arrival | None = None
        self._failure = ""
        self._stopping = False
        self._wanted = False
        self._thread = threading.Thread(target=self._run, name=f"camera-{config.name}-feed", daemon=True)

    def start(self) -> Arrival:
        """Connect, and wait for the first picture, which stays to be taken. Raises CameraUnavailable."""
        self._thread.start()
        try:
            arrival = self.next(self._clock.monotonic() + OPEN_S)
        except CameraTimeout:
            raise CameraUnavailable(f"The camera sent no picture within {OPEN_S:g} s.") from None
        with self._changed:
            self._latest = self._latest or arrival
        return arrival

    def next(self, deadline: float) -> Arrival:
        """The latest picture that was not yet taken, or the next one to come."""

        def there() -> bool:
            return self._latest is not None or bool(self._failure)

        with self._changed:
            if self._latest is None or self._clock.monotonic() - self._latest.exposed_at > STALE_S:
                self._latest, self._wanted = None, True
                self._changed.notify_all()
            if not self._wait(there, deadline):
                raise CameraTimeout("The camera delivered no picture in time.")
            arrival, self._latest = self._latest, None
            if arrival is None:
                raise CameraUnavailable(self._failure)
            return arrival

    def stop(self) -> None:
        """End the thread. One that FFmpeg holds is left behind, and ends when FFmpeg lets go of it."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._thread.join(0.2)
        if self._thread.is_alive():
            self._source.interrupt()
            self._thread.join(STOP_S)
        if self._thread.is_alive():
            log.warning("The camera does not let go yet.")

    def _run(self) -> None:
        failure = "The camera has ended its stream."
        try:
            while self._fetch() and self._source.single and self._wait_until_wanted():
                pass
        except CameraUnavailable as error:
            failure = str(error)
        except OSError as error:
            failure = av_source.explain(error, "The camera")
        except Exception:
            failure = "The camera could not be read: this is a fault of piapi, its log says more."
            log.exception("Reading a camera failed")
        with self._changed:
            self._failure = failure
            self._changed.notify_all()

    def _fetch(self) -> bool:
        """Pass on what comes, to its end; False when it is not wanted any more."""
        with contextlib.closing(self._source.arrivals(self._clock)) as arrivals:
            for arrival in arrivals:
                with self._changed:
                    if self._stopping:
                        return False
                    self._latest = arrival
                    self._wanted = False
                    self._changed.notify_all()
        return True

    def _wait_until_wanted(self) -> bool:
        """Between two single pictures: no more of them than `fps`, and none that nobody asked for."""
        with self._changed:
            self._wait(lambda: self._stopping, self._clock.monotonic() + self._pause_s)
            while not self._wanted and not self._stopping:
                self._clock.wait(self._changed, 1.0)
            return not self._stopping

    def _wait(self, condition: Callable[[], bool], deadline: float) -> bool:
        while not condition():
            left = deadline - self._clock.monotonic()
            if left <= 0:
                return False
            self._clock.wait(self._changed, left)
        return True
