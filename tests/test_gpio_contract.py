"""What every GPIO board does, whatever is behind it: the promises of `base.GpioBoard`, one by one.

A new board is a line in `BOARDS`: a context manager that makes a `Subject`, ready and not yet opened.
"""

from __future__ import annotations

import contextlib
import queue
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import gpiozero
import pytest
from gpiozero.pins.mock import MockFactory, MockPWMPin

from piapi.clock import SystemClock
from piapi.errors import BoardUnavailable, HardwareError, LineBusy, LineRefused
from piapi.hardware.base import GpioBoard, OnEdge
from piapi.hardware.gpio_lgpio import LgpioBoard
from piapi.hardware.gpio_simulated import SimulatedBoard
from piapi.lines.simulated import Lines
from tests import fake_lgpio

PATIENCE_S = 20.0
CLOCK = SystemClock()


@dataclass(frozen=True)
class Subject:
    """A board, and what a test may do on the other side of its lines. A board leaves out what it has no means for."""

    board: GpioBoard
    drive: Callable[[int, bool], None]
    another: Callable[[], GpioBoard] | None = None
    """Another board object on the same chip, as of another program, or of this one after a restart."""
    edges: Callable[[int], list[bool]] | None = None
    """The levels to which the line has gone, whoever drove it."""
    die: Callable[[], None] | None = None
    """The owner is killed."""


@contextlib.contextmanager
def simulated(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Subject]:
    file, boards = folder / "lines", []

    def another() -> SimulatedBoard:
        boards.append(SimulatedBoard(file, CLOCK, keep_history=True))
        return boards[-1]

    board = another()

    def die() -> None:  # the kernel closes its descriptors; what close() would do before is not done
        assert board._opened
        board._opened.close()
        board._opened = Lines(str(file))

    def edges(line: int) -> list[bool]:
        return [change.after for change in board.history(line)]

    yield Subject(board, board.drive, another, edges, die)
    for made in boards:
        made.close()


@contextlib.contextmanager
def lgpio(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Subject]:
    with fake_lgpio.installed(monkeypatch) as chip:
        boards: list[LgpioBoard] = []

        def another() -> LgpioBoard:
            boards.append(LgpioBoard(None, folder, CLOCK))
            return boards[-1]

        yield Subject(another(), chip.drive, another, chip.edges, chip.kill_owners)
        chip.fails = None
        chip.kill_owners()
        for made in boards:
            made.close()


class UntakenPin(MockPWMPin):
    """Nobody else has these."""

    is_taken = False


@contextlib.contextmanager
def gpiozero_mock(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Subject]:
    """gpiozero's own fake: it hides what happens at claiming, so it has no say about edges."""
    factory = MockFactory(pin_class=UntakenPin)

    @contextlib.contextmanager
    def explained(line: int | None) -> Iterator[None]:
        try:
            yield
        except gpiozero.GPIOZeroError as error:
            raise BoardUnavailable(str(error)) from None

    def drive(line: int, level: bool) -> None:
        pin = factory.pin(f"GPIO{line}")
        if pin.function == "input":
            pin.drive_high() if level else pin.drive_low()

    board = LgpioBoard(None, folder, CLOCK, lambda: (factory, explained))
    yield Subject(board, drive)
    board.close()


BOARDS: dict[str, Callable[[Path, pytest.MonkeyPatch], AbstractContextManager[Subject]]] = {
    "simulated": simulated,
    "lgpio": lgpio,
    "gpiozero-mock": gpiozero_mock,
}


@pytest.fixture(params=BOARDS)
def subject(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Subject]:
    with BOARDS[request.param](tmp_path, monkeypatch) as subject:
        yield subject


@pytest.fixture
def board(subject: Subject) -> Iterator[GpioBoard]:
    subject.board.open()
    yield subject.board
    subject.board.close()


def edges_of(subject: Subject) -> Callable[[int], list[bool]]:
    if subject.edges is None:
        pytest.skip("this board does not show its edges")
    return subject.edges


