"""What a time-lapse and its renders are refused for at the wrong moment, or where there are too many of them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import config
from piapi.services.timelapses.renders import MOST_WAITING
from piapi.services.timelapses.timelapses import MOST_ACTIVE
from tests.conftest import Api, assert_problem, faults_of
from tests.library import started
from tests.service import eventually
from tests.test_timelapses_api import HERE, LONG, get, later, start


def test_a_window_that_does_not_open_before_the_end_is_refused(api: Api) -> None:
    now = datetime.now(UTC).astimezone()
    opens, closes = (f"{now + timedelta(hours=hours):%H:%M}" for hours in (6, 7))
    wish = {"interval_s": 5, "until": later(60), "window": {"from": opens, "to": closes}}
    for url in (HERE, f"{HERE}?dry_run=true"):
        refused = assert_problem(api.post(url, json=wish), 422, "invalid")
        assert faults_of(refused) == {"/window"} and "no tick" in refused["errors"][0]["detail"]


def test_a_window_that_never_opens_is_refused(settings: config.Settings) -> None:
    equator = config.Place(0.0, 0.0, "UTC")  # where the sun is up for some minutes more than half a day
    with started(replace(settings, place=equator)) as api:
        refused = api.post(HERE, json=LONG | {"window": {"from": "sunset", "to": "sunrise-12:00"}})
        document = assert_problem(refused, 422, "invalid")
        assert faults_of(document) == {"/window"} and "never opens" in document["errors"][0]["detail"]


@pytest.mark.parametrize(
    ("wish", "where"),
    [
        ({"window": {"from": "07:30", "to": "18:00", "time_zone": "Mars/Base"}}, {"/window/time_zone"}),
        ({"time_zone": "Mars/Base"}, {"/time_zone"}),
    ],
)
def test_a_zone_belongs_into_the_settings(api: Api, wish: dict[str, Any], where: set[str]) -> None:
    assert faults_of(assert_problem(api.post(HERE, json=LONG | wish), 422, "invalid")) == where


def test_there_are_not_too_many_at_once(api: Api) -> None:
    made = [start(api, start_at=later(7200)) for _ in range(MOST_ACTIVE)]
    assert str(MOST_ACTIVE) in assert_problem(api.post(HERE, json=LONG), 409, "conflict")["detail"]
    assert api.post(f"{HERE}?dry_run=true", json=LONG).status_code == 200
    assert api.patch(made[0]["links"]["self"], json={"state": "cancelled"}).status_code == 200
    assert api.post(HERE, json=LONG).status_code == 202


def test_one_without_a_frame_is_not_rendered(api: Api) -> None:
    made = start(api, start_at=later(7200))
    assert_problem(api.post(made["links"]["renders"]), 409, "conflict")
    assert api.get(made["links"]["renders"]).get_json()["items"] == []


@pytest.fixture
def done(api: Api) -> dict[str, Any]:
    made = start(api, interval_s=0.1, count=5, width=64)
    eventually(lambda: get(api, made)["state"] == "finished")
    return made


def state(api: Api, render: dict[str, Any]) -> str:
    found: str = api.get(render["links"]["self"]).get_json()["state"]
    return found


def test_renders_that_wait_are_bounded(api: Api, done: dict[str, Any]) -> None:
    url, asked = done["links"]["renders"], []
    for _ in range(3 * MOST_WAITING):
        asked.append(api.post(url))
        if asked[-1].status_code != 202:
            break
    assert str(MOST_WAITING) in assert_problem(asked[-1], 409, "conflict")["detail"]
    assert len(asked) > MOST_WAITING
    for response in asked[:-1]:
        api.delete(response.get_json()["links"]["self"])


def test_removed_while_it_is_rendered_both_are_gone(api: Api, done: dict[str, Any], settings: config.Settings) -> None:
    render = api.post(done["links"]["renders"]).get_json()
    eventually(lambda: state(api, render) == "running")
    waits = api.post(done["links"]["renders"]).get_json()
    assert api.delete(done["links"]["self"]).status_code == 204
    for links in (render["links"], waits["links"], done["links"]):
        assert_problem(api.get(links["self"]), 404, "not-found")
    assert_problem(api.delete(done["links"]["self"]), 404, "not-found")
    eventually(lambda: not list((settings.storage.path / "timelapses").glob("*")))
    again = start(api, interval_s=0.1, count=2, width=64)
    eventually(lambda: get(api, again)["state"] == "finished")
    second = api.post(again["links"]["renders"]).get_json()
    eventually(lambda: state(api, second) == "finished")
