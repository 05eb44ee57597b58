"""The lines of a Raspberry Pi, by gpiozero on lgpio. Never by another of gpiozero's factories, never by a fake."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from piapi.clock import Clock
from piapi.errors import BoardUnavailable, HardwareError, LineRefused
from piapi.hardware.gpio import PWM_HZ, SERVO_CENTRE_S, SERVO_HZ, SERVO_SWING_S, OnEdge, Pull
from piapi.hardware.gpio_claims import Claim, Claims, missing, out_of_range
from piapi.lines import chip
from piapi.lines.descriptors import INPUTS, OUTPUTS, last_numbers

log = logging.getLogger(__name__)

Explained = Callable[[int | None], AbstractContextManager[None]]

_PULLS = {"up": "up", "down": "down", "none": "floating"}

_LATEST_S = 60.0
"""An edge that claims to be older than this has a date of another clock."""


class LgpioBoard:
    """One board. `number` is that of /dev/gpiochip*, found by the chip's label unless given."""

    emulated = False

    def __init__(
        self,
        number: int | None,
        folder: Path,
        clock: Clock,
        open_factory: Callable[[], tuple[Any, Explained]] | None = None,
    ) -> None:
        """`folder`: where lgpio may put a FIFO. `open_factory`: gpiozero's factory and the names of its errors."""
        self._number = number
        self._folder = folder
        self._clock = clock
        self._open_factory = open_factory or self._open_lgpio
        self._explained: Explained = lambda line: contextlib.nullcontext()
        self._lock = threading.RLock()
        self._claims = Claims(frozenset())
        self._handlers: dict[int, Callable[[float, float], None]] = {}
        self._factory: Any = None
        self._model: str | None = None

    @property
    def model(self) -> str | None:
        """Such as `Raspberry Pi 4B rev 1.2`."""
        return self._model

    @property
    def lines(self) -> frozenset[int]:
        """What gpiozero knows of this model's headers."""
        return self._claims.lines

    def open(self) -> None:
        """Open the chip. Raises BoardUnavailable."""
        with self._lock:
            if self._factory is not None:
                return
            factory, self._explained = self._open_factory()
            try:
                with self._explained(None):
                    board = factory.board_info
                pins = (pin for header in board.headers.values() for pin in header.pins.values())
                lines = frozenset(int(pin.name[4:]) for pin in pins if "gpio" in pin.interfaces)
            except BaseException:
                factory.close()
                raise
            self._factory, self._model, self._claims = factory, board.description, Claims(lines)

    def close(self) -> None:
        """Give everything back as it is."""
        with self._lock:
            if self._factory is None:
                return
            for line in self._claims:
                with _logged(line):
                    self._release(line, None)
            with _logged(None), self._explained(None):
                self._factory.close()
            self._factory = None

    def claim_output(self, line: int, level: bool) -> None:
        """Drive a line."""
        with self._claiming(line, "output", float(level)):
            self._pin(line).output_with_state(level)

    def write(self, line: int, level: bool) -> None:
        """Set an output."""
        with self._writing(line, "output", float(level)) as pin:
            pin.state = level

    def read(self, line: int) -> bool:
        """The level of a claimed line; of pulses, whether there are any."""
        with self._lock:
            self._claims.require(line)
            with self._explained(line):
                return bool(self._pin(line).state)

    def claim_input(self, line: int, pull: Pull, debounce_s: float, on_edge: OnEdge) -> None:
        """Listen to a line."""

        def changed(ticks: float, state: float) -> None:
            try:
                on_edge(line, bool(state), self._moment(ticks))
            except Exception:  # noqa: BLE001 — it would end the one thread that tells of all edges
                log.exception("fault in a callback of GPIO%d", line)

        with self._claiming(line, "input", None):
            pin = self._pin(line)
            fixed = pin.info.pull  # GPIO2 and GPIO3 have resistors on the board
            if fixed and pull not in ("none", fixed):
                raise LineRefused(f"GPIO{line} is pulled {fixed} by a resistor on the board; set pull to {fixed!r}.")
            pin.input_with_pull(fixed or _PULLS[pull])
            pin.bounce = debounce_s or None
            self._handlers[line] = changed  # gpiozero's own reference is weak
            pin.when_changed = changed

    def claim_pwm(self, line: int, duty: float) -> None:
        """Pulses by lgpio's thread."""
        with self._claiming(line, "pwm", duty):
            self._begin_pulses(line, PWM_HZ, duty)

    def write_duty(self, line: int, duty: float) -> None:
        """Set the share of a line with PWM."""
        with self._writing(line, "pwm", duty) as pin:
            pin.state = duty

    def claim_servo(self, line: int, position: float | None) -> None:
        """Pulses by lgpio's thread."""
        with self._claiming(line, "servo", position):
            self._begin_pulses(line, SERVO_HZ, _servo_duty(position))

    def write_position(self, line: int, position: float | None) -> None:
        """Set a servo."""
        with self._writing(line, "servo", position) as pin:
            pin.state = _servo_duty(position)

    def release(self, line: int, level: bool | None = None) -> None:
        """Give a line back."""
        with self._lock:
            if line in self._claims:
                self._release(line, level)

    def _release(self, line: int, level: bool | None) -> None:
        claim = self._claims.remove(line)
        pin = self._pin(line)
        try:
            with self._explained(line):
                self._end_use(pin, claim, level)
        finally:
            self._handlers.pop(line, None)
            self._factory.pins.pop(pin.info, None)
            with self._explained(line):
                pin.close()

    @staticmethod
    def _end_use(pin: Any, claim: Claim, level: bool | None) -> None:
        if claim.is_pulsing and level is None:
            level = False
        if claim.kind in ("pwm", "servo"):
            pin.frequency = None
        if level is not None and claim.kind != "input":
            pin.state = level

    def _begin_pulses(self, line: int, hertz: int, duty: float) -> None:
        pin = self._pin(line)
        pin.output_with_state(duty >= 1)
        pin.frequency = hertz
        pin.state = duty

    @contextlib.contextmanager
    def _claiming(self, line: int, kind: str, value: float | None) -> Iterator[None]:
        """What is done in here claims the line."""
        with self._lock:
            if self._factory is None:
                raise BoardUnavailable("The board is not open.")
            self._claims.refuse(line, kind, value)
            try:
                with self._explained(line), self._numbered(line, INPUTS if kind == "input" else OUTPUTS):
                    yield
            except BaseException:
                pin = self._pin(line)
                self._factory.pins.pop(pin.info, None)
                with contextlib.suppress(HardwareError), self._explained(line):
                    pin.close()  # it may have been claimed before it failed
                raise
            self._claims.add(line, kind, value)

    def _numbered(self, line: int, count: int) -> contextlib.AbstractContextManager[None]:
        """One of the last file numbers for a line. Not for one that somebody else has: it is tried every few seconds,
        to take all other numbers needs tens of milliseconds, and what has to go off waits for that."""
        return contextlib.nullcontext() if self._pin(line).is_taken else last_numbers(count)

    @contextlib.contextmanager
    def _writing(self, line: int, kind: str, value: float | None) -> Iterator[Any]:
        """What is done in here sets the line."""
        with self._lock:
            claim = self._claims.require(line, kind)
            out_of_range(line, kind, value)
            claim.value = value
            with self._explained(line):
                yield self._pin(line)

    def _pin(self, line: int) -> Any:
        missing(line, self.lines)
        return self._factory.pin(f"GPIO{line}")

    def _moment(self, ticks: float) -> float:
        """The CLOCK_BOOTTIME of an edge. Its date is of CLOCK_MONOTONIC with the kernels of today (linux/gpio.h)."""
        age = time.monotonic() - ticks
        return self._clock.monotonic() - (age if 0 <= age < _LATEST_S else 0.0)

    def _open_lgpio(self) -> tuple[Any, Explained]:
        try:
            number = chip.find() if self._number is None else self._number
            chip.GpioChip(number).close()  # lgpio would say only that it can not open it
            with _working_in(self._folder):
                from piapi.hardware import lgpio_pins
            if not hasattr(lgpio_pins.Factory, "board_info"):
                raise BoardUnavailable(
                    "gpiozero is older than 2, which piapi needs: Raspberry Pi OS has it (`sudo apt update && sudo apt "
                    "install python3-gpiozero`), Debian's own is 1.6."
                )
            with lgpio_pins.explained():
                return lgpio_pins.Factory(number), lgpio_pins.explained
        except ImportError as error:
            raise BoardUnavailable(_missing_library(error)) from None
        except PermissionError:
            raise BoardUnavailable(
                "This user may not use GPIO: `sudo usermod -aG gpio USER`, then log in again (in a systemd unit: "
                "SupplementaryGroups=gpio)."
            ) from None
        except (OSError, RuntimeError) as error:
            raise BoardUnavailable(
                f"The GPIO chip cannot be used ({error}). On a Raspberry Pi, `gpiodetect` lists the chips; elsewhere, "
                'set backend = "simulated" in [gpio].'
            ) from None


def _servo_duty(position: float | None) -> float:
    return 0.0 if position is None else (SERVO_CENTRE_S + position * SERVO_SWING_S) * SERVO_HZ


def _missing_library(error: ImportError) -> str:
    return (
        f"The libraries for GPIO are missing ({error}): `sudo apt install python3-gpiozero python3-lgpio`. If they are "
        f"installed, this Python ({sys.prefix}) does not see them: make its environment anew with `python3 -m venv "
        "--system-site-packages`, by the system's own Python."
    )


@contextlib.contextmanager
def _working_in(folder: Path) -> Iterator[None]:
    """`import lgpio` makes a FIFO in the folder that LG_WD names, and makes it the current folder of the process."""
    os.environ.setdefault("LG_WD", str(folder))
    before = os.open(".", os.O_PATH | os.O_DIRECTORY)
    try:
        yield
    finally:
        os.fchdir(before)
        os.close(before)


@contextlib.contextmanager
def _logged(line: int | None) -> Iterator[None]:
    """While closing, one that fails stops no other."""
    try:
        yield
    except HardwareError as error:
        log.warning("GPIO%s while closing: %s", "" if line is None else line, error)
