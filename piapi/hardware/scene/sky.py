"""The sky behind everything: its colours, sun, moon and stars."""

from __future__ import annotations

from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageDraw

from piapi.hardware.imaging import YuvImage
from piapi.hardware.scene.ground import scale_of
from piapi.hardware.scene.light import Light, Position
from piapi.hardware.scene.planes import Shape, colour

#: Where the sky's lowest colour is reached, and where sun and moon rise and stand highest (parts of the height).
_HORIZON = 0.58
_RISE, _HIGHEST = 0.52, 0.13

#: Thresholds for dithering, 4 × 4 (Bayer), in 256ths: without it a slow change of colour shows as bands.
_DITHER = np.array([[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]], np.uint16) * 16

Rows = np.ndarray[Any, np.dtype[np.float64]]


def draw_sky(onto: YuvImage, rows: int, light: Light) -> None:
    """Draw the uppermost `rows` (even) of a picture."""
    height, width = onto.height, onto.width
    sun = _place(light.sun, width, height)
    warmth = float(np.clip(1.1 - light.sun.height, 0.25, 1.0)) * float(np.clip(light.sun.height * 4 + 1.6, 0, 1))
    columns = [_gradient(light, part, rows) for part in range(3)]
    glow = _glow(sun, width, rows, scale_of(width, height) * 0.30)
    rises = (min(46.0, 254.0 - columns[0].max()) * warmth, -34.0 * warmth, 20.0 * warmth)
    _fill(onto.y[:rows], columns[0], rises[0], *glow)
    for plane, column, rise in ((onto.u, columns[1], rises[1]), (onto.v, columns[2], rises[2])):
        _fill(plane[: rows // 2], column[::2], rise, glow[0][::2], glow[1][::2])
    if light.night > 0:
        _draw_stars(onto, rows, light.night)
        moon = _disc(scale_of(width, height) * 0.036, "#f4f1de", bite=0.42)
        x, y = _place(light.moon, width, height)
        moon.draw(onto, x - moon.size[0] / 2, y - moon.size[1] / 2, light.night)
    disc = _disc(scale_of(width, height) * 0.042, "#fff6cf" if light.sun.height > 0.3 else "#ffe0a0")
    disc.draw(onto, sun[0] - disc.size[0] / 2, sun[1] - disc.size[1] / 2)


def _place(body: Position, width: int, height: int) -> tuple[float, float]:
    """Where a body stands, in pixels."""
    return (0.04 + 0.92 * body.across) * width, (_RISE - (_RISE - _HIGHEST) * min(body.height / 1.2, 1.0)) * height


def _gradient(light: Light, part: int, rows: int) -> Rows:
    places = np.linspace(0.0, 1.0, rows)
    reach = _HORIZON / 0.68
    return np.interp(places, (0.0, 0.55 * reach, reach), [stop[part] for stop in light.sky])


def _glow(sun: tuple[float, float], width: int, rows: int, reach: float) -> tuple[Rows, Rows]:
    """The light around the sun, down and across: their product is a round one, as it is a Gaussian."""
    down = np.exp(-(((np.arange(rows) - sun[1]) / reach) ** 2) / 2)
    across = np.exp(-(((np.arange(width) - sun[0]) / (reach * 1.25)) ** 2) / 2)
    return down, across


def _fill(plane: Any, column: Rows, rise: float, down: Rows, across: Rows) -> None:
    """`column` down the plane and `rise` around the sun, with dither; in 256ths, for speed."""
    base = (column * 256).astype(np.uint16)[:, None] + np.resize(_DITHER, (4, plane.shape[1]))[
        np.arange(len(column)) % 4
    ]
    wide = (down * 255).astype(np.uint16)[:, None] * (across * 255).astype(np.uint16)
    wide >>= 8
    wide *= np.uint16(abs(rise))
    if rise < 0:
        np.subtract(base, wide, out=base)
    else:
        np.add(base, wide, out=base)
    base >>= 8
    plane[...] = base


def _draw_stars(onto: YuvImage, rows: int, night: float) -> None:
    scatter = np.random.default_rng(11)
    count = 170
    across = (scatter.random(count) * (onto.width - 8)).astype(int)
    down = (scatter.random(count) ** 1.3 * (rows - 8)).astype(int)
    shine = (scatter.random(count) ** 2 * 190 + 90) * night
    size = max(1, round(scale_of(onto.width, onto.height) / 400))
    for dy in range(size):
        for dx in range(size):
            under = onto.y[down + dy, across + dx]
            onto.y[down + dy, across + dx] = np.minimum(under + shine, 255).astype(np.uint8)


def _disc(radius: float, rgb: str, bite: float = 0.0) -> Shape:
    """A disc; with a `bite` (part of its width) taken out of it, a crescent."""
    smooth = 4 if radius < 80 else 1
    side = max(2, round(radius * 2)) * smooth
    mask = PIL.Image.new("L", (side, side))
    draw = PIL.ImageDraw.Draw(mask)
    draw.ellipse((0, 0, side - 1, side - 1), fill=255)
    if bite:
        draw.ellipse((side * bite, -side * 0.12, side * (1 + bite), side * 0.88), fill=0)
    return Shape.of_mask(mask if smooth == 1 else mask.reduce(smooth), colour(rgb))
