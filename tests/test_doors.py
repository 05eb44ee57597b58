"""Doors over HTTP: the simulated door behind the simulated board, with a real guard. Times are short, and real."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from flask import Flask

import config
from piapi.api.services import Services
from piapi.app import create_app
from piapi.cli import main
from piapi.clock import format_time
from piapi.errors import StorageFull
from piapi.hardware.gpio_simulated import Change, history_of
from tests.conftest import Api, assert_problem, faults_of
from tests.service import eventually

RELAY, BLIND_RELAY, WARNING, CLOSED, OPEN = 23, 22, 12, 24, 25
TARGET, TOGGLES, LOCK = "/doors/garage/target", "/doors/garage/toggles", "/doors/garage/lock"
SHORT: dict[str, Any] = {"press_s": 0.05, "min_gap_s": 0.1, "travel_s": 1.0}
WAIT = {"Prefer": "wait=30"}


def sensor(line: int) -> dict[str, Any]:
    return {"gpio": f"GPIO{line}", "pull": "up", "active_low": True, "debounce_s": 0.0}


GARAGE = config.Door(
    relay={"gpio": f"GPIO{RELAY}"},
    closed_sensor=sensor(CLOSED),
    open_sensor=sensor(OPEN),
    warning={"gpio": f"GPIO{WARNING}"},
    warning_s=0.5,
    camera="demo",
    **SHORT,
)
BLIND = config.Door(relay={"gpio": f"GPIO{BLIND_RELAY}"}, **SHORT)


@pytest.fixture
def settings(settings: config.Settings) -> config.Settings:
    """The history of the lines is kept from the start."""
    settings.storage.path.mkdir()
    lines = settings.storage.path / "run" / "gpio.simulated"
    lines.parent.mkdir()
    lines.with_name(f"{lines.name}.history").touch()
    return replace(settings, gpio=config.Gpio(backend="simulated"), doors={"garage": GARAGE, "blind": BLIND})


@pytest.fixture
def lines(settings: config.Settings) -> Path:
    """The file of the simulated board."""
    return settings.storage.path / "run" / "gpio.simulated"


def edges(lines: Path, line: int) -> list[Change]:
    return [change for change in history_of(lines, line) if change.before != change.after]


def presses(lines: Path, line: int = RELAY) -> int:
    return len(edges(lines, line)) // 2


def key(value: str) -> dict[str, str]:
    return {"Idempotency-Key": value}


def garage(api: Api) -> dict[str, Any]:
    found: dict[str, Any] = api.get("/doors/garage").get_json()
    return found


def go(api: Api, target: str, **headers: str) -> Any:
    return api.open("PUT", TARGET, json={"target": target}, headers=headers)


def ready(api: Api) -> None:
    """The quarantine of a start is over."""
    eventually(lambda: all(door["detail"] is None for door in api.get("/doors").get_json()["items"]))


@pytest.fixture
def at_work(api: Api) -> Api:
    """After the start's quarantine."""
    ready(api)
    return api


def journal(api: Api, type: str) -> list[dict[str, Any]]:
    """Oldest first."""
    items: list[dict[str, Any]] = api.get(f"/events?type={type}&limit=200").get_json()["items"]
    return items[::-1]


# What is told ---------------------------------------------------------------------------------------------------------


def test_doors_are_told_by_their_sensors_and_take_nothing_right_after_a_start(api: Api, lines: Path) -> None:
    door = garage(api)
    assert (door["state"], door["basis"], door["sensors"]) == ("closed", "sensor", {"closed": True, "open": False})
    assert (door["target"], door["locked"], door["operation"], door["emulated"]) == (None, False, None, True)
    assert set(door["links"]) == {"self", "target", "toggles", "lock", "events"}
    blind = api.get("/doors/blind").get_json()
    assert (blind["state"], blind["basis"], blind["sensors"]) == ("unknown", "none", {"closed": None, "open": None})
    early = go(api, "open")
    assert_problem(early, 503, "quarantined")
    assert int(early.headers["Retry-After"]) >= 1
    assert_problem(api.post(TOGGLES, headers=key("early")), 503, "quarantined")
    ready(api)
    assert edges(lines, RELAY) == edges(lines, WARNING) == []
    assert api.get("/").get_json()["links"]["doors"] == "/api/v1/doors"


def test_the_tag_of_a_door_changes_with_it(at_work: Api) -> None:
    tag = at_work.get("/doors/garage").headers["ETag"]
    assert at_work.get("/doors/garage", headers={"If-None-Match": tag}).status_code == 304
    locked = at_work.open("PUT", LOCK, json={"locked": True})
    assert locked.headers["ETag"] != tag == at_work.open("PUT", LOCK, json={"locked": False}).headers["ETag"]


