"""Rows of results, as a table to read and as JSON."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

HEAD = ("what", "piapi", "beside it", "ratio", "target", "met")
_WIDEST = 48


@dataclass(frozen=True, slots=True)
class Row:
    """One figure. `met` is None where there is no target, or nothing was measured."""

    what: str
    ours: str
    peer: str = ""
    ratio: float | None = None
    target: str = ""
    met: bool | None = None

    @property
    def cells(self) -> tuple[str, ...]:
        """As it stands in the table."""
        met = {True: "yes", False: "NO", None: ""}[self.met]
        return self.what, self.ours, self.peer, "" if self.ratio is None else f"{self.ratio:.2f}", self.target, met

    @property
    def document(self) -> dict[str, Any]:
        """As it stands in the JSON."""
        return asdict(self)


def compared(what: str, ours: str, peer: str, ratio: float, limit: str, *, provided: bool = True) -> Row:
    """A row whose ratio has a limit, as `≤ 0.6`. `provided`: whatever else has to hold."""
    return Row(what, ours, peer, ratio, limit, provided and within(ratio, limit))


def within(value: float, limit: str) -> bool:
    """Whether a figure keeps a limit, as `≥ 0.8` or `≤ 75 MB`."""
    sign, bound = limit.split()[:2]
    return value >= float(bound) if sign == "≥" else value <= float(bound)


def not_measured(what: str, reason: str) -> Row:
    """A row for what could not be measured here."""
    return Row(what, f"not measured: {reason}")


def without_peer(what: str, ours: str, peer: str, reason: str) -> Row:
    """A row whose peer could not be measured here, so that there is no ratio."""
    return Row(what, ours, f"{peer} not measured: {reason}")


def show(rows: list[Row], write: Callable[[str], None] = print) -> None:
    """Print the table."""
    cells = [HEAD, *(row.cells for row in rows)]
    wrapped = [[textwrap.wrap(cell, _WIDEST) or [""] for cell in row] for row in cells]
    widths = [max(len(line) for row in wrapped for line in row[column]) for column in range(len(HEAD))]
    for number, row in enumerate(wrapped):
        for line in range(max(map(len, row))):
            parts = [cell[line] if line < len(cell) else "" for cell in row]
            write("  ".join(part.ljust(width) for part, width in zip(parts, widths, strict=True)).rstrip())
        if number == 0:
            write("  ".join("─" * width for width in widths))
