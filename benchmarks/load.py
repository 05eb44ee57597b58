"""Clients: wrk, many viewers, and one caller who waits for each answer. All on the clients' core."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import statistics
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.lab import Lab
from benchmarks.processes import CLIENT_CORE, Failed, program
from benchmarks.servers import STREAM_PATHS, Server

WATCHING_TIMEOUT_S = 30.0


def _on_client_core() -> None:
    os.sched_setaffinity(0, {CLIENT_CORE})


def requests_per_second(server: Server, path: str, seconds: float, connections: int) -> float:
    """What wrk gets over some kept-alive connections. Raises Missing, and Failed if any answer is bad."""
    command = [program("wrk", "wrk"), "-t1", f"-c{connections}", f"-d{seconds:g}s"]
    if server.token:
        command += ["-H", f"Authorization: Bearer {server.token}"]
    command += [f"http://127.0.0.1:{server.port}{path}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=_on_client_core)
    if "Non-2xx" in done.stdout or "Socket errors" in done.stdout:
        raise Failed(f"{server.name}: {done.stdout.strip().splitlines()[-3].strip()}")
    if (rate := re.search(r"Requests/sec:\s*([\d.]+)", done.stdout)) is None:
        raise Failed(f"wrk says no rate: {(done.stdout or done.stderr).strip()}")
    return float(rate[1])


@dataclass(frozen=True, slots=True)
class Watched:
    """What one viewer saw."""

    frames: int
    bytes: int
    lost: int
    ended: bool
    ages_us: list[int]


class Viewers:
    """Connections that watch a server's stream. `measure` counts what they get."""

    def __init__(self, popen: subprocess.Popen[str]) -> None:
        self._popen = popen
        self._started = 0.0
        self._stopped = 0.0

    def start(self) -> None:
        """Begin to count."""
        self._say("start")
        self._started = time.monotonic()

    def stop(self) -> list[Watched]:
        """End, and tell."""
        self._say("stop")
        self._stopped = time.monotonic()
        output, complaint = self._popen.communicate()
        if self._popen.returncode:
            raise Failed(complaint.strip())
        return [Watched(**viewer) for viewer in json.loads(output)]

    @property
    def seconds(self) -> float:
        """How long was counted."""
        return self._stopped - self._started

    def _say(self, word: str) -> None:
        assert self._popen.stdin is not None
        self._popen.stdin.write(f"{word}\n")
        self._popen.stdin.flush()


@contextlib.contextmanager
def viewers(lab: Lab, server: Server, count: int, *, throttled: int = 0, bytes_per_s: int = 0) -> Iterator[Viewers]:
    """Viewers, each of whom has had a frame. The first `throttled` read no faster than `bytes_per_s`."""
    request = server.request(STREAM_PATHS[server.name])
    numbers = [str(count), str(throttled), str(bytes_per_s)]
    popen = subprocess.Popen(
        [str(lab.viewers_program()), str(server.port), request, *numbers],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=_on_client_core,
    )
    try:
        assert popen.stdout is not None and popen.stderr is not None
        if popen.stdout.readline() != "watching\n":
            raise Failed(f"{server.name}: {popen.stderr.read().strip()}")
        yield Viewers(popen)
    finally:
        popen.kill()
        popen.wait()
        for pipe in (popen.stdin, popen.stdout, popen.stderr):
            if pipe is not None:
                pipe.close()


class Caller:
    """One kept-alive connection that asks, waits for the whole answer, and asks again. As little Python as can be: what
    the client costs would hide what the server costs."""

    def __init__(self, server: Server, timeout_s: float | None = None) -> None:
        self._server = server
        self._connection = socket.create_connection(("127.0.0.1", server.port), timeout_s)
        self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def close(self) -> None:
        """Hang up."""
        self._connection.close()

    def get(self, path: str) -> bytes:
        """The body of a 200. Raises Failed."""
        return self.exchange(self._server.request(path).encode())

    def latencies_ms(self, path: str, seconds: float) -> list[float]:
        """How long each answer took, one after the other, in milliseconds."""
        request, taken = self._server.request(path).encode(), []
        end = time.perf_counter() + seconds
        while (asked := time.perf_counter()) < end:
            self.exchange(request)
            taken.append((time.perf_counter() - asked) * 1000)
        return taken

    def exchange(self, request: bytes) -> bytes:
        """The body of a good answer to a whole request. Raises Failed."""
        self._connection.sendall(request)
        answer = self._connection.recv(1 << 20)
        while b"\r\n\r\n" not in answer:
            answer += self._more()
        head, _, body = answer.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 20"):
            raise Failed(f"{self._server.name}: {head.splitlines()[0].decode()}")
        length = int(re.search(rb"(?i)\r\ncontent-length: (\d+)", head)[1])  # type: ignore[index]
        while len(body) < length:
            body += self._more()
        return body

    def _more(self) -> bytes:
        if data := self._connection.recv(1 << 20):
            return data
        raise Failed(f"{self._server.name} hangs up")


def median(values: list[float]) -> float:
    """The median."""
    return statistics.median(values)


def spread(values: list[float]) -> str:
    """Milliseconds, as they stand in a row."""
    return f"{median(values):.2f} ms (p99 {at(values, 0.99):.1f})"


def at(values: list[float], part: float) -> float:
    """The value below which `part` of them lie."""
    return sorted(values)[min(len(values) - 1, int(len(values) * part))]
