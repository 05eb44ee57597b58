"""What is written over the scene: a clock and a frame number for people, and the same for programs as a strip.

The strip is one row of black and white cells along the upper edge, and the same along the lower edge: 24 bits of the
frame's number, 32 of the moment it was exposed (milliseconds of the monotonic clock), and 8 of a checksum. A frame of
which a part is missing or comes from another frame has two strips that do not agree. They survive JPEG at quality 30
and scaling down to 160 pixels across.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

from piapi.hardware.imaging import Pixels, YuvImage

#: Cells of a strip, and the bytes of its parts.
CELLS = 64
_FRAME_BYTES, _TIME_BYTES = 3, 4

_BLACK, _WHITE, _NEUTRAL = 16, 235, 128

#: Seven rows of five dots for each sign, the leftmost dot the highest bit.
_SIGNS = {
    "0": (14, 17, 19, 21, 25, 17, 14), "1": (4, 12, 4, 4, 4, 4, 14), "2": (14, 17, 1, 2, 4, 8, 31),
    "3": (31, 2, 4, 2, 1, 17, 14), "4": (2, 6, 10, 18, 31, 2, 2), "5": (31, 16, 30, 1, 1, 17, 14),
    "6": (6, 8, 16, 30, 17, 17, 14), "7": (31, 1, 2, 4, 8, 8, 8), "8": (14, 17, 17, 14, 17, 17, 14),
    "9": (14, 17, 17, 15, 1, 2, 12), ":": (0, 4, 4, 0, 4, 4, 0), "-": (0, 0, 0, 14, 0, 0, 0),
    ".": (0, 0, 0, 0, 0, 12, 12), "#": (10, 10, 31, 10, 31, 10, 10), " ": (0, 0, 0, 0, 0, 0, 0),
    "A": (14, 17, 17, 31, 17, 17, 17), "C": (14, 17, 16, 16, 16, 17, 14), "D": (28, 18, 17, 17, 17, 18, 28),
    "E": (31, 16, 16, 30, 16, 16, 31), "I": (14, 4, 4, 4, 4, 4, 14), "L": (16, 16, 16, 16, 16, 16, 31),
    "M": (17, 27, 21, 21, 17, 17, 17), "S": (15, 16, 16, 14, 1, 1, 30), "T": (31, 4, 4, 4, 4, 4, 4),
    "U": (17, 17, 17, 17, 17, 17, 14),
}  # fmt: skip

_DOTS = {
    sign: np.array([[row >> (4 - column) & 1 for column in range(-1, 5)] for row in rows], bool)
    for sign, rows in _SIGNS.items()
}


@dataclass(frozen=True, slots=True)
class Strip:
    """What a strip says."""

    frame: int
    """The frame's number, modulo 2^24."""
    exposed_ms: int
    """When its exposure began, in milliseconds of the monotonic clock, modulo 2^32."""


def strip_height(height: int) -> int:
    """Rows of each strip in a picture of this height."""
    return max(2, round(height / 32))


def draw_strip(onto: YuvImage, frame: int, exposed_at: float) -> None:
    """Draw both strips. `exposed_at` in seconds of the monotonic clock."""
    cells = np.unpackbits(np.frombuffer(_packed(frame, round(exposed_at * 1000)), np.uint8))
    shades = np.where(cells, _WHITE, _BLACK).astype(np.uint8)
    rows = strip_height(onto.height)
    line = shades[(2 * np.arange(onto.width) + 1) * CELLS // (2 * onto.width)]
    half = (rows + 1) // 2
    for part, part_half in ((slice(0, rows), slice(0, half)), (slice(-rows, None), slice(-half, None))):
        onto.y[part] = line
        onto.u[part_half] = _NEUTRAL
        onto.v[part_half] = _NEUTRAL


def read_strip(pixels: Pixels) -> Strip:
    """Read the strips of an upright picture: RGB (height × width × 3) or luma alone (height × width).

    Raises ValueError when the frame is torn, or is none of the simulated camera's.
    """
    height, width = pixels.shape[:2]
    rows = max(1, round(height / 32))
    upper, lower = (_bits(pixels[start : start + rows], width) for start in (0, height - rows))
    if not np.array_equal(upper, lower):
        raise ValueError("the frame is torn: its two strips do not agree")
    data = np.packbits(upper).tobytes()
    frame = int.from_bytes(data[:_FRAME_BYTES])
    exposed_ms = int.from_bytes(data[_FRAME_BYTES : _FRAME_BYTES + _TIME_BYTES])
    if data != _packed(frame, exposed_ms):
        raise ValueError("the frame is torn, or has no strips: the checksum is wrong")
    return Strip(frame, exposed_ms)


def _packed(frame: int, exposed_ms: int) -> bytes:
    number, moment = frame % (1 << 8 * _FRAME_BYTES), exposed_ms % (1 << 8 * _TIME_BYTES)
    data = number.to_bytes(_FRAME_BYTES) + moment.to_bytes(_TIME_BYTES)
    return data + bytes([zlib.crc32(data) & 0xFF])


def _bits(strip: Pixels, width: int) -> Pixels:
    """The cells of one strip: the middle of each, away from what scaling and JPEG let bleed in."""
    margin = strip.shape[0] // 4
    middle = strip[margin : strip.shape[0] - margin]
    line = middle.mean(axis=(0, 2) if middle.ndim == 3 else 0)
    centres = (2 * np.arange(CELLS) + 1) * width // (2 * CELLS)
    cells: Pixels = (line[centres] > 127).astype(np.uint8)
    return cells


def draw_text(onto: YuvImage, text: str, left: int, bottom: int, dot: int) -> None:
    """Write white on a darkened ground. `dot` is the size, in pixels, of one of the 5 × 7 dots of a sign."""
    dots = np.pad(np.concatenate([_DOTS[sign] for sign in text], axis=1), ((1, 1), (1, 2)))
    mask = np.repeat(np.repeat(dots, dot, axis=0), dot, axis=1)
    left, top = left // 2 * 2, max(bottom - mask.shape[0], 0) // 2 * 2
    under = onto.y[top : top + mask.shape[0], left : left + mask.shape[1]]
    rows, columns = under.shape
    under[...] = np.where(mask[:rows, :columns], 240, under >> 1)
    half = slice(top // 2, (top + rows) // 2), slice(left // 2, (left + columns) // 2)
    for plane in (onto.u, onto.v):
        plane[half] = (plane[half] >> 2) + 96
