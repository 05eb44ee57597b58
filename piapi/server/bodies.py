"""Bodies that need no thread while they are sent: a part of a file, a file that is joined from parts of others and from
buffers, and a stream, which may have an end or none.

All are plain WSGI iterables, so any server and Flask's test client can send them; `piapi.server.worker.Worker` sends
them from its poller instead. With Flask they have to reach the server as they are:
`flask.Response(body, direct_passthrough=True)`. And the mark of a body that was not received, `OVERSIZED`.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from piapi.clock import Clock, SystemClock

#: Seconds between two questions whether a stream's reader may still look (`Stream.allowed`).
CHECK_EVERY_S = 2.0

#: In the WSGI environment, and True, when a request's body is over the server's bound and was not received. Reading
#: such a body ends the request with 413, whatever the application would have answered.
OVERSIZED = "piapi.oversized"

_READ_SIZE = 65536


class StreamEnded(Exception):
    """A stream has given its last part."""


class FileSpan:
    """`length` bytes of an open file from `offset` on. Who has it last closes it, and with it the file.

    `file` is a real file with a descriptor, not a BytesIO; its position is neither used nor moved.
    """

    def __init__(self, file: BinaryIO, offset: int, length: int) -> None:
        if offset < 0 or length < 0:
            raise ValueError("offset and length must not be negative")
        self.file = file
        self.offset = offset
        self.length = length

    def __iter__(self) -> Iterator[bytes]:
        """The bytes, in pieces. Raises OSError when the file turns out shorter."""
        position, left = self.offset, self.length
        with self.file:  # not every server closes what it has read to the end
            while left:
                piece = os.pread(self.file.fileno(), min(left, _READ_SIZE), position)
                if not piece:
                    raise OSError("The file is shorter than the length that was announced.")
                position += len(piece)
                left -= len(piece)
                yield piece

    def close(self) -> None:
        """Close the file. May be called twice."""
        self.file.close()


Part = Sequence[bytes | FileSpan]
"""What a stream gives at once: buffers, and bytes of files, in the order in which they are sent."""


@dataclass(frozen=True, slots=True)
class Later:
    """A stream has its next part at this moment, in seconds of CLOCK_BOOTTIME."""

    at: float


class Stream(Protocol):
    """One reader's place in a live view, in a sequence of events, or in an archive that is made as it is sent.

    Except for `wake`, all is called by one thread, the poller, which serves every other client too: nothing here may
    wait, for a lock held long or a network, nor for a disk longer than opening a file or reading a few rows takes. An
    exception is logged and ends this stream alone.
    """

    #: True: only the newest part matters (a live view); `next` is asked only when nothing of an earlier part is left
    #: here and little is under way to the client, so a slow client skips. False: no part is lost; `next` is asked while
    #: little waits here, until it has nothing, and when that is sent: a slow client lags, and holds little memory.
    skips: bool

    #: Whether StreamEnded means that the reader has all of it. Such a stream is sent so that a client notices when it
    #: was cut off (in chunks, to HTTP/1.1), and may finish when the server stops. One without an end is cut off anyway.
    ends: bool

    def attach(self, wake: Callable[[], None]) -> None:
        """Called once, first. From now on the producer calls `wake()` whenever there may be something new.

        `wake` may be called from any thread, at any rate, also after `close`; it is cheap and does not wait. What is
        there already needs no call.
        """

    def next(self, now: float) -> Part | Later | None:
        """The next part (the newest, if it skips) that this reader has not had, or None when there is none now.

        Later: when there will be one, for a stream that keeps time; it is asked again then without a `wake()`.

        A part is sent as its buffers, one after the other, never copied: give the same objects to every reader. A
        FileSpan in it is sent from its file, and is the caller's to close. One that skips gives buffers alone.
        `now` is in seconds of CLOCK_BOOTTIME. Also asked every 2 s or so without a `wake()`, so that a stream can send
        a sign of life. Raises StreamEnded after the last part.
        """

    def allowed(self) -> bool:
        """Whether the reader may still look; asked about every 2 s. False cuts the connection off."""

    def close(self) -> None:
        """Called exactly once, however it ends, even when `attach` never was (HEAD, or a client that left).

        Then it may be called by a request's thread.
        """


class StreamBody:
    """A response body without a length. Closes its stream exactly once: by itself, or by who took it over."""

    def __init__(self, stream: Stream, clock: Clock | None = None) -> None:
        self._stream = stream
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._owned = True
        self._under_way: Part = ()

    @property
    def ends(self) -> bool:
        """Whether its stream has an end of its own."""
        return self._stream.ends

    def take(self) -> Stream:
        """Hand the stream over: its `close` is the caller's duty from now on. Raises ValueError if it was closed."""
        with self._lock:
            if not self._owned:
                raise ValueError("The stream is closed or has been handed over.")
            self._owned = False
        return self._stream

    def close(self) -> None:
        """Close the stream, unless it was closed or handed over before, and the files of a part that is half read."""
        with self._lock:
            owned, self._owned = self._owned, False
        part, self._under_way = self._under_way, ()
        for item in part:
            if isinstance(item, FileSpan):
                item.close()
        if owned:
            self._stream.close()

    def __iter__(self) -> Iterator[bytes]:
        """Each part as it comes; waits in between. For servers that know nothing of streams."""
        news = threading.Condition()
        woken = [True]

        def wake() -> None:
            with news:
                woken[0] = True
                news.notify()

        try:
            self._stream.attach(wake)
            yield from self._parts(news, woken)
        finally:
            self.close()

    def _parts(self, news: threading.Condition, woken: list[bool]) -> Iterator[bytes]:
        check_at = 0.0
        while True:
            now = self._clock.monotonic()
            if now >= check_at:
                if not self._stream.allowed():
                    if self._stream.ends:
                        raise ConnectionAbortedError("The reader may no longer look.")  # it must not look whole
                    return
                check_at = now + CHECK_EVERY_S
            with news:
                woken[0] = False
            try:
                part = self._stream.next(now)
            except StreamEnded:
                return
            later = part if isinstance(part, Later) else None
            if part is not None and not isinstance(part, Later):
                self._under_way = part
                yield from _pieces(part)
                continue
            with news:
                if not woken[0]:
                    self._clock.wait(news, (check_at if later is None else min(later.at, check_at)) - now)


