"""What an owner can set: one table of settings, from the environment over `piapi.toml` over defaults.

Each setting is one line below: name, default, check, help, and the environment variable where it has one. `load()`
collects every fault, with file, key and remedy, before it gives up. A test holds docs/configuration.md to this table.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from piapi.errors import ConfigurationError

Check = Callable[[Any], Any]
"""Gives the value to use, or raises ValueError with what would be right."""

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,39}")


# Checks ---------------------------------------------------------------------------------------------------------------


def text(value: Any) -> str:
    """A string with something in it."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError("must be a text in quotes")
    return value


def any_text(value: Any) -> str:
    """A string, perhaps empty."""
    if not isinstance(value, str):
        raise ValueError("must be a text in quotes")
    return value


def switch(value: Any) -> bool:
    """true or false."""
    if not isinstance(value, bool):
        raise ValueError("must be true or false, without quotes")
    return value


def integer(low: int, high: int) -> Check:
    """A whole number within bounds, both included."""

    def check(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return value

    return check


def number(low: float, high: float) -> Check:
    """A number within bounds, both included."""

    def check(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise ValueError(f"must be a number from {low:g} to {high:g}")
        return float(value)

    return check


def one_of(*choices: str | int) -> Check:
    """One of a few values."""

    def check(value: Any) -> Any:
        if isinstance(value, bool) or value not in choices:
            raise ValueError(f"must be one of {', '.join(map(repr, choices))}")
        return value

    return check


def texts(value: Any) -> tuple[str, ...]:
    """A list of strings."""
    if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
        raise ValueError('must be a list of texts, such as ["raspberrypi.local"]')
    return tuple(value)


def networks(value: Any) -> tuple[str, ...]:
    """A list of addresses and networks, such as `10.0.0.0/8`."""
    import ipaddress

    for item in texts(value):
        try:
            network = ipaddress.ip_network(item)
        except ValueError as error:
            raise ValueError(f'must be addresses or networks, such as ["127.0.0.1", "10.0.0.0/8"]: {error}') from None
        if network.prefixlen == 0:
            raise ValueError(f"must not name everybody ({item}): anybody could then claim any address")
    return texts(value)


def folder(value: Any) -> Path:
    """A path; `~` is the home folder, a relative one starts at the current folder."""
    return Path(text(value)).expanduser()


def zone(value: Any) -> str:
    """A name of the IANA time zone database."""
    from zoneinfo import ZoneInfo  # here, as the master of a service stays in memory for years

    try:
        ZoneInfo(text(value))
    except (LookupError, OSError, ValueError):
        raise ValueError("must be a time zone's name, such as 'Europe/Berlin'") from None
    return str(value)


def line(value: Any) -> str:
    """A GPIO line by its Broadcom number, as `GPIO17`."""
    if not isinstance(value, str) or not re.fullmatch(r"GPIO(\d|[1-4]\d|5[0-3])", value):
        raise ValueError("must be a GPIO's name, such as 'GPIO17'")
    return value


# The table ------------------------------------------------------------------------------------------------------------


def setting(default: Any, check: Check, help: str, env: str | None = None, required: bool = False) -> Any:
    """One line of the table."""
    metadata = {"check": check, "help": help, "env": env, "required": required}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True)
class Server:
    """`[server]`"""

    host: str = setting("127.0.0.1", text, "Address to listen on; 0.0.0.0 for the whole network.", "PIAPI_HOST")
    port: int = setting(8000, integer(0, 65535), "TCP port; 0 takes any free one.", "PIAPI_PORT")
    names: tuple[str, ...] = setting((), texts, "Host names accepted beside the machine's own names and addresses.")
    max_viewers: int = setting(64, integer(1, 1000), "Live viewers at once, over all cameras; the next one gets 503.")
    trusted_proxies: tuple[str, ...] = setting(
        (), networks, "Addresses or networks of proxies, whose X-Forwarded-For, -Proto and -Host are believed."
    )
    log_level: str = setting(
        "info", one_of("debug", "info", "warning", "error"), "Least that is logged.", "PIAPI_LOG_LEVEL"
    )
    threads: int = setting(16, integer(4, 64), "Threads that answer requests.")


@dataclass(frozen=True, slots=True)
class Storage:
    """`[storage]`"""

    path: Path = setting(Path("data"), folder, "Folder of the database and the pictures.", "PIAPI_DATA")
    on_own_disk: bool = setting(False, switch, "Start only if the folder holds the file piapi.disk: its disk is there.")
    floor_bytes: int = setting(500_000_000, integer(0, 2**50), "Free space that is never used.")
    quota_bytes: int = setting(0, integer(0, 2**50), "Most that photos and time-lapses may take; 0: no limit.")
    max_age_days: int = setting(
        0, integer(0, 36_500), "Photos, and time-lapses that have ended, are removed at this age; 0: never."
    )
    journal_keep_days: int = setting(365, integer(1, 36_500), "How long the journal of events is kept.")


@dataclass(frozen=True, slots=True)
class ClockTrust:
    """`[clock]`"""

    trust: str = setting("auto", one_of("auto", "always"), "auto: what the system says; always: there is an RTC.")


@dataclass(frozen=True, slots=True)
class Place:
    """`[place]`, for sunrise and sunset."""

    latitude: float | None = setting(None, number(-90, 90), "Degrees north.")
    longitude: float | None = setting(None, number(-180, 180), "Degrees east.")
    time_zone: str | None = setting(None, zone, "IANA name; the machine's own unless set.")


@dataclass(frozen=True, slots=True)
class Camera:
    """`[cameras.NAME]`"""

    backend: str = setting(
        "auto",
        one_of("auto", "picamera2", "picamera", "av", "simulated"),
        "auto (the first real one found), picamera2, picamera, av (USB, network, files), simulated.",
    )
    source: str = setting("", any_text, "av: device, file, folder, rtsp:// or http:// address; picamera2: its number.")
    width: int = setting(1920, integer(64, 16384), "Pixels of live view and of photos, unless asked otherwise.")
    height: int = setting(1080, integer(64, 16384), "Pixels of live view and of photos, unless asked otherwise.")
    rotation: int = setting(0, one_of(0, 90, 180, 270), "Degrees clockwise.")
    fps: float = setting(30.0, number(1, 120), "Frames per second of live view, at most.")


@dataclass(frozen=True, slots=True)
class Gpio:
    """`[gpio]`"""

    backend: str = setting("lgpio", one_of("lgpio", "simulated"), "lgpio (through gpiozero), simulated.")
    chip: int | None = setting(None, integer(0, 255), "Number of the GPIO chip; found by its label unless set.")


@dataclass(frozen=True, slots=True)
class Pin:
    """`[pins.NAME]`"""

    gpio: str = setting("", line, "The line, such as GPIO17.", required=True)
    mode: str = setting("output", one_of("output", "input", "pwm", "servo"), "output, input, pwm, servo.")
    active_low: bool = setting(False, switch, "On is a low level.")
    max_on_s: float = setting(0.0, number(0, 86_400), "Longest time on, in seconds; 0: no limit.")
    on_exit: str = setting("off", one_of("off", "keep"), "What a stop, crash or restart leaves it at.")
    min_gap_s: float = setting(0.0, number(0, 3600), "Shortest time off between two times on, in seconds.")
    interlock: str | None = setting(None, text, "Pins of one group are never on together.")
    dead_time_s: float = setting(0.0, number(0, 60), "Time between one of a group going off and the next on.")
    pull: str = setting("none", one_of("up", "down", "none"), "The resistor of an input.")
    debounce_s: float = setting(0.0, number(0, 10), "Changes of an input shorter than this are ignored.")


_OF_A_LINE: Mapping[str, Check] = {
    "active_low": switch,
    "pull": one_of("up", "down", "none"),
    "debounce_s": number(0, 10),
}


def _line_table(allowed: tuple[str, ...]) -> Check:
    def check(value: Any) -> dict[str, Any]:
        if not isinstance(value, dict) or "gpio" not in value or not set(value) <= {"gpio", *allowed}:
            raise ValueError('must be a table such as { gpio = "GPIO23", active_low = true }')
        line(value["gpio"])
        for name in allowed:
            if name in value:
                try:
                    _OF_A_LINE[name](value[name])
                except ValueError as error:
                    raise ValueError(f"{name} {error}") from None
        return value

    return check


@dataclass(frozen=True, slots=True)
class Door:
    """`[doors.NAME]`"""

    relay: Mapping[str, Any] | None = setting(None, _line_table(("active_low",)), "The opener's button.", required=True)
    press_s: float = setting(0.5, number(0.05, 5), "Length of a press, in seconds.")
    closed_sensor: Mapping[str, Any] | None = setting(
        None, _line_table(("pull", "active_low", "debounce_s")), "Active when the door is closed; may be left out."
    )
    open_sensor: Mapping[str, Any] | None = setting(
        None, _line_table(("pull", "active_low", "debounce_s")), "Active when the door is open; may be left out."
    )
    travel_s: float = setting(20.0, number(1, 600), "By then it must have arrived, in seconds.")
    while_moving: str = setting("refuse", one_of("refuse", "stop", "reverse"), "What a press does while it moves.")
    min_gap_s: float = setting(1.0, number(0, 60), "Shortest time between two presses, in seconds.")
    warning: Mapping[str, Any] | None = setting(None, _line_table(("active_low",)), "A light or buzzer.")
    warning_s: float = setting(0.0, number(0, 60), "Seconds of warning before a close.")
    left_open_s: float = setting(0.0, number(0, 86_400), "Alarm when open for longer, in seconds; 0: none.")
    auto_close_s: float = setting(0.0, number(0, 86_400), "Closes by itself after this time open; 0: never.")
    camera: str | None = setting(None, text, "Camera for pictures before and after.")


SECTIONS: Mapping[str, type] = {
    "server": Server,
    "storage": Storage,
    "clock": ClockTrust,
    "place": Place,
    "gpio": Gpio,
}
NAMED_SECTIONS: Mapping[str, type] = {"cameras": Camera, "pins": Pin, "doors": Door}


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that is set, checked."""

    server: Server = field(default_factory=Server)
    storage: Storage = field(default_factory=Storage)
    clock: ClockTrust = field(default_factory=ClockTrust)
    place: Place = field(default_factory=Place)
    gpio: Gpio = field(default_factory=Gpio)
    cameras: Mapping[str, Camera] = field(default_factory=dict)
    pins: Mapping[str, Pin] = field(default_factory=dict)
    doors: Mapping[str, Door] = field(default_factory=dict)
    file: Path | None = None
    """Where they were read from; None when there is no configuration."""
    demonstration: bool = False
    """Started by hand with no configuration on a machine that is no Raspberry Pi."""


HOME = "PIAPI_HOME"
"""In the environment of an installed piapi: the data folder unless another is set, and where a relative one starts."""

GUARD = "PIAPI_GUARD"
"""In the environment of an installed piapi: the socket of the guard, which is a unit of its own there."""


# Without a configuration ----------------------------------------------------------------------------------------------

BY_HAND = "PIAPI_BY_HAND"
"""In the environment of `python run.py`: only by hand may missing configuration mean a demonstration."""

DEMONSTRATION_CAMERAS = {"demo": Camera(backend="simulated", width=1280, height=720)}
DEMONSTRATION_PINS = {
    "lamp": Pin(gpio="GPIO17"),
    "button": Pin(gpio="GPIO27", mode="input", pull="up", active_low=True),
}
DEMONSTRATION_DOORS = {
    "garage": Door(
        relay={"gpio": "GPIO23"},
        closed_sensor={"gpio": "GPIO24", "pull": "up", "active_low": True},
        open_sensor={"gpio": "GPIO25", "pull": "up", "active_low": True},
        travel_s=10.0,
        warning={"gpio": "GPIO12"},
        warning_s=3.0,
        camera="demo",
    )
}
FOUND_CAMERAS = {"camera": Camera()}


def in_force(environ: Mapping[str, str] = os.environ) -> Settings:
    """The settings to run with. By hand without a configuration: on a Pi the cameras found; elsewhere a demonstration.

    Raises ConfigurationError.
    """
    loaded = load(environ)
    if loaded.file is not None or not environ.get(BY_HAND):
        return loaded
    if is_raspberry_pi():
        return replace(loaded, cameras=FOUND_CAMERAS)
    return replace(
        loaded,
        cameras=DEMONSTRATION_CAMERAS,
        gpio=Gpio(backend="simulated"),
        pins=DEMONSTRATION_PINS,
        doors=DEMONSTRATION_DOORS,
        demonstration=True,
    )


def is_raspberry_pi(model: Path = Path("/proc/device-tree/model")) -> bool:
    """Whether this machine says that it is one."""
    return "Raspberry Pi" in board(model)


def board(model: Path = Path("/proc/device-tree/model")) -> str:
    """What this machine says it is; empty where it has no device tree."""
    try:
        return model.read_text(encoding="utf-8", errors="replace").strip("\0\n")
    except OSError:
        return ""


# Reading --------------------------------------------------------------------------------------------------------------


def find_file(environ: Mapping[str, str]) -> Path | None:
    """`PIAPI_CONFIG`, or `piapi.toml` in the current folder, or None."""
    if named := environ.get("PIAPI_CONFIG"):
        return Path(named).expanduser()
    return path if (path := Path("piapi.toml")).is_file() else None


def load(environ: Mapping[str, str] = os.environ, file: Path | None = None) -> Settings:
    """The settings in force. Raises ConfigurationError that names every fault with its file, key and remedy."""
    file = file or find_file(environ)
    faults: list[str] = []
    tables = _read(file, faults) if file else {}
    _refuse_unknown(tables, (*SECTIONS, *NAMED_SECTIONS), "", file, faults)
    parts: dict[str, Any] = {}
    for name, cls in SECTIONS.items():
        parts[name] = _section(cls, name, tables.get(name, {}), file, environ, faults)
    if home := environ.get(HOME):
        path = parts["storage"].path
        parts["storage"] = replace(parts["storage"], path=Path(home) if path == Storage().path else Path(home, path))
    for name, cls in NAMED_SECTIONS.items():
        parts[name] = _named(cls, name, tables.get(name, {}), file, faults)
    settings = Settings(**parts, file=file)
    if settings.pins or settings.doors:
        from piapi import wiring

        faults += [f"{file}: {fault}" for fault in wiring.faults_of(settings)]
    if faults:
        raise ConfigurationError(faults)
    return settings


def hints(settings: Settings) -> list[str]:
    """What is no fault and yet to be looked at, each with its key."""
    from piapi import wiring

    return wiring.hints_of(settings)


def _read(file: Path, faults: list[str]) -> dict[str, Any]:
    import tomllib

    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        faults.append(f"{file}: cannot be read ({error.strerror}); correct PIAPI_CONFIG or the file's permissions")
    except UnicodeDecodeError:
        faults.append(f"{file}: is not UTF-8 text; save it as UTF-8")
    except tomllib.TOMLDecodeError as error:
        faults.append(f"{file}: is not TOML: {error}")
    return {}


def _section(cls: type, name: str, table: Any, file: Path | None, environ: Mapping[str, str], faults: list[str]) -> Any:
    if not isinstance(table, dict):
        faults.append(f"{file}: {name}: must be a table, written as [{name}]")
        return cls()
    known = {item.name: item.metadata for item in fields(cls)}
    _refuse_unknown(table, tuple(known), f"{name}.", file, faults)
    values: dict[str, Any] = {}
    for key, metadata in known.items():
        given = {f"{file}: {name}.{key}": table[key]} if key in table else {}
        if metadata["env"] and (variable := environ.get(metadata["env"])):
            given[f"environment: {metadata['env']}"] = _from_text(variable, cls, key)
        if metadata["required"] and not given:
            faults.append(f"{file}: {name}.{key}: is missing; {metadata['help']}")
        for place, value in given.items():  # the environment last, so that it is the one that counts
            try:
                values[key] = metadata["check"](value)
            except ValueError as error:
                faults.append(f"{place}: {value!r} {error}")
    return cls(**values)


def _from_text(variable: str, cls: type, key: str) -> Any:
    """A whole number where the setting is one; else the text."""
    default = next(item.default for item in fields(cls) if item.name == key)
    return int(variable) if isinstance(default, int) and re.fullmatch(r"-?\d+", variable) else variable


def _named(cls: type, section: str, tables: Any, file: Path | None, faults: list[str]) -> dict[str, Any]:
    if not isinstance(tables, dict) or not all(isinstance(table, dict) for table in tables.values()):
        faults.append(f"{file}: {section}: must be tables with names, written as [{section}.NAME]")
        return {}
    found: dict[str, Any] = {}
    for name, table in tables.items():
        if not NAME.fullmatch(name):
            faults.append(
                f"{file}: {section}.{name}: a name is 1–40 letters, digits, _ and -, and begins with a letter"
            )
        found[name] = _section(cls, f"{section}.{name}", table, file, {}, faults)
    return found


def _refuse_unknown(table: Any, known: tuple[str, ...], prefix: str, file: Path | None, faults: list[str]) -> None:
    for key in table:
        if key not in known:
            import difflib

            near = difflib.get_close_matches(key, known, n=1)
            remedy = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
            faults.append(f"{file}: {prefix}{key}: there is no such setting; {remedy}")
