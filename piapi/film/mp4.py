"""The head of an MP4 file of one video track, made from the sizes of its samples.

Boxes by ISO/IEC 14496-12, the sample entries by 14496-15. `moov` stands before `mdat`, so that a player can begin with
the first bytes; what follows the head is the samples, one after the other, and never touched.

Of a film that grows the samples stay where they are in the file (`steady_room`): a player that has read its head, and
later asks for a range of samples without saying of which version, gets what its head means.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import accumulate, groupby

from piapi.film.rates import timescale

#: 14496-12, 8.3.2: no rotation, as 16.16 and 2.30 fixed point.
_UNITY = struct.pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
_UNDETERMINED = 0x55C4  # the language "und", five bits a letter
_LONG = 1 << 32

#: Bytes of a head without its tables, and some more.
_HEAD = 4096

#: Bytes that a steady head has at least: some 15,000 frames.
_LEAST_ROOM = 1 << 16

#: ITU-T H.273. A JPEG has the matrix of BT.601 and, as all cameras mean it, the primaries of BT.709 (which are those of
#: sRGB); only the range is changed on the way into a film, so that no colour is computed twice.
PRIMARIES, TRANSFER, MATRIX = 1, 1, 6


@dataclass(frozen=True)
class Track:
    """What a head says of the samples. Numbers of samples begin with 1, as in the file."""

    entry: bytes
    """The sample entry, a box."""
    width: int
    height: int
    rate: Fraction
    sizes: array[int]
    """Bytes of each sample ("I")."""
    keys: array[int]
    """Numbers of the samples that decoding can begin with ("I")."""
    chunks: Sequence[int]
    """Samples in each chunk."""
    chunk_sizes: Sequence[int]
    """Bytes of each chunk; together the sum of `sizes`."""
    reordered: array[int] = field(default_factory=lambda: array("i"))
    """Where pictures are decoded in another order than shown: place shown, less place decoded, of each."""


def head(track: Track, *, room: int = 0, open_ended: bool = False) -> bytes:
    """`ftyp`, `moov` and the header of `mdat`; the samples come next. With `room`, just as long as that.

    `open_ended`: `mdat` ends with the file (4.2, size 0), so that a head and the end of a later version are a film.
    """
    brands = _box(b"ftyp", b"isom", _u32(512), b"isomiso2mp41", b"hvc1" if b"hvcC" in track.entry else b"avc1")
    data = 0 if open_ended else 8 + sum(track.chunk_sizes)
    data_header = _u32(data) + b"mdat" if data < _LONG else _u32(1) + b"mdat" + struct.pack(">Q", data + 8)
    start = len(brands) + len(_moov(track, 0)) + len(data_header)
    gap = _box(b"free", bytes(room - start - 8)) if room else b""
    return brands + _moov(track, start + len(gap)) + gap + data_header


def room_for(frames: int, chunk: int) -> int:
    """Bytes that a head never needs more of, for so many frames at most in chunks of this many."""
    return _HEAD + frames * (4 + 4 + 8) + (frames // chunk + 1) * 8  # stsz, stss, ctts; co64


def steady_room(frames: int, keys: int, chunks: int) -> int:
    """Bytes for the head of a film that grows: always the same, but for the few times when it doubles."""
    needed = _HEAD + frames * 4 + keys * 4 + chunks * (8 + 12)  # stsz, stss; co64, stsc
    return int(max(_LEAST_ROOM, 1 << (needed - 1).bit_length()))


def sample_entry(kind: bytes, width: int, height: int, configuration: bytes) -> bytes:
    """`avc1`, `avc3` or `hvc1` (14496-15), with the decoder's configuration, the colours, and square pixels."""
    visual = bytes(6) + struct.pack(">H16xHHIIIH32sHh", 1, width, height, 72 << 16, 72 << 16, 0, 1, b"", 24, -1)
    colours = _box(b"colr", b"nclx", struct.pack(">HHHB", PRIMARIES, TRANSFER, MATRIX, 0))
    return _box(kind, visual, configuration, colours, _box(b"pasp", _u32(1, 1)))


def configuration(kind: bytes, content: bytes) -> bytes:
    """`avcC` or `hvcC`."""
    return _box(kind, content)


def _moov(track: Track, start: int) -> bytes:
    scale, step = timescale(track.rate)
    length = len(track.sizes) * step
    delay = -min(track.reordered, default=0)
    movie = _full(
        b"mvhd", 1, 0, struct.pack(">QQIQIH10x", 0, 0, scale, length, 0x10000, 0x100), _UNITY, bytes(24), _u32(2)
    )
    header = _full(
        b"tkhd",
        1,
        3,  # enabled, and part of the presentation
        struct.pack(">QQI4xQ8xhhH2x", 0, 0, 1, length, 0, 0, 0),
        _UNITY,
        _u32(track.width << 16, track.height << 16),
    )
    media = _box(
        b"mdia",
        _full(b"mdhd", 1, 0, struct.pack(">QQIQHH", 0, 0, scale, length, _UNDETERMINED, 0)),
        _full(b"hdlr", 0, 0, bytes(4), b"vide", bytes(12), b"video\0"),
        _box(
            b"minf",
            _full(b"vmhd", 0, 1, bytes(8)),
            _box(b"dinf", _full(b"dref", 0, 0, _u32(1), _full(b"url ", 0, 1))),
            _box(b"stbl", *_tables(track, step, delay, start)),
        ),
    )
    # The first picture is shown at 0 even where decoding runs ahead of showing (8.6.6).
    edits = (
        _box(b"edts", _full(b"elst", 1, 0, _u32(1), struct.pack(">QqHH", length, delay * step, 1, 0))) if delay else b""
    )
    return _box(b"moov", movie, _box(b"trak", header, edits, media))


def _tables(track: Track, step: int, delay: int, start: int) -> Iterable[bytes]:
    count = len(track.sizes)
    yield _full(b"stsd", 0, 0, _u32(1), track.entry)
    yield _full(b"stts", 0, 0, _u32(1, count, step))
    if track.reordered:
        runs = [(len(list(same)), (ahead + delay) * step) for ahead, same in groupby(track.reordered)]
        yield _full(b"ctts", 0, 0, _u32(len(runs)), b"".join(_u32(*run) for run in runs))
    if len(track.keys) < count:
        yield _full(b"stss", 0, 0, _u32(len(track.keys)), _big_endian(track.keys))
    runs, first = [], 1
    for samples, same in groupby(track.chunks):
        runs.append((first, samples))
        first += len(list(same))
    yield _full(b"stsc", 0, 0, _u32(len(runs)), b"".join(_u32(at, samples, 1) for at, samples in runs))
    yield _full(b"stsz", 0, 0, _u32(0, count), _big_endian(track.sizes))
    offsets = array("Q", accumulate(track.chunk_sizes, initial=start))[:-1]
    yield _full(b"co64", 0, 0, _u32(len(offsets)), _big_endian(offsets))


def _box(kind: bytes, *content: bytes) -> bytes:
    return b"".join((_u32(8 + sum(map(len, content))), kind, *content))


def _full(kind: bytes, version: int, flags: int, *content: bytes) -> bytes:
    return _box(kind, _u32(version << 24 | flags), *content)


def _u32(*values: int) -> bytes:
    return struct.pack(f">{len(values)}I", *values)


def _big_endian(values: array[int]) -> bytes:
    if sys.byteorder == "big":
        return values.tobytes()
    turned = values[:]
    turned.byteswap()
    return turned.tobytes()
