"""The grid of a job: exact for ever, and counted without going over its ticks."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from piapi.services.timelapses.schedule import (
    LATEST,
    due_at,
    due_runs,
    end_of_count,
    first_tick_at_or_after,
    next_due,
    position_of,
    tick_at_or_after,
    ticks_between,
)
from piapi.services.timelapses.window import Calendar, Place
from piapi.storage.ledger import interval_us
from piapi.timelapse import Window

BERLIN = Place(52.52, 13.405, ZoneInfo("Europe/Berlin"))
START = datetime(2026, 3, 28, 21, 17, 3, 141592, tzinfo=UTC)
SOME = (0.1, 0.3, 1 / 3, 1.0, 5.0, 7.77, 3600.0, 86400.0)

intervals = st.floats(0.1, 86400.0)
windows = st.sampled_from(
    [
        None,
        Window("08:00", "18:00"),
        Window("22:00", "06:00", ("mon", "fri")),
        Window("sunrise-00:30", "sunset+00:30", ("sat", "sun", "wed")),
        Window("01:30", "02:30"),
        Window("00:00", "24:00"),
        Window("12:00", "12:01"),
    ]
)


def calendar_of(window: Window | None) -> Calendar | None:
    return None if window is None else Calendar(window, BERLIN)


def counted(start: datetime, end: datetime, interval_s: float, calendar: Calendar | None) -> int:
    """One by one."""
    total = index = 0
    while (moment := due_at(start, index, interval_s)) < end:
        total += calendar is None or calendar.contains(moment)
        index += 1
    return total


# The grid


@given(st.integers(0, 500_000_000), intervals)
def test_a_tick_is_where_it_is_whatever_came_before(index: int, interval_s: float) -> None:
    step = interval_us(interval_s)
    assert position_of(index, interval_s) == pytest.approx(index * step / 1e6, rel=1e-15)
    if index * step < 2**32 * 1_000_000:  # seconds; beyond, 136 years, floats are more than half a microsecond apart
        assert first_tick_at_or_after(position_of(index, interval_s), interval_s) == index
        assert first_tick_at_or_after(position_of(index, interval_s) + 1e-6, interval_s) == index + 1


@given(st.integers(0, 10**8), st.sampled_from((0.1, 0.3, 1 / 3, 1.0, 5.0)))
def test_wall_time_and_index_are_one_another(index: int, interval_s: float) -> None:
    moment = due_at(START, index, interval_s)
    assert moment - START == index * timedelta(microseconds=round(interval_s * 1e6))
    assert tick_at_or_after(START, moment, interval_s) == index
    assert tick_at_or_after(START, moment + timedelta(microseconds=1), interval_s) == index + 1
    assert tick_at_or_after(START, moment - timedelta(microseconds=1), interval_s) == index


def test_before_the_start_the_first_tick_is_awaited() -> None:
    assert first_tick_at_or_after(-12.0, 5) == 0 and first_tick_at_or_after(0.0, 5) == 0
    assert tick_at_or_after(START, START - timedelta(days=9), 5) == 0


def test_a_month_of_tenths_of_seconds_does_not_drift() -> None:
    assert position_of(25_920_000, 0.1) == 2_592_000.0
    assert due_at(START, 25_920_000, 0.1) == START + timedelta(days=30)


def test_no_moment_is_past_the_last_one() -> None:
    assert due_at(START, 500_000_000, 86400.0) == LATEST
    assert end_of_count(START, 86400.0, 500_000_000, None) == LATEST


# Counting


@given(windows, st.floats(600.0, 86400.0), st.floats(0, 60), st.integers(0, 30_000_000))
@settings(max_examples=60, deadline=None)
def test_counting_openings_is_counting_ticks(window: Window | None, interval_s: float, days: float, late: int) -> None:
    calendar, start = calendar_of(window), START + timedelta(seconds=late)
    end = start + timedelta(days=days)
    assert ticks_between(start, end, interval_s, calendar) == counted(start, end, interval_s, calendar)


@given(windows, st.floats(5.0, 86400.0), st.integers(1, 5000))
@settings(max_examples=60, deadline=None)
def test_a_count_ends_with_its_last_tick(window: Window | None, interval_s: float, count: int) -> None:
    calendar = calendar_of(window)
    end = end_of_count(START, interval_s, count, calendar)
    if end is None or end - START > timedelta(days=390):
        return  # too seldom to be counted exactly
    assert ticks_between(START, end, interval_s, calendar) == count - 1
    assert ticks_between(START, end + timedelta(microseconds=1), interval_s, calendar) == count
    assert calendar is None or calendar.contains(end)
    assert due_at(START, tick_at_or_after(START, end, interval_s), interval_s) == end, "it is on the grid"


def test_nothing_is_due_before_the_start() -> None:
    for window in (None, Window("08:00", "18:00")):
        assert ticks_between(START, START, 5, calendar_of(window)) == 0
        assert ticks_between(START, START - timedelta(days=3), 5, calendar_of(window)) == 0
    assert ticks_between(START, START + timedelta(microseconds=1), 5, None) == 1


@given(windows, st.sampled_from(SOME), st.integers(0, 3000), st.integers(0, 3000))
@settings(max_examples=80, deadline=None)
def test_runs_are_the_ticks_in_the_window(window: Window | None, interval_s: float, first: int, more: int) -> None:
    calendar, stop = calendar_of(window), first + more
    runs = list(due_runs(START, interval_s, calendar, first, stop))
    inside = [n for n in range(first, stop) if calendar is None or calendar.contains(due_at(START, n, interval_s))]
    assert [index for run in runs for index in run] == inside
    assert all(len(run) > 0 for run in runs)
    assert all(one.stop < other.start for one, other in zip(runs, runs[1:], strict=False)), "as few as can be"


@given(windows, st.sampled_from(SOME), st.floats(0, 200))
@settings(max_examples=60, deadline=None)
def test_the_next_tick_that_is_due_is_found(window: Window | None, interval_s: float, days: float) -> None:
    calendar, index = calendar_of(window), first_tick_at_or_after(days * 86400, interval_s)
    found = next_due(START, interval_s, calendar, index)
    if found is None:
        assert window == Window("12:00", "12:01") or interval_s == 86400.0
        return
    assert found >= index and (calendar is None or calendar.contains(due_at(START, found, interval_s)))
    assert ticks_between(START, due_at(START, found, interval_s), interval_s, calendar) == ticks_between(
        START, due_at(START, index, interval_s), interval_s, calendar
    )


def test_an_interval_that_always_misses_its_window_is_told() -> None:
    calendar = Calendar(Window("12:00", "12:01"), Place(None, None, ZoneInfo("UTC")))
    assert next_due(START, 86400.0, calendar, 0) is None
    assert end_of_count(START, 86400.0, 10, calendar) is None
    assert ticks_between(START, START + timedelta(days=5000), 86400.0, calendar) == 0


# Long spans


@pytest.mark.parametrize("window", [Window("08:00", "18:00", ("mon", "tue")), Window("sunrise", "sunset")])
def test_what_lies_years_ahead_is_estimated_well(window: Window) -> None:
    calendar = Calendar(window, BERLIN)
    for years in (2, 8):
        end = START + timedelta(days=365.25 * years)
        exact = sum(len(run) for run in due_runs(START, 60.0, calendar, 0, tick_at_or_after(START, end, 60.0)))
        assert ticks_between(START, end, 60.0, calendar) == pytest.approx(exact, rel=0.01)
        ends = end_of_count(START, 60.0, exact, calendar)
        assert ends is not None and abs(ends - end) < timedelta(days=6 * years)


@pytest.mark.parametrize("window", [Window("08:00", "18:00"), Window("sunrise-00:30", "sunset+00:30")])
def test_five_hundred_million_ticks_cost_no_more_than_a_year(window: Window) -> None:
    class Counting(Calendar):
        reckoned = 0

        def _reckoned(self, day: date) -> tuple[int, int] | None:
            self.reckoned += 1
            return super()._reckoned(day)

    def cost(count: int) -> int:
        """Openings that were reckoned: what takes the time."""
        calendar = Counting(window, BERLIN)
        assert end_of_count(START, 5.0, count, calendar) is not None
        return calendar.reckoned

    assert cost(2_600_000) > 100
    assert cost(500_000_000) < 5 * cost(2_600_000)


def test_far_and_many_are_no_error() -> None:
    calendar = Calendar(Window("08:00", "08:01"), BERLIN)
    assert end_of_count(START, 30.0, 500_000_000, calendar) == LATEST
    assert ticks_between(START, LATEST, 0.1, calendar) > 1_000_000
    late = datetime(9999, 12, 31, 12, tzinfo=UTC)
    assert ticks_between(late, LATEST, 5, calendar) == 0 and end_of_count(late, 5, 9, calendar) is None
    assert next_due(late, 5, calendar, 0) is None
