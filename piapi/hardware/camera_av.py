"""Cameras that FFmpeg can read, through PyAV: USB webcams, network cameras, and footage in place of a camera.

`source` is a V4L2 device (`/dev/video0`; the first one found when it is empty), an `rtsp://` or `http://` address, a
film or picture file, or a folder of JPEGs. A JPEG that comes in as a JPEG is passed on as it is; everything else is
decoded. Footage says that it is emulated: it shows what a camera saw some other day.

Pictures stop for good when the source goes away: `read` and `capture` then raise CameraUnavailable until the camera is
closed and opened again. Its owner does that after 1, 2, 4, … up to 30 s: `open` of a network camera may take 10 s, and
a connection that FFmpeg still holds after `close` is given up within 10 s.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from piapi.clock import Clock
from piapi.errors import CameraUnavailable, UnsupportedControl
from piapi.hardware import av_source, v4l2
from piapi.hardware.av_footage import Film, Folder, Footage, Player
from piapi.hardware.av_live import LiveFeed, NetworkCamera, Webcam
from piapi.hardware.av_source import Arrival, Size
from piapi.hardware.base import CameraConfig, Capabilities, ControlValue, Frame, Image, Still, StillRequest, ignore
from piapi.hardware.v4l2 import detect
from piapi.hardware.v4l2_controls import WebcamControls

__all__ = ["AvCamera", "detect"]

#: Frames that a webcam may still send with its old settings after it was given new ones.
_SETTLING_FRAMES = 2


class Feed(Protocol):
    """Where pictures come from, once it runs."""

    def start(self) -> Arrival:
        """Begin, with the first picture. Raises CameraUnavailable."""

    def next(self, deadline: float) -> Arrival:
        """The latest picture not yet taken, or the next one. Raises CameraTimeout, CameraUnavailable."""

    def stop(self) -> None:
        """End, also after a `start` that failed."""


class AvCamera:
    """A camera read through FFmpeg; see `base.Camera`."""

    def __init__(self, config: CameraConfig, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self._limit: Size = (config.width, config.height)
        self._feed: Feed | None = None
        self._converter: av_source.Converter | None = None
        self._controls: WebcamControls | None = None
        self._held: Mapping[str, ControlValue] = {}
        self._device = contextlib.ExitStack()

    def open(self) -> Capabilities:
        """Connect, and wait for the first picture (10 s at most)."""
        self.close()
        source = self._config.source or next(iter(detect()), "")
        try:
            self._converter = av_source.Converter()
            if source.startswith("/dev/"):
                return self._open_webcam(source)
            if "://" in source:
                camera = NetworkCamera(_checked(source))
                return self._start(LiveFeed(camera, self._config, self._clock), camera.model, emulated=False)
            footage, name = self._footage(source)
            return self._start(Player(footage, self._clock), name, emulated=True)
        except CameraUnavailable:
            self.close()
            raise

    def configure(self, controls: Mapping[str, ControlValue]) -> None:
        """Hold these controls of a webcam; network cameras and footage have none."""
        self._hold(controls)
        self._held = dict(controls)

    def read(self, deadline: float) -> Frame:
        """The latest frame that was not yet read, or the next one."""
        while True:
            arrival = self._running.next(deadline)
            if (image := self._image(arrival, self._limit)) is not None:
                return Frame(image, arrival.exposed_at)

    def capture(self, request: StillRequest, deadline: float, on_frame: Callable[[Frame], None] = ignore) -> Still:
        """A picture of the running stream, none of which was exposed (network: sent) before this call.

        Its size is that of the stream, scaled down to the configured one unless the request names a size.
        """
        feed, settling = self._running, 0
        if request.controls:
            self._hold({**self._held, **request.controls})
            settling = _SETTLING_FRAMES
        limit = None if request.width or request.height else self._limit
        try:
            called = self._clock.monotonic()
            while True:
                arrival = feed.next(deadline)
                if (live := self._image(arrival, self._limit)) is None:
                    continue
                on_frame(Frame(live, arrival.exposed_at))
                if arrival.since < called or (settling := settling - 1) >= 0:
                    continue
                if (image := live if limit == self._limit else self._image(arrival, limit)) is not None:
                    return Still(image, arrival.exposed_at, self._controls.in_force() if self._controls else {})
        finally:
            if request.controls:
                self._hold(self._held)

    def close(self) -> None:
        """Stop reading and let the device go."""
        feed, self._feed = self._feed, None
        try:
            if feed is not None:
                feed.stop()
        finally:
            self._controls, self._held, self._converter = None, {}, None
            self._device.close()

    def _open_webcam(self, path: str) -> Capabilities:
        try:
            device = v4l2.query(path)
            if not device.captures:
                raise CameraUnavailable(f"{path} is no camera ({device.card}). {_found()}")
            fd = self._device.enter_context(v4l2.opened(path))
        except FileNotFoundError:
            raise CameraUnavailable(f"There is no {path}: is the camera plugged in? {_found()}") from None
        except OSError as error:
            raise CameraUnavailable(av_source.explain(error, path)) from None
        self._controls = WebcamControls(fd)
        self._controls.hold({})
        feed = LiveFeed(Webcam(path, self._config), self._config, self._clock)
        return self._start(feed, device.card, emulated=False, sizes=v4l2.sizes(fd))

    def _footage(self, source: str) -> tuple[Footage, str]:
        path = Path(source)
        if not source:
            raise CameraUnavailable("No camera was found; `source` names none.")
        if path.is_dir():
            return Folder(path, self._config.fps), path.name
        if path.exists():
            return Film(path, self._config.fps), path.name
        raise CameraUnavailable(f"There is no file or folder {source}.")

    def _start(self, feed: Feed, model: str, *, emulated: bool, sizes: list[Size] | None = None) -> Capabilities:
        """Sizes beyond the running one are not listed: a still is a picture of the stream."""
        self._feed = feed
        picture = feed.start().picture
        try:
            width, height = av_source.size_of(picture)
        except OSError:
            raise CameraUnavailable(f"{model} sends JPEGs that cannot be decoded.") from None
        smaller = {size for size in sizes or () if size != (width, height) and size[0] <= width and size[1] <= height}
        return Capabilities(
            model=model,
            emulated=emulated,
            resolutions=((width, height), *sorted(smaller, key=lambda size: -size[0] * size[1])),
            controls=self._controls.offered if self._controls is not None else {},
        )

    @property
    def _running(self) -> Feed:
        if self._feed is None:
            raise CameraUnavailable("The camera is closed.")
        return self._feed

    def _hold(self, controls: Mapping[str, ControlValue]) -> None:
        if self._controls is not None:
            self._controls.hold(controls)
        elif controls:
            raise UnsupportedControl(next(iter(controls)), "this camera has no controls")

    def _image(self, arrival: Arrival, limit: Size | None) -> Image | None:
        assert self._converter is not None  # noqa: S101 — set for as long as there is a feed
        return self._converter.image(arrival.picture, limit)


def _checked(url: str) -> str:
    if urlsplit(url).scheme not in ("http", "https", "rtsp", "rtsps"):
        raise CameraUnavailable(f"{av_source.shown(url)}: an address of a camera begins with rtsp:// or http://.")
    return url


def _found() -> str:
    found = detect()
    return f"Found: {', '.join(found)}." if found else "No other was found."
