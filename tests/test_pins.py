"""Pins over HTTP, on the simulated board with a real guard."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

import config
from piapi.api.services import Services
from piapi.app import create_app
from piapi.clock import SystemClock
from piapi.hardware.gpio_simulated import SimulatedBoard, history_of
from tests.conftest import Api, assert_problem, faults_of

KEY = {"Idempotency-Key": "one"}


@pytest.fixture
def settings(settings: config.Settings) -> config.Settings:
    pins = {
        "lamp": config.Pin(gpio="GPIO17"),
        "heater": config.Pin(gpio="GPIO5", active_low=True, max_on_s=30.0, min_gap_s=60.0),
        "dimmer": config.Pin(gpio="GPIO12", mode="pwm"),
        "arm": config.Pin(gpio="GPIO13", mode="servo"),
        "bell": config.Pin(gpio="GPIO27", mode="input", pull="up", active_low=True, debounce_s=0.0),
    }
    return replace(settings, gpio=config.Gpio(backend="simulated"), pins=pins)


@pytest.fixture
def lines(settings: config.Settings) -> Path:
    """The file of the simulated board."""
    return settings.storage.path / "run" / "gpio.simulated"


def key(value: str) -> dict[str, str]:
    return {"Idempotency-Key": value}


def until(holds: Callable[[], bool]) -> None:
    """Ask again and again; each question is a request, so this does not spin."""
    for _ in range(2000):
        if holds():
            return
    raise AssertionError("it did not come about")


def test_the_pins_are_told_as_they_are_wired(api: Api) -> None:
    found = api.get("/pins").get_json()["items"]
    assert [pin["name"] for pin in found] == ["lamp", "heater", "dimmer", "arm", "bell"]
    lamp = api.get("/pins/lamp").get_json()
    assert lamp == found[0]
    assert (lamp["gpio"], lamp["physical"], lamp["mode"], lamp["value"]) == ("GPIO17", 11, "output", False)
    assert lamp["emulated"] is True and lamp["edges"] is None
    assert lamp["links"] == {
        "self": "/api/v1/pins/lamp",
        "value": "/api/v1/pins/lamp/value",
        "pulses": "/api/v1/pins/lamp/pulses",
    }
    bell = api.get("/pins/bell").get_json()
    assert (bell["pull"], bell["active_low"], bell["value"], bell["edges"]) == ("up", True, False, 0)
    assert api.get("/").get_json()["links"]["pins"] == "/api/v1/pins"


def test_pins_are_paged(api: Api) -> None:
    first = api.get("/pins?limit=2").get_json()
    second = api.open("GET", first["links"]["next"]).get_json()
    assert [pin["name"] for pin in first["items"] + second["items"]] == ["lamp", "heater", "dimmer", "arm"]


@pytest.mark.parametrize(("name", "value"), [("lamp", True), ("heater", True), ("dimmer", 0.25), ("arm", -1)])
def test_a_pin_is_switched_and_told_with_a_new_tag(api: Api, name: str, value: Any) -> None:
    before = api.get(f"/pins/{name}").headers["ETag"]
    response = api.open("PUT", f"/pins/{name}/value", json={"value": value})
    assert response.status_code == 200 and response.get_json()["value"] == value
    assert response.headers["ETag"] != before
    assert api.get(f"/pins/{name}", headers={"If-None-Match": response.headers["ETag"]}).status_code == 304
    assert api.get(f"/pins/{name}").get_json()["changed_at"] is not None
    again = api.open("PUT", f"/pins/{name}/value", json={"value": value})
    assert again.status_code == 200, "twice is as once"


def test_if_match_guards_against_what_one_has_not_seen(api: Api) -> None:
    seen = api.get("/pins/lamp").headers["ETag"]
    api.open("PUT", "/pins/lamp/value", json={"value": True})
    late = api.open("PUT", "/pins/lamp/value", json={"value": False}, headers={"If-Match": seen})
    assert_problem(late, 412, "precondition-failed")
    assert api.get("/pins/lamp").get_json()["value"] is True


@pytest.mark.parametrize(
    ("name", "body", "where"),
    [
        ("lamp", {"value": "on"}, "/value"),
        ("lamp", {"value": 1}, "/value"),
        ("lamp", {"value": None}, "/value"),
        ("lamp", {}, "/value"),
        ("lamp", {"value": True, "extra": 1}, "/extra"),
        ("dimmer", {"value": True}, "/value"),
        ("dimmer", {"value": 1.01}, "/value"),
        ("arm", {"value": -1.01}, "/value"),
    ],
)
def test_a_value_that_cannot_be_is_refused(api: Api, name: str, body: dict[str, Any], where: str) -> None:
    problem = assert_problem(api.open("PUT", f"/pins/{name}/value", json=body), 422, "invalid")
    assert faults_of(problem) == {where}


def test_a_value_that_cannot_be_is_said_before_what_has_changed(api: Api) -> None:
    stale = {"If-Match": '"another"'}
    assert_problem(api.open("PUT", "/pins/dimmer/value", json={"value": True}, headers=stale), 422, "invalid")
    assert_problem(
        api.open("PUT", "/pins/dimmer/value", json={"value": 0.5}, headers=stale), 412, "precondition-failed"
    )


def test_an_input_takes_no_value_and_no_pulse(api: Api) -> None:
    assert_problem(api.open("PUT", "/pins/bell/value", json={"value": True}), 409, "conflict")
    assert_problem(api.post("/pins/bell/pulses", json={"duration_s": 1}, headers=KEY), 409, "conflict")


def test_a_pulse_is_as_long_as_asked_and_its_history_has_two_edges(api: Api, lines: Path) -> None:
    response = api.post("/pins/lamp/pulses", json={"duration_s": 0.05}, headers=KEY)
    assert response.status_code == 202
    pulse = response.get_json()
    assert response.headers["Location"] == pulse["links"]["self"] and pulse["links"]["pin"] == "/api/v1/pins/lamp"
    until(lambda: api.get(pulse["links"]["self"]).get_json()["state"] == "done")
    done = api.get(pulse["links"]["self"]).get_json()
    assert 0.05 <= done["on_s"] < 1 and done["duration_s"] == 0.05 and done["requested_by"] == "token:test"
    assert api.get("/pins/lamp").get_json()["value"] is False


def test_a_pulse_needs_a_key_and_a_key_makes_one_pulse(api: Api, services: Services) -> None:
    assert_problem(api.post("/pins/lamp/pulses", json={"duration_s": 1}), 428, "idempotency-key-required")
    with ThreadPoolExecutor(8) as pool:
        send = lambda _: api.post("/pins/lamp/pulses", json={"duration_s": 30}, headers=KEY)  # noqa: E731
        answers = list(pool.map(send, range(16)))
    assert {answer.status_code for answer in answers} <= {202, 409}
    assert len({answer.headers["Location"] for answer in answers if answer.status_code == 202}) == 1
    replay = api.post("/pins/lamp/pulses", json={"duration_s": 30}, headers=KEY)
    assert replay.status_code == 202 and replay.headers["Idempotency-Replayed"] == "true"
    other = api.post("/pins/lamp/pulses", json={"duration_s": 29}, headers=KEY)
    assert_problem(other, 422, "idempotency-key-reused")
    assert_problem(api.post("/pins/lamp/pulses", json={"duration_s": 30}, headers=key("two")), 409, "conflict")
    api.open("PUT", "/pins/lamp/value", json={"value": False})


@pytest.mark.parametrize("duration_s", [0, 0.009, 60.1, -1, "1", None, True])
def test_a_pulse_that_is_too_short_or_too_long_is_refused(api: Api, duration_s: Any) -> None:
    response = api.post("/pins/lamp/pulses", json={"duration_s": duration_s}, headers=KEY)
    assert faults_of(assert_problem(response, 422, "invalid")) == {"/duration_s"}


def test_limits_hold_whoever_calls(api: Api) -> None:
    too_long = api.post("/pins/heater/pulses", json={"duration_s": 31}, headers=KEY)
    assert faults_of(assert_problem(too_long, 422, "invalid")) == {"/duration_s"}
    api.open("PUT", "/pins/heater/value", json={"value": True})
    api.open("PUT", "/pins/heater/value", json={"value": False})
    problem = assert_problem(api.open("PUT", "/pins/heater/value", json={"value": True}), 409, "conflict")
    assert "shortest gap" in problem["detail"]


def test_scopes_are_per_pin_and_per_verb(api: Api, nobody: Api, client_with: Callable[..., Api]) -> None:
    lamp = client_with("pin:lamp:write", "pin:lamp:view")
    assert lamp.open("PUT", "/pins/lamp/value", json={"value": True}).status_code == 200
    assert_problem(lamp.open("PUT", "/pins/heater/value", json={"value": True}), 403, "forbidden")
    assert [pin["name"] for pin in lamp.get("/pins").get_json()["items"]] == ["lamp"]
    viewer = client_with("pin:*:view")
    assert_problem(viewer.open("PUT", "/pins/lamp/value", json={"value": True}), 403, "forbidden")
    assert_problem(viewer.post("/pins/lamp/pulses", json={"duration_s": 1}, headers=KEY), 403, "forbidden")
    pulse = api.post("/pins/arm/pulses", json={"duration_s": 1}, headers=KEY)
    assert pulse.status_code == 409
    for method, path in (
        ("GET", "/pins"),
        ("GET", "/pins/lamp"),
        ("PUT", "/pins/lamp/value"),
        ("GET", "/actuations/x"),
    ):
        assert_problem(nobody.open(method, path), 401, "unauthenticated")
    assert_problem(lamp.get("/actuations/x"), 404, "not-found")
    assert_problem(client_with("camera:*:view").get("/actuations/x"), 403, "forbidden")
    assert_problem(api.get("/pins/oven"), 404, "not-found")
    assert_problem(api.open("PUT", "/pins/oven/value", json={"value": True}), 404, "not-found")


def test_an_actuation_is_for_those_who_may_view_its_pin(api: Api, client_with: Callable[..., Api]) -> None:
    made = api.post("/pins/lamp/pulses", json={"duration_s": 0.01}, headers=KEY).get_json()
    assert client_with("pin:lamp:view").get(made["links"]["self"]).status_code == 200
    assert_problem(client_with("pin:bell:view").get(made["links"]["self"]), 403, "forbidden")


def test_more_than_thirty_commands_in_a_row_have_to_wait_and_refusals_do_not_count(api: Api) -> None:
    for _ in range(40):
        assert_problem(api.open("PUT", "/pins/bell/value", json={"value": True}), 409, "conflict")
    answers = [api.open("PUT", "/pins/lamp/value", json={"value": n % 2 == 0}) for n in range(200)]
    statuses = [answer.status_code for answer in answers]
    assert statuses[:30] == [200] * 30 and 429 in statuses
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert int(refused.headers["Retry-After"]) >= 1
    assert_problem(refused, 429, "too-many-requests")


def test_an_input_is_seen_from_outside_and_stands_in_the_journal(
    api: Api, settings: config.Settings, services: Services, lines: Path
) -> None:
    world = SimulatedBoard(lines, SystemClock())
    world.open()
    board: Any = services.pins._board
    board.drive(27, False)
    until(lambda: api.get("/pins/bell").get_json()["value"] is True)
    assert api.get("/pins/bell").get_json()["edges"] == 1
    until(lambda: len(api.get("/events?subject=pin:bell").get_json()["items"]) == 1)
    world.close()


def test_commands_stand_in_the_journal_with_who_gave_them(api: Api) -> None:
    api.open("PUT", "/pins/lamp/value", json={"value": True})
    api.open("PUT", "/pins/lamp/value", json={"value": False})
    api.open("PUT", "/pins/lamp/value", json={"value": "on"})

    def entries() -> list[tuple[str, str]]:
        found = api.get("/events?subject=pin:lamp").get_json()["items"]
        return [(entry["type"], entry["actor"]) for entry in reversed(found)]

    until(lambda: len(entries()) == 3)
    assert entries() == [
        ("command.accepted", "token:test"),
        ("pin.changed", "token:test"),
        ("pin.changed", "token:test"),
    ], "what is no value at all is refused before anybody is asked"


def test_no_edge_at_start_and_stop(settings: config.Settings) -> None:
    path = settings.storage.path / "run" / "gpio.simulated"
    for _ in range(3):
        settings.storage.path.mkdir(exist_ok=True)
        board = SimulatedBoard(path, SystemClock(), keep_history=True)
        app: Flask = create_app(settings, board=board)
        app.extensions["piapi"].start()
        app.extensions["piapi"].close()
    moved = [change for change in history_of(path) if change.line in (17, 12, 13) and change.before != change.after]
    assert moved == []


def test_without_the_guard_of_its_unit_nothing_is_switched_on_and_the_log_says_what_to_do(
    settings: config.Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It starts none of its own: that would die with the unit."""
    monkeypatch.setenv(config.GUARD, str(tmp_path / "guard.sock"))
    settings = replace(settings, gpio=config.Gpio(backend="lgpio"))
    app = create_app(settings, board=SimulatedBoard(tmp_path / "lines", SystemClock(), keep_history=True))
    app.extensions["piapi"].start()
    try:
        _, secret = app.extensions["piapi"].services.access.create_token("test", role="admin")
        api = Api(app.test_client(), secret)
        for name in ("lamp", "dimmer"):
            refused = api.open("PUT", f"/pins/{name}/value", json={"value": name == "lamp" or 0.5})
            assert "systemctl status piapi-guard" in assert_problem(refused, 503, "hardware-unavailable")["detail"]
        assert api.open("PUT", "/pins/lamp/value", json={"value": False}).status_code == 200
        assert api.get("/pins/bell").get_json()["value"] is not None, "an input needs no guard"
    finally:
        app.extensions["piapi"].close()
    assert "nothing may be switched on: nobody answers at" in caplog.text and "piapi-guard" in caplog.text
    assert not any(change.after for change in history_of(tmp_path / "lines", 17))


