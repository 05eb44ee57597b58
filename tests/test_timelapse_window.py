"""When a window is open: clock times, the sun, days of the week, over midnight, clock changes and polar nights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from piapi.errors import Invalid
from piapi.services.timelapses.sun import WORDS, Polar, Sun
from piapi.services.timelapses.window import (
    Calendar,
    Place,
    check_window,
    from_micros,
    place_of,
    to_micros,
    zone_of,
)
from piapi.timelapse import DAYS, Window

BERLIN = Place(52.52, 13.405, ZoneInfo("Europe/Berlin"))
LONGYEARBYEN = Place(78.22, 15.65, ZoneInfo("Arctic/Longyearbyen"))
REYKJAVIK = Place(64.15, -21.94, ZoneInfo("Atlantic/Reykjavik"))
NOWHERE = Place(None, None, ZoneInfo("Europe/Berlin"))


def local(place: Place, *when: int) -> datetime:
    return datetime(*when, tzinfo=place.zone)  # type: ignore[arg-type, misc]


def openings(window: Window, place: Place, first: datetime, days: float) -> list[tuple[str, str]]:
    """As the place's clocks tell them."""
    spans = Calendar(window, place).spans(to_micros(first), to_micros(first + timedelta(days=days)))
    return [(told(begins, place), told(ends, place)) for begins, ends in spans]


def told(microseconds: int, place: Place) -> str:
    return f"{from_micros(microseconds).astimezone(place.zone):%a %H:%M}"


def minutes_apart(a: datetime, b: datetime) -> float:
    return abs((a - b).total_seconds()) / 60


# Clock times and days


def test_start_is_included_and_end_is_not() -> None:
    calendar = Calendar(Window("08:00", "18:00"), BERLIN)
    begins, ends = local(BERLIN, 2026, 5, 4, 8), local(BERLIN, 2026, 5, 4, 18)
    tick = timedelta(microseconds=1)
    assert [calendar.contains(moment) for moment in (begins - tick, begins, ends - tick, ends)] == [
        False,
        True,
        True,
        False,
    ]


@pytest.mark.parametrize(
    ("window", "expected"),
    [
        (Window("08:00", "18:00", ("sat",)), [("Sat 08:00", "Sat 18:00")]),
        (Window("22:00", "06:00", ("sat",)), [("Sat 22:00", "Sun 06:00")]),
        (Window("12:00", "00:00", ("sat",)), [("Sat 12:00", "Sun 00:00")]),
        (Window("12:00", "24:00", ("sat",)), [("Sat 12:00", "Sun 00:00")]),
        (Window("07:00", "07:00", ("sat",)), [("Sat 07:00", "Sun 07:00")]),
        (Window("20:00", "21:00", ("mon", "thu")), [("Mon 20:00", "Mon 21:00"), ("Thu 20:00", "Thu 21:00")]),
    ],
)
def test_days_are_those_on_which_it_opens(window: Window, expected: list[tuple[str, str]]) -> None:
    assert openings(window, BERLIN, local(BERLIN, 2026, 5, 4), 6.99) == expected


def test_the_next_opening_and_the_next_change_are_told() -> None:
    calendar = Calendar(Window("08:00", "18:00", ("mon", "tue")), BERLIN)
    sunday, monday = local(BERLIN, 2026, 5, 3, 12), local(BERLIN, 2026, 5, 4, 8)
    assert calendar.next_opening(sunday) == calendar.next_change(sunday) == monday
    assert calendar.next_opening(monday) == monday + timedelta(days=1), "it is open already"
    assert calendar.next_change(monday) == local(BERLIN, 2026, 5, 4, 18)
    assert calendar.next_change(local(BERLIN, 2026, 5, 4, 18)) == monday + timedelta(days=1)


def test_a_window_that_is_always_open_never_changes() -> None:
    for window in (Window("00:00", "24:00"), Window("07:30", "07:30")):
        calendar, now = Calendar(window, BERLIN), local(BERLIN, 2026, 3, 1)
        assert calendar.next_change(now) is None and calendar.next_opening(now) is None
        assert all(calendar.contains(now + timedelta(hours=hours)) for hours in range(0, 24 * 60, 5))


