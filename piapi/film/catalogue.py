"""What is known of all closed segments of a film: some bytes a frame, whatever the film's length.

It is read from the segments, and kept as one file beside them, so that a film of a month opens as fast as a short one.
That file may be behind, damaged or lost: the segments are what counts.
"""

from __future__ import annotations

import contextlib
import logging
import os
import struct
import sys
import zlib
from array import array
from bisect import bisect
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from piapi.film import segments
from piapi.film.segments import Head, NotWhole
from piapi.storage.files import write_whole

_log = logging.getLogger(__name__)

_NAME = "index"
_MAGIC = b"piapi\x00i\x01"
_CRC = struct.Struct("<I")
_COUNTS = struct.Struct("<IIIIIB")


@dataclass(frozen=True, slots=True)
class Hole:
    """Where segments are missing or damaged between others that are whole."""

    ordinals: range
    """Of those segments."""
    after: int
    """The tick of the last frame before them; -1: they are the first."""
    before: int
    """The tick of the first frame after them."""
    frames: int = 0
    """Those of a segment that is in its place, and whose samples are damaged."""


class Catalogue:
    """The closed segments of a film, in order. Not for two threads at once."""

    def __init__(self) -> None:
        self.sizes, self.keys = array("I"), array("I")
        """Bytes of each frame; numbers of key frames, from 1."""
        self.ordinals, self.counts, self.heads = array("I"), array("I"), array("I")
        """Name, frames, and bytes of the head, of each segment."""
        self.data_sizes, self.checks, self.own_sets = array("Q"), array("I"), array("B")
        self.firsts, self.lasts = array("q"), array("q")
        """Ticks of the first and of the last frame of each segment."""
        self.sets: tuple[bytes, ...] = ()
        self.width, self.height = 0, 0

    @property
    def frames(self) -> int:
        """In all closed segments."""
        return len(self.sizes)

    @property
    def size(self) -> tuple[int, int]:
        """Of all pictures; 0, 0 while there are none."""
        return self.width, self.height

    @property
    def last_index(self) -> int | None:
        """The tick of the last frame; None when there is none."""
        return self.lasts[-1] if self.lasts else None

    @property
    def next_ordinal(self) -> int:
        """Of the segment that comes next."""
        return self.ordinals[-1] + 1 if self.ordinals else 0

    def add(self, ordinal: int, head: Head) -> None:
        """A segment that is whole comes after all others. Raises NotWhole when it does not go with them."""
        if not head.indices or (self.lasts and head.indices[0] <= self.lasts[-1]):
            raise NotWhole("its frames are not later than those before it")
        if not self.ordinals:
            self.sets, self.width, self.height = head.sets, head.width, head.height
        elif (head.sets, head.width, head.height) != (self.sets, self.width, self.height):
            raise NotWhole("it belongs to another film")
        self.keys.extend(self.frames + 1 + place for place in head.keys)
        self.sizes.extend(head.sizes)
        self.ordinals.append(ordinal)
        self.counts.append(len(head.sizes))
        self.heads.append(head.length)
        self.data_sizes.append(head.data_bytes)
        self.checks.append(head.data_check)
        self.own_sets.append(head.has_own_sets)
        self.firsts.append(head.indices[0])
        self.lasts.append(head.indices[-1])

    def holes(self) -> list[Hole]:
        """Where segments are missing before others, in order."""
        found, last, after = [], -1, -1
        for ordinal, first, tick in zip(self.ordinals, self.firsts, self.lasts, strict=True):
            if ordinal > last + 1:
                found.append(Hole(range(last + 1, ordinal), after, first))
            last, after = ordinal, tick
        return found

    def hole_at(self, ordinal: int) -> Hole:
        """A segment whose samples are damaged, as a hole."""
        place = self.ordinals.index(ordinal)
        return Hole(
            range(ordinal, ordinal + 1), self.firsts[place] - 1, self.lasts[place] + 1, frames=self.counts[place]
        )

    def with_segments(self, made: Mapping[int, Head]) -> Catalogue:
        """The same with these segments put in, by ordinal, or put in the place of others. Raises NotWhole when one does
        not go with those beside it."""
        whole, start = Catalogue(), 0
        known: dict[int, Head] = {}
        for place, ordinal in enumerate(self.ordinals):
            known[ordinal] = self._head(place, start)
            start += self.counts[place]
        for ordinal, head in sorted({**known, **made}.items()):
            whole.add(ordinal, head)
        return whole

    def _head(self, place: int, start: int) -> Head:
        """What is known of a segment whose first frame is number `start`: of the ticks the first and the last alone."""
        end = start + self.counts[place]
        keys = self.keys[bisect(self.keys, start) : bisect(self.keys, end)]
        return Head(
            *self.size,
            self.sets,
            bool(self.own_sets[place]),
            array("q", (self.firsts[place], self.lasts[place])),
            self.sizes[start:end],
            tuple(key - start - 1 for key in keys),
            self.checks[place],
            self.heads[place],
        )

    def drop_last(self) -> int:
        """Forget the last segment, and give its ordinal."""
        count = self.counts[-1]
        del self.sizes[len(self.sizes) - count :]
        while self.keys and self.keys[-1] > len(self.sizes):
            self.keys.pop()
        ordinal = self.ordinals[-1]
        for column in self._columns()[2:]:
            column.pop()
        if not self.ordinals:
            self.sets, self.width, self.height = (), 0, 0
        return ordinal

    def save(self, folder: Path) -> None:
        """Keep it as a file. Without a sync: what is damaged or lost is read from the segments."""
        sets = b"".join(struct.pack("<H", len(each)) + each for each in self.sets)
        counts = _COUNTS.pack(self.frames, len(self.keys), len(self.ordinals), *self.size, len(self.sets))
        data = b"".join((_MAGIC, counts, sets, *map(_little, self._columns())))
        write_whole(folder / _NAME, data + _CRC.pack(zlib.crc32(data)))

    def _columns(self) -> tuple[array[int], ...]:
        of_segments = (self.ordinals, self.counts, self.heads, self.checks, self.own_sets)
        return (self.sizes, self.keys, *of_segments, self.data_sizes, self.firsts, self.lasts)

    def _restore(self, data: bytes) -> None:
        if not data.startswith(_MAGIC) or zlib.crc32(data[:-4]) != _CRC.unpack(data[-4:])[0]:
            raise NotWhole("the index is damaged")
        frames, keys, count, self.width, self.height, sets = _COUNTS.unpack_from(data, len(_MAGIC))
        at = len(_MAGIC) + _COUNTS.size
        for _set in range(sets):
            (size,) = struct.unpack_from("<H", data, at)
            self.sets += (data[at + 2 : at + 2 + size],)
            at += 2 + size
        for column, entries in zip(self._columns(), (frames, keys, *[count] * 8), strict=True):
            end = at + entries * column.itemsize
            column.frombytes(data[at:end])
            if sys.byteorder == "big":
                column.byteswap()
            at = end


