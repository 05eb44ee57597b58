"""The text of `/metrics` (Prometheus exposition format), made of the parts' own figures when somebody asks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any

from flask import request
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, InfoMetricFamily
from prometheus_client.exposition import choose_encoder

from piapi import __version__
from piapi.api.services import Services
from piapi.services.metrics import BUCKETS_S, Histogram

Family = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily | InfoMetricFamily

_PAGE = os.sysconf("SC_PAGE_SIZE")


def as_text(services: Services) -> tuple[bytes, str]:
    """The figures, and their media type: OpenMetrics where the Accept header wants it."""
    registry = CollectorRegistry()
    registry.register(_Figures(services))
    encode, media_type = choose_encoder(request.headers.get("Accept", ""))
    return encode(registry), media_type


class _Figures:
    """What prometheus-client asks for families."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def collect(self) -> Iterator[Family]:
        """Every family, with what it has now."""
        yield InfoMetricFamily("piapi", "This service.", {"version": __version__})
        yield from self._requests()
        yield from self._cameras()
        yield from self._storage()
        yield from self._machine()
        yield from _process()

    def _requests(self) -> Iterator[Family]:
        count = CounterMetricFamily("piapi_http_requests", "Requests answered.", labels=["method", "route", "status"])
        for (method, route, status), requests in self._services.metrics.requests():
            count.add_metric([method, route, str(status)], requests)
        yield count
        durations = HistogramMetricFamily(
            "piapi_http_request_seconds", "Until the answer was made.", labels=["method", "route"]
        )
        for labels, histogram in self._services.metrics.request_durations():
            _add(durations, list(labels), histogram)
        yield durations

    def _cameras(self) -> Iterator[Family]:
        metrics, cameras = self._services.metrics, self._services.cameras
        count = CounterMetricFamily("piapi_captures", "Pictures asked of a camera.", labels=["camera", "outcome"])
        for labels, captures in metrics.captures():
            count.add_metric(list(labels), captures)
        yield count
        durations = HistogramMetricFamily(
            "piapi_capture_seconds", "Until the picture was there, waiting included.", labels=["camera"]
        )
        for camera, histogram in metrics.capture_durations():
            _add(durations, [camera], histogram)
        yield durations
        viewers = GaugeMetricFamily("piapi_stream_viewers", "Who look now.", labels=["camera"])
        encoded = CounterMetricFamily("piapi_stream_frames_encoded", "Frames encoded once for all.", labels=["camera"])
        sent = CounterMetricFamily("piapi_stream_frames_sent", "Frames given to viewers.", labels=["camera"])
        up = GaugeMetricFamily("piapi_camera_up", "Whether the camera delivers.", labels=["camera"])
        for one in cameras:
            feed = one.owner.feed
            viewers.add_metric([one.name], feed.viewers)
            encoded.add_metric([one.name], feed.encoded)
            sent.add_metric([one.name], feed.sent)
            up.add_metric([one.name], float(one.is_well()))
        yield from (viewers, encoded, sent, up)

    def _storage(self) -> Iterator[Family]:
        if disk := self._services.system.disk():
            yield GaugeMetricFamily("piapi_storage_free_bytes", "Free on the data disk.", disk.free_bytes)
            yield GaugeMetricFamily("piapi_storage_size_bytes", "Size of the data disk.", disk.total_bytes)
            yield GaugeMetricFamily("piapi_storage_floor_bytes", "Free space that is never used.", disk.floor_bytes)
            yield GaugeMetricFamily("piapi_photos", "Photos kept.", disk.photos)
            yield GaugeMetricFamily("piapi_photos_bytes", "Bytes of all photos.", disk.photos_bytes)

    def _machine(self) -> Iterator[Family]:
        system = self._services.system
        yield GaugeMetricFamily("piapi_uptime_seconds", "Since piapi began.", system.uptime_s())
        late = self._services.metrics.chore_lateness_s
        yield GaugeMetricFamily("piapi_housekeeping_lateness_seconds", "How late the housekeeper was last.", late)
        known: tuple[tuple[str, str, Any], ...] = (
            ("piapi_cpu_temperature_celsius", "Of the processor.", system.cpu_temperature_c()),
            ("piapi_clock_synchronised", "Whether the wall clock is right.", system.clock_synchronised()),
            ("piapi_load", "Processes that want a processor, over a minute.", system.load()),
        )
        yield from (GaugeMetricFamily(name, help, float(value)) for name, help, value in known if value is not None)
        if (throttled := system.throttled()) is not None:
            now = GaugeMetricFamily("piapi_throttled", "What the firmware holds back now.", labels=["reason"])
            for reason in throttled.now:
                now.add_metric([reason], 1)
            yield now


def _process() -> Iterator[Family]:
    """This process: memory, processor time, descriptors (proc_pid_statm(5), getrusage(2))."""
    resident = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * _PAGE
    times = os.times()
    yield GaugeMetricFamily("process_resident_memory_bytes", "Resident memory.", resident)
    yield CounterMetricFamily("process_cpu_seconds", "Processor time used.", times.user + times.system)
    yield GaugeMetricFamily("process_open_fds", "Open descriptors.", sum(1 for _ in Path("/proc/self/fd").iterdir()))


def _add(family: HistogramMetricFamily, labels: list[str], histogram: Histogram) -> None:
    bounds = [str(bound) for bound in BUCKETS_S] + ["+Inf"]
    family.add_metric(labels, list(zip(bounds, accumulate(histogram.counts), strict=True)), sum_value=histogram.sum_s)