# Clock changes: in Berlin from 02:00 to 03:00 on 29 March 2026, and from 03:00 back to 02:00 on 25 October


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        ("01:00", "02:30", [("Sun 01:00", "Sun 03:00")]),
        ("02:30", "04:00", [("Sun 03:00", "Sun 04:00")]),
        ("02:10", "02:20", []),
        ("02:30", "02:20", [("Sun 03:00", "Mon 02:20")]),
    ],
)
def test_a_time_that_is_left_out_is_the_first_instant_after_it(
    start: str, end: str, expected: list[tuple[str, str]]
) -> None:
    assert openings(Window(start, end, ("sun",)), BERLIN, local(BERLIN, 2026, 3, 29), 1) == expected


@pytest.mark.parametrize(
    ("start", "end", "hours"), [("01:00", "02:30", 2.5), ("02:30", "03:30", 2), ("02:10", "02:40", 1.5)]
)
def test_of_a_time_that_comes_twice_the_start_takes_the_first_and_the_end_the_last(
    start: str, end: str, hours: float
) -> None:
    day = to_micros(local(BERLIN, 2026, 10, 25))
    [(begins, ends)] = Calendar(Window(start, end, ("sun",)), BERLIN).spans(day, day + 86_400_000_000)
    assert ends - begins == hours * 3_600_000_000


def test_a_midnight_that_is_left_out_opens_the_day_an_hour_later() -> None:
    cairo = Place(None, None, ZoneInfo("Africa/Cairo"))
    assert openings(Window("00:00", "02:00", ("fri",)), cairo, local(cairo, 2026, 4, 24), 0.5) == [
        ("Fri 01:00", "Fri 02:00")
    ]


def test_a_date_that_is_left_out_has_no_opening() -> None:
    apia = Place(None, None, ZoneInfo("Pacific/Apia"))  # there was no 30 December 2011
    spans = openings(Window("08:00", "10:00"), apia, local(apia, 2011, 12, 29), 3)
    assert spans == [("Thu 08:00", "Thu 10:00"), ("Sat 08:00", "Sat 10:00")]


# The sun


@pytest.mark.parametrize(
    ("place", "day", "sunrise", "sunset"),
    [  # as almanacs print them
        (BERLIN, date(2026, 6, 21), "04:43", "21:33"),
        (BERLIN, date(2026, 12, 21), "08:15", "15:54"),
        (Place(-33.87, 151.21, ZoneInfo("Australia/Sydney")), date(2026, 1, 1), "05:48", "20:09"),
        (Place(45.52, -122.68, ZoneInfo("America/Los_Angeles")), date(2026, 7, 4), "05:27", "21:03"),
    ],
)
def test_the_sun_rises_and_sets_when_almanacs_say_so(place: Place, day: date, sunrise: str, sunset: str) -> None:
    sun = Sun(place.latitude or 0, place.longitude or 0, place.zone)
    for word, clock in (("sunrise", sunrise), ("sunset", sunset)):
        found = sun.at(word, day)
        expected = datetime.strptime(f"{day} {clock}", "%Y-%m-%d %H:%M").replace(tzinfo=place.zone)
        assert isinstance(found, datetime) and minutes_apart(found, expected) <= 2, word


def test_offsets_move_the_sun() -> None:
    plain = openings(Window("sunrise", "sunset"), BERLIN, local(BERLIN, 2026, 9, 1), 0.5)
    moved = openings(Window("sunrise-01:00", "sunset+00:30"), BERLIN, local(BERLIN, 2026, 9, 1), 0.5)
    assert plain == [("Tue 06:17", "Tue 19:54")] and moved == [("Tue 05:17", "Tue 20:24")]


def test_sun_and_clock_can_be_mixed_and_go_over_midnight() -> None:
    monday = local(BERLIN, 2026, 9, 7)
    assert openings(Window("sunset", "23:00", ("mon",)), BERLIN, monday, 7) == [("Mon 19:40", "Mon 23:00")]
    assert openings(Window("22:00", "sunrise", ("mon",)), BERLIN, monday, 6) == [("Mon 22:00", "Tue 06:29")]
    assert openings(Window("noon", "noon", ("mon",)), BERLIN, monday, 6) == [("Mon 13:04", "Tue 13:04")]
    night = openings(Window("sunset", "sunrise", ("mon",)), BERLIN, monday, 6)
    assert night == [("Mon 19:40", "Tue 06:29")]


def test_a_sunset_after_midnight_still_ends_its_own_day() -> None:
    assert openings(Window("sunrise", "sunset", ("sun",)), REYKJAVIK, local(REYKJAVIK, 2026, 6, 21), 1) == [
        ("Sun 02:56", "Mon 00:02")
    ]


