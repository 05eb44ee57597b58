"""release.py TOKEN METHOD PATH BODY DELAY_S LINE SIGNAL PROCESSES: switches a line on, and sends piapi's worker, or
`both` master and worker, a signal DELAY_S later.

Prints the seconds until the line has another level, since the signal and since it was on, by CLOCK_MONOTONIC and the
pin controller's own registers. Line 26, which is nobody's, is set in these at the moment of the signal: a mark for who
looks from outside.
"""

import mmap
import os
import sys
import threading
from pathlib import Path
from time import monotonic, sleep

from ask import ask

CONTROLLER, SET, LEVEL = 0x3F200000, 0x1C // 4, 0x34 // 4
MARK = 1 << 26
PATIENCE_S = 10

token, method, path, body, delay_s, line, number, processes = sys.argv[1:]

with Path("/dev/mem").open("r+b") as memory:
    page = mmap.mmap(memory.fileno(), mmap.PAGESIZE, offset=CONTROLLER)
registers = memoryview(page).cast("I")


def level() -> int:
    return registers[LEVEL] >> int(line) & 1


def wait_while(is_level: int) -> float:
    began = monotonic()
    while level() == is_level and monotonic() < began + PATIENCE_S:
        sleep(0.001)
    return monotonic()


master = int(Path("/run/piapi.pid").read_text())
worker = int(Path(f"/proc/{master}/task/{master}/children").read_text().split()[-1])
before = level()
threading.Thread(target=ask, args=(token, method, path, body), daemon=True).start()
on = wait_while(before)
active = level()
assert active != before

sleep(float(delay_s))
assert level() == active
since = monotonic()
registers[SET] = MARK
for pid in (master, worker) if processes == "both" else (worker,):
    os.kill(pid, int(number))
off = wait_while(active)
sys.stdout.write(f"{off - since} {off - on}\n")
sys.stdout.flush()
os._exit(0)  # an answer that never comes is not waited for
