"""Time-lapses without threads: a clock that goes only when told, a camera that gives what a test says, real disk."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC
from pathlib import Path
from typing import Any

from PIL import Image as Pictures

from piapi.errors import Fault
from piapi.film.pictures import luminance
from piapi.hardware.base import Control, ControlValue
from piapi.services.capture_queue import Taken
from piapi.services.events import Events
from piapi.services.live import Picture
from piapi.services.timelapses.active import ActiveJob
from piapi.services.timelapses.exposing import Exposing
from piapi.services.timelapses.running import Running
from piapi.services.timelapses.taking import Taker
from piapi.services.timelapses.timelapses import Timelapses
from piapi.services.timelapses.window import Place
from piapi.storage.database import Database
from piapi.storage.timelapses import TimelapseStore
from piapi.timelapse import Plan, Row, Timelapse
from tests.fakes import FakeClock


def jpeg(width: int = 64, height: int = 48, grey: int = 128) -> bytes:
    """A small picture, all of one grey."""
    file = io.BytesIO()
    Pictures.new("L", (width, height), grey).convert("RGB").save(file, "JPEG")
    return file.getvalue()


@dataclass
class Still:
    """An image that is encoded already."""

    data: bytes
    width: int = 64
    height: int = 48

    def rotated(self, degrees: int) -> Still:
        return self

    def encode(self, format: str, *, width: int = 0, height: int = 0, quality: int = 0) -> bytes:
        return self.data


@dataclass
class TickCamera:
    """A camera that takes `takes_s` for a picture, or raises what a test says."""

    clock: FakeClock
    name: str = "cam"
    model: str | None = "fake"
    takes_s: float = 0.01
    fails: Exception | None = None
    is_open: bool = True
    is_emulated: bool = True
    pass_time: Callable[[float], None] | None = None
    """Lets time go by while a picture is taken."""
    asked: list[dict[str, ControlValue]] = field(default_factory=list)
    taken: int = 0
    data: bytes = field(default_factory=jpeg)

    @property
    def owner(self) -> TickCamera:
        return self

    def expect(self, moment: float) -> None:
        """It is opened in time."""

    def take_tick(self, width: int, height: int, controls: Mapping[str, ControlValue], begin_at: float) -> Taken:
        pass_time = self.pass_time or self.clock.advance
        if (wait_s := begin_at - self.clock.monotonic()) > 0:
            pass_time(wait_s)
        exposed_at = self.clock.monotonic()
        pass_time(self.takes_s)
        if self.fails is not None:
            raise self.fails
        self.taken += 1
        self.asked.append(dict(controls))
        return Taken(Picture(Still(self.data), exposed_at, self.clock.now(), {}, True))

    @property
    def controls(self) -> Mapping[str, Control]:
        return {
            "exposure": Control("auto", choices=("auto", "manual")),
            "exposure_s": Control(None, 0.0001, 10.0),
            "gain": Control(None, 1.0, 16.0),
        }

    def look(self, controls: Mapping[str, ControlValue]) -> Mapping[str, ControlValue]:
        return {"exposure_s": 0.02, "gain": 2.0}

    def still_size(self, width: int, height: int, across: int, down: int) -> tuple[int, int]:
        return width or across, height or down

    def configured_size(self) -> tuple[int, int]:
        return 64, 48

    def faults_of_still(self, width: int, height: int, controls: Mapping[str, ControlValue]) -> list[Fault]:
        return []


class Cameras(dict[str, TickCamera]):
    """By name, as `services.cameras.Cameras`."""

    def __iter__(self) -> Iterator[Any]:
        return iter(self.values())


class Disk:
    """How much is free, as a test says."""

    def __init__(self) -> None:
        self.free = 10**12


class Bench:
    """One data folder, and what works in it, from one crash to the next."""

    def __init__(self, folder: Path, clock: FakeClock | None = None, **cameras: TickCamera) -> None:
        self.folder = folder
        self.clock = clock or FakeClock()
        self.camera = cameras.get("cam") or TickCamera(self.clock)
        self.cameras = Cameras({"cam": self.camera, **cameras})
        self.disk = Disk()
        self.boot_id = "boot-1"
        self.quota_bytes = 0
        self.is_believed = True
        self.measure: Callable[[bytes], float] = luminance
        self.begin()

    def begin(self) -> None:
        """A process starts."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.database = Database(self.folder / "piapi.db")
        self.database.open()
        self.store = TimelapseStore(self.database, self.folder, quota_bytes=self.quota_bytes)
        self.store.has_room = lambda wanted: self.disk.free >= wanted  # type: ignore[method-assign]
        self.store.prepare()
        self.events = Events(self.database, self.clock)

        def make_taker(camera: Any, on_done: Callable[[ActiveJob], None]) -> Taker:
            return Taker(camera, self.store, Exposing(), self.measure, self.clock, on_done, lambda wanted: None)

        place = Place(52.5, 13.4, UTC)
        self.running = Running(
            self.store, self.cameras, make_taker, self.events, place, self.clock,  # type: ignore[arg-type]
            self.boot_id, lambda: self.is_believed, self.free_bytes,
        )  # fmt: skip
        self.lapses = Timelapses(self.store, self.running, self.events, place, self.clock)
        for camera in self.cameras.values():
            camera.pass_time = self._pass_time
        self.running.resume()

    def free_bytes(self) -> int:
        """What time-lapses may take."""
        left = self.store.quota_left()
        return self.disk.free if left is None else min(self.disk.free, left)

    def _pass_time(self, seconds: float) -> None:
        """Time is kept while a camera is busy."""
        end_us = round((self.clock.monotonic() + seconds) * 1e6)
        while (next_us := self.running.scheduler.run_due()) is not None and next_us <= end_us:
            self.clock.advance((next_us - self.clock.monotonic() * 1e6) / 1e6)
        self.clock.advance(max(0.0, end_us / 1e6 - self.clock.monotonic()))

    def crash(self, off_s: float = 0.0, reboot: bool = False) -> None:
        """The process is gone, between two steps, and another one starts after `off_s` seconds."""
        self.database.close()
        self.clock.advance(off_s)
        if reboot:
            self.boot_id += "'"
        self.begin()

    def start(self, **wanted: Any) -> Timelapse:
        """Begin a job; what is due now is captured."""
        wanted.setdefault("interval_s", 5.0)
        made = self.lapses.create(self.camera, Plan(**wanted))  # type: ignore[arg-type]
        self.running.run_due()
        return made

    def run(self, seconds: float) -> None:
        """Let time go by, from one thing that is due to the next."""
        end_us = round((self.clock.monotonic() + seconds) * 1e6)
        while True:
            next_us = self.running.run_due()
            self.lapses.reckon()
            now_us = round(self.clock.monotonic() * 1e6)
            if next_us is None or next_us > end_us:
                break
            if next_us > now_us:
                self.clock.advance((next_us - now_us) / 1e6)
        self.clock.advance(max(0.0, end_us / 1e6 - self.clock.monotonic()))
        self.running.run_due()

    def get(self, made: Timelapse) -> Timelapse:
        return self.lapses.get(made.id)

    def ledger(self, made: Timelapse) -> list[Row]:
        """All rows, in order."""
        rows: list[Row] = []
        while page := self.lapses.rows(made.id, 200, rows[-1].index if rows else None):
            rows += page
        return rows[::-1]

    def film_ticks(self, made: Timelapse) -> list[int]:
        """The ticks in the film, in order."""
        from piapi.film.writer import FilmWriter

        writer = FilmWriter(self.store.film_folder(made.id), made.plan.video.fps)
        writer.open()
        return list(writer.indices())

    def close(self) -> None:
        self.database.close()


@contextmanager
def bench(folder: Path) -> Iterator[Bench]:
    """A bench that is closed at the end."""
    made = Bench(folder)
    try:
        yield made
    finally:
        made.close()
