"""The command line, on a data folder of its own."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from piapi.cli import main


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


def piapi(data: Path, *arguments: str, **environ: str) -> Result:
    variables = {"PIAPI_DATA": str(data), "PIAPI_CONFIG": None, **environ}
    return CliRunner().invoke(main, arguments, env=variables)


def test_create_prints_the_token_and_nothing_else(data: Path) -> None:
    done = piapi(data, "tokens", "create", "--name", "me", "--role", "admin", "--expires", "30d")
    assert done.exit_code == 0 and done.stderr == ""
    assert done.stdout.startswith("piapi_") and done.stdout.count("\n") == 1 and " " not in done.stdout


def test_tokens_are_listed_and_revoked(data: Path) -> None:
    secrets = [
        piapi(data, "tokens", "create", "--name", name, "--scope", "camera:front:view").stdout.strip()
        for name in ("one", "two")
    ]
    listed = piapi(data, "tokens", "list").stdout
    assert "one" in listed and "two" in listed and "camera:front:view" in listed and "never used" in listed
    assert not any(secret in listed for secret in secrets)
    id = listed.splitlines()[0].split()[0]
    assert piapi(data, "tokens", "revoke", id).exit_code == 0
    assert id not in piapi(data, "tokens", "list").stdout
    again = piapi(data, "tokens", "revoke", id)
    assert again.exit_code == 1 and "no token" in again.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--name", "x"), "either --role or"),
        (("--name", "x", "--role", "admin", "--scope", "*:*:*"), "either --role or"),
        (("--name", "x", "--role", "king"), "king"),
        (("--name", "x", "--scope", "camera"), "<kind>:<name>:<verb>"),
        (("--name", "x", "--role", "admin", "--expires", "soon"), "no duration"),
        (("--name", "x", "--role", "admin", "--expires", "0d"), "no duration"),
        (("--name", "x", "--role", "admin", "--expires", "999999w"), "ten years"),
        (("--role", "admin"), "--name"),
    ],
    ids=str,
)
def test_a_wrong_call_says_what_is_wrong_and_makes_nothing(data: Path, arguments: tuple[str, ...], said: str) -> None:
    done = piapi(data, "tokens", "create", *arguments)
    assert done.exit_code != 0 and done.stdout == "" and said in done.stderr
    assert piapi(data, "tokens", "list").stdout == ""


def test_a_database_from_the_future_is_said_in_words(data: Path) -> None:
    data.mkdir()
    with sqlite3.connect(data / "piapi.db") as connection:
        connection.execute("PRAGMA user_version = 999")
    connection.close()
    done = piapi(data, "tokens", "list")
    assert done.exit_code == 1 and "later piapi" in done.stderr and "Traceback" not in done.stderr


def test_check_config_says_sound_or_every_fault(data: Path, tmp_path: Path) -> None:
    file = tmp_path / "piapi.toml"
    file.write_text("[server]\nport = 1\n")
    assert piapi(data, "check-config", str(file)).exit_code == 0
    file.write_text("[pins.pump]\ngpio = 'GPIO5'\n")
    done = piapi(data, "check-config", str(file))
    assert done.exit_code == 0 and "Look at pins.pump.gpio: GPIO5 is pulled high" in done.stderr
    file.write_text("[server]\nport = -1\nx = 1\n[storage]\npath = 5\n")
    done = piapi(data, "check-config", str(file))
    assert done.exit_code == 1
    for key in ("server.port", "server.x", "storage.path"):
        assert key in done.stderr
    assert piapi(data, "check-config", str(tmp_path / "none")).exit_code == 1


def test_the_committed_document_is_what_the_code_says(data: Path) -> None:
    committed = Path(__file__).parent.parent / "docs" / "openapi.json"
    said = piapi(data, "openapi").stdout
    assert said == committed.read_text(encoding="utf-8"), "run `make openapi` and commit the result"
