"""Inputs: what hangs on a line, as far as anybody knows, and every change of it.

The hardware's callback only puts the edge into the timetable. Levels are read back every few seconds, so that an edge
that was lost does not hide the next one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from piapi.clock import Clock
from piapi.errors import HardwareError
from piapi.hardware.base import GpioBoard, Pull
from piapi.services.timetable import Timetable

log = logging.getLogger(__name__)

#: Seconds between two times that levels are read back.
READ_BACK_EVERY_S = 3.0


@dataclass(frozen=True, slots=True)
class InputRules:
    """How a line is listened to."""

    line: int
    pull: Pull = "none"
    active_low: bool = False
    debounce_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Change:
    """An input went active, or inactive."""

    is_active: bool
    at: float
    """On the clock that never jumps, in seconds."""
    is_corrected: bool = False
    """No edge told of it: it was seen when the level was read back."""


class Input:
    """One input line."""

    def __init__(self, name: str, rules: InputRules, on_change: Callable[[Change], None]) -> None:
        self.name = name
        self.rules = rules
        self.is_claimed = False
        self.is_active: bool | None = None
        """None: nobody knows."""
        self.edges = 0
        self.changed_at = 0.0
        self._on_change = on_change
        self._suspect = False

    def take(self, level: bool, at: float, is_corrected: bool = False) -> None:
        """A level was seen. On the timetable's thread."""
        active = level is not self.rules.active_low
        self._suspect = False
        if active is self.is_active:
            return
        self.is_active, self.changed_at = active, at
        self.edges += 1
        self._on_change(Change(active, at, is_corrected))

    def compare(self, level: bool, at: float) -> None:
        """The level was read back: twice in a row other than what the edges say, and it is believed."""
        if (level is not self.rules.active_low) is self.is_active:
            self._suspect = False
        elif self._suspect:
            log.warning("%s: an edge was lost; its level was corrected", self.name)
            self.take(level, at, is_corrected=True)
        else:
            self._suspect = True


class Inputs:
    """All inputs of a board."""

    def __init__(self, board: GpioBoard, timetable: Timetable, clock: Clock) -> None:
        self._board = board
        self._timetable = timetable
        self._clock = clock
        self._inputs: list[Input] = []
        self._is_closed = False

    def add(self, name: str, rules: InputRules, on_change: Callable[[Change], None]) -> Input:
        """An input; claimed later. `on_change` is called on the timetable's thread, and must be quick."""
        added = Input(name, rules, on_change)
        self._inputs.append(added)
        return added

    def claim(self, item: Input) -> None:
        """Take the line, and learn its level. Raises HardwareError."""
        if item.is_claimed or self._is_closed:
            return
        rules = item.rules
        self._board.claim_input(
            rules.line, rules.pull, rules.debounce_s, lambda line, level, at: self._put(item, level, at)
        )
        try:
            level, now = self._board.read(rules.line), self._clock.monotonic()
        except HardwareError:
            self._board.release(rules.line)
            raise
        item.is_claimed = True
        if item.is_active is None:
            item.is_active, item.changed_at = level is not rules.active_low, now
        else:
            self._put(item, level, now)

    def read(self, item: Input) -> bool:
        """Whether it is active at this instant, bounces and all. Raises HardwareError."""
        return self._board.read(item.rules.line) is not item.rules.active_low

    def correct(self, item: Input, is_active: bool) -> None:
        """An edge of it was lost: it has been like this for a while."""
        now = self._clock.monotonic()
        self._timetable.at(now, lambda: item.take(is_active is not item.rules.active_low, now, is_corrected=True))

    def start(self) -> None:
        """Begin to read levels back."""
        self._timetable.at(self._clock.monotonic() + READ_BACK_EVERY_S, self._read_back)

    def close(self) -> None:
        """Give the lines back. May be called twice."""
        self._is_closed = True
        for item in self._inputs:
            if item.is_claimed:
                item.is_claimed = False
                self._board.release(item.rules.line)

    def _put(self, item: Input, level: bool, at: float) -> None:
        self._timetable.at(self._clock.monotonic(), lambda: item.take(level, at))

    def _read_back(self) -> None:
        now = self._clock.monotonic()
        if not self._is_closed:  # first of all: a fault in what follows must not be the last time
            self._timetable.at(now + READ_BACK_EVERY_S, self._read_back)
        for item in self._inputs:
            if item.is_claimed:
                try:
                    item.compare(self._board.read(item.rules.line), now)
                except HardwareError as error:
                    if item.is_active is not None:
                        log.warning("%s cannot be read: %s", item.name, error)
                    item.is_active = None  # what it was a while ago is not what it is
