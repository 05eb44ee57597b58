"""How late the ticks of a time-lapse are while every core is busy, and whether that grows."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.lab import Lab
from benchmarks.load import Caller, at, median
from benchmarks.processes import CORES, Failed, free_port, running, wait_for_answer
from benchmarks.pulses import load
from benchmarks.servers import CAMERA, Server, create_token, piapi_command, piapi_environment
from benchmarks.switching import request_of
from benchmarks.table import Row, compared, within
from benchmarks.tools import python_with

APSCHEDULER = "APScheduler>=3.11,<4"
INTERVAL_S = 0.1
FEWEST = 0.95
"""The part of the ticks that must not be missed: those that are have no lateness."""

WARM_UP = 20
"""Ticks of another time-lapse before: with the first ones piapi loads what it needs for pictures."""

CONFIGURATION = f'[cameras.{CAMERA}]\nbackend = "simulated"\nwidth = 640\nheight = 480\n'

_PEER = Path(__file__).parent / "peers" / "ticking.py"
_LAPSES = f"/api/v1/cameras/{CAMERA}/timelapses"


@dataclass(frozen=True, slots=True)
class Series:
    """Ticks that happened, in their order, of those that were due."""

    due: int
    late_ms: Sequence[float]

    @property
    def drift_ms(self) -> float:
        """By how much the last tenth is later than the first, by their medians."""
        tenth = max(1, len(self.late_ms) // 10)
        return median(list(self.late_ms[-tenth:])) - median(list(self.late_ms[:tenth]))

    @property
    def lateness(self) -> str:
        """As it stands in a row."""
        late, missed = list(self.late_ms), self.due - len(self.late_ms)
        return f"{median(late):.2f} ms (p99 {at(late, 0.99):.1f}{f'; {missed} missed' if missed else ''})"


def measure(lab: Lab) -> list[Row]:
    """In turns, each with a program that never rests on each core; the two peers, who do nothing, at the same time."""
    python = python_with("apscheduler", APSCHEDULER)
    count = int(lab.take(600, 100))
    with load(1):
        ours = _ours(lab, count)
        its, slept = _peers(python, count)
    ratio = median(list(ours.late_ms)) / median(list(its.late_ms))
    busy = f"{count} ticks of {INTERVAL_S:g} s, all cores busy"
    drift = Row(
        f"drift over {busy}",
        f"{ours.drift_ms:+.2f} ms",
        f"{its.drift_ms:+.2f} ms APScheduler; {slept.drift_ms:+.0f} ms sleep({INTERVAL_S:g})",
        target="≤ 2 ms",
        met=within(abs(ours.drift_ms), "≤ 2 ms"),
    )
    beside = f"{its.lateness} APScheduler; {slept.lateness} sleep({INTERVAL_S:g})"
    enough = len(ours.late_ms) >= FEWEST * count
    return [drift, compared(f"lateness of {busy}: p50", ours.lateness, beside, ratio, "≤ 0.5", provided=enough)]


def _ours(lab: Lab, count: int) -> Series:
    """By the ledger: from the moment that a tick is due until the exposure of its picture begins."""
    folder, port = lab.new_folder("ticks"), free_port()
    configuration = folder / "ticks.toml"
    configuration.write_text(CONFIGURATION)
    token = create_token(folder)
    environment = {**piapi_environment(folder, port, None), "PIAPI_CONFIG": str(configuration)}
    with running(piapi_command(), folder, core=None, environment=environment) as process:
        server = Server("piapi", process, port, token)
        snapshot = f"/api/v1/cameras/{CAMERA}/snapshot"
        wait_for_answer(process, port, snapshot, f"Authorization: Bearer {token}\r\n")
        with contextlib.closing(Caller(server, timeout_s=30)) as caller:
            _lapse(server, caller, WARM_UP)
            late = dict(_lateness(caller, f"{_lapse(server, caller, count)}/frames?limit=200"))
    return Series(count, [late[index] for index in sorted(late)])


def _lapse(server: Server, caller: Caller, count: int) -> str:
    """The path of a time-lapse that has ended."""
    plan = {"interval_s": INTERVAL_S, "count": count}
    path: str = json.loads(caller.exchange(request_of(server, "POST", _LAPSES, plan)))["links"]["self"]
    time.sleep(count * INTERVAL_S)
    give_up = time.monotonic() + 30
    while (state := json.loads(caller.get(path))["state"]) != "finished":
        if time.monotonic() > give_up:
            raise Failed(f"the time-lapse is {state}")
        time.sleep(0.2)
    return path


def _lateness(caller: Caller, path: str | None) -> list[tuple[int, float]]:
    """Of each tick that was captured, its number and milliseconds."""
    found = []
    while path:
        page = json.loads(caller.get(path))
        found += [(row["index"], row["lateness_ms"]) for row in page["items"] if row["status"] == "captured"]
        path = page["links"].get("next")
    return found


def _peers(python: Path, count: int) -> list[Series]:
    """APScheduler and the loop that sleeps. The clock of a tick starts with the function that it calls."""
    peers = [
        subprocess.Popen(
            [str(python), str(_PEER), way, str(INTERVAL_S), str(count)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # where APScheduler says which ones it left out
            text=True,
            preexec_fn=lambda: os.sched_setaffinity(0, CORES),
        )
        for way in ("apscheduler", "sleep")
    ]
    try:
        said = [peer.communicate(timeout=count * INTERVAL_S + 30)[0] for peer in peers]
    except subprocess.TimeoutExpired:
        raise Failed("a peer does not end") from None
    finally:
        for peer in peers:
            peer.kill()
            peer.wait()
    if any(peer.returncode for peer in peers):
        raise Failed("a peer failed")
    return [Series(count, [float(line) * 1000 for line in text.splitlines()]) for text in said]
