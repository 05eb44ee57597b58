"""The guard: real processes that are killed and stopped while a simulated relay is on."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import queue
import random
import selectors
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from piapi.errors import GuardUnavailable
from piapi.guard import loop
from piapi.guard.__main__ import NO_CHIP
from piapi.guard.loop import GRACE_S, MAX_CLIENTS, MAX_LEASE_S
from piapi.guard.owners import Owner
from piapi.hardware.boards import leases_of
from piapi.hardware.gpio_simulated import Change, history_of
from piapi.hardware.leases import Leases, start_command
from piapi.lines.descriptors import INPUTS, end_of_numbers
from piapi.lines.simulated import FREED, Lines
from tests.guard_owner import LINE

log = logging.getLogger(__name__)

ROOT = Path(__file__).parent.parent
PATIENCE_S = 20.0

OFF, ON = True, False  # the relay is active low


def now() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def until(condition: Callable[[], object], what: str) -> None:
    """Wait for something that another process does."""
    never, deadline = threading.Event(), now() + PATIENCE_S
    while not condition():
        assert now() < deadline, what
        never.wait(0.002)


class Process:
    """A child process that talks in lines."""

    def __init__(self, *arguments: str | Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", *map(str, arguments)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        self.pid = self.process.pid
        self.said: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.errors = ""
        self._readers = [threading.Thread(target=read) for read in (self._read, self._read_errors)]
        for reader in self._readers:
            reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.said.put(line.strip())

    def _read_errors(self) -> None:
        assert self.process.stderr
        for line in self.process.stderr:
            self.errors += line

    def hears(self) -> str:
        """The next line it says."""
        try:
            return self.said.get(timeout=PATIENCE_S)
        except queue.Empty:
            pytest.fail(f"it says nothing; {self.errors}")

    def tell(self, command: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(command + "\n")

    def does(self, command: str) -> str:
        self.tell(command)
        return self.hears()

    def kill(self, number: int = signal.SIGKILL) -> float:
        """When it was."""
        at = now()
        self.process.send_signal(number)
        return at

    def wait(self) -> int:
        return self.process.wait(PATIENCE_S)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.wait()
        assert self.process.stdin and self.process.stdout and self.process.stderr
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        for reader in self._readers:
            reader.join()
        self.process.stdout.close()
        self.process.stderr.close()


class Place:
    """A folder with a simulated board's file and a guard's socket."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "lines"
        self.path = folder / "guard.sock"
        self._processes: list[Process] = []

    def guard(self, *options: str) -> Process:
        guard = self._add("piapi.guard", "--socket", self.path, "--simulated", self.file, *options)
        until(lambda: self.answers() or guard.process.poll() is not None, "the guard listens")
        return guard

    def owner(self, *options: str) -> Process:
        owner = self._add("tests.guard_owner", self.file, self.path, *options)
        assert owner.hears() == "ready", owner.errors
        return owner

    def _add(self, *arguments: str | Path) -> Process:
        self._processes.append(Process(*arguments))
        return self._processes[-1]

    def answers(self) -> bool:
        with contextlib.suppress(OSError), self.client():
            return True
        return False

    @contextlib.contextmanager
    def client(self) -> Iterator[Client]:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(PATIENCE_S)
            connection.connect(str(self.path))
            client = Client(connection)
            yield client
            client.file.close()

    def history(self, line: int = LINE) -> list[Change]:
        return history_of(self.file, line)

    def edges(self, line: int = LINE) -> list[Change]:
        return [change for change in self.history(line) if change.before != change.after]

    def releases(self, by: Process) -> int:
        return sum(change.what == FREED and change.pid == by.pid for change in self.history())

    def close(self) -> None:
        for process in reversed(self._processes):
            process.close()


