"""What systemd is told: ready when a request has been answered, alive as long as they are, and when the end begins."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import socket
import struct
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from piapi.supervision import RETRY_S, Notifier, Supervision, answers, beating, take_notifier
from tests.fakes import FakeClock
from tests.service import running

SIMULATED = '[storage]\nfloor_bytes = 0\n[cameras.front]\nbackend = "simulated"\nwidth = 640\nheight = 480\n'


class Ears:
    """A supervisor's socket: what was said, and by which process."""

    def __init__(self, channel: socket.socket, address: str) -> None:
        self._channel = channel
        self.address = address

    def hear(self, timeout: float = 60) -> tuple[int, list[str]]:
        """The next datagram: process id and lines. Raises TimeoutError."""
        self._channel.settimeout(timeout)
        data, ancillary, _, _ = self._channel.recvmsg(4096, 128)
        (credentials,) = (item[2] for item in ancillary if item[1] == socket.SCM_CREDENTIALS)
        return struct.unpack("3i", credentials)[0], data.decode().split("\n")

    def hear_until(self, line: str) -> tuple[int, list[str]]:
        """The next datagram with this line in it."""
        while line not in (heard := self.hear())[1]:
            pass
        return heard


@contextlib.contextmanager
def listening(address: str) -> Iterator[Ears]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        channel.bind("\0" + address[1:] if address.startswith("@") else address)
        yield Ears(channel, address)


@pytest.fixture
def ears() -> Iterator[Ears]:
    """In the abstract namespace, as within containers."""
    with listening(f"@piapi-{uuid.uuid4()}") as ears:
        yield ears


class Rounds:
    """A check whose outcomes the test hands out one by one, and a clock that notes what is waited for and goes on."""

    def __init__(self) -> None:
        self.outcomes: queue.Queue[Exception | None] = queue.Queue()
        self.waited: list[float | None] = []

    def check(self) -> None:
        outcome = self.outcomes.get(timeout=30)
        if outcome is not None:
            raise outcome

    def wait(self, condition: threading.Condition, timeout: float | None) -> bool:
        self.waited.append(timeout)
        return condition.wait(0.001)  # lets others have the condition


class RoundsClock(FakeClock):
    def __init__(self, rounds: Rounds) -> None:
        super().__init__()
        self.wait = rounds.wait  # type: ignore[method-assign]


@contextlib.contextmanager
def supervised(notifier: Notifier, rounds: Rounds) -> Iterator[Supervision]:
    supervision = Supervision(notifier, [rounds.check], "http://127.0.0.1:1/", RoundsClock(rounds))
    supervision.start()
    try:
        yield supervision
    finally:
        supervision.interrupt()
        rounds.outcomes.put(None)
        supervision.close()
        supervision.close()
        assert "supervision" not in [thread.name for thread in threading.enumerate()]


# The way to the supervisor --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_abstract", [True, False])
def test_lines_go_to_the_socket(tmp_path_factory: pytest.TempPathFactory, is_abstract: bool) -> None:
    name = f"@piapi-{uuid.uuid4()}" if is_abstract else str(tmp_path_factory.mktemp("n") / "s")
    with listening(name) as ears:
        assert Notifier(name).tell("READY=1", "STATUS=well")
        assert ears.hear() == (os.getpid(), ["READY=1", "STATUS=well"])


def test_telling_nobody_is_no_error(tmp_path: Path) -> None:
    assert not Notifier().tell("READY=1")
    assert not Notifier(str(tmp_path / "none")).tell("READY=1")
    assert not Notifier("x" * 1000).tell("READY=1")


