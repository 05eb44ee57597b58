"""Durations and times as people write and read them."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

import click

from piapi.clock import format_time

_PART = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)(ms|[smhdw])?", re.ASCII)
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800, None: 1}


class Seconds(click.ParamType[float]):
    """A duration such as `5s`, `0.5`, `2h`, `30d` or `1h30m`; in seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds."""
        if isinstance(value, float):
            return value
        parts = _PART.findall(value)
        is_whole = "".join(number + unit for number, unit in parts) == value
        if not is_whole or not parts or (len(parts) > 1 and not all(unit for _, unit in parts)):
            self.fail(f"{value} is no duration; write 5s, 1h30m, 30d or the like (ms, s, m, h, d, w)", param, ctx)
        return round(sum(float(number) * _SECONDS[unit or None] for number, unit in parts), 6)


class Moment(click.ParamType[str]):
    """A time, in the zone of this machine unless it names another; as the API takes it."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """RFC 3339."""
        try:
            return format_time(datetime.fromisoformat(value).astimezone())
        except (ValueError, OverflowError):
            self.fail(f"{value} is no time; write 2026-12-31T18:00 or the like", param, ctx)


def in_short(seconds: float) -> str:
    """`0.5 s`, `90 s`, `2 h 5 min`, `30 d`: two units at most."""
    if seconds < 120:
        return f"{seconds:.3g} s"
    parts: list[str] = []
    left = round(seconds)
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)):
        if left >= size or parts:
            parts.append(f"{left // size} {unit}")
            left %= size
    return " ".join(part for part in parts[:2] if not part.startswith("0 "))


def local_time(moment: str | None) -> str:
    """A time of the API on the clock of this machine; `–` for none."""
    if moment is None:
        return "–"
    return datetime.fromisoformat(moment).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def size_in_words(size: float) -> str:
    """`812 B`, `1.5 MB`, `12 GB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"
