"""When a window is open: clock times or sun words, days of the week, in the configured place and time zone.

An opening belongs to a local date, and `days` are those dates. Its start is a clock time of that date, or what the sun
does on it (see `sun`) with an offset, which may lead into the date before. Its end is the first such time after its
start: on the same date, or else on the next. So a window whose end is at or before its start goes over midnight, and
one with both alike lasts a day.

- **The hour that a time zone leaves out**: a time in it is the first instant after it. A window that lies wholly in it
  does not open that day.
- **The hour that comes twice**: the start takes the first, the end the last, so that a window is never shorter than it
  says.
- **Where the sun does not set** (nor comes below dawn and dusk), a window by day begins at midnight and ends at the
  next one, whatever its offsets; one that waits for the dark (starts with sunset or dusk, ends with sunrise or dawn)
  does not open.
- **Where it does not rise** the other way round: a window that waits for light does not open, and one by night begins
  and ends at noon, so that it is open all the time.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from pathlib import Path
from typing import Protocol
from zoneinfo import ZoneInfo

from piapi.errors import Fault, Invalid
from piapi.services.timelapses.sun import EVENING, MORNING, WORDS, Polar, Sun
from piapi.storage.ledger import from_micros, to_micros
from piapi.timelapse import DAYS, Window

#: How far ahead it is looked for an opening.
SIGHT_DAYS = 400
_SIGHT = SIGHT_DAYS * 86_400_000_000

#: Openings that are kept once they were reckoned: those that count in a long estimate, and no more.
_KEPT = 512

_UNKNOWN = (0, 0)

#: Days over which openings are counted one by one. The sun's take three times as long to reckon as a clock's.
_COUNTED_DAYS, _COUNTED_DAYS_OF_SUN = 1100, SIGHT_DAYS

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TIME = re.compile(rf"(\d\d):([0-5]\d)|({'|'.join(WORDS)})(?:([+-])(\d\d):([0-5]\d))?", re.ASCII)
_MOST_OFFSET = 12 * 60


#: What lies outside is never open: there, dates near the ends of what Python can say would be met.
_LAST = date(9990, 1, 1)
_EARLIEST, _LATEST = 0, to_micros(datetime.combine(_LAST, time(), UTC))


class Located(Protocol):
    """`[place]` of the settings."""

    @property
    def latitude(self) -> float | None:
        """Degrees north."""

    @property
    def longitude(self) -> float | None:
        """Degrees east."""

    @property
    def time_zone(self) -> str | None:
        """IANA name; None: the machine's."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the cameras are. Degrees north and east, None where nobody said."""

    latitude: float | None
    longitude: float | None
    zone: tzinfo

    @property
    def is_known(self) -> bool:
        """Whether the sun can be reckoned."""
        return self.latitude is not None and self.longitude is not None


def place_of(settings: Located) -> Place:
    """What the settings say."""
    return Place(settings.latitude, settings.longitude, zone_of(settings))


def zone_of(settings: Located, localtime: Path = Path("/etc/localtime")) -> tzinfo:
    """The time zone that is set, else the machine's own, else UTC."""
    if settings.time_zone:
        return ZoneInfo(settings.time_zone)
    try:
        with localtime.open("rb") as file:
            return ZoneInfo.from_file(file, key=os.fspath(localtime.resolve()).rpartition("zoneinfo/")[2])
    except (OSError, ValueError):
        return UTC


@dataclass(frozen=True, slots=True)
class _Edge:
    """Start or end, read. `minutes` are those of the clock, or an offset to the sun's word."""

    word: str | None
    minutes: int


def check_window(window: Window, place: Place, after: datetime | None = None) -> list[Fault]:
    """All that is wrong with a window, with JSON pointers into a job. `after`: it has to open within 400 days of it."""
    faults = [
        fault
        for name, text, most in (("from", window.start, 24 * 60 - 1), ("to", window.end, 24 * 60))
        if (fault := _fault_of(name, text, most, place))
    ]
    if not window.days:
        faults.append(Fault("/window/days", f"must name at least one of {', '.join(DAYS)}"))
    faults += [
        Fault(f"/window/days/{index}", f"must be one of {', '.join(DAYS)}")
        for index, day in enumerate(window.days)
        if day not in DAYS
    ]
    since = after or datetime(2026, 1, 1, tzinfo=UTC)
    if not faults and not (calendar := Calendar(window, place)).contains(since) and not calendar.next_opening(since):
        faults.append(Fault("/window", f"never opens: there is no time from {window.start} to {window.end} here"))
    return faults


def _fault_of(name: str, text: str, most: int, place: Place) -> Fault | None:
    where, edge = f"/window/{name}", _read(text)
    if edge is None:
        return Fault(where, f"must be a time such as 07:30, or {', '.join(WORDS)} with an offset such as sunrise-00:30")
    if edge.word is None:
        latest = f"{most // 60:02}:{most % 60:02}"
        return Fault(where, f"must be at most {latest}") if edge.minutes > most else None
    if abs(edge.minutes) > _MOST_OFFSET:
        return Fault(where, "has an offset of more than 12 hours")
    if not place.is_known:
        return Fault(where, f"{edge.word} depends on the place: set [place] latitude, longitude in piapi.toml")
    return None


def _read(text: str) -> _Edge | None:
    if not (found := _TIME.fullmatch(text)):
        return None
    hours, minutes, word, sign, offset_hours, offset_minutes = found.groups()
    if word is None:
        return _Edge(None, int(hours) * 60 + int(minutes))
    offset = int(offset_hours or 0) * 60 + int(offset_minutes or 0)
    return _Edge(word, -offset if sign == "-" else offset)


