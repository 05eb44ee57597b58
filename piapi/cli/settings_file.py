"""A piapi.toml as text: every setting of config.py's table as a comment with its default, what was found in force."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import config
from piapi.hardware.attached import AttachedCamera

HEAD = """\
# Settings of piapi{board}.
#
# What stands behind a # is not in force: it shows the default, or an example where there is none. To change a setting,
# take the first # away. Then `piapi check-config`, and start piapi anew (installed: `sudo systemctl restart piapi`).
"""

EXAMPLES: Mapping[str, Any] = {
    "place.latitude": 45.52,
    "place.longitude": -122.68,
    "place.time_zone": "America/Los_Angeles",
    "gpio.chip": 0,
    "pins.gpio": "GPIO17",
    "pins.interlock": "motor",
    "doors.relay": {"gpio": "GPIO23", "active_low": True},
    "doors.closed_sensor": {"gpio": "GPIO24", "pull": "up", "active_low": True},
    "doors.open_sensor": {"gpio": "GPIO25", "pull": "up", "active_low": True},
    "doors.warning": {"gpio": "GPIO12"},
    "doors.camera": "front",
}
"""Of settings that have no default."""

EXAMPLE_NAMES = {"cameras": "front", "pins": "porch_light", "doors": "garage"}

_COLUMN = 34


def compose(cameras: Sequence[AttachedCamera], board: str, defaults: config.Settings) -> str:
    """The text. `board`: what this machine says it is, or nothing; `defaults`: the settings without a file."""
    lines = [HEAD.format(board=f", made on a {board}" if board else "")]
    for section, cls in config.SECTIONS.items():
        lines += [f"[{section}]", *_settings(section, cls, getattr(defaults, section)), ""]
    for number, camera in enumerate(cameras, 1):
        given = {"backend": camera.backend, **({"source": camera.source} if camera.source else {})}
        lines += [f"[cameras.camera{number if number > 1 else ''}]    # {_one_line(camera.model)}"]
        lines += [*_settings("cameras", config.Camera, config.Camera(), given), ""]
    door = config.Door(camera="camera" if cameras else EXAMPLE_NAMES["cameras"])
    for section, cls in config.NAMED_SECTIONS.items():
        if section != "cameras" or not cameras:
            lines += [
                f"# [{section}.{EXAMPLE_NAMES[section]}]",
                *_settings(section, cls, door if cls is config.Door else None),
                "",
            ]
    return "\n".join(lines).rstrip("\n") + "\n"


def _settings(section: str, cls: type, defaults: Any = None, given: Mapping[str, Any] | None = None) -> Iterator[str]:
    given = given or {}
    for item in fields(cls):
        value = given.get(item.name, getattr(defaults, item.name, item.default))
        value = EXAMPLES[f"{section}.{item.name}"] if value is None or item.metadata["required"] else value
        mark = "" if item.name in given else "# "
        yield f"{mark}{item.name} = {_literal(value)}".ljust(_COLUMN) + f"  # {item.metadata['help']}"


def _literal(value: Any) -> str:
    """A value as TOML writes it."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{name} = {_literal(item)}" for name, item in value.items()) + " }"
    if isinstance(value, tuple):
        return "[" + ", ".join(map(_literal, value)) + "]"
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value:_}" if value >= 10_000 else f"{value:g}"
    return json.dumps(str(value) if isinstance(value, Path) else value, ensure_ascii=False)


def _one_line(words: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in words)
