"""How piapi's machine is: what it says of itself, the disk of the data, and whether its clock is right."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from piapi.clock import Clock
from piapi.services.machine import Machine
from piapi.storage.photos import PhotoLibrary


@dataclass(frozen=True, slots=True)
class Disk:
    """The disk of the data folder, in bytes."""

    total_bytes: int
    free_bytes: int
    floor_bytes: int
    photos: int
    photos_bytes: int

    @property
    def is_low(self) -> bool:
        """Whether nothing is free above the floor."""
        return self.free_bytes < self.floor_bytes


class System(Machine):
    """The machine that piapi runs on, with its disk and its clock."""

    def __init__(
        self,
        library: PhotoLibrary,
        folder: Path,
        floor_bytes: int,
        is_synchronised: Callable[[], bool | None],
        clock: Clock,
        root: Path = Path("/"),
    ) -> None:
        super().__init__(root)
        self._library = library
        self._folder = folder
        self._floor_bytes = floor_bytes
        self._is_synchronised = is_synchronised
        self._clock = clock
        self._started_at = clock.monotonic()

    def uptime_s(self) -> float:
        """Seconds since piapi began."""
        return self._clock.monotonic() - self._started_at

    def clock_synchronised(self) -> bool | None:
        """Whether the wall clock is right, as far as the machine or its owner knows."""
        return self._is_synchronised()

    def disk(self) -> Disk | None:
        """The disk of the data folder."""
        try:
            usage = shutil.disk_usage(self._folder)
        except OSError:
            return None
        count, size = self._library.totals()
        return Disk(usage.total, usage.free, self._floor_bytes, count, size)
