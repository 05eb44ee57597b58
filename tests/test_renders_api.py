"""Renders over HTTP, on the real queue: its first frame waits until a test opens the gate."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import config
from piapi.api.services import Services
from tests.conftest import Api, assert_problem, faults_of, wish_id
from tests.gates import Gate, is_filmed
from tests.service import eventually
from tests.test_timelapses_api import get, start


@pytest.fixture
def lapse(api: Api) -> dict[str, Any]:
    """A time-lapse with one small frame, and the next in an hour."""
    made = start(api, width=64, height=48, video={"fps": 24})
    eventually(lambda: is_filmed(get(api, made)))
    return made


@pytest.fixture
def gate(settings: config.Settings, lapse: dict[str, Any]) -> Iterator[Gate]:
    gate = Gate(settings.storage.path / "timelapses" / lapse["id"] / "frames" / "000000" / "000000000.jpg")
    yield gate
    gate.close()


@pytest.fixture
def url(lapse: dict[str, Any]) -> str:
    """Where renders of a time-lapse are asked for."""
    links: dict[str, str] = lapse["links"]
    return links["renders"]


def ended(api: Api, render: dict[str, Any]) -> dict[str, Any]:
    """As it is when it has ended."""
    eventually(lambda: get(api, render)["state"] not in ("queued", "running"))
    return get(api, render)


def test_one_is_asked_for_and_its_file_is_there_when_it_has_finished(api: Api, gate: Gate, url: str) -> None:
    wanted = {"fps": 12, "width": 32, "deflicker": True, "timestamp": True, "every_nth": 3, "codec": "hevc"}
    response = api.post(url, json=wanted)
    made = response.get_json()
    assert (response.status_code, response.headers["Location"]) == (202, made["links"]["self"])
    assert {name: made[name] for name in wanted} == wanted
    assert (made["progress"], made["eta_s"], made["requested_by"]) == (0, None, "token:test")
    assert made["state"] in ("queued", "running")
    assert "file" not in made["links"] and api.get(made["links"]["timelapse"]).status_code == 200
    file = f"{made['links']['self']}/file"
    assert_problem(api.get(file), 409, "conflict")
    gate.open()
    found = ended(api, made)
    assert (found["state"], found["progress"], found["eta_s"]) == ("finished", 1.0, None)
    response = api.get(found["links"]["file"])
    film = response.get_data()
    assert response.content_type == "video/mp4"
    assert (len(film), hashlib.sha256(film).hexdigest()) == (found["size_bytes"], found["sha256"])
    assert response.headers["ETag"] == f'"{found["sha256"]}"' and "immutable" in response.headers["Cache-Control"]
    part = api.get(file, headers={"Range": "bytes=2-5"})
    assert (part.status_code, part.get_data()) == (206, film[2:6])
    assert_problem(api.get(file, headers={"Range": f"bytes={len(film)}-"}), 416, "range-not-satisfiable")
    assert api.get(file, headers={"If-None-Match": response.headers["ETag"]}).status_code == 304


def test_without_a_body_it_is_as_the_time_lapse_is(api: Api, url: str) -> None:
    render = api.post(url).get_json()
    assert (render["fps"], render["width"], render["every_nth"], render["codec"]) == (24.0, None, 1, "h264")


def test_they_are_listed_newest_first_in_pages(api: Api, gate: Gate, url: str) -> None:
    ids = [api.post(url).get_json()["id"] for _ in range(5)][::-1]
    page = api.get(url + "?limit=2").get_json()
    seen = [item["id"] for item in page["items"]]
    while "next" in page["links"]:
        page = api.get(page["links"]["next"]).get_json()
        seen += [item["id"] for item in page["items"]]
    assert seen == ids


def test_one_that_is_being_made_is_cancelled_and_then_removed(api: Api, gate: Gate, url: str) -> None:
    running, queued = (api.post(url).get_json() for _ in range(2))
    gate.wait()
    assert [get(api, render)["state"] for render in (running, queued)] == ["running", "queued"]
    for render in (queued, running):
        here = render["links"]["self"]
        response = api.delete(here)
        assert (response.status_code, response.get_json()["state"]) == (200, "cancelled")
        assert_problem(api.get(here + "/file"), 409, "conflict")
        assert api.delete(here).status_code == 200
        for method in ("GET", "DELETE"):
            assert_problem(api.open(method, here), 404, "not-found")
    assert api.get(url).get_json()["items"] == []


def test_one_that_has_finished_is_removed(api: Api, url: str) -> None:
    render = ended(api, api.post(url).get_json())
    response = api.delete(render["links"]["self"])
    assert (response.status_code, response.get_json()["state"]) == (200, "finished")
    assert_problem(api.get(render["links"]["file"]), 404, "not-found")
    told = api.get("/events?type=render.removed").get_json()["items"]
    assert [(entry["data"]["id"], entry["actor"]) for entry in told] == [(render["id"], "token:test")]


def test_a_time_lapse_goes_with_what_is_being_made_of_it(
    api: Api, gate: Gate, lapse: dict[str, Any], url: str, settings: config.Settings
) -> None:
    running, queued = (api.post(url).get_json() for _ in range(2))
    gate.wait()
    assert api.delete(lapse["links"]["self"]).status_code == 204
    assert list((settings.storage.path / "timelapses").iterdir()) == []
    for render in (running, queued):
        assert_problem(api.get(render["links"]["self"]), 404, "not-found")


def test_the_same_key_makes_one(api: Api, gate: Gate, url: str) -> None:
    key = {"Idempotency-Key": "one"}
    first, again = (api.post(url, json={"fps": 5}, headers=key) for _ in range(2))
    assert (again.status_code, again.get_json()["id"]) == (202, first.get_json()["id"])
    assert again.headers["Location"] == first.headers["Location"]
    assert again.headers["Idempotency-Replayed"] == "true" and len(api.get(url).get_json()["items"]) == 1
    assert_problem(api.post(url, json={"fps": 6}, headers=key), 422, "idempotency-key-reused")


@pytest.mark.parametrize(
    ("wish", "where"),
    [
        ({"fps": 0}, {"/fps"}),
        ({"fps": -30}, {"/fps"}),
        ({"fps": "30"}, {"/fps"}),
        ({"width": 0}, {"/width"}),
        ({"width": 20_000, "every_nth": 0}, {"/width", "/every_nth"}),
        ({"deflicker": 1, "timestamp": "no"}, {"/deflicker", "/timestamp"}),
        ({"codec": "av1"}, {"/codec"}),
        ({"preset": "fast"}, {"/preset"}),
    ],
    ids=wish_id,
)
def test_a_wrong_wish_names_what_is_wrong(api: Api, url: str, wish: dict[str, Any], where: set[str]) -> None:
    assert faults_of(assert_problem(api.post(url, json=wish), 422, "invalid")) == where
    assert api.get(url).get_json()["items"] == []


def test_what_cannot_be_made_now_is_refused(api: Api, url: str, services: Services) -> None:
    assert_problem(api.post(url, data="{", content_type="application/json"), 400, "malformed-json")
    assert_problem(api.post(url, data="x", content_type="text/plain"), 415, "unsupported-media-type")
    assert_problem(api.post(url, json={"codec": "x" * 70_000}), 413, "too-large")
    empty = start(api, start_at="2199-01-01T00:00:00Z", count=1)
    assert_problem(api.post(empty["links"]["renders"]), 409, "conflict")
    services.renders._has_room = lambda wanted: False
    assert_problem(api.post(url), 507, "insufficient-storage")
    assert api.get(url).get_json()["items"] == []


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("DELETE", ""), ("GET", "/file")])
def test_each_route_wants_a_login_and_its_scope(
    api: Api, nobody: Api, client_with: Callable[..., Api], url: str, method: str, path: str
) -> None:
    made = ended(api, api.post(url).get_json())
    here, verb = made["links"]["self"] + path, "capture" if method == "DELETE" else "view"
    assert_problem(nobody.open(method, here), 401, "unauthenticated")
    for held in (f"camera:back:{verb}", "camera:demo:configure", "door:*:*"):
        assert_problem(client_with(held).open(method, here), 403, "forbidden")
        nowhere = client_with(held).open(method, f"/renders/none{path}")
        assert nowhere.status_code == (404 if held.startswith("camera:back") else 403)
    assert_problem(api.open(method, f"/renders/none{path}"), 404, "not-found")
    assert client_with(f"camera:demo:{verb}").open(method, here).status_code == 200


def test_a_file_that_has_gone_is_not_found(api: Api, url: str, settings: config.Settings) -> None:
    made = ended(api, api.post(url).get_json())
    (file,) = Path(settings.storage.path).rglob(f"{made['id']}.mp4")
    file.unlink()
    assert_problem(api.get(made["links"]["self"] + "/file"), 404, "not-found")