@pytest.mark.parametrize(
    ("start", "end", "summer", "winter"),
    [
        ("sunrise", "sunset", True, False),
        ("sunrise-00:30", "sunset+00:30", True, False),
        ("dawn", "dusk", True, False),
        ("sunset", "sunrise", False, True),
        ("dusk", "dawn", False, True),
    ],
)
def test_polar_days_and_nights_are_open_all_day_or_not_at_all(start: str, end: str, summer: bool, winter: bool) -> None:
    calendar = Calendar(Window(start, end), LONGYEARBYEN)
    for month, expected in ((6, summer), (12, winter)):
        hours = [local(LONGYEARBYEN, 2026, month, 20, 0, 0) + timedelta(hours=number) for number in range(48)]
        assert {calendar.contains(moment) for moment in hours} == {expected}


def test_a_polar_day_lasts_from_midnight_to_midnight() -> None:
    day = local(LONGYEARBYEN, 2026, 6, 17)
    assert openings(Window("sunrise-02:00", "sunset", ("wed",)), LONGYEARBYEN, day, 3) == [("Wed 00:00", "Thu 00:00")]


def test_the_sun_comes_back_after_a_polar_night_and_its_return_is_foreseen() -> None:
    returns = Calendar(Window("sunrise", "sunset"), LONGYEARBYEN).next_opening(local(LONGYEARBYEN, 2026, 11, 27))
    assert returns is not None and date(2027, 2, 10) <= returns.date() <= date(2027, 2, 20)


@given(
    latitude=st.floats(-90, 90),
    longitude=st.floats(-180, 180),
    day=st.dates(date(2020, 1, 1), date(2040, 12, 31)),
    zone=st.sampled_from(["UTC", "Pacific/Kiritimati", "Pacific/Pago_Pago", "Asia/Shanghai", "Europe/Berlin"]),
)
@settings(max_examples=300, deadline=None)
def test_everywhere_the_sun_goes_over_its_noon(latitude: float, longitude: float, day: date, zone: str) -> None:
    sun = Sun(latitude, longitude, ZoneInfo(zone))
    noon = sun.noon(day)
    assert abs(noon - datetime(day.year, day.month, day.day, 12, tzinfo=ZoneInfo(zone))) <= timedelta(
        hours=12, minutes=1
    )
    moments = [sun.at(word, day) for word in ("dawn", "sunrise", "noon", "sunset", "dusk")]
    known = [moment for moment in moments if isinstance(moment, datetime)]
    assert known == sorted(known)
    assert all(abs(moment - noon) <= timedelta(hours=12, minutes=1) for moment in known)
    kinds = [[moment for moment in pair if isinstance(moment, Polar)] for pair in (moments[:2], moments[3:])]
    assert kinds[0] == kinds[1][::-1], "what does not rise does not set"


# What every calendar keeps

