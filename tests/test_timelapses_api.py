"""Time-lapses over HTTP: what may be asked for, by whom, and what each wrong wish is told."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import config
from piapi.api.services import Services
from piapi.clock import format_time
from tests.conftest import Api, assert_problem, faults_of, wish_id
from tests.library import execute
from tests.service import eventually

LONG = {"interval_s": 3600, "count": 10}
ESTIMATE = ("frames", "size_bytes", "ends_at", "video_s", "fits")
HERE = "/cameras/demo/timelapses"


def start(api: Api, camera: str = "demo", **wanted: Any) -> dict[str, Any]:
    """A time-lapse that takes a frame at once, and the next in an hour, unless asked otherwise."""
    response = api.post(f"/cameras/{camera}/timelapses", json=LONG | wanted)
    assert response.status_code == 202, response.get_data(as_text=True)
    found: dict[str, Any] = response.get_json()
    assert response.headers["Location"] == found["links"]["self"]
    return found


def get(api: Api, made: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = api.get(made["links"]["self"]).get_json()
    return found


def later(seconds: float) -> str:
    return format_time(datetime.now(UTC) + timedelta(seconds=seconds))


# Beginning one


def test_one_is_made_found_and_captures(api: Api) -> None:
    made = start(api, name="tomatoes", quality=80, controls={"brightness": 0.1})
    assert made["state"] == "running" and made["emulated"] is True
    assert (made["name"], made["interval_s"], made["count"], made["until"]) == ("tomatoes", 3600.0, 10, None)
    assert (made["quality"], made["width"], made["controls"]) == (80, None, {"brightness": 0.1})
    assert (made["frames_total"], made["created_by"]) == (10, "token:test")
    eventually(lambda: get(api, made)["frames_captured"] == 1)
    found = get(api, made)
    assert found["emulated"] is True
    assert (found["frames_due"], found["frames_missed"], found["progress"]) == (1, 0, 0.1)
    assert found["lateness_ms"]["max"] >= found["lateness_ms"]["p50"] > 0
    assert found["next_frame_at"] < found["ends_at"]
    assert set(found["links"]) == {"self", "camera", "frames", "latest", "preview", "video", "renders"}
    camera = api.get("/cameras/demo").get_json()
    assert made["id"] in [item["id"] for item in api.get(camera["links"]["timelapses"]).get_json()["items"]]
    assert api.get(api.get("/").get_json()["links"]["timelapses"]).get_json()["items"][0]["id"] == made["id"]


def test_all_that_was_asked_for_is_told_again(api: Api) -> None:
    window = {"from": "07:30", "to": "24:00", "days": ["sat", "sun"]}
    video = {"fps": 12.5, "width": 320, "timestamp": True, "keep_frames": False}
    made = start(api, window=window, video=video, start_at=later(7200), lock_exposure=True, width=64, height=48)
    assert made["window"] == window
    assert {name: made["video"][name] for name in video} == video
    assert (made["video"]["frames"], made["video"]["size_bytes"], made["video"]["duration_s"]) == (0, 0, 0)
    assert (made["state"], made["started_at"], made["lock_exposure"]) == ("scheduled", None, True)
    assert made["lateness_ms"] == {"p50": None, "p99": None, "max": None}
    assert api.get("/timelapses").get_json()["items"][0]["window"] == window
    assert start(api, window={"from": "00:00", "to": "24:00"})["window"]["days"][0] == "mon"


def test_a_dry_run_tells_what_it_would_come_to_and_makes_nothing(api: Api) -> None:
    response = api.post(f"{HERE}?dry_run=true", json={"interval_s": 5, "duration_s": 3600})
    assert response.status_code == 200
    found = response.get_json()
    assert tuple(found) == ESTIMATE
    assert (found["frames"], found["video_s"], found["fits"]) == (720, 24.0, True)
    assert found["size_bytes"] > 0
    assert api.get("/timelapses").get_json()["items"] == []
    assert api.post(f"{HERE}?dry_run=false", json=LONG).status_code == 202


def test_one_that_cannot_fit_is_refused_with_what_it_would_take(api: Api) -> None:
    wanted = {"interval_s": 0.1, "count": 500_000_000}
    told = api.post(f"{HERE}?dry_run=true", json=wanted).get_json()
    assert told["fits"] is False
    refused = assert_problem(api.post(HERE, json=wanted), 507, "insufficient-storage", *ESTIMATE)
    assert (refused["frames"], refused["fits"]) == (500_000_000, False)
    assert refused["size_bytes"] == told["size_bytes"]
    assert api.get("/timelapses").get_json()["items"] == []


def test_the_same_key_begins_one_and_not_two(api: Api) -> None:
    key = {"Idempotency-Key": "one"}
    first = api.post(HERE, json=LONG, headers=key)
    again = api.post(HERE, json=LONG, headers=key)
    assert (again.status_code, again.get_json()) == (202, first.get_json())
    assert (again.headers["Location"], again.headers["Idempotency-Replayed"]) == (first.headers["Location"], "true")
    assert_problem(api.post(HERE, json=LONG | {"count": 11}, headers=key), 422, "idempotency-key-reused")
    assert_problem(api.post(f"{HERE}?dry_run=true", json=LONG, headers=key), 422, "idempotency-key-reused")
    assert len(api.get("/timelapses").get_json()["items"]) == 1


def test_an_answer_that_a_crash_kept_from_being_stored_is_made_again(api: Api, settings: config.Settings) -> None:
    key = {"Idempotency-Key": "one"}
    first = api.post(HERE, json=LONG, headers=key)
    execute(settings, "UPDATE idempotency SET status = NULL, headers = NULL, body = NULL")
    again = api.post(HERE, json=LONG, headers=key)
    assert (again.status_code, again.get_json()["id"]) == (202, first.get_json()["id"])
    assert len(api.get("/timelapses").get_json()["items"]) == 1


WRONG: list[tuple[dict[str, Any], set[str]]] = [
    ({"count": None}, {"/count"}),
    ({"interval_s": None}, {"/interval_s"}),
    ({"interval_s": 0}, {"/interval_s"}),
    ({"interval_s": 0.09}, {"/interval_s"}),
    ({"interval_s": -5}, {"/interval_s"}),
    ({"interval_s": 1e9}, {"/interval_s"}),
    ({"interval_s": "5"}, {"/interval_s"}),
    ({"interval_s": True}, {"/interval_s"}),
    ({"count": 0}, {"/count"}),
    ({"count": 1_000_000_000_000}, {"/count"}),
    ({"count": 1.5}, {"/count"}),
    ({"count": "1"}, {"/count"}),
    ({"duration_s": 60}, {"/count", "/duration_s"}),
    ({"duration_s": 60, "until": "2100-01-01T00:00:00Z"}, {"/count", "/duration_s", "/until"}),
    ({"count": 0, "duration_s": -1}, {"/count", "/duration_s"}),
    ({"start_at": "2020-01-01T00:00:00Z"}, {"/start_at"}),
    ({"start_at": "tomorrow"}, {"/start_at"}),
    ({"start_at": 1700000000}, {"/start_at"}),
    ({"name": "x" * 101}, {"/name"}),
    ({"name": "a\nb"}, {"/name"}),
    ({"name": 5}, {"/name"}),
    ({"width": 0}, {"/width"}),
    ({"height": 20_000}, {"/height"}),
    ({"quality": 101}, {"/quality"}),
    ({"controls": {"brightness": {}}}, {"/controls/brightness/value"}),
    ({"controls": {"warp": 9}}, {"/controls/warp"}),
    ({"controls": {"brightness": 99}}, {"/controls/brightness"}),
    ({"controls": []}, {"/controls"}),
    ({"lock_exposure": "yes"}, {"/lock_exposure"}),
    ({"lock_exposure": True, "controls": {"exposure": "ramp"}}, {"/lock_exposure"}),
    ({"video": {"fps": 0}}, {"/video/fps"}),
    ({"video": {"fps": -30}}, {"/video/fps"}),
    ({"video": {"fps": 121, "width": 1, "more": 1}}, {"/video/fps", "/video/width", "/video/more"}),
    ({"video": 30}, {"/video"}),
    ({"window": {}}, {"/window/from", "/window/to"}),
    ({"window": "day"}, {"/window"}),
    ({"window": {"from": "07:30"}}, {"/window/to"}),
    ({"window": {"from": "25:00", "to": "18:00"}}, {"/window/from"}),
    ({"window": {"from": "soon", "to": "18:60"}}, {"/window/from", "/window/to"}),
    ({"window": {"from": "07:30", "to": "18:00", "days": []}}, {"/window/days"}),
    ({"window": {"from": "07:30", "to": "18:00", "days": ["mon", "monday"]}}, {"/window/days/1"}),
    ({"window": {"from": "07:30", "to": "18:00", "days": ["mon", "mon"]}}, {"/window/days"}),
    ({"window": {"from": "sunrise", "to": "sunset+00:30"}}, {"/window/from", "/window/to"}),
    ({"colour": "red"}, {"/colour"}),
]


@pytest.mark.parametrize(("wish", "where"), WRONG, ids=wish_id)
def test_a_wrong_wish_names_what_is_wrong_and_makes_nothing(api: Api, wish: dict[str, Any], where: set[str]) -> None:
    assert faults_of(assert_problem(api.post(HERE, json=LONG | wish), 422, "invalid")) == where
    assert faults_of(assert_problem(api.post(f"{HERE}?dry_run=true", json=LONG | wish), 422, "invalid")) == where
    assert api.get("/timelapses").get_json()["items"] == []


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({}, {"", "/interval_s"}),
        ({"interval_s": 5}, {""}),
        ({"interval_s": 5, "until": "2020-01-01T00:00:00Z"}, {"/until"}),
        ({"interval_s": 5, "until": "2020-01-01T00:00:00"}, {"/until"}),
        ({"interval_s": 5, "duration_s": 0}, {"/duration_s"}),
        ({"interval_s": 5, "duration_s": 1e300}, {"/duration_s"}),
        (
            {
                "interval_s": 0,
                "until": "2020-01-01T00:00:00Z",
                "count": 0,
                "start_at": "2020-01-01T00:00:00Z",
                "video": {"fps": -1},
                "window": {"from": "07:30"},
                "name": 1,
                "more": 1,
            },
            {"/interval_s", "/until", "/count", "/start_at", "/video/fps", "/window/to", "/name", "/more"},
        ),
    ],
    ids=wish_id,
)
def test_all_faults_of_a_body_are_in_one_answer(api: Api, body: dict[str, Any], where: set[str]) -> None:
    assert faults_of(assert_problem(api.post(HERE, json=body), 422, "invalid")) == where


def test_until_has_to_be_after_the_start_and_a_start_that_was_just_now_is_now(api: Api) -> None:
    wrong = {"interval_s": 5, "start_at": later(7200), "until": later(3600)}
    assert faults_of(assert_problem(api.post(HERE, json=wrong), 422, "invalid")) == {"/until"}
    assert api.post(HERE, json=LONG | {"start_at": later(-5)}).status_code == 202


def test_the_longest_and_the_shortest_that_can_be_asked_for_are_reckoned(api: Api) -> None:
    for wish in ({"interval_s": 86_400, "count": 500_000_000}, {"interval_s": 86_400, "duration_s": 3_155_760_000}):
        response = api.post(f"{HERE}?dry_run=true", json=wish)
        assert response.status_code in (200, 422), response.get_data(as_text=True)
    assert api.post(f"{HERE}?dry_run=true", json={"interval_s": 0.1, "count": 1}).get_json()["frames"] == 1


def test_the_query_and_the_form_of_the_body_are_checked(api: Api) -> None:
    for query, where in (("dry_run=1", "dry_run"), ("dry=true", "dry"), ("dry_run=true&dry_run=true", "dry_run")):
        assert faults_of(assert_problem(api.post(f"{HERE}?{query}", json=LONG), 422, "invalid")) == {where}
    assert_problem(api.post(HERE, data="{", content_type="application/json"), 400, "malformed-json")
    assert_problem(api.post(HERE, data="a=1", content_type="text/plain"), 415, "unsupported-media-type")
    assert_problem(api.post(HERE, json=LONG | {"name": "x" * 70_000}), 413, "too-large")
    assert faults_of(assert_problem(api.post(HERE, json=[]), 422, "invalid")) == {""}
    assert_problem(api.post("/cameras/none/timelapses", json=LONG), 404, "not-found")
    assert_problem(api.open("PUT", HERE), 405, "method-not-allowed")


# Who may

ROUTES = [
    ("GET", HERE, "camera:demo:view"),
    ("POST", HERE, "camera:demo:capture"),
    ("GET", "", "camera:demo:view"),
    ("PATCH", "", "camera:demo:capture"),
    ("DELETE", "", "camera:demo:capture"),
    ("GET", "/frames", "camera:demo:view"),
    ("GET", "/frames/0/file", "camera:demo:view"),
    ("GET", "/frames.tar", "camera:demo:view"),
    ("GET", "/latest", "camera:demo:view"),
    ("GET", "/preview", "camera:demo:view"),
    ("GET", "/video.mp4", "camera:demo:view"),
    ("GET", "/renders", "camera:demo:view"),
    ("POST", "/renders", "camera:demo:capture"),
]


@pytest.mark.parametrize(("method", "path", "scope"), ROUTES)
def test_each_route_wants_a_login_and_its_scope(
    api: Api, nobody: Api, client_with: Callable[..., Api], method: str, path: str, scope: str
) -> None:
    made = start(api)
    eventually(lambda: get(api, made)["frames_captured"] == 1)
    url = path if path.startswith("/cameras") else f"{made['links']['self']}{path}"
    elsewhere = f"/timelapses/{'0' * 16}{path}"
    body = {"json": LONG} if method == "POST" and url == HERE else {}
    assert_problem(nobody.open(method, url, **body), 401, "unauthenticated")
    verb = scope.rpartition(":")[2]
    other = {"view": "capture", "capture": "view"}[verb]
    for held in (f"camera:demo:{other}", f"camera:back:{verb}", "camera:demo:configure", "door:*:*", "system:*:*"):
        document = assert_problem(client_with(held).open(method, url, **body), 403, "forbidden")
        assert verb in document["detail"]
    if not path.startswith("/cameras"):
        assert_problem(client_with("door:*:*").open(method, elsewhere), 403, "forbidden")
        assert_problem(api.open(method, elsewhere), 404, "not-found")
    if method == "GET":
        with client_with(scope).open("HEAD", url) as response:
            assert response.status_code == 200
    assert get(api, made)["state"] == "running"


def test_a_list_holds_what_the_caller_may_view_and_nothing_else(api: Api, client_with: Callable[..., Api]) -> None:
    ids = {camera: start(api, camera)["id"] for camera in ("demo", "back")}

    def listed(client: Api, query: str = "") -> list[str]:
        return [item["id"] for item in client.get(f"/timelapses{query}").get_json()["items"]]

    assert listed(api) == [ids["back"], ids["demo"]]
    assert listed(client_with("camera:back:view")) == [ids["back"]]
    assert listed(client_with("camera:back:view"), "?camera=demo") == []
    assert listed(client_with("door:*:*")) == []
    assert listed(api, "?camera=demo") == [ids["demo"]]
    assert listed(api, "?camera=none") == []
    assert [item["id"] for item in api.get(HERE).get_json()["items"]] == [ids["demo"]]


def test_a_list_may_be_of_one_state(api: Api) -> None:
    running, paused, cancelled, again = (start(api) for _ in range(4))
    for made, state in ((paused, "paused"), (cancelled, "cancelled"), (again, "cancelled")):
        api.patch(made["links"]["self"], json={"state": state})
    for state, wanted in (("running", [running]), ("paused", [paused]), ("failed", [])):
        found = api.get(f"/timelapses?state={state}").get_json()["items"]
        assert [item["id"] for item in found] == [made["id"] for made in wanted]
    page = api.get("/timelapses?state=cancelled&limit=1").get_json()
    after = api.get(page["links"]["next"]).get_json()
    assert [item["id"] for item in page["items"] + after["items"]] == [again["id"], cancelled["id"]]
    assert "next" not in after["links"]
    assert faults_of(assert_problem(api.get("/timelapses?state=late"), 422, "invalid")) == {"state"}


def test_pages_are_by_key(api: Api) -> None:
    ids = [start(api)["id"] for _ in range(5)][::-1]
    page = api.get("/timelapses?limit=2").get_json()
    seen = [item["id"] for item in page["items"]]
    newest = start(api)["id"]
    while "next" in page["links"]:
        page = api.get(page["links"]["next"]).get_json()
        seen += [item["id"] for item in page["items"]]
    assert seen == ids and newest not in seen
    for query, where in (("limit=0", "limit"), ("cursor=x", "cursor"), ("name=x", "name")):
        assert faults_of(assert_problem(api.get(f"/timelapses?{query}"), 422, "invalid")) == {where}


# Changing one


def test_one_is_paused_goes_on_is_renamed_and_cancelled(api: Api) -> None:
    made = start(api)
    here = made["links"]["self"]
    for changes, state in (
        ({"state": "paused"}, "paused"),
        ({"state": "paused"}, "paused"),
        ({"name": "peas"}, "paused"),
        ({"state": "running", "count": 20}, "running"),
        ({"state": "running"}, "running"),
        ({"duration_s": 86_400}, "running"),
        ({"until": later(86_400)}, "running"),
        ({"state": "cancelled"}, "cancelled"),
    ):
        response = api.patch(here, json=changes)
        assert (response.status_code, response.get_json()["state"]) == (200, state), changes
    found = get(api, made)
    assert (found["name"], found["count"], found["duration_s"]) == ("peas", None, None)
    assert found["until"] is not None and found["ended_at"] is not None and found["next_frame_at"] is None
    for changes in ({"state": "running"}, {"name": "x"}, {"count": 5}, {"state": "cancelled"}):
        assert_problem(api.patch(here, json=changes), 409, "conflict")


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({}, {""}),
        ({"state": "finished"}, {"/state"}),
        ({"state": "waiting"}, {"/state"}),
        ({"state": None}, {"/state"}),
        ({"count": 0}, {"/count"}),
        ({"count": 5, "duration_s": 7200}, {"/count", "/duration_s"}),
        ({"until": "2020-01-01T00:00:00Z", "state": "no"}, {"/until", "/state"}),
        ({"interval_s": 5}, {"/interval_s"}),
        ({"name": "x" * 101}, {"/name"}),
        ({"window": None}, {"/window"}),
    ],
    ids=wish_id,
)
def test_a_wrong_change_names_what_is_wrong_and_changes_nothing(
    api: Api, changes: dict[str, Any], where: set[str]
) -> None:
    made = start(api)
    assert faults_of(assert_problem(api.patch(made["links"]["self"], json=changes), 422, "invalid")) == where
    found = get(api, made)
    assert (found["state"], found["count"], found["name"]) == ("running", 10, None)


def test_it_cannot_be_shortened_below_what_is_done_nor_lengthened_beyond_the_disk(api: Api) -> None:
    made = start(api, interval_s=0.1, count=5)
    eventually(lambda: get(api, made)["state"] == "finished")
    assert get(api, made)["progress"] == 1.0
    assert_problem(api.patch(made["links"]["self"], json={"count": 2}), 409, "conflict")
    running = start(api, interval_s=0.5, count=100)
    eventually(lambda: get(api, running)["frames_due"] >= 2)
    refused = api.patch(running["links"]["self"], json={"count": 1})
    assert faults_of(assert_problem(refused, 422, "invalid")) == {"/count"}
    refused = api.patch(running["links"]["self"], json={"count": 500_000_000})
    assert assert_problem(refused, 507, "insufficient-storage", *ESTIMATE)["fits"] is False
    assert get(api, running)["count"] == 100


def test_removed_it_is_gone_and_the_journal_says_by_whom(api: Api, services: Services) -> None:
    made = start(api)
    eventually(lambda: get(api, made)["frames_captured"] == 1)
    here = made["links"]["self"]
    assert (response := api.delete(here)).status_code == 204 and response.get_data() == b""
    for method, path in (("GET", ""), ("DELETE", ""), ("PATCH", ""), ("GET", "/frames"), ("GET", "/video.mp4")):
        assert_problem(api.open(method, here + path), 404, "not-found")
    events = api.get("/events?type=timelapse.removed").get_json()["items"]
    assert [(event["actor"], event["subject"]) for event in events] == [("token:test", "camera:demo")]
