"""The board of a Raspberry Pi: which calls reach the chip, and what is said when it cannot be used.

What it has in common with other boards is in test_gpio_contract.py.
"""

from __future__ import annotations

import contextlib
import os
import queue
import resource
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from piapi.clock import SystemClock
from piapi.errors import BoardUnavailable, LineBusy, LineRefused
from piapi.hardware.gpio_lgpio import LgpioBoard
from piapi.lines import chip as kernel
from piapi.lines import edges
from piapi.lines.descriptors import INPUTS, OUTPUTS, end_of_numbers
from tests import fake_lgpio
from tests.fake_lgpio import Chip
from tests.requirements import require

CLOCK = SystemClock()
PATIENCE_S = 20.0


@pytest.fixture
def chip(monkeypatch: pytest.MonkeyPatch) -> Iterator[Chip]:
    with fake_lgpio.installed(monkeypatch) as chip:
        yield chip


@pytest.fixture
def board(chip: Chip, tmp_path: Path) -> Iterator[LgpioBoard]:
    board = LgpioBoard(None, tmp_path, CLOCK)
    board.open()
    yield board
    board.close()
    assert chip.handles == set()


def ignore(line: int, level: bool, at: float) -> None:
    pass


# Calls ----------------------------------------------------------------------------------------------------------------


def test_opening_and_closing_touches_no_line(chip: Chip, board: LgpioBoard) -> None:
    assert board.model == "Raspberry Pi 3B+ rev 1.3"
    assert not board.emulated
    board.close()
    assert chip.calls == []


def test_lines_are_let_go_before_cameras_when_the_process_is_killed(chip: Chip, board: LgpioBoard) -> None:
    """The kernel closes the highest number first, and to stop a camera takes it seconds."""
    board.claim_output(17, True)
    board.claim_input(18, "up", 0.01, ignore)
    with open(os.devnull) as camera:  # noqa: PTH123
        output, heard = [end_of_numbers() - call.descriptor for call in chip.calls]
        assert 0 < output <= OUTPUTS < heard <= INPUTS < end_of_numbers() - camera.fileno()
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    board.release(17)
    board.claim_output(17, True)
    board.release(18)
    board.claim_input(18, "up", 0.01, ignore)
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_a_process_that_may_open_few_files_has_its_lines_all_the_same(chip: Chip, board: LgpioBoard) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        board.claim_output(17, True)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert chip.calls[0].descriptor < 256


def test_lines_are_let_go_first_also_where_a_thousand_files_are_open(chip: Chip, board: LgpioBoard) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (2512, hard))
    with contextlib.ExitStack() as clients:
        clients.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        for _ in range(1000):
            clients.callback(os.close, os.dup(0))
        board.claim_output(17, True)
        camera = os.dup(0)
        clients.callback(os.close, camera)
        assert 2512 - OUTPUTS <= chip.calls[0].descriptor < 2512
        assert camera < 2512 - INPUTS


