"""What hangs on which line of the 40-pin header, and what is wrong with a wiring before anything is driven.

Line numbers are Broadcom's; the header is that of every Raspberry Pi since the B+ (Raspberry Pi documentation, "GPIO
and the 40-pin header").
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from config import Door, Pin, Settings

PHYSICAL: Mapping[int, int] = {
    2: 3, 3: 5, 4: 7, 14: 8, 15: 10, 17: 11, 18: 12, 27: 13, 22: 15, 23: 16, 24: 18, 10: 19, 9: 21, 25: 22, 11: 23,
    8: 24, 7: 26, 5: 29, 6: 31, 12: 32, 13: 33, 19: 35, 16: 36, 26: 37, 20: 38, 21: 40,
}  # fmt: skip
"""Pin of the header for each line that may be used."""

RESERVED: Mapping[int, int] = {0: 27, 1: 28}
"""Lines of the header that belong to the EEPROM of a HAT (ID_SD, ID_SC)."""

PULLED_UP = range(9)
"""Lines that are pulled up from power on until somebody takes them; the others of the header are pulled down (BCM2835
ARM Peripherals, table 6-31; BCM2711 ARM Peripherals, 5.3)."""

CONSOLE = frozenset({14, 15})
"""Lines of the serial console, which sends while the Pi boots."""

OUTPUTS = frozenset({"output", "pwm", "servo"})


def number_of(line: str) -> int:
    """`GPIO17` → 17."""
    return int(line.removeprefix("GPIO"))


def faults_of(settings: Settings) -> list[str]:
    """All that is wrong with pins and doors taken together, each with key and remedy."""
    return [
        *_lines(settings),
        *(fault for name, pin in settings.pins.items() for fault in _pin(f"pins.{name}", pin)),
        *(fault for name, door in settings.doors.items() for fault in _door(f"doors.{name}", door, settings)),
    ]


def hints_of(settings: Settings) -> list[str]:
    """Outputs that may be on while the Pi boots, unless a resistor prevents it: no faults, but to be looked at."""
    outputs = [(f"pins.{name}.gpio", pin.gpio, pin.active_low) for name, pin in settings.pins.items() if _drives(pin)]
    for name, door in settings.doors.items():
        for part in ("relay", "warning"):
            if table := getattr(door, part):
                outputs.append((f"doors.{name}.{part}", table["gpio"], bool(table.get("active_low"))))
    return [f"{key}: {hint}" for key, line, active_low in outputs if (hint := _hint(line, active_low))]


def _drives(pin: Pin) -> bool:
    return pin.mode in ("output", "pwm")


def _hint(line: str, active_low: bool) -> str | None:
    number = number_of(line)
    if number in CONSOLE:
        return f"{line} goes up and down while the Pi boots (serial console); use another line for an output"
    is_up = number in PULLED_UP
    if is_up is active_low:
        return None
    level, others, to = ("high", "GPIO16 to GPIO27", "GND") if is_up else ("low", "GPIO4 to GPIO8", "3.3 V")
    return f"{line} is pulled {level} while the Pi boots, which is on here; use one of {others}, or 10 kΩ to {to}"


def lines_of(settings: Settings) -> Iterator[tuple[str, str]]:
    """Each line that is used, with the key that uses it."""
    for name, pin in settings.pins.items():
        if pin.gpio:
            yield f"pins.{name}.gpio", pin.gpio
    for name, door in settings.doors.items():
        for part in ("relay", "closed_sensor", "open_sensor", "warning"):
            if table := getattr(door, part):
                yield f"doors.{name}.{part}", table["gpio"]


def _lines(settings: Settings) -> Iterator[str]:
    used: dict[str, str] = {}
    for key, line in lines_of(settings):
        number = number_of(line)
        if number in RESERVED:
            yield f"{key}: {line} is reserved for the EEPROM of a HAT; use another line, such as GPIO17"
        elif number not in PHYSICAL:
            yield f"{key}: {line} is not on the 40-pin header; use one of GPIO2 to GPIO27"
        elif line in used:
            yield f"{key}: {line} is used by {used[line]} already; each line can do one thing"
        used.setdefault(line, key)


def _pin(key: str, pin: Pin) -> Iterator[str]:
    wanted: dict[str, tuple[Any, frozenset[str]]] = {
        "pull": ("none", frozenset({"input"})),
        "debounce_s": (0.0, frozenset({"input"})),
        "max_on_s": (0.0, frozenset({"output", "pwm"})),
        "min_gap_s": (0.0, frozenset({"output"})),
        "interlock": (None, frozenset({"output"})),
        "dead_time_s": (0.0, frozenset({"output"})),
        "on_exit": ("off", frozenset({"output"})),
        "active_low": (False, frozenset({"input", "output", "pwm"})),
    }
    for name, (default, modes) in wanted.items():
        if getattr(pin, name) != default and pin.mode not in modes:
            yield f"{key}.{name}: is nothing for mode {pin.mode!r}, only for {' or '.join(sorted(modes))}; remove it"
    if pin.on_exit == "keep" and pin.max_on_s:
        yield f'{key}.on_exit: "keep" and a max_on_s exclude each other; remove one of the two'
    if pin.dead_time_s and not pin.interlock:
        yield f"{key}.dead_time_s: means nothing without interlock; name the group, or remove it"


def _door(key: str, door: Door, settings: Settings) -> Iterator[str]:
    if door.camera is not None and door.camera not in settings.cameras:
        known = ", ".join(settings.cameras) or "none"
        yield f"{key}.camera: there is no camera {door.camera!r}; configured are: {known}"
    if door.warning_s and not door.warning:
        yield f"{key}.warning_s: means nothing without warning; name its line, or remove it"
    if door.auto_close_s and not door.closed_sensor:
        yield f"{key}.auto_close_s: needs a closed_sensor, to know that a close worked; add it or remove this"
    if door.auto_close_s and not (door.warning and door.warning_s):
        yield f"{key}.auto_close_s: needs a warning and a warning_s, as nobody may be watching; add them or remove this"
    if door.left_open_s and not (door.closed_sensor or door.open_sensor):
        yield f"{key}.left_open_s: needs a sensor; add one or remove this"
