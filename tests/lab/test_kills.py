"""SIGKILL and SIGSTOP while a relay is on. The guest measures, by its own clock, on gpio-sim's own file.

gpio-sim lets a line fall to its pull when its owner is gone, and a Pi does not: test_raspi.py has that. Here it is
shown that nothing of piapi or systemd keeps the owner, or its line, alive.
"""

from __future__ import annotations

import http.client
import json
import random
import shlex
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from secrets import token_hex

import pytest

from tests.lab.conftest import LINES, SETTINGS, Pi, eventually

MOMENTS = 20
PULSE_S, LONG_PULSE_S = 3, 10
RESTART_S = 240
LAMP = 27
RELEASED_WITHIN_S = 0.5
LATE_S = 0.2
"""A lease may be overdue for so long before the guard ends its owner."""

WATCH = """
import json, os, sys, time
path, sig, after_s, *pids = sys.argv[1:]
def level():
    with open(path) as file:
        return file.read().strip() == "1"
def wait_while(is_level, seconds, rest_s):
    until = time.monotonic() + seconds
    while level() is is_level and time.monotonic() < until:
        time.sleep(rest_s)
    return time.monotonic()
print("watching", flush=True)
on = wait_while(False, 120, 0.005)
time.sleep(float(after_s))
was_on, since = level(), time.monotonic()
for pid in pids:
    os.kill(int(pid), int(sig))
off = wait_while(True, 60, 0)
print(json.dumps([was_on, off - since, off - on]), flush=True)
"""
SEEN = "/run/seen"


@pytest.fixture(scope="module")
def quiet(pi: Pi) -> Iterator[Pi]:
    """vivid and vimc paint with the guest's processors, in the kernel, where nothing else runs meanwhile. A Pi's
    cameras do not, so what is timed is timed without them."""
    cameras = SETTINGS.index("[cameras."), SETTINGS.index("[pins.")
    demo = '[cameras.demo]\nbackend = "simulated"\n\n'
    pi.configure(SETTINGS[: cameras[0]] + demo + SETTINGS[cameras[1] :])
    yield pi
    pi.configure(SETTINGS)


@dataclass(frozen=True)
class Released:
    """What the guest saw of its line: whether it was on at the signal, and seconds until it was low again."""

    was_on: bool
    since_signal_s: float
    since_on_s: float


def is_pulsed(pi: Pi, pulse_s: float) -> bool:
    """Whether it took the command; just after its start it may not take any yet. Who is killed at once gives no answer,
    and what became of it the line tells."""
    key = {"Idempotency-Key": token_hex(8)}
    try:
        status, _, said = pi.call("POST", "pins/lamp/pulses", {"duration_s": pulse_s}, **key)
    except (OSError, http.client.HTTPException):
        return True
    assert status in (202, 503), said
    return status == 202


def released(pi: Pi, sig: signal.Signals, pids: list[int], pulse_s: float, after_s: float) -> Released:
    """The lamp's pulse, and the signal so long after it went on."""
    arguments = shlex.join(map(str, (f"{LINES}/sim_gpio{LAMP}/value", int(sig), f"{after_s:.3f}", *pids)))
    pi.guest.run(f"python3 -c {shlex.quote(WATCH)} {arguments} >{SEEN} 2>&1 &")
    pi.guest.run(f"until grep -q watching {SEEN}; do sleep 0.1; done")
    eventually(lambda: is_pulsed(pi, pulse_s), "the lamp is on", RESTART_S)
    return Released(*json.loads(pi.guest.run(f"until grep '^\\[\\|Error' {SEEN}; do sleep 0.1; done")))


def times_released(pi: Pi, moments: int, *, master: bool, worker: bool) -> list[float]:
    """Seconds from SIGKILL, at random moments of a pulse. A round whose pulse was over by then is not one."""
    took: list[float] = []
    for _ in range(2 * moments):
        pi.guest.run("systemctl start piapi", timeout_s=RESTART_S)  # systemd would do it, after a while
        eventually(pi.answers, "piapi answers", RESTART_S)
        pids = [*([pi.main()] if master else []), *([pi.worker()] if worker else [])]
        seen = released(pi, signal.SIGKILL, pids, PULSE_S, random.uniform(0, PULSE_S - 0.5))
        took += [seen.since_signal_s] if seen.was_on else []
        if len(took) == moments:
            break
    assert len(took) == moments, "the guest was too slow to be killed in time"
    return took


@pytest.mark.smoke
def test_it_goes_off_whenever_the_worker_is_killed(quiet: Pi, is_smoke: bool) -> None:
    took = times_released(quiet, 1 if is_smoke else MOMENTS, master=False, worker=True)
    print(f"worst of {len(took)} kills of the worker: {max(took) * 1000:.0f} ms")  # noqa: T201
    assert max(took) <= RELEASED_WITHIN_S
    eventually(quiet.answers, "piapi answers again", RESTART_S)
    assert not quiet.level(LAMP)
    assert quiet.get("pins/lamp")["value"] is False


@pytest.mark.parametrize("both", [False, True], ids=["the master", "master and worker"])
def test_it_goes_off_when_gunicorns_master_is_killed(quiet: Pi, both: bool) -> None:
    took = times_released(quiet, 5, master=True, worker=both)
    print(f"worst of 5: {max(took) * 1000:.0f} ms")  # noqa: T201
    assert max(took) <= RELEASED_WITHIN_S
    eventually(quiet.answers, "systemd has started it again", RESTART_S)


def test_what_hangs_lets_go_when_its_time_is_over(quiet: Pi) -> None:
    """The lease of a pulse ends while its owner is stopped: the guard does it."""
    took = []
    for _ in range(3):
        eventually(quiet.answers, "piapi answers")
        worker = quiet.worker()
        seen = released(quiet, signal.SIGSTOP, [worker], LONG_PULSE_S, 1)
        assert seen.was_on
        took.append(seen.since_on_s)
        eventually(lambda worker=worker: quiet.worker() not in (worker, 0), "another worker is there", 180)  # type: ignore[misc]
    print(f"longest of 3 pulses of {LONG_PULSE_S} s whose owner was stopped: {max(took):.2f} s")  # noqa: T201
    assert max(took) <= LONG_PULSE_S + LATE_S + RELEASED_WITHIN_S
