"""What a machine says of itself. What is not known is None, and never guessed."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

#: Bits of the firmware's `get_throttled` (Raspberry Pi documentation, "vcgencmd"); since the boot they are 16 higher.
_THROTTLED = {"under_voltage": 0, "frequency_capped": 1, "throttled": 2, "soft_temperature_limit": 3}
_SINCE_BOOT = 16


@dataclass(frozen=True, slots=True)
class Throttled:
    """What the firmware holds back."""

    now: tuple[str, ...]
    since_boot: tuple[str, ...]


class Machine:
    """A machine. `root`: where its `/proc`, `/sys` and `/etc` are."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root

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

    def kernel(self) -> str | None:
        """The kernel's release, as `uname -r` has it (proc_sys_kernel(5))."""
        return (self._text("proc/sys/kernel/osrelease") or "").strip() or None

    def operating_system(self) -> str | None:
        """What the operating system calls itself (os-release(5))."""
        found = re.search(r'^PRETTY_NAME="?([^"\n]*)', self._text("etc/os-release") or "", re.MULTILINE)
        return found[1] if found else None

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
