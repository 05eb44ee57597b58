"""Pictures in memory: the `Image` of `base.py` over pixels, over planes and over a JPEG as it came.

simplejpeg (libjpeg-turbo) encodes and decodes without holding the GIL; where there is no wheel of it (32-bit ARM)
Pillow does the same, and holds it. Pillow scales, and writes PNG.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import PIL.Image

from piapi.hardware.base import ImageFormat

try:
    import simplejpeg
except ImportError:  # 32-bit ARM has no wheel of it
    simplejpeg = None

Pixels = np.ndarray[Any, np.dtype[np.uint8]]

DEFAULT_QUALITY = 85

#: Quarter turns counter-clockwise, as numpy counts them, for degrees clockwise.
_TURNS = {0: 0, 90: 3, 180: 2, 270: 1}


@dataclass(frozen=True)
class RgbImage:
    """Interleaved pixels: height × width × 3 bytes, RGB."""

    pixels: Pixels

    @property
    def width(self) -> int:
        """Pixels."""
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        """Pixels."""
        return int(self.pixels.shape[0])

    def rotated(self, degrees: int) -> RgbImage:
        """Turned clockwise."""
        return RgbImage(np.rot90(self.pixels, _TURNS[degrees])) if degrees else self

    def encode(self, format: ImageFormat, *, width: int = 0, height: int = 0, quality: int = 0) -> bytes:
        """As a file, scaled to `width` × `height` where they are given."""
        size = target_size(self.width, self.height, width, height)
        pixels = np.ascontiguousarray(self.pixels)
        if size != (self.width, self.height):
            pixels = np.asarray(PIL.Image.fromarray(pixels).resize(size, reducing_gap=2.0))
        if format == "png":
            return _saved(PIL.Image.fromarray(pixels), "PNG", compress_level=3)
        if simplejpeg is not None:
            return bytes(simplejpeg.encode_jpeg(pixels, quality or DEFAULT_QUALITY, "RGB", "420"))
        return _saved(PIL.Image.fromarray(pixels), "JPEG", quality=quality or DEFAULT_QUALITY)


@dataclass(frozen=True)
class YuvImage:
    """Three planes of YCbCr 4:2:0 with full range and BT.601 matrix, as JPEG has them: `y` at full size, `u` and `v` at half."""

    y: Pixels
    u: Pixels
    v: Pixels

    @property
    def width(self) -> int:
        """Pixels."""
        return int(self.y.shape[1])

    @property
    def height(self) -> int:
        """Pixels."""
        return int(self.y.shape[0])

    def rotated(self, degrees: int) -> YuvImage:
        """Turned clockwise."""
        turns = _TURNS[degrees]
        return YuvImage(*(np.rot90(plane, turns) for plane in (self.y, self.u, self.v))) if turns else self

    def encode(self, format: ImageFormat, *, width: int = 0, height: int = 0, quality: int = 0) -> bytes:
        """As a file, scaled to `width` × `height` where they are given."""
        size = target_size(self.width, self.height, width, height)
        half = ((size[0] + 1) // 2, (size[1] + 1) // 2)
        y, u, v = (_scaled(plane, to) for plane, to in ((self.y, size), (self.u, half), (self.v, half)))
        if format == "jpeg" and simplejpeg is not None:
            return bytes(simplejpeg.encode_jpeg_yuv_planes(y, u, v, quality or DEFAULT_QUALITY))
        full = (PIL.Image.fromarray(y), *(PIL.Image.fromarray(plane).resize(size) for plane in (u, v)))
        picture = PIL.Image.merge("YCbCr", full)
        if format == "png":
            return _saved(picture.convert("RGB"), "PNG", compress_level=3)
        return _saved(picture, "JPEG", quality=quality or DEFAULT_QUALITY)


@dataclass(frozen=True)
class JpegImage:
    """A JPEG as the camera made it. It is passed on untouched unless it is to be turned, scaled or squeezed."""

    data: bytes
    rotation: int = 0

    @cached_property
    def _size(self) -> tuple[int, int]:
        with PIL.Image.open(io.BytesIO(self.data)) as picture:
            return picture.size

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
        least = size if self.rotation in (0, 180) else size[::-1]
        pixels = RgbImage(_decoded(self.data, *least)).rotated(self.rotation)
        return pixels.encode(format, width=size[0], height=size[1], quality=quality)


def target_size(width: int, height: int, to_width: int, to_height: int) -> tuple[int, int]:
    """The size to scale to: as it is for 0 × 0, in proportion where one of the two is 0."""
    if to_width and not to_height:
        return to_width, max(1, round(height * to_width / width))
    if to_height and not to_width:
        return max(1, round(width * to_height / height)), to_height
    return (to_width, to_height) if to_width else (width, height)


def _decoded(data: bytes, least_width: int, least_height: int) -> Pixels:
    """RGB pixels of a JPEG, reduced while decoding (by 8ths, in the DCT) to no less than the given size."""
    if simplejpeg is not None:
        decoded: Pixels = simplejpeg.decode_jpeg(
            data, "RGB", min_width=least_width, min_height=least_height, strict=False
        )
        return decoded
    with PIL.Image.open(io.BytesIO(data)) as picture:
        picture.draft("RGB", (least_width, least_height))
        return np.asarray(picture.convert("RGB"))


def _scaled(plane: Pixels, size: tuple[int, int]) -> Pixels:
    plane = np.ascontiguousarray(plane)
    if (plane.shape[1], plane.shape[0]) == size:
        return plane
    return np.asarray(PIL.Image.fromarray(plane).resize(size, reducing_gap=2.0))


def _saved(picture: PIL.Image.Image, format: str, **options: int) -> bytes:
    file = io.BytesIO()
    picture.save(file, format, **options)
    return file.getvalue()
