"""Pins on a Pi's own pin controller, which goes on driving a line whose owner died. The witness is QEMU."""

from __future__ import annotations

import json
import random
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from tests.lab.image import HERE
from tests.lab.pi3 import READY, SCRIPTS, Pi3, booted
from tests.lab.pin_controller import SET

LAMP, SIREN, PORCH = 17, 5, 22
MARK, FREE = 26, 6
"""Lines that are nobody's."""

MOMENTS, BOTH, STOPS = 20, 5, 3
RELEASED_WITHIN_S = 0.5
PULSE_S = 3.0
LATE_S = 0.7
"""A lease may be overdue for 0.2 s before the guard ends its owner, and the line is released in half a second."""


@dataclass(frozen=True)
class Command:
    """What switches an output on."""

    line: int
    active: bool
    method: str
    path: str
    body: dict[str, float | bool]


PULSES = (
    Command(LAMP, True, "POST", "pins/lamp/pulses", {"duration_s": PULSE_S}),
    Command(SIREN, False, "POST", "pins/siren/pulses", {"duration_s": PULSE_S}),
)
VALUES = (
    Command(LAMP, True, "PUT", "pins/lamp/value", {"value": True}),
    Command(SIREN, False, "PUT", "pins/siren/value", {"value": True}),
)


@pytest.fixture(scope="module")
def pi3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pi3]:
    """A Pi 3 on which piapi runs; what its pins did until then is in the controller's history."""
    with booted(tmp_path_factory.mktemp("pi3"), (HERE / "raspi.toml").read_text()) as pi3:
        pi3.start_guard()
        pi3.start()
        pi3.make_token()
        yield pi3


@dataclass(frozen=True)
class Released:
    """Seconds of the guest to a line's release, which QEMU saw as well."""

    since_signal_s: float
    since_on_s: float


def released(
    pi3: Pi3, command: Command, delay_s: float, sig: signal.Signals = signal.SIGKILL, processes: str = "worker"
) -> Released:
    """What becomes of an output when the worker, or both master and worker, have a signal so long after it went on.
    Each time from the same guest, whose piapi is ready."""
    pi3.controller.watch()
    switch = (pi3.token, command.method, command.path, json.dumps(command.body))
    said = pi3.run_python("release.py", *switch, f"{delay_s:.3f}", str(command.line), str(int(sig)), processes)
    signalled = next(write.at for write in pi3.controller.writes() if (write.register, write.value) == (SET, 1 << MARK))
    _, (switched_on, _), (off, _) = history = pi3.controller.history(command.line)
    assert [level for _, level in history] == [not command.active, command.active, not command.active]
    assert switched_on < signalled < off
    pi3.guest.load(READY)
    return Released(*map(float, said.split()))


def test_no_output_is_ever_active_when_piapi_starts(pi3: Pi3) -> None:
    """From its first moment as an output, each is driven at its inactive level."""
    for line, inactive in ((LAMP, False), (PORCH, False), (SIREN, True)):
        assert [level for _, level in pi3.controller.history(line)] == [None, inactive]
        assert pi3.controller.driven(line) is inactive


def test_the_witness_sees_what_clicks(pi3: Pi3) -> None:
    """gpiozero's own pin claims a line at low before it writes high: what piapi must not do is seen when it is done."""
    pi3.controller.watch()
    pi3.run_python("click.py", str(FREE))
    assert [level for _, level in pi3.controller.history(FREE)][:3] == [None, False, True]


def test_a_line_outlives_its_owner(pi3: Pi3) -> None:
    """The control of all below: without a guard a line stays as it was driven by whom SIGKILL ended."""
    hold = f"cd /run; python3 {SCRIPTS}/hold.py {FREE} >held 2>&1 & echo $! >/run/holder"
    pi3.guest.run(f"{hold}; until grep -q held /run/held; do sleep 0.2; done")
    pi3.controller.watch()
    pi3.guest.run("kill -9 $(cat /run/holder); while [ -e /proc/$(cat /run/holder) ]; do :; done; sleep 2")
    assert pi3.controller.driven(FREE) is True
    assert pi3.controller.levels(FREE) == {True}


@pytest.fixture(scope="module")
def ready(pi3: Pi3) -> Pi3:
    """One that can be taken back to this moment."""
    pi3.guest.save(READY)
    return pi3


def test_an_output_is_released_whenever_the_worker_is_killed(ready: Pi3) -> None:
    """At any moment of a pulse, and of what was switched on to stay; active high and active low."""
    took = [released(ready, PULSES[n % 2], random.uniform(0, PULSE_S - 0.2)).since_signal_s for n in range(MOMENTS)]
    took += [released(ready, command, random.uniform(0, 2)).since_signal_s for command in VALUES]
    print(f"worst of {len(took)} kills of the worker: {max(took) * 1000:.0f} ms, best {min(took) * 1000:.0f} ms")  # noqa: T201
    assert max(took) <= RELEASED_WITHIN_S


def test_an_output_is_released_when_master_and_worker_are_killed(ready: Pi3) -> None:
    """Nobody starts another here: the guard alone is left."""
    moments = (random.uniform(0, PULSE_S - 0.2) for _ in range(BOTH))
    took = [released(ready, PULSES[n % 2], at, processes="both").since_signal_s for n, at in enumerate(moments)]
    print(f"worst of {BOTH} kills of both: {max(took) * 1000:.0f} ms")  # noqa: T201
    assert max(took) <= RELEASED_WITHIN_S


def test_a_pulse_of_one_that_hangs_ends_in_time(ready: Pi3) -> None:
    """The worker is stopped, and holds the line: the guard ends it, and then the pulse."""
    moments = (random.uniform(0, PULSE_S - 0.2) for _ in range(STOPS))
    took = [released(ready, PULSES[n % 2], at, signal.SIGSTOP).since_on_s for n, at in enumerate(moments)]
    print(f"longest of {STOPS} pulses of {PULSE_S:g} s whose owner was stopped: {max(took):.2f} s")  # noqa: T201
    assert min(took) >= PULSE_S - 0.1 and max(took) <= PULSE_S + LATE_S


@pytest.mark.parametrize("restart", [Pi3.kill_worker, Pi3.restart], ids=["of the worker, by SIGKILL", "of the service"])
def test_no_output_clicks_when_piapi_starts_again(pi3: Pi3, restart: Callable[[Pi3], None]) -> None:
    """What may not stay on goes off once and is never on again; what is to be kept stays on."""
    for pin in ("lamp", "siren", "porch"):
        pi3.ask("PUT", f"pins/{pin}/value", {"value": True})
    pi3.controller.watch()
    restart(pi3)
    for line, course in ((LAMP, [True, False]), (SIREN, [False, True]), (PORCH, [True])):
        assert [level for _, level in pi3.controller.history(line)] == course
        assert pi3.controller.times_written(line, course[-1]) >= len(course)  # released, and claimed again