def test_what_is_not_there_or_not_understood_is_refused(at_work: Api, lines: Path) -> None:
    assert_problem(at_work.get("/doors/shed"), 404, "not-found")
    assert_problem(at_work.open("PUT", "/doors/shed/target", json={"target": "open"}), 404, "not-found")
    assert_problem(at_work.get("/operations/none"), 404, "not-found")
    assert_problem(at_work.delete("/operations/none"), 404, "not-found")
    wrong = at_work.open("PUT", TARGET, json={"target": "ajar", "expires_at": "soon", "speed": 1})
    assert faults_of(assert_problem(wrong, 422, "invalid")) == {"/target", "/expires_at", "/speed"}
    assert_problem(at_work.open("PUT", LOCK, json={"locked": "yes"}), 422, "invalid")
    assert_problem(at_work.post(TOGGLES), 428, "idempotency-key-required")
    assert_problem(at_work.open("PUT", "/doors/blind/target", json={"target": "open"}), 409, "conflict")
    for path in (TARGET, TOGGLES, LOCK):
        assert_problem(at_work.get(path), 405, "method-not-allowed")
    assert edges(lines, RELAY) == edges(lines, BLIND_RELAY) == []


# Targets --------------------------------------------------------------------------------------------------------------


def test_a_door_opens_by_one_press_and_there_it_stays(at_work: Api, lines: Path) -> None:
    accepted = go(at_work, "open")
    assert accepted.status_code == 202
    operation = accepted.get_json()
    assert accepted.headers["Location"] == operation["links"]["self"]
    assert (operation["target"], operation["state"], operation["presses"]) == ("open", "moving", 1)
    again = go(at_work, "open")
    assert (again.status_code, again.get_json()["id"]) == (202, operation["id"]), "the same operation"
    assert garage(at_work)["target"] == "open" and garage(at_work)["operation"] == operation["id"]
    eventually(lambda: at_work.get(f"/operations/{operation['id']}").get_json()["state"] == "succeeded")
    done = at_work.get(f"/operations/{operation['id']}").get_json()
    assert [(seen["sensor"], seen["active"]) for seen in done["evidence"]] == [("closed", False), ("open", True)]
    assert done["requested_by"] == "token:test" and done["ended_at"] > done["pressed_at"] >= done["requested_at"]
    there = go(at_work, "open")
    assert (there.status_code, there.get_json()["state"], there.get_json()["basis"]) == (200, "open", "sensor")
    assert presses(lines) == 1


def test_a_close_warns_first_and_can_be_called_off_while_it_does(at_work: Api, lines: Path) -> None:
    assert go(at_work, "open", **WAIT).status_code == 200
    warning = go(at_work, "closed").get_json()
    assert (warning["state"], warning["presses"]) == ("warning", 0) and warning["warning_ends_at"]
    cancelled = at_work.delete(f"/operations/{warning['id']}")
    assert (cancelled.status_code, cancelled.get_json()["state"]) == (200, "cancelled")
    assert_problem(at_work.delete(f"/operations/{warning['id']}"), 409, "conflict")
    eventually(lambda: len(edges(lines, WARNING)) == 2)
    assert presses(lines) == 1
    closed = go(at_work, "closed", **WAIT)
    assert (closed.status_code, closed.get_json()["state"], closed.get_json()["presses"]) == (200, "succeeded", 1)
    began, press = edges(lines, WARNING)[2].at, edges(lines, RELAY)[2].at
    assert press - began >= GARAGE.warning_s
    assert (garage(at_work)["state"], presses(lines)) == ("closed", 2)


