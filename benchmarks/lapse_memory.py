"""Whether the memory of a time-lapse grows with its ticks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks.lab import Lab
from benchmarks.processes import Failed
from benchmarks.switching import folder_in_memory
from benchmarks.table import Row, compared

FEW, MANY = 1_000, 100_000


def measure(lab: Lab) -> list[Row]:
    """One program (`lapsing.py`), looked at twice. Its files are where a sync costs nothing."""
    many = MANY // 10 if lab.quick else MANY
    with folder_in_memory("lapse") as folder:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.lapsing", str(folder / "data"), str(FEW), str(many)],
            cwd=Path(__file__).parent.parent,
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        raise Failed((done.stderr.strip().splitlines() or ["the program that ticks ended"])[-1])
    (first, before), (last, after) = (map(int, line.split()) for line in done.stdout.splitlines())
    if (first, last) != (FEW, many):
        raise Failed(f"{last} ticks were captured, not {many}")
    return [
        compared(
            f"memory after {many:,} ticks of a time-lapse",
            f"{after / 1e6:.1f} MB",
            f"{before / 1e6:.1f} MB after {FEW:,}",
            after / before,
            "≤ 1.1",
        )
    ]
