"""Footage in place of a camera: a film, or a folder of JPEGs, played in a loop at its own speed."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Protocol

from piapi.clock import Clock
from piapi.errors import CameraTimeout, CameraUnavailable
from piapi.hardware import av_source
from piapi.hardware.av_source import Arrival, Picture
from piapi.hardware.mjpeg import whole_jpeg

#: Seconds behind its time after which footage goes on from where it is, instead of being decoded up to the present.
_SLIP_S = 1.0

#: With "file:" before it, the name of a film is taken as it is: no character in it means another protocol or a pattern.
#: What a playlist names is read from files alone.
_OPTIONS = {"protocol_whitelist": "file,crypto,data", "pattern_type": "none"}


class Footage(Protocol):
    """Pictures with their times, without end."""

    def pictures(self) -> Generator[tuple[Picture, float], None, None]:
        """Each picture and its place on the time line, in seconds from the start, through all repetitions. Raises
        CameraUnavailable when there are none, or no more."""


class Film:
    """A file that FFmpeg can read, by its own timestamps; `fps` is for one that has none, as a single picture."""

    def __init__(self, path: Path, fps: float) -> None:
        self._path = path
        self._fps = fps

    def pictures(self) -> Generator[tuple[Picture, float], None, None]:
        """Opened anew for each repetition: not every format can be wound back, and a film that has gone is noticed."""
        start = 0.0
        while True:
            count, first, at, step = 0, 0.0, 0.0, 1 / self._fps
            with av_source.opened(f"file:{self._path.resolve()}", str(self._path), options=_OPTIONS) as container:
                rate = container.streams.video[0].average_rate
                for picture, timestamp in av_source.pictures(container, str(self._path)):
                    if count == 0:
                        first = timestamp or 0.0
                    else:
                        step = float(1 / rate) if rate else 1 / self._fps
                        at = max(at, timestamp - first) if timestamp is not None else at + step
                    count += 1
                    yield picture, start + at
            if not count:
                raise CameraUnavailable(f"{self._path} has no whole picture in it.")
            start += at + step


class Folder:
    """The JPEGs of a folder by name, `fps` of them a second. New ones are seen when it starts again."""

    def __init__(self, path: Path, fps: float) -> None:
        self._path = path
        self._fps = fps

    def pictures(self) -> Generator[tuple[Picture, float], None, None]:
        """Files that are not whole JPEGs are left out."""
        index = 0
        while True:
            before = index
            for data in self._files():
                yield data, index / self._fps
                index += 1
            if index == before:
                raise CameraUnavailable(f"{self._path} holds no JPEG (*.jpg, *.jpeg).")

    def _files(self) -> Iterator[bytes]:
        try:
            for path in sorted(self._path.iterdir()):
                if path.suffix.lower() in (".jpg", ".jpeg") and (data := whole_jpeg(path.read_bytes())) is not None:
                    yield data
        except OSError as error:
            raise CameraUnavailable(av_source.explain(error, str(self._path))) from None


class Player:
    """Plays footage on the clock. What nobody fetches in its time is skipped, as of a camera."""

    def __init__(self, footage: Footage, clock: Clock) -> None:
        self._clock = clock
        self._pictures = footage.pictures()
        self._upcoming: tuple[Picture, float] | None = None
        self._start = clock.monotonic()
        self._last_at = 0.0
        self._waiting = threading.Condition()  # nobody notifies it: it gives the clock something to wait on

    def start(self) -> Arrival:
        """The first picture, which stays to be taken. Raises CameraUnavailable."""
        picture, _at = self._peek()
        self._start = self._clock.monotonic()
        return Arrival(picture, exposed_at=self._start, since=self._start)

    def next(self, deadline: float) -> Arrival:
        """The picture whose time it is, or the next one."""
        while True:
            picture, at = self._peek()
            due, now = self._start + at, self._clock.monotonic()
            if due > deadline:
                self._wait_until(deadline)
                raise CameraTimeout("The next picture of the footage is not due yet.")
            self._upcoming, step, self._last_at = None, at - self._last_at, at
            if now - due > _SLIP_S:
                self._start, due = now - at, now
            elif now - due > step > 0:
                continue
            self._wait_until(due)
            return Arrival(picture, exposed_at=due, since=due)

    def stop(self) -> None:
        """Close the film."""
        self._pictures.close()
        self._upcoming = None

    def _peek(self) -> tuple[Picture, float]:
        if self._upcoming is None:
            self._upcoming = next(self._pictures, None)
        if self._upcoming is None:
            raise CameraUnavailable("The footage has been closed.")
        return self._upcoming

    def _wait_until(self, moment: float) -> None:
        with self._waiting:
            while (left := moment - self._clock.monotonic()) > 0:
                self._clock.wait(self._waiting, left)
