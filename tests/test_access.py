"""Who may do what: tokens, scopes, Basic and Bearer, Host, and pages of other sites."""

from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import timedelta

import pytest
from flask import Flask

from piapi.api.hosts import own_names
from piapi.api.services import Services
from piapi.models import Caller
from piapi.services.access import Access
from piapi.services.events import Events
from piapi.storage.database import Database
from piapi.storage.tokens import TokenRows
from tests.conftest import Api, assert_problem, faults_of, wish_id
from tests.fakes import FakeClock

OPEN = {
    "/api/v1/health/live",
    "/api/v1/health/ready",
    "/problems/<slug>",
    "/static/<path:name>",
    "/static/swagger-ui/<path:name>",
    "/login",
    "/pair",
    "/offline",
    "/manifest.webmanifest",
    "/service-worker.js",
}

OPEN_TO_POST = {"POST /api/v1/session", "POST /api/v1/pair"}
"""To log in, and to redeem a code."""


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


# Every route denies unless it says otherwise --------------------------------------------------------------------------


def test_every_route_denies_but_for_those_that_the_contract_opens(app: Flask, nobody: Api) -> None:
    for rule in app.url_map.iter_rules():
        path = (
            rule.rule.replace("<id>", "x")
            .replace("<name>", "x")
            .replace("<slug>", "invalid")
            .replace("<path:name>", "piapi.css")
        )
        for method in (rule.methods or set()) - {"HEAD"}:
            response = nobody.open(method, path, outside=True)
            if f"{method} {rule.rule}" in OPEN_TO_POST:
                assert_problem(response, 422, "invalid")
            elif rule.rule in OPEN:
                assert response.status_code in (200, 404), path
            else:
                assert_problem(response, 401, "unauthenticated")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer piapi_wrong"},
        {"Authorization": "Bearer \udce4"},
        {"Authorization": "Digest x"},
        {"Authorization": "Basic"},
        {"Authorization": "Basic !!!"},
        basic("token", ""),
        basic("token", "wrong"),
        basic("", ""),
        basic("admin", "admin"),
    ],
    ids=str,
)
def test_what_is_no_token_is_refused_without_a_word_on_why(nobody: Api, headers: dict[str, str]) -> None:
    response = nobody.get("/cameras", headers=headers)
    document = assert_problem(response, 401, "unauthenticated")
    assert document["detail"].startswith("A token is needed")
    assert [value.split()[0] for value in response.headers.getlist("WWW-Authenticate")] == ["Bearer", "Basic"]


def test_a_token_works_as_bearer_and_as_password_of_the_user_token(api: Api) -> None:
    assert api.token
    assert api.get("/cameras", headers=bearer(api.token)).status_code == 200
    assert api.get("/cameras", headers=basic("token", api.token)).status_code == 200
    assert_problem(api.get("/cameras", headers=basic("me", api.token)), 401, "unauthenticated")


def test_a_token_cut_short_is_no_token(api: Api) -> None:
    assert api.token
    for wrong in (api.token[:-1], api.token + "x", api.token.upper(), api.token.removeprefix("piapi_")):
        assert_problem(api.get("/cameras", headers=bearer(wrong)), 401, "unauthenticated")


def test_a_revoked_token_opens_nothing(api: Api, client_with: Callable[..., Api]) -> None:
    guest = client_with("camera:demo:view")
    assert guest.get("/cameras/demo").status_code == 200
    listed = api.get("/tokens").get_json()["items"]
    revoked = next(item for item in listed if item["scopes"] == ["camera:demo:view"])
    assert api.delete(revoked["links"]["self"]).status_code == 204
    assert_problem(guest.get("/cameras/demo"), 401, "unauthenticated")
    assert_problem(api.delete(revoked["links"]["self"]), 404, "not-found")


# Scopes ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scopes", "wanted", "may"),
    [
        (("*:*:*",), "door:garage:open", True),
        (("*:*:view",), "camera:front:view", True),
        (("*:*:view",), "camera:front:capture", False),
        (("door:garage:close",), "door:garage:close", True),
        (("door:garage:close",), "door:garage:open", False),
        (("door:garage:close",), "door:shed:close", False),
        (("door:*:close",), "door:shed:close", True),
        (("camera:*:*", "pin:lamp:write"), "pin:lamp:write", True),
        ((), "camera:front:view", False),
    ],
)
def test_a_scope_covers_what_its_parts_say(scopes: tuple[str, ...], wanted: str, may: bool) -> None:
    assert Caller("id", "name", scopes).may(wanted) is may


