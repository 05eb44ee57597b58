"""PWM and servos: outputs with more than two values. Off when their time is over, when asked, and at death."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from piapi.clock import Clock
from piapi.errors import HardwareError, LineBusy
from piapi.hardware.base import GpioBoard, Guard
from piapi.services.outputs import LEASE_S
from piapi.services.timetable import Appointment, Timetable

log = logging.getLogger(__name__)


class Level:
    """One line with PWM, or a servo."""

    def __init__(self, name: str, mode: str, line: int, active_low: bool, max_on_s: float) -> None:
        self.name = name
        self.mode = mode
        self.line = line
        self.active_low = active_low
        self.max_on_s = max_on_s
        self.is_claimed = False
        self.value: float | None = None
        self.is_leased = False
        """Anything but rest is on the line, and the guard knows."""
        self.end: Appointment | None = None
        self.on_end: Callable[[str], None] = lambda cause: None


class Levels:
    """All of them, under one lock."""

    def __init__(self, board: GpioBoard, guard: Guard, timetable: Timetable, clock: Clock) -> None:
        self._board = board
        self._guard = guard
        self._timetable = timetable
        self._clock = clock
        self._lock = threading.Lock()
        self._levels: list[Level] = []
        self._is_closed = False
        self._is_ending = False

    def add(
        self, name: str, mode: str, line: int, active_low: bool, max_on_s: float, on_end: Callable[[str], None]
    ) -> Level:
        """One more; claimed later. `on_end(cause)`: it went off by itself; must only enqueue."""
        level = Level(name, mode, line, active_low, max_on_s)
        level.on_end = on_end
        self._levels.append(level)
        return level

    def claim(self, level: Level) -> None:
        """Take the line: PWM at 0, a servo not driven. Raises HardwareError."""
        with self._lock:
            if level.is_claimed or self._is_closed:
                return
            if level.mode == "pwm":
                self._board.claim_pwm(level.line, self._duty(level, 0.0))
                level.value = 0.0
            else:
                self._board.claim_servo(level.line, None)
            level.is_claimed = True

    def drive(self, level: Level, value: float) -> None:
        """Set it. Raises HardwareError, and then it is off."""
        with self._lock:
            if not level.is_claimed or self._is_closed:
                raise LineBusy(f"The line of {level.name} could not be taken; it is tried again.")
            if level.mode == "servo" or value > 0:
                if self._is_ending:
                    raise LineBusy("The service is ending.")
                self._guard.lease(level.line, level.active_low, level.max_on_s or LEASE_S)
                level.is_leased = True
            try:
                self._write(level, value)
            except HardwareError:
                self._off(level)
                raise
            if level.mode == "pwm" and value > 0 and level.max_on_s and level.end is None:
                level.end = self._timetable.at(self._clock.monotonic() + level.max_on_s, lambda: self._limit(level))

    def release_all(self, cause: str) -> None:
        """Nothing is driven any more: the process ends, or the guard is gone."""
        with self._lock:
            for level in self._levels:
                if level.is_leased:
                    try:
                        self._off(level)
                    except HardwareError as error:
                        log.error("%s could not be switched off: %s", level.name, error)
                    else:
                        level.on_end(cause)

    def interrupt(self) -> None:
        """The end begins: off, and nothing is driven any more."""
        with self._lock:
            self._is_ending = True
        self.release_all("stop")

    def renew(self) -> None:
        """Renew the leases that have no end of their own. Every hour."""
        with self._lock:
            for level in self._levels:
                if level.is_leased and level.end is None:
                    self._guard.lease(level.line, level.active_low, LEASE_S)

    @property
    def are_off(self) -> bool:
        """Whether nothing is left that could not be switched off."""
        return not any(level.is_leased for level in self._levels)

    def close(self) -> None:
        """Off, and the lines are given back. May be called twice."""
        self.interrupt()
        with self._lock:
            self._is_closed = True
            for level in self._levels:
                if level.is_claimed and not level.is_leased:
                    level.is_claimed = False
                    self._board.release(level.line, level.active_low)

    # With the lock held

    def _limit(self, level: Level) -> None:
        with self._lock:
            if level.end is not None:
                self._off(level)
                level.on_end("limit")

    def _off(self, level: Level) -> None:
        if level.mode == "pwm":
            self._write(level, 0.0)
        else:
            self._board.write_position(level.line, None)
            level.value = None
            self._end_lease(level)

    def _write(self, level: Level, value: float) -> None:
        if level.mode == "servo":
            self._board.write_position(level.line, value)
        else:
            self._board.write_duty(level.line, self._duty(level, value))
        level.value = value
        if level.mode == "pwm" and value == 0:
            if level.end is not None:
                level.end.cancel()
                level.end = None
            self._end_lease(level)

    def _end_lease(self, level: Level) -> None:
        level.is_leased = False
        self._guard.end(level.line)

    @staticmethod
    def _duty(level: Level, value: float) -> float:
        return 1 - value if level.active_low else value
