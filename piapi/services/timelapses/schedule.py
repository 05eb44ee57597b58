"""The grid of a job: tick n is due at start + n × interval, for ever, in whole microseconds and without a sum.

Counting goes over openings, never over ticks. The openings of the next years (`Calendar.counted_days`) are counted one
by one, and exactly; what lies beyond is reckoned from the last 364 days of them, which is an estimate as good as the
clock changes and the seasons repeat.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from fractions import Fraction

from piapi.services.timelapses.window import SIGHT_DAYS, Calendar
from piapi.storage.ledger import from_micros, interval_us, to_micros

#: No moment that is reckoned here is later.
LATEST = datetime(9999, 12, 31, tzinfo=UTC)

_SECOND = 1_000_000
_DAY = 86_400 * _SECOND
_PERIOD = 364 * _DAY
"""Whole weeks, so that each day of the week counts alike."""


def position_of(index: int, interval_s: float) -> float:
    """When a tick is due, in seconds from the start."""
    return index * interval_us(interval_s) / _SECOND


def first_tick_at_or_after(position_s: float, interval_s: float) -> int:
    """The tick that is due so many seconds from the start, to the microsecond, or the next one; 0 before the start."""
    return max(-(-round(Fraction(position_s) * _SECOND) // interval_us(interval_s)), 0)


def due_at(start: datetime, index: int, interval_s: float) -> datetime:
    """When a tick is due; at most `LATEST`."""
    return _moment(to_micros(start) + index * interval_us(interval_s))


def tick_at_or_after(start: datetime, moment: datetime, interval_s: float) -> int:
    """The tick that is due at that moment, or the next one; 0 before the start."""
    return max(-(-(to_micros(moment) - to_micros(start)) // interval_us(interval_s)), 0)


def due_runs(start: datetime, interval_s: float, calendar: Calendar | None, first: int, stop: int) -> Iterator[range]:
    """The ticks from `first` to before `stop` that fall into the window, as runs in order."""
    begun = range(first, first)
    if calendar is None:
        begun = range(first, max(first, stop))
    else:
        grid, step = to_micros(start), interval_us(interval_s)
        for begins, ends in calendar.spans(grid + first * step, grid + stop * step):
            run = range(max(_index(begins - grid, step), first), min(_index(ends - grid, step), stop))
            if run and run.start > begun.stop:
                if begun:
                    yield begun
                begun = run
            elif run:
                begun = range(begun.start if begun else run.start, run.stop)
    if begun:
        yield begun


def next_due(start: datetime, interval_s: float, calendar: Calendar | None, index: int) -> int | None:
    """The first tick from `index` on that falls into the window; None when none does within 400 days."""
    stop = index + SIGHT_DAYS * _DAY // interval_us(interval_s) + 1
    return next((run.start for run in due_runs(start, interval_s, calendar, index, stop)), None)


def ticks_between(start: datetime, end: datetime, interval_s: float, calendar: Calendar | None) -> int:
    """How many ticks are due from the start (which is tick 0) to before the end."""
    grid, until, step = to_micros(start), to_micros(end), interval_us(interval_s)
    if calendar is None or until <= grid:
        return max(_index(until - grid, step), 0)
    known = min(until, grid + calendar.counted_days * _DAY)
    total = last = 0
    for begins, ends in calendar.spans(grid, known):
        count = _ticks(begins, min(ends, known), grid, step)
        total += count
        last += count if begins >= known - _PERIOD else 0
    return total + last * (until - known) // _PERIOD


def end_of_count(start: datetime, interval_s: float, count: int, calendar: Calendar | None) -> datetime | None:
    """When the last of so many ticks is due, at most `LATEST`; None when the window never holds so many."""
    grid, step = to_micros(start), interval_us(interval_s)
    if calendar is None:
        return _moment(grid + (count - 1) * step)
    known = grid + calendar.counted_days * _DAY
    total = last = 0
    for begins, ends in calendar.spans(grid, known):
        here = _ticks(begins, min(ends, known), grid, step)
        if total + here >= count:
            first = max(_index(begins - grid, step), 0)
            return _moment(grid + (first + count - total - 1) * step)
        total += here
        last += here if begins >= known - _PERIOD else 0
    return _moment(known + -(-(count - total) * _PERIOD // last)) if last else None


def _index(position: int, step: int) -> int:
    """The tick at or after a position. Both in microseconds."""
    return -(-position // step)


def _ticks(begins: int, ends: int, grid: int, step: int) -> int:
    """How many of the grid lie in an opening."""
    return max(_index(ends - grid, step) - max(_index(begins - grid, step), 0), 0)


def _moment(microseconds: int) -> datetime:
    latest = to_micros(LATEST)
    return LATEST if microseconds > latest else from_micros(microseconds)
