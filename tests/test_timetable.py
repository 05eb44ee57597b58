"""One thread for all that has to happen at a moment."""

from __future__ import annotations

import threading

import pytest

from piapi.clock import SystemClock
from piapi.services.timetable import Timetable
from tests.fakes import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def test_what_is_due_is_done_in_its_order_and_the_rest_waits(clock: FakeClock) -> None:
    timetable, done = Timetable(clock), list[str]()
    for name, after in (("third", 3.0), ("first", 1.0), ("second", 1.0), ("later", 9.0)):
        timetable.at(clock.monotonic() + after, lambda name=name: done.append(name))  # type: ignore[misc]
    timetable.keep_due()
    assert done == []
    clock.advance(3)
    timetable.keep_due()
    assert done == ["first", "second", "third"]


def test_what_is_cancelled_is_not_done(clock: FakeClock) -> None:
    timetable, done = Timetable(clock), list[str]()
    appointment = timetable.at(clock.monotonic(), lambda: done.append("it"))
    appointment.cancel()
    appointment.cancel()
    timetable.keep_due()
    assert done == []


def test_one_that_fails_does_not_keep_the_next_from_its_moment(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    timetable, done = Timetable(clock), list[str]()
    timetable.at(clock.monotonic(), lambda: 1 / 0)  # type: ignore[arg-type, return-value]
    timetable.at(clock.monotonic(), lambda: done.append("next"))
    timetable.keep_due()
    assert done == ["next"] and "fault" in caplog.text


def test_the_thread_keeps_appointments_made_before_and_after_it_began() -> None:
    clock, done = SystemClock(), [threading.Event(), threading.Event(), threading.Event()]
    timetable = Timetable(clock)
    timetable.at(clock.monotonic(), done[0].set)
    timetable.start()
    timetable.at(clock.monotonic() + 3600, lambda: None)
    timetable.at(clock.monotonic() + 0.01, done[1].set)
    timetable.at(clock.monotonic(), done[2].set)
    assert all(event.wait(30) for event in done)
    timetable.close()
    timetable.close()


def test_nothing_is_done_after_the_end() -> None:
    clock, done = FakeClock(), list[str]()
    timetable = Timetable(clock)
    timetable.start()
    timetable.close()
    timetable.at(clock.monotonic(), lambda: done.append("late"))
    timetable.keep_due()
    assert done == []


def test_it_says_how_late_it_is() -> None:
    clock = FakeClock()
    timetable = Timetable(clock)
    assert timetable.lateness_s() == 0
    timetable.at(clock.monotonic() + 1, lambda: None)
    clock.advance(21)
    assert timetable.lateness_s() == 20
    timetable.keep_due()
    assert timetable.lateness_s() == 0