def test_the_environment_is_emptied_so_that_nobody_else_tells() -> None:
    environ = {"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "90000000", "WATCHDOG_PID": str(os.getpid()), "HOME": "/"}
    assert take_notifier(environ) == Notifier("@x", 90.0)
    assert environ == {"HOME": "/"}
    assert take_notifier(environ) == Notifier(None, None)


@pytest.mark.parametrize(
    "environ",
    [{"WATCHDOG_USEC": "5000", "WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "soon"}],
    ids=["another process", "none", "no number"],
)
def test_a_watchdog_that_is_not_for_us_is_not_fed(environ: dict[str, str]) -> None:
    assert take_notifier({"NOTIFY_SOCKET": "@x", **environ}).watchdog_s is None


# The thread -----------------------------------------------------------------------------------------------------------


def test_ready_is_said_once_and_only_after_a_check_has_passed(ears: Ears) -> None:
    rounds = Rounds()
    with supervised(Notifier(ears.address, 90), rounds):
        rounds.outcomes.put(ConnectionRefusedError("not yet"))
        assert ears.hear()[1] == ["STATUS=Not served: not yet"]
        rounds.outcomes.put(None)
        assert ears.hear()[1] == ["READY=1", "WATCHDOG=1", "STATUS=http://127.0.0.1:1/"]
        rounds.outcomes.put(None)
        assert ears.hear()[1] == ["WATCHDOG=1", "STATUS=http://127.0.0.1:1/"]
        assert rounds.waited[:2] == [RETRY_S, 30.0]


def test_a_check_that_fails_leaves_the_watchdog_hungry_and_says_why_once(
    ears: Ears, caplog: pytest.LogCaptureFixture
) -> None:
    rounds = Rounds()
    with supervised(Notifier(ears.address, 90), rounds):
        rounds.outcomes.put(None)
        assert "READY=1" in ears.hear()[1]
        for _ in range(3):
            rounds.outcomes.put(TimeoutError("timed\nout"))
        assert ears.hear()[1] == ["STATUS=Not served: timed out"]
        rounds.outcomes.put(None)
        assert ears.hear()[1] == ["WATCHDOG=1", "STATUS=http://127.0.0.1:1/"]
        assert rounds.waited[:4] == [30.0, RETRY_S, RETRY_S, RETRY_S]
    assert caplog.text.count("not served: timed out") == 1


def test_without_a_watchdog_it_ends_when_ready_is_said(ears: Ears) -> None:
    rounds = Rounds()
    with supervised(Notifier(ears.address), rounds) as supervision:
        rounds.outcomes.put(None)
        assert "READY=1" in ears.hear()[1]
        thread = supervision._thread
        assert thread is not None
        thread.join(30)
        assert not thread.is_alive() and rounds.waited == []


def test_without_a_supervisor_there_is_no_thread() -> None:
    before = threading.active_count()
    supervision = Supervision(Notifier(), [], "")
    supervision.start()
    assert threading.active_count() == before
    supervision.close()


def test_a_ready_that_was_not_taken_is_said_again(ears: Ears, tmp_path_factory: pytest.TempPathFactory) -> None:
    rounds, address = Rounds(), str(tmp_path_factory.mktemp("n") / "s")
    with supervised(Notifier(address, 90), rounds):
        rounds.outcomes.put(None)
        while not rounds.waited:
            threading.Event().wait(0.01)
        with listening(address) as late:
            rounds.outcomes.put(None)
            assert "READY=1" in late.hear()[1]
    assert rounds.waited[:2] == [RETRY_S, 30.0]


# The check ------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def server(host: str, answer: bytes) -> Iterator[tuple[tuple[str, int], list[bytes]]]:
    """Answers one request; gives its address, and what was asked."""
    asked: list[bytes] = []
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as listener:
        try:
            listener.bind((host, 0))
        except OSError:
            pytest.skip(f"{host} is not to be had here")
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                asked.append(connection.recv(65536))
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield (host, listener.getsockname()[1]), asked
        thread.join(30)


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::1", "::"])
def test_the_request_goes_to_where_the_service_listens(host: str) -> None:
    with server(host, b"HTTP/1.1 200 OK\r\n\r\n") as (address, asked):
        answers(address)()
    assert asked[0].startswith(b"GET /api/v1/health/ready HTTP/1.1\r\nHost: localhost\r\n")


@pytest.mark.parametrize("answer", [b"HTTP/1.1 503 Service Unavailable\r\n\r\n", b"", b"\0" * 5000, b"200"])
def test_any_other_answer_is_a_fault(answer: bytes) -> None:
    with server("127.0.0.1", answer) as (address, _), pytest.raises(OSError):
        answers(address)()


def test_an_answer_that_does_not_come_in_time_is_a_fault() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(TimeoutError):
        answers(silent.getsockname(), within_s=0.05)()


# A long start ---------------------------------------------------------------------------------------------------------


def test_a_start_that_takes_long_shows_signs_of_life_until_it_is_over() -> None:
    beats: queue.Queue[None] = queue.Queue()
    rounds = Rounds()
    with beating(lambda: beats.put(None), RoundsClock(rounds)):
        for _ in range(3):
            beats.get(timeout=30)
    assert "start" not in [thread.name for thread in threading.enumerate()]


# The whole service ----------------------------------------------------------------------------------------------------


def test_the_service_says_ready_when_it_answers_and_goes_on_after_its_worker_was_killed(
    tmp_path: Path, ears: Ears
) -> None:
    with running(tmp_path, SIMULATED, NOTIFY_SOCKET=ears.address, WATCHDOG_USEC="600000") as service:
        worker, lines = ears.hear()
        while "READY=1" not in lines:  # at first perhaps that nothing is served
            assert lines[0].startswith("STATUS=")
            worker, lines = ears.hear()
        assert worker != service.process.pid, "gunicorn's master says it before anything can be answered"
        assert f"STATUS=http://127.0.0.1:{service.port}/ (emulated hardware)" in lines
        assert service.call("GET", "/api/v1/health/ready")[0] == 200
        for _ in range(2):
            assert "WATCHDOG=1" in ears.hear()[1]

        os.kill(worker, signal.SIGKILL)
        successor, _ = ears.hear_until("READY=1")
        assert successor not in (worker, service.process.pid)
        assert ears.hear_until("WATCHDOG=1")[0] == successor

        assert service.stop() == 0
        assert ears.hear_until("STOPPING=1")[0] == service.process.pid
        with pytest.raises(TimeoutError):
            ears.hear(0.5)
        assert b"not served" not in service.said and b"Traceback" not in service.said, service.said.decode()


def test_a_worker_that_is_stopped_feeds_no_watchdog(tmp_path: Path, ears: Ears) -> None:
    with running(tmp_path, SIMULATED, NOTIFY_SOCKET=ears.address, WATCHDOG_USEC="300000") as service:
        worker, _ = ears.hear_until("READY=1")
        os.kill(worker, signal.SIGSTOP)
        with pytest.raises(TimeoutError):
            while True:
                ears.hear(1.0)
        os.kill(worker, signal.SIGCONT)
        assert ears.hear_until("WATCHDOG=1")[0] == worker
        assert service.stop() == 0
