"""Live view over HTTP: MJPEG as `multipart/x-mixed-replace`, a part for each frame.

The boundary follows each frame at once, as browsers show a part only when they see its end.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from datetime import datetime

from flask import Response

from piapi.clock import format_time
from piapi.server.bodies import StreamBody, StreamEnded
from piapi.services.live import Viewer

BOUNDARY = "frame"
MEDIA_TYPE = f"multipart/x-mixed-replace; boundary={BOUNDARY}"

FIRST = f"--{BOUNDARY}\r\n".encode()
END = f"\r\n--{BOUNDARY}\r\n".encode()


class MjpegStream:
    """A viewer's frames, as parts. What the server's poller asks (`piapi.server.bodies.Stream`)."""

    skips = True
    ends = False

    def __init__(self, viewer: Viewer, allowed: Callable[[], bool]) -> None:
        self._viewer = viewer
        self._begin = FIRST
        self.allowed = allowed

    def attach(self, wake: Callable[[], None]) -> None:
        """From now on each new frame wakes the poller."""
        self._viewer.wake = wake

    def next(self, now: float) -> Sequence[bytes] | None:
        """The newest frame as a part, or None. Raises StreamEnded when the camera has gone."""
        if self._viewer.ended:
            raise StreamEnded
        frame = self._viewer.next()
        if frame is None:
            return None
        begin, self._begin = self._begin, b""
        head = head_of(len(frame.jpeg), frame.captured_at)
        return begin + head if begin else head, frame.jpeg, END

    def close(self) -> None:
        """Give the viewer's place back."""
        self._viewer.leave()


@functools.lru_cache(maxsize=32)
def head_of(length: int, captured_at: datetime) -> bytes:
    """Of a part. The same object for all viewers of a frame, which the server may send as one."""
    captured = format_time(captured_at)
    return f"Content-Type: image/jpeg\r\nContent-Length: {length}\r\nX-Captured-At: {captured}\r\n\r\n".encode()


def stream_response(viewer: Viewer, allowed: Callable[[], bool]) -> Response:
    """The answer to a viewer. No thread is held while it lasts."""
    response = Response(StreamBody(MjpegStream(viewer, allowed)), content_type=MEDIA_TYPE, direct_passthrough=True)
    response.headers["Cache-Control"] = "no-store"
    return response
