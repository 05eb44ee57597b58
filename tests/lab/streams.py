"""Somebody who looks at a live view of the guest."""

from __future__ import annotations

import contextlib
import http.client
import threading
from collections.abc import Iterator

from tests.lab.conftest import PATIENCE_S, Pi, eventually
from tests.lab.lapses import wait_until_ready

START, END = b"\xff\xd8", b"\xff\xd9"
"""Of a JPEG."""


class Viewer:
    """Reads a stream on a thread of its own, to its end or until it is told to stop."""

    def __init__(self, stream: http.client.HTTPResponse) -> None:
        self.frames = 0
        self.torn = 0
        self._stream = stream
        self._is_stopping = False
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def stop(self) -> None:
        self._is_stopping = True
        self.wait_for_end()

    def wait_for_frames(self, count: int) -> None:
        """So many more."""
        wanted = self.frames + count
        eventually(lambda: self.frames >= wanted, f"{count} more frames of the stream")

    def wait_for_end(self) -> None:
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()

    def _read(self) -> None:
        with contextlib.suppress(OSError, http.client.HTTPException):
            while not self._is_stopping and (length := self._length_of_next()):
                picture = self._stream.read(length)
                is_whole = picture.startswith(START) and picture.endswith(END)
                self.frames += is_whole
                self.torn += not is_whole and len(picture) == length

    def _length_of_next(self) -> int:
        """Bytes of the part that comes; 0 at the end."""
        length = 0
        for line in iter(self._stream.readline, b""):
            name, _, value = line.decode().partition(":")
            if name.lower() == "content-length":
                length = int(value)
            elif length and not line.strip():
                return length
        return 0


@contextlib.contextmanager
def viewer(pi: Pi, camera: str) -> Iterator[Viewer]:
    wait_until_ready(pi, camera)
    with contextlib.closing(pi.connect()) as connection:
        connection.request("GET", f"/api/v1/cameras/{camera}/stream", headers={"Authorization": f"Bearer {pi.token}"})
        stream = connection.getresponse()
        assert stream.status == 200, stream.read()
        looking = Viewer(stream)
        try:
            yield looking
        finally:
            looking.stop()
