"""An application, two impatient workers and gunicorn's settings, for the tests that run the worker as users do.

It is plain WSGI: what the worker does is to be seen without a framework.
"""

from __future__ import annotations

import json
import os
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from piapi.server.bodies import (
    OVERSIZED,
    FileBody,
    FileSpan,
    JoinedBody,
    Later,
    Part,
    PathSpan,
    StreamBody,
    StreamEnded,
)
from piapi.server.connection import Bounds
from piapi.server.worker import Worker

FILE = Path(os.environ.get("PIAPI_TEST_FILE", "/nonexistent"))
REPORT = Path(os.environ.get("PIAPI_TEST_REPORT", "/nonexistent"))

wsgi_app = "tests.server_app:app"
threads = 2
keepalive = 30
control_socket_disable = True
accesslog = "-"


class ImpatientWorker(Worker):
    """Its clients have little time."""

    bounds = Bounds(request_s=1.0, stall_s=0.5, linger_s=1.0, tick_s=0.05, check_every_s=0.1)


class PatientWorker(Worker):
    """Its clients have all the time that they have in a house, but it looks more often."""

    bounds = Bounds(tick_s=0.05, check_every_s=0.1)


class StumblingWorker(PatientWorker):
    """What it calls before it drains fails."""

    def before_draining(self) -> None:
        raise RuntimeError("could not interrupt anything")


def post_worker_init(worker: Any) -> None:
    """Let the requests that wait go on when the worker begins to drain."""

    def interrupt() -> None:
        thread = threading.current_thread()
        signalled = any(frame.name == "handle_exit" for frame in traceback.extract_stack())
        worker.log.info("Draining begins in %s, signal handler: %s", thread.name, signalled)
        interrupted.set()

    if type(worker) is PatientWorker:
        worker.before_draining = interrupt


#: Set when the worker begins to drain.
interrupted = threading.Event()


class Endless:
    """A stream that always has something, and counts how it is used."""

    skips = True
    ends = False
    opened = 0
    closed = 0

    def __init__(self) -> None:
        Endless.opened += 1
        self._timer: threading.Timer | None = None

    def attach(self, wake: Callable[[], None]) -> None:
        self._wake = wake

    def next(self, now: float) -> Sequence[bytes] | None:
        self._timer = threading.Timer(0.01, self._wake)
        self._timer.daemon = True
        self._timer.start()
        return (b"part", b"\n")

    def allowed(self) -> bool:
        return True

    def close(self) -> None:
        Endless.closed += 1
        if self._timer is not None:
            self._timer.cancel()


class Archive:
    """A stream with an end: all of the file, `times` over, with a line before each."""

    skips = False
    ends = True

    def __init__(self, times: int, fails: bool) -> None:
        Endless.opened += 1
        self._left = times
        self._fails = fails

    def attach(self, wake: Callable[[], None]) -> None:
        pass

    def next(self, now: float) -> Part | None:
        if not self._left:
            if self._fails:
                raise RuntimeError("a secret of the house")
            raise StreamEnded
        self._left -= 1
        return (b"again\n", b"", FileSpan(FILE.open("rb"), 0, FILE.stat().st_size))

    def allowed(self) -> bool:
        return True

    def close(self) -> None:
        Endless.closed += 1


class Paced:
    """A stream that has a part every 50 ms, nobody calls for, until it ends."""

    skips = False
    ends = True

    def __init__(self, times: int) -> None:
        Endless.opened += 1
        self._left = times
        self._at = 0.0

    def attach(self, wake: Callable[[], None]) -> None:
        pass

    def next(self, now: float) -> Part | Later | None:
        if now < self._at:
            return Later(self._at)
        if not self._left:
            raise StreamEnded
        self._left -= 1
        self._at = now + 0.05
        return (b"tick\n",)

    def allowed(self) -> bool:
        return True

    def close(self) -> None:
        Endless.closed += 1


def pieces(count: int) -> Iterator[bytes]:
    for number in range(count):
        yield b"%07d\n" % number * 8192


def failing() -> Iterator[bytes]:
    yield b"so far so good"
    raise RuntimeError("a secret of the house")


