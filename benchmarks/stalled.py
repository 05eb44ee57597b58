"""A hundred clients that never finish their request, and a hundred that never read their answer: what others feel."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.lab import Lab
from benchmarks.load import Caller, at, median
from benchmarks.processes import Failed
from benchmarks.servers import Server, bare_flask, piapi
from benchmarks.table import Row, compared

HALF_OPEN = 100
UNREAD = 100
PATHS = ("/api/v1/", "/api/v1/cameras/demo")
TRICKLE_EVERY_S = 0.5
PATIENCE_S = 5.0
"""After so long without an answer a peer is given up."""

_AHEAD = 6
"""Downloads that are asked for on one connection: the kernel takes the first few for a client that reads nothing."""


def measure(lab: Lab) -> list[Row]:
    """piapi idle and beset, in turns; then plain gunicorn."""
    idle: dict[str, list[list[float]]] = {path: [] for path in PATHS}
    beset: dict[str, list[list[float]]] = {path: [] for path in PATHS}
    seconds = lab.take(3, 1)
    with piapi(lab) as server:
        photo, file = _photo(server, lab.new_folder("photo"))
        caller = Caller(server)
        for _ in range(lab.rounds(3)):
            for path in PATHS:
                idle[path].append(caller.latencies_ms(path, seconds))
            with _stalled(server, photo):
                for path in PATHS:
                    beset[path].append(caller.latencies_ms(path, seconds))
        caller.close()
    rows = [_row(path, idle[path], beset[path]) for path in PATHS]
    return [*rows, Row("plain gunicorn gthread + Flask, the same clients: p50", "", _peer(lab, file, seconds))]


def _row(path: str, idle: list[list[float]], beset: list[list[float]]) -> Row:
    ratio = median([median(busy) / median(quiet) for quiet, busy in zip(idle, beset, strict=True)])
    what = f"GET {path}: p50 with {HALF_OPEN} half-open connections and {UNREAD} unread downloads"
    return compared(what, _text(beset), f"{_text(idle)} idle", ratio, "≤ 2")


def _text(rounds: list[list[float]]) -> str:
    merged = [taken for taken_in_round in rounds for taken in taken_in_round]
    return f"{median(merged):.2f} ms (p99 {at(merged, 0.99):.1f})"


def _peer(lab: Lab, file: Path, seconds: float) -> str:
    with bare_flask(lab, file) as server:
        quiet = Caller(server)
        idle = quiet.latencies_ms("/", seconds)
        quiet.close()
        with _stalled(server, "/snapshot"):
            try:
                caller = Caller(server, timeout_s=PATIENCE_S)
                text = _text([caller.latencies_ms("/", seconds)])
                caller.close()
            except (TimeoutError, Failed):
                text = f"no answer in {PATIENCE_S:g} s"
    return f"{text}; {_text([idle])} idle"


def _photo(server: Server, folder: Path) -> tuple[str, Path]:
    """The path of a photo of more than 1 MB, and a copy of it."""
    headers = {"Authorization": f"Bearer {server.token}", "Content-Type": "application/json"}
    wanted = json.dumps({"format": "png", "width": 3840, "height": 2160})
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)) as connection:
        connection.request("POST", "/api/v1/cameras/demo/photos", wanted, headers)
        response = connection.getresponse()
        photo = json.loads(response.read())
        if response.status != 201 or photo["size_bytes"] < 1_000_000:
            raise Failed(f"no photo of 1 MB, but {photo}")
        connection.request("GET", photo["links"]["file"], headers=headers)
        (folder / "photo").write_bytes(connection.getresponse().read())
    return photo["links"]["file"], folder / "photo"


@contextlib.contextmanager
def _stalled(server: Server, download: str) -> Iterator[None]:
    """The clients, all of them there; those that are hung up on come again."""
    unread = server.request(download).encode() * _AHEAD
    half = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-"
    makers: list[Callable[[], socket.socket]] = [lambda: _connect(server, half)] * HALF_OPEN
    makers += [lambda: _connect(server, unread)] * UNREAD
    sockets = [make() for make in makers]
    ended = threading.Event()

    def trickle() -> None:
        while not ended.wait(TRICKLE_EVERY_S):
            for number, sock in enumerate(sockets):
                if not _is_there(sock, says=b"a" if number < HALF_OPEN else b""):
                    sock.close()
                    sockets[number] = makers[number]()

    thread = threading.Thread(target=trickle)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        for sock in sockets:
            sock.close()


def _is_there(sock: socket.socket, says: bytes) -> bool:
    """Whether the server has not hung up. Says a little more to it, or only looks whether there is an answer."""
    try:
        return bool(sock.send(says) if says else sock.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return True
    except OSError:
        return False


def _connect(server: Server, request: bytes) -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.settimeout(PATIENCE_S)
    sock.connect(("127.0.0.1", server.port))
    sock.sendall(request)
    sock.setblocking(False)
    return sock
