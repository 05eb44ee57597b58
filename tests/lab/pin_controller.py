"""The pin controller of a Pi 3 as QEMU has it: the witness, which stands outside the guest.

Its registers are read through the monitor, and every write of the guest to them is in QEMU's log with its moment, so
that no level can be too short to be seen. (BCM2835 ARM Peripherals, 6.1; the kernel's pinctrl-bcm2835.c.)
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.lab.guest import Guest

BASE = 0x3F200000
SELECT, SET, CLEAR, LEVEL = 0x00, 0x1C, 0x28, 0x34
LINES_A_SELECT, SELECT_BITS, IS_OUTPUT = 10, 3, 0b001

LOG = "writes.log"
EVENT = "memory_region_ops_write"
WRITE = re.compile(r"^\d+@([\d.]+):\w+ .* addr 0x([0-9a-f]+) value 0x([0-9a-f]+) size 4 name 'bcm2835_gpio'$", re.M)


def logged(folder: Path) -> list[str]:
    """Arguments for QEMU: every write to a device goes to a log in `folder`, with the host's time."""
    return ["-msg", "timestamp=on", "-trace", EVENT, "-D", str(folder / LOG)]


@dataclass(frozen=True)
class Write:
    """One write: seconds, the register's offset, and what was written."""

    at: float
    register: int
    value: int


class PinController:
    """What the controller drives, from a moment on."""

    def __init__(self, guest: Guest) -> None:
        self._guest = guest
        self._log = guest.folder / LOG
        self.watch()

    def watch(self) -> None:
        """History begins now. Nobody may be switching a line just then."""
        self._from = self._log.stat().st_size
        self._selects, self._levels = self._read(SELECT, 6), self._read(LEVEL, 2)

    def driven(self, line: int) -> bool | None:
        """The level at which it drives a line now; None: it does not."""
        return driven(line, self._read(SELECT, 6), self._read(LEVEL, 2))

    def writes(self) -> list[Write]:
        """All since history began."""
        with self._log.open() as log:
            log.seek(self._from)
            text = log.read()
        return [Write(float(at), int(where, 16) - BASE, int(value, 16)) for at, where, value in WRITE.findall(text)]

    def history(self, line: int) -> list[tuple[float, bool | None]]:
        """At what a line was driven, and since when; first as history began, at 0."""
        changes: list[tuple[float, bool | None]] = []
        for at, now in self._course(line):
            if not changes or now is not changes[-1][1]:
                changes.append((at, now))
        return changes

    def times_written(self, line: int, level: bool) -> int:
        """How often it was set or cleared since history began, whether that changed it or not."""
        register = (SET if level else CLEAR) + line // 32 * 4
        return sum(write.register == register and bool(write.value >> line % 32 & 1) for write in self.writes())

    def levels(self, line: int) -> set[bool | None]:
        """All that a line was driven at since history began."""
        return {level for _, level in self.history(line)}

    def _course(self, line: int) -> Iterator[tuple[float, bool | None]]:
        selects, levels = list(self._selects), list(self._levels)
        yield 0.0, driven(line, selects, levels)
        for write in self.writes():
            if write.register < SET:
                selects[write.register // 4] = write.value
            elif SET <= write.register < SET + 8:
                levels[(write.register - SET) // 4] |= write.value
            elif CLEAR <= write.register < CLEAR + 8:
                levels[(write.register - CLEAR) // 4] &= ~write.value
            yield write.at, driven(line, selects, levels)

    def _read(self, register: int, count: int) -> list[int]:
        said = self._guest.say(f"xp /{count}wx {BASE + register:#x}")
        return [int(word, 16) for line in said.splitlines() for word in line.partition(":")[2].split()]


def driven(line: int, selects: list[int], levels: list[int]) -> bool | None:
    """A line's level, if it is an output."""
    function = selects[line // LINES_A_SELECT] >> line % LINES_A_SELECT * SELECT_BITS & 0b111
    return bool(levels[line // 32] >> line % 32 & 1) if function == IS_OUTPUT else None
