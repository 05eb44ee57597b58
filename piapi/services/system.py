"""What the machine says of itself. What is not known is None, and never guessed."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from piapi.clock import Clock
from piapi.storage.photos import PhotoLibrary

#: Bits of the firmware's `get_throttled` (Raspberry Pi documentation, "vcgencmd"); since the boot they are 16 higher.
_THROTTLED = {"under_voltage": 0, "frequency_capped": 1, "throttled": 2, "soft_temperature_limit": 3}
_SINCE_BOOT = 16


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


@dataclass(frozen=True, slots=True)
class Throttled:
    """What the firmware holds back."""

    now: tuple[str, ...]
    since_boot: tuple[str, ...]


class System:
    """The machine. `root`: where its `/proc` and `/sys` are."""

    def __init__(
        self,
        library: PhotoLibrary,
        folder: Path,
        floor_bytes: int,
        is_synchronised: Callable[[], bool | None],
        clock: Clock,
        root: Path = Path("/"),
    ) -> None:
        self._library = library
        self._folder = folder
        self._floor_bytes = floor_bytes
        self._is_synchronised = is_synchronised
        self._clock = clock
        self._root = root
        self._started_at = clock.monotonic()

    def uptime_s(self) -> float:
        """Seconds since piapi began."""
        return self._clock.monotonic() - self._started_at

    def model(self) -> str | None:
        """What the device tree calls the machine."""
        text = self._text("proc/device-tree/model")
        return text.strip("\0\n ") or None if text else None

    def cpu_temperature_c(self) -> float | None:
        """Degrees Celsius of the first thermal zone (Linux, thermal/sysfs-api)."""
        text = self._text("sys/class/thermal/thermal_zone0/temp")
        return int(text) / 1000 if text and re.fullmatch(r"-?\d+\n?", text) else None

    def throttled(self) -> Throttled | None:
        """What the firmware of a Raspberry Pi says."""
        text = self._text("sys/devices/platform/soc/soc:firmware/get_throttled")
        if not text or not re.fullmatch(r"(0x)?[0-9a-fA-F]+\n?", text):
            return None
        bits = int(text, 16)
        return Throttled(
            tuple(name for name, bit in _THROTTLED.items() if bits >> bit & 1),
            tuple(name for name, bit in _THROTTLED.items() if bits >> (bit + _SINCE_BOOT) & 1),
        )

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

    def memory(self) -> tuple[int, int] | None:
        """Total and available, in bytes (proc_meminfo(5))."""
        text = self._text("proc/meminfo") or ""
        found = {name: int(value) * 1024 for name, value in re.findall(r"^(\w+): +(\d+) kB$", text, re.MULTILINE)}
        if "MemTotal" in found and "MemAvailable" in found:
            return found["MemTotal"], found["MemAvailable"]
        return None

    @staticmethod
    def load() -> float | None:
        """Mean number of processes that want a processor, over a minute."""
        try:
            return os.getloadavg()[0]
        except OSError:
            return None

    def _text(self, path: str) -> str | None:
        try:
            return (self._root / path).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return None
