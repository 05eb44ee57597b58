"""Live view over HTTP: MJPEG as `multipart/x-mixed-replace`, a part for each frame.

The boundary follows each frame at once, as browsers show a part only when they see its end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from flask import Response

from piapi.clock import format_time
from piapi.server.bodies import StreamBody, StreamEnded
from piapi.services.live import Viewer

BOUNDARY = "frame"
MEDIA_TYPE = f"multipart/x-mixed-replace; boundary={BOUNDARY}"

_FIRST = f"--{BOUNDARY}\r\n"
_END = f"\r\n--{BOUNDARY}\r\n".encode()


class MjpegStream:
    """A viewer's frames, as parts. What the server's poller asks (`piapi.server.bodies.Stream`)."""

    skips = True

    def __init__(self, viewer: Viewer, allowed: Callable[[], bool]) -> None:
        self._viewer = viewer
        self._begin = _FIRST
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
        head = (
            f"{self._begin}Content-Type: image/jpeg\r\nContent-Length: {len(frame.jpeg)}\r\n"
            f"X-Captured-At: {format_time(frame.captured_at)}\r\n\r\n"
        )
        self._begin = ""
        return head.encode("ascii"), frame.jpeg, _END

    def close(self) -> None:
        """Give the viewer's place back."""
        self._viewer.leave()


def stream_response(viewer: Viewer, allowed: Callable[[], bool]) -> Response:
    """The answer to a viewer. No thread is held while it lasts."""
    response = Response(StreamBody(MjpegStream(viewer, allowed)), content_type=MEDIA_TYPE, direct_passthrough=True)
    response.headers["Cache-Control"] = "no-store"
    return response
