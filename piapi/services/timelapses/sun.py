"""When the sun rises and sets on a date at a place, polar day and polar night included.

What belongs to a date is the arc that the sun goes over its noon: where it sets after midnight (summer in Iceland, or a
time zone far from its meridian), that sunset is still the one of the date before.
"""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from enum import Enum

from astral import Observer, SunDirection, refraction_at_zenith
from astral.julian import julianday, julianday_to_juliancentury
from astral.sun import SUN_APPARENT_RADIUS, noon, sun_declination, time_of_transit

WORDS = ("sunrise", "sunset", "dawn", "dusk", "noon")
"""What a window can name. Dawn and dusk are those of civil twilight: the sun is 6° below the horizon."""

MORNING = ("sunrise", "dawn")
EVENING = ("sunset", "dusk")

_HORIZON = 90.0 + SUN_APPARENT_RADIUS
_ZENITHS = {"sunrise": _HORIZON, "sunset": _HORIZON, "dawn": 96.0, "dusk": 96.0}
_HALF_DAY = timedelta(hours=12)


#: What ends what the other one begins.
_OPPOSITE = {"dawn": "dusk", "dusk": "dawn", "sunrise": "sunset", "sunset": "sunrise"}


class Polar(Enum):
    """Why something does not happen on a date."""

    UP = "the sun stays above"
    DOWN = "the sun stays below"


class Sun:
    """The sun of one place. Degrees north and east; dates are those of `zone`."""

    def __init__(self, latitude: float, longitude: float, zone: tzinfo) -> None:
        self._observer = Observer(latitude, longitude)
        self._zone = zone
        self._highest = date.min, datetime.min.replace(tzinfo=UTC)
        self._recent: dict[tuple[str, date], datetime | Polar] = {}

    def noon(self, day: date) -> datetime:
        """When it stands highest: the time nearest to 12 o'clock of that date."""
        kept, highest = self._highest
        if kept == day:
            return highest
        clock = datetime.combine(day, time(12), self._zone).astimezone(UTC)
        highest = _nearest(noon(self._observer, clock.date()), clock)
        self._highest = day, highest
        return highest

    def at(self, word: str, day: date) -> datetime | Polar:
        """When that happens, to the second, or why it does not."""
        if (known := self._recent.get((word, day))) is not None:
            return known
        if len(self._recent) > 8:  # a night asks for the same morning as the day after it
            self._recent.clear()
        moment = self._reckoned(word, day)
        if isinstance(moment, datetime) and word in _OPPOSITE:
            # On the date on which a polar day or night begins or ends, one of a pair happens: there is no such day.
            opposite = self._reckoned(_OPPOSITE[word], day)
            moment = opposite if isinstance(opposite, Polar) else moment
        self._recent[word, day] = moment
        return moment

    def _reckoned(self, word: str, day: date) -> datetime | Polar:
        highest = self.noon(day)
        if word == "noon":
            return highest
        towards = SunDirection.RISING if word in MORNING else SunDirection.SETTING
        middle = highest - _HALF_DAY / 2 if word in MORNING else highest + _HALF_DAY / 2
        on = highest.date()
        try:
            found = time_of_transit(self._observer, on, _ZENITHS[word], towards)
            nearest = _nearest(found, middle)
            if nearest != found:  # it was that of the day before or after, which is some minutes off near the poles
                found = time_of_transit(self._observer, on + (nearest - found), _ZENITHS[word], towards)
        except ValueError:
            return self._polar(word, on)
        return _nearest(found, middle).replace(microsecond=0)

    def _polar(self, word: str, on: date) -> Polar:
        """On which side of its zenith the sun stays: where the middle of its day lies."""
        declination = math.radians(sun_declination(julianday_to_juliancentury(julianday(on))))
        latitude = math.radians(max(min(self._observer.latitude, 89.8), -89.8))
        zenith = math.radians(_ZENITHS[word] + refraction_at_zenith(_ZENITHS[word]))
        return Polar.UP if math.sin(latitude) * math.sin(declination) > math.cos(zenith) else Polar.DOWN


def _nearest(moment: datetime, to: datetime) -> datetime:
    """The moment, put by whole days to where it is nearest."""
    return moment + timedelta(days=round((to - moment) / timedelta(days=1)))