def test_a_slow_card_takes_nothing_of_a_warning(
    at_work: Api, services: Services, lines: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert go(at_work, "open", **WAIT).status_code == 200
    book, slow = services.doors.get("garage").book, threading.Event()
    write = book.write
    monkeypatch.setattr(book, "write", lambda entries: (slow.wait(0.4), write(entries)))
    assert go(at_work, "closed", **WAIT).get_json()["state"] == "succeeded"
    lit, out = (change.at for change in edges(lines, WARNING))
    assert out - lit >= GARAGE.warning_s and edges(lines, RELAY)[2].at - lit >= GARAGE.warning_s


def test_the_other_target_supersedes_and_is_pressed_when_the_door_rests(at_work: Api, lines: Path) -> None:
    opening = go(at_work, "open").get_json()
    closed = go(at_work, "closed", **WAIT).get_json()
    assert closed["state"] == "succeeded"
    assert at_work.get(f"/operations/{opening['id']}").get_json()["state"] == "superseded"
    arrived = next(change for change in edges(lines, OPEN) if change.at > edges(lines, RELAY)[0].at)
    assert edges(lines, RELAY)[2].at > arrived.at, "not while it moved"


def test_only_what_one_has_seen_is_commanded_and_only_in_time(at_work: Api, lines: Path) -> None:
    assert_problem(go(at_work, "open", **{"If-Match": '"another"'}), 412, "precondition-failed")
    lock = at_work.open("PUT", LOCK, json={"locked": True}, headers={"If-Match": '"another"'})
    assert_problem(lock, 412, "precondition-failed")
    past = format_time(datetime.now(UTC) - timedelta(seconds=1))
    late = at_work.open("PUT", TARGET, json={"target": "open", "expires_at": past})
    assert_problem(late, 409, "command-expired")
    assert_problem(at_work.post(TOGGLES, json={"expires_at": past}, headers=key("late")), 409, "command-expired")
    assert (presses(lines), garage(at_work)["state"]) == (0, "closed")
    tag = at_work.get("/doors/garage").headers["ETag"]
    soon = format_time(datetime.now(UTC) + timedelta(seconds=60))
    body = {"target": "open", "expires_at": soon}
    assert at_work.open("PUT", TARGET, json=body, headers={"If-Match": tag}).status_code == 202


def test_a_locked_door_is_423_for_every_command_also_after_a_restart(
    settings: config.Settings, at_work: Api, services: Services, lines: Path
) -> None:
    locked = at_work.open("PUT", LOCK, json={"locked": True, "reason": "The spring is broken."})
    assert (locked.get_json()["locked"], locked.get_json()["lock_reason"]) == (True, "The spring is broken.")
    for refused in (go(at_work, "open"), go(at_work, "closed"), at_work.post(TOGGLES, headers=key("locked"))):
        assert "spring" in assert_problem(refused, 423, "locked")["detail"]
    at_work.client.application.extensions["piapi"].close()
    app = create_app(settings)
    app.extensions["piapi"].start()
    try:
        later = Api(app.test_client(), at_work.token)
        ready(later)
        assert garage(later)["lock_reason"] == "The spring is broken."
        assert_problem(go(later, "open"), 423, "locked")
        unlocked = later.open("PUT", LOCK, json={"locked": False}).get_json()
        assert (unlocked["locked"], unlocked["lock_reason"]) == (False, None)
        assert go(later, "open").status_code == 202
    finally:
        app.extensions["piapi"].close()
    assert len(edges(lines, RELAY)) == 2


# Presses --------------------------------------------------------------------------------------------------------------


def test_a_key_makes_one_press_however_often_it_comes(at_work: Api, lines: Path) -> None:
    def press(name: str) -> Any:
        return at_work.post("/doors/blind/toggles", headers=key(name))

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(press, ["one"] * 16))
    assert {answer.status_code for answer in answers} <= {202, 409}
    assert len({answer.headers["Location"] for answer in answers if answer.status_code == 202}) == 1
    replay = press("one")
    assert (replay.status_code, replay.headers["Idempotency-Replayed"]) == (202, "true")
    assert_problem(press("two"), 409, "conflict")
    eventually(lambda: len(edges(lines, BLIND_RELAY)) == 2)
    other = at_work.post("/doors/blind/toggles", json={"expires_at": "2099-01-01T00:00:00Z"}, headers=key("one"))
    assert_problem(other, 422, "idempotency-key-reused")
    assert presses(lines, BLIND_RELAY) == 1


