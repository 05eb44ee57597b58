"""The simulated board: what it has beyond the contract (test_gpio_contract.py)."""

from __future__ import annotations

import errno
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from piapi.clock import SystemClock
from piapi.errors import BoardUnavailable, LineBusy, LineRefused
from piapi.hardware.gpio_simulated import SimulatedBoard, history_of
from piapi.lines import simulated
from piapi.lines.simulated import Lines

ROOT = Path(__file__).parent.parent
PATIENCE_S = 20.0
CLOCK = SystemClock()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "lines"


@pytest.fixture
def board(file: Path) -> Iterator[SimulatedBoard]:
    board = SimulatedBoard(file, CLOCK, keep_history=True)
    board.open()
    yield board
    board.close()


class Edges(queue.SimpleQueue[tuple[int, bool, float]]):
    def __call__(self, line: int, level: bool, at: float) -> None:
        self.put((line, level, at))

    def next(self) -> tuple[int, bool, float]:
        return self.get(timeout=PATIENCE_S)


# Power-on and death ---------------------------------------------------------------------------------------------------


def test_lines_are_as_a_pi_has_them_when_it_is_switched_on(file: Path) -> None:
    lines = Lines(str(file))
    assert [lines.level(line) for line in range(28)] == [line <= 8 for line in range(28)]
    lines.close()


