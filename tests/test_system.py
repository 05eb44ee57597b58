"""How the machine is, and figures about it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from piapi.api.services import Services
from piapi.hardware.camera_simulated import Faults
from piapi.services.metrics import BUCKETS_S, Histogram
from piapi.services.system import System
from piapi.storage.photos import PhotoLibrary
from tests.conftest import Api, assert_problem
from tests.fakes import FakeClock


class NoPhotos(PhotoLibrary):
    """A library that is empty."""

    def __init__(self) -> None:
        pass

    def totals(self) -> tuple[int, int]:
        return 0, 0


def machine(root: Path, files: dict[str, str], is_synchronised: bool | None = None) -> System:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return System(NoPhotos(), root, 10, lambda: is_synchronised, FakeClock(), root)


def test_a_raspberry_pi_is_told_as_it_is(tmp_path: Path) -> None:
    system = machine(
        tmp_path,
        {
            "proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.4\0",
            "sys/class/thermal/thermal_zone0/temp": "48312\n",
            "sys/devices/platform/soc/soc:firmware/get_throttled": "50005\n",
            "proc/meminfo": "MemTotal:        3884952 kB\nMemFree: 1 kB\nMemAvailable:    3000000 kB\n",
        },
        is_synchronised=True,
    )
    assert system.model() == "Raspberry Pi 4 Model B Rev 1.4"
    assert system.cpu_temperature_c() == 48.312
    throttled = system.throttled()
    assert throttled is not None
    assert throttled.now == ("under_voltage", "throttled") and throttled.since_boot == ("under_voltage", "throttled")
    assert system.memory() == (3884952 * 1024, 3000000 * 1024)
    assert system.clock_synchronised() is True


@pytest.mark.parametrize("rubbish", [None, "", "hot", "0xzz"])
def test_what_is_not_known_is_none(tmp_path: Path, rubbish: str | None) -> None:
    names = ("sys/class/thermal/thermal_zone0/temp", "sys/devices/platform/soc/soc:firmware/get_throttled")
    system = machine(tmp_path, {} if rubbish is None else dict.fromkeys((*names, "proc/meminfo"), rubbish))
    assert system.model() is None and system.cpu_temperature_c() is None and system.throttled() is None
    assert system.memory() is None and system.clock_synchronised() is None
    gone = System(NoPhotos(), tmp_path / "gone", 10, lambda: None, FakeClock(), tmp_path)
    assert gone.disk() is None


def test_the_system_is_for_those_who_may_view_it(
    api: Api, nobody: Api, client_with: Callable[..., Api], services: Services
) -> None:
    document = api.get("/system").get_json()
    assert document["emulated"] is True and document["uptime_s"] >= 0 and document["links"]["self"] == "/api/v1/system"
    assert document["disk"]["photos"] == 0 and document["disk"]["low"] is False
    api.post("/cameras/demo/photos")
    disk = api.get("/system").get_json()["disk"]
    assert disk["photos"] == 1 and disk["photos_bytes"] > 1000
    assert api.get("/").get_json()["links"]["system"] == "/api/v1/system"
    assert client_with(role="viewer").get("/system").status_code == 200
    for path in ("/system", "/metrics"):
        assert_problem(nobody.get(path), 401, "unauthenticated")
        assert_problem(client_with("camera:*:view").get(path), 403, "forbidden")
        assert_problem(api.post(path), 405, "method-not-allowed")
        assert_problem(api.get(f"{path}?x=1"), 422, "invalid")


def figures(api: Api) -> dict[str, float]:
    response = api.get("/metrics")
    assert response.status_code == 200 and response.content_type.startswith("text/plain")
    lines = [line for line in response.get_data(as_text=True).splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def test_requests_are_counted_by_route_and_never_by_path(api: Api) -> None:
    for id in range(3):
        api.get(f"/photos/{id:016x}")
    api.get("/made/up/by/somebody")
    api.open("BREW", "/made/up")
    found = figures(api)
    assert found['piapi_http_requests_total{method="GET",route="/api/v1/photos/<id>",status="404"}'] == 3
    assert found['piapi_http_requests_total{method="any",route="unknown",status="404"}'] == 2
    assert found['piapi_http_request_seconds_count{method="GET",route="/api/v1/photos/<id>"}'] == 3
    assert not any("somebody" in name for name in found)


def test_captures_are_counted_with_what_became_of_them(api: Api, faults: Faults) -> None:
    assert api.post("/cameras/demo/photos").status_code == 201
    faults.unplug()
    assert api.post("/cameras/demo/photos").status_code == 503
    found = figures(api)
    assert found['piapi_captures_total{camera="demo",outcome="ok"}'] == 1
    assert found['piapi_captures_total{camera="demo",outcome="CameraUnavailable"}'] == 1
    assert found['piapi_capture_seconds_count{camera="demo"}'] == 1
    assert found['piapi_camera_up{camera="demo"}'] == 0 and found['piapi_camera_up{camera="back"}'] == 1
    assert found["piapi_photos"] == 1 and found["piapi_storage_free_bytes"] > 0


def test_open_metrics_is_given_to_who_wants_it(api: Api) -> None:
    response = api.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert response.content_type.startswith("application/openmetrics-text")
    assert response.get_data(as_text=True).endswith("# EOF\n")


def test_buckets_are_found_by_their_upper_bounds() -> None:
    histogram = Histogram()
    for seconds in (0.001, 0.0011, 59.0, 61.0):
        histogram.add(seconds)
    assert histogram.counts[0] == 1 and histogram.counts[1] == 1
    assert histogram.counts[len(BUCKETS_S) - 1] == 1 and histogram.counts[-1] == 1 and sum(histogram.counts) == 4


def test_every_answer_has_the_id_of_its_request(app: Flask, api: Api, nobody: Api) -> None:
    given = api.get("/", headers={"X-Request-Id": "abc-123"})
    assert given.headers["X-Request-Id"] == "abc-123"
    made = [nobody.get("/").headers["X-Request-Id"] for _ in range(2)]
    assert made[0] != made[1] and all(len(id) == 12 for id in made)
    for bad in ("x" * 65, "a b", "<script>"):
        assert api.get("/", headers={"X-Request-Id": bad}).headers["X-Request-Id"] != bad


def test_health_tells_no_more_than_whether_it_serves(app: Flask, nobody: Api) -> None:
    runtime: Any = app.extensions["piapi"]
    assert nobody.get("/health/ready").get_json() == {"status": "ok"}
    assert nobody.open("HEAD", "/health/ready").status_code == 200
    runtime.interrupt()
    ready = nobody.get("/health/ready")
    assert ready.status_code == 503 and ready.get_json() == {"status": "unavailable"}
    assert nobody.get("/health/live").get_json() == {"status": "ok"}
