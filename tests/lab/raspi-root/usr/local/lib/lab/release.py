"""release.py TOKEN METHOD PATH BODY DELAY_S LINE: switches a line on, and ends piapi's worker DELAY_S later.

Prints the seconds from SIGKILL until the line has another level, by CLOCK_MONOTONIC and the pin controller's own
registers. Line 26, which is nobody's, is set in these at the moment of SIGKILL: a mark for who looks from outside.
"""

import mmap
import os
import signal
import sys
from pathlib import Path
from time import monotonic, sleep

from ask import ask

CONTROLLER, SET, LEVEL = 0x3F200000, 0x1C // 4, 0x34 // 4
MARK = 1 << 26
PATIENCE_S = 10

token, method, path, body, delay_s, line = sys.argv[1:]

with Path("/dev/mem").open("r+b") as memory:
    page = mmap.mmap(memory.fileno(), mmap.PAGESIZE, offset=CONTROLLER)
registers = memoryview(page).cast("I")


def level() -> int:
    return registers[LEVEL] >> int(line) & 1


before = level()
ask(token, method, path, body)
active = level()
assert active != before

sleep(float(delay_s))
master = Path("/run/piapi.pid").read_text().strip()
worker = int(Path(f"/proc/{master}/task/{master}/children").read_text().split()[-1])
assert level() == active
since = monotonic()
registers[SET] = MARK
os.kill(worker, signal.SIGKILL)
while level() == active and monotonic() < since + PATIENCE_S:
    sleep(0.001)
sys.stdout.write(f"{monotonic() - since}\n")
