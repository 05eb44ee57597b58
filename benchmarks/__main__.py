"""`python -m benchmarks [name …]`: run the benchmarks, or those named, and print one table."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import (
    edges,
    events,
    film,
    footprint,
    lapse_memory,
    latency,
    mqtt,
    page,
    paging,
    pins,
    pulses,
    rendering,
    restart,
    slow_viewer,
    snapshot,
    stalled,
    stored_photo,
    streaming,
    ticks,
)
from benchmarks.lab import Lab
from benchmarks.processes import CLIENT_CORE, CORES, Failed, Missing
from benchmarks.table import Row, not_measured, show

BENCHMARKS: dict[str, Callable[[Lab], list[Row]]] = {
    "snapshot": snapshot.measure,
    "streaming": streaming.measure,
    "slow_viewer": slow_viewer.measure,
    "events": events.measure,
    "latency": latency.measure,
    "stalled": stalled.measure,
    "paging": paging.measure,
    "stored_photo": stored_photo.measure,
    "footprint": footprint.measure,
    "restart": restart.measure,
    "pins": pins.measure,
    "mqtt": mqtt.measure,
    "pulses": pulses.measure,
    "edges": edges.measure,
    "ticks": ticks.measure,
    "lapse-memory": lapse_memory.measure,
    "rendering": rendering.measure,
    "film": film.measure,
    "page": page.measure,
}

_BUILD = Path(__file__).parent.parent / "build"
"""Where a run has its folder: beside the sources, since /tmp may be in memory, where a sync costs nothing."""


def main() -> int:
    """0 when all targets that were measured are met, 1 when one is not or a benchmark failed."""
    arguments = _arguments()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    os.sched_setaffinity(0, {CLIENT_CORE})
    _BUILD.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir=_BUILD))
    lab, rows = Lab(folder, quick=arguments.quick), list[Row]()
    failed = False
    began = time.monotonic()
    try:
        for name in arguments.names or BENCHMARKS:
            found, well = _run(name, lab)
            rows += found
            failed = failed or not well
    except KeyboardInterrupt:
        return 130
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            _BUILD.rmdir()
    print("\n" + _machine() + (", a quick look: figures are rough" if arguments.quick else "") + "\n")
    show(rows)
    print(f"\n{time.monotonic() - began:.0f} s")
    if arguments.json:
        arguments.json.write_text(json.dumps(_document(rows, arguments.quick), indent=2, ensure_ascii=False) + "\n")
    return int(failed or any(row.met is False for row in rows))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure piapi beside its peers.")
    parser.add_argument("names", nargs="*", metavar="name", help=f"one of {', '.join(BENCHMARKS)}; all, unless named")
    parser.add_argument("--quick", action="store_true", help="a look: short rounds, rough figures")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there too")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(BENCHMARKS):
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}")
    return arguments


def _run(name: str, lab: Lab) -> tuple[list[Row], bool]:
    """The rows of one benchmark, and whether it went well: what is missing here is no failure."""
    print(f"{name} …", flush=True)
    try:
        return BENCHMARKS[name](lab), True
    except Missing as missing:
        return [not_measured(name, str(missing))], True
    except (Failed, OSError) as failure:  # a server that breaks a connection off, too
        return [Row(name, f"failed: {failure}")], False


def _machine() -> str:
    pinned = "server and clients on a core each"
    if len(CORES) == 1:
        pinned = "ONE CORE: servers and clients disturb each other"
    system = f"{platform.machine()}, Linux {platform.release()}, Python {platform.python_version()}"
    return f"{len(CORES)} cores, {system}; {pinned}"


def _document(rows: list[Row], quick: bool) -> dict[str, Any]:
    return {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": _machine(),
        "quick": quick,
        "rows": [row.document for row in rows],
    }


if __name__ == "__main__":
    sys.exit(main())
