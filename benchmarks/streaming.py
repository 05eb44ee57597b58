"""CPU of a live view with 50 viewers, beside ustreamer and beside a thread for each viewer."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from benchmarks.lab import Lab
from benchmarks.load import median, viewers
from benchmarks.processes import Missing
from benchmarks.servers import Server, flask_generator, piapi, ustreamer
from benchmarks.table import Row, compared, without_peer
from benchmarks.tools import FPS, Webcam

VIEWERS = 50
SIZES = ((640, 480), (1920, 1080))
ENOUGH = 0.98
"""Of the camera's rate: what every viewer has to get."""

Starter = Callable[[Lab, Webcam], AbstractContextManager[Server]]
STARTERS: dict[str, Starter] = {"piapi": piapi, "ustreamer": ustreamer, "Flask generator": flask_generator}


@dataclass(frozen=True, slots=True)
class Cost:
    """What a server took, and gave."""

    cpu: float
    """Part of one core."""
    slowest_fps: float
    """Frames per second of the viewer who got fewest."""

    @property
    def text(self) -> str:
        rate = "" if self.whole else f", but only {self.slowest_fps:.1f} fps"
        return f"{100 * self.cpu:.1f} %{rate}"

    @property
    def whole(self) -> bool:
        """Whether every viewer got every frame."""
        return self.slowest_fps >= ENOUGH * FPS


def measure(lab: Lab) -> list[Row]:
    """One server at a time, in turns."""
    rows = []
    for width, height in SIZES:
        with lab.webcam(width, height) as camera:
            rows += _at_size(lab, camera)
    return rows


def _at_size(lab: Lab, camera: Webcam) -> list[Row]:
    costs: dict[str, list[Cost]] = {name: [] for name in STARTERS}
    missing: dict[str, str] = {}
    for _ in range(lab.rounds(2)):
        for name, start in STARTERS.items():
            try:
                costs[name].append(_cost(lab, camera, start))
            except Missing as lack:
                missing[name] = str(lack)
    what = f"{VIEWERS} viewers, {camera.width}×{camera.height}, {FPS} fps: CPU of one core"
    ours = costs.pop("piapi")
    return [
        without_peer(what, _text(ours), name, missing[name]) if name in missing else _row(what, name, ours, costs[name])
        for name in costs
    ]


def _cost(lab: Lab, camera: Webcam, start: Starter) -> Cost:
    with start(lab, camera) as server, viewers(lab, server, VIEWERS) as watching:
        time.sleep(lab.take(2, 1))
        before, began = server.process.cpu_s, time.monotonic()
        watching.start()
        time.sleep(lab.take(10, 3))
        used, took = server.process.cpu_s - before, time.monotonic() - began
        seen = watching.stop()
    return Cost(used / took, min(viewer.frames for viewer in seen) / watching.seconds)


def _row(what: str, name: str, ours: list[Cost], peers: list[Cost]) -> Row:
    ratio = median([mine.cpu / its.cpu for mine, its in zip(ours, peers, strict=True)])
    return compared(
        what, _text(ours), f"{_text(peers)} {name}", ratio, "≤ 0.6", provided=all(cost.whole for cost in ours)
    )


def _text(costs: list[Cost]) -> str:
    return Cost(median([cost.cpu for cost in costs]), min(cost.slowest_fps for cost in costs)).text
