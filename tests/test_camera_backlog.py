"""A webcam that gives more frames than a slow machine can convert: it is shown as it is now, not as it was."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import islice, pairwise

import pytest

from piapi.hardware.av_live import MOST_BUFFERS, without_backlog

COPY_S = 0.002
"""What fetching a frame takes."""


class Driver:
    """V4L2's: frames wait in buffers, in order; one that finds all of them full is dropped."""

    def __init__(self, rate: float = 30, lag_s: float = 0.0) -> None:
        """`lag_s`: what it stamps is always so much older than it is."""
        self.now = 0.0
        self._rate, self._lag_s = rate, lag_s
        self._buffers: deque[float] = deque()
        self._frames = 0

    def pictures(self) -> Iterator[tuple[bytes, float]]:
        while True:
            self._fill()
            if not self._buffers:
                self.now = (self._frames + 1) / self._rate
                self._fill()
            timestamp = self._buffers.popleft()
            self.now += COPY_S
            yield b"", timestamp - self._lag_s

    def _fill(self) -> None:
        while (timestamp := (self._frames + 1) / self._rate) <= self.now:
            self._frames += 1
            if len(self._buffers) < MOST_BUFFERS:
                self._buffers.append(timestamp)


@pytest.mark.parametrize("takes_s", [0.001, 0.05, 0.2, 1.0])
def test_who_is_slower_than_the_camera_still_sees_the_present(takes_s: float) -> None:
    driver, ages, gaps = Driver(), [], []
    for _, timestamp, left_out in islice(without_backlog(driver.pictures(), lambda: driver.now), 100):
        assert timestamp is not None
        gaps += [timestamp - left_out] if left_out is not None else []
        ages.append(driver.now - timestamp)
        driver.now += takes_s
    assert max(ages) < 0.5
    assert bool(gaps) is (takes_s > 1 / 30)
    assert all(gap > 0 for gap in gaps)


@pytest.mark.parametrize(("rate", "lag_s"), [(1, 0), (30, 0.4), (15, 0.5), (10, 0.6), (5, 0.75), (5, 3)])
def test_a_camera_that_is_late_by_itself_loses_none(rate: float, lag_s: float) -> None:
    driver = Driver(rate, lag_s)
    stamps = [stamp for _, stamp, _ in islice(without_backlog(driver.pictures(), lambda: driver.now), 100)]
    gaps = [after - before for before, after in pairwise(stamps) if after is not None and before is not None]
    assert gaps == pytest.approx([1 / rate] * 99)


@pytest.mark.parametrize("stamp", [None, 5.0])
def test_a_driver_that_stamps_otherwise_is_read_all_the_same(stamp: float | None) -> None:
    frames = [(b"", stamp)] * 200
    kept = [(picture, stamp) for picture, stamp, _ in without_backlog(iter(frames), lambda: 1000.0)]
    assert kept == frames
