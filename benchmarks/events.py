"""CPU of a journal that 100 clients follow live, beside a generator and a thread for each of them.

Both are told of each event by a request, and piapi writes it to the disk, which its peer does not. What that takes with
no client there is measured first, in the same process, and is not counted.
"""

from __future__ import annotations

import contextlib
import json
import selectors
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

from benchmarks.lab import Lab
from benchmarks.load import median
from benchmarks.processes import Failed, free_port, running, wait_for_answer
from benchmarks.servers import Server, gunicorn_command, piapi
from benchmarks.table import Row, compared

READERS = 100
PER_SECOND = 20
_MARK = b"event: photo.changed\n"


@dataclass(frozen=True, slots=True)
class Source:
    """A server of events: `requests` make one each, in turn."""

    server: Server
    path: str
    requests: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Cost:
    """What a server took, and gave."""

    cpu: float
    """Part of one core, for the readers."""
    making: float
    """Part of one core, for the requests that make the events."""
    lost: int
    """Events that some reader did not get."""

    @property
    def text(self) -> str:
        lost = f", but {self.lost} events lost" if self.lost else ""
        return f"{100 * self.cpu:.1f} % (and {100 * self.making:.1f} % to make them){lost}"


class Readers:
    """Clients that count what they get, and one that makes it happen. All in one loop: it must not cost much."""

    def __init__(self, source: Source, count: int) -> None:
        self._source = source
        self._selector = selectors.DefaultSelector()
        self.counts = dict.fromkeys(range(count), 0)
        request = source.server.request(source.path).replace("\r\n\r\n", "\r\nAccept: text/event-stream\r\n\r\n")
        self._sockets = [self._connect() for _ in range(count + 1)]
        for number, sock in enumerate(self._sockets[:-1]):
            sock.sendall(request.encode())
            seen = b""
            while b"retry:" not in seen:
                if not (piece := sock.recv(65536)):
                    raise Failed(f"{source.server.name}: {seen[:100]!r}")
                seen += piece
            sock.setblocking(False)
            self._selector.register(sock, selectors.EVENT_READ, number)
        self._selector.register(self._sockets[-1], selectors.EVENT_READ, None)

    def _connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self._source.server.port), timeout=10)

    def make(self, count: int) -> None:
        """Have `count` events made, at their rate, and read them."""
        began = time.monotonic()
        for number in range(count):
            self._read_until(began + number / PER_SECOND)
            self._sockets[-1].sendall(self._source.requests[number % len(self._source.requests)])
        self._read_until(began + count / PER_SECOND + 0.2)

    def _read_until(self, end: float) -> None:
        while (left := end - time.monotonic()) > 0:
            for key, _ in self._selector.select(left):
                data = key.fileobj.recv(65536)  # type: ignore[union-attr]
                if not data:
                    raise Failed(f"{self._source.server.name} hangs up")
                if key.data is not None:
                    self.counts[key.data] += data.count(_MARK)
                elif not data.startswith(b"HTTP/1.1 20"):
                    raise Failed(f"{self._source.server.name}: {data[:100]!r}")

    def close(self) -> None:
        """Hang up."""
        self._selector.close()
        for sock in self._sockets:
            sock.close()


def _post(server: Server, method: str, path: str, body: str) -> bytes:
    head = server.request(path).replace("GET", method, 1).removesuffix("\r\n")
    return f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


@contextlib.contextmanager
def _piapi(lab: Lab) -> Iterator[Source]:
    with piapi(lab) as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as sock:
            sock.sendall(_post(server, "POST", "/api/v1/cameras/demo/photos", "{}"))
            head, _, body = sock.recv(65536).partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 201"):
            raise Failed(f"piapi takes no photo: {head.splitlines()[0].decode()}")
        path = json.loads(body)["links"]["self"]
        bodies = ('{"pinned": true}', '{"pinned": false}')
        yield Source(server, "/api/v1/events", tuple(_post(server, "PATCH", path, body) for body in bodies))


@contextlib.contextmanager
def _flask_generator(lab: Lab) -> Iterator[Source]:
    port = free_port()
    with running(gunicorn_command("events:app", port, READERS + 28), lab.new_folder("events")) as process:
        wait_for_answer(process, port, "/events")
        server = Server("Flask generator", process, port)
        yield Source(server, "/events", (_post(server, "POST", "/events", ""),))


STARTERS: dict[str, Callable[[Lab], AbstractContextManager[Source]]] = {
    "piapi": _piapi,
    "Flask generator": _flask_generator,
}


def measure(lab: Lab) -> list[Row]:
    """One server at a time, in turns."""
    costs: dict[str, list[Cost]] = {name: [] for name in STARTERS}
    for _ in range(lab.rounds(2)):
        for name, start in STARTERS.items():
            costs[name].append(_cost(lab, start))
    ours, peers = costs["piapi"], costs["Flask generator"]
    ratio = median([mine.cpu / its.cpu for mine, its in zip(ours, peers, strict=True)])
    return [
        compared(
            f"{READERS} clients follow {PER_SECOND} events/s: CPU of one core for them",
            _text(ours),
            f"{_text(peers)} Flask generator",
            ratio,
            "≤ 0.5",
            provided=not any(cost.lost for cost in ours),
        )
    ]


def _cost(lab: Lab, start: Callable[[Lab], AbstractContextManager[Source]]) -> Cost:
    with start(lab) as source:
        making, _ = _cpu(lab, source, 0)
        both, lost = _cpu(lab, source, READERS)
    return Cost(both - making, making, lost)


def _cpu(lab: Lab, source: Source, readers: int) -> tuple[float, int]:
    """The part of one core that a server takes with so many readers, and the events that one of them did not get."""
    with contextlib.closing(Readers(source, readers)) as reading:
        reading.make(PER_SECOND)
        before, began, seen = source.server.process.cpu_s, time.monotonic(), dict(reading.counts)
        count = int(lab.take(10, 3) * PER_SECOND)
        reading.make(count)
        used, took = source.server.process.cpu_s - before, time.monotonic() - began
    return used / took, max((count - reading.counts[number] + seen[number] for number in seen), default=0)


def _text(costs: list[Cost]) -> str:
    cpu, making = (median([getattr(cost, name) for cost in costs]) for name in ("cpu", "making"))
    return Cost(cpu, making, max(cost.lost for cost in costs)).text
