"""A JPEG as a camera made it: the `Image` of `base.py` that is passed on untouched where nothing has to change."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from piapi.hardware.base import ImageFormat
from piapi.hardware.sizes import part_to_show, target_size

_SOI, _SOS = b"\xff\xd8", 0xDA
#: Start of frame, of all processes (ITU-T T.81, table B.1): the range less DHT, JPG and DAC.
_FRAME_HEADERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


@dataclass(frozen=True)
class JpegImage:
    """A JPEG as the camera made it. It is passed on untouched unless it is to be turned, scaled or squeezed.

    Data that is no JPEG, or is cut off, raises ValueError when its size is asked for or its pixels are needed.
    """

    data: bytes
    rotation: int = 0

    @cached_property
    def _size(self) -> tuple[int, int]:
        return jpeg_size(self.data)

    @property
    def width(self) -> int:
        """Pixels, after rotation."""
        return self._size[self.rotation // 90 % 2]

    @property
    def height(self) -> int:
        """Pixels, after rotation."""
        return self._size[1 - self.rotation // 90 % 2]

    def rotated(self, degrees: int) -> JpegImage:
        """Turned clockwise."""
        return JpegImage(self.data, (self.rotation + degrees) % 360) if degrees else self

    def encode(self, format: ImageFormat, *, width: int = 0, height: int = 0, quality: int = 0) -> bytes:
        """As a file; the very bytes of the camera where nothing has to change."""
        size = target_size(self.width, self.height, width, height)
        if format == "jpeg" and not quality and not self.rotation and size == (self.width, self.height):
            return self.data
        _, _, across, down = part_to_show(self.width, self.height, width, height)
        least = (-(-self.width * size[0] // across), -(-self.height * size[1] // down))
        from piapi.hardware.imaging import (
            RgbImage,
            decoded,
        )  # 15 MB that a camera whose JPEGs are passed on never needs

        pixels = RgbImage(decoded(self.data, *(least if self.rotation in (0, 180) else least[::-1])))
        return pixels.rotated(self.rotation).encode(format, width=size[0], height=size[1], quality=quality)


def jpeg_size(data: bytes) -> tuple[int, int]:
    """Width and height by the frame header (ITU-T T.81, B.2.2). Raises ValueError where there is none."""
    at = 2
    while data.startswith(_SOI) and at + 9 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker in _FRAME_HEADERS:
            height, width = int.from_bytes(data[at + 5 : at + 7], "big"), int.from_bytes(data[at + 7 : at + 9], "big")
            if width and height:
                return width, height
            break
        if marker == _SOS:
            break
        at += 1 if marker == 0xFF else 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    raise ValueError("this is no JPEG, or one that ends within its header")
