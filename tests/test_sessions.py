"""Sessions of browsers: the cookie, what keeps other sites out, and logging out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from piapi.api.services import Services
from piapi.models import CONSOLE
from piapi.services.sessions import LONGEST_S, MOST
from tests.conftest import Api, assert_problem, faults_of, wish_id
from tests.people import PASSWORD, House
from tests.test_access import basic, bearer

LOGIN = {"username": "anna", "password": PASSWORD}


class Browser(Api):
    """A browser in which somebody has logged in."""

    def __init__(self, client: FlaskClient, login: dict[str, str] = LOGIN, **kwargs: object) -> None:
        super().__init__(client, None)
        self.answer = self.post("/session", json=login, **kwargs)
        assert self.answer.status_code == 201, self.answer.get_data(as_text=True)
        self.csrf = {"X-CSRF-Token": self.answer.get_json()["csrf_token"]}


@pytest.fixture
def anna(services: Services) -> None:
    services.users.create("anna", PASSWORD, role="operator", by=CONSOLE)


@pytest.fixture
def browser(app: Flask, anna: None) -> Browser:
    return Browser(app.test_client())


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path)
    house.users.create("anna", PASSWORD, role="viewer", by=CONSOLE)
    yield house
    house.database.close()


# Logging in and out ---------------------------------------------------------------------------------------------------


def test_who_logs_in_gets_a_cookie_that_no_script_and_no_other_site_has(browser: Browser) -> None:
    assert browser.answer.headers["Location"] == "/api/v1/session"
    assert browser.answer.headers["Cache-Control"] == "no-store"
    cookie, *flags = browser.answer.headers["Set-Cookie"].split("; ")
    assert set(flags) >= {"HttpOnly", "SameSite=Strict", "Path=/"} and "Secure" not in flags
    assert not any(flag.startswith("Domain") for flag in flags)
    name, _, value = cookie.partition("=")
    assert name == "piapi_session" and len(value) == 43
    told = browser.answer.get_json()
    assert (told["user"], told["role"]) == ("anna", "operator") and told["csrf_token"] not in cookie
    assert browser.get("/cameras").status_code == 200
    assert browser.get("/session").get_json() == told


def test_over_https_the_cookie_stays_there(app: Flask, anna: None) -> None:
    browser = Browser(app.test_client(), base_url="https://localhost")
    assert "Secure" in browser.answer.headers["Set-Cookie"].split("; ")


def test_who_logs_out_is_out(browser: Browser) -> None:
    cookie = browser.client.get_cookie("piapi_session")
    assert cookie is not None
    out = browser.delete("/session", headers=browser.csrf)
    assert out.status_code == 204 and "Max-Age=0" in out.headers["Set-Cookie"]
    browser.client.set_cookie("piapi_session", cookie.value)
    assert_problem(browser.get("/cameras"), 401, "unauthenticated")
    assert_problem(browser.delete("/session", headers=browser.csrf), 401, "unauthenticated")


def test_one_can_log_out_everywhere(app: Flask, browser: Browser) -> None:
    other = Browser(app.test_client())
    assert browser.delete("/session?everywhere=true", headers=browser.csrf).status_code == 204
    assert_problem(other.get("/cameras"), 401, "unauthenticated")


def test_logging_out_here_leaves_the_others(app: Flask, browser: Browser) -> None:
    other = Browser(app.test_client())
    assert browser.delete("/session?everywhere=false", headers=browser.csrf).status_code == 204
    assert other.get("/cameras").status_code == 200


def test_a_new_password_or_a_removal_ends_the_sessions(app: Flask, api: Api, browser: Browser) -> None:
    api.patch("/users/anna", json={"role": "viewer"})
    assert browser.get("/session").get_json()["role"] == "viewer"
    api.patch("/users/anna", json={"password": "another horse"})
    assert_problem(browser.get("/cameras"), 401, "unauthenticated")
    other = Browser(app.test_client(), {**LOGIN, "password": "another horse"})
    api.delete("/users/anna")
    assert_problem(other.get("/cameras"), 401, "unauthenticated")


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({}, {"/username", "/password"}),
        ({**LOGIN, "username": 1}, {"/username"}),
        ({**LOGIN, "password": None}, {"/password"}),
        ({**LOGIN, "password": "x" * 201}, {"/password"}),
        ({**LOGIN, "otp": "1"}, {"/otp"}),
    ],
    ids=wish_id,
)
def test_a_wrong_login_request_names_what_is_wrong(nobody: Api, body: dict[str, object], where: set[str]) -> None:
    assert faults_of(assert_problem(nobody.post("/session", json=body), 422, "invalid")) == where


def test_a_login_that_is_no_json_or_too_large_is_refused(nobody: Api) -> None:
    assert_problem(nobody.post("/session", data=LOGIN), 415, "unsupported-media-type")
    assert_problem(nobody.post("/session", data=b"{" * 70_000, content_type="application/json"), 413, "too-large")
    assert_problem(nobody.post("/session?x=1", json=LOGIN), 422, "invalid")
    assert_problem(nobody.post("/session", json=LOGIN, headers={"Accept": "image/png"}), 406, "not-acceptable")


@pytest.mark.parametrize("name", ["anna", "nobody", "Token"])
def test_a_wrong_login_is_401_without_a_cookie_and_then_429(nobody: Api, anna: None, name: str) -> None:
    answers = [nobody.post("/session", json={"username": name, "password": "wrong horse"}) for _ in range(7)]
    assert [answer.status_code for answer in answers] == [401] * 5 + [429] * 2
    assert not any("Set-Cookie" in answer.headers for answer in answers)
    assert answers[0].headers.getlist("WWW-Authenticate") == ['Bearer realm="piapi"']  # no dialog of the browser


def test_there_is_no_session_of_a_token_or_of_nobody(api: Api, nobody: Api) -> None:
    for method in ("GET", "DELETE"):
        assert_problem(api.open(method, "/session"), 404, "not-found")
        assert_problem(nobody.open(method, "/session"), 401, "unauthenticated")
    assert_problem(api.delete("/session?everywhere=yes"), 422, "invalid")


# Other sites ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("headers", [{}, {"X-CSRF-Token": ""}, {"X-CSRF-Token": "wrong"}, {"X-CSRF-Token": "\xe4"}])
def test_a_change_needs_the_csrf_token(browser: Browser, headers: dict[str, str]) -> None:
    document = assert_problem(browser.post("/cameras/demo/photos", headers=headers), 403, "forbidden")
    assert "X-CSRF-Token" in document["detail"]
    assert_problem(browser.delete("/session", headers=headers), 403, "forbidden")
    assert browser.get("/photos").get_json()["items"] == []


def test_with_the_csrf_token_a_change_is_made(browser: Browser) -> None:
    assert browser.post("/cameras/demo/photos", headers=browser.csrf).status_code == 201


def test_the_csrf_token_of_another_session_is_none(app: Flask, browser: Browser) -> None:
    other = Browser(app.test_client())
    assert_problem(browser.post("/cameras/demo/photos", headers=other.csrf), 403, "forbidden")


@pytest.mark.parametrize(
    "elsewhere",
    [{"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Origin": "http://evil.example"}],
    ids=str,
)
def test_another_site_can_neither_act_nor_log_anybody_in(
    browser: Browser, nobody: Api, elsewhere: dict[str, str]
) -> None:
    response = browser.post("/cameras/demo/photos", headers={**browser.csrf, **elsewhere})
    assert_problem(response, 403, "forbidden")
    response = nobody.post("/session", json=LOGIN, headers=elsewhere)
    assert_problem(response, 403, "forbidden")
    assert "Set-Cookie" not in response.headers


def test_a_change_still_needs_the_scope(browser: Browser) -> None:
    assert "system:*:admin" in assert_problem(browser.get("/users"), 403, "forbidden")["detail"]
    assert_problem(browser.post("/users", headers=browser.csrf), 403, "forbidden")


# Which credentials count ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cookie", ["", "x", "x" * 4000, "\xff", "'; --"])
def test_a_wrong_cookie_is_as_none(nobody: Api, cookie: str) -> None:
    nobody.client.set_cookie("piapi_session", cookie)
    assert_problem(nobody.get("/cameras"), 401, "unauthenticated")
    assert_problem(nobody.post("/cameras/demo/photos"), 401, "unauthenticated")


def test_an_authorization_counts_before_a_cookie(browser: Browser, client_with: Callable[..., Api]) -> None:
    for wrong in (bearer("wrong"), basic("token", "wrong"), {"Authorization": ""}, {"Authorization": "Bearer"}):
        assert_problem(browser.get("/cameras", headers=wrong), 401, "unauthenticated")
    guest = client_with("camera:back:view").token
    assert guest
    seen = browser.get("/cameras", headers=bearer(guest)).get_json()["items"]
    assert [item["id"] for item in seen] == ["back"]
    assert_problem(browser.get("/session", headers=bearer(guest)), 404, "not-found")


@pytest.mark.parametrize(
    ("headers", "cookie", "asks"),
    [
        ({}, False, True),
        ({}, True, False),
        ({"Accept": "text/html,*/*"}, True, True),
        ({"Sec-Fetch-Mode": "navigate"}, True, True),
        ({"Sec-Fetch-Mode": "cors"}, False, False),
        ({"Sec-Fetch-Mode": "no-cors"}, False, False),
        ({"X-Requested-With": "XMLHttpRequest"}, False, False),
    ],
    ids=str,
)
def test_a_browser_asks_for_a_password_for_pages_alone(
    nobody: Api, headers: dict[str, str], cookie: bool, asks: bool
) -> None:
    if cookie:
        nobody.client.set_cookie("piapi_session", "over")
    response = nobody.get("/cameras", headers=headers)
    kinds = [value.split()[0] for value in response.headers.getlist("WWW-Authenticate")]
    assert kinds == (["Bearer", "Basic"] if asks else ["Bearer"])


def test_a_session_is_asked_again_while_a_stream_is_open(app: Flask, services: Services, browser: Browser) -> None:
    other = Browser(app.test_client())
    for ended, still in ((browser, True), (other, False)):
        cookie = ended.client.get_cookie("piapi_session")
        assert cookie is not None
        session = services.sessions.find(cookie.value)
        assert session is not None
        who = session.caller
        assert services.access.still_allowed(who, "camera:demo:view")
        assert not services.access.still_allowed(who, "system:*:admin")
        if still:
            ended.delete("/session", headers=ended.csrf)
        else:
            services.users.change("anna", password="another horse", by=CONSOLE)
        assert not services.access.still_allowed(who, "camera:demo:view")


def test_a_password_is_asked_again_while_a_stream_is_open(services: Services, anna: None) -> None:
    who = services.users.authenticate("anna", PASSWORD, "192.0.2.1")
    assert who is not None and services.access.still_allowed(who, "camera:demo:view")
    services.users.change("anna", scopes=["camera:back:view"], by=CONSOLE)
    assert not services.access.still_allowed(who, "camera:demo:view")
    assert services.access.still_allowed(who, "camera:back:view")
    services.users.remove("anna", by=CONSOLE)
    assert not services.access.still_allowed(who, "camera:back:view")


# Rows -----------------------------------------------------------------------------------------------------------------


def test_a_session_ends_after_thirty_days_and_its_row_goes(house: House) -> None:
    found = house.sessions.log_in("anna", PASSWORD, "192.0.2.1")
    assert found is not None
    session, cookie = found
    house.clock.advance(LONGEST_S - 1)
    assert house.sessions.find(cookie) == session
    house.clock.advance(1)
    assert house.sessions.find(cookie) is None
    assert house.sessions.access_of(session.caller) is None
    house.sessions.forget_old()
    assert house.database.read("SELECT * FROM sessions") == []


def test_the_oldest_session_gives_way_to_the_one_too_many(house: House) -> None:
    cookies = []
    for _ in range(MOST + 1):
        found = house.sessions.log_in("anna", PASSWORD, "192.0.2.1")
        assert found is not None
        cookies.append(found[1])
        house.clock.advance(1)
    assert house.sessions.find(cookies[0]) is None
    assert all(house.sessions.find(cookie) for cookie in cookies[1:])


def test_a_password_that_changes_during_a_login_opens_nothing(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    found = house.users.verify("anna", PASSWORD, "192.0.2.1")
    house.users.change("anna", password="another horse", by=CONSOLE)
    monkeypatch.setattr(house.users, "verify", lambda *_: found)
    assert house.sessions.log_in("anna", PASSWORD, "192.0.2.1") is None
    assert house.database.read("SELECT * FROM sessions") == []


def test_neither_cookie_nor_csrf_token_is_in_the_database(house: House, tmp_path: Path) -> None:
    found = house.sessions.log_in("anna", PASSWORD, "192.0.2.1")
    assert found is not None
    session, cookie = found
    for path in tmp_path.iterdir():
        data = path.read_bytes()
        assert cookie.encode() not in data and session.csrf_token.encode() not in data, path
    assert "session.created" in house.journal()
    assert session.csrf_token not in repr(session)
