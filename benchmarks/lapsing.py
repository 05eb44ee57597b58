"""`python -m benchmarks.lapsing FOLDER TICKS …`: one time-lapse of small frames; says after each of these numbers of
ticks how many bytes this process holds for itself.

Scheduler, capture, ledger and film are piapi's and do what they do in the service, but on one thread, by a clock that
goes on as fast as they do: a hundred thousand ticks take days otherwise. The rest of the service is loaded, as it is in
a worker, and does nothing.
"""

from __future__ import annotations

import gc
import sys
from pathlib import Path

import config
from piapi.app import create_app
from piapi.memory import give_back
from tests.lapse import Bench

INTERVAL_S = 10.0


def main(folder: Path, marks: list[int]) -> None:
    """Tick, and print a line at each mark."""
    app = create_app(config.Settings(storage=config.Storage(path=folder.with_name("service"))), {})
    bench = Bench(folder)
    try:
        bench.start(interval_s=INTERVAL_S, count=marks[-1] + 1)
        for mark in marks:
            while bench.camera.taken < mark:
                bench.run(min(mark - bench.camera.taken, 100) * INTERVAL_S)
                bench.camera.asked.clear()  # the camera is the test's, and remembers
            gc.collect()
            give_back()
            print(bench.camera.taken, _private(), flush=True)
    finally:
        bench.close()
        app.extensions["piapi"].close()


def _private() -> int:
    """Bytes that this process alone holds (proc(5), smaps_rollup)."""
    fields = (line.split() for line in Path("/proc/self/smaps_rollup").read_text().splitlines()[1:])
    return 1024 * sum(int(kilobytes) for name, kilobytes, _unit in fields if name.startswith("Private_"))


if __name__ == "__main__":
    main(Path(sys.argv[1]), [int(mark) for mark in sys.argv[2:]])
