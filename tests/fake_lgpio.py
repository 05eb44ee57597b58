"""A stand-in for the `lgpio` module, and for the kernel's own interface to inputs, on a chip that outlives its handles:
written from lgpio's documentation and linux/gpio.h.

Every call that would reach the chip is recorded, with the level of its line before and after. As Raspberry Pi OS does,
it keeps the level of a line that is freed or whose owner is dead. What lgpio does and one might not expect is done here
too: claiming an output that is an output already does nothing, and to write a line that is no output makes it one.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from types import ModuleType
from typing import Any

import pytest

from piapi.lines.edges import EVENT, RISING

SET_PULL_UP, SET_PULL_DOWN, SET_PULL_NONE = 32, 64, 128
_USED, _IS_OUT = 1, 1 << 1
_TEXTS = {-73: "bad GPIO number", -78: "can not open gpiochip", -79: "GPIO busy", -80: "GPIO not allocated"}
_TEXTS |= {-86: "bad PWM micros", -102: "bad PWM frequency"}

#: Modules that hold on to the one they were imported with.
_USERS = ("gpiozero.pins.lgpio", "piapi.hardware.lgpio_pins")


class error(Exception):  # noqa: N801 — its name
    """As lgpio's: the text is the repr of the words."""

    def __init__(self, value: str) -> None:
        self.value = value

    def __str__(self) -> str:
        return repr(self.value)


@dataclass
class Line:
    """One line of the chip."""

    is_output: bool = False
    driven: bool = False
    outside: bool | None = None
    flags: int = 0
    pull: str | None = None
    """Of one that is an input of the kernel's own interface."""
    owner: object = None
    pulses: tuple[float, float] | None = None

    @property
    def level(self) -> bool:
        if self.is_output:
            return self.driven
        return self.outside if self.outside is not None else bool(self.flags & SET_PULL_UP) or self.pull == "up"


@dataclass
class Call:
    """What reached the chip."""

    name: str
    line: int
    before: bool
    after: bool
    descriptor: int
    """The lowest number of a file that was free then."""


@dataclass
class Chip:
    """The chip, from outside."""

    lines: dict[int, Line] = field(default_factory=lambda: {number: Line() for number in range(54)})
    calls: list[Call] = field(default_factory=list)
    handles: set[object] = field(default_factory=set)
    listeners: dict[int, int] = field(default_factory=dict)
    """Where edges of a line are written to."""
    fails: str | None = None
    """Words of an error that every call of lgpio raises from now on."""

    def edges(self, line: int) -> list[bool]:
        return [call.after for call in self.calls if call.line == line and call.before != call.after]

    def names(self, line: int) -> list[str]:
        return [call.name for call in self.calls if call.line == line]

    def kill_owners(self) -> None:
        """As SIGKILL: handles are closed, levels stay. Pulses stop where they are."""
        self.handles.clear()
        for number in list(self.listeners):
            self.stop_listening(number)
        for line in self.lines.values():
            line.owner = line.pulses = None

    def drive(self, number: int, level: bool) -> None:
        line = self.lines[number]
        before, line.outside = line.level, level
        if line.level != before:
            self.tell(number, line.level, time.monotonic_ns())

    def tell(self, number: int, level: bool, at_ns: int) -> None:
        """Of an edge, to whom that concerns."""
        if number in self.listeners:
            os.write(self.listeners[number], EVENT.pack(at_ns, RISING if level else RISING + 1))

    def stop_listening(self, number: int) -> None:
        os.close(self.listeners.pop(number))

    def act(self, name: str, number: int, act: Callable[[Line], object]) -> None:
        """Do it, and record it."""
        line = self.lines[number]
        before = line.level
        act(line)
        os.close(descriptor := os.dup(0))
        self.calls.append(Call(name, number, before, line.level, descriptor))


