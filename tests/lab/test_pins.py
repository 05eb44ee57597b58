"""Pins on the kernel's GPIO character device; gpio-sim's own files are the witness."""

from __future__ import annotations

import contextlib
import itertools
import math
import shlex
from collections.abc import Callable, Iterator, Mapping

import pytest

from tests.lab.conftest import LINES, SETTINGS, Pi, eventually
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


REST_S, MOST_WAKES_A_SECOND = 5, 100
"""lgpio's thread for pulses is half of them, whether there are any or not."""

SWITCHES = """
import glob, sys, time
pid, seconds = sys.argv[1:]
def switches():
    found = {}
    for path in glob.glob(f"/proc/{pid}/task/*/status"):
        with open(path) as file:
            found[path] = next(int(line.split()[1]) for line in file if line.startswith("voluntary_ctxt"))
    return found
before = switches()
time.sleep(float(seconds))
print(sum(count - before.get(thread, 0) for thread, count in switches().items()))
"""

MOVE = f"""
import os, sys, time
pull = os.open("{LINES}/sim_gpio{BELL}/pull", os.O_WRONLY)
for step in sys.argv[1:]:
    if step in ("up", "down"):
        os.pwrite(pull, f"pull-{{step}}".encode(), 0)
    else:
        time.sleep(float(step))
"""
"""What is wired to the bell pulls it `up` and `down`, and rests so many seconds."""

TELLS = {"linereq_put_event": "line=+12(%si):u32 at=+0(%si):u64 edge=+8(%si):u32"}
"""How the kernel tells whoever has a line of an edge, a `struct gpio_v2_line_event` (linux/gpio.h)."""

Told = list[Mapping[str, int]]

RISING, FALLING = 1, 2

HELD_S, BOUNCE_S, TRIES = 0.3, 0.05, 10
BOUNCES = ("down", "up") * 5


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


def move(pi: Pi, *steps: str | float) -> None:
    pi.guest.run(f"python3 -c {shlex.quote(MOVE)} {' '.join(map(str, steps))}")


@contextlib.contextmanager
def hearing(pi: Pi) -> Iterator[Callable[[int], None]]:
    """Gives a check that so many more edges of the bell were heard, none of them only when its level was read back."""
    before, newest = pi.get("pins/bell")["edges"], pi.get("events?limit=1")["items"][0]["id"]

    def heard(count: int) -> None:
        eventually(lambda: pi.get("pins/bell")["edges"] >= before + count, f"{count} edges")
        assert pi.get("pins/bell")["edges"] == before + count
        told = [entry["data"] for entry in pi.get("events?subject=pin:bell")["items"] if entry["id"] > newest]
        assert told and not any("corrected" in data for data in told), told

    try:
        yield heard
    finally:
        pi.drive(BELL, True)
        eventually(lambda: not pi.get("pins/bell")["value"], "the bell is let go")


@pytest.mark.smoke
def test_a_short_press_is_heard(pi: Pi) -> None:
    """It is over before a level is read back."""
    with hearing(pi) as heard:
        move(pi, "down", HELD_S, "up", HELD_S)
        heard(2)


def test_what_bounces_is_one_edge(pi: Pi) -> None:
    with traced(pi.guest, TELLS) as trace:
        for _ in range(TRIES):
            with hearing(pi) as heard:
                trace.begin_anew()
                move(pi, *BOUNCES, "down", HELD_S, *reversed(BOUNCES), "up", HELD_S)
                told = [call.arguments for call in trace.calls() if call.arguments["line"] == BELL]
                print(*told, sep="\n")  # noqa: T201
                if bounced(told) and steady(told) == [FALLING, RISING]:
                    heard(2)
                    return
    raise AssertionError("the guest was never quick enough for a press that bounces and is held")


def bounced(told: Told) -> bool:
    """Whether there were more changes than one to press it and one to let it go. (The kernel tells the level that it
    finds, so the one that there was may come, too.)"""
    return len(list(itertools.groupby([RISING, *(edge["edge"] for edge in told)]))) > 3


def steady(told: Told) -> list[int]:
    """Which edges no other followed within the time for which a line has to be steady, by the kernel's own dates; none
    where that is a close thing."""
    rests_s = [(then["at"] - edge["at"]) / 1e9 for edge, then in itertools.pairwise(told)]
    if any(0.5 < rest_s / BOUNCE_S < 1.5 for rest_s in rests_s):
        return []
    return [edge["edge"] for edge, rest_s in zip(told, [*rests_s, math.inf], strict=True) if rest_s > BOUNCE_S]


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
    script = f"python3 -c {shlex.quote(SWITCHES)} {pi.worker()} {REST_S}"

    def rests() -> float | None:
        switches = int(pi.guest.run(script))
        assert switches > 0
        return switches / REST_S if switches <= MOST_WAKES_A_SECOND * REST_S else None

    print(f"{eventually(rests, 'it rests once its cameras are closed'):.0f} wakes a second")  # noqa: T201


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