class Edges:
    """Takes edges, as a service does: it enqueues."""

    def __init__(self) -> None:
        self.queue: queue.SimpleQueue[tuple[int, bool, float]] = queue.SimpleQueue()

    def __call__(self, line: int, level: bool, at: float) -> None:
        self.queue.put((line, level, at))

    def next(self) -> tuple[int, bool, float]:
        return self.queue.get(timeout=PATIENCE_S)


def ignore(line: int, level: bool, at: float) -> None:
    pass


# Opening and closing --------------------------------------------------------------------------------------------------


def test_a_board_may_be_opened_twice_closed_twice_and_opened_again(subject: Subject) -> None:
    board = subject.board
    board.open()
    board.open()
    board.claim_output(17, True)
    board.close()
    board.close()
    board.open()
    board.claim_output(17, False)
    board.close()


def test_a_board_says_what_it_is(board: GpioBoard) -> None:
    assert board.model
    assert board.lines == frozenset(range(28))
    assert isinstance(board.emulated, bool)


CLAIMS: dict[str, Callable[[GpioBoard, int], None]] = {
    "output": lambda board, line: board.claim_output(line, True),
    "input": lambda board, line: board.claim_input(line, "up", 0.0, ignore),
    "pwm": lambda board, line: board.claim_pwm(line, 0.5),
    "servo": lambda board, line: board.claim_servo(line, 0.0),
}

USES: dict[str, Callable[[GpioBoard, int], None]] = {
    "output": lambda board, line: board.write(line, True),
    "pwm": lambda board, line: board.write_duty(line, 0.5),
    "servo": lambda board, line: board.write_position(line, 0.5),
}


@pytest.mark.parametrize("kind", CLAIMS)
def test_a_board_that_is_not_open_claims_nothing(subject: Subject, kind: str) -> None:
    with pytest.raises(BoardUnavailable):
        CLAIMS[kind](subject.board, 17)
    subject.board.release(17)
    subject.board.open()
    subject.board.close()
    with pytest.raises(BoardUnavailable):
        CLAIMS[kind](subject.board, 17)
    with pytest.raises(HardwareError):
        subject.board.read(17)


# What is refused ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("line", [-1, 28, 54, 1000])
@pytest.mark.parametrize("kind", CLAIMS)
def test_a_line_that_the_board_does_not_have_is_refused(board: GpioBoard, kind: str, line: int) -> None:
    with pytest.raises(LineRefused):
        CLAIMS[kind](board, line)
    with pytest.raises(LineRefused):
        board.read(line)
    with pytest.raises(LineRefused):
        board.write(line, True)


@pytest.mark.parametrize("kind", USES)
def test_a_line_that_is_not_claimed_is_refused(board: GpioBoard, kind: str) -> None:
    with pytest.raises(LineRefused):
        USES[kind](board, 17)
    with pytest.raises(LineRefused):
        board.read(17)
    board.claim_output(17, True)
    board.release(17)
    board.release(17)
    with pytest.raises(LineRefused):
        board.write(17, False)


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("kind", CLAIMS)
def test_a_line_is_used_as_what_it_was_claimed_for_alone(board: GpioBoard, kind: str, use: str) -> None:
    CLAIMS[kind](board, 17)
    if kind == use:
        USES[use](board, 17)
    else:
        with pytest.raises(LineRefused):
            USES[use](board, 17)


@pytest.mark.parametrize("again", CLAIMS)
@pytest.mark.parametrize("kind", CLAIMS)
def test_a_line_is_claimed_once(board: GpioBoard, kind: str, again: str) -> None:
    CLAIMS[kind](board, 17)
    with pytest.raises(LineBusy):
        CLAIMS[again](board, 17)
    board.release(17)
    CLAIMS[again](board, 17)


@pytest.mark.parametrize("kind", CLAIMS)
def test_a_line_that_another_program_holds_is_busy(subject: Subject, board: GpioBoard, kind: str) -> None:
    if subject.another is None:
        pytest.skip("this board cannot be shared")
    other = subject.another()
    other.open()
    board.claim_output(17, True)
    with pytest.raises(LineBusy, match="GPIO17"):
        CLAIMS[kind](other, 17)
    CLAIMS[kind](other, 18)
    board.release(17)
    CLAIMS[kind](other, 17)


