"""The scene as a whole: what a camera in front of it would see at a moment."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import PIL.Image

from piapi.hardware.imaging import YuvImage
from piapi.hardware.scene.ground import OPAQUE, draw_ground
from piapi.hardware.scene.light import Light, hour_at
from piapi.hardware.scene.moving import Moving
from piapi.hardware.scene.overlay import draw_strip, draw_text, strip_height
from piapi.hardware.scene.planes import Shape, blank, mapped, split, weights
from piapi.hardware.scene.sky import draw_sky

#: Seconds for which sky and ground are drawn once: the sun moves less than two pixels meanwhile.
_STEP_S = 0.25


class Scene:
    """The scene at one size, in pixels. What stands still is drawn when it is made; `draw` then costs little."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        ground = draw_ground(width, height)
        self._top = ground.top
        self._ground = split(ground.picture)
        self._skyline = self._cut_skyline(ground.picture.getchannel("A"))
        self._lamps, self._lamps_at = Shape.of_picture(ground.lamps), ground.lamps_at
        self._moving = Moving(width, height)
        self._backdrop: YuvImage | None = None
        self._step = -1

    @property
    def _opaque(self) -> int:
        """The first row in which there is no sky."""
        return min(round(self.height * OPAQUE / 2) * 2, self.height)

    def _cut_skyline(self, mask: PIL.Image.Image) -> Shape:
        """The part of the ground above which there is sky."""
        rows = self._opaque - self._top
        mask = mask.crop((0, 0, mask.width + mask.width % 2, rows))
        alpha, alpha_half = weights(np.asarray(mask)), weights(np.asarray(mask.reduce(2)))
        y, u, v = self._ground.y[:rows], self._ground.u[: rows // 2], self._ground.v[: rows // 2]
        return Shape(alpha[:, : self.width], alpha_half, y, u, v)

    def draw(self, elapsed: float) -> YuvImage:
        """The scene so many seconds after it began, without anything written over it."""
        step = int(elapsed / _STEP_S)
        if self._backdrop is None or step != self._step:
            light = Light(hour_at(step * _STEP_S))
            self._backdrop, self._step = self._drawn_backdrop(light), step
            self._moving.relight(light)
        picture = YuvImage(self._backdrop.y.copy(), self._backdrop.u.copy(), self._backdrop.v.copy())
        self._moving.draw(picture, elapsed)
        return picture

    def _drawn_backdrop(self, light: Light) -> YuvImage:
        picture = blank(self.width, self.height)
        draw_sky(picture, self._opaque, light)
        below = self._opaque - self._top
        for plane, ground, table, start, part in zip(
            (picture.y, picture.u, picture.v),
            (self._ground.y, self._ground.u, self._ground.v),
            light.tables,
            (self._opaque, self._opaque // 2, self._opaque // 2),
            (below, below // 2, below // 2),
            strict=True,
        ):
            plane[start:] = mapped(ground[part:], table)
        self._skyline.mapped(light.tables).draw(picture, 0, self._top)
        if light.night > 0:
            self._lamps.draw(picture, *self._lamps_at, light.night)
        return picture


def write_over(picture: YuvImage, frame: int, exposed_at: float, wall_time: datetime) -> None:
    """Clock, frame number and strips. `exposed_at` in seconds of the monotonic clock."""
    dot = max(1, round(min(picture.height / 270, picture.width / 330)))
    text = f"{wall_time:%Y-%m-%d %H:%M:%S}.{wall_time.microsecond // 100000} #{frame:06d} SIMULATED"
    margin = strip_height(picture.height) + 3 * dot
    draw_text(picture, text, 4 * dot, picture.height - margin, dot)
    draw_strip(picture, frame, exposed_at)