def _pieces(part: Part) -> Iterator[bytes]:
    """A part as bytes, in no more pieces than it takes."""
    if all(isinstance(item, bytes) for item in part):
        yield b"".join(part)  # type: ignore[arg-type]
        return
    for item in part:
        yield from (item,) if isinstance(item, bytes) else item


class FileBody(FileSpan):
    """A response body that is a part of a file (a Range, or all of it). Closes the file, however it ends.

    The response has to say its Content-Length, which is `length`. A file that turns out shorter ends the connection
    early, as it must.
    """


@dataclass(frozen=True, slots=True)
class PathSpan:
    """`length` bytes from `offset` on of a file that is opened when their turn comes."""

    path: Path
    offset: int
    length: int


class JoinedBody:
    """A response body of buffers and parts of files, one after the other. At most one of the files is open at a time.

    The response has to say its Content-Length, which is `length`. A file that has gone or turns out shorter ends the
    connection early, as it must.
    """

    def __init__(self, parts: Sequence[bytes | PathSpan]) -> None:
        self.parts = parts
        self.length = sum(map(length_of, parts))
        self._open: BinaryIO | None = None

    def cut(self, start: int, stop: int) -> JoinedBody:
        """The bytes from `start` up to `stop` (a Range)."""
        found: list[bytes | PathSpan] = []
        position = 0
        for part in self.parts:
            begin, end = max(start - position, 0), min(stop - position, length_of(part))
            position += length_of(part)
            if begin >= end:
                continue
            if isinstance(part, bytes):
                found.append(part[begin:end])
            else:
                found.append(PathSpan(part.path, part.offset + begin, end - begin))
        return JoinedBody(found)

    def __iter__(self) -> Iterator[bytes]:
        """The bytes, in pieces. Raises OSError."""
        for part in self.parts:
            if isinstance(part, bytes):
                yield part
            else:
                self._open = part.path.open("rb")
                yield from FileSpan(self._open, part.offset, part.length)

    def close(self) -> None:
        """Close the file that is being read, if any."""
        if self._open is not None:
            self._open.close()


def length_of(part: bytes | PathSpan) -> int:
    """In bytes."""
    return len(part) if isinstance(part, bytes) else part.length
