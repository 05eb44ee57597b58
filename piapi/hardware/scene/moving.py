"""What moves: clouds, the windmill's sails, a balloon, birds, smoke and flowers in the wind.

Everything is a function of the time, in seconds since the scene began: nothing here remembers where it was.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFilter

from piapi.hardware.imaging import YuvImage
from piapi.hardware.scene.ground import CHIMNEY, HOUSE, HOUSE_BASE, MILL, MILL_BASE, MILL_HUB, scale_of
from piapi.hardware.scene.light import Light
from piapi.hardware.scene.planes import Shape, colour, ink, rounded

#: Seconds of one turn of the sails, and of one sway of the flowers.
_TURN_S = 9.0
_SWAY_S = 4.0

#: Leanings of the flowers that are drawn.
_LEANINGS = 16


@dataclass(frozen=True, slots=True)
class _Drift:
    """A cloud's way: which one, how high (part of the height), how fast (widths a second), where at the beginning."""

    kind: int
    high: float
    speed: float
    begin: float


_CLOUDS = (
    _Drift(0, 0.06, 0.0060, 0.10),
    _Drift(1, 0.17, 0.0095, 0.36),
    _Drift(2, 0.09, 0.0075, 0.58),
    _Drift(0, 0.27, 0.0120, 0.86),
)
_BALLOON_SPEED = 0.009
_BIRDS = ((0.0, 0.0), (0.035, 0.022), (0.030, -0.018), (0.075, 0.036), (0.066, -0.034))


class Moving:
    """The moving things of a picture of one size. `relight` before the first `draw`, and when the light has changed."""

    def __init__(self, width: int, height: int) -> None:
        self._width, self._height = width, height
        self._scale = scale_of(width, height)
        self._cloud_masks = [_cloud_mask(self._scale, kind) for kind in range(3)]
        self._puffs = [_puff_mask(self._scale, age) for age in range(6)]
        self._balloon = Shape.of_picture(_balloon(self._scale))
        self._flowers: dict[int, Shape] = {}
        self._light = Light(12.0)

    def relight(self, light: Light) -> None:
        """See everything in this light from now on."""
        self._light = light
        lit, shaded = light.cloud
        self._clouds = [_shaded(mask, lit, shaded) for mask in self._cloud_masks]
        self._balloon_lit = self._balloon.mapped(light.tables)
        self._flowers_lit: dict[int, Shape] = {}
        self._smoke = [Shape.of_mask(mask, light.cloud[1]) for mask in self._puffs]

    def draw(self, onto: YuvImage, time: float) -> None:
        """Draw them all as they are at this time."""
        self._draw_clouds(onto, time)
        self._draw_balloon(onto, time)
        if self._light.night < 0.5:
            self._draw_birds(onto, time)
        self._draw_smoke(onto, time)
        self._draw_sails(onto, time)
        self._draw_flowers(onto, time)

    def _draw_clouds(self, onto: YuvImage, time: float) -> None:
        for cloud in _CLOUDS:
            shape = self._clouds[cloud.kind]
            across = shape.size[0] / self._width
            place = (cloud.begin + time * cloud.speed) % (1.0 + across) - across
            shape.draw(onto, place * self._width, cloud.high * self._height, 0.92)

    def _draw_balloon(self, onto: YuvImage, time: float) -> None:
        place = (0.42 + time * _BALLOON_SPEED) % 1.3 - 0.15
        high = 0.20 + 0.02 * math.sin(time * 0.45)
        self._balloon_lit.draw(onto, place * self._width, high * self._height, 1.0 - self._light.night)

    def _draw_birds(self, onto: YuvImage, time: float) -> None:
        size = 0.017 * self._scale
        ahead = (0.2 + time * 0.021) % 1.6 - 0.3
        for number, (behind, aside) in enumerate(_BIRDS):
            flap = math.sin(time * 7.0 + number * 1.7)
            mask = PIL.Image.new("L", (max(4, round(size * 4)), max(4, round(size * 4))))
            middle = mask.width / 2
            wing = middle - flap * size * 0.9
            points = [(0.2 * middle, wing), (0.6 * middle, middle - size * 0.5), (middle, middle),
                      (1.4 * middle, middle - size * 0.5), (1.8 * middle, wing)]  # fmt: skip
            PIL.ImageDraw.Draw(mask).line(points, fill=255, width=max(1, round(size * 0.35)), joint="curve")
            tint = colour("#2e3c52")
            x, y = ahead - behind, 0.30 + aside + 0.01 * math.sin(time * 0.7)
            Shape.of_mask(mask.reduce(2), tint).draw(onto, x * self._width, y * self._height)

    def _draw_smoke(self, onto: YuvImage, time: float) -> None:
        x = HOUSE * self._width + CHIMNEY[0] * self._scale
        y = HOUSE_BASE * self._height - CHIMNEY[1] * self._scale
        for number in range(7):
            age = (time / 6.0 + number / 7) % 1.0
            puff = self._smoke[min(int(age * len(self._smoke)), len(self._smoke) - 1)]
            drift = (0.10 * age**1.5 + 0.008 * math.sin(time + number * 2)) * self._scale
            rise = (0.015 + 0.17 * age) * self._scale
            puff.draw(onto, x + drift - puff.size[0] / 2, y - rise - puff.size[1] / 2, 0.75 * (1.0 - age) ** 1.2)

    def _draw_sails(self, onto: YuvImage, time: float) -> None:
        reach = 0.150 * self._scale
        mask = _sails_mask(reach, 2 * math.pi * time / _TURN_S)
        y, u, v = (int(table[round(part)]) for table, part in zip(self._light.tables, colour("#fffaf0"), strict=True))
        x, hub = MILL * self._width, MILL_BASE * self._height - (MILL_HUB + 0.012) * self._scale
        Shape.of_mask(mask, (y, u, v)).draw(onto, x - mask.width / 2, hub - mask.height / 2)

    def _draw_flowers(self, onto: YuvImage, time: float) -> None:
        for place, phase in ((0.015, 0.0), (0.085, 0.9), (0.155, 0.4), (0.875, 0.6), (0.935, 0.1)):
            lean = math.sin(2 * math.pi * (time / _SWAY_S + phase)) + 0.3 * math.sin(time * 3.1 + phase * 5)
            shape = self._flower(round((lean / 1.3 + 1) / 2 * (_LEANINGS - 1)))
            shape.draw(onto, place * self._width - shape.size[0] * 0.3, self._height * 0.985 - shape.size[1])

    def _flower(self, leaning: int) -> Shape:
        """Drawn when it is first wanted: a still wants only five of them."""
        if leaning not in self._flowers_lit:
            if leaning not in self._flowers:
                self._flowers[leaning] = Shape.of_picture(_flower(self._scale, leaning / (_LEANINGS - 1) * 2 - 1))
            self._flowers_lit[leaning] = self._flowers[leaning].mapped(self._light.tables)
        return self._flowers_lit[leaning]