def test_a_missing_scope_is_named(client_with: Callable[..., Api]) -> None:
    guest = client_with("camera:demo:view")
    for response, scope in (
        (guest.post("/cameras/demo/photos"), "camera:demo:capture"),
        (guest.patch("/cameras/demo", json={"rotation": 90}), "camera:demo:configure"),
        (guest.get("/cameras/back"), "camera:back:view"),
        (guest.get("/cameras/none"), "camera:none:view"),
        (guest.get("/tokens"), "system:*:admin"),
    ):
        assert scope in assert_problem(response, 403, "forbidden")["detail"]


def test_the_scope_is_asked_before_the_body_is_read(client_with: Callable[..., Api], nobody: Api) -> None:
    guest = client_with("camera:demo:view")
    assert_problem(guest.post("/cameras/demo/photos", data=b"{", content_type="text/plain"), 403, "forbidden")
    assert_problem(nobody.post("/cameras/demo/photos", data=b"{" * 100_000), 401, "unauthenticated")


def test_lists_hold_only_what_the_caller_may_view(api: Api, client_with: Callable[..., Api]) -> None:
    for camera in ("demo", "back"):
        assert api.post(f"/cameras/{camera}/photos").status_code == 201
    guest = client_with("camera:demo:view")
    assert [item["id"] for item in guest.get("/cameras").get_json()["items"]] == ["demo"]
    assert [item["camera"] for item in guest.get("/photos").get_json()["items"]] == ["demo"]
    assert guest.get("/photos?camera=back").get_json()["items"] == []
    stranger = client_with("door:garage:close")
    assert stranger.get("/photos").get_json()["items"] == []
    assert stranger.get("/cameras").get_json()["items"] == []


def test_a_photo_of_another_camera_is_forbidden(api: Api, client_with: Callable[..., Api]) -> None:
    theirs = api.post("/cameras/back/photos").get_json()["links"]
    guest = client_with("camera:demo:*")
    for method, path in (
        ("GET", theirs["self"]),
        ("GET", theirs["file"]),
        ("GET", theirs["thumbnail"]),
        ("PATCH", theirs["self"]),
        ("DELETE", theirs["self"]),
    ):
        assert "camera:back:" in assert_problem(guest.open(method, path), 403, "forbidden")["detail"]
    assert_problem(guest.get("/photos/0000"), 404, "not-found")
    assert_problem(client_with("system:*:view").get("/photos/0000"), 403, "forbidden")


# Tokens ---------------------------------------------------------------------------------------------------------------


def test_a_token_is_made_shown_once_listed_and_revoked(api: Api) -> None:
    made = api.post("/tokens", json={"name": "tablet", "scopes": ["camera:demo:view"], "expires_in_s": 3600})
    assert made.status_code == 201
    token = made.get_json()
    assert made.headers["Location"] == token["links"]["self"]
    assert token["token"].startswith("piapi_") and token["expires_at"] > token["created_at"]
    seen = api.get(token["links"]["self"])
    assert "token" not in seen.get_json() and seen.get_json()["name"] == "tablet"
    assert token["token"] not in api.get("/tokens").get_data(as_text=True)
    assert api.get("/cameras/demo", headers=bearer(token["token"])).status_code == 200
    assert api.delete(token["links"]["self"]).status_code == 204
    assert_problem(api.get(token["links"]["self"]), 404, "not-found")


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({}, {"/name", ""}),
        ({"name": "x"}, {""}),
        ({"name": "x", "role": "viewer", "scopes": ["*:*:*"]}, {""}),
        ({"name": "", "role": "viewer"}, {"/name"}),
        ({"name": "x" * 101, "role": "viewer"}, {"/name"}),
        ({"name": "x\n", "role": "viewer"}, {"/name"}),
        ({"name": "x", "role": "king"}, {"/role"}),
        ({"name": "x", "scopes": []}, {"/scopes"}),
        ({"name": "x", "scopes": ["camera:front"]}, {"/scopes/0"}),
        ({"name": "x", "scopes": ["*:*:view", "camera:front:open"]}, {"/scopes/1"}),
        ({"name": "x", "scopes": ["oven:front:open"]}, {"/scopes/0"}),
        ({"name": "x", "role": "viewer", "expires_in_s": 0}, {"/expires_in_s"}),
        ({"name": "x", "role": "viewer", "expires_in_s": "5"}, {"/expires_in_s"}),
        ({"name": "x", "role": "viewer", "expires_in_s": True}, {"/expires_in_s"}),
    ],
    ids=wish_id,
)
def test_a_wrong_token_request_names_what_is_wrong(api: Api, body: dict[str, object], where: set[str]) -> None:
    assert faults_of(assert_problem(api.post("/tokens", json=body), 422, "invalid")) == where


