"""piapi selftest as an owner runs it: beside a service on simulated hardware, beside none, and at a terminal."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from piapi.cli import main
from piapi.cli.local import LocalConnection, LocalService
from piapi.cli.selftest import Terminal
from tests.local import ask
from tests.service import BIN, Service, environment, eventually, running

CONFIG = """
[storage]
floor_bytes = 0
[clock]
trust = "always"
[place]
latitude = 47.37174
longitude = 8.54226
[cameras.front]
backend = "simulated"
width = 320
height = 240
[cameras.yard]
backend = "av"
source = "rtsp://anna:s3cret-pass@127.0.0.1:9/live"
[gpio]
backend = "simulated"
[pins.lamp]
gpio = "GPIO17"
[doors.garage]
relay = { gpio = "GPIO23" }
closed_sensor = { gpio = "GPIO24", pull = "up", active_low = true }
travel_s = 1
"""
WELL = CONFIG.replace(CONFIG[CONFIG.index("[cameras.yard]") : CONFIG.index("[gpio]")], "")


@pytest.fixture
def service(memory: Path) -> Iterator[Service]:
    with running(memory, WELL) as service:
        yield service


def variables(folder: Path) -> dict[str, str]:
    return environment(folder, PIAPI_CONFIG=str(folder / "piapi.toml"))


def selftest(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BIN / "piapi", "selftest", *arguments],
        env=variables(folder),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def state_of(service: Service, path: str) -> Any:
    status, document = ask(service.folder / "data/run", "GET", f"/api/v1{path}")
    assert status == 200
    return document


def moves(service: Service) -> list[str]:
    """What the journal has of commands and changes of pins and doors."""
    items = state_of(service, "/events?limit=200")["items"]
    return [item["type"] for item in items if item["type"] in ("pin.changed", "door.pressed", "command.accepted")]


def test_beside_a_service_on_simulated_hardware_all_is_well_and_nothing_moves(service: Service) -> None:
    done = selftest(service.folder, "--report", "-")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Nobody can be asked" in done.stderr and " 0 failed" in done.stderr
    for row in (
        "| ok | service | runs, and answers |",
        "| ok | guard | answers, for simulated lines |",
        "| ok | camera front | simulated, ",
        "| skipped | pin lamp | ",
        "| skipped | button of door garage | ",
    ):
        assert row in done.stdout
    assert done.stdout.startswith("# piapi selftest\n") and done.stdout.count("EMULATED") == 3
    assert "47.37174" not in done.stdout + done.stderr
    assert moves(service) == [] and not list((service.folder / "data").rglob(".selftest*"))


def test_a_network_camera_that_is_away_fails_and_its_password_is_not_told(memory: Path) -> None:
    with running(memory, CONFIG):
        done = selftest(memory, "--no-ask", "--report", "report.md")
    report = (memory / "report.md").read_text(encoding="utf-8")
    assert done.returncode == 1 and "1 failed" in done.stdout and "| **failed** | camera yard | " in report
    assert "Nobody can be asked" not in done.stderr
    for secret in ("anna", "s3cret", "47.37174", "8.54226"):
        assert secret not in report + done.stdout + done.stderr


def test_without_a_service_the_rest_is_checked(memory: Path) -> None:
    (memory / "piapi.toml").write_text(WELL, encoding="utf-8")
    (memory / "data").mkdir()
    done = selftest(memory, "--no-ask")
    assert done.returncode == 1
    assert "No piapi is running here" in done.stdout and "ok      sync to disk" in done.stdout
    assert "skipped camera front" in done.stdout and "skipped door garage" in done.stdout


def test_a_wrong_configuration_is_told_by_its_faults_without_what_is_private(tmp_path: Path) -> None:
    wrong = CONFIG.replace("latitude = 47.37174", "latitude = 147.37174").replace('"GPIO17"', '"GPIO99"')
    (tmp_path / "piapi.toml").write_text(wrong, encoding="utf-8")
    done = selftest(tmp_path, "--no-ask", "--report", "-")
    assert done.returncode == 1 and "pins.lamp.gpio" in done.stdout and "place.latitude" in done.stdout
    assert "47.37174" not in done.stdout + done.stderr


def test_a_report_that_cannot_be_written_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    done = selftest(tmp_path, "--no-ask", "--report", "nowhere/report.md")
    assert done.returncode == 2 and "nowhere/report.md" in done.stderr and done.stdout == ""


def test_a_request_that_was_interrupted_takes_no_answer_from_the_next(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(connection: LocalConnection) -> Any:
        raise KeyboardInterrupt

    with contextlib.closing(LocalService(service.folder / "data/run")) as local:
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(LocalConnection, "getresponse", interrupted)
            local.ask("GET", "/api/v1/pins/lamp")
        assert local.ask("GET", "/api/v1/doors/garage")["name"] == "garage"


# At a terminal


@contextlib.contextmanager
def at_a_terminal(service: Service) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """The command, and the end of the terminal at which somebody types."""
    here, there = os.openpty()
    said = service.folder / "said"
    with said.open("wb") as file:
        process = subprocess.Popen(
            # Whoever runs these tests in the background ignores Ctrl-C, and what is started inherits that.
            ["env", "--default-signal=INT", BIN / "piapi", "selftest", "--report", "report.md"],
            env={**variables(service.folder), "PYTHONFAULTHANDLER": "1"},
            cwd=service.folder,
            stdin=there,
            stdout=file,
            stderr=file,
        )
    try:
        yield process, here
    finally:
        if process.poll() is None:  # it hangs: SIGABRT has it say where
            process.send_signal(signal.SIGABRT)
            process.wait()
            print(said.read_text(encoding="utf-8", errors="replace"))  # noqa: T201
        os.close(here)
        os.close(there)


def test_who_agrees_to_a_pin_and_names_no_door_switches_the_pin_alone(service: Service) -> None:
    with at_a_terminal(service) as (process, keys):
        os.write(keys, b"y\ny\n\n")
        assert process.wait(60) == 0
    report = (service.folder / "report.md").read_text(encoding="utf-8")
    assert "| ok | pin lamp | output, GPIO17, pin 11, EMULATED" in report and "and seen" in report
    assert "| skipped | button of door garage | not pressed: the door was not named |" in report
    assert moves(service).count("pin.changed") == 2 and "door.pressed" not in moves(service)
    assert state_of(service, "/doors/garage")["operation"] is None


def test_who_types_the_name_of_a_door_presses_its_button_once(service: Service) -> None:
    with at_a_terminal(service) as (process, keys):
        os.write(keys, b"n\ngarage\ny\n")
        assert process.wait(60) == 0
    report = (service.folder / "report.md").read_text(encoding="utf-8")
    assert "| ok | button of door garage | succeeded, and seen to move |" in report
    assert moves(service).count("door.pressed") == 1


def test_ctrl_c_leaves_every_output_off_and_the_report_says_so(service: Service) -> None:
    with at_a_terminal(service) as (process, keys):
        os.write(keys, b"y\n")
        eventually(lambda: "pin.changed" in moves(service))
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 1
    assert state_of(service, "/pins/lamp")["value"] is False
    assert "**Interrupted**" in (service.folder / "report.md").read_text(encoding="utf-8")


def test_the_words_of_a_person_are_understood() -> None:
    @click.command()
    def talk() -> None:
        person = Terminal()
        answers = [person.agrees("a?", False), person.agrees("b?", True), person.witnessed("c?"),
                   person.witnessed("d?"), person.witnessed("e?"), person.names("f?", "garage"),
                   person.names("g?", "garage")]  # fmt: skip
        click.echo(json.dumps(answers))

    done: Result = CliRunner().invoke(talk, input="\n\ny\nN\ns\ngarage\nyes\n")
    assert json.loads(done.stdout) == [False, True, True, False, None, True, False]


def test_the_end_of_the_input_is_an_interruption() -> None:
    @click.command()
    def talk() -> None:
        with pytest.raises(KeyboardInterrupt):
            Terminal().agrees("a?", True)

    assert CliRunner().invoke(talk, input="").exit_code == 0


def test_the_command_says_what_it_may_do() -> None:
    told = " ".join(CliRunner().invoke(main, ["selftest", "--help"]).stdout.split())
    assert "a door's button is pressed when you type the door's name" in told and "--no-ask" in told
