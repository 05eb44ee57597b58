"""What a caller of the API feels of 50 viewers."""

from __future__ import annotations

from benchmarks.lab import Lab
from benchmarks.load import Caller, at, median, viewers
from benchmarks.servers import CAMERA, piapi
from benchmarks.streaming import VIEWERS
from benchmarks.table import Row, compared

PATHS = ("/api/v1/", f"/api/v1/cameras/{CAMERA}")


def measure(lab: Lab) -> list[Row]:
    """Idle and watched, in turns."""
    idle: dict[str, list[list[float]]] = {path: [] for path in PATHS}
    watched: dict[str, list[list[float]]] = {path: [] for path in PATHS}
    seconds = lab.take(3, 1)
    with lab.webcam() as camera, piapi(lab, camera) as server:
        caller = Caller(server)
        for _ in range(lab.rounds(3)):
            for path in PATHS:
                idle[path].append(caller.latencies_ms(path, seconds))
            with viewers(lab, server, VIEWERS):
                for path in PATHS:
                    watched[path].append(caller.latencies_ms(path, seconds))
        caller.close()
    return [_row(path, idle[path], watched[path]) for path in PATHS]


def _row(path: str, idle: list[list[float]], watched: list[list[float]]) -> Row:
    ratio = median([median(busy) / median(quiet) for quiet, busy in zip(idle, watched, strict=True)])
    return compared(f"GET {path}: p50 with {VIEWERS} viewers", _text(watched), f"{_text(idle)} idle", ratio, "≤ 2")


def _text(rounds: list[list[float]]) -> str:
    merged = [taken for taken_in_round in rounds for taken in taken_in_round]
    return f"{median(merged):.2f} ms (p99 {at(merged, 0.99):.1f})"