@pytest.mark.parametrize("value", [-0.01, 1.01, float("nan"), float("inf")])
def test_duties_and_positions_out_of_range_are_refused(board: GpioBoard, value: float) -> None:
    with pytest.raises(LineRefused):
        board.claim_pwm(17, value)
    board.claim_pwm(17, 0.0)
    with pytest.raises(LineRefused):
        board.write_duty(17, value)
    position = value - 1 if value < 0 else value
    with pytest.raises(LineRefused):
        board.claim_servo(18, position)
    board.claim_servo(18, -1.0)
    with pytest.raises(LineRefused):
        board.write_position(18, position)


# Outputs --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", [True, False])
def test_an_output_is_claimed_at_its_level_and_no_other(subject: Subject, board: GpioBoard, level: bool) -> None:
    board.claim_output(17, level)
    assert board.read(17) is level
    if subject.edges:
        assert subject.edges(17) in ([], [level])


def test_an_output_is_what_was_written(board: GpioBoard) -> None:
    board.claim_output(17, False)
    for level in (True, True, False, True):
        board.write(17, level)
        assert board.read(17) is level


@pytest.mark.parametrize("level", [True, False])
def test_nothing_moves_from_start_to_stop_to_start(subject: Subject, level: bool) -> None:
    edges = edges_of(subject)
    assert subject.another
    for board in (subject.board, subject.another(), subject.another()):
        board.open()
        board.claim_output(17, level)
        board.close()
    assert edges(17) in ([], [level])  # where it was when the machine was switched on, it may not have been


@pytest.mark.parametrize("active", [True, False])
def test_a_line_left_active_by_the_dead_goes_inactive_in_one_edge(subject: Subject, active: bool) -> None:
    edges = edges_of(subject)
    assert subject.another and subject.die
    subject.board.open()
    subject.board.claim_output(17, not active)
    subject.board.write(17, active)
    subject.die()
    before = edges(17)
    assert before[-1:] == [active]
    after = subject.another()
    after.open()
    after.claim_output(17, not active)
    assert edges(17) == [*before, not active]


@pytest.mark.parametrize("level", [True, False])
def test_a_line_is_given_back_as_it_is(subject: Subject, board: GpioBoard, level: bool) -> None:
    edges = edges_of(subject)
    board.claim_output(17, level)
    before = edges(17)
    board.release(17)
    assert edges(17) == before


@pytest.mark.parametrize("level", [True, False])
def test_a_line_is_given_back_at_the_level_that_is_named(subject: Subject, board: GpioBoard, level: bool) -> None:
    edges = edges_of(subject)
    board.claim_output(17, not level)
    board.release(17, level)
    assert edges(17)[-1] is level


def test_an_input_is_given_back_without_being_driven(subject: Subject, board: GpioBoard) -> None:
    edges = edges_of(subject)
    board.claim_input(17, "down", 0.0, ignore)
    board.release(17, True)
    assert edges(17) == []


# Pulses ---------------------------------------------------------------------------------------------------------------


def test_pwm_takes_every_share(board: GpioBoard) -> None:
    board.claim_pwm(17, 0.0)
    assert board.read(17) is False
    for duty in (0.25, 1.0, 0.004, 0.0, 1.0):
        board.write_duty(17, duty)
        assert board.read(17) is (duty > 0)


def test_pwm_at_1_is_high_from_the_first_moment(subject: Subject, board: GpioBoard) -> None:
    """As of an active-low lamp that is off."""
    board.claim_output(17, True)
    board.release(17)
    board.claim_pwm(17, 1.0)
    assert board.read(17) is True
    if subject.edges:
        assert subject.edges(17) in ([], [True])