class Calendar:
    """The openings of a window, reckoned when they are asked for. Any thread may ask."""

    def __init__(self, window: Window, place: Place) -> None:
        """Raises Invalid for a window that cannot be read."""
        start, end = _read(window.start), _read(window.end)
        words = [edge.word for edge in (start, end) if edge and edge.word]
        if start is None or end is None or (words and not place.is_known):
            raise Invalid(*check_window(window, place))
        self._start, self._end = start, end
        self._days = frozenset(DAYS.index(day) for day in window.days)
        self._zone = place.zone
        self._sun = Sun(place.latitude or 0.0, place.longitude or 0.0, place.zone) if words else None
        self._known: dict[int, tuple[int, int] | None] = {}
        self._latest = (0, 0)
        self.counted_days = _COUNTED_DAYS_OF_SUN if words else _COUNTED_DAYS
        """So many are worth being counted one by one."""

    def contains(self, moment: datetime) -> bool:
        """Whether it is open."""
        at = to_micros(moment)
        begins, ends = self._latest
        if begins <= at < ends:
            return True
        for begins, ends in self.spans(at, at + 1):
            self._latest = begins, ends
            return True
        return False

    def next_opening(self, moment: datetime) -> datetime | None:
        """When it next opens, having been closed before; None when it does not within 400 days."""
        at = to_micros(moment)
        return next((from_micros(begins) for begins, _ in self._joined(at) if begins > at), None)

    def next_change(self, moment: datetime) -> datetime | None:
        """When it next opens or closes; None when it does neither within 400 days."""
        at = to_micros(moment)
        for begins, ends in self._joined(at):
            if begins > at:
                return from_micros(begins)
            return from_micros(ends) if ends < at + _SIGHT else None
        return None

    def spans(self, since: int, until: int) -> Iterator[tuple[int, int]]:
        """Begin (included) and end (not) of each opening that reaches into that time, in microseconds since 1970.

        In order, and none overlaps another; they may touch.
        """
        day = self._local_date(since) - timedelta(days=3)
        before = -1
        while day < _LAST:
            opening = self._opening(day)
            if opening is not None:
                begins, ends = max(opening[0], before), opening[1]
                if begins >= until:
                    return
                if begins < ends:
                    before = ends
                    if ends > since:
                        yield begins, ends
            elif to_micros(datetime.combine(day - timedelta(days=2), time(), UTC)) > until:
                return
            day += timedelta(days=1)

    def _joined(self, since: int) -> Iterator[tuple[int, int]]:
        """Those of the next 400 days, made one where they touch."""
        begun: tuple[int, int] | None = None
        for begins, ends in self.spans(since, since + _SIGHT):
            if begun is not None and begins > begun[1]:
                yield begun
                begun = None
            begun = (begun[0] if begun else begins), ends
        if begun is not None:
            yield begun

    def _local_date(self, microseconds: int) -> date:
        within = min(max(microseconds, _EARLIEST), _LATEST)
        return from_micros(within).astimezone(self._zone).date()

    def _opening(self, day: date) -> tuple[int, int] | None:
        number = day.toordinal()
        opening = self._known.get(number, _UNKNOWN)  # asked once: another thread may clear meanwhile
        if opening is _UNKNOWN:
            if len(self._known) >= _KEPT:
                self._known.clear()
            opening = self._known[number] = self._reckoned(day) if day.weekday() in self._days else None
        return opening

    def _reckoned(self, day: date) -> tuple[int, int] | None:
        begins = self._at(self._start, day, is_start=True)
        if begins is None:
            return None
        tomorrow = day + timedelta(days=1)
        if self._start.word is None and self._end.word is None:  # as they read, whatever the clocks do that night
            ends = self._at(self._end, day if self._end.minutes > self._start.minutes else tomorrow, is_start=False)
        else:
            ends = self._at(self._end, day, is_start=False)
            if ends is not None and ends <= begins:
                ends = self._at(self._end, tomorrow, is_start=False)
        return (begins, ends) if ends is not None and begins < ends else None

    def _at(self, edge: _Edge, day: date, is_start: bool) -> int | None:
        """When that is, in microseconds since 1970; None when it does not come that day."""
        if edge.word is None or self._sun is None:
            return self._by_clock(day, edge.minutes, is_start)
        moment = self._sun.at(edge.word, day)
        if isinstance(moment, datetime):
            return to_micros(moment) + edge.minutes * 60_000_000
        waits_for_dark = edge.word in (EVENING if is_start else MORNING)
        if waits_for_dark and moment is Polar.DOWN:
            return to_micros(self._sun.noon(day))
        if not waits_for_dark and moment is Polar.UP:
            return self._by_clock(day, 0 if is_start else 24 * 60, is_start)
        return None

    def _by_clock(self, day: date, minutes: int, is_start: bool) -> int:
        moment = datetime.combine(day, time()) + timedelta(minutes=minutes)
        first = moment.replace(tzinfo=self._zone)
        last = first.replace(fold=1)
        before, after = first.utcoffset() or timedelta(), last.utcoffset() or timedelta()
        if after > before:  # PEP 495: there is no such time
            return self._end_of_gap(first.astimezone(UTC), last.astimezone(UTC))
        return to_micros((moment - (before if is_start else after)).replace(tzinfo=UTC))

    def _end_of_gap(self, late: datetime, early: datetime) -> int:
        """When the clocks were put forward, between these two, to the second."""
        new = late.astimezone(self._zone).utcoffset()
        while late - early > timedelta(seconds=1):
            middle = early + (late - early) // 2
            if middle.astimezone(self._zone).utcoffset() == new:
                late = middle
            else:
                early = middle
        return to_micros(late.replace(microsecond=0))