@pytest.fixture
def _ends(app: Flask) -> Iterator[None]:
    yield


def test_who_may_not_switch_and_tries_is_told_to_the_owner(api: Api, client_with: Callable[..., Api]) -> None:
    guest = client_with("pin:lamp:view")
    assert_problem(guest.open("PUT", "/pins/lamp/value", json={"value": True}), 403, "forbidden")
    assert_problem(guest.post("/pins/lamp/pulses", json={"duration_s": 1}, headers=KEY), 403, "forbidden")
    assert_problem(guest.open("PUT", "/pins/madeup/value", json={"value": True}), 403, "forbidden")
    told: list[dict[str, Any]] = []

    def is_told() -> bool:
        told[:] = api.get("/events?type=command.refused").get_json()["items"]
        return len(told) > 1

    until(is_told)
    assert [(entry["subject"], entry["actor"], entry["data"]["asked"]) for entry in told] == [
        ("pin:lamp", "token:test", "pulses"),
        ("pin:lamp", "token:test", "value"),
    ], "none for names that are made up"


def test_a_timetable_that_hangs_is_a_fault_that_the_watchdog_sees(app: Flask) -> None:
    panel = app.extensions["piapi"]._panel
    check, _ = app.extensions["piapi"].checks
    check()
    let_go, held = threading.Event(), threading.Event()

    def hang() -> None:
        held.set()
        assert let_go.wait(60)

    now = panel.timetable._clock.monotonic()
    panel.timetable.at(now, hang)
    assert held.wait(60)
    panel.timetable.at(now - 100, lambda: None)
    with pytest.raises(TimeoutError, match="pins and doors have not been served for 1.. s"):
        check()
    let_go.set()
