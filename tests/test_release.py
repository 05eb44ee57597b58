"""A relay is released whatever dies: the real service, whose processes are killed and stopped while a pulse runs.

The board is simulated; it keeps driving the lines of a dead program, as Raspberry Pi OS does, and its history tells
when each edge was, on the clock by which the killings are dated.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import os
import random
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from piapi.guard.loop import GRACE_S
from piapi.hardware.gpio_simulated import Change, history_of
from piapi.lines.simulated import Lines
from tests.service import Service, children_of, running

CONFIG = """
[storage]
floor_bytes = 0
[gpio]
backend = "simulated"
[pins.relay]
gpio = "GPIO17"
[pins.relay_low]
gpio = "GPIO4"
active_low = true
[pins.idle]
gpio = "GPIO22"
[pins.idle_low]
gpio = "GPIO5"
active_low = true
[pins.idle_pwm]
gpio = "GPIO12"
mode = "pwm"
[pins.idle_servo]
gpio = "GPIO13"
mode = "servo"
"""

#: Line, and the level at which it is on.
RELAYS = {"relay": (17, True), "relay_low": (4, False)}
IDLE_LINES = (22, 5, 12, 13)

PULSE_S = 1.0
IN_TIME_S = 0.5
"""After a death."""

PATIENCE_S = 30.0


def now() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def until(condition: Callable[[], object], what: str) -> None:
    """Wait for something that another process does."""
    never, deadline = threading.Event(), now() + PATIENCE_S
    while not condition():
        assert now() < deadline, what
        never.wait(0.005)


class Rig:
    """A service with relays, in a folder of its own, and the history of its board."""

    def __init__(self, folder: Path, run: Path, config: str = CONFIG) -> None:
        """`run`: where the board's file is. In memory, as /run is: lines wait for no disk."""
        self.lines = run / "gpio.simulated"
        self.lines.with_name(self.lines.name + ".history").touch()
        self.chance = random.Random(str(folder.name))
        self.late: list[float] = []
        self.token = ""
        self._folder = folder
        self._run = run
        self._config = config
        self._services = contextlib.ExitStack()
        self._keys = itertools.count()
        self.start()
        self.token = self.service.token()

    def start(self) -> None:
        """A service, where the one before has gone. It is stopped at the end."""
        self.service: Service = self._services.enter_context(
            running(self._folder, self._config, RUNTIME_DIRECTORY=str(self._run))
        )

    def close(self) -> None:
        self._services.close()

    @property
    def master(self) -> int:
        return self.service.process.pid

    def worker(self) -> int:
        """There is one, or will be in a moment."""
        until(lambda: children_of(self.master), "there is a worker")
        (worker,) = children_of(self.master)
        return worker

    def edges(self, line: int) -> list[Change]:
        return [change for change in history_of(self.lines, line) if change.before != change.after]

    def new_key(self) -> str:
        return f"key-{next(self._keys)}"

    def ask(self, method: str, path: str, key: str = "", body: Any = None) -> tuple[int, dict[str, Any]]:
        """One request; while the worker is replaced it waits in the socket that listens."""
        with contextlib.closing(self.service.connect(PATIENCE_S)) as connection:
            self.send(connection, method, path, key, body)
            response = connection.getresponse()
            return response.status, json.loads(response.read())

    def send(
        self, connection: http.client.HTTPConnection, method: str, path: str, key: str = "", body: Any = None
    ) -> None:
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        if key:
            headers["Idempotency-Key"] = key
        connection.request(method, f"/api/v1{path}", None if body is None else json.dumps(body), headers)

    def pulse(self, relay: str, key: str, duration_s: float = PULSE_S) -> tuple[int, dict[str, Any]]:
        return self.ask("POST", f"/pins/{relay}/pulses", key, {"duration_s": duration_s})

    def actuation(self, id: str) -> dict[str, Any]:
        status, found = self.ask("GET", f"/actuations/{id}")
        assert status == 200, found
        return found

    def assert_idle_lines_never_moved(self) -> None:
        assert [change for line in IDLE_LINES for change in self.edges(line)] == []


