"""Proxies: what those that are configured say of a client is believed, and what anybody else says is not."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask

import config
from piapi.api.proxies import behind
from piapi.app import create_app
from piapi.clock import SystemClock
from piapi.errors import ConfigurationError
from tests.conftest import Api, assert_problem

TRUSTED = ("192.0.2.1", "10.0.0.0/8", "2001:db8::/32")


def seen(peer: str, trusted: tuple[str, ...] = TRUSTED, **headers: str) -> dict[str, Any]:
    """The environment that the application gets."""
    found: dict[str, Any] = {}

    def application(environ: Any, start_response: Any) -> list[bytes]:
        found.update(environ)
        return []

    environ = {"REMOTE_ADDR": peer, "wsgi.url_scheme": "http", "HTTP_HOST": "upstream", **headers}
    behind(application, trusted)(environ, lambda *_: lambda data: None)
    return found


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "client"),
    [
        ("192.0.2.1", "203.0.113.5", "203.0.113.5"),
        ("192.0.2.1", "1.1.1.1, 203.0.113.5", "203.0.113.5"),  # the left one anybody can have written
        ("192.0.2.1", "1.1.1.1, 203.0.113.5, 10.1.2.3", "203.0.113.5"),  # through two of ours
        ("192.0.2.1", "10.9.9.9, 10.1.2.3", "10.9.9.9"),
        ("::ffff:192.0.2.1", "203.0.113.5", "203.0.113.5"),
        ("2001:db8::7", "2001:db9::1", "2001:db9::1"),
        ("192.0.2.1", "203.0.113.5:4711", "203.0.113.5"),
        ("192.0.2.1", "[2001:db9::1]:4711", "2001:db9::1"),
        ("192.0.2.1", "unknown", "192.0.2.1"),
        ("192.0.2.1", "203.0.113.5, unknown", "192.0.2.1"),
        ("192.0.2.1", "", "192.0.2.1"),
        ("192.0.2.2", "203.0.113.5", "192.0.2.2"),  # a peer that is none of ours
        ("", "203.0.113.5", ""),
    ],
)
def test_the_client_is_the_first_from_the_right_that_is_no_proxy_of_ours(
    peer: str, forwarded_for: str, client: str
) -> None:
    assert seen(peer, HTTP_X_FORWARDED_FOR=forwarded_for)["REMOTE_ADDR"] == client


def test_scheme_and_host_are_those_of_the_nearest_proxy() -> None:
    told = {"HTTP_X_FORWARDED_PROTO": "http, https", "HTTP_X_FORWARDED_HOST": "evil.example, pi.example"}
    found = seen("192.0.2.1", **told)
    assert (found["wsgi.url_scheme"], found["HTTP_HOST"]) == ("https", "pi.example")
    found = seen("192.0.2.2", **told)
    assert (found["wsgi.url_scheme"], found["HTTP_HOST"]) == ("http", "upstream")
    assert seen("192.0.2.1", HTTP_X_FORWARDED_PROTO="javascript")["wsgi.url_scheme"] == "http"


def test_without_proxies_nothing_stands_between() -> None:
    def application(environ: Any, start_response: Any) -> list[bytes]:
        return []

    assert behind(application, ()) is application


@pytest.fixture
def proxied(tmp_path):  # type: ignore[no-untyped-def]
    settings = config.Settings(
        server=config.Server(names=("pi.example",), trusted_proxies=TRUSTED),
        storage=config.Storage(path=tmp_path / "data", floor_bytes=0),
    )
    app = create_app(settings, {}, SystemClock())
    runtime = app.extensions["piapi"]
    runtime.start()
    runtime.services.users.create("anna", "correct horse", role="viewer", by="console")
    yield app
    runtime.close()


def log_in(app: Flask, peer: str, password: str = "correct horse", **headers: str) -> Any:
    return Api(app.test_client(), None).post(
        "/session",
        json={"username": "anna", "password": password},
        headers={name.replace("_", "-"): value for name, value in headers.items()},
        environ_overrides={"REMOTE_ADDR": peer},
    )


def test_the_cookie_is_secure_where_a_trusted_proxy_says_https(proxied: Flask) -> None:
    https = {"X_Forwarded_Proto": "https"}
    assert "Secure" in log_in(proxied, "192.0.2.1", **https).headers["Set-Cookie"]
    assert "Secure" not in log_in(proxied, "192.0.2.2", **https).headers["Set-Cookie"]


def test_attempts_are_counted_by_the_clients_own_address(proxied: Flask) -> None:
    mallory, anna = {"X_Forwarded_For": "203.0.113.5"}, {"X_Forwarded_For": "203.0.113.6"}
    statuses = [log_in(proxied, "192.0.2.1", "wrong horse", **mallory).status_code for _ in range(6)]
    assert statuses == [401] * 5 + [429]
    forged = {"X_Forwarded_For": "203.0.113.6, 203.0.113.5"}
    assert log_in(proxied, "192.0.2.1", "wrong horse", **forged).status_code == 429
    assert log_in(proxied, "203.0.113.5", "wrong horse", **anna).status_code == 429  # not a proxy: not believed
    assert log_in(proxied, "192.0.2.1", **anna).status_code == 201


@pytest.mark.parametrize(
    ("peer", "host", "forwarded", "status"),
    [
        ("192.0.2.1", "localhost", "pi.example", 401),
        ("192.0.2.1", "localhost", "evil.example", 400),
        ("192.0.2.1", "evil.example", "pi.example", 400),  # a client's own header that a proxy has passed on
        ("192.0.2.2", "evil.example", "pi.example", 400),
        ("192.0.2.2", "localhost", "evil.example", 401),
    ],
)
def test_a_forwarded_host_has_to_be_one_of_our_names(
    proxied: Flask, peer: str, host: str, forwarded: str, status: int
) -> None:
    headers = {"Host": host, "X-Forwarded-Host": forwarded}
    response = Api(proxied.test_client(), None).get("/", headers=headers, environ_overrides={"REMOTE_ADDR": peer})
    assert_problem(response, status, {400: "bad-request", 401: "unauthenticated"}[status])


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ('"127.0.0.1"', "list"),
        ('["127.0.0.1", "proxy.local"]', "proxy.local"),
        ('["10.0.0.1/8"]', "10.0.0.1/8"),
        ('["0.0.0.0/0"]', "everybody"),
        ('["::/0"]', "everybody"),
        ('["*"]', "'*'"),
    ],
)
def test_a_wrong_proxy_stops_the_start_and_is_named(tmp_path, value: str, said: str) -> None:  # type: ignore[no-untyped-def]
    file = tmp_path / "piapi.toml"
    file.write_text(f"[server]\ntrusted_proxies = {value}\n")
    with pytest.raises(ConfigurationError) as error:
        config.load({}, file)
    assert "server.trusted_proxies" in str(error.value) and said in str(error.value)
