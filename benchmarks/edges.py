"""From an edge on an input to the client who follows the journal live."""

from __future__ import annotations

import contextlib
import itertools
import json
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.lab import Lab
from benchmarks.load import spread
from benchmarks.processes import Failed, free_port
from benchmarks.servers import Server
from benchmarks.switching import both_folders, piapi_with_pins
from benchmarks.table import Row

LINES = range(4, 28)
"""One input for each: what an input does within a second of its first change is summed, so that each is left alone."""

REST_S = 1.2
_ROOT = Path(__file__).parent.parent


def measure(lab: Lab) -> list[Row]:
    """With the data on the disk, then where a sync costs nothing."""
    with both_folders(lab, "edges") as folders:
        return [_row(lab, where, folder) for where, folder in folders.items()]


def _row(lab: Lab, where: str, folder: Path) -> Row:
    pins = "".join(f'[pins.input{line}]\ngpio = "GPIO{line}"\nmode = "input"\n' for line in LINES)
    port = free_port()
    command = ["-m", "gunicorn", "--config", str(_ROOT / "gunicorn.conf.py"), "benchmarks.wired:app"]
    environment = {"WIRED_PORT": str(port)}
    with piapi_with_pins(folder, pins, [sys.executable, *command], environment=environment) as server:
        taken = list(_latencies_ms(server, port, int(lab.take(200, 50))))
    text = f"{spread(taken)} of {len(taken)} edges"
    return Row(f"edge of an input → client of GET /events, {where}: p50", text)


def _latencies_ms(server: Server, port: int, count: int) -> Iterator[float]:
    with contextlib.closing(Follower(server)) as follower, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as driver:
        driver.connect(("127.0.0.1", port))
        driver.settimeout(5)
        levels = dict.fromkeys(LINES, 0)
        for line in itertools.islice(itertools.cycle(LINES), count):
            levels[line] ^= 1
            driver.send(b"%d %d" % (line, levels[line]))
            seen = follower.wait_for(f"pin:input{line}", bool(levels[line]))
            yield (seen - int(driver.recv(64))) / 1e6
            time.sleep(REST_S / len(LINES))


class Follower:
    """A client of the journal as server-sent events."""

    def __init__(self, server: Server) -> None:
        self._socket = socket.create_connection(("127.0.0.1", server.port), timeout=10)
        request = server.request("/api/v1/events?type=pin.changed")
        self._socket.sendall(request.replace("\r\n\r\n", "\r\nAccept: text/event-stream\r\n\r\n").encode())
        self._buffer = b""
        while b"retry:" not in self._buffer:
            self._receive()

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def wait_for(self, subject: str, value: bool) -> int:
        """When the whole entry was here, in nanoseconds of CLOCK_BOOTTIME. Raises Failed for another."""
        self._buffer = b""
        while b"\ndata: " not in self._buffer or not self._buffer.endswith(b"\n\n"):
            self._receive()
        now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        entry = json.loads(self._buffer.partition(b"\ndata: ")[2].splitlines()[0])
        if (entry["subject"], entry["data"]["value"]) != (subject, value):
            raise Failed(f"{subject} was to be {value}, and the journal says {entry}")
        return now

    def _receive(self) -> None:
        if not (data := self._socket.recv(65536)):
            raise Failed("piapi hangs up")
        self._buffer += data
