"""What piapi holds when nobody asks for anything, and how long it takes to be there."""

from __future__ import annotations

import time
from collections.abc import Callable

from benchmarks.lab import Lab
from benchmarks.load import Caller, median
from benchmarks.processes import Memory, free_port, memory_of, running, wait_for_answer
from benchmarks.servers import CAMERA, THREADS, gunicorn_command, piapi, piapi_command, piapi_environment
from benchmarks.table import Row, within

LINGER_S = 12.0
"""After this piapi has closed a camera that nobody needs (10 s, services/camera_owner.py)."""


def measure(lab: Lab) -> list[Row]:
    """Memory, then the start."""
    return [*_memory(lab), _start(lab)]


def _memory(lab: Lab) -> list[Row]:
    with piapi(lab) as demonstration:
        time.sleep(LINGER_S)
        simulated = memory_of(demonstration.process)
    with lab.webcam() as camera, piapi(lab, camera) as server:
        caller = Caller(server)
        caller.get(f"/api/v1/cameras/{CAMERA}/snapshot")
        caller.close()
        time.sleep(LINGER_S)
        webcam = memory_of(server.process)
    return [
        _memory_row("idle, master and worker, simulated camera closed: PSS", simulated),
        _memory_row("idle, master and worker, webcam closed: PSS", webcam),
    ]


def _memory_row(what: str, memory: Memory) -> Row:
    megabytes = memory.pss / 1e6
    return Row(
        what,
        f"{megabytes:.0f} MB ({memory.alone / 1e6:.0f} MB were no other Python running)",
        target="≤ 75 MB",
        met=within(megabytes, "≤ 75"),
    )


def _start(lab: Lab) -> Row:
    folder = lab.new_folder("start")
    jpeg = folder / "bare.jpg"
    jpeg.write_bytes(b"")

    def ours() -> float:
        port = free_port()
        began = time.monotonic()
        with running(piapi_command(), folder, environment=piapi_environment(folder, port, None)) as process:
            return wait_for_answer(process, port, "/api/v1/health/ready") - began

    def bare() -> float:
        port = free_port()
        began = time.monotonic()
        command = gunicorn_command("snapshot:app", port, THREADS)
        with running(command, folder, environment={"PEER_JPEG": str(jpeg)}) as process:
            return wait_for_answer(process, port, "/snapshot") - began

    both: tuple[Callable[[], float], ...] = (ours, bare)
    rounds = [[start() for start in both] for _ in range(1 + lab.rounds(5))][1:]  # the first fills the caches
    mine, its = (median([taken[side] for taken in rounds]) for side in (0, 1))
    ratio = median([taken[0] / taken[1] for taken in rounds])
    return Row("from start to first 200", f"{mine:.2f} s", f"{its:.2f} s bare Flask + gunicorn", ratio)
