"""The worker is killed (SIGKILL): how long until somebody is answered again."""

from __future__ import annotations

import os
import signal
import time

from benchmarks.lab import Lab
from benchmarks.load import median
from benchmarks.processes import Failed, wait_for_answer
from benchmarks.servers import Server, bare_flask, piapi
from benchmarks.table import Row


def measure(lab: Lab) -> list[Row]:
    """Both servers run, and are killed in turns."""
    jpeg = lab.new_folder("restart") / "bare.jpg"
    jpeg.write_bytes(b"")
    with piapi(lab) as ours, bare_flask(lab, jpeg) as bare:
        token = f"Authorization: Bearer {ours.token}\r\n"
        rounds = [(_gap(ours, "/api/v1/cameras", token), _gap(bare, "/")) for _ in range(1 + lab.rounds(10))][1:]
    mine, its = (median([taken[side] for taken in rounds]) for side in (0, 1))
    longest = max(taken[0] for taken in rounds)
    ratio = median([taken[0] / taken[1] for taken in rounds])
    text = f"{mine:.2f} s (at most {longest:.2f} s)"
    return [Row("worker killed by SIGKILL → first answer", text, f"{its:.2f} s bare Flask + gunicorn", ratio)]


def _gap(server: Server, path: str, headers: str = "") -> float:
    """Seconds without an answer. Who asks meanwhile waits, and is not refused: the master keeps the socket."""
    workers = server.process.children
    if len(workers) != 1:
        raise Failed(f"{server.name} has {len(workers)} workers")
    began = time.monotonic()
    os.kill(workers[0], signal.SIGKILL)
    return wait_for_answer(server.process, server.port, path, headers) - began
