"""Rows and files of the photo library, made to agree again at a start.

A file without a row (the database is from an older backup, or a deletion was cut off) gets one, from what the file
itself says. A row without its file is kept and marked, and is whole again when the file is back. Nothing is deleted.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from piapi.clock import Clock, format_time
from piapi.errors import DataDiskMissing, StorageFull
from piapi.models import Photo, PhotoFormat
from piapi.services.events import Events
from piapi.services.exif import record_of
from piapi.storage.files import in_words
from piapi.storage.inventory import Differences, Inventory
from piapi.storage.photos import ENDINGS, MOST_LINES, PhotoLibrary

log = logging.getLogger(__name__)

UNKNOWN_CAMERA = "recovered"
"""The camera of a photo whose file does not say it."""

#: Seconds that files are adopted before the service starts, and at each turn of the housekeeper after that. A start
#: must not take minutes: whoever watches it (gunicorn, systemd) would end it.
ADOPTING_S = 3.0

_FORMATS: Mapping[str, PhotoFormat] = {ending: format for format, ending in ENDINGS.items()}


class Recovery:
    """What a start does for the photo library."""

    def __init__(self, library: PhotoLibrary, inventory: Inventory, events: Events, clock: Clock) -> None:
        self._library = library
        self._inventory = inventory
        self._events = events
        self._clock = clock
        self._strays: list[str] = []
        self._adopted = 0
        self._set_aside = 0

    def run(self, accept_empty: bool = False) -> None:
        """Compare, mark, adopt. What there is no time or space for is adopted later, by `adopt_more`.

        Raises DataDiskMissing where there should be photos and not one file is there (unless `accept_empty`), and
        StorageError.
        """
        found = self._inventory.compare()
        if found.is_empty_disk and not accept_empty:
            raise DataDiskMissing(
                f"The database knows {len(found.gone)} photos, and not one of their files is in the folder photos "
                "beside it. Mount the disk they are on, or put them back. If they are gone for good: piapi fsck --mend"
            )
        self._clear(found.thumbnails)
        self._strays = self._oldest_first(found.strays)
        if self._strays:
            log.warning("%d photos have a file and no row; they get one", len(self._strays))
        try:
            self._mark(found)
            self.adopt_more()
        except StorageFull as error:  # on a full disk one wants to come in, and delete something
            log.warning("recovery goes on when there is space: %s", error)

    def adopt_more(self) -> None:
        """Make rows for the files that have none, for a few seconds. Raises StorageError."""
        if not self._strays:
            return
        until = self._clock.monotonic() + ADOPTING_S
        while self._strays:
            name = self._strays[-1]
            try:
                self._adopt(self._library.place(name))
            except FileNotFoundError:
                log.info("%s has gone meanwhile", name)
            except OSError as error:
                raise in_words(error) from error
            self._strays.pop()
            if self._clock.monotonic() >= until:
                break
        if not self._strays:
            log.warning("recovery has ended: %d photos adopted, %d files set aside", self._adopted, self._set_aside)

    def finish(self) -> None:
        """Adopt all that is left. Raises StorageError."""
        while self._strays:
            self.adopt_more()

    def _mark(self, found: Differences) -> None:
        tell(found.gone, "the file of photo %s has gone; its row is kept, marked")
        tell(found.back, "the file of photo %s is back")
        counts = {"missing": len(found.gone), "found": len(found.back)}
        if found.gone or found.back:
            entry = self._events.entry("storage.mended", "system:storage", counts)
            last = (found.back, None) if found.back else (found.gone, self._clock.now())
            if found.back and found.gone:
                self._inventory.mark(found.gone, self._clock.now())
            self._inventory.mark(*last, entry)

    @staticmethod
    def _clear(thumbnails: Sequence[Path]) -> None:
        for thumbnail in thumbnails:
            with contextlib.suppress(OSError):  # it costs space, and nothing else
                thumbnail.unlink()
        if thumbnails:
            log.info("removed %d thumbnails of photos that are gone", len(thumbnails))

    def _oldest_first(self, names: Sequence[str]) -> list[str]:
        """In the order in which they are to be taken from the end."""

        def written(name: str) -> float:
            try:
                return self._library.place(name).stat().st_mtime
            except OSError:
                return 0.0

        return sorted(names, key=written, reverse=True)

    def _adopt(self, path: Path) -> None:
        """Make a row of a file; one that is no whole picture is set aside."""
        try:
            photo = read_photo(path)
        except NotAPicture as fault:
            place = self._library.set_aside(path)
            self._set_aside += 1
            if self._set_aside <= MOST_LINES:
                log.warning("moved %s to %s/: it is no whole picture (%s)", path.name, place.parent.name, fault)
            return
        data = {"id": photo.id, "captured_at": format_time(photo.captured_at)}
        entry = self._events.entry("photo.recovered", f"camera:{photo.camera}", data)
        self._library.add_row(photo, entry, is_dated=False)
        self._adopted += 1
        if self._adopted <= MOST_LINES:
            log.warning("photo %s of %s has a row again", photo.id, photo.camera)


class NotAPicture(Exception):
    """A file that cannot be decoded to its end."""


def tell(ids: Sequence[str], line: str) -> None:
    """A line in the log for each, and a sum for those beyond the bound."""
    for id in ids[:MOST_LINES]:
        log.warning(line, id)
    if len(ids) > MOST_LINES:
        log.warning(line, f"… and {len(ids) - MOST_LINES} more")


def read_photo(path: Path) -> Photo:
    """A photo, as its file tells of it (`record_for`). Raises NotAPicture, OSError."""
    format = _FORMATS[path.suffix[1:]]
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        status = path.stat()
    (width, height), record = _look_into(path, format)
    return Photo(
        seq=0,
        id=path.stem,
        camera=_text(record, "camera", 40) or UNKNOWN_CAMERA,
        captured_at=_time(record) or datetime.fromtimestamp(status.st_mtime, UTC),
        width=width,
        height=height,
        size_bytes=status.st_size,
        format=format,
        sha256=digest,
        label=_text(record, "label", 100),
        pinned=False,
        metadata=record["metadata"] if isinstance(record.get("metadata"), dict) else {},
        emulated=record.get("emulated") is True,
    )


def _look_into(path: Path, format: PhotoFormat) -> tuple[tuple[int, int], Mapping[str, Any]]:
    """Size in pixels, and what is kept inside. Reads to the end, as a JPEG at an eighth of its size."""
    from PIL import Image

    try:
        with Image.open(path, formats=("TIFF",) if format == "dng" else (format,)) as picture:
            size, record = picture.size, record_of(picture)
            if format == "jpeg":
                picture.draft("L", (max(1, size[0] // 8), max(1, size[1] // 8)))
            if format != "dng":  # nothing here develops raw
                picture.load()
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 — Pillow raises many kinds, and the file may be anything
        if isinstance(error, OSError) and error.errno is not None:  # the disk's fault, not the file's
            raise
        raise NotAPicture(str(error)) from error
    return size, record


def _text(record: Mapping[str, Any], name: str, most: int) -> str | None:
    value = record.get(name)
    return value if isinstance(value, str) and 0 < len(value) <= most else None


def _time(record: Mapping[str, Any]) -> datetime | None:
    try:
        return datetime.fromisoformat(str(record.get("captured_at"))).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
