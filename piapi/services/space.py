"""How much space is free, told to the journal when it falls below the floor, and when it is back."""

from __future__ import annotations

import contextlib
import logging
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

from piapi.errors import StorageError, StorageFull
from piapi.services.events import Events
from piapi.storage.reserve import Reserve

log = logging.getLogger(__name__)

LOW, OK = "storage.low", "storage.ok"

#: Above the floor, before it is said that space is back: a twentieth of the floor, and this at least. Else one photo
#: more and one less would each be an entry.
LEAST_MARGIN_BYTES = 1_000_000


def free_bytes(folder: Path) -> int:
    """What piapi's user may still write."""
    return shutil.disk_usage(folder).free


class Space:
    """The free space of the data folder."""

    def __init__(
        self,
        folder: Path,
        floor_bytes: int,
        events: Events,
        reserve: Reserve,
        free: Callable[[Path], int] = free_bytes,
    ) -> None:
        self._folder = folder
        self._floor = floor_bytes
        self._events = events
        self._reserve = reserve
        self._free = free
        self._margin = max(floor_bytes // 20, LEAST_MARGIN_BYTES)
        self._refused = 0
        self._is_low = False
        self._was_low: bool | None = None
        """What the journal says; None before it has been asked."""
        self._lock = threading.Lock()

    @property
    def is_low(self) -> bool:
        """Whether photos are refused, as it was seen last."""
        return self._is_low

    def look(self) -> None:
        """Ask the disk, and tell the journal of a change. Called now and then. Raises StorageError."""
        free = self._free(self._folder)
        if free < self._floor:
            self._become(True, free)
        elif free >= self._floor + self._refused + self._margin:
            self._refused = 0
            self._become(False, free)
        self._reserve.keep()
        with contextlib.suppress(StorageFull):  # not even room for that: at a later turn
            self._tell(free)

    def refuse(self, wanted_bytes: int) -> None:
        """Take note that so much found no space. Raises nothing: whoever wanted it has an error of its own."""
        try:
            free = self._free(self._folder)
            self._refused = max(self._refused, wanted_bytes)
            self._become(True, free)
            self._tell(free)
        except (StorageError, OSError) as error:
            log.debug("that the disk is full cannot be written down now: %s", error)

    def _become(self, low: bool, free: int) -> None:
        if low and not self._is_low:
            log.warning("space is low: %d bytes are free, and %d are never used", free, self._floor)
        elif self._is_low and not low:
            log.info("space is back: %d bytes are free", free)
        self._is_low = low

    def _tell(self, free: int) -> None:
        with self._lock:
            if self._was_low is None:
                self._was_low = self._events.newest_type(LOW, OK) == LOW
            low = self._is_low
            if low != self._was_low:
                figures = {"free_bytes": free, "floor_bytes": self._floor}
                self._events.record(LOW if low else OK, "system:storage", figures)
                self._was_low = low