def test_a_board_that_fails_in_opening_leaves_nothing_open(
    chip: Chip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fault(*arguments: object) -> None:
        raise ValueError("a revision that nobody knows")

    board = LgpioBoard(None, tmp_path, CLOCK)
    monkeypatch.setattr("gpiozero.pins.lgpio.LGPIOFactory._get_board_info", fault)
    before = os.listdir("/proc/self/fd")  # noqa: PTH208
    with pytest.raises(BoardUnavailable, match="nobody knows"):
        board.open()
    assert chip.handles == set()
    monkeypatch.setattr("piapi.hardware.lgpio_pins.Edges", fault)
    with pytest.raises(BoardUnavailable, match="nobody knows"):
        board.open()
    assert chip.handles == set()
    assert os.listdir("/proc/self/fd") == before  # noqa: PTH208


def test_an_output_takes_one_call_to_claim_and_one_to_give_back(chip: Chip, board: LgpioBoard) -> None:
    board.claim_output(17, True)
    assert chip.names(17) == ["claim_output"]
    board.write(17, False)
    board.write(17, True)
    board.release(17)
    assert chip.names(17) == ["claim_output", "write", "write", "free"]


def test_gpiozeros_own_pin_would_click(chip: Chip) -> None:
    """Which is why there is a pin of our own; and the fake would show it."""
    from gpiozero.pins.lgpio import LGPIOFactory

    chip.lines[17].is_output = chip.lines[17].driven = True  # left at the inactive level of an active-low relay
    factory = LGPIOFactory(0)
    factory.pin("GPIO17").output_with_state(True)
    assert chip.names(17) == ["claim_input", "claim_output", "write"]
    assert chip.edges(17) == [False, True]
    factory.close()
    assert chip.edges(17) == [False, True, False]


def test_an_input_takes_one_call_to_claim_and_one_to_give_back(chip: Chip, board: LgpioBoard) -> None:
    board.claim_input(17, "none", 0.05, ignore)
    assert chip.names(17) == ["claim_input"]
    assert chip.lines[17].pull == "floating"
    board.release(17)
    assert chip.names(17) == ["claim_input", "free"]
    assert chip.listeners == {}


def test_pwm_is_sent_between_0_and_1_alone(chip: Chip, board: LgpioBoard) -> None:
    board.claim_pwm(17, 0.0)
    assert chip.lines[17].pulses is None
    board.write_duty(17, 0.255)
    assert chip.lines[17].pulses == (100, 25.5)
    board.write_duty(17, 1.0)
    assert chip.lines[17].pulses is None
    assert board.read(17)
    board.write_duty(17, 0.5)
    board.release(17)
    assert chip.lines[17].pulses is None
    assert not chip.lines[17].level


@pytest.mark.parametrize(("position", "pulse_us"), [(-1.0, 1000), (0.0, 1500), (0.01, 1505), (1.0, 2000)])
def test_a_servo_gets_pulses_of_1_to_2_ms_fifty_times_a_second(
    chip: Chip, board: LgpioBoard, position: float, pulse_us: float
) -> None:
    board.claim_servo(17, position)
    assert chip.lines[17].pulses
    hertz, percent = chip.lines[17].pulses
    assert hertz == 50
    assert percent / 100 / hertz == pytest.approx(pulse_us / 1e6)
    board.write_position(17, None)
    assert chip.lines[17].pulses is None
    assert not chip.lines[17].level


def test_closing_gives_back_each_line_as_it_is(chip: Chip, board: LgpioBoard) -> None:
    for line in range(8):
        board.claim_output(line, line % 2 == 0)
    before = [chip.lines[line].level for line in range(8)]
    board.close()
    assert [chip.lines[line].level for line in range(8)] == before
    assert all(chip.names(line) == ["claim_output", "free"] for line in range(8))


def test_two_boards_share_no_pins(chip: Chip, board: LgpioBoard, tmp_path: Path) -> None:
    """gpiozero keeps them in its class, with the handle that they were made with."""
    other = LgpioBoard(0, tmp_path, CLOCK)
    other.open()
    board.claim_output(17, True)
    other.claim_output(18, True)
    board.close()
    other.write(18, False)
    assert not chip.lines[18].level
    other.close()


def test_what_failed_half_way_is_given_back(chip: Chip, board: LgpioBoard, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise fake_lgpio.error("TX queue full")

    with monkeypatch.context() as patch:
        patch.setattr(sys.modules["lgpio"], "tx_pwm", fail)
        with pytest.raises(BoardUnavailable, match="TX queue full"):
            board.claim_pwm(17, 0.5)
    assert chip.names(17) == ["claim_output", "free"]
    board.claim_pwm(17, 0.5)


# Edges ----------------------------------------------------------------------------------------------------------------


class Told:
    """Takes edges: their levels and times."""

    def __init__(self) -> None:
        self.queue: queue.SimpleQueue[tuple[bool, float]] = queue.SimpleQueue()

    def __call__(self, line: int, level: bool, at: float) -> None:
        self.queue.put((level, at))

    def next(self) -> tuple[bool, float]:
        return self.queue.get(timeout=PATIENCE_S)


def test_the_time_of_a_debounced_edge_is_when_the_line_moved(chip: Chip, board: LgpioBoard) -> None:
    told, debounce_s = Told(), 0.2
    board.claim_input(17, "up", debounce_s, told)
    before = CLOCK.monotonic()
    chip.drive(17, False)
    after = CLOCK.monotonic()
    level, at = told.next()
    assert not level and before <= at <= after and CLOCK.monotonic() >= before + debounce_s


@pytest.mark.parametrize("debounce_s", [0.0, 0.01])
def test_a_time_of_another_clock_is_not_believed(chip: Chip, board: LgpioBoard, debounce_s: float) -> None:
    told = Told()
    board.claim_input(17, "up", debounce_s, told)
    for level, ticks in ((False, time.time_ns()), (True, 0)):
        before = CLOCK.monotonic()
        chip.tell(17, level, ticks)
        assert before <= told.next()[1] <= CLOCK.monotonic()


def test_an_edge_that_has_not_settled_when_its_line_is_given_back_is_not_told(chip: Chip, board: LgpioBoard) -> None:
    told, others = Told(), Told()
    board.claim_input(17, "up", 0.05, told)
    chip.drive(17, False)
    board.release(17)
    board.claim_input(18, "up", 0.05, others)
    chip.drive(18, False)
    assert others.next()[0] is False and told.queue.empty()


def test_edges_that_come_as_a_line_is_given_back_end_nothing(chip: Chip, board: LgpioBoard) -> None:
    """They were read before it was, and nobody takes them any more."""
    told = Told()
    board.claim_input(17, "up", 0.0, told)
    pin = board._pin(17)
    board.release(17)
    for level in (False, True):
        pin._moved(level, time.monotonic_ns())
    assert told.queue.empty()


def test_an_input_that_can_not_be_read_is_given_back(chip: Chip, board: LgpioBoard) -> None:
    chip.fails = "Input/output error"
    with pytest.raises(BoardUnavailable, match="Input/output error"):
        board.claim_input(17, "up", 0.0, ignore)
    assert chip.names(17) == ["claim_input", "free"]
    assert chip.listeners == {}


def test_a_pull_against_the_boards_own_resistor_is_refused(chip: Chip, board: LgpioBoard) -> None:
    with pytest.raises(LineRefused, match="pulled up"):
        board.claim_input(2, "down", 0.0, ignore)
    assert chip.calls == []
    board.claim_input(2, "up", 0.0, ignore)


# What is said ---------------------------------------------------------------------------------------------------------


def test_a_chip_that_fails_is_unavailable(chip: Chip, board: LgpioBoard) -> None:
    board.claim_output(17, True)
    board.claim_input(18, "up", 0.0, ignore)
    chip.fails = "bad GPIO write"
    for use in (lambda: board.write(17, False), lambda: board.read(17), lambda: board.claim_output(19, True)):
        with pytest.raises(BoardUnavailable, match="bad GPIO write"):
            use()
    board.close()


def test_a_fault_of_the_library_is_one_of_the_chip(
    chip: Chip, board: LgpioBoard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A version that piapi does not know must end neither its start nor a thread."""
    with monkeypatch.context() as patch:
        patch.setattr(sys.modules["lgpio"], "gpio_claim_output", None)
        with pytest.raises(BoardUnavailable, match="NoneType"):
            board.claim_output(17, False)
    board.claim_output(17, False)
    assert chip.lines[17].is_output


def test_a_busy_line_has_a_remedy(chip: Chip, board: LgpioBoard) -> None:
    chip.lines[17].owner = 99
    with pytest.raises(Exception, match=r"GPIO17 is in use.*gpioinfo"):
        board.claim_output(17, True)
    assert chip.names(17) == []


def test_a_busy_line_is_asked_for_again_and_again_at_little_cost(
    chip: Chip, board: LgpioBoard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever has to go off meanwhile waits for it."""
    chip.lines[17].owner = 99
    monkeypatch.setattr("piapi.hardware.gpio_lgpio.last_numbers", None)
    with pytest.raises(LineBusy):
        board.claim_output(17, True)


def test_a_missing_library_has_a_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with fake_lgpio.installed(monkeypatch):
        monkeypatch.setitem(sys.modules, "lgpio", None)
        with pytest.raises(BoardUnavailable, match="apt install python3-gpiozero python3-lgpio"):
            LgpioBoard(None, tmp_path, CLOCK).open()


def test_a_gpiozero_that_is_too_old_has_a_remedy(chip: Chip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gpiozero.pins.lgpio import LGPIOFactory

    (has,) = [known for known in LGPIOFactory.__mro__ if "board_info" in vars(known)]
    monkeypatch.delattr(has, "board_info")
    with pytest.raises(BoardUnavailable, match="gpiozero is older than 2"):
        LgpioBoard(None, tmp_path, CLOCK).open()


def test_a_user_who_may_not_has_a_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> int:
        raise PermissionError(13, "Permission denied", "/dev/gpiochip0")

    monkeypatch.setattr(kernel, "find", refuse)
    with pytest.raises(BoardUnavailable, match="usermod -aG gpio"):
        LgpioBoard(None, tmp_path, CLOCK).open()


def test_a_chip_that_is_not_there_has_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(BoardUnavailable, match='backend = "simulated"'):
        LgpioBoard(9999, tmp_path, CLOCK).open()


def test_a_machine_that_is_no_pi_is_named(chip: Chip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gpiozero import PinUnknownPi

    def unknown() -> int:
        raise PinUnknownPi("unable to locate Pi revision")

    monkeypatch.setattr("gpiozero.pins.local.get_pi_revision", unknown)
    with pytest.raises(BoardUnavailable, match="unable to locate Pi revision"):
        LgpioBoard(None, tmp_path, CLOCK).open()
    assert chip.handles == set()


def test_a_fault_of_lgpio_when_it_is_loaded_is_no_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where its FIFO cannot be made."""
    with fake_lgpio.installed(monkeypatch):
        (tmp_path / "lgpio.py").write_text("raise FileNotFoundError(2, 'No such file or directory', '.lgd-nfy-3')")
        monkeypatch.delitem(sys.modules, "lgpio")
        monkeypatch.syspath_prepend(str(tmp_path))
        with pytest.raises(BoardUnavailable, match="lgd-nfy"):
            LgpioBoard(None, tmp_path, CLOCK).open()


def test_lgpio_works_in_its_folder_and_piapi_stays_in_its_own(
    chip: Chip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`import lgpio` changes the current folder of the process, where relative paths of the settings start."""
    seen, here = [], Path.cwd()
    monkeypatch.delenv("LG_WD")

    class Loader:
        def find_spec(self, name: str, path: object = None, target: object = None) -> None:
            if name == "piapi.hardware.lgpio_pins":
                seen.append(os.environ["LG_WD"])
                os.chdir(os.environ["LG_WD"])

    monkeypatch.setattr(sys, "meta_path", [Loader(), *sys.meta_path])
    board = LgpioBoard(None, tmp_path, CLOCK)
    board.open()
    board.close()
    assert seen == [str(tmp_path)]
    assert Path.cwd() == here


# The kernel's interface, which the guard uses -------------------------------------------------------------------------

LAYOUT = r"""
#include <linux/gpio.h>
#include <stdio.h>
#include <string.h>
int main(void) {
    struct gpio_v2_line_request request;
    memset(&request, 0, sizeof request);
    request.offsets[0] = 23;
    strcpy(request.consumer, "piapi guard");
    request.num_lines = 1;
    request.config.flags = GPIO_V2_LINE_FLAG_OUTPUT;
    request.config.num_attrs = 1;
    request.config.attrs[0].mask = 1;
    request.config.attrs[0].attr.id = GPIO_V2_LINE_ATTR_ID_OUTPUT_VALUES;
    request.config.attrs[0].attr.values = 1;
    fwrite(&request, sizeof request, 1, stdout);

    memset(&request, 0, sizeof request);
    request.offsets[0] = 24;
    strcpy(request.consumer, "piapi");
    request.num_lines = 1;
    request.event_buffer_size = 256;
    request.config.flags = GPIO_V2_LINE_FLAG_INPUT | GPIO_V2_LINE_FLAG_EDGE_RISING | GPIO_V2_LINE_FLAG_EDGE_FALLING |
                           GPIO_V2_LINE_FLAG_BIAS_PULL_UP;
    fwrite(&request, sizeof request, 1, stdout);
    request.config.flags ^= GPIO_V2_LINE_FLAG_BIAS_PULL_UP ^ GPIO_V2_LINE_FLAG_BIAS_PULL_DOWN;
    fwrite(&request, sizeof request, 1, stdout);
    request.config.flags ^= GPIO_V2_LINE_FLAG_BIAS_PULL_DOWN ^ GPIO_V2_LINE_FLAG_BIAS_DISABLED;
    fwrite(&request, sizeof request, 1, stdout);

    struct gpio_v2_line_event event;
    memset(&event, 0, sizeof event);
    event.timestamp_ns = 12345678901234567ull;
    event.id = GPIO_V2_LINE_EVENT_RISING_EDGE;
    fwrite(&event, sizeof event, 1, stdout);
    struct gpio_v2_line_values values = {.bits = 2, .mask = 1};
    fwrite(&values, sizeof values, 1, stdout);

    unsigned numbers[] = {GPIO_V2_GET_LINE_IOCTL, GPIO_V2_LINE_GET_VALUES_IOCTL, GPIO_GET_CHIPINFO_IOCTL,
                          sizeof(struct gpiochip_info), (unsigned)((char *)&request.fd - (char *)&request)};
    fwrite(numbers, sizeof numbers, 1, stdout);
    return 0;
}
"""


def test_what_is_asked_of_the_kernel_is_what_it_reads(tmp_path: Path) -> None:
    compiler = require("gcc")
    source, program = tmp_path / "layout.c", tmp_path / "layout"
    source.write_text(LAYOUT)
    subprocess.run([compiler, "-o", program, source], check=True, timeout=60)
    said = subprocess.run([program], capture_output=True, check=True, timeout=20).stdout
    inputs = [bytes(kernel.input_request_of(24, pull, b"piapi")) for pull in ("up", "down", "floating")]
    event = edges.EVENT.pack(12345678901234567, edges.RISING)
    numbers = (kernel._GET_LINE, kernel._GET_VALUES, kernel._GET_CHIPINFO, kernel._CHIPINFO.size, kernel._FD_AT)
    expected = [bytes(kernel.request_of(23, True, b"piapi guard")), *inputs, event, kernel._VALUES.pack(2, 1)]
    assert said == b"".join((*expected, struct.pack("=5I", *numbers)))


def test_the_chip_of_the_header_is_found_by_its_label(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = {0: "gpio-brcmstb@107d508500", 4: "pinctrl-rp1", 10: "raspberrypi-exp-gpio"}

    class Opened:
        def __init__(self, number: int) -> None:
            if number == 10:
                raise PermissionError(13, "Permission denied")
            self.label = labels[number]

        def close(self) -> None:
            pass

    names = ["null", "gpiochip10", "gpiochip4", "gpiochip0", "gpiochip", "gpiochipx"]
    monkeypatch.setattr(kernel, "GpioChip", Opened)
    monkeypatch.setattr(kernel.os, "listdir", lambda path: names)
    assert kernel.find() == 4
    labels[4] = "another"
    with pytest.raises(PermissionError):
        kernel.find()
    names.remove("gpiochip10")
    with pytest.raises(FileNotFoundError):
        kernel.find()


def test_gpio_is_not_loaded_before_it_is_used() -> None:
    code = "import sys, piapi.hardware.gpio_lgpio; print([m for m in ('gpiozero', 'lgpio') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
