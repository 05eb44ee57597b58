"""Settings: environment over file over defaults; every fault named with its file, key and remedy."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

import config
from piapi.errors import ConfigurationError

ROOT = Path(__file__).parent.parent


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "piapi.toml"


def faults_in(file: Path, text: str, **environ: str) -> list[str]:
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigurationError) as caught:
        config.load({"PIAPI_CONFIG": str(file), **environ})
    return list(caught.value.faults)


def test_environment_is_over_file_is_over_default(file: Path) -> None:
    file.write_text("[server]\nhost = '0.0.0.0'\nport = 9000\n", encoding="utf-8")
    loaded = config.load({"PIAPI_CONFIG": str(file), "PIAPI_PORT": "9100", "PIAPI_DATA": "/tmp/x"})
    assert (loaded.server.host, loaded.server.port, loaded.server.max_viewers) == ("0.0.0.0", 9100, 64)
    assert loaded.storage.path == Path("/tmp/x") and loaded.file == file


def test_the_example_of_the_documentation_is_sound(file: Path) -> None:
    text = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    file.write_text(text.split("```toml\n")[1].split("```")[0], encoding="utf-8")
    loaded = config.load({"PIAPI_CONFIG": str(file)})
    assert loaded.cameras["front"].width == 1920 and loaded.doors["garage"].travel_s == 20


def test_every_fault_is_named_at_once(file: Path) -> None:
    faults = faults_in(file, "[server]\nport = 'x'\nnmaes = []\n[cameras.front]\nbackend = 'canon'\n", PIAPI_HOST=" ")
    assert len(faults) == 4
    assert any("server.port" in fault and "from 0 to 65535" in fault for fault in faults)
    assert any("server.nmaes" in fault and "did you mean names?" in fault for fault in faults)
    assert any("cameras.front.backend" in fault and "'simulated'" in fault for fault in faults)
    assert any("PIAPI_HOST" in fault for fault in faults)
    assert sum(str(file) in fault for fault in faults) == 3


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[server", "is not TOML"),
        ("server = 5", "[server]"),
        ("[cameras]\nfront = 5", "[cameras.NAME]"),
        ("cameras = []", "[cameras.NAME]"),
        ("[cameras.'a b']", "a name is"),
        ("[oven]", "oven: there is no such setting"),
        ("[place]\ntime_zone = 'Mars/Base'", "time zone"),
        ("[place]\nlatitude = 91", "from -90 to 90"),
        ("[storage]\nfloor_bytes = true", "whole number"),
        ("[pins.lamp]", "pins.lamp.gpio: is missing"),
        ("[pins.lamp]\ngpio = 'GPIO99'", "GPIO17"),
        ("[pins.lamp]\ngpio = 'GPIO17'\nactive_low = 'yes'", "true or false"),
        ("[doors.garage]", "doors.garage.relay: is missing"),
        ("[doors.garage]\nrelay = { gpio = 'GPIO23', volts = 5 }", "must be a table"),
    ],
)
def test_a_fault_says_what_would_be_right(file: Path, text: str, named: str) -> None:
    faults = faults_in(file, text)
    assert len(faults) == 1 and named in faults[0] and str(file) in faults[0]


def test_a_file_that_is_named_and_missing_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        config.load({"PIAPI_CONFIG": str(tmp_path / "none.toml")})


def test_no_configuration_is_a_demonstration_only_by_hand_and_off_a_pi(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PIAPI_CONFIG", raising=False)
    monkeypatch.delenv(config.BY_HAND, raising=False)
    assert config.in_force().cameras == {} and not config.in_force().demonstration
    monkeypatch.setenv(config.BY_HAND, "1")
    assert config.in_force().demonstration and config.in_force().cameras["demo"].backend == "simulated"
    monkeypatch.setattr(config, "is_raspberry_pi", lambda: True)
    assert not config.in_force().demonstration
    assert {camera.backend for camera in config.in_force().cameras.values()} == {"auto"}
    (tmp_path / "piapi.toml").write_text("", encoding="utf-8")
    assert config.in_force().cameras == {}


def test_a_raspberry_pi_is_known_by_its_device_tree(tmp_path: Path) -> None:
    model = tmp_path / "model"
    assert not config.is_raspberry_pi(model)
    model.write_bytes(b"Raspberry Pi Zero 2 W Rev 1.0\0")
    assert config.is_raspberry_pi(model)


@pytest.mark.parametrize("cls", [*config.SECTIONS.values(), *config.NAMED_SECTIONS.values()], ids=lambda c: c.__name__)
def test_every_setting_is_documented(cls: type) -> None:
    text = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    section = (cls.__doc__ or "").split("`")[1]
    part = text.split(f"### `{section}`")[1].split("### ")[0]
    for item in fields(cls):
        assert f"| `{item.name}` |" in part, f"{section} {item.name}"
        assert item.metadata["help"].split(";")[0].rstrip(".") in part, (
            f"{section} {item.name}: {item.metadata['help']}"
        )


def test_no_default_is_one_that_its_own_check_refuses() -> None:
    for cls in (*config.SECTIONS.values(), *config.NAMED_SECTIONS.values()):
        for item in fields(cls):
            if (
                item.default is not None
                and not item.metadata["required"]
                and not isinstance(item.default, tuple | Path)
            ):
                item.metadata["check"](item.default)
