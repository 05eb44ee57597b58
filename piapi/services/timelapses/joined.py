"""How the parts of time-lapses are joined."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from piapi.clock import Clock
from piapi.film.pictures import luminance
from piapi.services.cameras import Cameras, CameraService
from piapi.services.events import Events
from piapi.services.system import System
from piapi.services.timelapses.active import ActiveJob
from piapi.services.timelapses.exposing import Exposing
from piapi.services.timelapses.renders import Renders
from piapi.services.timelapses.running import Running
from piapi.services.timelapses.taking import Taker
from piapi.services.timelapses.timelapses import Timelapses
from piapi.services.timelapses.window import Located, place_of
from piapi.storage.database import Database
from piapi.storage.renders import RenderStore
from piapi.storage.timelapses import TimelapseStore


class Kept(Protocol):
    """What keeps things."""

    events: Events
    timelapses: TimelapseStore

    def on_full(self, wanted_bytes: int, /) -> None:
        """So much found no space."""

    def is_believed(self) -> bool:
        """Whether the wall clock is right."""


def timelapses(
    cameras: Cameras, kept: Kept, folder: Path, floor_bytes: int, place: Located, clock: Clock, boot_id: str
) -> Timelapses:
    """The time-lapses of these cameras."""
    exposing = Exposing()

    def make_taker(camera: CameraService, on_done: Callable[[ActiveJob], None]) -> Taker:
        return Taker(camera, kept.timelapses, exposing, luminance, clock, on_done, kept.on_full)

    at = place_of(place)

    def free_bytes() -> int:
        free, left = shutil.disk_usage(folder).free - floor_bytes, kept.timelapses.quota_left()
        return free if left is None else min(free, left)

    running = Running(
        kept.timelapses, cameras, make_taker, kept.events, at, clock, boot_id, kept.is_believed, free_bytes
    )
    return Timelapses(kept.timelapses, running, kept.events, at, clock)


def renders(
    lapses: Timelapses, kept: Kept, database: Database, folder: Path, place: Located, system: System, clock: Clock
) -> Renders:
    """Their renders."""

    def is_hot() -> bool:
        throttled = system.throttled()
        return throttled is not None and not {"throttled", "soft_temperature_limit"}.isdisjoint(throttled.now)

    def has_room(wanted_bytes: int) -> bool:
        return kept.timelapses.has_room(wanted_bytes) and kept.timelapses.is_within_quota(wanted_bytes)

    return Renders(RenderStore(database, folder), lapses, place.time_zone, has_room, is_hot, kept.events, clock)
