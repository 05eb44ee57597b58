"""Counts of what happens, kept in plain numbers: cheap to add to, and read when somebody asks (`/metrics`).

The names and the text are made in `piapi.api.metrics`; here is only what cannot be asked of the parts themselves.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeVar

K = TypeVar("K")

#: Upper bounds of the buckets, in seconds: a snapshot from memory takes one millisecond, a still in the dark minutes.
BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


@dataclass(slots=True)
class Histogram:
    """Durations, counted by bucket."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS_S) + 1))
    """Each bucket alone; the last one has all that took longer."""
    sum_s: float = 0.0

    def add(self, seconds: float) -> None:
        """One more."""
        self.counts[bisect_left(BUCKETS_S, seconds)] += 1
        self.sum_s += seconds


class Metrics:
    """Requests and captures since the start. Labels come from routes and settings, so that there are few."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: dict[tuple[str, str, int], int] = {}
        self._request_s: dict[tuple[str, str], Histogram] = {}
        self._captures: dict[tuple[str, str], int] = {}
        self._capture_s: dict[str, Histogram] = {}
        self.chore_lateness_s = 0.0
        """How late the housekeeper was last: a machine that has no time for anything shows here first."""

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """A request was answered, or its stream has begun."""
        with self._lock:
            self._requests[method, route, status] = self._requests.get((method, route, status), 0) + 1
            histogram = self._request_s.get((method, route))
            if histogram is None:
                histogram = self._request_s[method, route] = Histogram()
            histogram.add(seconds)

    def capture(self, camera: str, outcome: str, seconds: float) -> None:
        """A picture was asked of a camera; the outcome is `ok` or the name of an error."""
        with self._lock:
            self._captures[camera, outcome] = self._captures.get((camera, outcome), 0) + 1
            if outcome == "ok":
                self._capture_s.setdefault(camera, Histogram()).add(seconds)

    def requests(self) -> Iterator[tuple[tuple[str, str, int], int]]:
        """Counts by method, route and status."""
        return iter(self._copied(self._requests).items())

    def request_durations(self) -> Iterator[tuple[tuple[str, str], Histogram]]:
        """By method and route."""
        return self._histograms(self._request_s)

    def captures(self) -> Iterator[tuple[tuple[str, str], int]]:
        """Counts by camera and outcome."""
        return iter(self._copied(self._captures).items())

    def capture_durations(self) -> Iterator[tuple[str, Histogram]]:
        """By camera."""
        return self._histograms(self._capture_s)

    def _copied(self, counts: dict[K, int]) -> dict[K, int]:
        with self._lock:
            return dict(counts)

    def _histograms(self, histograms: dict[K, Histogram]) -> Iterator[tuple[K, Histogram]]:
        with self._lock:
            return iter([(key, Histogram(list(one.counts), one.sum_s)) for key, one in histograms.items()])
