"""Pictures a second as exact fractions: a rate that is rounded makes a long film drift from its own clock."""

from __future__ import annotations

import math
from fractions import Fraction

#: Rates a film may have.
SLOWEST, FASTEST = Fraction(1, 10), Fraction(120)

#: How far a number may be from k × 1000/1001 and still be meant as that (29.97, 23.976, 59.94).
_NTSC_TOLERANCE = 0.005

#: Units a second that a film counts in, at least: coarser ones are legal and confuse players.
_LEAST_TIMESCALE = 600


def exact_rate(fps: float) -> Fraction:
    """Pictures a second, 0.1 to 120. 29.97 is 30000/1001, as television has it. Raises ValueError out of range."""
    if not (math.isfinite(fps) and SLOWEST <= Fraction(fps).limit_denominator(1000) <= FASTEST):
        raise ValueError(f"{fps} is no rate between {float(SLOWEST)} and {float(FASTEST):.0f}")
    whole = math.ceil(fps)
    if whole % 6 == 0 and fps != whole and abs(whole * 1000 / 1001 - fps) < _NTSC_TOLERANCE:
        return Fraction(whole * 1000, 1001)
    return Fraction(fps).limit_denominator(1000)


def timescale(rate: Fraction) -> tuple[int, int]:
    """Units a second, and units a picture: the picture's time is exact."""
    times = -(-_LEAST_TIMESCALE // rate.numerator)
    return rate.numerator * times, rate.denominator * times
