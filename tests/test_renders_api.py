"""Renders over HTTP, on a queue that does what a test says."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from piapi.api.services import Services
from piapi.errors import Conflict, NotFound, StorageFull
from piapi.models import NOBODY
from piapi.storage.database import Along, Database
from piapi.timelapse import Render, RenderRequest, Timelapse
from tests.conftest import Api, assert_problem, faults_of, wish_id
from tests.test_timelapses_api import start

FILM = b"a film, more or less" * 100


class Queue:
    """Renders that become what a test says."""

    def __init__(self, folder: Path, database: Database) -> None:
        self.folder = folder
        self.database = database
        self.kept: dict[str, Render] = {}
        self.fails: Exception | None = None

    def interrupt(self) -> None:
        """As the real one."""

    def close(self) -> None:
        """As the real one."""

    def begin(
        self, timelapse: Timelapse, wanted: RenderRequest, *along: Callable[[Render], Along], by: str = NOBODY
    ) -> Render:
        if self.fails:
            raise self.fails
        seq = len(self.kept) + 1
        made = Render(seq, f"{seq:016x}", timelapse.id, wanted, "queued", by, datetime(2026, 1, seq, tzinfo=UTC))
        with self.database.write() as connection:
            for of in along:
                of(made)(connection)
        self.kept[made.id] = made
        return made

    def get(self, id: str) -> Render:
        if id not in self.kept:
            raise NotFound(f"There is no render {id}.")
        return self.kept[id]

    def of(self, timelapse_id: str) -> list[Render]:
        return [render for render in self.kept.values() if render.timelapse == timelapse_id]

    def cancel(self, id: str, *, by: str = NOBODY) -> Render:
        if self.get(id).state not in ("queued", "running"):
            raise Conflict("It has ended.")
        self.kept[id] = replace(self.get(id), state="cancelled")
        return self.kept[id]

    def path(self, render: Render) -> Path:
        return self.folder / f"{render.id}.mp4"

    def finish(self, id: str) -> None:
        (self.folder / f"{id}.mp4").write_bytes(FILM)
        self.kept[id] = replace(
            self.get(id), state="finished", progress=1.0, size_bytes=len(FILM), sha256=hashlib.sha256(FILM).hexdigest()
        )


@pytest.fixture
def queue(app: Flask, tmp_path: Path) -> Queue:
    runtime = app.extensions["piapi"]
    queue = Queue(tmp_path, runtime._database)
    runtime.services = replace(runtime.services, renders=queue)
    return queue


@pytest.fixture
def url(api: Api, queue: Queue) -> str:
    """Where renders of a time-lapse are asked for."""
    links: dict[str, str] = start(api)["links"]
    return links["renders"]


def test_one_is_asked_for_and_its_file_is_there_when_it_has_finished(api: Api, queue: Queue, url: str) -> None:
    wanted = {"fps": 12, "width": 640, "deflicker": True, "timestamp": True, "every_nth": 3, "codec": "hevc"}
    response = api.post(url, json=wanted)
    made = response.get_json()
    assert (response.status_code, response.headers["Location"]) == (202, made["links"]["self"])
    assert {name: made[name] for name in wanted} == wanted
    assert (made["state"], made["progress"], made["eta_s"], made["requested_by"]) == ("queued", 0, None, "token:test")
    assert "file" not in made["links"] and api.get(made["links"]["timelapse"]).status_code == 200
    file = f"{made['links']['self']}/file"
    assert_problem(api.get(file), 409, "conflict")
    queue.finish(made["id"])
    found = api.get(made["links"]["self"]).get_json()
    assert (found["state"], found["progress"], found["size_bytes"]) == ("finished", 1.0, len(FILM))
    response = api.get(found["links"]["file"])
    assert (response.content_type, response.get_data()) == ("video/mp4", FILM)
    assert response.headers["ETag"] == f'"{found["sha256"]}"' and "immutable" in response.headers["Cache-Control"]
    part = api.get(file, headers={"Range": "bytes=2-5"})
    assert (part.status_code, part.get_data()) == (206, FILM[2:6])
    assert_problem(api.get(file, headers={"Range": f"bytes={len(FILM)}-"}), 416, "range-not-satisfiable")
    assert api.get(file, headers={"If-None-Match": response.headers["ETag"]}).status_code == 304


def test_without_a_body_it_is_as_the_time_lapse_is(api: Api, queue: Queue) -> None:
    made = start(api, video={"fps": 24})
    render = api.post(made["links"]["renders"]).get_json()
    assert (render["fps"], render["width"], render["every_nth"], render["codec"]) == (24.0, None, 1, "h264")


def test_they_are_listed_newest_first_in_pages(api: Api, url: str) -> None:
    ids = [api.post(url).get_json()["id"] for _ in range(5)][::-1]
    page = api.get(url + "?limit=2").get_json()
    seen = [item["id"] for item in page["items"]]
    while "next" in page["links"]:
        page = api.get(page["links"]["next"]).get_json()
        seen += [item["id"] for item in page["items"]]
    assert seen == ids


def test_one_is_cancelled_once(api: Api, queue: Queue, url: str) -> None:
    here = api.post(url).get_json()["links"]["self"]
    response = api.delete(here)
    assert (response.status_code, response.get_json()["state"]) == (200, "cancelled")
    assert_problem(api.delete(here), 409, "conflict")
    assert_problem(api.get(here + "/file"), 409, "conflict")


def test_the_same_key_makes_one(api: Api, queue: Queue, url: str) -> None:
    key = {"Idempotency-Key": "one"}
    first, again = (api.post(url, json={"fps": 5}, headers=key) for _ in range(2))
    assert (again.status_code, again.get_json()) == (202, first.get_json())
    assert again.headers["Idempotency-Replayed"] == "true" and len(queue.kept) == 1
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
def test_a_wrong_wish_names_what_is_wrong(
    api: Api, queue: Queue, url: str, wish: dict[str, Any], where: set[str]
) -> None:
    assert faults_of(assert_problem(api.post(url, json=wish), 422, "invalid")) == where
    assert queue.kept == {}


def test_what_cannot_be_made_now_is_refused(api: Api, queue: Queue, url: str) -> None:
    queue.fails = Conflict("There is no frame.")
    assert_problem(api.post(url), 409, "conflict")
    queue.fails = StorageFull("No space.")
    assert_problem(api.post(url), 507, "insufficient-storage")
    queue.fails = None
    assert_problem(api.post(url, data="{", content_type="application/json"), 400, "malformed-json")
    assert_problem(api.post(url, data="x", content_type="text/plain"), 415, "unsupported-media-type")
    assert_problem(api.post(url, json={"codec": "x" * 70_000}), 413, "too-large")
    assert queue.kept == {}


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("DELETE", ""), ("GET", "/file")])
def test_each_route_wants_a_login_and_its_scope(
    api: Api, nobody: Api, client_with: Callable[..., Api], queue: Queue, url: str, method: str, path: str
) -> None:
    made = api.post(url).get_json()
    if path:
        queue.finish(made["id"])
    here, verb = made["links"]["self"] + path, "capture" if method == "DELETE" else "view"
    assert_problem(nobody.open(method, here), 401, "unauthenticated")
    for held in (f"camera:back:{verb}", "camera:demo:configure", "door:*:*"):
        assert_problem(client_with(held).open(method, here), 403, "forbidden")
        nowhere = client_with(held).open(method, f"/renders/none{path}")
        assert nowhere.status_code == (404 if held.startswith("camera:back") else 403)
    assert_problem(api.open(method, f"/renders/none{path}"), 404, "not-found")
    assert client_with(f"camera:demo:{verb}").open(method, here).status_code == 200


def test_a_file_that_has_gone_is_not_found(api: Api, queue: Queue, url: str, services: Services) -> None:
    made = api.post(url).get_json()
    queue.finish(made["id"])
    queue.path(queue.get(made["id"])).unlink()
    assert_problem(api.get(made["links"]["self"] + "/file"), 404, "not-found")
