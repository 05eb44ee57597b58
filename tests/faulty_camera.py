"""A network camera with faults on demand: MJPEG over HTTP from a thread of the test itself."""

from __future__ import annotations

import base64
import http.server
import socket
import struct
import threading
from collections.abc import Callable
from typing import Any, Self

from tests import footage


class FaultyCamera:
    """Serves frames `0, 1, 2, …` of the footage as long as nothing else is asked of it.

    `url` is the stream, `still_url` one JPEG a request. `frames_sent` counts over all connections.
    """

    def __init__(self, *, fps: float = 50, encode: Callable[[int], bytes] = footage.jpeg, password: str = "") -> None:
        self.encode = encode
        self.interval_s = 1 / fps
        self.with_length = True
        self.frames_sent = 0
        self.requests = 0
        self.credentials = base64.b64encode(f"user:{password}".encode()).decode() if password else ""
        self.silent = threading.Event()
        """Set: nothing is sent any more, and connections stay open."""
        self.cut = threading.Event()
        """Set: every stream ends in the middle of its next frame."""
        self.reset = threading.Event()
        """Set: every stream ends with a TCP reset."""
        self._closing = threading.Event()
        self._listen(0)

    def _listen(self, port: int) -> None:
        self._closing.clear()
        self._server = _Server(("127.0.0.1", port), _Handler)
        self._server.camera = self
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/stream"

    @property
    def still_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/still.jpg"

    def unplug(self) -> None:
        """End all connections and refuse new ones."""
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def plug_in(self) -> None:
        """Be there again, at the same address."""
        self._listen(self.port)

    def pause(self) -> bool:
        """Wait for the next frame's time; False when there is none."""
        while not self._closing.wait(self.interval_s):
            if not self.silent.is_set():
                return True
        return False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        if not self._closing.is_set():
            self.unplug()


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = False  # server_close() waits for them
    camera: FaultyCamera

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that left is no error."""


class _Handler(http.server.BaseHTTPRequestHandler):
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        camera = self.server.camera
        camera.requests += 1
        if camera.credentials and self.headers["Authorization"] != f"Basic {camera.credentials}":
            self._answer(401, "text/plain", b"no", {"WWW-Authenticate": 'Basic realm="camera"'})
        elif self.path == "/stream":
            self._stream(camera)
        elif self.path == "/still.jpg":
            camera.frames_sent += 1
            self._answer(200, "image/jpeg", camera.encode(camera.frames_sent - 1))
        elif self.path == "/page":
            self._answer(200, "text/html", b"<html><body>The pictures of this camera are elsewhere.</body></html>")
        else:
            self._answer(404, "text/plain", b"not here")

    def _answer(self, status: int, kind: str, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _stream(self, camera: FaultyCamera) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        while camera.pause():
            data = camera.encode(camera.frames_sent)
            length = f"Content-Length: {len(data)}\r\n" if camera.with_length else ""
            head = f"--frame\r\nContent-Type: image/jpeg\r\n{length}\r\n".encode()
            if camera.cut.is_set():
                self.wfile.write(head + data[: len(data) // 2])
                return
            if camera.reset.is_set():
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
                return
            self.wfile.write(head + data + b"\r\n")
            camera.frames_sent += 1
