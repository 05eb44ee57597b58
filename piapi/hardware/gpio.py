"""What GPIO looks like to the rest of piapi: the protocol of a board, and that of the guard over its relays.

Part of `base.py`, which names all of it again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol

Pull = Literal["up", "down", "none"]

OnEdge = Callable[[int, bool, float], None]
"""Told of `line`, its new `level`, and `at`, seconds of CLOCK_BOOTTIME: when the line last moved before it was steady.

Called on a thread of the board, one call after the other for all lines. It must only enqueue: while it runs, every
other input waits.
"""

PWM_HZ = 100
"""Frequency of PWM. No eye sees a lamp flicker at it, and as the pulses are timed by software, a step of 1 % is 100 µs,
which is about how late they come; a higher one would dim no better and cost more."""

SERVO_HZ = 50
"""Pulses a second that an analogue servo expects."""

SERVO_CENTRE_S = 0.0015
SERVO_SWING_S = 0.0005
"""A pulse of 1 ms is position −1, of 2 ms position 1."""


class GpioBoard(Protocol):
    """The lines of one GPIO chip.

    Lines are Broadcom numbers. Levels are physical: True is high (3.3 V). What is active low is known by services
    alone. Calls may come from any thread. Every call but `open` and `close` may raise LineRefused for a line that this
    board does not have or that is not claimed for that, and BoardUnavailable when the chip fails.
    """

    @property
    def model(self) -> str | None:
        """The board's name, for a person; None until it has been open."""

    @property
    def emulated(self) -> bool:
        """Whether nothing real moves."""

    @property
    def lines(self) -> frozenset[int]:
        """The lines on this board's header; empty until it has been open."""

    def open(self) -> None:
        """Take the chip; no line is touched. Raises BoardUnavailable with what would help. Open already: nothing."""

    def close(self) -> None:
        """Give back every line as `release` does, and the chip. May be called twice; it can be opened again."""

    def claim_output(self, line: int, level: bool) -> None:
        """Drive the line at this level, from the first moment on: no other level is ever driven. Raises LineBusy."""

    def write(self, line: int, level: bool) -> None:
        """Set the level of an output."""

    def read(self, line: int) -> bool:
        """The level that an input has now (no debouncing), or that an output is driven at."""

    def claim_input(self, line: int, pull: Pull, debounce_s: float, on_edge: OnEdge) -> None:
        """Listen to the line; edges are told from now on. Raises LineBusy.

        Of changes within `debounce_s` only the last is told, once the line has been steady for so long, and not if it
        is back where it was. Edges can get lost (in the kernel's queue, under load): read the level now and then.
        """

    def claim_pwm(self, line: int, duty: float) -> None:
        """Drive the line high for this share (0–1) of each period of 1/PWM_HZ. It begins low, and
        at a duty of 1 high. Raises LineBusy."""

    def write_duty(self, line: int, duty: float) -> None:
        """Set the share (0–1) of a line claimed for PWM. At 0 and 1 the level is steady."""

    def claim_servo(self, line: int, position: float | None) -> None:
        """Send pulses for this position (−1–1), or for None hold the line low, so that the servo is slack. Raises
        LineBusy."""

    def write_position(self, line: int, position: float | None) -> None:
        """Set the position of a line claimed for a servo."""

    def release(self, line: int, level: bool | None = None) -> None:
        """Give the line back. A line not claimed: nothing.

        An output is set to `level` first where one is named, else left as it is; pulses, where none is named, end low.
        Raspberry Pi OS goes on driving that level; other kernels let the line fall to its pull.
        """


class Guard(Protocol):
    """Who switches an output off when the process that switched it on is dead or stopped (see `piapi.guard`)."""

    def lease(self, line: int, inactive: bool, for_s: float) -> None:
        """From now on the guard sets the line to the level `inactive` when this process dies; and when `for_s` seconds
        (at most 25 h) and a little grace have passed without `end`, ends this process and then does so.

        Back only when the guard has said yes: lease, then switch on. Leasing again renews. Raises GuardUnavailable;
        then the line must not be switched on.
        """

    def end(self, line: int) -> None:
        """The line is off again; call it after that. Without a lease, or without a guard: nothing."""

    def close(self) -> None:
        """No lease is needed any more, as every line is off. May be called twice."""