def test_the_list_of_tokens_pages_without_repeats(api: Api) -> None:
    made = {api.post("/tokens", json={"name": f"t{n}", "role": "viewer"}).get_json()["id"] for n in range(5)}
    seen: list[str] = []
    path: str | None = "/tokens?limit=2"
    while path:
        page = api.get(path).get_json()
        seen += [item["id"] for item in page["items"]]
        path = page["links"].get("next")
    assert len(seen) == len(set(seen)) == 6 and made <= set(seen)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def access(tmp_path, clock: FakeClock):  # type: ignore[no-untyped-def]
    database = Database(tmp_path / "piapi.db")
    database.open()
    yield Access(TokenRows(database), Events(database, clock), clock)
    database.close()


def test_a_token_expires_by_the_clock(access: Access, clock: FakeClock) -> None:
    token, secret = access.create_token("short", role="viewer", expires_in_s=60)
    caller = access.authenticate(secret)
    assert caller is not None and access.still_allowed(caller, "camera:front:view")
    clock.advance(61)
    assert access.authenticate(secret) is None
    assert not access.still_allowed(caller, "camera:front:view")
    assert token.expires_at == token.created_at + timedelta(seconds=60)


def test_the_secret_is_nowhere_in_the_database(access: Access, tmp_path) -> None:  # type: ignore[no-untyped-def]
    _, secret = access.create_token("x", role="admin")
    files = [path.read_bytes() for path in tmp_path.iterdir()]
    assert files and all(secret.encode() not in data and secret[6:].encode() not in data for data in files)


def test_the_last_use_is_written_down_later(access: Access, clock: FakeClock) -> None:
    token, secret = access.create_token("x", role="admin")
    access.authenticate(secret)
    row = access._rows.get(token.id)
    assert row is not None and row.last_used_at is None
    assert access.token(token.id).last_used_at == clock.now()
    access.note_use()
    row = access._rows.get(token.id)
    assert row is not None and row.last_used_at == clock.now()


# Hosts and other sites ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:8000", "127.0.0.1:8000", "[::1]:8000", "pi.example", "PI.example."]
)
def test_our_own_names_are_answered(nobody: Api, host: str) -> None:
    assert nobody.get("/health/live", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", sorted(own_names()))
def test_the_machines_own_names_are_answered(nobody: Api, host: str) -> None:
    assert nobody.get("/health/live", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "pi.example.evil.example", "203.0.113.7", "", "localhost:x", "a b", "[::ffff]", "localhost/"],
)
@pytest.mark.parametrize("path", ["/health/live", "/cameras", "/nowhere"])
def test_a_foreign_host_is_refused_before_anything_else(nobody: Api, host: str, path: str) -> None:
    assert_problem(nobody.get(path, headers={"Host": host}), 400, "bad-request")


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
    ],
    ids=str,
)
def test_another_site_cannot_act_with_the_password_that_a_browser_remembers(api: Api, headers: dict[str, str]) -> None:
    assert api.token
    password = basic("token", api.token)
    assert_problem(api.post("/cameras/demo/photos", headers={**password, **headers}), 403, "forbidden")
    assert api.get("/photos").get_json()["items"] == []


@pytest.mark.parametrize("headers", [{}, {"Sec-Fetch-Site": "same-origin"}, {"Origin": "http://localhost"}], ids=str)
def test_our_own_pages_and_programs_can(api: Api, headers: dict[str, str]) -> None:
    assert api.token
    password = basic("token", api.token)
    assert api.post("/cameras/demo/photos", headers={**password, **headers}).status_code == 201


def test_every_answer_has_the_security_headers(api: Api, nobody: Api) -> None:
    for response in (
        api.get("/"),
        nobody.get("/"),
        nobody.get("/nowhere"),
        nobody.get("/problems/invalid", outside=True),
    ):
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert "frame-ancestors 'none'" in response.headers["Content-Security-Policy"]
        assert response.headers["Referrer-Policy"] == "no-referrer"
        assert "Access-Control-Allow-Origin" not in response.headers
        assert "Set-Cookie" not in response.headers


def test_the_root_links_lead_somewhere(api: Api, services: Services) -> None:
    root = api.get("/").get_json()
    assert root["name"] == "piapi" and root["emulated"] is services.emulated is True
    for path in root["links"].values():
        assert api.get(path).status_code == 200
