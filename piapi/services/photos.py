"""The photo library: taking photos, finding them, changing and removing them."""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from piapi.clock import format_time
from piapi.errors import NotFound, TooManyRequests
from piapi.hardware.base import ControlValue
from piapi.models import NOBODY, Photo, PhotoFilter, PhotoFormat
from piapi.services.cameras import CameraService
from piapi.services.events import Events
from piapi.services.exif import record_for, with_exif
from piapi.services.places import Places
from piapi.services.thumbnails import THUMBNAIL_WIDTHS, kept_width, make_thumbnail
from piapi.storage.database import Along
from piapi.storage.photos import PhotoLibrary, key_of

#: Requests that may make thumbnails, or wait for it, at once: a browser sends six, and each takes a thread.
MOST_THUMBNAILS = 6

#: Archives that may be on their way at once: each reads the disk as fast as its client takes it.
MOST_ARCHIVES = 4

#: Photos that are read from the database at once for an archive.
ARCHIVE_PAGE = 50


@dataclass(frozen=True, slots=True)
class PhotoRequest:
    """How a photo is wanted."""

    width: int = 0
    height: int = 0
    quality: int = 0
    """1–100; 0: a JPEG as it came from the camera, or a good default."""
    format: PhotoFormat = "jpeg"
    controls: Mapping[str, ControlValue] | None = None
    label: str | None = None


class Photos:
    """Photos that are kept."""

    def __init__(
        self, library: PhotoLibrary, events: Events, random: Callable[[int], bytes] = secrets.token_bytes
    ) -> None:
        self._library = library
        self._events = events
        self._random = random
        self._thumbnailing = threading.Lock()  # one at a time: a thumbnail of 12 megapixels takes 20 MB
        self._waiting = threading.BoundedSemaphore(MOST_THUMBNAILS)
        self._archives = Places("archives", MOST_ARCHIVES)
        self._changing = threading.Lock()

    def take(
        self, camera: CameraService, wanted: PhotoRequest, *along: Callable[[Photo], Along], by: str = NOBODY
    ) -> Photo:
        """Take a photo and keep it: on disk and synced when this returns, and with it what `along` make of it."""
        taken = camera.take(wanted.width, wanted.height, wanted.controls or {}, raw=wanted.format == "dng")
        picture, image = taken.picture, taken.picture.image
        width, height = image.width, image.height
        if wanted.format == "dng":
            data = taken.raw or b""
        else:
            width, height = camera.still_size(wanted.width, wanted.height, width, height)
            data = image.encode(wanted.format, width=width, height=height, quality=wanted.quality)
            record = record_for(camera.name, picture.captured_at, wanted.label, picture.metadata, picture.emulated)
            data = with_exif(data, picture.captured_at, camera.model, picture.metadata, record)
        photo = Photo(
            seq=0,
            id=self._random(8).hex(),
            camera=camera.name,
            captured_at=picture.captured_at,
            width=width,
            height=height,
            size_bytes=len(data),
            format=wanted.format,
            sha256=hashlib.sha256(data).hexdigest(),
            label=wanted.label,
            pinned=False,
            metadata=picture.metadata,
            emulated=picture.emulated,
        )
        kept = self._library.add(photo, data, self._captured(photo, by), *(of(photo) for of in along))
        if wanted.format == "dng":  # nothing here develops raw, so its thumbnails come from what the camera made of it
            for size in THUMBNAIL_WIDTHS:
                self._library.keep_thumbnail(kept, size, picture.jpeg(size))
        return kept

    def get(self, id: str, even_missing: bool = False) -> Photo:
        """Raises NotFound; unless `even_missing`, also for a photo whose file has gone."""
        photo = self._library.get(id)
        if photo is None:
            raise NotFound(f"There is no photo {id}.")
        if photo.is_missing and not even_missing:
            raise NotFound("The file of this photo has gone. Put it back and start piapi again, or delete the photo.")
        return photo

    def page(self, chosen: PhotoFilter, limit: int, before: tuple[int, int] | None) -> list[Photo]:
        """Newest first."""
        return self._library.page(chosen, limit, before)

    def archive(self, chosen: PhotoFilter) -> PhotoArchive:
        """The same photos, one after the other. Raises TooManyRequests when too many are being sent already."""
        return PhotoArchive(self._library, chosen, self._archives.take())

    def change(self, id: str, changes: Mapping[str, Any], allow: Callable[[Photo], None], *, by: str = NOBODY) -> Photo:
        """Set `label` or `pinned`, whichever is named, if `allow` raises nothing for the photo as it is now."""
        with self._changing:
            photo = self.get(id)
            allow(photo)
            changed = replace(photo, **changes)
            self._library.change(changed, self._told("photo.changed", photo, changes, by))
        return changed

    def remove(self, id: str, allow: Callable[[Photo], None], *, by: str = NOBODY) -> None:
        """Remove a photo for good, if `allow` raises nothing for it as it is now. Raises NotFound."""
        with self._changing:
            photo = self.get(id, even_missing=True)
            allow(photo)
            self._library.remove(photo, self._told("photo.removed", photo, {}, by))

    def file(self, photo: Photo) -> Path:
        """Where its bytes are."""
        return self._library.path(photo)

    def thumbnail(self, photo: Photo, width: int) -> bytes:
        """A JPEG at least `width` pixels wide (rounded up to a kept size, never larger than the photo). Made once."""
        size = kept_width(width)
        if (kept := self._library.thumbnail(photo, size)) is not None:
            return kept
        if not self._waiting.acquire(blocking=False):
            raise TooManyRequests("Many thumbnails are being made; this one is next.", retry_after_s=1)
        try:
            with self._thumbnailing:
                return self._library.thumbnail(photo, size) or self._make_thumbnail(photo, size)
        finally:
            self._waiting.release()

    def _captured(self, photo: Photo, by: str) -> Along:
        data = {"captured_at": format_time(photo.captured_at), "label": photo.label, "emulated": photo.emulated}
        return self._told("photo.captured", photo, data, by)

    def _told(self, type: str, photo: Photo, data: Mapping[str, Any], by: str) -> Along:
        return self._events.entry(type, f"camera:{photo.camera}", {"id": photo.id, **data}, actor=by)

    def _make_thumbnail(self, photo: Photo, size: int) -> bytes:
        try:
            made = make_thumbnail(self._library.path(photo), size)
        except FileNotFoundError:
            raise NotFound("The file of this photo has gone.") from None
        self._library.keep_thumbnail(photo, size, made)
        return made


class PhotoArchive:
    """Photos on their way into one file, newest first, read page by page as they are asked for."""

    def __init__(self, library: PhotoLibrary, chosen: PhotoFilter, on_close: Callable[[], None]) -> None:
        self._library = library
        self._chosen = chosen
        self._on_close = on_close

    def __iter__(self) -> Iterator[tuple[Photo, Path]]:
        """Each with its file, which may have gone since."""
        before: tuple[int, int] | None = None
        while page := self._library.page(self._chosen, ARCHIVE_PAGE, before):
            before = key_of(page[-1])
            for photo in page:
                yield photo, self._library.path(photo)

    def close(self) -> None:
        """Give the place back. To be called once."""
        self._on_close()
