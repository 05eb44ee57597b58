"""Outputs that are safe whoever calls: held below HTTP, pins and doors alike.

An output is leased from the guard before it goes on, so that it is off when this process dies; it goes off by the
timetable when its time is over; it keeps its shortest gap, and its group's dead time. Off is always allowed, at once.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from piapi.clock import Clock
from piapi.errors import Conflict, HardwareError, LineBusy
from piapi.hardware.base import GpioBoard, Guard
from piapi.services.timetable import Appointment, Timetable

log = logging.getLogger(__name__)

#: A lease of what has no longest time on, in seconds; it is renewed long before.
LEASE_S = 24 * 3600.0
RENEW_EVERY_S = 3600.0


@dataclass(frozen=True, slots=True)
class OutputRules:
    """What holds for an output, whoever switches it."""

    line: int
    active_low: bool = False
    max_on_s: float = 0.0
    """0: no limit."""
    min_gap_s: float = 0.0
    interlock: str | None = None
    dead_time_s: float = 0.0
    off_at_death: bool = True
    """Off when the process dies, or stops."""


class Output:
    """One output line. Every change of its level is made here."""

    def __init__(self, name: str, rules: OutputRules) -> None:
        self.name = name
        self.rules = rules
        self.is_claimed = False
        self.is_on = False
        self.is_taken = False
        """Somebody has the right to switch it on, and is writing down the intent."""
        self.is_pulse = False
        """What is on now goes off by itself, as whoever switched it on wished."""
        self.is_leased = False
        """What is on now may not outlive this process: the guard knows, until the line is off."""
        self.on_since = 0.0
        self.off_since = float("-inf")
        self.end: Appointment | None = None
        self.on_end: Callable[[float, float, str], None] | None = None

    def level(self, on: bool) -> bool:
        """High or low."""
        return on is not self.rules.active_low


class Outputs:
    """All outputs of a board, under one lock that is never held while anything is written to a disk."""

    def __init__(self, board: GpioBoard, guard: Guard, timetable: Timetable, clock: Clock) -> None:
        self._board = board
        self._guard = guard
        self._timetable = timetable
        self._clock = clock
        self._lock = threading.Lock()
        self._outputs: dict[str, Output] = {}
        self._is_closed = False
        self._is_ending = False

    def add(self, name: str, rules: OutputRules) -> Output:
        """An output; claimed later."""
        output = self._outputs[name] = Output(name, rules)
        return output

    def claim(self, output: Output, on: bool = False) -> None:
        """Take the line, at its inactive level, or as it was left. Raises HardwareError."""
        with self._lock:
            if output.is_claimed or self._is_closed:
                return
            if on and output.rules.off_at_death:
                raise ValueError(f"{output.name} is never on when it is claimed")
            if on and any(other.is_on for other in self._group(output)):
                log.warning("%s is not left on: another of its group is", output.name)
                on = False
            self._board.claim_output(output.rules.line, output.level(on))
            output.is_claimed = True
            if on:
                output.is_on, output.on_since = True, self._clock.monotonic()

    def note_off(self, output: Output, ago_s: float) -> None:
        """It went off so many seconds ago, before this process began: its gap, and its group's dead time, go on."""
        with self._lock:
            output.off_since = max(output.off_since, self._clock.monotonic() - max(0.0, ago_s))

    def take(self, output: Output) -> None:
        """Get the right to switch it on next; `turn_on` or `give_up` has to follow. Raises Conflict, HardwareError."""
        with self._lock:
            self._require(output)
            self._refuse_gap(output)
            for other in self._group(output):
                self._refuse_beside(output, other)
            output.is_taken = True

    def give_up(self, output: Output) -> None:
        """Not switched on after all."""
        with self._lock:
            output.is_taken = False

    def turn_on(self, output: Output, for_s: float | None, on_end: Callable[[float, float, str], None]) -> float:
        """Switch on what was taken, for so many seconds, or until it is switched off. Gives the moment.

        `on_end(began, ended, cause)` is told afterwards, on any thread, and must only enqueue; the cause is `time`,
        `off`, `limit`, `stop` or `guard`. Raises HardwareError, and then it is off.
        """
        with self._lock:
            output.is_taken = False
            self._require(output)
            limit = output.rules.max_on_s or None
            on_for = min((item for item in (for_s, limit) if item is not None), default=None)
            line = output.rules.line
            if output.rules.off_at_death or on_for is not None:  # a pulse ends, also of a pin that keeps its value
                self._guard.lease(line, output.level(False), LEASE_S if on_for is None else on_for)
                output.is_leased = True
            try:
                self._board.write(line, output.level(True))
            except HardwareError:
                self._board_off(output)
                raise
            now = output.on_since = self._clock.monotonic()
            output.is_on, output.is_pulse, output.on_end = True, for_s is not None, on_end
            if on_for is not None:
                cause = "time" if on_for == for_s else "limit"
                output.end = self._timetable.at(now + on_for, lambda: self._end(output, now, cause))
            return now

    def turn_off(self, output: Output, cause: str = "off") -> bool:
        """Switch off, at once. Whether it was on."""
        with self._lock:
            return self._off(output, cause)

    def interrupt(self) -> None:
        """The end begins: what may not stay on goes off, and nothing goes on any more."""
        with self._lock:
            self._is_ending = True
        self.release_all("stop")

    def release_all(self, cause: str) -> None:
        """Switch off all that may not stay on: the process ends, or the guard is gone."""
        with self._lock:
            for output in self._outputs.values():
                if output.is_leased:
                    try:
                        self._off(output, cause)
                    except HardwareError as error:
                        log.error("%s could not be switched off: %s", output.name, error)

    def renew(self) -> None:
        """Renew the leases that have no end of their own. Every hour."""
        with self._lock:
            for output in self._outputs.values():
                if output.is_on and output.end is None and output.is_leased:
                    self._guard.lease(output.rules.line, output.level(False), LEASE_S)

    @property
    def are_off(self) -> bool:
        """Whether nothing is left that has to be off and could not be switched off."""
        return not any(output.is_leased for output in self._outputs.values())

    def close(self) -> None:
        """Off what has to be off, and give the lines back. May be called twice."""
        self.interrupt()
        with self._lock:
            self._is_closed = True
            for output in self._outputs.values():
                if output.is_claimed and not output.is_leased:
                    output.is_claimed = False
                    self._board.release(output.rules.line)

    # With the lock held

    def _end(self, output: Output, began: float, cause: str) -> None:
        with self._lock:
            if output.is_on and output.on_since == began:
                self._off(output, cause)

    def _off(self, output: Output, cause: str) -> bool:
        if not output.is_on and not output.is_leased:
            return False
        self._board_off(output)
        ended = self._clock.monotonic()
        output.is_on, output.off_since = False, ended
        if output.end is not None:
            output.end.cancel()
            output.end = None
        on_end, output.on_end = output.on_end, None
        if on_end is not None:
            on_end(output.on_since, ended, cause)
        return True

    def _board_off(self, output: Output) -> None:
        """The lease ends only when the line is off; if it cannot be switched off, the guard does it."""
        self._board.write(output.rules.line, output.level(False))
        if output.is_leased:
            output.is_leased = False
            try:
                self._guard.end(output.rules.line)
            except HardwareError as error:
                log.error("the guard is not told that %s is off: %s", output.name, error)

    def _require(self, output: Output) -> None:
        if self._is_ending:
            raise LineBusy("The service is ending.")
        if not output.is_claimed:
            raise LineBusy(f"The line of {output.name} could not be taken; it is tried again.")

    def _refuse_gap(self, output: Output) -> None:
        if output.is_taken or output.is_on:
            raise Conflict(f"{output.name} is on, or about to be.")
        wait = output.off_since + output.rules.min_gap_s - self._clock.monotonic()
        if wait > 0:
            raise Conflict(f"{output.name} may be switched on again in {wait:.1f} s: that is its shortest gap.")

    def _refuse_beside(self, output: Output, other: Output) -> None:
        if other.is_on or other.is_taken:
            raise Conflict(f"{other.name} is on, and the two exclude each other.")
        dead_time_s = max(output.rules.dead_time_s, other.rules.dead_time_s)
        wait = other.off_since + dead_time_s - self._clock.monotonic()
        if wait > 0:
            raise Conflict(f"{other.name} went off just now; {output.name} may go on in {wait:.1f} s.")

    def _group(self, output: Output) -> Iterable[Output]:
        group = output.rules.interlock
        return (
            other
            for other in self._outputs.values()
            if group is not None and other is not output and other.rules.interlock == group
        )
