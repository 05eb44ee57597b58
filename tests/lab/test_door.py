"""A garage door: relay and both sensors on the kernel's lines, and a script in the guest that plays the opener."""

from __future__ import annotations

import pytest

from tests.lab.conftest import LINES, Pi, eventually

RELAY, CLOSED, OPEN = 23, 24, 25
TRAVEL_S = 6

OPENER = f"""
import time
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
    time.sleep({TRAVEL_S})
    at = {OPEN} if at == {CLOSED} else {CLOSED}
    sensor(at, True)
"""


@pytest.mark.smoke
def test_the_door_opens_and_closes_by_its_sensors(pi: Pi) -> None:
    pi.guest.write("/run/opener.py", OPENER)
    pi.guest.run("python3 /run/opener.py >/run/opener.log 2>&1 & echo $! >/run/opener.pid")
    try:
        eventually(lambda: pi.get("doors/garage")["state"] == "closed", "the sensor says closed")
        for target in ("open", "closed"):
            status, headers, said = pi.call("PUT", "doors/garage/target", {"target": target})
            assert status == 202, said
            operation = headers["location"]
            eventually(lambda operation=operation: pi.get(operation)["state"] == "succeeded", f"the door is {target}")  # type: ignore[misc]
            door = pi.get("doors/garage")
            assert (door["state"], door["basis"]) == (target, "sensor")
            assert pi.get(operation)["presses"]
        presses = [line for line in pi.guest.run("cat /run/opener.log").splitlines() if line.startswith("pressed")]
        assert len(presses) == 2
    finally:
        pi.guest.run("kill $(cat /run/opener.pid)")