def read_carefully(environ: dict[str, Any]) -> tuple[bytes, str]:
    """As frameworks do: whatever is raised becomes an answer."""
    try:
        return environ["wsgi.input"].read(), "200 OK"
    except Exception:  # noqa: BLE001 - as frameworks do
        traceback.print_exc()
        return b"", "500 Internal Server Error"


def echoing(environ: dict[str, Any]) -> Iterator[bytes]:
    yield b"it was: "
    yield environ["wsgi.input"].read()


def app(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
    """Answer by path."""
    path, headers = environ["PATH_INFO"], [("Content-Type", "text/plain")]
    if path == "/echo":
        body = environ["wsgi.input"].read()
        start("200 OK", [*headers, ("Content-Length", str(len(body)))])
        return [body]
    if path == "/careful":
        body, status = read_carefully(environ)
        start(status, [*headers, ("Content-Length", str(len(body)))])
        return [body]
    if path == "/wait":
        body = b"interrupted" if interrupted.wait(20) else b"waited in vain"
        start("200 OK", [*headers, ("Content-Length", str(len(body)))])
        return [body]
    if path == "/echoing":
        start("200 OK", headers)
        return echoing(environ)
    if path == "/bounded" and environ.get(OVERSIZED):
        start("413 Content Too Large", [*headers, ("Content-Length", "9")])
        return [b"too large"]
    if path == "/boom":
        raise RuntimeError("a secret of the house")
    if path == "/failing":
        start("200 OK", headers)
        return failing()
    if path == "/pieces":
        start("200 OK", headers)
        return pieces(int(environ["QUERY_STRING"]))
    if path == "/empty":
        start("204 No Content", [])
        return []
    if path == "/counts":
        body = json.dumps([Endless.opened, Endless.closed]).encode()
        start("200 OK", [*headers, ("Content-Length", str(len(body)))])
        return [body]
    if path in ("/archive", "/broken"):
        start("200 OK", headers)
        return StreamBody(Archive(int(environ["QUERY_STRING"]), path == "/broken"))
    if path in ("/joined", "/gone", "/paced"):
        return joined_body(path, environ, start, headers)
    if path in ("/file", "/wrapped", "/stream"):
        return long_body(path, environ, start, headers)
    start("200 OK", [*headers, ("Content-Length", "6")])
    return [b"hello\n"]


def joined_body(
    path: str, environ: dict[str, Any], start: Callable[..., Any], headers: list[tuple[str, str]]
) -> Iterable[bytes]:
    """Many parts of the file with lines between them; one of which the file has gone; a stream that keeps time."""
    if path == "/paced":
        start("200 OK", headers)
        return StreamBody(Paced(int(environ["QUERY_STRING"])))
    parts: list[bytes | PathSpan] = []
    for number in range(int(environ["QUERY_STRING"])):
        parts += [b"%06d\n" % number, PathSpan(FILE, number, 9)]
    if path == "/gone":
        parts.append(PathSpan(FILE.with_name("none"), 0, 9))
    body = JoinedBody(parts)
    start("200 OK", [*headers, ("Content-Length", str(body.length))])
    return body


def long_body(
    path: str, environ: dict[str, Any], start: Callable[..., Any], headers: list[tuple[str, str]]
) -> Iterable[bytes]:
    """A file, by either way, or a stream."""
    if path == "/stream":
        start("200 OK", headers)
        return StreamBody(Endless())
    size = FILE.stat().st_size
    start("200 OK", [*headers, ("Content-Length", str(size))])
    if path == "/wrapped":
        wrapped: Iterable[bytes] = environ["wsgi.file_wrapper"](FILE.open("rb"))
        return wrapped
    return FileBody(FILE.open("rb"), 0, size)


def worker_exit(server: Any, worker: Any) -> None:
    """Say what is left when a worker ends."""
    descriptors = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            descriptors.append(str(entry.readlink()))
        except FileNotFoundError:
            continue
    kinds = ("socket:", "anon_inode:[eventpoll]", "anon_inode:[eventfd]", str(FILE))
    left = {
        "threads": [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()],
        "descriptors": [name for name in descriptors if name.startswith(kinds)],
        "streams": Endless.opened - Endless.closed,
    }
    REPORT.write_text(json.dumps(left))