def test_lines_are_switched_on_anew_when_the_machine_was(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = Lines(str(file))
    lines.claim_output(17, True)
    lines.close()
    monkeypatch.setattr(simulated, "_header", lambda: simulated._HEADER.pack(b"piapigp1", b"another boot"))
    lines = Lines(str(file))
    assert lines.level(17) is False
    lines.close()


def test_a_file_of_something_else_is_no_crash(file: Path) -> None:
    file.write_bytes(os.urandom(10))
    lines = Lines(str(file))
    assert lines.level(17) is False
    lines.close()


@pytest.mark.parametrize("kind", ["folder", "missing"])
def test_a_file_that_cannot_be_used_is_unavailable(tmp_path: Path, kind: str) -> None:
    path = tmp_path if kind == "folder" else tmp_path / "nowhere" / "lines"
    with pytest.raises(BoardUnavailable, match="file"):
        SimulatedBoard(path, CLOCK).open()


def test_a_killed_owner_leaves_its_line_driven_and_free(file: Path, board: SimulatedBoard) -> None:
    code = (
        "import sys; from piapi.lines.simulated import Lines; lines = Lines(sys.argv[1]); "
        "lines.claim_output(17, True); print(flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(file)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as owner:
        assert owner.stdout
        owner.stdout.readline()
        with pytest.raises(LineBusy):
            board.claim_output(17, False)
        owner.kill()
        owner.wait(PATIENCE_S)
    (edge,) = board.history(17)
    assert (edge.pid, edge.before, edge.after) == (owner.pid, False, True)
    board.claim_output(17, False)
    assert [(change.pid, change.after) for change in board.history(17)] == [(owner.pid, True), (os.getpid(), False)]


def test_the_history_has_everything_in_order_with_its_time(file: Path, board: SimulatedBoard) -> None:
    before = CLOCK.monotonic()
    board.claim_output(17, False)
    board.write(17, True)
    board.write(17, True)
    board.release(17)
    board.claim_input(17, "down", 0.0, Edges())
    board.drive(17, True)
    whats = [change.what for change in history_of(file, 17)]
    assert whats == [
        simulated.CLAIMED_OUTPUT,
        simulated.WRITTEN,
        simulated.WRITTEN,
        simulated.FREED,
        simulated.CLAIMED_INPUT,
        simulated.DRIVEN,
    ]
    assert [change.after for change in board.history(17)] == [True, False, True]
    moments = [change.at for change in history_of(file)]
    assert moments == sorted(moments)
    assert before - 0.001 <= moments[0] <= moments[-1] <= CLOCK.monotonic() + 0.001


def test_no_history_is_kept_unless_it_is_wanted(file: Path) -> None:
    board = SimulatedBoard(file, CLOCK)
    board.open()
    board.claim_output(17, True)
    assert board.history() == []
    board.close()
    assert [path.name for path in file.parent.iterdir()] == ["lines"]


def test_a_record_that_was_cut_off_is_left_out(file: Path, board: SimulatedBoard) -> None:
    board.claim_output(17, True)
    with file.with_name("lines.history").open("ab") as history:
        history.write(b"cut")
    assert len(board.history()) == 1


@pytest.mark.parametrize("line", [-1, 28])
def test_the_file_has_no_other_lines(file: Path, line: int) -> None:
    lines = Lines(str(file))
    for act in (lambda: lines.claim_output(line, True), lambda: lines.level(line), lambda: lines.drive(line, 1)):
        with pytest.raises(OSError, match="no GPIO") as caught:
            act()
        assert caught.value.errno == errno.EINVAL
    lines.close()


# From outside ---------------------------------------------------------------------------------------------------------


def test_a_line_that_is_let_go_falls_to_its_pull(board: SimulatedBoard) -> None:
    board.claim_input(17, "up", 0.0, Edges())
    board.drive(17, False)
    assert board.read(17) is False
    board.drive(17, None)
    assert board.read(17) is True


def test_an_output_cannot_be_driven_from_outside(board: SimulatedBoard) -> None:
    board.claim_output(17, True)
    board.drive(17, False)
    assert board.read(17) is True
    board.release(17)
    board.claim_input(17, "up", 0.0, Edges())
    assert board.read(17) is False


def test_a_line_that_is_not_there_cannot_be_driven(board: SimulatedBoard) -> None:
    with pytest.raises(LineRefused):
        board.drive(28, True)


def test_bounces_within_the_debounce_time_are_one_edge(board: SimulatedBoard) -> None:
    edges = Edges()
    board.claim_input(17, "up", 0.05, edges)
    board.bounce(17, False, times=10)
    moved = CLOCK.monotonic()
    line, level, at = edges.next()
    assert (line, level) == (17, False)
    assert moved - 0.05 < at <= moved <= CLOCK.monotonic() - 0.04
    board.drive(17, True)
    assert edges.next()[1] is True
    assert edges.empty()


def test_a_bounce_that_ends_where_it_began_is_no_edge(board: SimulatedBoard) -> None:
    edges = Edges()
    board.claim_input(17, "up", 0.02, edges)
    board.bounce(17, False)
    board.drive(17, True)
    board.claim_input(18, "up", 0.04, edges)
    board.drive(18, False)
    assert edges.next()[0] == 18
    assert edges.empty()


def test_without_debouncing_every_bounce_is_told(board: SimulatedBoard) -> None:
    edges = Edges()
    board.claim_input(17, "up", 0.0, edges)
    board.bounce(17, False, times=3)
    assert [edges.next()[1] for _ in range(7)] == [False, True] * 3 + [False]


def test_an_edge_can_get_lost_and_the_level_shows_it(board: SimulatedBoard) -> None:
    edges = Edges()
    board.claim_input(17, "up", 0.0, edges)
    board.lose_next_edge(17)
    board.drive(17, False)
    assert board.read(17) is False
    board.drive(17, True)
    assert edges.next()[1] is True
    assert edges.empty()


def test_what_another_program_drives_is_read_and_not_told(file: Path, board: SimulatedBoard) -> None:
    edges = Edges()
    board.claim_input(17, "up", 0.0, edges)
    outside = Lines(str(file))
    outside.drive(17, simulated.LOW)
    outside.close()
    assert board.read(17) is False
    assert edges.empty()


def test_machinery_is_told_of_each_change_of_its_output(board: SimulatedBoard) -> None:
    told: queue.SimpleQueue[tuple[bool, float]] = queue.SimpleQueue()
    board.on_output(17, lambda level, at: told.put((level, at)))
    board.on_output(18, lambda level, at: told.put((level, at)))
    before = CLOCK.monotonic()
    board.claim_output(17, True)
    board.write(17, True)
    board.write(17, False)
    board.release(17, True)
    heard = [told.get(timeout=PATIENCE_S) for _ in range(3)]
    assert [level for level, _ in heard] == [True, False, True]
    assert all(before <= at <= CLOCK.monotonic() for _, at in heard)
    assert told.empty()


def test_machinery_may_drive_sensors_from_its_callback(board: SimulatedBoard) -> None:
    edges = Edges()
    board.claim_input(24, "up", 0.0, edges)
    board.on_output(23, lambda level, at: board.drive(24, not level))
    board.claim_output(23, True)
    assert edges.next()[:2] == (24, False)


def test_machinery_that_fails_does_not_stop_the_board(board: SimulatedBoard, caplog: pytest.LogCaptureFixture) -> None:
    edges = Edges()

    def fail(level: bool, at: float) -> None:
        raise RuntimeError("stuck")

    board.on_output(23, fail)
    board.claim_output(23, True)
    board.claim_input(24, "up", 0.0, edges)
    board.drive(24, False)
    assert edges.next()[0] == 24
    assert "stuck" in caplog.text


def test_duties_and_positions_can_be_seen(board: SimulatedBoard) -> None:
    board.claim_pwm(17, 0.25)
    board.claim_servo(18, None)
    assert (board.value(17), board.value(18)) == (0.25, None)
    board.write_position(18, -0.5)
    assert board.value(18) == -0.5


# Threads and descriptors ----------------------------------------------------------------------------------------------


def test_nothing_is_left_after_fifty_openings(file: Path) -> None:
    board = SimulatedBoard(file, CLOCK, keep_history=True)

    def once() -> None:
        board.open()
        board.claim_output(17, True)
        board.claim_input(18, "up", 1.0, Edges())
        board.drive(18, False)
        board.close()

    once()
    before = threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(50):
        once()
    assert (threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))) == before


def test_a_board_may_be_closed_from_its_own_callback(board: SimulatedBoard) -> None:
    closed = threading.Event()

    def close(line: int, level: bool, at: float) -> None:
        board.close()
        closed.set()

    board.claim_input(17, "up", 0.0, close)
    board.drive(17, False)
    assert closed.wait(PATIENCE_S)


def test_many_threads_share_a_board(board: SimulatedBoard) -> None:
    def work(line: int) -> None:
        for _ in range(30):
            board.claim_output(line, False)
            board.write(line, True)
            board.release(line, False)

    threads = [threading.Thread(target=work, args=(line,)) for line in range(9, 17)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for line in range(9, 17):
        assert [change.after for change in board.history(line)] == [True, False] * 30


def test_two_claims_at_once_are_one(file: Path) -> None:
    boards = [SimulatedBoard(file, CLOCK) for _ in range(4)]
    won: list[SimulatedBoard] = []
    start = threading.Barrier(4)

    def claim(board: SimulatedBoard) -> None:
        board.open()
        start.wait(PATIENCE_S)
        try:
            board.claim_output(17, True)
        except LineBusy:
            return
        won.append(board)

    threads = [threading.Thread(target=claim, args=(board,)) for board in boards]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for board in boards:
        board.close()
    assert len(won) == 1
