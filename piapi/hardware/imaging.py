"""Pictures in memory: the `Image` of `base.py` over pixels, over planes and over a JPEG as it came.

simplejpeg (libjpeg-turbo) encodes and decodes without holding the GIL; where there is no wheel of it (32-bit ARM)
Pillow does the same, and holds it. So it does with an old simplejpeg, as in Raspberry Pi OS 12 (1.6.6): one before 1.8
encodes no planes, and one before 1.7 refuses to decode what has the least fault. Pillow scales, and writes PNG.
"""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import PIL.Image

from piapi.hardware.base import ImageFormat

try:
    import simplejpeg
except (ImportError, ValueError):  # 32-bit ARM has no wheel of it; ValueError: built for another NumPy
    simplejpeg = None

Pixels = np.ndarray[Any, np.dtype[np.uint8]]

DEFAULT_QUALITY = 85

#: Markers (ITU-T T.81, table B.1). Within a scan 0xff is followed by 0, so neither can be mistaken.
_START_OF_SCAN, _END_OF_IMAGE = b"\xff\xda", b"\xff\xd9"

#: Quarter turns counter-clockwise, as numpy counts them, for degrees clockwise.
_TURNS = {0: 0, 90: 3, 180: 2, 270: 1}


@dataclass(frozen=True, eq=False)
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
        x, y, across, down = part_to_show(self.width, self.height, width, height)
        size = target_size(across, down, width, height)
        pixels = np.ascontiguousarray(self.pixels[y : y + down, x : x + across])
        if size != (across, down):
            pixels = np.asarray(PIL.Image.fromarray(pixels).resize(size, reducing_gap=2.0))
        if format == "png":
            return _saved(PIL.Image.fromarray(pixels), "PNG", compress_level=3)
        if simplejpeg is not None:
            return bytes(simplejpeg.encode_jpeg(pixels, quality or DEFAULT_QUALITY, "RGB", "420"))
        return _saved(PIL.Image.fromarray(pixels), "JPEG", quality=quality or DEFAULT_QUALITY)


@dataclass(frozen=True, eq=False)
class YuvImage:
    """Three planes of YCbCr 4:2:0, full range, matrix of BT.601, as JPEG has them: `y` at full size, `u` and `v` at
    half, rounded up."""

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
        x, top, across, down = part_to_show(self.width, self.height, width, height)
        x, top = x - x % 2, top - top % 2  # a colour sample belongs to two pixels either way
        size = target_size(across, down, width, height)
        half = ((size[0] + 1) // 2, (size[1] + 1) // 2)
        whole = self.y[top : top + down, x : x + across]
        tints = (p[top // 2 : (top + down + 1) // 2, x // 2 : (x + across + 1) // 2] for p in (self.u, self.v))
        y, u, v = (_scaled(whole, size), *(_scaled(plane, half) for plane in tints))
        if format == "jpeg" and hasattr(simplejpeg, "encode_jpeg_yuv_planes"):
            return bytes(simplejpeg.encode_jpeg_yuv_planes(y, u, v, quality or DEFAULT_QUALITY))
        full = (PIL.Image.fromarray(y), *(PIL.Image.fromarray(plane).resize(size) for plane in (u, v)))
        picture = PIL.Image.merge("YCbCr", full)
        if format == "png":
            return _saved(picture.convert("RGB"), "PNG", compress_level=3)
        return _saved(picture, "JPEG", quality=quality or DEFAULT_QUALITY)


@dataclass(frozen=True)
class JpegImage:
    """A JPEG as the camera made it. It is passed on untouched unless it is to be turned, scaled or squeezed.

    Data that is no JPEG, or is cut off, raises ValueError when its size is asked for or its pixels are needed.
    """

    data: bytes
    rotation: int = 0

    @cached_property
    def _size(self) -> tuple[int, int]:
        if simplejpeg is not None:  # a tenth of the time, and every live frame is asked
            with contextlib.suppress(ValueError):
                height, width, *_ = simplejpeg.decode_jpeg_header(self.data)
                return width, height
        try:
            with PIL.Image.open(io.BytesIO(self.data), formats=("JPEG",)) as picture:
                return picture.size
        except OSError:
            raise ValueError("this is no JPEG, or one that ends within its header") from None

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
        pixels = RgbImage(_decoded(self.data, *(least if self.rotation in (0, 180) else least[::-1])))
        return pixels.rotated(self.rotation).encode(format, width=size[0], height=size[1], quality=quality)


def target_size(width: int, height: int, to_width: int, to_height: int) -> tuple[int, int]:
    """The size to scale to: as it is for 0 × 0, in proportion where one of the two is 0."""
    if to_width and not to_height:
        return to_width, max(1, round(height * to_width / width))
    if to_height and not to_width:
        return max(1, round(width * to_height / height)), to_height
    return (to_width, to_height) if to_width else (width, height)


def part_to_show(width: int, height: int, to_width: int, to_height: int) -> tuple[int, int, int, int]:
    """x, y, width and height of the middle that has the shape asked for: a picture is cut, never squeezed."""
    if not (to_width and to_height):
        return 0, 0, width, height
    across = min(width, max(1, round(height * to_width / to_height)))
    down = min(height, max(1, round(width * to_height / to_width)))
    return (width - across) // 2, (height - down) // 2, across, down


def _decoded(data: bytes, least_width: int, least_height: int) -> Pixels:
    """RGB pixels of a JPEG, reduced while decoding (by 8ths, in the DCT) to no less than the given size.

    Raises ValueError when it is cut off. Lesser faults, such as the stray bytes of some webcams, are passed over: so
    simplejpeg must not be strict, and then fills in grey for what is missing.
    """
    if data.rfind(_END_OF_IMAGE) < data.rfind(_START_OF_SCAN):
        raise ValueError("this JPEG is cut off")
    if simplejpeg is not None:
        with contextlib.suppress(TypeError):  # before 1.7 it knows no `strict`
            decoded: Pixels = simplejpeg.decode_jpeg(
                data, "RGB", min_width=least_width, min_height=least_height, strict=False
            )
            return decoded
    try:
        with PIL.Image.open(io.BytesIO(data), formats=("JPEG",)) as picture:
            picture.draft("RGB", (least_width, least_height))
            return np.asarray(picture.convert("RGB"))
    except OSError as error:
        raise ValueError(f"this JPEG cannot be decoded: {error}") from None


def _scaled(plane: Pixels, size: tuple[int, int]) -> Pixels:
    plane = np.ascontiguousarray(plane)
    if (plane.shape[1], plane.shape[0]) == size:
        return plane
    return np.asarray(PIL.Image.fromarray(plane).resize(size, reducing_gap=2.0))


def _saved(picture: PIL.Image.Image, format: str, **options: int) -> bytes:
    file = io.BytesIO()
    picture.save(file, format, **options)
    return file.getvalue()
