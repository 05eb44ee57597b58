"""How long a short pulse is really on while every core is busy, beside gpiozero's `blink`."""

from __future__ import annotations

import contextlib
import itertools
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.lab import Lab
from benchmarks.load import Caller, at, median
from benchmarks.processes import CORES, Failed
from benchmarks.switching import PIN, more_tokens, piapi_with_pins, request_of
from benchmarks.table import Row
from piapi.hardware.gpio_simulated import history_of

PULSE_S = 0.01
PAUSE_S = 0.05
LINE = 17


def measure(lab: Lab) -> list[Row]:
    """In turns, on all cores, first with nothing else to do and then with a program that never rests on each core."""
    folder = lab.new_folder("pulses")
    with piapi_with_pins(folder, core=None) as server, gpiozero() as blinker:
        lines = folder / "data" / "run" / "gpio.simulated"
        lines.with_name(lines.name + ".history").touch()
        tokens = itertools.cycle(more_tokens(server, 10))
        with contextlib.closing(Caller(server, timeout_s=10)) as caller:
            keys = itertools.count()

            def ours(count: int) -> list[float]:
                for _ in range(count):
                    more = f"Idempotency-Key: {next(keys)}\r\n"
                    wanted = {"duration_s": PULSE_S}
                    caller.exchange(
                        request_of(server, "POST", f"/api/v1/pins/{PIN}/pulses", wanted, next(tokens), more)
                    )
                    time.sleep(PULSE_S + PAUSE_S)
                return _on_times(lines)[-count:]

            rows = []
            for what, busy in (("idle", 0), ("all cores busy", 1)):
                mine, its = list[float](), list[float]()
                with load(busy):
                    for _ in range(lab.rounds(4)):
                        mine += ours(count := int(lab.take(50, 30)))
                        its += blinker.on_times(count)
                rows.append(_row(what, mine, its))
    return rows


def _on_times(lines: Path) -> list[float]:
    edges = [change for change in history_of(lines, LINE) if change.before != change.after]
    return [off.at - on.at for on, off in itertools.pairwise(edges) if on.after]


def _row(what: str, mine: list[float], its: list[float]) -> Row:
    errors, others = ([(taken - PULSE_S) * 1000 for taken in on_times] for on_times in (mine, its))
    text, beside = (
        f"{median(late):.2f} ms (p99 {at(late, 0.99):.2f}; {len(late)} pulses)" for late in (errors, others)
    )
    return Row(f"10 ms pulse, {what}: on for too long, p50", text, f"{beside} gpiozero blink(n=1), mock pin")


@contextlib.contextmanager
def load(per_core: int) -> Iterator[None]:
    """Programs that never rest, on each core."""
    busy = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"], preexec_fn=lambda core=core: _pin(core))
        for core in CORES
        for _ in range(per_core)
    ]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


def _pin(core: int) -> None:
    os.sched_setaffinity(0, {core})


class Blinker:
    """gpiozero in a program of its own."""

    def __init__(self, popen: subprocess.Popen[str]) -> None:
        self._popen = popen

    def on_times(self, count: int) -> list[float]:
        """Seconds that each of so many blinks was on."""
        assert self._popen.stdin is not None and self._popen.stdout is not None
        found = []
        for _ in range(count):
            self._popen.stdin.write(f"{PULSE_S}\n")
            self._popen.stdin.flush()
            if not (line := self._popen.stdout.readline()):
                raise Failed("gpiozero ended")
            found.append(float(line))
            time.sleep(PAUSE_S)
        return found


@contextlib.contextmanager
def gpiozero() -> Iterator[Blinker]:
    """Ready to blink."""
    popen = subprocess.Popen(
        [sys.executable, str(Path(__file__).parent / "peers" / "blink.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, CORES),
    )
    try:
        yield Blinker(popen)
    finally:
        popen.kill()
        popen.wait()
        for pipe in (popen.stdin, popen.stdout):
            if pipe is not None:
                pipe.close()