def module(chip: Chip) -> ModuleType:
    """The module, on this chip."""
    lgpio = ModuleType("lgpio")

    def fail(code: int) -> Any:
        raise error(_TEXTS[code])

    def call(name: str, handle: int, number: int, act: Callable[[Line], object]) -> None:
        if chip.fails:
            raise error(chip.fails)
        if number not in chip.lines:
            fail(-73)
        if chip.lines[number].owner not in (None, handle):
            fail(-79)
        chip.act(name, number, act)

    def gpiochip_open(number: int) -> int:
        if number != 0:
            fail(-78)
        handle = len(chip.calls) + len(chip.handles) + 1
        chip.handles.add(handle)
        return handle

    def gpiochip_close(handle: int) -> None:
        chip.handles.discard(handle)
        for line in chip.lines.values():
            if line.owner == handle:
                line.owner = line.pulses = None

    def gpio_claim_output(handle: int, number: int, level: int = 0, lFlags: int = 0) -> None:  # noqa: N803
        def act(line: Line) -> None:
            if line.owner != handle or not line.is_output:
                line.owner, line.is_output, line.driven, line.flags = handle, True, bool(level), lFlags

        call("claim_output", handle, number, act)

    def gpio_claim_input(handle: int, number: int, lFlags: int = 0) -> None:  # noqa: N803
        def act(line: Line) -> None:
            if line.owner != handle or line.is_output:
                line.owner, line.is_output, line.flags = handle, False, lFlags

        call("claim_input", handle, number, act)

    def gpio_free(handle: int, number: int) -> None:
        def act(line: Line) -> None:
            if line.owner is None:
                fail(-80)
            line.owner = line.pulses = None

        call("free", handle, number, act)

    def gpio_write(handle: int, number: int, level: int) -> None:
        def act(line: Line) -> None:
            line.owner, line.is_output, line.driven = handle, True, bool(level)

        call("write", handle, number, act)

    def gpio_read(handle: int, number: int) -> int:
        if chip.fails:
            raise error(chip.fails)
        return int(chip.lines[number].level)

    def gpio_get_mode(handle: int, number: int) -> int:
        line = chip.lines[number]
        return line.flags | (_IS_OUT if line.is_output else 0) | (_USED if line.owner is not None else 0)

    def tx_pwm(handle: int, number: int, hertz: float, percent: float, *rest: int) -> None:
        def act(line: Line) -> None:
            if not hertz:
                if line.pulses is None:
                    fail(-86)
                line.pulses = None
            elif not 0.1 <= hertz <= 10_000 or not 0 <= percent <= 100:
                fail(-102)
            else:
                line.pulses = (hertz, percent)
                line.driven = percent > 0

        call("tx_pwm", handle, number, act)

    for function in (gpiochip_open, gpiochip_close, gpio_claim_output, gpio_claim_input, gpio_free):
        setattr(lgpio, function.__name__, function)
    for function in (gpio_write, gpio_read, gpio_get_mode, tx_pwm):
        setattr(lgpio, function.__name__, function)
    constants = {"SET_PULL_UP": SET_PULL_UP, "SET_PULL_DOWN": SET_PULL_DOWN, "SET_PULL_NONE": SET_PULL_NONE}
    constants |= {"RISING_EDGE": 1, "FALLING_EDGE": 2, "BOTH_EDGES": 3, "GPIO_BUSY": -79}
    vars(lgpio).update(constants, error=error, error_text=lambda code: _TEXTS[code])
    return lgpio


class Node:
    """/dev/gpiochip0 of a chip, opened (piapi.lines.chip.GpioChip)."""

    def __init__(self, chip: Chip, number: int) -> None:
        if number != 0:
            raise FileNotFoundError(2, "No such file or directory", f"/dev/gpiochip{number}")
        self._chip = chip
        self._descriptors: dict[int, int] = {}
        chip.handles.add(self)

    def claim_input(self, number: int, pull: str) -> int:
        def act(line: Line) -> None:
            if line.owner is not None:
                raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
            line.owner, line.is_output, line.pull = self, False, pull

        self._chip.act("claim_input", number, act)
        self._descriptors[number], self._chip.listeners[number] = os.pipe()
        return self._descriptors[number]

    def level(self, number: int) -> bool:
        assert number in self._descriptors
        if self._chip.fails:
            raise OSError(errno.EIO, self._chip.fails)
        return self._chip.lines[number].level

    def free(self, number: int) -> None:
        def act(line: Line) -> None:
            if line.owner is self:
                line.owner = None
                self._chip.stop_listening(number)

        self._chip.act("free", number, act)
        os.close(self._descriptors.pop(number))

    def close(self) -> None:
        for number in list(self._descriptors):
            self.free(number)
        self._chip.handles.discard(self)


@contextlib.contextmanager
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Chip]:
    """A Pi 3B+ whose chip is gpiochip0, and `import lgpio` finds this module."""
    chip = Chip()
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "lgpio", module(chip))
        patch.setattr("piapi.lines.chip.GpioChip", partial(Node, chip))
        patch.setattr("piapi.lines.chip.find", lambda: 0)
        patch.setattr("gpiozero.pins.local.get_pi_revision", lambda: 0xA020D3)
        patch.setenv("LG_WD", "/nowhere")
        _forget_users()
        try:
            yield chip
        finally:
            _forget_users()


def _forget_users() -> None:
    for name in _USERS:
        sys.modules.pop(name, None)
        package, _, last = name.rpartition(".")
        vars(importlib.import_module(package)).pop(last, None)