times = st.builds("{:02}:{:02}".format, st.integers(0, 23), st.integers(0, 59))
sun_words = st.builds(
    lambda word, sign, offset: f"{word}{sign}{offset}" if sign else word,
    st.sampled_from(WORDS),
    st.sampled_from(["", "+", "-"]),
    st.sampled_from(["00:20", "03:00", "12:00"]),
)
windows = st.builds(
    Window,
    times | sun_words,
    times | sun_words | st.just("24:00"),
    st.lists(st.sampled_from(DAYS), min_size=1, unique=True).map(tuple),
)
places = st.sampled_from([BERLIN, LONGYEARBYEN, REYKJAVIK, Place(-33.9, 151.2, ZoneInfo("Australia/Lord_Howe"))])
moments = st.datetimes(datetime(2025, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


@given(windows, places, moments)
@settings(max_examples=150, deadline=None)
def test_spans_contains_and_changes_agree(window: Window, place: Place, moment: datetime) -> None:
    calendar, asked = Calendar(window, place), Calendar(window, place)
    spans = list(calendar.spans(to_micros(moment), to_micros(moment + timedelta(days=20))))
    assert spans == sorted(spans) and all(begins < ends for begins, ends in spans)
    assert all(first[1] <= second[0] for first, second in zip(spans, spans[1:], strict=False))
    for begins, ends in spans:
        assert asked.contains(from_micros(begins)) and asked.contains(from_micros(ends - 1))
    inside = calendar.contains(moment)
    assert inside == any(begins <= to_micros(moment) < ends for begins, ends in spans)
    change, opening = calendar.next_change(moment), calendar.next_opening(moment)
    if change is not None:
        assert change > moment and calendar.contains(change) is not inside
        assert calendar.contains(change - timedelta(microseconds=1)) is inside
        assert inside or opening == change
    if opening is not None:
        assert opening > moment and calendar.contains(opening)
        assert not calendar.contains(opening - timedelta(microseconds=1))


@given(windows, places, moments)
@settings(max_examples=50, deadline=None)
def test_asking_in_another_order_changes_no_answer(window: Window, place: Place, moment: datetime) -> None:
    calendar = Calendar(window, place)
    hours = [moment + timedelta(hours=7 * number) for number in range(60)]
    there = [calendar.contains(hour) for hour in hours]
    assert [calendar.contains(hour) for hour in reversed(hours)] == there[::-1]
    assert there == [Calendar(window, place).contains(hour) for hour in hours]


def test_the_ends_of_time_are_closed_and_no_error() -> None:
    calendar = Calendar(Window("00:00", "24:00"), BERLIN)
    for moment in (datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, tzinfo=UTC)):
        assert not calendar.contains(moment)
        assert calendar.next_change(moment) is None and calendar.next_opening(moment) is None


# What is refused


def faults(window: Window, place: Place = BERLIN) -> list[str]:
    return [fault.where for fault in check_window(window, place)]


@given(windows, places)
@settings(max_examples=60, deadline=None)
def test_a_window_without_fault_opens(window: Window, place: Place) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    if not check_window(window, place, now):
        calendar = Calendar(window, place)
        assert calendar.contains(now) or calendar.next_opening(now) is not None


@pytest.mark.parametrize(
    ("window", "where"),
    [
        (Window("8:00", "18:00"), ["/window/from"]),
        (Window("24:00", "12:00"), ["/window/from"]),
        (Window("08:00", "24:01"), ["/window/to"]),
        (Window("08:60", "25:00"), ["/window/from", "/window/to"]),
        (Window("", "sunrise+1:00"), ["/window/from", "/window/to"]),
        (Window("Sunrise", "sunset "), ["/window/from", "/window/to"]),
        (Window("sunrise+00:30:00", "moonrise"), ["/window/from", "/window/to"]),
        (Window("sunrise-12:01", "sunset"), ["/window/from"]),
        (Window("٠٨:٠٠", "18:00"), ["/window/from"]),
        (Window("08:00\n", "18:00"), ["/window/from"]),
        (Window("08:00", "18:00", ()), ["/window/days"]),
        (Window("08:00", "18:00", ("mon", "Tue", "weekend")), ["/window/days/1", "/window/days/2"]),
    ],
)
def test_what_cannot_be_read_is_told_where_it_stands(window: Window, where: Sequence[str]) -> None:
    assert faults(window) == list(where)


def test_the_sun_without_a_place_is_refused_with_what_to_set() -> None:
    [fault] = check_window(Window("08:00", "sunset+00:30"), NOWHERE)
    assert fault.where == "/window/to" and "[place] latitude, longitude in piapi.toml" in fault.detail
    assert faults(Window("08:00", "18:00"), NOWHERE) == []
    with pytest.raises(Invalid, match="piapi.toml"):
        Calendar(Window("sunrise", "18:00"), NOWHERE)


def test_a_window_that_never_opens_is_refused() -> None:
    equator = Place(0.0, 0.0, ZoneInfo("UTC"))  # where the sun is up for some minutes more than half a day
    [fault] = check_window(Window("sunset", "sunrise-12:00"), equator)
    assert fault.where == "/window" and "never opens" in fault.detail
    assert check_window(Window("sunset", "sunrise-11:00"), equator) == []
    assert check_window(Window("sunrise", "sunset"), Place(90.0, 0.0, ZoneInfo("UTC"))) == [], "half the year"


# The zone


@dataclass
class Settings:
    latitude: float | None = None
    longitude: float | None = None
    time_zone: str | None = None


def test_the_zone_is_the_one_that_is_set_else_the_machines(tmp_path: Path) -> None:
    assert zone_of(Settings(time_zone="Asia/Tokyo")) == ZoneInfo("Asia/Tokyo")
    localtime = tmp_path / "localtime"
    assert zone_of(Settings(), localtime) is UTC
    localtime.write_bytes(b"nonsense")
    assert zone_of(Settings(), localtime) is UTC
    localtime.unlink()
    localtime.symlink_to("/usr/share/zoneinfo/Asia/Tokyo")
    zone = zone_of(Settings(), localtime)
    assert str(zone) == "Asia/Tokyo"
    assert datetime(2026, 1, 1, tzinfo=zone).utcoffset() == timedelta(hours=9)
    assert place_of(Settings(1.0, 2.0, "UTC")) == Place(1.0, 2.0, ZoneInfo("UTC"))
