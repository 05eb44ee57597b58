"""piapi doors: what happened to a door, for a person."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import click

import config
from piapi.cli.data import in_words, opened_database
from piapi.models import NOBODY, Event, EventFilter
from piapi.storage.events import EventRows


@click.group()
def doors() -> None:
    """Doors, and their history."""


@doors.command("log")
@click.argument("name")
@click.option("--lines", default=50, show_default=True, type=click.IntRange(1, 100_000), help="The last so many.")
def log_door(name: str, lines: int) -> None:
    """Print what was asked of a door, by whom, and what it did. Times are local."""
    with in_words():
        known = config.load().doors
    with opened_database(make=False) as database:
        rows = EventRows(database)
        found: list[Event] = []
        while len(found) < lines:
            page = rows.page(
                EventFilter(), min(200, lines - len(found)), found[-1].id if found else None, [f"door:{name}"]
            )
            if not page:
                break
            found += page
    if not found and name not in known:
        raise click.ClickException(f"There is no door {name}, and never was as far as the journal goes.")
    for event in reversed(found):
        click.echo(line_of(event))


def line_of(event: Event) -> str:
    """An entry of the journal about a door, as a line."""
    at = event.at.astimezone().strftime("%Y-%m-%d %H:%M:%S")
    say = _WORDS.get(event.type)
    words = say(event.data) if say else f"{event.type} {dict(event.data)}"
    return f"{at}  {words}" + ("" if event.actor == NOBODY else f"  ({event.actor})")


def _command(data: Mapping[str, Any]) -> str:
    if "target" in data:
        return "open" if data["target"] == "open" else "close"
    if "toggle" in data:
        return "press"
    if "cancel" in data:
        return "cancel"
    if "asked" in data:
        return f"change its {data['asked'].removesuffix('s')}"
    return "lock" if data.get("locked") else "unlock"


def _unsaid(data: Mapping[str, Any]) -> str:
    return f" ({data['unsaid']} more were refused before)" if data.get("unsaid") else ""


def _operation(data: Mapping[str, Any]) -> str:
    what = {"open": "opening it", "closed": "closing it"}.get(data.get("target") or "", "pressing it")
    detail = f": {data['detail']}" if data.get("detail") else ""
    return f"{what}: {data.get('state', '').replace('_', ' ')}{detail}"


def _sensor(data: Mapping[str, Any]) -> str:
    more = f", {data['edges']} changes within a second" if data.get("edges", 1) > 1 else ""
    more += ", seen late" if data.get("corrected") else ""
    return f"{data.get('sensor')} sensor {'on' if data.get('value') else 'off'}{more}"


def _lock(data: Mapping[str, Any]) -> str:
    if not data.get("locked"):
        return "unlocked"
    return f"locked: {data['reason']}" if data.get("reason") else "locked"


_BASIS = {"sensor": ", by its sensor", "inferred": ", as far as can be told"}

_WORDS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "command.accepted": lambda data: f"asked to {_command(data)}",
    "command.refused": lambda data: f"asked to {_command(data)}, refused: {data.get('reason')}{_unsaid(data)}",
    "operation.state": _operation,
    "door.state": lambda data: f"the door is {data.get('state')}{_BASIS.get(data.get('basis', ''), '')}",
    "door.sensor": _sensor,
    "door.pressed": lambda data: f"button pressed for {data.get('for_s')} s",
    "door.released": lambda data: f"button released after {data.get('on_s'):.3f} s ({data.get('cause')})",
    "door.moved_unasked": lambda data: f"the door moved, and nobody had asked piapi: {data.get('state')}",
    "door.left_open": lambda data: f"left open since {data.get('since')}",
    "door.lock": _lock,
    "door.auto_close_suspended": lambda data: "closes by itself no more, after closes that failed",
}