def test_what_cannot_be_written_down_is_not_pressed(
    at_work: Api, services: Services, lines: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise StorageFull("The disk is full.")

    door = services.doors.get("garage")
    with monkeypatch.context() as patched:
        patched.setattr(door.book, "write", full)
        assert_problem(go(at_work, "open"), 507, "insufficient-storage")
        assert_problem(at_work.post(TOGGLES, headers=key("full")), 507, "insufficient-storage")
    assert (presses(lines), garage(at_work)["operation"]) == (0, None)
    assert at_work.post(TOGGLES, headers=key("full")).status_code == 202, "its key is as new"


# Who may --------------------------------------------------------------------------------------------------------------


def test_scopes_are_per_door_and_per_verb(at_work: Api, client_with: Callable[..., Api], nobody: Api) -> None:
    closer, opener = client_with("door:garage:close"), client_with("door:garage:open")
    assert go(closer, "closed").status_code == 200
    assert "door:garage:open" in assert_problem(go(closer, "open"), 403, "forbidden")["detail"]
    assert "door:garage:close" in assert_problem(go(opener, "closed"), 403, "forbidden")["detail"]
    for guest in (closer, opener):
        assert_problem(guest.post(TOGGLES, headers=key("guest")), 403, "forbidden")
        assert_problem(guest.open("PUT", LOCK, json={"locked": True}), 403, "forbidden")
        assert_problem(guest.get("/doors/garage"), 403, "forbidden")
        assert_problem(guest.open("PUT", "/doors/blind/target", json={"target": "open"}), 403, "forbidden")
        assert guest.get("/doors").get_json()["items"] == []
    assert_problem(go(nobody, "open"), 401, "unauthenticated")
    both = client_with("door:garage:open", "door:garage:close")
    operation = both.post(TOGGLES, headers=key("both"))
    assert operation.status_code == 202
    assert_problem(both.get(operation.headers["Location"]), 403, "forbidden")
    assert client_with("door:garage:view").get(operation.headers["Location"]).status_code == 200
    assert_problem(client_with("door:blind:*").get(operation.headers["Location"]), 403, "forbidden")


# The journal ----------------------------------------------------------------------------------------------------------


def test_who_did_what_and_what_the_door_did_stands_in_the_journal_and_in_its_log(
    at_work: Api, client_with: Callable[..., Api], settings: config.Settings, services: Services
) -> None:
    assert_problem(go(client_with("door:garage:close"), "open"), 403, "forbidden")
    operation = go(at_work, "open", **WAIT).get_json()
    assert_problem(at_work.delete(f"/operations/{operation['id']}"), 409, "conflict")
    stale = {"If-Match": '"another"'}
    assert_problem(at_work.open("PUT", LOCK, json={"locked": True}, headers=stale), 412, "precondition-failed")
    eventually(lambda: len(journal(at_work, "command.refused")) == 3)
    eventually(lambda: [entry["data"]["state"] for entry in journal(at_work, "door.state")][-1] == "open")
    refused = [entry["data"] for entry in journal(at_work, "command.refused")]
    assert refused[0]["target"] == "open" and refused[1]["cancel"] == operation["id"] and refused[2]["locked"] is True
    states = [entry["data"]["state"] for entry in journal(at_work, "operation.state")]
    assert states == ["moving", "succeeded"]
    (accepted,) = journal(at_work, "command.accepted")
    assert accepted["actor"] == "token:test" and accepted["data"]["operation"] == operation["id"]
    assert len(journal(at_work, "door.pressed")) == len(journal(at_work, "door.released")) == 1
    seen = [(entry["data"]["sensor"], entry["data"]["value"]) for entry in journal(at_work, "door.sensor")]
    assert seen == [("closed", False), ("open", True)]
    done = CliRunner().invoke(
        main, ["doors", "log", "garage"], env={"PIAPI_DATA": str(settings.storage.path), "PIAPI_CONFIG": None}
    )
    assert done.exit_code == 0, done.output
    for words in (
        "asked to open, refused: ", "asked to open  (token:test)", "button pressed for 0.05 s", "closed sensor off",
        "opening it: succeeded", "asked to cancel, refused: ", "asked to lock, refused: ",
    ):  # fmt: skip
        assert words in done.output, done.output


def test_the_log_of_an_unknown_door_is_an_error(settings: config.Settings, api: Api) -> None:
    done = CliRunner().invoke(
        main, ["doors", "log", "shed"], env={"PIAPI_DATA": str(settings.storage.path), "PIAPI_CONFIG": None}
    )
    assert done.exit_code == 1 and "no door shed" in done.output


def test_a_door_that_moves_with_nobody_asking_is_told(app: Flask, at_work: Api) -> None:
    wired = app.extensions["piapi"]._panel._machinery.doors["garage"]
    wired.act(lambda door, at: door.push(0.5, at))
    eventually(lambda: bool(journal(at_work, "door.moved_unasked")))
    assert journal(at_work, "door.moved_unasked")[0]["actor"] == "nobody"
    assert garage(at_work)["state"] != "closed"


def test_pictures_before_and_after_are_found_from_the_operation(at_work: Api) -> None:
    operation = go(at_work, "open", **WAIT).get_json()

    def pictures() -> list[Any]:
        links = at_work.get(f"/operations/{operation['id']}").get_json()["links"]
        return at_work.get(links["pictures"]).get_json()["items"] if "pictures" in links else []

    eventually(lambda: len(pictures()) == 2)
    assert at_work.get(f"/operations/{operation['id']}").get_json()["state"] == "succeeded"
