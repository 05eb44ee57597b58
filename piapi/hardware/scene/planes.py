"""Drawing straight into Y, U and V planes, so that no frame has to be converted before it is encoded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import PIL.Image

from piapi.hardware.imaging import Pixels, YuvImage

Colour = tuple[float, float, float]
"""Y, Cb and Cr, 0–255 each."""

Weights = np.ndarray[Any, np.dtype[np.uint16]]
Table = np.ndarray[Any, np.dtype[np.uint8]]
"""256 values: what each value becomes."""


def colour(rgb: str) -> Colour:
    """`#rrggbb` as Y, Cb and Cr (full range, the matrix of BT.601, as in JPEG: ITU-T T.871)."""
    red, green, blue = bytes.fromhex(rgb.removeprefix("#"))
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    return luma, 128 + (blue - luma) * 0.564, 128 + (red - luma) * 0.713


def ink(rgb: str) -> tuple[int, int, int, int]:
    """`#rrggbb`, opaque, for Pillow to draw with in a picture of mode RGBA that holds Y, Cb, Cr and alpha instead.

    Pillow knows no YCbCr with alpha, and to convert twelve megapixels takes longer than to draw them.
    """
    y, u, v = colour(rgb)
    return round(y), round(u), round(v), 255


def blank(width: int, height: int) -> YuvImage:
    """Planes to draw in; what they hold is undefined."""
    half = ((height + 1) // 2, (width + 1) // 2)
    return YuvImage(np.empty((height, width), np.uint8), np.empty(half, np.uint8), np.empty(half, np.uint8))


def mapped(plane: Pixels, table: Table) -> Pixels:
    """Every value of a plane replaced by that of the table. Pillow does this in half the time of numpy."""
    return np.asarray(PIL.Image.fromarray(plane).point(table.tolist()))


def rounded(values: np.ndarray[Any, np.dtype[np.float64]]) -> Pixels:
    """Values to the nearest whole number of 0–255."""
    whole: Pixels = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return whole


def weights(mask: Pixels) -> Weights:
    """A mask of 0–255 as weights of 0–256, so that a shift can stand for the division."""
    wide = mask.astype(np.uint16)
    return wide + (wide >> 7)


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """Something to be drawn over a picture: how much of it covers each pixel, and its colours (or one for all)."""

    alpha: Weights
    alpha_half: Weights
    y: Pixels | int
    u: Pixels | int
    v: Pixels | int

    @classmethod
    def of_mask(cls, mask: PIL.Image.Image, tint: Colour) -> Shape:
        """One colour through a mask of mode L."""
        mask = _even(mask)
        y, u, v = (round(part) for part in tint)
        return cls(weights(np.asarray(mask)), weights(np.asarray(mask.reduce(2))), y, u, v)

    @classmethod
    def of_picture(cls, picture: PIL.Image.Image) -> Shape:
        """The opaque parts of a picture drawn with `ink`."""
        picture = _even(picture)
        mask = picture.getchannel("A")
        y, u, v = _planes(picture)
        return cls(weights(np.asarray(mask)), weights(np.asarray(mask.reduce(2))), y, u, v)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels; both even."""
        return self.alpha.shape[1], self.alpha.shape[0]

    def mapped(self, tables: Sequence[Table]) -> Shape:
        """The same shape in other colours."""
        y, u, v = (
            mapped(plane, table) if isinstance(plane, np.ndarray) else int(table[plane])
            for table, plane in zip(tables, (self.y, self.u, self.v), strict=True)
        )
        return Shape(self.alpha, self.alpha_half, y, u, v)

    def draw(self, onto: YuvImage, left: float, top: float, opacity: float = 1.0) -> None:
        """Over a picture, its corner at a pixel that may lie outside. `opacity` 0–1. Moves by whole chroma pixels."""
        x, y = round(left / 2) * 2, round(top / 2) * 2
        part = slice(max(y, 0), min(y + self.size[1], onto.height)), slice(max(x, 0), min(x + self.size[0], onto.width))
        if part[0].start >= part[0].stop or part[1].start >= part[1].stop:
            return
        own = slice(part[0].start - y, part[0].stop - y), slice(part[1].start - x, part[1].stop - x)
        _blend(onto.y[part], self.alpha[own], self.y if isinstance(self.y, int | np.integer) else self.y[own], opacity)
        part_half, own_half = _halved(part), _halved(own)
        for plane, source in ((onto.u, self.u), (onto.v, self.v)):
            over = source if isinstance(source, int | np.integer) else source[own_half]
            _blend(plane[part_half], self.alpha_half[own_half], over, opacity)


def _blend(under: Pixels, alpha: Weights, over: Pixels | int, opacity: float) -> None:
    if opacity < 1.0:
        alpha = (alpha * np.uint16(round(opacity * 255))) >> np.uint16(8)
    mixed = under * (256 - alpha)
    mixed += alpha * (np.uint16(over) if isinstance(over, int | np.integer) else over)
    mixed >>= 8
    under[...] = mixed


def split(picture: PIL.Image.Image) -> YuvImage:
    """A picture drawn with `ink` as planes; where it is transparent they are undefined."""
    return YuvImage(*_planes(picture))


def _planes(picture: PIL.Image.Image) -> tuple[Pixels, Pixels, Pixels]:
    y = picture.getchannel(0)
    _, u, v, _ = picture.reduce(2).split()  # of all channels at once, so that what is transparent lends no colour
    return np.asarray(y), np.asarray(u), np.asarray(v)


def _halved(part: tuple[slice, slice]) -> tuple[slice, slice]:
    """The chroma pixels of a part that begins at even pixels."""
    rows, columns = part
    return slice(rows.start // 2, (rows.stop + 1) // 2), slice(columns.start // 2, (columns.stop + 1) // 2)


def _even(picture: PIL.Image.Image) -> PIL.Image.Image:
    width, height = picture.size
    return picture.crop((0, 0, width + width % 2, height + height % 2))
