"""Users: over HTTP and on the command line."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from flask import Flask

from piapi.api.services import Services
from piapi.cli import main
from piapi.models import CONSOLE
from tests.conftest import Api, assert_problem, faults_of, wish_id
from tests.people import PASSWORD
from tests.service import BIN, environment
from tests.test_access import basic

ANNA = {"name": "anna", "password": PASSWORD, "role": "viewer"}


def test_a_user_is_made_seen_changed_and_removed(api: Api, nobody: Api) -> None:
    made = api.post("/users", json=ANNA)
    assert made.status_code == 201
    user = made.get_json()
    assert made.headers["Location"] == user["links"]["self"] == "/api/v1/users/anna"
    assert user["scopes"] == ["*:*:view"] and user["role"] == "viewer" and "password" not in user
    assert api.get("/users").get_json()["items"] == [user]
    assert api.get("/users/Anna").get_json() == user
    assert nobody.get("/cameras", headers=basic("anna", PASSWORD)).status_code == 200
    changed = api.patch("/users/anna", json={"scopes": ["camera:demo:view"]}).get_json()
    assert changed["scopes"] == ["camera:demo:view"] and changed["role"] is None
    assert_problem(nobody.get("/cameras/back", headers=basic("anna", PASSWORD)), 403, "forbidden")
    assert api.delete("/users/anna").status_code == 204
    assert_problem(nobody.get("/cameras", headers=basic("anna", PASSWORD)), 401, "unauthenticated")
    for method in ("GET", "PATCH", "DELETE"):
        assert_problem(api.open(method, "/users/anna"), 404, "not-found")


def test_a_new_password_counts_at_once_and_the_old_one_no_more(api: Api, nobody: Api) -> None:
    api.post("/users", json=ANNA)
    assert nobody.get("/cameras", headers=basic("anna", PASSWORD)).status_code == 200
    assert api.patch("/users/anna", json={"password": "another horse"}).status_code == 200
    assert_problem(nobody.get("/cameras", headers=basic("anna", PASSWORD)), 401, "unauthenticated")
    assert nobody.get("/cameras", headers=basic("anna", "another horse")).status_code == 200


def test_a_name_is_taken_however_it_is_cased(api: Api) -> None:
    assert api.post("/users", json=ANNA).status_code == 201
    assert_problem(api.post("/users", json=ANNA), 409, "conflict")
    assert_problem(api.post("/users", json={**ANNA, "name": "ANNA"}), 409, "conflict")
    assert len(api.get("/users").get_json()["items"]) == 1


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({}, {"/name", "/password", ""}),
        ({**ANNA, "name": "1"}, {"/name"}),
        ({**ANNA, "name": "anna\n"}, {"/name"}),
        ({**ANNA, "name": "token"}, {"/name"}),
        ({**ANNA, "name": 5}, {"/name"}),
        ({**ANNA, "password": "short"}, {"/password"}),
        ({**ANNA, "password": "x" * 129}, {"/password"}),
        ({**ANNA, "password": "with\x00nul byte"}, {"/password"}),
        ({**ANNA, "password": 12345678}, {"/password"}),
        ({**ANNA, "role": "king"}, {"/role"}),
        ({**ANNA, "scopes": ["*:*:*"]}, {""}),
        ({"name": "anna", "password": PASSWORD, "scopes": ["camera"]}, {"/scopes/0"}),
        ({**ANNA, "admin": True}, {"/admin"}),
    ],
    ids=wish_id,
)
def test_a_wrong_request_names_what_is_wrong_and_makes_nobody(
    api: Api, body: dict[str, object], where: set[str]
) -> None:
    response = api.post("/users", json=body)
    assert faults_of(assert_problem(response, 422, "invalid")) == where
    assert str(body.get("password", "no password")) not in response.get_data(as_text=True)
    assert api.get("/users").get_json()["items"] == []


@pytest.mark.parametrize(
    ("body", "where"),
    [({}, {""}), ({"role": "viewer", "scopes": ["*:*:*"]}, {""}), ({"name": "bert"}, {"/name"})],
    ids=wish_id,
)
def test_a_wrong_change_changes_nothing(api: Api, body: dict[str, object], where: set[str]) -> None:
    before = api.post("/users", json=ANNA).get_json()
    assert faults_of(assert_problem(api.patch("/users/anna", json=body), 422, "invalid")) == where
    assert api.get("/users/anna").get_json() == before


def test_only_an_admin_has_to_do_with_users(api: Api, client_with: Callable[..., Api], nobody: Api) -> None:
    api.post("/users", json=ANNA)
    operator = client_with(role="operator")
    for method, path in (("GET", "/users"), ("POST", "/users"), ("GET", "/users/anna"), ("GET", "/users/none")):
        assert "system:*:admin" in assert_problem(operator.open(method, path), 403, "forbidden")["detail"]
        assert_problem(nobody.open(method, path), 401, "unauthenticated")
    for method in ("PATCH", "DELETE"):
        assert_problem(operator.open(method, "/users/anna"), 403, "forbidden")
        assert_problem(nobody.open(method, "/users/anna"), 401, "unauthenticated")


def test_a_body_that_is_too_large_or_no_json_is_refused(api: Api) -> None:
    assert_problem(api.post("/users", data=b"{" * 70_000, content_type="application/json"), 413, "too-large")
    assert_problem(api.post("/users", data=b"{", content_type="text/plain"), 415, "unsupported-media-type")
    assert_problem(api.post("/users", data=b"{", content_type="application/json"), 400, "malformed-json")


def test_a_user_that_has_changed_since_is_not_overwritten(api: Api) -> None:
    tag = api.post("/users", json=ANNA).headers["ETag"]
    assert api.get("/users/anna", headers={"If-None-Match": tag}).status_code == 304
    assert api.patch("/users/anna", json={"role": "operator"}, headers={"If-Match": tag}).status_code == 200
    for method in ("PATCH", "DELETE"):
        response = api.open(method, "/users/anna", json={"role": "admin"}, headers={"If-Match": tag})
        assert_problem(response, 412, "precondition-failed")


def test_a_request_that_is_sent_again_makes_one_user(api: Api) -> None:
    first = api.post("/users", json=ANNA, headers={"Idempotency-Key": "k"})
    again = api.post("/users", json=ANNA, headers={"Idempotency-Key": "k"})
    assert again.status_code == 201 and again.headers["Idempotency-Replayed"] == "true"
    assert again.get_json() == first.get_json()


def test_the_list_pages_without_repeats(api: Api, services: Services) -> None:
    for number in range(3):
        services.users.create(f"user{number}", PASSWORD, role="viewer", by=CONSOLE)
    seen, path = [], "/users?limit=2"
    while path:
        page = api.get(path).get_json()
        seen += [item["name"] for item in page["items"]]
        path = page["links"].get("next")
    assert sorted(seen) == ["user0", "user1", "user2"]


def test_the_journal_tells_what_was_done_and_by_whom(api: Api, services: Services) -> None:
    api.post("/users", json=ANNA)
    api.patch("/users/anna", json={"password": "another horse", "role": "admin"})
    api.delete("/users/anna")
    told = [event for event in services.events.rows.after(0, 100) if event.type.startswith("user.")]
    assert [event.type for event in told] == ["user.created", "user.changed", "user.removed"]
    assert {(event.subject, event.actor) for event in told} == {("system:users", "token:test")}
    assert told[1].data == {"name": "anna", "changed": ["access", "password"]} and "horse" not in repr(told)


def test_the_last_admin_may_go_as_the_console_makes_another(api: Api, nobody: Api) -> None:
    api.post("/users", json={**ANNA, "role": "admin"})
    assert nobody.delete("/users/anna", headers=basic("anna", PASSWORD)).status_code == 204


def test_basic_is_no_way_in_for_pages_of_other_sites(api: Api, nobody: Api) -> None:
    api.post("/users", json={**ANNA, "role": "admin"})
    headers = {**basic("anna", PASSWORD), "Sec-Fetch-Site": "cross-site"}
    assert_problem(nobody.post("/cameras/demo/photos", headers=headers), 403, "forbidden")


@pytest.mark.parametrize("name", ["anna", "nobody", "anna ", "%", "ä", "x" * 1000, "anna\x00"])
def test_a_wrong_name_or_password_is_401_and_then_429_and_a_token_never(api: Api, nobody: Api, name: str) -> None:
    api.post("/users", json=ANNA)
    answers = [nobody.get("/cameras", headers=basic(name, "wrong")) for _ in range(7)]
    assert [answer.status_code for answer in answers] == [401] * 5 + [429] * 2
    assert_problem(answers[-1], 429, "too-many-requests")
    assert int(answers[-1].headers["Retry-After"]) >= 1
    for _ in range(10):
        assert_problem(nobody.get("/cameras", headers=basic("token", "wrong")), 401, "unauthenticated")
        assert_problem(nobody.get("/cameras", headers={"Authorization": "Bearer x"}), 401, "unauthenticated")
    assert api.get("/cameras").status_code == 200


# The command line -----------------------------------------------------------------------------------------------------


def piapi(data: Path, *arguments: str, input: str | None = None) -> Result:
    return CliRunner().invoke(main, arguments, input=input, env={"PIAPI_DATA": str(data), "PIAPI_CONFIG": None})


def test_users_on_the_command_line(tmp_path: Path) -> None:
    done = piapi(tmp_path, "users", "add", "anna", "--role", "admin", input=PASSWORD + "\n")
    assert done.exit_code == 0 and done.output == ""
    listed = piapi(tmp_path, "users", "list").stdout
    assert listed.startswith("anna  admin  ") and "scrypt" not in listed
    assert piapi(tmp_path, "users", "passwd", "anna", input="another horse\n").exit_code == 0
    assert piapi(tmp_path, "users", "remove", "anna").exit_code == 0
    assert piapi(tmp_path, "users", "list").stdout == ""


@pytest.mark.parametrize(
    ("arguments", "input", "said"),
    [
        (("add", "anna"), PASSWORD, "either --role or"),
        (("add", "anna", "--role", "admin", "--scope", "*:*:*"), PASSWORD, "either --role or"),
        (("add", "anna", "--scope", "camera"), PASSWORD, "<kind>:<name>:<verb>"),
        (("add", "anna", "--role", "admin"), "short\n", "8 to 128"),
        (("add", "anna", "--role", "admin"), "", "8 to 128"),
        (("add", "token", "--role", "admin"), PASSWORD, "another name"),
        (("add", "a/b", "--role", "admin"), PASSWORD, "letters"),
        (("passwd", "nobody"), PASSWORD, "no user"),
        (("remove", "nobody"), None, "no user"),
    ],
    ids=str,
)
def test_a_wrong_call_says_what_is_wrong(
    tmp_path: Path, arguments: tuple[str, ...], input: str | None, said: str
) -> None:
    done = piapi(tmp_path, "users", *arguments, input=input)
    assert done.exit_code != 0 and said in done.stderr and PASSWORD not in done.output
    assert piapi(tmp_path, "users", "list").stdout == ""


def test_on_a_terminal_the_password_is_asked_for_twice_and_not_shown(tmp_path: Path) -> None:
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        [sys.executable, BIN / "piapi", "users", "add", "anna", "--role", "viewer"],
        env=environment(tmp_path),
        cwd=tmp_path,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    shown = b""
    try:
        for asked in (b"Password: ", b"confirmation: "):
            while asked not in shown:
                shown += os.read(ours, 1000)
            os.write(ours, PASSWORD.encode() + b"\n")
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    assert PASSWORD.encode() not in shown
    listed = piapi(tmp_path / "data", "users", "list").stdout
    assert listed.startswith("anna  viewer")


def test_what_the_command_line_does_counts_in_the_service_at_once(app: Flask, nobody: Api, tmp_path: Path) -> None:
    data = tmp_path / "data"
    assert piapi(data, "users", "add", "anna", "--role", "viewer", input=PASSWORD).exit_code == 0
    assert nobody.get("/cameras", headers=basic("anna", PASSWORD)).status_code == 200
    assert piapi(data, "users", "passwd", "anna", input="another horse").exit_code == 0
    assert_problem(nobody.get("/cameras", headers=basic("anna", PASSWORD)), 401, "unauthenticated")
