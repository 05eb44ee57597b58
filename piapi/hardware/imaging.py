"""Pictures in memory: the `Image` of `base.py` over pixels and over planes.

simplejpeg (libjpeg-turbo) encodes and decodes without holding the GIL; where there is no wheel of it (32-bit ARM)
Pillow does the same, and holds it. So it does with an old simplejpeg, as in Raspberry Pi OS 12 (1.6.6): one before 1.8
encodes no planes, and one before 1.7 refuses to decode what has the least fault. Pillow scales, and writes PNG.
"""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import PIL.Image

from piapi.hardware.base import ImageFormat
from piapi.hardware.sizes import part_to_show, target_size

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


def decoded(data: bytes, least_width: int, least_height: int) -> Pixels:
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
