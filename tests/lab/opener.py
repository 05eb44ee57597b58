"""A script in the guest that plays a door's opener: it watches the relay, and drives both sensors."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from tests.lab.conftest import LINES, Pi, eventually

RELAY, CLOSED, OPEN = 23, 24, 25

SCRIPT = f"""
import sys, time
travel_s = float(sys.argv[1])
def path(line, what):
    return f"{LINES}/sim_gpio{{line}}/{{what}}"
def relay():
    with open(path({RELAY}, "value")) as file:
        return file.read().strip() == "1"
def sensor(line, is_there):
    with open(path(line, "pull"), "w") as file:
        file.write("pull-down" if is_there else "pull-up")  # a reed switch to ground
at = {CLOSED}
sensor({CLOSED}, True), sensor({OPEN}, False)
print("ready", flush=True)
while True:
    while not relay():
        time.sleep(0.01)
    pressed = time.monotonic()
    while relay():
        time.sleep(0.01)
    print(f"pressed {{time.monotonic() - pressed:.3f}}", flush=True)
    sensor(at, False)
    time.sleep(travel_s)
    at = {OPEN} if at == {CLOSED} else {CLOSED}
    sensor(at, True)
"""


@contextlib.contextmanager
def opener(pi: Pi, travel_s: float) -> Iterator[None]:
    """It is there, and the door closed. What it saw is in /run/opener.log."""
    pi.guest.write("/run/opener.py", SCRIPT)
    pi.guest.run(f"python3 /run/opener.py {travel_s} >/run/opener.log 2>&1 & echo $! >/run/opener.pid")
    try:
        eventually(lambda: pi.get("doors/garage")["state"] == "closed", "the sensor says closed")
        yield
    finally:
        pi.guest.run("kill $(cat /run/opener.pid)")


def presses(pi: Pi) -> int:
    """How many it saw."""
    return pi.guest.run("cat /run/opener.log").count("pressed")
