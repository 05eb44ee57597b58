"""H.264 and H.265 as encoders deliver them (start codes, Annex B), and as MP4 files hold them (lengths, 14496-15)."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from piapi.film import mp4

_START = re.compile(rb"\x00\x00\x01")

#: NAL unit types (H.264, table 7-1; H.265, table 7-1): parameter sets, the delimiter that MP4 has no use for, and the
#: slices of pictures that decoding can begin with.
_AVC_SETS, _AVC_DELIMITER, _AVC_KEYS = (7, 8), 9, range(5, 6)
_HEVC_SETS, _HEVC_DELIMITER, _HEVC_KEYS = (32, 33, 34), 35, range(16, 22)

#: H.264 profiles whose configuration tells of the kind of samples (14496-15, 5.3.3.1.2).
_HIGH_PROFILES = frozenset({100, 110, 122, 144})


@dataclass(frozen=True, slots=True)
class Picture:
    """One encoded picture: its parameter sets apart, and the rest as a sample with four-byte lengths."""

    sample: bytes
    sets: tuple[bytes, ...]
    """As they came; empty for most pictures that are no beginning."""
    key: bool
    """Whether decoding can begin with it: it is an IDR picture (H.265: or another random access point)."""


def split(stream: bytes, hevc: bool = False) -> Picture:
    """What an encoder has made of one picture."""
    units, sets, is_key = [], [], False
    wanted, delimiter, keys = (
        (_HEVC_SETS, _HEVC_DELIMITER, _HEVC_KEYS) if hevc else (_AVC_SETS, _AVC_DELIMITER, _AVC_KEYS)
    )
    for unit in _units(stream):
        kind = (unit[0] >> 1) & 0x3F if hevc else unit[0] & 0x1F
        if kind in wanted:
            sets.append(bytes(unit))
        elif kind != delimiter:
            units.append(unit)
            is_key = is_key or kind in keys
    return Picture(with_lengths(units), tuple(dict.fromkeys(sets)), is_key)


def with_lengths(units: Sequence[bytes | memoryview]) -> bytes:
    """NAL units one after the other, each after its length."""
    return b"".join(part for unit in units for part in (struct.pack(">I", len(unit)), unit))


def avc_entry(sets: Sequence[bytes], width: int, height: int, *, more_within: bool = False) -> bytes:
    """The sample entry of an H.264 film. `more_within`: other parameter sets stand in samples, which `avc1` forbids."""
    sequence, picture = ([each for each in sets if each[0] & 0x1F == kind] for kind in _AVC_SETS)
    first = sequence[0]
    content = bytes((1, *first[1:4], 0xFF, 0xE0 | len(sequence))) + _counted(sequence)
    content += bytes((len(picture),)) + _counted(picture)
    if first[1] in _HIGH_PROFILES:
        content += bytes((0xFC | 1, 0xF8, 0xF8, 0))  # 4:2:0, 8 bits, 8 bits, no extensions
    return mp4.sample_entry(b"avc3" if more_within else b"avc1", width, height, mp4.configuration(b"avcC", content))


def hevc_entry(sets: Sequence[bytes], width: int, height: int) -> bytes:
    """The sample entry of an H.265 film in 4:2:0 of 8 bits (14496-15, 8.3.3.1)."""
    groups = [(kind, [each for each in sets if (each[0] >> 1) & 0x3F == kind]) for kind in _HEVC_SETS]
    sequence = groups[1][1][0].replace(b"\0\0\3", b"\0\0")
    content = b"\x01" + sequence[3:15]  # general_profile_space … general_level_idc, as profile_tier_level() has them
    content += struct.pack(">HBBBBHB", 0xF000, 0xFC, 0xFC | 1, 0xF8, 0xF8, 0, 1 << 3 | 1 << 2 | 3)
    content += bytes((len(groups),))
    for kind, members in groups:
        content += struct.pack(">BH", 0x80 | kind, len(members)) + _counted(members)
    return mp4.sample_entry(b"hvc1", width, height, mp4.configuration(b"hvcC", content))


def _counted(units: Sequence[bytes]) -> bytes:
    return b"".join(struct.pack(">H", len(unit)) + unit for unit in units)


def _units(stream: bytes) -> Iterator[memoryview]:
    """Zeros before a start code belong to it: no NAL unit ends with one (H.264, 7.4.1)."""
    view = memoryview(stream)
    starts = [found.end() for found in _START.finditer(stream)]
    for start, following in zip(starts, [*(at - 3 for at in starts[1:]), len(stream)], strict=True):
        end = following
        while end > start and stream[end - 1] == 0:
            end -= 1
        if end > start:
            yield view[start:end]
