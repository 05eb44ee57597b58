"""piapi pair: the link that lets a new device in, and its QR code."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import config
from piapi import invitation
from piapi.api.hosts import is_own_address, own_names
from piapi.cli import main
from piapi.services.pairings import MOST_OPEN
from tests.conftest import Api

CODE = re.compile(r"http://(?P<place>\S+)/pair#(?P<code>[A-Z2-7]{32})\n")


class Terminal(io.StringIO):
    """What is on a screen."""

    def __init__(self, encoding: str) -> None:
        super().__init__()
        self._encoding = encoding

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._encoding

    def isatty(self) -> bool:
        return True


def pair(data: Path, *arguments: str, host: str = "127.0.0.1") -> Result:
    variables = {"PIAPI_DATA": str(data), "PIAPI_CONFIG": None, "PIAPI_HOST": host, "PIAPI_PORT": "8000"}
    return CliRunner().invoke(main, ("pair", *arguments), env=variables)


def code_in(done: Result) -> str:
    assert done.exit_code == 0, done.output
    found = CODE.fullmatch(done.stdout)
    assert found, done.stdout
    return found["code"]


@pytest.mark.parametrize(
    ("arguments", "role", "scopes"),
    [
        ((), "operator", None),
        (("--role", "viewer"), "viewer", ["*:*:view"]),
        (
            ("--scope", "door:garage:close", "--scope", "camera:front:view"),
            None,
            ["door:garage:close", "camera:front:view"],
        ),
    ],
    ids=str,
)
def test_its_code_is_redeemed_at_the_running_service(
    settings: config.Settings, nobody: Api, arguments: tuple[str, ...], role: str | None, scopes: list[str] | None
) -> None:
    code = code_in(pair(settings.storage.path, "phone", "--expires-in", "30d", *arguments))
    answer = nobody.post("/pair", json={"code": code})
    assert answer.status_code == 201
    made = answer.get_json()
    assert (made["name"], made["role"]) == ("phone", role) and made["expires_at"] is not None
    assert scopes is None or made["scopes"] == scopes
    assert nobody.post("/pair", json={"code": code}).status_code == 404


def test_the_console_is_who_let_it_in(settings: config.Settings, api: Api) -> None:
    code_in(pair(settings.storage.path, "phone"))
    (pairing,) = api.get("/pairings").get_json()["items"]
    assert (pairing["created_by"], pairing["token_expires_in_s"]) == ("console", None)


def test_it_works_before_the_first_start_too(tmp_path: Path) -> None:
    done = pair(tmp_path / "data", "phone")
    code_in(done)
    assert "good once, and for 5 minutes" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "host", "place"),
    [
        ((), "127.0.0.1", "127.0.0.1:8000"),
        ((), "192.0.2.7", "192.0.2.7:8000"),
        ((), "0.0.0.0", "198.51.100.4:8000"),
        ((), "::", "198.51.100.4:8000"),
        ((), "fd00::1", "[fd00::1]:8000"),
        (("--address", "pi.local"), "0.0.0.0", "pi.local:8000"),
        (("--address", "pi.local:81"), "127.0.0.1", "pi.local:81"),
        (("--address", "fd00::2"), "127.0.0.1", "[fd00::2]:8000"),
        (("--address", "[fd00::2]"), "127.0.0.1", "[fd00::2]:8000"),
        (("--address", "[fd00::2]:81"), "127.0.0.1", "[fd00::2]:81"),
    ],
    ids=str,
)
def test_the_link_is_where_other_devices_find_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], host: str, place: str
) -> None:
    monkeypatch.setattr(invitation, "own_address", lambda: "198.51.100.4")
    done = pair(tmp_path / "data", "phone", *arguments, host=host)
    assert (found := CODE.fullmatch(done.stdout)) and found["place"] == place
    assert ("Other devices do not get there" in done.stderr) == (not arguments and host == "127.0.0.1")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "NAME"),
        (("",), "NAME must have"),
        (("x" * 101,), "NAME must have"),
        (("a\nb",), "NAME must have"),
        (("x", "--role", "king"), "king"),
        (("x", "--role", "viewer", "--scope", "*:*:view"), "not both"),
        (("x", "--scope", "camera"), "<kind>:<name>:<verb>"),
        (("x", "--expires-in", "soon"), "no duration"),
        (("x", "--address", ""), "no address"),
        (("x", "--address", "http://pi"), "no address"),
        (("x", "--address", "pi:0"), "no address"),
        (("x", "--address", "pi:65536"), "no address"),
        (("x", "--address", "pi:"), "no address"),
        (("x", "--address", "[]:80"), "no address"),
    ],
    ids=str,
)
def test_a_wrong_call_says_what_is_wrong_and_makes_nothing(
    tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    done = pair(tmp_path / "data", *arguments)
    assert done.exit_code and said in done.stderr and done.stdout == ""


def test_more_than_may_be_open_are_refused_in_words(tmp_path: Path) -> None:
    for _ in range(MOST_OPEN):
        code_in(pair(tmp_path / "data", "phone"))
    done = pair(tmp_path / "data", "phone")
    assert done.exit_code == 1 and "are open already" in done.stderr and done.stdout == ""


def test_a_terminal_gets_the_qr_code_of_the_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invitation, "shows_qr", lambda stream: True)
    link, _, drawn = pair(tmp_path / "data", "phone").stdout.partition("\n")
    assert drawn.rstrip("\n") == invitation.qr_of(link).rstrip("\n") and "▀" in drawn
    code_in(pair(tmp_path / "data", "phone", "--no-qr"))


def test_a_qr_code_is_drawn_where_it_can_be_seen() -> None:
    assert invitation.shows_qr(Terminal("utf-8"))
    assert not invitation.shows_qr(Terminal("ascii")) and not invitation.shows_qr(Terminal("no such"))
    assert not invitation.shows_qr(io.StringIO())


def test_the_own_address_is_one_of_this_machine() -> None:
    own = invitation.own_address()
    assert own in own_names() or is_own_address(own, 0)
