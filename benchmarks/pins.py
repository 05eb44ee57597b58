"""Switching a pin over HTTP, beside bare Flask views with a token that switch a gpiozero mock pin."""

from __future__ import annotations

import contextlib
import itertools
import secrets
from collections.abc import Iterator
from pathlib import Path

from benchmarks.lab import Lab
from benchmarks.load import median, spread
from benchmarks.processes import free_port, running, wait_for_answer
from benchmarks.servers import THREADS, Server, gunicorn_command
from benchmarks.switching import PIN, Switch, Taken, both_folders, more_tokens, piapi_with_pins
from benchmarks.table import Row, compared

OURS = f"/api/v1/pins/{PIN}/value"
BARE, WITH_JOURNAL = f"/pins/{PIN}/value", f"/journal/pins/{PIN}/value"


def measure(lab: Lab) -> list[Row]:
    """With the data on the disk, then where a sync costs nothing."""
    with both_folders(lab, "pins") as folders:
        return [row for where, folder in folders.items() for row in _rows(lab, where, folder)]


@contextlib.contextmanager
def switch_views(folder: Path) -> Iterator[Server]:
    """Bare Flask with a token, its database in `folder`."""
    (folder / "peer").mkdir()
    port, token = free_port(), secrets.token_urlsafe()
    environment = {"PEER_TOKEN": token, "PEER_DATABASE": str(folder / "peer" / "commands.db")}
    with running(gunicorn_command("switch:app", port, THREADS), folder / "peer", environment=environment) as process:
        wait_for_answer(process, port, "/")
        yield Server("Flask and a token", process, port, token)


def _rows(lab: Lab, where: str, folder: Path) -> list[Row]:
    with contextlib.ExitStack() as stack:
        ours = stack.enter_context(piapi_with_pins(folder))
        peer = stack.enter_context(switch_views(folder))
        switches = [Switch(ours, OURS, more_tokens(ours)), Switch(peer, BARE), Switch(peer, WITH_JOURNAL)]
        for switch in switches:
            switch.alternate(0.5)
        rounds = [[switch.alternate(lab.take(2, 1)) for switch in switches] for _ in range(lab.rounds(5))]
    return [_row(where, kind, rounds) for kind in ("on", "off")]


def _row(where: str, kind: str, rounds: list[list[Taken]]) -> Row:
    mine, bare, journal = ([getattr(taken[side], kind) for taken in rounds] for side in range(3))
    ratio = median([median(ours) / median(its) for ours, its in zip(mine, bare, strict=True)])
    beside = f"{_text(bare)} Flask + token; {_text(journal)} with a synced insert"
    what = f"PUT value {kind}, {where}: p50"
    if where == "on disk" and kind == "on":  # what the sync takes is the disk's, not ours
        return Row(what, _text(mine), beside, ratio)
    return compared(what, _text(mine), beside, ratio, "≤ 1.5")


def _text(rounds: list[list[float]]) -> str:
    return spread(list(itertools.chain(*rounds)))