def test_a_servo_is_slack_or_somewhere(board: GpioBoard) -> None:
    board.claim_servo(17, None)
    assert board.read(17) is False
    for position in (-1.0, 1.0, None, 0.0):
        board.write_position(17, position)
        assert board.read(17) is (position is not None)


@pytest.mark.parametrize("kind", ["pwm", "servo"])
def test_pulses_end_low_unless_a_level_is_named(subject: Subject, board: GpioBoard, kind: str) -> None:
    edges = edges_of(subject)
    CLAIMS[kind](board, 17)
    board.release(17)
    assert edges(17)[-1] is False
    CLAIMS[kind](board, 18)
    board.release(18, True)
    assert edges(18)[-1] is True


def test_pwm_that_is_steady_is_given_back_as_it_is(subject: Subject, board: GpioBoard) -> None:
    edges = edges_of(subject)
    board.claim_pwm(17, 1.0)
    board.close()
    assert edges(17) in ([], [True])


# Inputs ---------------------------------------------------------------------------------------------------------------


def test_an_input_that_nobody_drives_is_where_it_is_pulled(board: GpioBoard) -> None:
    board.claim_input(17, "up", 0.0, ignore)
    board.claim_input(18, "down", 0.0, ignore)
    assert board.read(17) is True
    assert board.read(18) is False


def test_an_input_can_be_claimed_without_a_pull(board: GpioBoard) -> None:
    board.claim_input(17, "none", 0.0, ignore)
    board.claim_input(2, "none", 0.0, ignore)  # it has a resistor of its own


def test_edges_are_told_in_order_with_their_time(subject: Subject, board: GpioBoard) -> None:
    edges = Edges()
    board.claim_input(17, "up", 0.0, edges)
    for level in (False, True, False):
        before = CLOCK.monotonic()
        subject.drive(17, level)
        line, told, at = edges.next()
        assert (line, told, board.read(17)) == (17, level, level)
        assert before - 0.01 <= at <= CLOCK.monotonic() + 0.01


def test_edges_of_several_lines_are_told_apart(subject: Subject, board: GpioBoard) -> None:
    edges = Edges()
    for line in (17, 18):
        board.claim_input(line, "up", 0.0, edges)
    subject.drive(18, False)
    subject.drive(17, False)
    assert [edges.next()[:2] for _ in range(2)] == [(18, False), (17, False)]


def test_a_callback_that_fails_does_not_cost_the_next_edge(
    subject: Subject, board: GpioBoard, caplog: pytest.LogCaptureFixture
) -> None:
    edges = Edges()

    def fail_once(line: int, level: bool, at: float) -> None:
        edges(line, level, at)
        if level is False:
            raise RuntimeError("a fault of the service")

    board.claim_input(17, "up", 0.0, fail_once)
    subject.drive(17, False)
    subject.drive(17, True)
    assert [edges.next()[1] for _ in range(2)] == [False, True]
    assert "a fault of the service" in caplog.text


def test_no_edge_is_told_of_a_line_that_was_given_back(subject: Subject, board: GpioBoard) -> None:
    edges, others = Edges(), Edges()
    board.claim_input(17, "up", 0.0, edges)
    board.claim_input(18, "up", 0.0, others)
    board.release(17)
    subject.drive(17, False)
    subject.drive(18, False)
    assert others.next()[0] == 18  # told after it, if at all
    assert edges.queue.empty()


def test_no_edge_is_told_of_the_level_at_claiming(subject: Subject, board: GpioBoard) -> None:
    edges = Edges()
    board.claim_input(17, "up", 0.0, edges)
    subject.drive(17, True)
    subject.drive(17, False)
    assert edges.next()[1] is False


def test_a_callback_may_be_any_callable(subject: Subject, board: GpioBoard) -> None:
    """gpiozero keeps a weak reference; a bound method or a closure must not vanish."""

    def closure() -> tuple[Edges, OnEdge]:
        edges = Edges()
        return edges, lambda line, level, at: edges(line, level, at)

    edges, callback = closure()
    board.claim_input(17, "up", 0.0, callback)
    del callback
    subject.drive(17, False)
    assert edges.next()[1] is False
