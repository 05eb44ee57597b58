"""SIGKILL and SIGSTOP while a relay is on. The guest measures, by its own clock, on gpio-sim's own file.

gpio-sim lets a line fall to its pull when its owner is gone, and a Pi does not: test_raspi.py has that. Here it is
shown that nothing of piapi or systemd keeps the owner, or its line, alive.
"""

from __future__ import annotations

import random
import shlex
import signal
from collections.abc import Iterator

import pytest

from piapi.guard.loop import GRACE_S
from tests.lab.conftest import LINES, SETTINGS, Pi, eventually

MOMENTS = 20
PULSE_S = 10
RESTART_S = 240
LAMP = 27
RELEASED_WITHIN_S = 0.5

WATCH = """
import os, sys, time
path, sig, after_s, *pids = sys.argv[1:]
def level():
    with open(path) as file:
        return file.read().strip() == "1"
time.sleep(float(after_s))
assert level()
for pid in pids:
    os.kill(int(pid), int(sig))
since = time.monotonic()
while level() and time.monotonic() < since + 60:
    pass
print(time.monotonic() - since)
"""


@pytest.fixture(scope="module")
def quiet(pi: Pi) -> Iterator[Pi]:
    """vivid and vimc paint with the guest's processors, in the kernel, where nothing else runs meanwhile. A Pi's
    cameras do not, so what is timed is timed without them."""
    cameras = SETTINGS.index("[cameras."), SETTINGS.index("[pins.")
    demo = '[cameras.demo]\nbackend = "simulated"\n\n'
    pi.configure(SETTINGS[: cameras[0]] + demo + SETTINGS[cameras[1] :])
    yield pi
    pi.configure(SETTINGS)


def released_s(pi: Pi, sig: signal.Signals, *pids: int, after_s: float = 0) -> float:
    """Seconds from the signal, which is sent after a while, to the line's being low, from being high."""
    arguments = " ".join(map(str, (int(sig), after_s, *pids)))
    return float(pi.guest.run(f"python3 -c {shlex.quote(WATCH)} {LINES}/sim_gpio{LAMP}/value {arguments}"))


def switch_on(pi: Pi) -> None:
    eventually(pi.answers, "piapi answers", RESTART_S)
    eventually(lambda: pi.call("PUT", "pins/lamp/value", {"value": True})[0] == 200, "the lamp is on")


@pytest.mark.smoke
def test_it_goes_off_whenever_the_worker_is_killed(quiet: Pi, is_smoke: bool) -> None:
    """From at once to 2 s after it went on."""
    took = []
    for _ in range(1 if is_smoke else MOMENTS):
        switch_on(quiet)
        took.append(released_s(quiet, signal.SIGKILL, quiet.worker(), after_s=random.uniform(0, 2)))
    print(f"worst of {len(took)} kills of the worker: {max(took) * 1000:.0f} ms")  # noqa: T201
    assert max(took) <= RELEASED_WITHIN_S
    eventually(quiet.answers, "piapi answers again", RESTART_S)
    assert not quiet.level(LAMP)
    assert quiet.get("pins/lamp")["value"] is False


@pytest.mark.parametrize("both", [False, True], ids=["the master", "master and worker"])
def test_it_goes_off_when_gunicorns_master_is_killed(quiet: Pi, both: bool) -> None:
    took = []
    for _ in range(5):
        quiet.guest.run("systemctl start piapi", timeout_s=RESTART_S)  # systemd would do it, after a while
        switch_on(quiet)
        pids = [quiet.main(), *([quiet.worker()] if both else [])]
        took.append(released_s(quiet, signal.SIGKILL, *pids))
    print(f"worst of 5: {max(took) * 1000:.0f} ms")  # noqa: T201
    assert max(took) <= RELEASED_WITHIN_S
    eventually(quiet.answers, "systemd has started it again", RESTART_S)


def test_what_hangs_lets_go_when_its_time_is_over(quiet: Pi) -> None:
    """The lease of a pulse ends while its owner is stopped: the guard does it."""
    took = []
    for _ in range(3):
        eventually(quiet.answers, "piapi answers")
        worker = quiet.worker()
        quiet.ask("POST", "pins/lamp/pulses", {"duration_s": PULSE_S}, expected=202)
        took.append(released_s(quiet, signal.SIGSTOP, worker))
        eventually(lambda worker=worker: quiet.worker() not in (worker, 0), "another worker is there", 180)  # type: ignore[misc]
    print(f"worst of 3 stops in a pulse of {PULSE_S} s: {max(took):.2f} s")  # noqa: T201
    assert max(took) <= PULSE_S + GRACE_S + RELEASED_WITHIN_S
