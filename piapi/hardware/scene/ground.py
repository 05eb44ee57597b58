"""What stands still: mountains, hills, a house, a windmill's tower, trees, a fence and flowers.

Drawn once for a size, by noon's light, with Pillow. Places are parts of the width and height, sizes are parts of
`scale`, so that the scene fits wide and tall pictures.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise

import PIL.Image
import PIL.ImageDraw
import PIL.ImageFilter

from piapi.hardware.scene.planes import ink

Point = tuple[float, float]
Curve = Callable[[float], float]
"""Height of an outline (part of the picture's height, from above) over the place across (0–1)."""

#: Where the picture of the ground begins, as a part of the height. Above is sky alone.
TOP = 0.34

#: From here on down there is no sky: the last outline lies above everywhere.
OPAQUE = 0.68

#: Drawn at twice the size and reduced, for smooth edges, up to so many pixels; larger pictures do without.
_MOST_SMOOTHED = 2_200_000

MILL, MILL_BASE, MILL_HUB = 0.235, 0.655, 0.235
"""The windmill: across, its foot (parts of width and height), and its hub above that (part of scale)."""

HOUSE, HOUSE_BASE = 0.70, 0.755
CHIMNEY = (0.082, 0.262)
"""The chimney's mouth, from the house's middle and above its base (parts of scale)."""


@dataclass(frozen=True, slots=True)
class Ground:
    """The picture from row `top` down, and the lamps that are lit at night with their corner; both drawn with `ink`."""

    picture: PIL.Image.Image
    top: int
    lamps: PIL.Image.Image
    lamps_at: tuple[int, int]


def scale_of(width: int, height: int) -> float:
    """The size, in pixels, that things are drawn in parts of."""
    return min(height, width * 9 / 16)


def draw_ground(width: int, height: int) -> Ground:
    """Draw everything that stands still, for a picture of this many pixels."""
    smooth = 2 if width * height <= _MOST_SMOOTHED else 1
    top = round(height * TOP / 2) * 2
    canvas = Canvas(width, height, top, smooth)
    _draw_land(canvas)
    _draw_trees(canvas)
    _draw_mill(canvas)
    _draw_house(canvas)
    _draw_foreground(canvas)
    scale = scale_of(width, height)
    lamps = Canvas(round(scale * 0.5), round(scale * 0.5), 0, smooth)
    _draw_lamps(lamps, scale * 0.25, scale * 0.4)
    corner = round((HOUSE * width - scale * 0.25) / 2) * 2, round((HOUSE_BASE * height - scale * 0.4) / 2) * 2
    return Ground(canvas.finished(), top, lamps.finished(), corner)


class Canvas:
    """Pillow's drawing in pixels of the finished picture, whose row `top` is the first one here."""

    def __init__(self, width: int, height: int, top: int, smooth: int) -> None:
        self.width, self.height, self.top = width, height, top
        self.scale = scale_of(width, height)
        self._smooth = smooth
        self._picture = PIL.Image.new("RGBA", (width * smooth, (height - top) * smooth))
        self._draw = PIL.ImageDraw.Draw(self._picture)

    def finished(self) -> PIL.Image.Image:
        """The picture, at its size."""
        return self._picture if self._smooth == 1 else self._picture.reduce(self._smooth)

    def polygon(self, points: Iterable[Point], fill: str) -> None:
        """A filled outline."""
        self._draw.polygon([self._at(point) for point in points], fill=ink(fill))

    def ellipse(self, x: float, y: float, across: float, down: float, fill: str) -> None:
        """An ellipse by its middle and its two radii."""
        self._draw.ellipse([self._at((x - across, y - down)), self._at((x + across, y + down))], fill=ink(fill))

    def line(self, points: Iterable[Point], fill: str, thick: float) -> None:
        """A line; `thick` in pixels."""
        self._draw.line(
            [self._at(point) for point in points], fill=ink(fill), width=max(1, round(thick * self._smooth))
        )

    def land(self, outline: Curve, above: str, below: str, depth: float) -> None:
        """Everything under an outline, in colours that change from `above` to `below` over `depth` of the height."""
        places = [step / 160 for step in range(161)]
        points = [(place * self.width, outline(place) * self.height) for place in places]
        self.polygon([*points, (self.width, self.height), (0, self.height)], below)
        bands = 24
        thick = depth * self.height / bands
        for band in range(bands):
            upper = [(x, y + band * thick) for x, y in points]
            lower = [(x, y + thick + 1) for x, y in reversed(upper)]
            self.polygon([*upper, *lower], _between(above, below, band / bands))

    def glow(self, fill: str, radius: float) -> None:
        """Spread what has been drawn, as light does, in one colour."""
        spread = PIL.Image.new("RGBA", self._picture.size, ink(fill))
        spread.putalpha(self._picture.getchannel("A").filter(PIL.ImageFilter.GaussianBlur(radius * self._smooth)))
        self._picture.paste(spread)

    def _at(self, point: Point) -> Point:
        return point[0] * self._smooth, (point[1] - self.top) * self._smooth


def _between(first: str, second: str, share: float) -> str:
    """A colour between two."""
    pairs = zip(bytes.fromhex(first[1:]), bytes.fromhex(second[1:]), strict=True)
    return "#" + bytes(round(a + (b - a) * share) for a, b in pairs).hex()


_RIDGE = ((0.0, 0.50), (0.05, 0.475), (0.09, 0.49), (0.16, 0.435), (0.22, 0.47), (0.27, 0.455), (0.34, 0.515),
          (0.40, 0.49), (0.47, 0.405), (0.50, 0.43), (0.545, 0.385), (0.61, 0.455), (0.65, 0.44), (0.72, 0.495),
          (0.78, 0.475), (0.845, 0.425), (0.90, 0.465), (0.94, 0.45), (1.0, 0.485))  # fmt: skip


def _mountains(x: float) -> float:
    for (x0, y0), (x1, y1) in pairwise(_RIDGE):
        if x <= x1:
            return y0 + (y1 - y0) * (x - x0) / (x1 - x0) + 0.0025 * math.sin(x * 210)
    return _RIDGE[-1][1]


def _woods(x: float) -> float:
    return 0.545 + 0.022 * math.sin(x * 5.2 + 0.8) + 0.010 * math.sin(x * 13 + 2)


def _fields(x: float) -> float:
    return 0.615 - 0.035 * math.exp(-(((x - MILL) / 0.17) ** 2)) + 0.022 * math.sin(x * 4.4 + 3.4)


def _meadow(x: float) -> float:
    return 0.675 - 0.025 * math.sin(x * 3.3 - 0.6) + 0.012 * math.sin(x * 7.5)


def _lawn(x: float) -> float:
    return 0.80 + 0.030 * math.cos(x * 4.1 + 0.4)


def _draw_land(canvas: Canvas) -> None:
    canvas.land(_mountains, "#7f9cc4", "#c4d8e6", 0.19)
    _draw_snow(canvas)
    canvas.land(_woods, "#5f9584", "#86b596", 0.09)
    canvas.land(_fields, "#9cc46a", "#c9d67c", 0.10)
    _draw_furrows(canvas)
    canvas.land(_meadow, "#7fb956", "#5c9f47", 0.16)


def _draw_snow(canvas: Canvas) -> None:
    """On the peaks, with a ragged lower edge."""
    for peak, reach in ((0.16, 0.022), (0.47, 0.030), (0.545, 0.045), (0.845, 0.028)):
        upper = [peak + reach * step / 8 for step in range(-8, 9)]
        lower = [
            (
                place,
                max(_mountains(place), _mountains(peak + math.copysign(reach, place - peak)) - 0.008 * (number % 2)),
            )
            for number, place in enumerate(upper)
        ]
        points = [(place, _mountains(place)) for place in upper] + lower[::-1]
        canvas.polygon([(x * canvas.width, y * canvas.height) for x, y in points], "#f1f6fb")


def _draw_furrows(canvas: Canvas) -> None:
    """Rows of a field that run towards a point on the horizon."""
    for number in range(12):
        near, far = 0.30 + number * 0.05, 0.385 + number * 0.026
        foot, head = (
            (near * canvas.width, 0.70 * canvas.height),
            (far * canvas.width, (_fields(far) + 0.004) * canvas.height),
        )
        canvas.polygon([head, foot, (foot[0] + 0.020 * canvas.width, foot[1])], "#b3c563")


def _draw_mill(canvas: Canvas) -> None:
    x, y, s = MILL * canvas.width, MILL_BASE * canvas.height, canvas.scale
    hub = y - MILL_HUB * s
    canvas.ellipse(x, y, 0.075 * s, 0.014 * s, "#7fa853")
    for left, right, fill in ((-1.0, 1.0, "#f4ead6"), (0.15, 1.0, "#ddcfb6")):
        canvas.polygon(
            [(x + left * 0.056 * s, y), (x + left * 0.036 * s, hub), (x + right * 0.036 * s, hub),
             (x + right * 0.056 * s, y)], fill
        )  # fmt: skip
    canvas.polygon(
        [(x - 0.044 * s, hub + 0.008 * s), (x, hub - 0.058 * s), (x + 0.044 * s, hub + 0.008 * s)], "#8a4b3a"
    )
    canvas.polygon(
        [(x, hub - 0.058 * s), (x + 0.044 * s, hub + 0.008 * s), (x + 0.006 * s, hub + 0.008 * s)], "#74392c"
    )
    canvas.polygon(_box(x - 0.014 * s, y - 0.056 * s, 0.028 * s, 0.056 * s), "#7a5239")
    for height in (0.10, 0.155):
        canvas.polygon(_box(x - 0.009 * s, y - height * s - 0.024 * s, 0.018 * s, 0.024 * s), "#5a708a")


def _draw_trees(canvas: Canvas) -> None:
    """Behind the house, and far off."""
    scatter = random.Random(7)  # noqa: S311 — a drawing, the same each time
    for _ in range(34):
        place = scatter.random()
        size = scatter.uniform(0.006, 0.013) * canvas.scale
        y = (_woods(place) + scatter.uniform(0.004, 0.03)) * canvas.height
        canvas.ellipse(place * canvas.width, y, size, size * 1.25, scatter.choice(("#4f8472", "#578c76", "#659a80")))
    for place, base, size in ((0.045, 0.70, 0.95), (0.125, 0.685, 0.7), (0.50, 0.685, 0.62), (0.555, 0.695, 0.85),
                              (0.875, 0.715, 1.15), (0.955, 0.70, 0.9)):  # fmt: skip
        _draw_tree(canvas, place * canvas.width, base * canvas.height, size * canvas.scale)


def _draw_tree(canvas: Canvas, x: float, y: float, size: float) -> None:
    canvas.ellipse(x, y, 0.055 * size, 0.010 * size, "#548f42")
    canvas.polygon(_box(x - 0.009 * size, y - 0.09 * size, 0.018 * size, 0.09 * size), "#7a583c")
    for dx, dy, radius, fill in ((0.0, 0.125, 0.062, "#3f8146"), (-0.032, 0.105, 0.042, "#3f8146"),
                                 (0.034, 0.108, 0.042, "#37753f"), (-0.014, 0.140, 0.042, "#56994f"),
                                 (-0.022, 0.150, 0.022, "#6bab5b")):  # fmt: skip
        canvas.ellipse(x + dx * size, y - dy * size, radius * size, radius * size, fill)


def _draw_house(canvas: Canvas) -> None:
    x, y, s = HOUSE * canvas.width, HOUSE_BASE * canvas.height, canvas.scale
    canvas.ellipse(x + 0.01 * s, y, 0.19 * s, 0.016 * s, "#4f8f3f")
    canvas.polygon(_box(x + 0.066 * s, y - CHIMNEY[1] * s, 0.032 * s, 0.10 * s), "#a65a45")
    canvas.polygon(_box(x + 0.062 * s, y - CHIMNEY[1] * s, 0.040 * s, 0.012 * s), "#8a4636")
    canvas.polygon(_box(x - 0.15 * s, y - 0.13 * s, 0.30 * s, 0.13 * s), "#fbf3e2")
    canvas.polygon(_box(x + 0.05 * s, y - 0.13 * s, 0.10 * s, 0.13 * s), "#ece0c8")
    canvas.polygon(
        [(x - 0.175 * s, y - 0.122 * s), (x - 0.125 * s, y - 0.235 * s), (x + 0.125 * s, y - 0.235 * s),
         (x + 0.175 * s, y - 0.122 * s)], "#c9503f"
    )  # fmt: skip
    for row in range(1, 4):
        height, reach = 0.122 + row * 0.028, 0.175 - row * 0.0124
        canvas.line([(x - reach * s, y - height * s), (x + reach * s, y - height * s)], "#b44334", 0.003 * s)
    canvas.polygon(_box(x - 0.178 * s, y - 0.126 * s, 0.356 * s, 0.010 * s), "#8f3529")
    canvas.polygon(_box(x - 0.022 * s, y - 0.082 * s, 0.044 * s, 0.082 * s), "#3f7f8c")
    canvas.ellipse(x + 0.013 * s, y - 0.040 * s, 0.0035 * s, 0.0035 * s, "#f6d67a")
    for left, top in _windows():
        canvas.polygon(_box(x + (left - 0.006) * s, y - (top + 0.006) * s, 0.060 * s, 0.060 * s), "#ffffff")
        canvas.polygon(_box(x + left * s, y - top * s, 0.048 * s, 0.048 * s), "#7fb2cf")
        canvas.polygon(_box(x + (left + 0.0222) * s, y - top * s, 0.0036 * s, 0.048 * s), "#ffffff")
        canvas.polygon(_box(x + left * s, y - (top - 0.0222) * s, 0.048 * s, 0.0036 * s), "#ffffff")
        canvas.polygon(_box(x + (left - 0.008) * s, y - (top - 0.053) * s, 0.064 * s, 0.012 * s), "#c96f4a")


def _windows() -> tuple[Point, Point]:
    """Left edge from the house's middle, and upper edge above its base."""
    return (-0.110, 0.098), (0.062, 0.098)


def _draw_lamps(canvas: Canvas, x: float, y: float) -> None:
    """The light in the house's windows, and what falls from them on the lawn."""
    s = canvas.width / 0.5
    for left, top in _windows():
        canvas.polygon(_box(x + left * s, y - top * s, 0.048 * s, 0.048 * s), "#ffcf66")
    canvas.glow("#ffc45c", 0.026 * s)
    for left, top in _windows():
        canvas.polygon(_box(x + left * s, y - top * s, 0.048 * s, 0.048 * s), "#ffdf8a")
        canvas.polygon(_box(x + (left + 0.0222) * s, y - top * s, 0.0036 * s, 0.048 * s), "#8a6a3c")
        canvas.polygon(_box(x + left * s, y - (top - 0.0222) * s, 0.048 * s, 0.0036 * s), "#8a6a3c")


def _draw_foreground(canvas: Canvas) -> None:
    s = canvas.scale
    canvas.land(_lawn, "#6fb350", "#3f8238", 0.20)
    _draw_path(canvas)
    _draw_fence(canvas)
    scatter = random.Random(3)  # noqa: S311 — a drawing, the same each time
    for _ in range(170):
        place, depth = scatter.random(), scatter.random() ** 0.7
        y = (_lawn(place) + 0.015 + depth * 0.15) * canvas.height
        if abs(place - _path_middle(y / canvas.height)) < 0.02 + depth * 0.09:
            continue
        size = (0.0022 + 0.0042 * depth) * s
        x = place * canvas.width
        canvas.line([(x, y), (x - size * 0.4, y + size * 3)], "#3c7a35", size * 0.6)
        fill = scatter.choice(("#ffffff", "#ffe15a", "#ff8fa3", "#f25f5c", "#c9a2f2"))
        canvas.ellipse(x, y, size * 1.25, size, fill)
        canvas.ellipse(x, y, size * 0.4, size * 0.35, "#f2b134")


def _path_middle(y: float) -> float:
    """Where the path runs: from the house's door down to the middle of the lower edge."""
    share = min(max((y - HOUSE_BASE) / (1.0 - HOUSE_BASE), 0.0), 1.0)
    return HOUSE - 0.24 * math.pow(share, 1.4) + 0.025 * math.sin(share * 6.0)


def _draw_path(canvas: Canvas) -> None:
    heights = [HOUSE_BASE + (1.0 - HOUSE_BASE) * step / 24 for step in range(25)]
    for widening, fill in ((1.0, "#b99f6e"), (0.86, "#e3cf9f")):
        half = [
            (0.022 + 0.105 * ((y - HOUSE_BASE) / (1 - HOUSE_BASE)) ** 1.3) * canvas.scale * widening for y in heights
        ]
        middle = [_path_middle(y) * canvas.width for y in heights]
        rows = [y * canvas.height for y in heights]
        left = [(m - h, y) for m, h, y in zip(middle, half, rows, strict=True)]
        right = [(m + h, y) for m, h, y in zip(middle, half, rows, strict=True)]
        canvas.polygon([*left, *reversed(right)], fill)


def _draw_fence(canvas: Canvas) -> None:
    s, step = canvas.scale, 0.034 * canvas.scale
    count = int(0.46 * canvas.width / step)
    posts = [(number * step, (_lawn(number * step / canvas.width) + 0.012) * canvas.height) for number in range(count)]
    for height in (0.022, 0.046):
        canvas.line([(x, y - height * s) for x, y in posts], "#e9edf0", 0.007 * s)
    for x, y in posts:
        canvas.polygon(
            [(x - 0.006 * s, y), (x - 0.006 * s, y - 0.058 * s), (x, y - 0.068 * s), (x + 0.006 * s, y - 0.058 * s),
             (x + 0.006 * s, y)], "#ffffff"
        )  # fmt: skip


def _box(left: float, top: float, width: float, height: float) -> list[Point]:
    return [(left, top), (left + width, top), (left + width, top + height), (left, top + height)]
