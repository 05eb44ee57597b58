"""piapi started on this machine over what a power cut has left, and held against what was told before."""

from __future__ import annotations

import contextlib
import multiprocessing
import shutil
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from flask import Flask

import config
from piapi.app import create_app
from piapi.clock import SystemClock
from piapi.console import run_folder
from piapi.hardware.gpio_simulated import SimulatedBoard, history_of
from piapi.lines.simulated import CLAIMED_OUTPUT, WRITTEN
from piapi.services.inspection import Inspection
from piapi.storage.database import Database
from tests.lab.acknowledged import Period, assert_kept
from tests.lab.image import HERE
from tests.lab.writes import Cut, CutDisks, Write, read_out
from tests.service import Answer

PROCESSES = 2
FILMS_EVERY = 4
"""Cuts, until films are looked at again."""

MEMORY, MEMORY_BYTES = Path("/dev/shm"), 2**30  # noqa: S108 — as a disk would be the slowest part, where there is so much


class Here:
    """The client that was told, on this machine."""

    def __init__(self, app: Flask, token: str) -> None:
        self._client, self._token = app.test_client(), token

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        where = path if path.startswith("/") else f"/api/v1/{path}"
        headers["Authorization"] = f"Bearer {self._token}"
        answer = self._client.open(where, method=method, json=body, headers=headers)
        return answer.status_code, {name.lower(): value for name, value in answer.headers.items()}, answer.data


def settings(folder: Path) -> config.Settings:
    """Those of the guest, with cameras and lines that are here, and a clock that is right."""
    there = config.load({}, HERE / "piapi.toml")
    return replace(
        there,
        storage=config.Storage(path=folder, floor_bytes=0),
        clock=config.ClockTrust(trust="always"),
        gpio=config.Gpio(backend="simulated"),
        cameras={name: config.Camera(backend="simulated", width=640, height=480) for name in there.cameras},
    )


def assert_recovered(folder: Path, period: Period, token: str, *, with_films: bool) -> None:
    """piapi starts, has all that was told, moves nothing, and finds no fault."""
    lines = run_folder(folder) / "gpio.simulated"
    lines.parent.mkdir()
    app = create_app(settings(folder), board=SimulatedBoard(lines, SystemClock(), keep_history=True))
    runtime = app.extensions["piapi"]
    try:
        runtime.start()
        assert_kept(Here(app, token), period, with_films=with_films)
    finally:
        runtime.close()
    driven = [change for change in history_of(lines) if change.what in (CLAIMED_OUTPUT, WRITTEN)]
    moved = [change for change in driven if change.after]
    assert driven and not moved, moved
    with contextlib.closing(Database(folder / "piapi.db")) as database:
        database.open(migrate=False)
        faults = list(Inspection(database, folder, SystemClock()).faults())
        assert not faults, faults


@dataclass(frozen=True)
class Seen:
    """What came of one cut."""

    cut: Cut
    checked: Counter[str]
    seconds: float
    fault: str


@dataclass(frozen=True)
class Recording:
    """All that a cut is made of, and looked at with."""

    start: Path
    log: Path
    period: Period
    token: str
    writes: Sequence[Write]

    def told_by(self, cut: Cut) -> Period:
        """What had been told when it came."""
        end = self.writes[cut.writes].begins_at if cut.writes < len(self.writes) else self.log.stat().st_size
        return self.period.by(end)


def look_at(recording: Recording, cuts: Sequence[Cut]) -> list[Seen]:
    """At each, in their order."""
    has_memory = shutil.disk_usage(MEMORY).free > MEMORY_BYTES
    with tempfile.TemporaryDirectory(dir=MEMORY if has_memory else None) as place:
        disks = CutDisks(recording.start, recording.log, Path(place, "base"), recording.writes)
        return [_seen(recording, disks, cut, Path(place)) for cut in cuts]


def _seen(recording: Recording, disks: CutDisks, cut: Cut, place: Path) -> Seen:
    began, told, fault = time.monotonic(), recording.told_by(cut), ""
    disk, folder = place / "disk", place / "data"
    try:
        disks.make(cut, disk)
        read_out(disk, folder)
        assert_recovered(folder, told, recording.token, with_films=cut.seed % FILMS_EVERY == 0)
    except Exception:  # noqa: BLE001 — the others are looked at all the same
        fault = traceback.format_exc()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return Seen(cut, told.counts(), time.monotonic() - began, fault)


def look_at_all(recording: Recording, cuts: Sequence[Cut]) -> Iterator[Seen]:
    """As many at a time as there are processes."""
    ordered = sorted(cuts)
    with ProcessPoolExecutor(PROCESSES, multiprocessing.get_context("spawn")) as pool:
        for seen in pool.map(look_at, [recording] * PROCESSES, [ordered[part::PROCESSES] for part in range(PROCESSES)]):
            yield from seen