class Client:
    """Speaks to the guard by hand."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.file = connection.makefile("rb")

    def raw(self, message: bytes) -> dict[str, object]:
        self.connection.sendall(message + b"\n")
        answer = self.file.readline()
        assert answer, "the guard closed the connection"
        return dict(json.loads(answer))

    def ask(self, **message: object) -> dict[str, object]:
        return self.raw(json.dumps(message).encode())


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path)
    yield place
    place.close()


def assert_off_in_time(place: Place, since: float, killed: Process | None = None) -> float:
    """How many seconds after `since` the relay was off for good. What who was `killed` then did with it was done before
    its death, however late that came on a busy machine."""
    lines = Lines(str(place.file))
    try:
        until(lambda: lines.level(LINE) is OFF and place.history()[-1].after is OFF, "the relay is off")
    finally:
        lines.close()
    after = [change for change in place.edges() if change.at > since]
    by_others = [change.after for change in after if killed is None or change.pid != killed.pid]
    assert by_others in ([], [OFF]), "switched on after its owner's death"
    late = max((change.at - since for change in after), default=0.0)
    assert late <= 0.5
    return late


# Death ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("times", [4, pytest.param(50, marks=pytest.mark.slow)])
def test_the_relay_is_off_when_its_owner_is_killed_at_any_moment(place: Place, times: int) -> None:
    guard, never, late = place.guard("--stay"), threading.Event(), []
    for _ in range(times):
        owner = place.owner()
        owner.tell("pulses")
        assert owner.hears() == "pulsing"
        never.wait(random.uniform(0, 0.1))
        late.append(assert_off_in_time(place, owner.kill(), owner))
        owner.close()
    assert guard.process.poll() is None
    until(lambda: sorted(kinds_of(guard)) == ["listening"], "the guard lets go of dead owners")
    log.info("off after its owner was killed, worst of %d: %.1f ms", times, max(late) * 1000)


@pytest.mark.parametrize("times", [1, pytest.param(5, marks=pytest.mark.slow)])
def test_the_relay_is_off_when_its_owner_is_stopped(place: Place, times: int) -> None:
    guard = place.guard("--stay")
    for _ in range(times):
        owner = place.owner()
        assert owner.does("on 0.3") == "done"
        due = place.edges()[-1].at + 0.3
        owner.kill(signal.SIGSTOP)
        until(lambda owner=owner: owner.process.poll() is not None, "the owner is ended")  # type: ignore[misc]
        assert owner.wait() == -signal.SIGKILL
        late = assert_off_in_time(place, due)
        log.info("off after the lease of a stopped owner was due: %.0f ms", late * 1000)
        assert late >= GRACE_S - 0.05
        owner.close()
    assert "did not end its lease in time" in guard.errors


def test_the_relay_stays_on_without_a_guard_as_a_pi_keeps_it(place: Place) -> None:
    guard = place.guard("--stay")
    owner = place.owner()
    assert owner.does("on 5") == "done"
    guard.kill()
    guard.wait()
    assert owner.hears() == f"lost [{LINE}]"
    owner.kill()
    owner.wait()
    lines = Lines(str(place.file))
    lines.claim_output(LINE, ON)
    lines.close()
    assert Lines(str(place.file)).level(LINE) is ON


def test_a_lease_that_was_ended_is_left_alone(place: Place) -> None:
    guard, owner = place.guard("--stay"), place.owner()
    assert owner.does("on 5") == "done"
    assert owner.does("off") == "done"
    owner.kill()
    owner.wait()
    with place.client() as client:
        until(lambda: client.ask(do="end", line=0) and kinds_of(guard).count("process") == 1, "it is buried")
    assert place.releases(guard) == 0


def kinds_of(guard: Process) -> list[str]:
    """The sockets and processes that a guard has open; the socket that listens is one."""
    links = [str(link.readlink()) for link in Path(f"/proc/{guard.pid}/fd").iterdir()]
    kinds = ["process" for link in links if "pidfd" in link]
    return [*kinds, *("listening" for link in links if link.startswith("socket:"))]


def test_an_owner_that_says_goodbye_is_not_ended(place: Place) -> None:
    guard, owner = place.guard("--stay"), place.owner()
    assert owner.does("on 5") == "done"
    assert owner.does("off") == "done"
    assert owner.does("close") == "done"
    assert owner.does("nothing") == "done"
    assert place.releases(guard) == 0


def test_the_others_keep_their_leases_when_one_dies(place: Place) -> None:
    guard, owner = place.guard("--stay"), place.owner()
    with place.client() as other:
        assert other.ask(do="lease", line=5, inactive=False, for_s=60) == {"ok": True}
        assert owner.does("on 5") == "done"
        assert_off_in_time(place, owner.kill())
        assert other.ask(do="end", line=5) == {"ok": True}
        assert other.ask(do="bye") == {"ok": True}
    assert history_of(place.file, 5) == []
    assert guard.process.poll() is None


def test_a_line_that_a_child_of_the_dead_still_holds_is_released_after_it(place: Place) -> None:
    guard, owner = place.guard("--stay"), place.owner()
    assert owner.does("on 5") == "done"
    assert owner.does("heir") == "done"
    owner.kill()
    until(lambda: owner.process.poll() is not None, "it is dead")
    assert place.edges()[-1].after is ON
    assert owner.process.stdin
    owner.process.stdin.close()  # the heir goes
    until(lambda: place.releases(guard) == 1, "released")
    assert place.edges()[-1].after is OFF


def test_a_child_that_was_started_as_one_should_holds_nothing(place: Place) -> None:
    place.guard("--stay")
    owner = place.owner()
    assert owner.does("child") == "done"
    assert owner.does("on 5") == "done"
    assert_off_in_time(place, owner.kill())


def test_a_new_owner_answers_for_the_line_of_a_dead_one(place: Place) -> None:
    guard, owner = place.guard("--stay"), place.owner()
    assert owner.does("on 5") == "done"
    assert owner.does("heir") == "done"
    owner.kill()
    owner.wait()
    with place.client() as client:
        until(lambda: client.ask(do="lease", line=LINE, inactive=OFF, for_s=60) == {"ok": True}, "taken over")
        assert client.ask(do="end", line=LINE) == {"ok": True}
        assert owner.process.stdin
        owner.process.stdin.close()
        assert client.ask(do="bye") == {"ok": True}
    assert place.releases(guard) == 0


# Whom the guard ends --------------------------------------------------------------------------------------------------


def test_who_leaves_without_a_word_while_it_has_leases_is_ended(place: Place) -> None:
    """Else it might drive the line back."""
    place.guard("--stay")
    owner = place.owner()
    assert owner.does("on 60") == "done"
    dropped = now()
    owner.tell("drop")
    assert owner.wait() == -signal.SIGKILL
    assert_off_in_time(place, dropped)


def test_a_line_that_stays_busy_after_a_death_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """By then it is somebody else's, who may have wired another thing to it."""

    class Busy:
        count, tries = 28, 0

        def claim_output(self, line: int, level: bool) -> None:
            self.tries += 1
            raise OSError(errno.EBUSY, "busy")

    time_now, lines = [1000.0], Busy()
    monkeypatch.setattr(loop, "now", lambda: time_now[0])
    ours, theirs = socket.socketpair()
    with socket.socket() as server:
        guard = loop.Guard(server, lines, stay=False, linger_s=0)  # type: ignore[arg-type]
        owner = Owner(ours)
        owner.is_gone = True
        guard._leases[LINE] = loop.Lease(LINE, OFF, 1060.0, owner)
        guard._leases[LINE].lost_at = 1000.0
        rounds = 0
        while not guard._is_over():
            guard._enforce(time_now[0])
            assert time_now[0] < 1000 + 2 * loop.GIVE_UP_S
            rounds += 1
            assert rounds < 1000  # it waits until the next try, however long nobody has been there
            time_now[0] += max(guard._patience_s() or 0.0, 1e-6)
        guard._selector.close()
    assert time_now[0] == pytest.approx(1000 + loop.GIVE_UP_S, abs=1)
    assert 100 < lines.tries < 1000
    assert owner.pidfd < 0
    ours.close()
    theirs.close()