def load(folder: Path) -> tuple[Catalogue, list[tuple[Path, str]]]:
    """All whole segments of a folder, and those that are not, with the reason. Changes nothing."""
    found = _segments(folder)
    catalogue = _indexed(folder, found)
    bad: list[tuple[Path, str]] = []
    for ordinal in sorted(found.keys() - set(catalogue.ordinals)):
        path = segments.path_of(folder, ordinal)
        try:
            # What was written last is what a power cut may have hurt, on a card that lies about its syncs.
            catalogue.add(ordinal, segments.read(path, check_data=ordinal == max(found)))
        except NotWhole as fault:
            bad.append((path, str(fault)))
    return catalogue, bad


def forget(folder: Path) -> None:
    """Remove the file, before something happens to segments that it names."""
    (folder / _NAME).unlink(missing_ok=True)


def _segments(folder: Path) -> dict[int, int]:
    """Bytes of each segment file, by ordinal."""
    found = {}
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            name, dot, suffix = entry.name.partition(".")
            if dot + suffix == segments.SUFFIX and name.isdecimal():
                found[int(name)] = entry.stat().st_size
    return found


def _indexed(folder: Path, found: dict[int, int]) -> Catalogue:
    """What the file says, if every segment that it names is there and of that size; else nothing."""
    catalogue = Catalogue()
    try:
        catalogue._restore((folder / _NAME).read_bytes())
    except FileNotFoundError:
        return Catalogue()
    except (OSError, NotWhole, struct.error, ValueError) as error:
        _log.warning("The index of %s is not used: %s", folder, error)
        return Catalogue()
    expected = zip(catalogue.ordinals, catalogue.heads, catalogue.data_sizes, strict=True)
    if any(found.get(ordinal) != head + data for ordinal, head, data in expected):
        return Catalogue()
    if catalogue.ordinals and any(o < catalogue.ordinals[-1] for o in found.keys() - set(catalogue.ordinals)):
        return Catalogue()
    return catalogue


def _little(values: array[int]) -> bytes:
    if sys.byteorder == "little":
        return values.tobytes()
    turned = values[:]
    turned.byteswap()
    return turned.tobytes()