def _puff_mask(scale: float, age: int) -> PIL.Image.Image:
    """A puff of smoke, larger with age and soft all over."""
    radius = (0.012 + 0.0055 * age) * scale
    side = max(4, round(radius * 3) // 2 * 2)
    away = np.arange(side) - side / 2 + 0.5
    fade = np.clip(1.35 - np.hypot(away[:, None], away[None, :]) / radius, 0.0, 1.0)
    return PIL.Image.fromarray((fade * 255).astype(np.uint8))


def _cloud_mask(scale: float, kind: int) -> PIL.Image.Image:
    """Heaps of discs on a flat base, soft at the edges."""
    heap = random.Random(40 + kind)  # noqa: S311 — a drawing, the same each time
    width, height = round((0.26 + 0.08 * kind) * scale), round((0.12 + 0.015 * kind) * scale)
    mask = PIL.Image.new("L", (width, height))
    draw = PIL.ImageDraw.Draw(mask)
    base, top = 0.86 * height, heap.uniform(0.35, 0.6)
    for number in range(11):
        place = 0.18 + 0.64 * number / 10
        most = 0.50 * height * max(0.25, 1 - (abs(place - top) * 1.9) ** 1.4)
        radius = most * heap.uniform(0.62, 1.0)
        x, y = place * width, base - most * heap.uniform(0.5, 0.72)
        draw.ellipse((x - radius * 1.15, y - radius, x + radius * 1.15, y + radius), fill=255)
    draw.rectangle((0, base, width, height), fill=0)
    draw.rounded_rectangle((0.05 * width, base - 0.15 * height, 0.95 * width, base), 0.075 * height, fill=255)
    return mask.filter(PIL.ImageFilter.GaussianBlur(0.004 * scale))


def _shaded(mask: PIL.Image.Image, lit: tuple[float, float, float], shaded: tuple[float, float, float]) -> Shape:
    """A cloud, lit from above."""
    shape = Shape.of_mask(mask, lit)
    down = np.clip((np.linspace(0, 1, shape.size[1]) - 0.25) / 0.55, 0, 1)
    y, u, v = (rounded(a + (b - a) * down) for a, b in zip(lit, shaded, strict=True))
    across, across_half = shape.alpha.shape[1], shape.alpha_half.shape[1]
    return Shape(
        shape.alpha,
        shape.alpha_half,
        np.broadcast_to(y[:, None], (len(y), across)),
        np.broadcast_to(u[::2, None], (len(u) // 2, across_half)),
        np.broadcast_to(v[::2, None], (len(v) // 2, across_half)),
    )


def _sails_mask(reach: float, angle: float) -> PIL.Image.Image:
    """Four sails and their arms."""
    smooth = 2
    side = round(reach) * 2 * smooth
    mask = PIL.Image.new("L", (side, side))
    draw = PIL.ImageDraw.Draw(mask)
    middle = side / 2

    def turned(along: float, aside: float, by: float) -> tuple[float, float]:
        cos, sin = math.cos(by) * reach * smooth, math.sin(by) * reach * smooth
        return middle + along * cos - aside * sin, middle + along * sin + aside * cos

    for quarter in range(4):
        by = angle + quarter * math.pi / 2
        draw.polygon([turned(*place, by) for place in ((0.0, -0.02), (0.97, -0.02), (0.97, 0.02), (0.0, 0.02))], 255)
        draw.polygon([turned(*place, by) for place in ((0.24, 0.02), (0.95, 0.02), (0.95, 0.20), (0.24, 0.16))], 225)
        for along in (0.42, 0.60, 0.78):
            gap = ((along, 0.03), (along + 0.015, 0.03), (along + 0.015, 0.19), (along, 0.19))
            draw.polygon([turned(*place, by) for place in gap], 90)
    hub = 0.055 * reach * smooth
    draw.ellipse((middle - hub, middle - hub, middle + hub, middle + hub), fill=255)
    return mask.reduce(smooth)


def _balloon(scale: float) -> PIL.Image.Image:
    """A hot-air balloon with gores in three colours."""
    smooth = 2
    width, height = max(8, round(0.095 * scale)) * smooth, max(10, round(0.145 * scale)) * smooth
    picture = PIL.Image.new("RGBA", (width, height))
    draw = PIL.ImageDraw.Draw(picture)
    round_height = width * 1.02
    fills = ("#e4572e", "#f6c445", "#e4572e", "#fff3dc", "#e4572e", "#f6c445", "#e4572e")
    for number, fill in enumerate(fills):
        half = width / 2 * (1 - number / len(fills))
        draw.ellipse((width / 2 - half, 0, width / 2 + half, round_height), fill=ink(fill))
    neck, mouth = width * 0.16, width * 1.22
    draw.polygon([(width * 0.13, width * 0.80), (width * 0.87, width * 0.80), (width / 2 + neck, mouth),
                  (width / 2 - neck, mouth)], ink("#c9432a"))  # fmt: skip
    draw.polygon([(width * 0.33, width * 0.95), (width * 0.67, width * 0.95), (width / 2 + neck * 0.4, mouth),
                  (width / 2 - neck * 0.4, mouth)], ink("#f6c445"))  # fmt: skip
    basket = (width / 2 - neck * 0.7, height - width * 0.16, width / 2 + neck * 0.7, height - 1)
    for side in (-0.65, 0.65):
        draw.line((width / 2 + neck * side, mouth, width / 2 + neck * side, basket[1]), ink("#5b4636"), smooth)
    draw.rectangle(basket, fill=ink("#8a5a34"))
    return picture.reduce(smooth)


def _flower(scale: float, lean: float) -> PIL.Image.Image:
    """A sunflower; `lean` from −1 to 1."""
    smooth = 2
    width, height = round(0.17 * scale) * smooth, round(0.24 * scale) * smooth
    picture = PIL.Image.new("RGBA", (width, height))
    draw = PIL.ImageDraw.Draw(picture)
    unit = height / 0.24

    def stem(up: float) -> tuple[float, float]:
        return width * 0.5 + lean * 0.030 * unit * up**1.8, height - up * 0.165 * unit

    draw.line([stem(step / 10) for step in range(11)], ink("#3f7d35"), round(0.009 * unit), joint="curve")
    for up, side in ((0.32, -1), (0.48, 1), (0.66, -1)):
        x, y = stem(up)
        tip = (x + side * 0.052 * unit, y - 0.016 * unit)
        upper, lower = (x + side * 0.024 * unit, y - 0.026 * unit), (x + side * 0.026 * unit, y + 0.008 * unit)
        draw.polygon([(x, y), upper, tip, lower], ink("#4d9440"))
    x, y = stem(1.0)
    for ring, fill in ((0.0, "#e99a1c"), (0.5, "#ffc930")):
        for petal in range(14):
            by = (petal + ring) * 2 * math.pi / 14 + lean * 0.12
            place = x + math.cos(by) * 0.036 * unit, y + math.sin(by) * 0.036 * unit
            draw.ellipse(_round(*place, 0.0145 * unit), fill=ink(fill))
    draw.ellipse(_round(x, y, 0.028 * unit), fill=ink("#6b3f1d"))
    draw.ellipse(_round(x - 0.005 * unit, y - 0.005 * unit, 0.017 * unit), fill=ink("#85542b"))
    return picture.reduce(smooth)


def _round(x: float, y: float, radius: float) -> tuple[float, float, float, float]:
    return x - radius, y - radius, x + radius, y + radius
