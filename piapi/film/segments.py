"""Closed segments of a film: files that are written once, whole or not at all, and know by themselves whether they are.

A file is a head (magic, its length, counts, size of the picture, parameter sets, index and size of each frame, CRC) and
the samples, one after the other, as an MP4 holds them. Numbers are little-endian.
"""

from __future__ import annotations

import struct
import zlib
from array import array
from dataclasses import dataclass
from pathlib import Path

from piapi.storage.files import write_durably

SUFFIX = ".segment"

_MAGIC = b"piapi\x00f\x01"  # the last byte is the version
_START = struct.Struct("<8sI")
_COUNTS = struct.Struct("<IIIIBB")
_CRC = struct.Struct("<I")
_KEY = 1 << 31
_LARGEST_HEAD = 1 << 20


class NotWhole(Exception):
    """A file that is cut off, damaged, or no segment."""


@dataclass(frozen=True)
class Head:
    """What is known of a segment."""

    width: int
    height: int
    sets: tuple[bytes, ...]
    """Parameter sets of the film: those that its first picture came with."""
    has_own_sets: bool
    """Whether other parameter sets stand within its samples."""
    indices: array[int]
    """Tick of each frame ("q"), rising."""
    sizes: array[int]
    """Bytes of each sample ("I")."""
    keys: tuple[int, ...]
    """Frames, from 0, that decoding can begin with; 0 is one."""
    data_check: int = 0
    """CRC of the samples."""
    length: int = 0
    """Bytes of this head in its file."""

    @property
    def data_bytes(self) -> int:
        """Of all samples."""
        return sum(self.sizes)


def path_of(folder: Path, ordinal: int) -> Path:
    """Where a segment is; `ordinal` counts from 0."""
    return folder / f"{ordinal:08d}{SUFFIX}"


def write(path: Path, head: Head, samples: list[bytes]) -> Head:
    """Make a segment durable, and give its head as it was written. Raises StorageFull, and leaves nothing then."""
    data = b"".join(samples)
    packed = _packed(head, zlib.crc32(data))
    write_durably(path, packed + data, path.parent)
    return _unpacked(packed)


def read(path: Path, *, check_data: bool = False) -> Head:
    """The head of a segment. Raises NotWhole, also where the file is shorter or longer than its head says."""
    try:
        with path.open("rb") as file:
            start = file.read(_START.size)
            if len(start) < _START.size:
                raise NotWhole("it is cut off in its first bytes")
            length = _length(start)
            head = _unpacked(start + file.read(length - len(start)))
            if path.stat().st_size != length + head.data_bytes:
                raise NotWhole("it has not the size that its head says")
            if check_data and zlib.crc32(file.read()) != head.data_check:
                raise NotWhole("its samples are damaged")
            return head
    except OSError as error:
        raise NotWhole(f"it cannot be read: {error.strerror}") from error


def filmed_after(folder: Path, index: int) -> list[int]:
    """Ticks above this one of which there is a frame in a whole segment."""
    found: list[int] = []
    for path in sorted(folder.glob(f"*{SUFFIX}"), reverse=True):
        try:
            indices = read(path).indices
        except NotWhole:  # it is set aside when the film is opened
            continue
        if not indices or indices[-1] <= index:
            break
        found += [tick for tick in indices if tick > index]
    return sorted(found)


def _packed(head: Head, data_check: int) -> bytes:
    sets = b"".join(struct.pack("<H", len(each)) + each for each in head.sets)
    marked = [size | _KEY * (place in head.keys) for place, size in enumerate(head.sizes)]
    count = len(marked)
    body = _COUNTS.pack(count, head.width, head.height, data_check, head.has_own_sets, len(head.sets)) + sets
    body += struct.pack(f"<{count}q{count}I", *head.indices, *marked)
    whole = _START.pack(_MAGIC, _START.size + len(body) + _CRC.size) + body
    return whole + _CRC.pack(zlib.crc32(whole))


def _length(start: bytes) -> int:
    magic, length = _START.unpack(start)
    if magic != _MAGIC or not _START.size < length < _LARGEST_HEAD:
        raise NotWhole("it is no segment that this version knows")
    return int(length)


def _unpacked(packed: bytes) -> Head:
    length = _length(packed[: _START.size])
    if len(packed) != length or zlib.crc32(packed[: -_CRC.size]) != _CRC.unpack(packed[-_CRC.size :])[0]:
        raise NotWhole("its head is cut off or damaged")
    count, width, height, data_check, own, sets_count = _COUNTS.unpack_from(packed, _START.size)
    at, sets = _START.size + _COUNTS.size, []
    for _set in range(sets_count):
        (size,) = struct.unpack_from("<H", packed, at)
        sets.append(packed[at + 2 : at + 2 + size])
        at += 2 + size
    numbers = struct.unpack_from(f"<{count}q{count}I", packed, at)
    sizes = array("I", (number & ~_KEY for number in numbers[count:]))
    keys = tuple(place for place, number in enumerate(numbers[count:]) if number & _KEY)
    return Head(width, height, tuple(sets), bool(own), array("q", numbers[:count]), sizes, keys, data_check, length)
