"""Sessions of tokens: a page on a paired phone shows pictures and streams, which send a cookie and no token."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask

from piapi.api.services import Services
from piapi.errors import Invalid
from piapi.models import CONSOLE, Session, Token
from piapi.services.sessions import LONGEST_OF_TOKEN_S, LONGEST_S, MOST
from piapi.storage import schema
from piapi.storage.database import Database
from tests.conftest import Api, assert_problem, faults_of
from tests.people import PASSWORD, House
from tests.test_access import basic, bearer
from tests.test_events import LIVE
from tests.test_sessions import Browser

DAY_S = 86_400


def login(secret: str) -> dict[str, str]:
    return {"username": "token", "password": secret}


@pytest.fixture
def phone(services: Services) -> tuple[Token, str]:
    return services.access.create_token("phone", role="operator", expires_in_s=DAY_S)


@pytest.fixture
def browser(app: Flask, phone: tuple[Token, str]) -> Browser:
    return Browser(app.test_client(), login(phone[1]))


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path)
    yield house
    house.database.close()


def logged_in(house: House, secret: str) -> tuple[Session, str]:
    caller = house.access.authenticate(secret)
    assert caller is not None
    found = house.sessions.log_in_with_token(caller, "192.0.2.1")
    assert found is not None
    return found


# Logging in and out ---------------------------------------------------------------------------------------------------


def test_a_token_opens_a_session_that_may_what_it_may(browser: Browser, phone: tuple[Token, str]) -> None:
    token, secret = phone
    told = browser.answer.get_json()
    assert (told["user"], told["kind"], told["role"]) == ("phone", "token", "operator")
    assert told["scopes"] == list(token.scopes)
    assert told["links"] == {"self": "/api/v1/session", "token": f"/api/v1/tokens/{token.id}"}
    assert secret not in browser.answer.get_data(as_text=True) + str(browser.answer.headers)
    assert browser.get("/session").get_json() == told
    assert browser.get("/cameras/demo/snapshot").status_code == 200
    assert_problem(browser.get("/tokens"), 403, "forbidden")


def test_the_cookie_lives_as_long_as_the_token(browser: Browser) -> None:
    (age,) = (flag for flag in browser.answer.headers["Set-Cookie"].split("; ") if flag.startswith("Max-Age="))
    assert DAY_S - 60 < int(age.removeprefix("Max-Age=")) <= DAY_S


def test_a_session_says_whether_it_is_of_a_user(app: Flask, services: Services) -> None:
    services.users.create("anna", PASSWORD, role="viewer", by=CONSOLE)
    browser = Browser(app.test_client())
    assert browser.get("/session").get_json()["kind"] == "user"
    assert f"Max-Age={LONGEST_S}" in browser.answer.headers["Set-Cookie"]


def test_it_is_the_token_in_the_journal_and_for_its_keys(browser: Browser, api: Api, phone: tuple[Token, str]) -> None:
    key = {"Idempotency-Key": "one"}
    made = browser.post("/cameras/demo/photos", headers={**browser.csrf, **key})
    assert made.status_code == 201
    again = browser.client.post("/api/v1/cameras/demo/photos", headers={**bearer(phone[1]), **key})
    assert again.get_json() == made.get_json() and again.headers["Idempotency-Replayed"] == "true"
    entries = api.get("/events").get_json()["items"]
    actors = {entry["type"]: (entry["subject"], entry["actor"]) for entry in entries}
    assert actors["photo.captured"] == ("camera:demo", "token:phone")
    assert actors["session.created"] == ("system:tokens", "token:phone")


def test_it_shares_the_bounds_of_its_token(services: Services, browser: Browser, phone: tuple[Token, str]) -> None:
    cookie = browser.client.get_cookie("piapi_session")
    assert cookie is not None
    session, by_itself = services.sessions.find(cookie.value), services.access.authenticate(phone[1])
    assert session is not None and by_itself is not None
    assert session.caller.identity == by_itself.identity and session.caller.actor == by_itself.actor


@pytest.mark.parametrize("wrong", ["wrong", "piapi_" + "x" * 43, "x" * 200])
def test_a_wrong_token_is_always_401_and_in_the_journal(api: Api, nobody: Api, services: Services, wrong: str) -> None:
    answers = [nobody.post("/session", json=login(wrong)) for _ in range(12)]
    for answer in answers:
        assert_problem(answer, 401, "unauthenticated")
        assert "Set-Cookie" not in answer.headers
    services.events.write_counts()
    (entry,) = api.get("/events?type=auth.failed").get_json()["items"]
    assert (entry["subject"], entry["data"]["count"]) == ("system:tokens", 12)


def test_a_token_that_is_no_text_is_refused(nobody: Api) -> None:
    document = assert_problem(nobody.post("/session", json={"username": "token", "password": 1}), 422, "invalid")
    assert faults_of(document) == {"/password"}


def test_without_the_session_there_is_none(nobody: Api, phone: tuple[Token, str]) -> None:
    assert_problem(nobody.get("/session"), 401, "unauthenticated")
    assert_problem(nobody.get("/session", headers=basic("token", phone[1])), 404, "not-found")


def test_no_user_can_have_the_name(services: Services) -> None:
    for name in ("token", "Token", "TOKEN"):
        with pytest.raises(Invalid, match="name"):
            services.users.create(name, PASSWORD, role="viewer", by=CONSOLE)


def test_logging_out_ends_this_session_and_not_the_token(
    browser: Browser, app: Flask, phone: tuple[Token, str]
) -> None:
    other = Browser(app.test_client(), login(phone[1]))
    assert browser.delete("/session", headers=browser.csrf).status_code == 204
    assert_problem(browser.get("/cameras"), 401, "unauthenticated")
    assert other.get("/cameras").status_code == 200
    assert Api(app.test_client(), phone[1]).get("/cameras").status_code == 200


def test_logging_out_everywhere_ends_the_sessions_of_this_token_alone(
    browser: Browser, app: Flask, services: Services, phone: tuple[Token, str]
) -> None:
    other = Browser(app.test_client(), login(phone[1]))
    namesake = Browser(app.test_client(), login(services.access.create_token("phone", role="viewer")[1]))
    assert browser.delete("/session?everywhere=true", headers=browser.csrf).status_code == 204
    assert_problem(other.get("/cameras"), 401, "unauthenticated")
    assert namesake.get("/cameras").status_code == 200


# Other sites ----------------------------------------------------------------------------------------------------------


def test_a_change_needs_the_csrf_token(browser: Browser) -> None:
    assert_problem(browser.post("/cameras/demo/photos"), 403, "forbidden")
    assert browser.post("/cameras/demo/photos", headers=browser.csrf).status_code == 201


@pytest.mark.parametrize("elsewhere", [{"Sec-Fetch-Site": "cross-site"}, {"Origin": "http://evil.example"}], ids=str)
def test_another_site_can_neither_act_nor_log_anybody_in(
    browser: Browser, nobody: Api, phone: tuple[Token, str], elsewhere: dict[str, str]
) -> None:
    response = browser.post("/cameras/demo/photos", headers={**browser.csrf, **elsewhere})
    assert_problem(response, 403, "forbidden")
    response = nobody.post("/session", json=login(phone[1]), headers=elsewhere)
    assert_problem(response, 403, "forbidden")
    assert "Set-Cookie" not in response.headers


# Its end --------------------------------------------------------------------------------------------------------------


def test_a_revoked_token_ends_its_session_at_once(
    browser: Browser, api: Api, nobody: Api, services: Services, phone: tuple[Token, str]
) -> None:
    assert api.delete(f"/tokens/{phone[0].id}").status_code == 204
    assert_problem(browser.get("/cameras"), 401, "unauthenticated")
    assert_problem(nobody.post("/session", json=login(phone[1])), 401, "unauthenticated")


@pytest.mark.parametrize("ending", ["revoke", "log out"])
def test_open_streams_end_with_it(browser: Browser, services: Services, phone: tuple[Token, str], ending: str) -> None:
    response = browser.get("/events?subject=camera:none", headers=LIVE, buffered=False)
    parts = response.iter_encoded()
    assert next(parts) == b"retry: 3000\n\n"
    if ending == "revoke":
        services.access.revoke(phone[0].id)
    else:
        browser.delete("/session", headers=browser.csrf)
    assert list(parts) == []
    response.close()


def test_it_ends_with_its_token_to_the_second(house: House) -> None:
    _, secret = house.access.create_token("phone", role="viewer", expires_in_s=DAY_S)
    house.clock.advance(100)
    session, cookie = logged_in(house, secret)
    house.clock.advance(DAY_S - 101)
    assert house.sessions.find(cookie) == session
    assert house.access.still_allowed(session.caller, "camera:demo:view")
    house.clock.advance(1)
    assert house.sessions.find(cookie) is None
    assert not house.access.still_allowed(session.caller, "camera:demo:view")
    house.sessions.forget_old()
    assert house.database.read("SELECT * FROM sessions") == []


@pytest.mark.parametrize("expires_in_s", [None, 2 * LONGEST_OF_TOKEN_S])
def test_it_ends_after_400_days_where_the_token_goes_on(house: House, expires_in_s: float | None) -> None:
    _, secret = house.access.create_token("wall", role="viewer", expires_in_s=expires_in_s)
    session, cookie = logged_in(house, secret)
    house.clock.advance(LONGEST_OF_TOKEN_S - 1)
    assert house.sessions.find(cookie) == session
    house.clock.advance(1)
    assert house.sessions.find(cookie) is None
    assert house.access.authenticate(secret) is not None


def test_a_token_revoked_during_a_login_opens_nothing(house: House) -> None:
    token, secret = house.access.create_token("phone", role="viewer")
    caller = house.access.authenticate(secret)
    assert caller is not None
    house.access.revoke(token.id)
    assert house.sessions.log_in_with_token(caller, "192.0.2.1") is None
    assert house.database.read("SELECT * FROM sessions") == []


def test_the_rows_go_with_the_token(house: House) -> None:
    token, secret = house.access.create_token("phone", role="viewer")
    logged_in(house, secret)
    house.access.revoke(token.id)
    assert house.database.read("SELECT * FROM sessions") == []


def test_the_oldest_session_gives_way_and_those_of_others_do_not(house: House) -> None:
    _, other = house.access.create_token("other", role="viewer")
    _, kept = logged_in(house, other)
    _, secret = house.access.create_token("phone", role="viewer")
    cookies = []
    for _ in range(MOST + 1):
        cookies.append(logged_in(house, secret)[1])
        house.clock.advance(1)
    assert house.sessions.find(cookies[0]) is None
    assert all(house.sessions.find(cookie) for cookie in (kept, *cookies[1:]))


def test_a_use_of_the_session_is_one_of_the_token(
    browser: Browser, services: Services, phone: tuple[Token, str]
) -> None:
    services.access.note_use()
    at_login = services.access.token(phone[0].id).last_used_at
    assert at_login is not None
    browser.get("/cameras")
    used = services.access.token(phone[0].id).last_used_at
    assert used is not None and used > at_login


# The schema -----------------------------------------------------------------------------------------------------------


def test_sessions_of_users_survive_the_migration_and_a_copy_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "piapi.db"
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript("".join(schema.STEPS[:4]) + "PRAGMA user_version = 4;")
        connection.execute("INSERT INTO users VALUES ('anna', 'hash', '*:*:view', 'viewer', 1, 1)")
        connection.execute("INSERT INTO sessions VALUES (x'ab', 'anna', 1, 2)")
    database = Database(path)
    database.open()
    with contextlib.closing(database):
        rows = [tuple(row) for row in database.read("SELECT hash, user, token, created_at, expires_at FROM sessions")]
    assert rows == [(b"\xab", "anna", None, 1, 2)]
    assert (tmp_path / "piapi.db.v4").exists()


@pytest.mark.parametrize(("user", "token"), [(None, None), ("anna", "ab")])
def test_a_session_is_of_one_of_the_two(house: House, user: str | None, token: str | None) -> None:
    with pytest.raises(sqlite3.IntegrityError), house.database.write() as connection:
        connection.execute("INSERT INTO sessions VALUES (x'ab', ?, ?, 1, 2)", (user, token))
