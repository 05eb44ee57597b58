"""Cameras over HTTP: what they are, what is set on them, snapshots, and live view through the test client."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask
from PIL import Image

import config
from piapi.api.services import Services
from piapi.app import create_app
from piapi.hardware.camera_simulated import Faults
from tests.conftest import Api, assert_problem, faults_of, wish_id


def size_of(data: bytes) -> tuple[int, int]:
    return Image.open(io.BytesIO(data)).size


def parts_of(chunks: Iterator[bytes]) -> Iterator[tuple[dict[str, str], bytes]]:
    """Headers and body of each part of a multipart stream, read as a client does: by Content-Length."""
    buffer = b""
    while True:
        while b"\r\n\r\n" not in buffer:
            buffer += next(chunks)
        head, buffer = buffer.split(b"\r\n\r\n", 1)
        boundary, *lines = head.decode().strip().split("\r\n")
        assert boundary == "--frame"
        headers = dict(line.split(": ", 1) for line in lines)
        length = int(headers["Content-Length"])
        while len(buffer) < length + 2:
            buffer += next(chunks)
        yield headers, buffer[:length]
        assert buffer[length : length + 2] == b"\r\n"
        buffer = buffer[length + 2 :]


# The resource ---------------------------------------------------------------------------------------------------------


def test_a_camera_says_what_it_is(api: Api) -> None:
    assert api.get("/cameras/demo/snapshot").status_code == 200
    camera = api.get("/cameras/demo").get_json()
    assert camera["id"] == "demo" and camera["backend"] == "simulated" and camera["emulated"] is True
    assert camera["state"] == "ready" and camera["detail"] is None and camera["viewers"] == 0
    assert camera["resolutions"][0] == [4608, 2592] and camera["rotation"] == 0
    brightness = camera["controls"]["brightness"]
    assert brightness == {"min": -1.0, "max": 1.0, "choices": None, "default": 0.0, "value": 0.0}
    assert set(camera["links"]) == {"self", "snapshot", "stream", "photos", "timelapses"}
    assert "ETag" not in api.get("/cameras/demo").headers


def test_cameras_are_listed_and_paged(api: Api) -> None:
    assert [item["id"] for item in api.get("/cameras").get_json()["items"]] == ["demo", "back"]
    page = api.get("/cameras?limit=1").get_json()
    assert [item["id"] for item in page["items"]] == ["demo"]
    rest = api.get(page["links"]["next"]).get_json()
    assert [item["id"] for item in rest["items"]] == ["back"] and "next" not in rest["links"]
    assert_problem(api.get("/cameras?cursor=made-up"), 422, "invalid")


@pytest.mark.parametrize("path", ["", "/snapshot", "/stream", "/photos"])
def test_a_camera_that_does_not_exist_is_404(api: Api, path: str) -> None:
    assert_problem(api.get(f"/cameras/garden{path}"), 404, "not-found")


# Settings -------------------------------------------------------------------------------------------------------------


def test_rotation_and_controls_are_set_and_kept_across_restarts(
    api: Api, app: Flask, settings: config.Settings
) -> None:
    assert api.get("/cameras/demo/snapshot").status_code == 200
    changed = api.patch("/cameras/demo", json={"rotation": 90, "controls": {"brightness": 0.3}})
    assert changed.status_code == 200 and changed.get_json()["rotation"] == 90
    assert changed.get_json()["controls"]["brightness"]["value"] == 0.3
    assert size_of(api.get("/cameras/demo/snapshot").get_data()) == (480, 640)
    app.extensions["piapi"].close()
    again = create_app(settings)
    again.extensions["piapi"].start()
    try:
        later = Api(again.test_client(), api.token)
        assert size_of(later.get("/cameras/demo/snapshot").get_data()) == (480, 640)
        assert later.get("/cameras/demo").get_json()["controls"]["brightness"]["value"] == 0.3
    finally:
        again.extensions["piapi"].close()


def test_a_rotated_photo_takes_its_size_as_it_will_be_seen(api: Api) -> None:
    assert api.get("/cameras/demo/snapshot").status_code == 200
    api.patch("/cameras/demo", json={"rotation": 270})
    photo = api.post("/cameras/demo/photos", json={"width": 240, "height": 320}).get_json()
    assert (photo["width"], photo["height"]) == (240, 320)
    assert size_of(api.get(photo["links"]["file"]).get_data()) == (240, 320)
    assert_problem(api.post("/cameras/demo/photos", json={"width": 2593}), 422, "invalid")


def test_what_is_not_named_stays_and_null_is_the_default(api: Api) -> None:
    assert api.get("/cameras/demo/snapshot").status_code == 200
    api.patch("/cameras/demo", json={"controls": {"brightness": 0.3, "gain": 2}})
    camera = api.patch("/cameras/demo", json={"controls": {"brightness": None}}).get_json()
    assert camera["controls"]["brightness"]["value"] == 0.0 and camera["controls"]["gain"]["value"] == 2
    assert camera["rotation"] == 0


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({}, {""}),
        ({"rotation": 45}, {"/rotation"}),
        ({"rotation": "90"}, {"/rotation"}),
        ({"rotation": None}, {"/rotation"}),
        ({"controls": {"sepia": 1}}, {"/controls/sepia"}),
        ({"controls": {"sepia": None}}, {"/controls/sepia"}),
        ({"controls": {"brightness": 1.01}}, {"/controls/brightness"}),
        ({"controls": {"brightness": True}}, {"/controls/brightness"}),
        ({"controls": {"exposure": "never"}}, {"/controls/exposure"}),
        ({"zoom": 2}, {"/zoom"}),
    ],
    ids=wish_id,
)
def test_a_wrong_setting_changes_nothing(api: Api, body: dict[str, Any], where: set[str]) -> None:
    assert api.get("/cameras/demo/snapshot").status_code == 200
    before = api.get("/cameras/demo").get_json()
    assert faults_of(assert_problem(api.patch("/cameras/demo", json=body), 422, "invalid")) == where
    assert api.get("/cameras/demo").get_json() == before


# Snapshots ------------------------------------------------------------------------------------------------------------


def test_a_snapshot_is_a_jpeg_that_is_not_kept(api: Api) -> None:
    response = api.get("/cameras/demo/snapshot")
    assert response.content_type == "image/jpeg" and size_of(response.get_data()) == (640, 480)
    assert response.headers["X-Captured-At"].endswith("Z") and response.headers["Cache-Control"] == "no-store"
    assert api.get("/photos").get_json()["items"] == []


def test_a_snapshot_is_exposed_after_the_request(api: Api, services: Services) -> None:
    from piapi.clock import format_time

    api.get("/cameras/demo/snapshot")
    for _ in range(3):
        asked = format_time(services.clock.now())
        assert api.get("/cameras/demo/snapshot").headers["X-Captured-At"] >= asked


def test_an_older_frame_will_do_where_the_client_says_so(api: Api) -> None:
    first = api.get("/cameras/demo/snapshot")
    again = api.get("/cameras/demo/snapshot?max_age_s=60")
    assert again.headers["X-Captured-At"] == first.headers["X-Captured-At"]
    assert again.get_data() == first.get_data()
    assert api.get("/cameras/demo/snapshot?max_age_s=0").headers["X-Captured-At"] > first.headers["X-Captured-At"]


def test_a_snapshot_is_scaled_and_squeezed(api: Api) -> None:
    whole = api.get("/cameras/demo/snapshot").get_data()
    small = api.get("/cameras/demo/snapshot?width=160&max_age_s=60").get_data()
    poor = api.get("/cameras/demo/snapshot?quality=10&max_age_s=60").get_data()
    assert size_of(small) == (160, 120) and len(poor) < len(whole)


@pytest.mark.parametrize(
    ("query", "where"),
    [
        ("width=0", {"width"}),
        ("width=5000", {"width"}),
        ("quality=101", {"quality"}),
        ("quality=0", {"quality"}),
        ("max_age_s=-1", {"max_age_s"}),
        ("max_age_s=nan", {"max_age_s"}),
        ("max_age_s=1e999", {"max_age_s"}),
        ("height=5", {"height"}),
    ],
)
def test_a_wrong_snapshot_names_the_parameter(api: Api, query: str, where: set[str]) -> None:
    assert api.get("/cameras/demo/snapshot").status_code == 200
    assert faults_of(assert_problem(api.get(f"/cameras/demo/snapshot?{query}"), 422, "invalid")) == where


# Cameras that fail ----------------------------------------------------------------------------------------------------


def test_a_camera_that_is_away_is_unavailable_and_says_why(api: Api, faults: Faults) -> None:
    assert api.get("/cameras/demo/snapshot").status_code == 200
    faults.unplug()
    response = api.get("/cameras/demo/snapshot")
    assert_problem(response, 503, "hardware-unavailable")
    assert int(response.headers["Retry-After"]) > 0
    camera = api.get("/cameras/demo").get_json()
    assert camera["state"] == "unavailable" and camera["detail"]
    assert_problem(api.post("/cameras/demo/photos"), 503, "hardware-unavailable")
    assert_problem(api.get("/cameras/demo/stream"), 503, "hardware-unavailable")
    assert api.get("/cameras/back/snapshot").status_code == 200


def test_a_camera_that_comes_back_works_again_by_itself(api: Api, faults: Faults, services: Services) -> None:
    assert api.get("/cameras/demo/snapshot").status_code == 200
    faults.unplug()
    assert_problem(api.get("/cameras/demo/snapshot"), 503, "hardware-unavailable")
    faults.plug_in()
    owner = services.cameras.get("demo").owner
    assert owner.wait_ready(timeout=20)
    assert api.get("/cameras/demo/snapshot").status_code == 200


def test_a_camera_that_hangs_is_a_timeout_and_takes_nobody_with_it(
    api: Api, faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert api.get("/cameras/demo/snapshot").status_code == 200
    monkeypatch.setattr("piapi.services.cameras.CAPTURE_TIMEOUT_S", 0.2)
    monkeypatch.setattr("piapi.services.camera_owner.CAPTURE_TIMEOUT_S", 0.2)
    monkeypatch.setattr("piapi.services.camera_owner.HANG_S", 0.1)
    with faults.hanging():
        assert_problem(api.post("/cameras/demo/photos"), 504, "hardware-timeout")
        assert api.get("/cameras/back/snapshot").status_code == 200
        camera = api.get("/cameras/demo").get_json()
        assert camera["state"] == "unavailable" and "not answer" in camera["detail"]
        assert_problem(api.post("/cameras/demo/photos"), 503, "hardware-unavailable")


# Live view ------------------------------------------------------------------------------------------------------------


def test_a_stream_is_mjpeg_in_parts(api: Api) -> None:
    response = api.get("/cameras/demo/stream?fps=30", buffered=False)
    assert response.status_code == 200
    assert response.content_type == "multipart/x-mixed-replace; boundary=frame"
    parts = parts_of(iter(response.response))
    captured = []
    for _ in range(3):
        headers, jpeg = next(parts)
        assert headers["Content-Type"] == "image/jpeg" and size_of(jpeg) == (640, 480)
        captured.append(headers["X-Captured-At"])
    assert captured == sorted(set(captured))
    assert api.get("/cameras/demo").get_json()["state"] == "streaming"
    assert api.get("/cameras/demo").get_json()["viewers"] == 1
    response.close()
    assert api.get("/cameras/demo").get_json()["viewers"] == 0


@pytest.mark.parametrize(("asked", "got"), [(1, 160), (160, 160), (161, 320), (321, 640), (9999, 640)])
def test_the_width_of_a_stream_is_rounded_up_to_one_of_three(api: Api, asked: int, got: int) -> None:
    response = api.get(f"/cameras/demo/stream?width={asked}", buffered=False)
    _, jpeg = next(parts_of(iter(response.response)))
    assert size_of(jpeg)[0] == got
    response.close()


def test_a_stream_goes_on_through_stills(api: Api) -> None:
    response = api.get("/cameras/demo/stream", buffered=False)
    parts = parts_of(iter(response.response))
    next(parts)
    assert api.post("/cameras/demo/photos", json={"width": 1920}).status_code == 201
    next(parts)
    response.close()


def test_viewers_over_the_bound_are_told_to_come_again(api: Api) -> None:
    watching = [api.get("/cameras/demo/stream", buffered=False) for _ in range(2)]
    watching.append(api.get("/cameras/back/stream", buffered=False))
    response = api.get("/cameras/demo/stream")
    assert_problem(response, 503, "hardware-unavailable")
    assert int(response.headers["Retry-After"]) > 0
    watching.pop().close()
    watching.append(api.get("/cameras/demo/stream", buffered=False))
    assert watching[-1].status_code == 200
    for one in watching:
        one.close()


def test_a_stream_ends_when_the_camera_goes(api: Api, faults: Faults) -> None:
    response = api.get("/cameras/demo/stream", buffered=False)
    parts = parts_of(iter(response.response))
    next(parts)
    faults.unplug()
    with pytest.raises((StopIteration, RuntimeError)):
        for _ in range(1000):
            next(parts)
    assert api.get("/cameras/demo").get_json()["viewers"] == 0


def test_a_stream_ends_when_its_token_is_revoked(
    api: Api, client_with: Callable[..., Api], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("piapi.server.bodies.CHECK_EVERY_S", 0.0)
    guest = client_with("camera:demo:view")
    response = guest.get("/cameras/demo/stream", buffered=False)
    parts = parts_of(iter(response.response))
    next(parts)
    token = next(item for item in api.get("/tokens").get_json()["items"] if item["scopes"] == ["camera:demo:view"])
    api.delete(token["links"]["self"])
    with pytest.raises((StopIteration, RuntimeError)):
        for _ in range(1000):
            next(parts)
    assert api.get("/cameras/demo").get_json()["viewers"] == 0


@pytest.mark.parametrize(
    ("query", "where"),
    [("fps=0", {"fps"}), ("fps=-1", {"fps"}), ("fps=121", {"fps"}), ("width=0", {"width"}), ("height=1", {"height"})],
)
def test_a_wrong_stream_names_the_parameter(api: Api, query: str, where: set[str]) -> None:
    assert faults_of(assert_problem(api.get(f"/cameras/demo/stream?{query}"), 422, "invalid")) == where


def test_head_of_a_stream_takes_no_place(api: Api) -> None:
    assert api.open("HEAD", "/cameras/demo/stream").status_code == 200
    assert api.get("/cameras/demo").get_json()["viewers"] == 0


def test_the_page_says_what_is_simulated_and_names_no_camera(api: Api, client_with: Callable[..., Api]) -> None:
    for client in (api, client_with("camera:back:view")):
        page = client.get("/", outside=True).get_data(as_text=True)
        assert "Simulated hardware" in page
        assert "/cameras/" not in page  # what one may see the page asks the API, as everybody does


def test_the_documentation_fetches_nothing_from_outside(api: Api) -> None:
    page = api.get("/docs", outside=True)
    assert "http://" not in page.get_data(as_text=True) and "https://" not in page.get_data(as_text=True)
    assert "script-src 'self'" in page.headers["Content-Security-Policy"]
    script = api.get("/static/swagger-ui/swagger-ui-bundle.js", outside=True, buffered=False)
    assert script.status_code == 200
    script.close()