def test_a_process_that_was_gone_before_it_was_known_is_not_taken_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its number may have been given to a process that has nothing to do with it."""
    other = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    ours, theirs = socket.socketpair()
    theirs.close()  # as the kernel does at death
    real, opened = os.pidfd_open, []

    def reused(pid: int) -> int:
        opened.append(real(other.pid))
        return opened[-1]

    monkeypatch.setattr(os, "pidfd_open", reused)
    try:
        with pytest.raises(OSError, match="gone"):
            Owner(ours)
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(opened[0])
        assert other.poll() is None
    finally:
        ours.close()
        other.communicate()


def test_only_the_process_that_connected_is_ended(place: Place) -> None:
    guard, owner = place.guard("--stay"), place.owner()
    assert owner.does("on 5") == "done"
    owner.kill()
    owner.wait()
    until(lambda: place.releases(guard) == 1, "released")
    assert "cannot be ended" not in guard.errors


# The guard's own end --------------------------------------------------------------------------------------------------


def test_the_owner_is_told_when_the_guard_dies_and_finds_the_next(place: Place) -> None:
    guard = place.guard("--stay")
    owner = place.owner()
    assert owner.does("on 60") == "done"
    killed = guard.kill()
    assert owner.hears() == f"lost [{LINE}]"
    assert place.edges()[-1].after is OFF
    assert place.edges()[-1].at - killed < 0.5
    assert owner.does("on 5").startswith("GuardUnavailable")
    assert place.edges()[-1].after is OFF
    place.guard("--stay")
    until(lambda: owner.does("on 5") == "done", "the next guard is found")
    assert owner.does("off") == "done"


def test_a_guard_that_hangs_counts_as_none_and_does_no_harm_when_it_goes_on(place: Place) -> None:
    guard = place.guard("--stay")
    owner = place.owner()
    assert owner.does("on 2") == "done"
    guard.kill(signal.SIGSTOP)
    answers = {owner.does("on 2"), owner.hears()}  # a renewal; the loss is told by another thread
    assert f"lost [{LINE}]" in answers
    assert any(answer.startswith("GuardUnavailable") for answer in answers)
    assert place.edges()[-1].after is OFF
    guard.kill(signal.SIGCONT)
    until(lambda: owner.does("on 5") == "done", "it answers again")
    assert owner.does("off") == "done"
    assert owner.process.poll() is None
    assert place.releases(guard) == 0


def test_a_guard_that_was_stopped_hears_what_was_said_before_it_counts(place: Place) -> None:
    guard = place.guard("--stay")
    owner = place.owner()
    assert owner.does("on 0.3") == "done"
    guard.kill(signal.SIGSTOP)
    assert owner.does("off") == "done"  # after waiting for an answer for longer than the lease
    assert now() > place.edges()[0].at + 0.3 + GRACE_S
    guard.kill(signal.SIGCONT)
    until(lambda: owner.does("on 5") == "done", "it answers again")
    assert owner.does("off") == "done"
    assert place.releases(guard) == 0


def test_a_lease_that_a_hanging_guard_never_answered_costs_nobody_his_life(place: Place) -> None:
    guard = place.guard("--stay")
    owner = place.owner()
    guard.kill(signal.SIGSTOP)
    assert owner.does("on 0.1").startswith("GuardUnavailable")
    guard.kill(signal.SIGCONT)
    until(lambda: owner.does("on 5") == "done", "it answers again")
    assert owner.does("off") == "done"
    assert place.releases(guard) == 0


def test_a_guard_is_started_when_there_is_none_and_ends_with_its_last_client(place: Place) -> None:
    owner = place.owner("start")
    assert place.answers()
    assert owner.does("on 5") == "done"
    assert owner.does("off") == "done"
    assert owner.does("close") == "done"
    until(lambda: not place.path.exists(), "the guard ends")


def test_a_guard_that_was_started_by_its_owner_outlives_it(place: Place) -> None:
    owner = place.owner("start")
    assert owner.does("on 5") == "done"
    assert_off_in_time(place, owner.kill())
    with place.client() as client:
        assert client.ask(do="bye") == {"ok": True}
    until(lambda: not place.path.exists(), "the guard ends")


def test_a_guard_without_clients_ends_after_a_while(place: Place) -> None:
    guard = place.guard("--linger", "0.2")
    assert guard.wait() == 0
    assert not place.path.exists()


def test_a_guard_of_a_unit_stays(place: Place) -> None:
    guard = place.guard("--stay", "--linger", "0")
    with place.client() as client:
        assert client.ask(do="bye") == {"ok": True}
    assert place.answers()
    assert guard.process.poll() is None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_a_guard_does_not_mind_the_terminal(place: Place, number: int) -> None:
    guard = place.guard("--stay")
    guard.kill(number)
    assert place.answers()
    assert guard.process.poll() is None


def test_a_guard_that_is_told_to_end_waits_for_its_leases(place: Place) -> None:
    guard, owner = place.guard("--stay"), place.owner()
    assert owner.does("on 5") == "done"
    guard.kill(signal.SIGTERM)
    with place.client() as client:
        until(lambda: "ending" in str(client.ask(do="lease", line=5, inactive=False, for_s=1)), "no new lease")
        assert owner.does("on 5") == "done"  # one that stands may be renewed
        assert guard.process.poll() is None
        assert owner.does("off") == "done"
    assert guard.wait() == 0


def test_a_guard_of_a_unit_says_when_its_socket_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place(tmp_path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.bind(str(tmp_path / "notify"))
        supervisor.settimeout(PATIENCE_S)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        place._add("piapi.guard", "--socket", place.path, "--simulated", place.file, "--stay")
        assert supervisor.recv(64) == b"READY=1"
        assert place.answers()
        place.close()


def test_there_is_one_guard_for_a_socket(place: Place) -> None:
    first = place.guard("--stay")
    second = place.guard("--stay")
    assert second.wait() == 0
    assert first.process.poll() is None
    assert place.answers()


def test_a_socket_that_a_killed_guard_left_is_taken_over(place: Place) -> None:
    first = place.guard("--stay")
    first.kill()
    first.wait()
    assert place.path.exists()
    place.guard("--stay")
    assert place.answers()


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--socket", "x"],
        ["--socket", "x", "--chip", "0", "--simulated", "y"],
        ["--socket", "x", "--chip"],
        ["--nonsense"],
        ["--socket", "x", "--simulated", "y", "--linger", "soon"],
    ],
)
def test_a_guard_with_wrong_options_does_not_start(tmp_path: Path, options: list[str]) -> None:
    done = subprocess.run([sys.executable, "-m", "piapi.guard", *options], cwd=ROOT, capture_output=True, timeout=20)
    assert done.returncode == 2
    assert done.stderr


@pytest.mark.parametrize("chip", ["99999", "auto", "none"])
def test_a_guard_without_a_chip_does_not_start(tmp_path: Path, chip: str) -> None:
    if chip == "auto" and list(Path("/dev").glob("gpiochip*")):
        pytest.skip("there is a GPIO chip here")
    command = [sys.executable, "-m", "piapi.guard", "--socket", str(tmp_path / "s"), "--chip", chip, "--background"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=20)
    assert done.returncode == NO_CHIP if chip != "none" else 1
    assert b"cannot start" in done.stderr
    assert not (tmp_path / "s").exists()


def test_the_socket_is_for_its_user_alone(place: Place) -> None:
    place.guard("--stay")
    assert stat.S_IMODE(place.path.stat().st_mode) == 0o600


def test_a_file_in_the_place_of_the_socket_is_not_removed(place: Place) -> None:
    place.path.write_text("mine")
    assert place.guard("--stay").wait() == 1
    assert place.path.read_text() == "mine"


# Messages -------------------------------------------------------------------------------------------------------------

MALFORMED = [
    b"",
    b"x",
    b"[]",
    b"null",
    b"17",
    b"{}",
    b"\xff\xfe",
    b"[" * 500,
    b'{"do": "open"}',
    b'{"do": ["lease"]}',
    b'{"do": "bye", "line": 1}',
    b'{"do": "end"}',
    b'{"do": "hello"}',
    b'{"do": "hello", "lines": "chip auto"}',
    b'{"do": "hello", "lines": ["simulated"]}',
    b'{"do": "end", "line": [1]}',
    b'{"do": "end", "line": 28}',
    b'{"do": "lease", "line": 17}',
    b'{"do": "lease", "line": 17, "inactive": true, "for_s": 1, "more": 1}',
    b'{"do": "lease", "line": true, "inactive": true, "for_s": 1}',
    b'{"do": "lease", "line": -1, "inactive": true, "for_s": 1}',
    b'{"do": "lease", "line": 28, "inactive": true, "for_s": 1}',
    b'{"do": "lease", "line": 17.0, "inactive": true, "for_s": 1}',
    b'{"do": "lease", "line": 17, "inactive": 1, "for_s": 1}',
    b'{"do": "lease", "line": 17, "inactive": true, "for_s": 0}',
    b'{"do": "lease", "line": 17, "inactive": true, "for_s": -1}',
    b'{"do": "lease", "line": 17, "inactive": true, "for_s": true}',
    b'{"do": "lease", "line": 17, "inactive": true, "for_s": "1"}',
    b'{"do": "lease", "line": 17, "inactive": true, "for_s": NaN}',
    b'{"do": "lease", "line": 17, "inactive": true, "for_s": Infinity}',
    b'{"do": "lease", "line": 17, "inactive": true, "for_s": 90001}',
    b'{"do": "lease", "line": 17, "inactive": true, "for_s": 1' + b"0" * 400 + b"}",
    b'{"do": "lease", "line": 17, "inactive": true, "for_s": 1}' + b" " * 600,
]


def test_what_is_malformed_gets_an_error_and_changes_nothing(place: Place) -> None:
    guard = place.guard("--stay")
    with place.client() as client:
        for message in MALFORMED:
            assert set(client.raw(message)) == {"error"}, message
        assert client.ask(do="lease", line=17, inactive=True, for_s=MAX_LEASE_S) == {"ok": True}
        assert client.ask(do="end", line=17) == {"ok": True}
        assert client.ask(do="bye") == {"ok": True}
    assert guard.process.poll() is None
    assert place.history() == []


def test_a_message_without_an_end_costs_the_connection(place: Place) -> None:
    place.guard("--stay")
    with place.client() as client:
        client.connection.sendall(b"x" * 600)
        assert client.file.read() == b""
    assert place.answers()


def test_messages_may_come_in_pieces_and_together(place: Place) -> None:
    place.guard("--stay")
    with place.client() as client:
        for byte in b'{"do": "end", "line": 1}\n{"do": "end", "line": 2}\n{"do": "bye"}\n':
            client.connection.sendall(bytes((byte,)))
        assert client.file.read() == b'{"ok": true}\n' * 3


def test_two_processes_cannot_lease_one_line(place: Place) -> None:
    place.guard("--stay")
    with place.client() as one, place.client() as other:
        assert one.ask(do="lease", line=5, inactive=False, for_s=60) == {"ok": True}
        assert "another" in str(other.ask(do="lease", line=5, inactive=False, for_s=60))
        assert other.ask(do="end", line=5) == {"ok": True}
        assert "another" in str(other.ask(do="lease", line=5, inactive=False, for_s=60))
        assert "left" in str(one.ask(do="bye"))
        assert one.ask(do="end", line=5) == {"ok": True}
        assert other.ask(do="lease", line=5, inactive=False, for_s=60) == {"ok": True}
        assert other.ask(do="end", line=5) == {"ok": True}


def test_clients_are_bounded(place: Place) -> None:
    place.guard("--stay")
    with contextlib.ExitStack() as stack:
        for _ in range(MAX_CLIENTS):
            assert stack.enter_context(place.client()).ask(do="end", line=0) == {"ok": True}
        with place.client() as one_more, contextlib.suppress(ConnectionError):
            one_more.connection.sendall(b"{}\n")
            assert one_more.file.read() == b""
    until(place.answers, "there is room again")


def test_a_renewed_lease_lasts_longer(place: Place) -> None:
    guard, owner = place.guard("--stay"), place.owner()
    assert owner.does("on 0.2") == "done"
    assert owner.does("on 60") == "done"
    threading.Event().wait(0.2 + GRACE_S + 0.1)
    assert owner.does("off") == "done"
    assert place.releases(guard) == 0


# The client -----------------------------------------------------------------------------------------------------------


def test_without_a_guard_nothing_is_leased(tmp_path: Path) -> None:
    leases = Leases(tmp_path / "nobody.sock")
    with pytest.raises(GuardUnavailable, match="nobody answers"):
        leases.open()
    with pytest.raises(GuardUnavailable):
        leases.lease(5, False, 1.0)
    leases.end(5)
    leases.close()
    leases.close()


def test_a_guard_of_other_lines_is_none(place: Place) -> None:
    """It would release a line of another chip, and leave the relay on."""
    place.guard("--stay")
    ours = f"simulated {place.file}"
    wrong = Leases(place.path, lines="chip 4", remedy=" Do something.")
    with pytest.raises(GuardUnavailable, match=rf"has the lines of {ours}, not of chip 4\. Do something\."):
        wrong.open()
    with pytest.raises(GuardUnavailable, match="not of chip 4"):
        wrong.lease(5, False, 1.0)
    wrong.close()
    right = Leases(place.path, lines=ours)
    right.open()
    right.lease(5, False, 60)
    right.close()


def test_a_guard_that_others_have_started_is_asked_for_real_lines_alone(place: Place, tmp_path: Path) -> None:
    place.guard("--stay")
    real = leases_of("lgpio", 4, tmp_path / "run", lambda lines: None, str(place.path))
    with pytest.raises(GuardUnavailable, match=r"not of chip 4\. `systemctl status piapi-guard` tells why"):
        real.open()
    real.close()
    (tmp_path / "run").mkdir()
    simulated = leases_of("simulated", None, tmp_path / "run", lambda lines: None, str(place.path))
    simulated.open()
    assert (tmp_path / "run" / "guard.sock").is_socket(), "one of its own"
    simulated.close()
    until(lambda: not (tmp_path / "run" / "guard.sock").exists(), "the guard ends")


def test_a_guard_that_does_not_start_is_unavailable(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "guard.sock"
    leases = Leases(path, start_command(sys.executable, path, "--chip", "99999"))
    with pytest.raises(GuardUnavailable, match="cannot be started"):
        leases.open()
    leases.close()
    assert "cannot start" in capfd.readouterr().err


def test_a_path_that_is_too_long_for_a_socket_is_named(tmp_path: Path) -> None:
    leases = Leases(tmp_path / ("x" * 120))
    with pytest.raises(GuardUnavailable, match="too long"):
        leases.open()
    leases.close()


def test_leases_of_many_threads_are_kept_apart(place: Place) -> None:
    guard = place.guard("--stay")
    leases = Leases(place.path)
    leases.open()

    def work(line: int) -> None:
        for _ in range(20):
            leases.lease(line, False, 60)
            leases.end(line)

    threads = [threading.Thread(target=work, args=(line,)) for line in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    leases.close()
    assert guard.process.poll() is None
    assert not any(place.history(line) for line in range(8))


def test_the_guard_hears_of_a_death_before_a_camera_has_stopped(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    connected: list[int] = []
    connect = socket.socket.connect

    def connecting(self: socket.socket, address: str) -> None:
        connected.append(self.fileno())
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", connecting)
    place.guard("--stay")
    leases = Leases(place.path)
    leases.open()
    leases.close()
    assert connected[-1] >= end_of_numbers() - INPUTS


def test_leases_can_be_opened_again(place: Place) -> None:
    place.guard("--stay")
    leases = Leases(place.path)
    for _ in range(2):
        leases.open()
        leases.open()
        leases.lease(5, False, 60)
        leases.close()
        with pytest.raises(GuardUnavailable):
            leases.lease(5, False, 60)


# The chip -------------------------------------------------------------------------------------------------------------


def test_the_guard_imports_nothing_heavy() -> None:
    code = "import sys, piapi.guard.__main__, piapi.lines.simulated, piapi.lines.chip; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-S", "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    heavy = {"typing", "pathlib", "logging", "subprocess", "threading", "dataclasses", "argparse", "flask", "lgpio"}
    assert not heavy & set(done.stdout.split())


def test_a_line_is_released_before_its_owner_has_finished_dying() -> None:
    """To stop a camera may take it seconds; the line is free before, and on a Pi it stays driven."""
    ours, theirs = socket.socketpair()
    claimed: list[int] = []

    class Free:
        count = 28

        def claim_output(self, line: int, level: bool) -> None:
            claimed.append(line)

        def free(self, line: int) -> None:
            pass

    with socket.socket() as server, ours, theirs:
        guard = loop.Guard(server, Free(), stay=True, linger_s=0)  # type: ignore[arg-type]
        owner = Owner(ours)
        owner.is_ended = True  # it was killed, and its handle does not say yet that it is gone
        guard._leases[LINE] = loop.Lease(LINE, OFF, 1e9, owner)
        guard._selector.register(ours, selectors.EVENT_READ)
        guard._clients.add(owner)
        guard._lose(owner)
        guard._enforce(now())
        guard._selector.close()
    assert claimed == [LINE]
