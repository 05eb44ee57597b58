"""The light of a day that passes: where sun and moon stand, and what they do to every colour."""

from __future__ import annotations

import bisect
import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from piapi.hardware.scene.planes import Colour, Table, colour, rounded

#: Seconds of real time that a day of the scene takes.
DAY_S = 600.0

#: Hours at which the scene begins when a camera is opened for the first time.
FIRST_HOUR = 9.0

#: Exposure seconds × gain × lux of a picture that is neither dark nor pale.
_PRODUCT = 100.0

#: The longest exposure time and the highest gain that automatic exposure uses: past them a night stays dark.
_AUTO_LONGEST_S = 1 / 30
_AUTO_MOST_GAIN = 16.0

#: Gains of red and blue, over green, for daylight of so many kelvin, and the powers by which the colour of the light
#: changes them: the redder it is, the more blue is missing.
_DAYLIGHT_K, _DAYLIGHT_GAINS = 5500.0, (2.1, 1.8)
_GAIN_POWERS = (0.6, -0.7)


@dataclass(frozen=True, slots=True)
class _Key:
    """The look of the scene at one height of the sun. The sky has three colours, from the zenith down."""

    height: float
    sky: tuple[str, str, str]
    cloud: tuple[str, str]
    """Lit side and shaded side."""
    level: float
    """Of the light on the ground, 0–1."""
    blue: float
    red: float
    saturation: float
    lux: float
    kelvin: float


_KEYS = (
    _Key(-0.40, ("#070b22", "#101a3c", "#1f2f57"), ("#2b3a63", "#1a2547"), 0.30, 12, -7, 0.50, 2, 4100),
    _Key(-0.17, ("#121a45", "#2c2f66", "#6b4a7d"), ("#5b4d80", "#332f5e"), 0.38, 11, -3, 0.60, 8, 5200),
    _Key(-0.02, ("#27407f", "#8a5f93", "#f08a5d"), ("#f0a08c", "#7c5a86"), 0.60, 1, 7, 0.85, 250, 2900),
    _Key(0.16, ("#3f74bd", "#9dbfdc", "#ffdba6"), ("#fff0d8", "#d3b9b4"), 0.88, -6, 6, 1.00, 3000, 4000),
    _Key(0.45, ("#2f7fd6", "#7dbcf0", "#d8eefb"), ("#ffffff", "#cfdcea"), 1.00, -1, 1, 1.00, 12000, 5400),
    _Key(1.30, ("#2377d4", "#6fb6f2", "#cdeafc"), ("#ffffff", "#d3e0ee"), 1.03, 0, 0, 1.05, 25000, 5800),
)


@dataclass(frozen=True, slots=True)
class Exposure:
    """Exposure time in seconds, and gain (1 is none)."""

    seconds: float
    gain: float

    @property
    def product(self) -> float:
        """What counts for how bright a picture is."""
        return self.seconds * self.gain


@dataclass(frozen=True, slots=True)
class Position:
    """Where a body stands: across the sky 0–1 from left to right, and its height (0: horizon, about 1.2: noon)."""

    across: float
    height: float


def sun_at(hour: float) -> Position:
    """The sun: up from 6 to 20 o'clock, highest at 13."""
    return Position((hour - 6.0) / 14.0, math.cos((hour - 13.0) * math.pi / 12) + 0.26)


def moon_at(hour: float) -> Position:
    """The moon: up while the sun is down."""
    return Position(((hour - 19.0) % 24.0) / 12.0, math.cos((hour - 1.0) * math.pi / 12) * 0.95)


def hour_at(elapsed: float) -> float:
    """The scene's hour, 0–24, so many seconds after it began."""
    return (FIRST_HOUR + elapsed * 24.0 / DAY_S) % 24.0


def _mixed(low: str, high: str, share: float) -> Colour:
    a, b = colour(low), colour(high)
    return a[0] + (b[0] - a[0]) * share, a[1] + (b[1] - a[1]) * share, a[2] + (b[2] - a[2]) * share


class Light:
    """The light at one hour."""

    def __init__(self, hour: float) -> None:
        self.hour = hour
        self.sun = sun_at(hour)
        self.moon = moon_at(hour)
        heights = [key.height for key in _KEYS]
        above = min(max(bisect.bisect(heights, self.sun.height), 1), len(_KEYS) - 1)
        self._low, self._high = _KEYS[above - 1], _KEYS[above]
        span = self._high.height - self._low.height
        self._share = min(max((self.sun.height - self._low.height) / span, 0.0), 1.0)

    @property
    def sky(self) -> tuple[Colour, Colour, Colour]:
        """Zenith, middle and horizon."""
        top, middle, low = (_mixed(a, b, self._share) for a, b in zip(self._low.sky, self._high.sky, strict=True))
        return top, middle, low

    @property
    def cloud(self) -> tuple[Colour, Colour]:
        """Lit side and shaded side."""
        (lit, lit_high), (shade, shade_high) = zip(self._low.cloud, self._high.cloud, strict=True)
        return _mixed(lit, lit_high, self._share), _mixed(shade, shade_high, self._share)

    @property
    def night(self) -> float:
        """0 by day, 1 when stars are out and lamps are lit."""
        return min(max((0.10 - self.sun.height) / 0.25, 0.0), 1.0)

    @property
    def lux(self) -> float:
        """Illuminance, as a meter would read it."""
        return math.exp(self._between(math.log(self._low.lux), math.log(self._high.lux)))

    @property
    def kelvin(self) -> float:
        """Colour temperature."""
        return self._between(self._low.kelvin, self._high.kelvin)

    @property
    def balance(self) -> tuple[float, float]:
        """The gains of red and blue that automatic white balance settles on."""
        red, blue = (
            gain * (self.kelvin / _DAYLIGHT_K) ** power
            for gain, power in zip(_DAYLIGHT_GAINS, _GAIN_POWERS, strict=True)
        )
        return red, blue

    @cached_property
    def tables(self) -> tuple[Table, Table, Table]:
        """What this light makes of the colours of things, for Y, U and V."""
        level = self._between(self._low.level, self._high.level)
        saturation = self._between(self._low.saturation, self._high.saturation) * min(level * 1.5, 1.0)
        values = np.arange(256.0)
        blue = 128 + (values - 128) * saturation + self._between(self._low.blue, self._high.blue)
        red = 128 + (values - 128) * saturation + self._between(self._low.red, self._high.red)
        return rounded(values * level), rounded(blue), rounded(red)

    @property
    def exposure(self) -> Exposure:
        """What automatic exposure settles on."""
        product = _PRODUCT / self.lux
        seconds = min(max(product, 1 / 8000), _AUTO_LONGEST_S)
        return Exposure(seconds, min(max(product / seconds, 1.0), _AUTO_MOST_GAIN))

    def _between(self, low: float, high: float) -> float:
        return low + (high - low) * self._share
