"""Pins on the kernel's GPIO character device; gpio-sim's own files are the witness."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

import pytest

from tests.lab.conftest import SETTINGS, Pi, eventually
from tests.lab.tracing import DRIVES, traced

PORCH, BELL, LAMP, PUMP, RELAY = 17, 22, 27, 5, 23

WITH_PUMP = (
    SETTINGS
    + """
[pins.pump]
gpio = "GPIO5"
mode = "output"
active_low = true
max_on_s = 600
"""
)

HOLD = f"""
import lgpio, signal
chip = lgpio.gpiochip_open(0)
lgpio.gpio_claim_output(chip, {LAMP}, 0)
print("held", flush=True)
signal.pause()
"""
"""Another process that has the lamp's line."""


REST_S, MOST_WAKES_A_SECOND = 10, 100
"""lgpio's thread for pulses is half of them, whether there are any or not."""

SWITCHES = """
import glob, sys, time
pid, seconds = sys.argv[1:]
def switches():
    text = "".join(open(path).read() for path in glob.glob(f"/proc/{pid}/task/*/status"))
    return sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("voluntary_ctxt"))
before = switches()
time.sleep(float(seconds))
print(switches() - before)
"""


@pytest.mark.smoke
def test_an_output_is_what_the_kernel_says(pi: Pi) -> None:
    for value in (True, False, True, False):
        assert pi.ask("PUT", "pins/porch/value", {"value": value})["value"] is value
        assert pi.level(PORCH) is value


@pytest.mark.smoke
def test_an_input_follows_what_is_wired_to_it(pi: Pi) -> None:
    edges = pi.get("pins/bell")["edges"]
    for pressed in (True, False):
        pi.drive(BELL, not pressed)  # it is active low
        eventually(lambda pressed=pressed: pi.get("pins/bell")["value"] is pressed, f"the bell is {pressed}")
    assert pi.get("pins/bell")["edges"] == edges + 2


def test_what_bounces_is_one_edge(pi: Pi) -> None:
    edges = pi.get("pins/bell")["edges"]
    pull = f"/sys/devices/platform/gpio-sim.0/gpiochip0/sim_gpio{BELL}/pull"
    bounce = "for i in 1 2 3 4 5; do echo pull-down; echo pull-up; done; echo pull-down"
    pi.guest.run(f"{{ {bounce}; }} | while read pull; do echo $pull >{pull}; done")
    eventually(lambda: pi.get("pins/bell")["value"], "the bell is pressed")
    assert pi.get("pins/bell")["edges"] == edges + 1
    pi.drive(BELL, True)
    eventually(lambda: not pi.get("pins/bell")["value"], "the bell is let go")


def test_a_line_that_another_has_is_unavailable_until_it_lets_go(pi: Pi) -> None:
    pi.guest.run("systemctl stop piapi piapi-guard")
    pi.guest.run(f"cd /run; python3 -c {shlex.quote(HOLD)} >/run/held 2>&1 & echo $! >/run/holder")
    eventually(lambda: "held" in pi.guest.run("cat /run/held"), "another process has the line")
    pi.guest.run("systemctl start piapi")
    status, _, said = pi.call("PUT", "pins/lamp/value", {"value": True})
    assert status == 503, said
    assert pi.ask("PUT", "pins/porch/value", {"value": False})["value"] is False  # the others work
    pi.guest.run("kill $(cat /run/holder)")
    eventually(lambda: pi.call("PUT", "pins/lamp/value", {"value": True})[0] == 200, "the lamp works")
    assert pi.level(LAMP)
    pi.ask("PUT", "pins/lamp/value", {"value": False})


def test_a_service_that_waits_for_inputs_rests(pi: Pi) -> None:
    """A processor that is woken all the time does not sleep: it draws power, and is warm."""
    eventually(pi.answers, "piapi answers")
    switches = int(pi.guest.run(f"python3 -c {shlex.quote(SWITCHES)} {pi.worker()} {REST_S}"))
    print(f"{switches / REST_S:.0f} wakes a second")  # noqa: T201
    assert switches <= MOST_WAKES_A_SECOND * REST_S


@pytest.fixture
def pump(pi: Pi) -> Iterator[None]:
    """An output that is at rest when it is high."""
    pi.configure(WITH_PUMP)
    yield
    pi.configure(SETTINGS)


@pytest.mark.usefixtures("pump")
def test_no_line_moves_when_the_service_is_started_again_or_killed(pi: Pi) -> None:
    """A relay that clicks for a microsecond is in this trace, and in no look at its level."""
    with traced(pi.guest, DRIVES) as seen:
        pi.ask("PUT", "pins/pump/value", {"value": True})
        pi.ask("PUT", "pins/pump/value", {"value": False})
        assert seen.levels_driven()[PUMP] == [0, 1]  # it sees what there is to be seen; the pump is active low
    with traced(pi.guest, DRIVES) as restarted:
        pi.guest.run("systemctl restart piapi")
        assert_at_rest(restarted.levels_driven())
    with traced(pi.guest, DRIVES) as killed:
        worker = pi.worker()
        pi.guest.run(f"kill -KILL {worker}")
        eventually(lambda: pi.worker() not in (worker, 0) and pi.answers(), "another worker answers")
        pi.ask("PUT", "pins/porch/value", {"value": False})
        assert_at_rest(killed.levels_driven())


def assert_at_rest(driven: dict[int, list[int]]) -> None:
    """All outputs were claimed, and none was driven at another level than that at which it is off."""
    assert set(driven) >= {PUMP, RELAY, LAMP, PORCH}
    assert set(driven[PUMP]) == {1}
    assert {level for line in (RELAY, LAMP, PORCH) for level in driven[line]} == {0}
