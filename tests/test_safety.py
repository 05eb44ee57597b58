"""What docs/safety.md and docs/wiring.md say is so: tests and modules that are named exist, settings are sound."""

from __future__ import annotations

import ast
import functools
import re
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from flask import Flask

import config
from piapi.app import create_app
from piapi.cli import main
from piapi.clock import SystemClock
from piapi.hardware.gpio_simulated import SimulatedBoard, history_of
from piapi.services.doors.states import DoorRules
from piapi.storage.database import Database
from tests.conftest import Api
from tests.garage import Garage
from tests.service import ROOT

SAFETY = (ROOT / "docs" / "safety.md").read_text(encoding="utf-8")
WIRING = (ROOT / "docs" / "wiring.md").read_text(encoding="utf-8")
PROMISES = [part for part in SAFETY.split("\n## ")[1:] if not part.startswith("What is not promised")]
TOML = re.findall(r"```toml\n(.*?)```", WIRING, re.DOTALL)


@functools.cache
def names_in(file: str) -> frozenset[str]:
    """Names of the test functions of a file."""
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def title(part: str) -> str:
    return part.splitlines()[0]


# What the documents name ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("promise", PROMISES, ids=title)
def test_each_promise_has_modules_that_keep_it_and_tests_that_show_it(promise: str) -> None:
    shown = re.findall(r"`(tests/\w+\.py)::(\w+)`", promise)
    kept = re.findall(r"`(piapi/[\w/]+\.py)`", promise)
    assert shown and kept, "a promise without a test is a hope"
    assert len(shown) == promise.count("`tests/"), "each as file::test"
    missing = [f"{file}::{test}" for file, test in shown if not (ROOT / file).is_file() or test not in names_in(file)]
    assert missing == []
    assert [file for file in kept if not (ROOT / file).is_file()] == []


@pytest.mark.parametrize("document", ["wiring.md", "safety.md"])
def test_the_documents_are_found_from_the_readme(document: str) -> None:
    assert f"(docs/{document})" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_links_between_the_documents_lead_somewhere() -> None:
    anchors = {
        name: {re.sub(r"[^\w -]", "", line.lstrip("# ")).lower().replace(" ", "-") for line in text.splitlines()}
        for name, text in (("safety.md", SAFETY), ("wiring.md", WIRING))
    }
    for name, text in (("safety.md", SAFETY), ("wiring.md", WIRING)):
        for file, anchor in re.findall(r"\]\(([\w./]*)(?:#([\w-]+))?\)", text):
            assert not anchor or anchor in anchors[file or name], (file, anchor)
            assert not file or (ROOT / "docs" / file).is_file()


@pytest.mark.parametrize("text", TOML, ids=range(len(TOML)))
def test_the_settings_of_the_wiring_are_sound_and_keep_outputs_off_while_the_pi_boots(
    tmp_path: Path, text: str
) -> None:
    file = tmp_path / "piapi.toml"
    file.write_text(text, encoding="utf-8")
    checked = CliRunner().invoke(main, ["check-config", str(file)])
    assert checked.exit_code == 0 and "Look at" not in checked.output, checked.output


# What they say --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("open_sensor", [False, True])
def test_a_cut_wire_looks_like_a_door_that_is_not_closed(open_sensor: bool) -> None:
    """The closed sensor of a closed door falls silent, as with a cut wire or a lost magnet."""
    garage = Garage(DoorRules("garage", closed_sensor=True, open_sensor=open_sensor))
    assert garage.state == "closed"
    garage.sees(closed=False)
    for _ in range(100):
        assert garage.state != "closed" and garage.basis != "sensor"
        garage.run(1.0)
    assert garage.presses == []


def test_two_sensors_keep_a_lost_magnet_from_closing_the_door_by_itself() -> None:
    garage = Garage(DoorRules("garage", closed_sensor=True, open_sensor=True, warning_s=5.0, auto_close_s=60.0))
    garage.sees(closed=False)
    garage.run(600.0)
    assert garage.presses == []


@pytest.fixture
def settings(settings: config.Settings) -> config.Settings:
    pins = {
        "lamp": config.Pin(gpio="GPIO17"),
        "heater": config.Pin(gpio="GPIO5", active_low=True),
        "dimmer": config.Pin(gpio="GPIO12", mode="pwm"),
        "arm": config.Pin(gpio="GPIO13", mode="servo"),
    }
    doors = {"garage": config.Door(relay={"gpio": "GPIO6", "active_low": True}, closed_sensor={"gpio": "GPIO24"})}
    return replace(settings, gpio=config.Gpio(backend="simulated"), pins=pins, doors=doors)


def test_a_get_moves_nothing(app: Flask, api: Api, settings: config.Settings) -> None:
    path = settings.storage.path / "run" / "gpio.simulated"
    historian = SimulatedBoard(path, SystemClock(), keep_history=True)
    historian.open()
    historian.close()
    query = "?value=true&state=true&duration_s=1&target=open&method=POST&_method=PUT"
    for rule in app.url_map.iter_rules():
        names = [*settings.pins, *settings.doors] if "s/<name>" in rule.rule else ["x"]
        if "GET" in (rule.methods or ()) and "stream" not in rule.rule:
            for name in names:
                for method in ("GET", "HEAD"):
                    asked = rule.rule.replace("<name>", name).replace("<id>", "x").replace("<slug>", "invalid")
                    api.open(method, asked.replace("<path:name>", "piapi.css") + query, outside=True)
    driven = {17, 5, 12, 13, 6}
    assert [change for change in history_of(path) if change.line in driven] == []
    assert [pin["value"] for pin in api.get("/pins").get_json()["items"]] == [False, False, 0.0, None]
    assert api.open("PUT", "/pins/lamp/value", json={"value": True}).status_code == 200
    assert [change.line for change in history_of(path) if change.line in driven] == [17], "what moves is seen"


def test_a_new_piapi_has_no_user_and_no_token(settings: config.Settings) -> None:
    app = create_app(settings)
    app.extensions["piapi"].start()
    try:
        database = Database(settings.storage.path / "piapi.db")
        database.open()
        counts = [database.read(f"SELECT count(*) FROM {table}")[0][0] for table in ("users", "tokens", "sessions")]
        database.close()
    finally:
        app.extensions["piapi"].close()
    assert counts == [0, 0, 0]
