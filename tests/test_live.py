"""The live feed: encoded once, shared by all, and a slow viewer holds nobody up."""

from __future__ import annotations

import pytest

from piapi.errors import TooManyViewers
from piapi.services.live import LiveFeed, Picture, Viewer, ViewerPlaces, divisor_for, next_due
from tests.fakes import FakeClock, FlatImage


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def feed(clock: FakeClock) -> LiveFeed:
    return LiveFeed(ViewerPlaces(3), clock.monotonic, lambda: None)


def picture(clock: FakeClock) -> Picture:
    return Picture(FlatImage(), clock.monotonic(), clock.now(), {}, True)


def test_a_frame_is_encoded_once_for_each_size(feed: LiveFeed, clock: FakeClock) -> None:
    viewers = [feed.join(0, 30), feed.join(640, 30), feed.join(100, 30)]
    shown = picture(clock)
    feed.publish(shown)
    frames = [viewer.next() for viewer in viewers]
    assert all(frames)
    assert frames[0] is frames[1] and frames[0] is not frames[2]
    assert isinstance(shown.image, FlatImage) and shown.image.encoded == 2


def test_nothing_is_encoded_when_nobody_looks(feed: LiveFeed, clock: FakeClock) -> None:
    shown = picture(clock)
    feed.publish(shown)
    assert isinstance(shown.image, FlatImage) and shown.image.encoded == 0


def test_a_slow_viewer_skips_to_the_newest(feed: LiveFeed, clock: FakeClock) -> None:
    viewer = feed.join(0, 30)
    for _ in range(5):
        feed.publish(picture(clock))
        clock.advance(0.1)
    frame = viewer.next()
    assert frame is not None and frame.sequence == 5
    assert viewer.next() is None


@pytest.mark.parametrize(("fps", "seen"), [(30, 90), (15, 45), (10, 30), (1, 3), (60, 90)])
def test_a_viewer_gets_its_own_rate_evenly(feed: LiveFeed, clock: FakeClock, fps: float, seen: int) -> None:
    fast, viewer = feed.join(0, 60), feed.join(0, fps)
    got = 0
    for _ in range(90):
        feed.publish(picture(clock))
        fast.next()
        got += viewer.next() is not None
        clock.advance(1 / 30)
    assert abs(got - seen) <= 1


def test_one_who_joins_after_a_slow_viewer_does_not_wait_for_its_rate(feed: LiveFeed, clock: FakeClock) -> None:
    feed.join(0, 0.1)
    feed.publish(picture(clock))
    clock.advance(1 / 30)
    newcomer = feed.join(0, 30)
    feed.publish(picture(clock))
    assert newcomer.next() is not None


def test_a_damaged_frame_is_passed_over(feed: LiveFeed, clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    class Damaged(FlatImage):
        def encode(self, format: str, *, width: int = 0, height: int = 0, quality: int = 0) -> bytes:
            raise ValueError("cut off")

    viewer = feed.join(0, 30)
    feed.publish(Picture(Damaged(), clock.monotonic(), clock.now(), {}, True))
    assert viewer.next() is None and "cut off" in caplog.text
    clock.advance(1)
    feed.publish(picture(clock))
    assert viewer.next() is not None


def test_frames_faster_than_anybody_wants_are_not_encoded(feed: LiveFeed, clock: FakeClock) -> None:
    feed.join(0, 5)
    shown = [picture(clock)]
    for _ in range(29):
        clock.advance(1 / 30)
        shown.append(picture(clock))
    for one in shown:
        feed.publish(one)
    assert sum(one.image.encoded for one in shown if isinstance(one.image, FlatImage)) == 5


def test_a_viewer_is_woken_by_each_frame_and_by_the_end(feed: LiveFeed, clock: FakeClock) -> None:
    viewer = feed.join(0, 30)
    woken: list[int] = []
    viewer.wake = lambda: woken.append(1)
    feed.publish(picture(clock))
    feed.end()
    assert len(woken) == 2 and viewer.ended


def test_places_are_bounded_and_given_back_once(feed: LiveFeed) -> None:
    viewers: list[Viewer] = [feed.join(0, 30) for _ in range(3)]
    with pytest.raises(TooManyViewers):
        feed.join(0, 30)
    viewers[0].leave()
    viewers[0].leave()
    feed.join(0, 30)
    with pytest.raises(TooManyViewers):
        feed.join(0, 30)


@pytest.mark.parametrize(
    ("wanted", "divisor"), [(0, 1), (1, 4), (160, 4), (161, 2), (320, 2), (321, 1), (640, 1), (5000, 1)]
)
def test_the_size_is_rounded_up_to_one_of_three(wanted: int, divisor: int) -> None:
    assert divisor_for(640, wanted) == divisor


def test_the_grid_of_a_rate_starts_anew_after_a_gap() -> None:
    due, at = next_due(0.0, 100.0, 10)
    assert due and at == pytest.approx(100.1)
    assert next_due(at, 100.05, 10) == (False, at)
    due, later = next_due(at, 100.09, 10)
    assert due and later == pytest.approx(100.2)


def test_a_picture_remembers_few_encodings(clock: FakeClock) -> None:
    shown = picture(clock)
    for width in range(1, 100):
        shown.jpeg(width)
    assert len(shown._encoded) <= 8
    assert shown.jpeg(1) is shown.jpeg(1)
    assert shown.jpeg(640) is shown.jpeg() or shown.jpeg(640) == shown.jpeg()
