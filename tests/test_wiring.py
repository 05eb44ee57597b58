"""What is wrong with a wiring is said before anything is driven."""

from __future__ import annotations

from pathlib import Path

import pytest

import config
from piapi import wiring
from piapi.errors import ConfigurationError

RELAY = "[doors.garage]\nrelay = { gpio = 'GPIO23' }\n"


def faults_in(tmp_path: Path, text: str) -> list[str]:
    file = tmp_path / "piapi.toml"
    file.write_text(text, encoding="utf-8")
    try:
        config.load({"PIAPI_CONFIG": str(file)})
    except ConfigurationError as error:
        return [fault.removeprefix(f"{file}: ") for fault in error.faults]
    return []


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[pins.a]\ngpio = 'GPIO17'\n[pins.b]\ngpio = 'GPIO17'", "pins.b.gpio: GPIO17 is used by pins.a.gpio already"),
        (RELAY + "[pins.a]\ngpio = 'GPIO23'", "doors.garage.relay: GPIO23 is used by pins.a.gpio"),
        (
            RELAY + "open_sensor = { gpio = 'GPIO5' }\nclosed_sensor = { gpio = 'GPIO5' }",
            "doors.garage.open_sensor: GPIO5 is used by doors.garage.closed_sensor",
        ),
        ("[pins.a]\ngpio = 'GPIO1'", "pins.a.gpio: GPIO1 is reserved for the EEPROM of a HAT"),
        ("[pins.a]\ngpio = 'GPIO40'", "pins.a.gpio: GPIO40 is not on the 40-pin header"),
        ("[doors.garage]\ntravel_s = 5", "doors.garage.relay: is missing"),
        ("[pins.a]\ngpio = 'GPIO17'\npull = 'up'", "pins.a.pull: is nothing for mode 'output'"),
        ("[pins.a]\ngpio = 'GPIO17'\nmode = 'input'\nmax_on_s = 5", "pins.a.max_on_s: is nothing for mode 'input'"),
        ("[pins.a]\ngpio = 'GPIO17'\nmode = 'servo'\nactive_low = true", "pins.a.active_low: is nothing"),
        ("[pins.a]\ngpio = 'GPIO17'\non_exit = 'keep'\nmax_on_s = 5", 'pins.a.on_exit: "keep" and a max_on_s exclude'),
        ("[pins.a]\ngpio = 'GPIO17'\ndead_time_s = 1", "pins.a.dead_time_s: means nothing without interlock"),
        (RELAY + "camera = 'front'", "doors.garage.camera: there is no camera 'front'; configured are: none"),
        (RELAY + "warning_s = 5", "doors.garage.warning_s: means nothing without warning"),
        (RELAY + "auto_close_s = 60", "doors.garage.auto_close_s: needs a closed_sensor"),
        (
            RELAY + "closed_sensor = { gpio = 'GPIO5' }\nauto_close_s = 60",
            "doors.garage.auto_close_s: needs a warning and a warning_s",
        ),
        (RELAY + "left_open_s = 60", "doors.garage.left_open_s: needs a sensor"),
    ],
)
def test_nonsense_is_named_with_its_key_and_a_remedy(tmp_path: Path, text: str, fault: str) -> None:
    found = faults_in(tmp_path, text)
    assert any(item.startswith(fault) for item in found), found
    assert all(";" in item or "The opener's button" in item for item in found), "a remedy for each"


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("[pins.a]\ngpio = 'GPIO17'\nactive_low = true", "pins.a.gpio: GPIO17 is pulled low while the Pi boots"),
        ("[pins.a]\ngpio = 'GPIO5'", "pins.a.gpio: GPIO5 is pulled high while the Pi boots"),
        ("[pins.a]\ngpio = 'GPIO5'\nmode = 'pwm'", "pins.a.gpio: GPIO5 is pulled high"),
        ("[pins.a]\ngpio = 'GPIO14'", "pins.a.gpio: GPIO14 goes up and down while the Pi boots"),
        ("[doors.a]\nrelay = { gpio = 'GPIO23', active_low = true }", "doors.a.relay: GPIO23 is pulled low"),
        (RELAY + "warning = { gpio = 'GPIO8' }\nwarning_s = 5", "doors.garage.warning: GPIO8 is pulled high"),
        ("[pins.a]\ngpio = 'GPIO17'\n[pins.b]\ngpio = 'GPIO8'\nactive_low = true", None),
        ("[pins.a]\ngpio = 'GPIO5'\nmode = 'input'\n[pins.b]\ngpio = 'GPIO14'\nmode = 'input'", None),
        (RELAY + "closed_sensor = { gpio = 'GPIO24', active_low = true }", None),
    ],
)
def test_an_output_that_may_be_on_while_the_pi_boots_is_pointed_out(
    tmp_path: Path, text: str, hint: str | None
) -> None:
    file = tmp_path / "piapi.toml"
    file.write_text(text, encoding="utf-8")
    hints = wiring.hints_of(config.load({"PIAPI_CONFIG": str(file)}))
    assert [item.startswith(hint) for item in hints] == [True] if hint else hints == []


def test_two_motors_that_exclude_each_other_are_sound(tmp_path: Path) -> None:
    motor = "mode = 'output'\ninterlock = 'motor'\ndead_time_s = 0.5\nmax_on_s = 30\nmin_gap_s = 1\n"
    text = f"[pins.up]\ngpio = 'GPIO5'\n{motor}[pins.down]\ngpio = 'GPIO6'\n{motor}"
    assert faults_in(tmp_path, text) == []


def test_the_header_has_26_lines_each_with_a_pin_of_its_own() -> None:
    assert set(wiring.PHYSICAL) == set(range(2, 28))
    assert len(set(wiring.PHYSICAL.values()) | set(wiring.RESERVED.values())) == 28
    assert wiring.PHYSICAL[17] == 11


@pytest.mark.parametrize(
    ("more", "key", "words"),
    [
        ('relay = { gpio = "GPIO23", active_low = "yes" }', "relay", "active_low must be true or false"),
        (
            'closed_sensor = { gpio = "GPIO24", pull = "high" }',
            "closed_sensor",
            "pull must",
        ),
        (
            'open_sensor = { gpio = "GPIO24", debounce_s = -1 }',
            "open_sensor",
            "debounce_s",
        ),
    ],
)
def test_what_stands_inside_the_table_of_a_line_is_looked_at_too(
    tmp_path: Path, more: str, key: str, words: str
) -> None:
    relay = "" if key == "relay" else 'relay = { gpio = "GPIO23" }'
    (fault,) = faults_in(tmp_path, f"[doors.garage]\n{relay}\n{more}")
    assert fault.startswith(f"doors.garage.{key}: ") and words in fault
