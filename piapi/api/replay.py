"""Stored frames replayed as MJPEG, at a pace: the poller sends each from its file when its time has come."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from piapi.api.live import END, FIRST, head_of
from piapi.errors import StorageError
from piapi.server.bodies import FileSpan, Later, Part, StreamEnded
from piapi.timelapse import Row


class Replay:
    """What the server's poller asks (`piapi.server.bodies.Stream`). Nothing is skipped: a slow client lags.

    Its end is that of the connection, as with live view, so that it need not be waited for when the service stops.
    """

    skips = False
    ends = False

    def __init__(
        self,
        frames: Iterator[tuple[Row, Path]],
        fps: float,
        allowed: Callable[[], bool],
        on_close: Callable[[], None],
    ) -> None:
        self._frames = frames
        self._interval_s = 1 / fps
        self._due_at = 0.0
        self._begin = FIRST
        self._on_close = on_close
        self.allowed = allowed

    def attach(self, wake: Callable[[], None]) -> None:
        """Nothing wakes it: it keeps time by itself."""

    def next(self, now: float) -> Part | Later | None:
        """The next frame, or when it is due. Raises StreamEnded after the last; one that has gone is left out."""
        if now < self._due_at:
            return Later(self._due_at)
        for row, path in self._frames:
            try:
                file = path.open("rb")
            except FileNotFoundError:
                continue
            except OSError as error:
                raise StorageError(f"A frame cannot be read: {error.strerror}.") from error
            # On a grid, which begins anew after a gap: what was lost while its reader took nothing is not made up for.
            self._due_at = (self._due_at if now - self._due_at < self._interval_s else now) + self._interval_s
            size, begin = os.fstat(file.fileno()).st_size, self._begin
            self._begin = b""
            return begin + head_of(size, row.captured_at or row.due_at), FileSpan(file, 0, size), END
        raise StreamEnded

    def close(self) -> None:
        """Give the place back."""
        self._on_close()
