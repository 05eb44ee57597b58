"""A film whose segments can be made again where they were damaged or lost, each in its place.

What is whole stays as it is and where it is: to encode a month anew because of one bit would take a small Pi for days.
"""

from __future__ import annotations

import logging
import shutil
from bisect import bisect, bisect_left
from collections import deque
from collections.abc import Iterable
from datetime import datetime, tzinfo
from pathlib import Path

from piapi.errors import DamagedPicture
from piapi.film import catalogue, segments
from piapi.film.catalogue import Hole
from piapi.film.tail import Tail
from piapi.film.writer import FilmWriter
from piapi.storage.files import in_words, sync_folder

_log = logging.getLogger(__name__)

#: Folder in the film's own, where segments are made that go into its middle.
_WITHIN = "mending"

Frame = tuple[int, bytes, datetime]
"""Tick, JPEG, and when it was captured."""


class MendingWriter(FilmWriter):
    """A `FilmWriter` that finds holes and fills them. All of this is for the thread that appends."""

    def __init__(self, folder: Path, fps: float, width: int = 0, zone: tzinfo | None = None) -> None:
        super().__init__(folder, fps, width, zone)
        self._fps = fps
        self.holes: deque[Hole] = deque()
        """Found by `open()` and `check()`, and not looked at by `fill()` yet."""
        self._unchecked: deque[int] = deque()
        """Segments whose samples nobody has read since `open()`."""

    def open(self) -> None:
        """As `FilmWriter.open`; what is missing in the middle is in `holes` then."""
        super().open()
        self.holes, self._unchecked = deque(self._closed.holes()), deque(self._closed.ordinals)

    def check(self) -> bool:
        """Read the samples of one more of the segments that `open()` has found; False when all have been. One that is
        damaged becomes a hole, and stays in the film meanwhile."""
        with self._working:
            if not self._unchecked:
                return False
            ordinal = self._unchecked.popleft()
            try:
                segments.read(segments.path_of(self._folder, ordinal), check_data=True)
            except segments.NotWhole as fault:
                _log.warning("Segment %d of %s is to be made again: %s", ordinal, self._folder, fault)
                self.holes.append(self._closed.hole_at(ordinal))
            return True

    def fill(self, frames: Iterable[Frame], timestamp: bool) -> bool:
        """Make the segments of the first of `holes` again, from these frames, which lie within it; those that cannot be
        decoded are left out. The hole is no longer in `holes` then, also where there was no frame for it.

        False, and nothing changed: what would come out does not go with what follows. Raises StorageError and
        HardwareError, and the hole stays.
        """
        with self._working:
            hole = self.holes[0]
            try:
                fits = self._fill(hole, frames, timestamp)
            except OSError as error:
                raise in_words(error) from error
            finally:
                shutil.rmtree(self._folder / _WITHIN, ignore_errors=True)
            self.holes.popleft()
            return fits

    def _fill(self, hole: Hole, frames: Iterable[Frame], timestamp: bool) -> bool:
        made = self._like_this(before=bisect_left(self._closed.ordinals, hole.ordinals[0]))
        for index, jpeg, captured_at in frames:
            try:
                made.append(index, jpeg, captured_at, timestamp)
            except DamagedPicture as error:
                _log.warning("Frame %d is not in the film in %s: %s", index, self._folder, error)
        made.finish()
        if made.frames < max(1, hole.frames):
            return True  # what is damaged is better than nothing
        mixed_after = self._closed.own_sets[bisect(self._closed.ordinals, hole.ordinals[-1]) :]
        if len(made._closed.ordinals) > len(hole.ordinals) or (any(made._closed.own_sets) and not all(mixed_after)):
            return False
        catalogue.forget(self._folder)
        sync_folder(self._folder)
        heads = {}
        for ordinal, place in zip(made._closed.ordinals, hole.ordinals, strict=False):
            heads[place] = segments.read(segments.path_of(made._folder, ordinal))
            segments.path_of(made._folder, ordinal).rename(segments.path_of(self._folder, place))
        sync_folder(self._folder)
        with self._state:
            self._closed, self._made = self._closed.with_segments(heads), None
        return True

    def _like_this(self, before: int) -> FilmWriter:
        """An empty film in a folder within, whose pictures can be put after so many segments of this one."""
        shutil.rmtree(self._folder / _WITHIN, ignore_errors=True)
        made = FilmWriter(self._folder / _WITHIN, self._fps, self._width, self._zone)
        made.open()
        made._size, made._tail = self._size, Tail(self._closed.sets, mixed=any(self._closed.own_sets[:before]))
        return made

    def truncate_after(self, index: int) -> None:
        """As `FilmWriter.truncate_after`; a hole in what is dropped is none any more."""
        super().truncate_after(index)
        last, end = self._closed.last_index, self._closed.next_ordinal
        self.holes = deque(hole for hole in self.holes if last is not None and hole.before <= last)
        self._unchecked = deque(ordinal for ordinal in self._unchecked if ordinal < end)
