"""A film that grows by a frame at a time and can be watched at any moment.

Frames are encoded as they come. Sixty of them are a segment, which is written whole or not at all; those since are in
memory, and after a crash have to be appended again from their JPEGs.
"""

from __future__ import annotations

import logging
import threading
from array import array
from collections.abc import Iterator
from datetime import datetime, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING

from piapi.errors import HardwareError, StorageError
from piapi.film import catalogue, encoder, mp4, nal, segments, stamp
from piapi.film.catalogue import Catalogue
from piapi.film.files import FilmFile
from piapi.film.pictures import Decoder
from piapi.film.rates import exact_rate
from piapi.film.reading import assembled
from piapi.film.tail import Sample, Tail
from piapi.storage.files import PART, in_words, sync_folder
from piapi.timelapse import Film

if TYPE_CHECKING:
    import av

_log = logging.getLogger(__name__)

SEGMENT_FRAMES = 60

#: Segments after which what is known of all of them is written down anew, so that the next start need not read them.
_INDEX_EVERY = 128

_DAMAGED = ".damaged"


def _encoding_errors() -> type[Exception]:
    import av

    return av.FFmpegError


class FilmWriter:
    """The film of one job, in a folder of its own. One thread appends; any thread may ask for a snapshot.

    `fps` is 0.1 to 120 (ValueError). `width` 0: as the first frame; all later ones are fitted into its size. `zone` is
    that of the timestamps; None: the system's.
    """

    def __init__(self, folder: Path, fps: float, width: int = 0, zone: tzinfo | None = None) -> None:
        self._folder, self._width, self._zone = folder, width, zone
        self._rate = exact_rate(fps)
        self._working = threading.RLock()  # held while frames are encoded and segments written
        self._state = threading.Lock()  # held for moments: what a snapshot is made of
        self._closed = Catalogue()
        self._tail = Tail()
        self._held: list[tuple[int, av.VideoFrame]] = []  # in an encoder that has not given them out yet
        self._size: tuple[int, int] | None = None
        self._decoder: Decoder | None = None
        self._encoder: encoder.Encoder | None = None
        self._made: FilmFile | None = None

    @property
    def last_index(self) -> int | None:
        """The tick of the last frame, durable or not; right after `open()`, of the last durable one. None: no frame."""
        with self._state:
            if self._held:
                return self._held[-1][0]
            return self._tail.samples[-1].index if self._tail.samples else self._closed.last_index

    @property
    def closed_index(self) -> int | None:
        """The tick of the last frame that survives a power cut. None: none does."""
        with self._state:
            return self._closed.last_index

    @property
    def frames(self) -> int:
        """In the film."""
        with self._state:
            return self._closed.frames + len(self._tail.samples) + len(self._held)

    @property
    def closed_frames(self) -> int:
        """Of those the ones that survive a power cut."""
        with self._state:
            return self._closed.frames

    def extent(self) -> Film:
        """How large the film is, without having an encoder give out what it holds."""
        with self._state:
            known, tail = self._closed, self._tail.samples
            keys, chunks = len(known.keys) + sum(each.key for each in tail), len(known.counts) + bool(tail)
            room = mp4.steady_room(known.frames + len(tail), keys, chunks)
            samples = sum(known.data_sizes) + sum(len(each.data) for each in tail)
            frames = known.frames + len(tail) + len(self._held)
            return Film(frames, float(frames / self._rate), room + samples)

    @property
    def closed_bytes(self) -> int:
        """That the closed segments take on disk."""
        with self._state:
            return sum(self._closed.heads) + sum(self._closed.data_sizes)

    def open(self) -> None:
        """Find what is there. Remains of a write are removed; a segment that is not whole is set aside, and logged.

        Raises StorageError.
        """
        with self._working:
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
                for part in self._folder.glob(f"*{PART}"):
                    part.unlink()
                known, bad = catalogue.load(self._folder)
                for path, reason in bad:
                    _log.warning("%s is set aside: %s", path, reason)
                    path.rename(path.with_suffix(_DAMAGED))
            except OSError as error:
                raise in_words(error) from error
            with self._state:
                self._closed, self._held, self._made = known, [], None
                self._tail = Tail(known.sets, mixed=any(known.own_sets))
                self._size = known.size if known.frames else None
            self._encoder = None

    def append(self, index: int, jpeg: bytes, captured_at: datetime, timestamp: bool) -> bool:
        """Put the frame of tick `index` at the end; whether this has made a segment durable.

        Raises ValueError unless `index` is after all that the film has, DamagedPicture for a JPEG that cannot be
        decoded, HardwareError when no encoder works, and StorageFull where a full segment cannot be written: the film
        is then as it was before. A segment that cannot be written after this frame is no error of this frame's: the
        next `append` or `finish` tries again.
        """
        with self._working:
            last = self.last_index
            if last is not None and index <= last:
                raise ValueError(f"frame {index} is not after {last}, which the film ends with")
            closed = len(self._tail.samples) >= SEGMENT_FRAMES and self._close_segment()
            self._decoder = self._decoder or Decoder()
            picture = self._decoder.picture(jpeg, self._size, self._width)
            if timestamp:
                stamp.draw(picture, captured_at, self._zone)
            self._encode(index, picture)
            if len(self._tail.samples) + len(self._held) < SEGMENT_FRAMES:
                return closed
            try:
                return self._close_segment() or closed
            except StorageError as error:
                _log.warning("The film in %s cannot be written now: %s", self._folder, error)
                return closed

    def rest(self) -> None:
        """Let the encoder and its memory go. The film is as it was, and the next frame opens another one."""
        with self._working:
            self._drain()
            self._encoder = self._decoder = None

    def finish(self) -> None:
        """Close the open segment, however short. May be called twice. Raises StorageFull; then call it again later."""
        with self._working:
            self.rest()
            if self._tail.samples:
                self._close_segment()
            if self._closed.frames:
                self._save_index()

    def snapshot(self) -> FilmFile:
        """The film of every frame so far. Raises NoFilm before the first."""
        if self._held:
            with self._working:
                self._drain()
        with self._state:
            if self._made is None:
                size = self._size or (0, 0)
                self._made = assembled(
                    self._folder, self._closed, self._tail.samples, self._rate, self._tail.sets, size
                )
            return self._made

    def truncate_after(self, index: int) -> None:
        """Drop every segment with a frame after `index`, and such frames of the open end: `last_index` then tells what
        has to be appended again. Raises StorageError."""
        with self._working:
            self.rest()
            with self._state:
                self._tail.samples = [sample for sample in self._tail.samples if sample.index <= index]
                self._made = None
            try:
                if (last := self._closed.last_index) is not None and last > index:
                    catalogue.forget(self._folder)
                    sync_folder(self._folder)
                    self._drop_segments(index)
                    sync_folder(self._folder)
            except OSError as error:
                raise in_words(error) from error
            with self._state:
                kept, self._made = self._tail.samples, None
                self._size = self._size if kept or self._closed.frames else None
                self._tail = Tail(self._tail.sets if self._size else (), mixed=self._is_mixed(kept))
                self._tail.samples = kept

    def indices(self) -> Iterator[int]:
        """The tick of each frame, in order; read from the segments, so for mending only."""
        for ordinal in self._closed.ordinals[:]:
            yield from segments.read(segments.path_of(self._folder, ordinal)).indices
        yield from [sample.index for sample in self._tail.samples]
        yield from [index for index, _picture in self._held]

    def _drop_segments(self, index: int) -> None:
        while (last := self._closed.last_index) is not None and last > index:
            with self._state:
                self._made = None
                ordinal = self._closed.drop_last()
            segments.path_of(self._folder, ordinal).unlink(missing_ok=True)

    def _is_mixed(self, samples: list[Sample]) -> bool:
        return any(self._closed.own_sets) or any(sample.has_own_sets for sample in samples)

    def _encode(self, index: int, picture: av.VideoFrame) -> None:
        with self._state:
            self._held.append((index, picture))
            self._made = None
        try:
            self._put_in(picture)
        except _encoding_errors() as error:
            self._go_on_without(error, but_for=index)
        with self._state:
            self._size = picture.width, picture.height

    def _put_in(self, picture: av.VideoFrame) -> None:
        fresh = self._encoder is None
        if self._encoder is None:
            self._encoder = encoder.Encoder(picture.width, picture.height, self._rate, SEGMENT_FRAMES)
        out = self._encoder.encode(picture, key=fresh or not self._tail.samples and len(self._held) == 1)
        with self._state:
            self._take(out)

    def _drain(self) -> None:
        """Have the encoder give out all that it holds. It is used up by that."""
        if self._encoder is not None and self._encoder.holds_back:
            try:
                out = self._encoder.drain()
                self._encoder = None
                with self._state:
                    self._take(out)
            except _encoding_errors() as error:
                self._go_on_without(error)

    def _go_on_without(self, error: Exception, but_for: int | None = None) -> None:
        """An encoder has failed: what it still held goes through the next one. Where there is none, frame `but_for` was
        not taken, and its error goes up."""
        failed, self._encoder = self._encoder, None
        if failed is None or not failed.give_up():
            with self._state:
                self._held = [held for held in self._held if held[0] != but_for]
            raise HardwareError(f"The film cannot be encoded: {error}.") from error
        for _index, picture in self._held[:]:
            self._put_in(picture)

    def _take(self, out: list[nal.Picture]) -> None:
        for encoded in out:
            index, _picture = self._held.pop(0)
            self._tail.add(index, encoded)
        self._made = None

    def _close_segment(self) -> bool:
        """True. Raises StorageFull, and changes nothing."""
        self._drain()
        samples, ordinal = self._tail.samples, self._closed.next_ordinal
        head = segments.Head(
            *(self._size or (0, 0)),
            self._tail.sets,
            self._is_mixed(samples),
            array("q", (sample.index for sample in samples)),
            array("I", (len(sample.data) for sample in samples)),
            tuple(place for place, sample in enumerate(samples) if sample.key),
        )
        written = segments.write(segments.path_of(self._folder, ordinal), head, [each.data for each in samples])
        with self._state:
            self._closed.add(ordinal, written)
            self._tail = Tail(self._tail.sets, mixed=self._is_mixed([]))
            self._made = None
        if ordinal % _INDEX_EVERY == _INDEX_EVERY - 1:
            self._save_index()
        return True

    def _save_index(self) -> None:
        try:
            self._closed.save(self._folder)
        except StorageError as error:  # the segments are what counts
            _log.warning("The index of %s cannot be written: %s", self._folder, error)