@contextlib.contextmanager
def ends_of(*pids: int) -> Iterator[None]:
    """Whoever these processes are, they have ended after the block."""
    handles = [os.pidfd_open(pid) for pid in pids]
    try:
        yield
        for handle in handles:
            poll = select.poll()
            poll.register(handle, select.POLLIN)
            assert poll.poll(PATIENCE_S * 1000), "it goes on"
    finally:
        for handle in handles:
            os.close(handle)


class Round:
    """One pulse, and a death in the middle of it."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.relay = rig.chance.choice(sorted(RELAYS))
        self.line, self.on = RELAYS[self.relay]
        self.before = len(rig.edges(self.line))
        self.key = rig.new_key()
        status, self.actuation = rig.pulse(self.relay, self.key)
        assert status == 202, self.actuation
        self.began = self.edges()[0].at

    def edges(self) -> list[Change]:
        return self.rig.edges(self.line)[self.before :]

    def wait_for_any_moment(self, latest_s: float = PULSE_S) -> None:
        moment = self.began + self.rig.chance.uniform(0, latest_s)
        threading.Event().wait(max(0.0, moment - now()))

    def assert_released(self, since: float) -> None:
        """In time after `since`, a moment of the same clock."""
        until(lambda: len(self.edges()) > 1, "the relay is off")
        self.rig.late.append(max(0.0, self.edges()[1].at - since))
        assert self.rig.late[-1] <= IN_TIME_S, f"{self.relay} was released after {self.rig.late[-1]:.3f} s"

    def assert_over(self, *states: str) -> None:
        """The service runs again; it tells what is known, and switches nothing on, asked again or not."""
        found = self.rig.actuation(self.actuation["id"])
        ended = self.edges()[1].at - self.began >= PULSE_S - 0.01
        assert found["state"] in (*states, *(("done", "unknown") if ended else ())), found
        status, again = self.rig.pulse(self.relay, self.key)
        assert (status, again["id"]) == (202, self.actuation["id"])
        assert [change.after for change in self.edges()] == [self.on, not self.on]


def report(what: str, rigs: list[Rig]) -> None:
    """In the report of a run with `-rA`, or where it fails."""
    late = sorted(1000 * late for rig in rigs for late in rig.late)
    print(  # noqa: T201
        f"{what}: released after {late[-1]:.0f} ms at worst of {len(late)}, {late[len(late) // 2]:.1f} ms in the middle"
    )


@pytest.fixture
def rig(tmp_path: Path, memory: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path, memory)
    yield rig
    rig.close()
    rig.assert_idle_lines_never_moved()


@pytest.fixture
def rigs(tmp_path: Path, memory: Path) -> Iterator[list[Rig]]:
    """Three, so that they wait together."""
    with contextlib.ExitStack() as stack:
        rigs = []
        for name in ("one", "two", "three"):
            for folder in (tmp_path / name, memory / name):
                folder.mkdir()
            rigs.append(Rig(tmp_path / name, memory / name))
            stack.callback(rigs[-1].close)
        yield rigs
    for rig in rigs:
        rig.assert_idle_lines_never_moved()


def kill_workers(rig: Rig, times: int) -> None:
    for _ in range(times):
        round, worker = Round(rig), rig.worker()
        round.wait_for_any_moment()
        killed = now()
        os.kill(worker, signal.SIGKILL)
        round.assert_released(killed)
        round.assert_over("unknown")


def test_a_relay_is_released_when_the_worker_is_killed(rig: Rig) -> None:
    kill_workers(rig, 2)
    report("the worker was killed", [rig])


def at_200_moments(kill: Callable[[Rig, int], None], rigs: list[Rig]) -> None:
    with ThreadPoolExecutor(len(rigs)) as pool:
        list(pool.map(kill, rigs, (67, 67, 66)))


@pytest.mark.slow
def test_a_relay_is_released_at_each_of_200_moments_at_which_the_worker_is_killed(rigs: list[Rig]) -> None:
    at_200_moments(kill_workers, rigs)
    report("the worker was killed", rigs)


def kill_masters(rig: Rig, times: int) -> None:
    """The worker notices at once, switches off by itself, and ends."""
    for _ in range(times):
        round = Round(rig)
        round.wait_for_any_moment()
        with ends_of(rig.worker()):
            killed = now()
            rig.service.process.kill()
            round.assert_released(killed)
        rig.start()
        round.assert_over("interrupted")


def test_a_relay_is_released_when_the_master_is_killed(rig: Rig) -> None:
    kill_masters(rig, 1)
    report("the master was killed", [rig])


@pytest.mark.slow
def test_a_relay_is_released_at_each_of_200_moments_at_which_the_master_is_killed(rigs: list[Rig]) -> None:
    at_200_moments(kill_masters, rigs)
    report("the master was killed", rigs)


def kill_both(rig: Rig, times: int) -> None:
    for number in range(times):
        round, worker = Round(rig), rig.worker()
        round.wait_for_any_moment()
        with ends_of(worker):
            killed = now()
            if number % 2:
                os.killpg(rig.master, signal.SIGKILL)
            else:
                rig.service.process.kill()
                os.kill(worker, signal.SIGKILL)
            round.assert_released(killed)
        rig.start()
        round.assert_over("unknown", "interrupted")  # the worker may have noticed the master's end before its own


def test_a_relay_is_released_when_master_and_worker_are_killed(rig: Rig) -> None:
    kill_both(rig, 2)
    report("master and worker were killed", [rig])


@pytest.mark.slow
def test_a_relay_is_released_at_each_of_200_moments_at_which_master_and_worker_are_killed(rigs: list[Rig]) -> None:
    at_200_moments(kill_both, rigs)
    report("master and worker were killed", rigs)


@pytest.mark.parametrize("times", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_a_relay_is_released_when_the_worker_is_stopped(rig: Rig, times: int) -> None:
    """By the end of its lease, which is that of the pulse. The worker is ended, and another takes its place."""
    for _ in range(times):
        round, worker = Round(rig), rig.worker()
        round.wait_for_any_moment(PULSE_S - 0.2)
        with ends_of(worker):
            os.kill(worker, signal.SIGSTOP)
            round.assert_released(round.began + PULSE_S)
        assert rig.late[-1] >= GRACE_S - 0.05
        round.assert_over("unknown")
        assert rig.worker() != worker
    report("the worker was stopped; from the end of its lease", [rig])


@pytest.mark.parametrize("times", [3, pytest.param(30, marks=pytest.mark.slow)])
def test_a_pulse_that_was_asked_for_at_the_moment_of_death_is_made_once_at_most(rig: Rig, times: int) -> None:
    made, (line, on) = 0, RELAYS["relay"]
    lines = Lines(str(rig.lines))
    for _ in range(times):
        before, key = len(rig.edges(line)), rig.new_key()
        with contextlib.closing(rig.service.connect(PATIENCE_S)) as connection:
            worker = rig.worker()
            rig.send(connection, "POST", "/pins/relay/pulses", key, {"duration_s": 0.05})
            threading.Event().wait(rig.chance.uniform(0, 0.03))
            killed = now()
            os.kill(worker, signal.SIGKILL)
        until(lambda key=key: rig.pulse("relay", key, 0.05)[0] == 202, "it is answered")  # the first may still be
        _, actuation = rig.pulse("relay", key, 0.05)
        until(lambda id=actuation["id"]: rig.actuation(id)["state"] in ("done", "unknown"), "it is over")
        until(lambda: not lines.level(line), "the relay is off")
        edges = rig.edges(line)[before:]
        assert [change.after for change in edges] in ([], [on, not on])
        assert all(change.at - killed <= IN_TIME_S for change in edges[1:] if edges[0].at < killed)
        made += len(edges) // 2
    lines.close()
    assert made > 0


ENDS = [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGKILL]


def test_no_line_moves_when_the_service_starts_stops_hangs_up_and_crashes(rig: Rig) -> None:
    """Nor where a relay is active low, whose line has a pull-up."""
    for number in ENDS:
        assert rig.ask("GET", "/pins/relay")[1]["value"] is False
        worker = rig.worker()
        with ends_of(worker):
            os.kill(worker, signal.SIGKILL)
        assert rig.ask("GET", "/pins/relay")[1]["value"] is False
        with ends_of(rig.worker()):
            rig.service.stop(number)
        rig.start()
    moved = [change for change in history_of(rig.lines) if change.before != change.after]
    assert moved == []
    assert len({change.pid for change in history_of(rig.lines, 17)}) == 2 * len(ENDS), "each took the line"


@pytest.mark.slow
def test_a_service_that_is_stopped_while_it_starts_ends_soon(tmp_path: Path) -> None:
    """A worker that has just begun must not miss that it is to end."""
    chance, never = random.Random(7), threading.Event()
    for _ in range(20):
        with running(tmp_path, CONFIG) as service:
            never.wait(chance.choice((0.0, chance.uniform(0, 0.1))))
            told = now()
            assert service.stop() == 0
            assert now() - told < 8, "gunicorn ended it by force after 10 s"


# The same request again and again -------------------------------------------------------------------------------------

KEYS, COPIES, CLIENTS = 100, 10, 8
OUTPUTS = (16, 17, 18, 19, 20, 22, 23, 24, 25, 26)
MANY = "[storage]\nfloor_bytes = 0\n[gpio]\nbackend = 'simulated'\n" + "".join(
    f"[pins.p{number}]\ngpio = 'GPIO{line}'\n" for number, line in enumerate(OUTPUTS)
)
#: Commands of one token are bounded: 30 at once.
TOKENS = 5


class Crowd:
    """Clients that send what lies on one heap, in any order, until each copy has its answer."""

    def __init__(self, rig: Rig, tokens: list[str]) -> None:
        self.rig = rig
        self.tokens = tokens
        self.heap = [key for key in range(KEYS) for _ in range(COPIES)]
        rig.chance.shuffle(self.heap)
        self.made: dict[int, list[str]] = {key: [] for key in range(KEYS)}
        self.answers = 0
        self._lock = threading.Lock()

    def run(self) -> None:
        with contextlib.closing(self.rig.service.connect(PATIENCE_S)) as connection:
            while (key := self._take()) is not None:
                status, document = self._send(connection, key)
                self._note(key, status, document)

    def _send(self, connection: http.client.HTTPConnection, key: int) -> tuple[int, dict[str, Any]]:
        headers = {
            "Authorization": f"Bearer {self.tokens[key % TOKENS]}",
            "Content-Type": "application/json",
            "Idempotency-Key": f"key-{key}",
        }
        path = f"/api/v1/pins/p{key % len(OUTPUTS)}/pulses"
        connection.request("POST", path, json.dumps({"duration_s": 0.01}), headers)
        response = connection.getresponse()
        return response.status, json.loads(response.read())

    def _take(self) -> int | None:
        with self._lock:
            return self.heap.pop() if self.heap else None

    def _note(self, key: int, status: int, document: dict[str, Any]) -> None:
        with self._lock:
            self.answers += 1
            if status == 202:
                self.made[key].append(document["id"])
            else:  # the pin is on for another key, or the first copy is not answered yet
                assert status in (409, 429), document
                self.heap.insert(self.rig.chance.randint(0, len(self.heap)), key)


def test_a_thousand_copies_of_a_hundred_pulses_make_a_hundred(tmp_path: Path, memory: Path) -> None:
    rig = Rig(tmp_path, memory, MANY)
    try:
        body = {"name": "phone", "scopes": [f"pin:p{number}:write" for number in range(len(OUTPUTS))]}
        tokens = [rig.ask("POST", "/tokens", body=body)[1]["token"] for _ in range(TOKENS)]
        crowd = Crowd(rig, tokens)
        with ThreadPoolExecutor(CLIENTS) as pool:
            for client in [pool.submit(crowd.run) for _ in range(CLIENTS)]:
                client.result(60)
        actuations = {key: set(ids) for key, ids in crowd.made.items()}
        assert all(len(crowd.made[key]) == COPIES and len(actuations[key]) == 1 for key in range(KEYS))
        ids = set().union(*actuations.values())
        assert len(ids) == KEYS
        until(lambda: all(rig.actuation(id)["state"] == "done" for id in ids), "all are over")
    finally:
        rig.close()
    for line in OUTPUTS:
        assert [change.after for change in rig.edges(line)] == [True, False] * (KEYS // len(OUTPUTS))
    print(f"{crowd.answers} answers to {CLIENTS} clients, {len(ids)} pulses")  # noqa: T201
