"""What the owner wants no longer: photos over the quota, and photos over an age. Pinned ones are never touched.

The clock lies (a Pi has none of its own). So the quota goes by the order in which photos were kept, and never asks the
time; and age counts only while the clock is believed, and for a photo that a believed clock dated.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Literal

from piapi.clock import Clock, format_time
from piapi.models import Photo
from piapi.services.events import Events
from piapi.storage.database import Along
from piapi.storage.photos import PhotoLibrary

log = logging.getLogger(__name__)

Cause = Literal["quota", "age"]

#: Photos in one transaction: it must not keep a photo that is being taken waiting.
AT_ONCE = 20

#: Transactions in one turn of the housekeeper, who has other things to do.
MOST_BATCHES = 10


class Retention:
    """Removes photos as configured. 0 stands for no limit."""

    def __init__(
        self,
        library: PhotoLibrary,
        events: Events,
        clock: Clock,
        quota_bytes: int,
        max_age_days: int,
        is_clock_believed: Callable[[], bool],
        beside: Callable[[], int] = lambda: 0,
    ) -> None:
        """`beside`: bytes of what counts for the quota too, and is not removed for it."""
        self._library = library
        self._events = events
        self._clock = clock
        self._quota = quota_bytes
        self._max_age = timedelta(days=max_age_days)
        self._is_clock_believed = is_clock_believed
        self._beside = beside
        self._is_hopeless = False
        """Whether the log says already that nothing is left to remove."""

    def keep_quota(self) -> None:
        """Remove the photos that were kept first, until the rest fits the quota. Raises StorageError."""
        for _ in range(MOST_BATCHES if self._quota else 0):
            over = self._library.taken_bytes() + self._beside() - self._quota
            if over <= 0:
                return
            first = self._library.first_unpinned(AT_ONCE)
            if not self._remove(_enough(first, over), "quota"):
                if not self._is_hopeless:
                    log.warning(
                        "pinned photos and time-lapses alone are %d bytes over the quota: no other photo is kept", over
                    )
                self._is_hopeless = True
                return
            self._is_hopeless = False

    def keep_age(self) -> None:
        """Remove what is older than the owner wants. Raises StorageError."""
        for _ in range(MOST_BATCHES if self._max_age else 0):
            if not self._is_clock_believed():
                return
            old = self._library.unpinned_before(self._clock.now() - self._max_age, AT_ONCE)
            if not self._remove(old, "age"):
                return

    def _remove(self, photos: Sequence[Photo], cause: Cause) -> bool:
        """Whether any of them was removed."""

        def tell(photo: Photo) -> Along:
            data = {"id": photo.id, "captured_at": format_time(photo.captured_at), "cause": cause}
            return self._events.entry("photo.removed", f"camera:{photo.camera}", data)

        removed = self._library.remove_unpinned(photos, tell) if photos else []
        if removed:
            log.info("removed %d photos by %s", len(removed), cause)
        return bool(removed)


def _enough(photos: Sequence[Photo], wanted_bytes: int) -> list[Photo]:
    """The first of them, as many as it takes to free so much."""
    chosen: list[Photo] = []
    for photo in photos:
        if wanted_bytes <= 0:
            break
        chosen.append(photo)
        wanted_bytes -= photo.size_bytes
    return chosen
