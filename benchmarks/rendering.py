"""What a caller of the API feels of a render."""

from __future__ import annotations

import contextlib
import itertools
import json
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.lab import Lab
from benchmarks.load import Caller, median, spread
from benchmarks.processes import Failed
from benchmarks.servers import CAMERA, Server
from benchmarks.switching import OUTPUT, PIN, Switch, more_tokens, piapi_with_pins, request_of
from benchmarks.table import Row, compared
from piapi.timelapse import Video
from tests.lapse import Bench

FRAMES = 400
SIZE = (1920, 1080)
CONFIGURATION = f'{OUTPUT}[cameras.{CAMERA}]\nbackend = "simulated"\n'
LAPSES, A_CAMERA = "/api/v1/timelapses", f"/api/v1/cameras/{CAMERA}"
PATHS = (LAPSES, A_CAMERA)
SWITCHING = f"PUT /api/v1/pins/{PIN}/value"


def measure(lab: Lab) -> list[Row]:
    """Idle and while it renders, in turns. The child that renders shares the server's core."""
    folder = lab.new_folder("rendering")
    lapse = _filmed(folder / "data", lab.footage(*SIZE))
    idle, busy = ({what: list[list[float]]() for what in (*PATHS, SWITCHING)} for _ in range(2))
    with piapi_with_pins(folder, CONFIGURATION) as server, contextlib.closing(Caller(server, timeout_s=10)) as caller:
        switch = Switch(server, f"/api/v1/pins/{PIN}/value", more_tokens(server))
        for _ in range(lab.rounds(3)):
            _listen(lab, caller, switch, idle)
            with _a_render(server, caller, lapse):
                _listen(lab, caller, switch, busy)
    return [_row(what, idle[what], busy[what]) for what in idle]


def _filmed(data: Path, footage: Path) -> str:
    """The id of a time-lapse that has ended, of so many frames, in the data folder of a service to be."""
    bench = Bench(data)
    try:
        pictures = itertools.cycle([path.read_bytes() for path in sorted(footage.iterdir())])
        made = bench.start(count=FRAMES, video=Video(fps=30))
        while not bench.get(made).has_ended:
            bench.camera.data = next(pictures)
            bench.run(made.plan.interval_s)
        if (kept := bench.get(made).frames_captured) != FRAMES:
            raise Failed(f"{kept} frames were kept, not {FRAMES}")
        return made.id
    finally:
        bench.close()


def _listen(lab: Lab, caller: Caller, switch: Switch, into: dict[str, list[list[float]]]) -> None:
    seconds = lab.take(3, 1)
    for path in PATHS:
        into[path].append(caller.latencies_ms(path, seconds))
    into[SWITCHING].append(switch.alternate(seconds).all)


@contextlib.contextmanager
def _a_render(server: Server, caller: Caller, lapse: str) -> Iterator[None]:
    """One that has begun, and is still under way at the end; it is cancelled then. Raises Failed."""
    wanted = {"fps": 30, "deflicker": True}
    made = json.loads(caller.exchange(request_of(server, "POST", f"{LAPSES}/{lapse}/renders", wanted)))
    path = made["links"]["self"]
    _wait_for(caller, path, "running")
    yield
    if (state := json.loads(caller.get(path))["state"]) != "running":
        raise Failed(f"the render is {state} already")
    caller.exchange(request_of(server, "DELETE", path, None))


def _wait_for(caller: Caller, path: str, state: str) -> None:
    give_up = time.monotonic() + 30
    while json.loads(caller.get(path))["state"] != state:
        if time.monotonic() > give_up:
            raise Failed(f"the render is not {state}")
        time.sleep(0.05)


def _row(what: str, idle: list[list[float]], busy: list[list[float]]) -> Row:
    ratio = median([median(one) / median(other) for one, other in zip(busy, idle, strict=True)])
    texts = [spread(list(itertools.chain(*rounds))) for rounds in (busy, idle)]
    name = what if what == SWITCHING else f"GET {what}"
    return compared(f"{name}: p50 during a render of {SIZE[1]}p", texts[0], f"{texts[1]} idle", ratio, "≤ 2")
