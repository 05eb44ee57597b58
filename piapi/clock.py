"""The one seam for time. Everything that spaces, labels or waits asks a `Clock`; tests pass their own.

Wall time is a label (a Pi has no clock of its own, and time jumps when the network comes); spacing is by
CLOCK_BOOTTIME, which never jumps and counts while the machine sleeps (clock_gettime(2)).
"""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol


class Clock(Protocol):
    """Where time comes from."""

    def now(self) -> datetime:
        """Wall time, in UTC. May jump either way."""

    def monotonic(self) -> float:
        """Seconds since boot. Only ever goes forward."""

    def wait(self, condition: threading.Condition, timeout: float | None) -> bool:
        """Wait on a held condition, at most `timeout` seconds; False when it timed out."""


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """Wall time, in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds of CLOCK_BOOTTIME."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def wait(self, condition: threading.Condition, timeout: float | None) -> bool:
        """Wait on a held condition."""
        return condition.wait(None if timeout is None else max(timeout, 0.0))


def boot_id() -> str:
    """What names this boot of the machine, as long as it lasts (random(4)): `Clock.monotonic` compares within one."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def wall_time_of(clock: Clock, moment: float) -> datetime:
    """The wall time of a moment of `clock.monotonic()`, by what the wall clock says now."""
    return clock.now() - timedelta(seconds=clock.monotonic() - moment)


def format_time(moment: datetime) -> str:
    """RFC 3339 in UTC with milliseconds, as in every answer: `2026-11-20T21:37:28.123Z`."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"
