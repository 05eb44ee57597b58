"""What a camera makes of the light that comes in: exposure, white balance, contrast, brightness, saturation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from piapi.hardware.imaging import Pixels, YuvImage
from piapi.hardware.scene.planes import Table, mapped, rounded

#: From linear light to what a picture holds.
_GAMMA = 2.2

#: What one stop more of blue or red adds to Cb or Cr.
_CAST = 30.0

#: What is added to Cb and Cr when a picture is balanced for a light that is not there.
WHITE_BALANCES: Mapping[str, tuple[float, float]] = {
    "auto": (0.0, 0.0),
    "daylight": (-3.0, 2.0),
    "cloudy": (-10.0, 8.0),
    "tungsten": (22.0, -14.0),
}


def cast_of(gains: tuple[float, float], right: tuple[float, float]) -> tuple[float, float]:
    """What white balance of these gains, of red and blue, adds to Cb and Cr in a light for which others are right."""
    red, blue = (math.log2(gain / right_one) for gain, right_one in zip(gains, right, strict=True))
    return _CAST * blue, _CAST * red


def gains_of(cast: tuple[float, float], right: tuple[float, float]) -> tuple[float, float]:
    """The other way: the gains, of red and blue, that add this."""
    return right[0] * 2 ** (cast[1] / _CAST), right[1] * 2 ** (cast[0] / _CAST)


@dataclass(frozen=True, slots=True)
class Tone:
    """How a picture is toned. `light` is linear: 2 is one stop more than automatic exposure gives."""

    light: float = 1.0
    brightness: float = 0.0
    contrast: float = 1.0
    saturation: float = 1.0
    cast: tuple[float, float] = (0.0, 0.0)
    """What is added to Cb and Cr."""

    def applied(self, picture: YuvImage) -> YuvImage:
        """The picture in this tone; the very same where that changes nothing."""
        if self == Tone():
            return picture
        level = self.light ** (1 / _GAMMA)  # Y, Cb and Cr scale as R, G and B do, and by a power law these scale alike
        values = np.arange(256.0)
        luma = np.minimum(values * level, 255)
        luma = (luma - 128) * self.contrast + 128 + self.brightness * 128
        blue, red = self.cast
        strength = level * self.contrast * self.saturation
        u, v = (
            mapped(plane, rounded(128 + (values - 128) * strength + shift * min(level, 1.0) * self.saturation))
            for plane, shift in ((picture.u, blue), (picture.v, red))
        )
        if level > 1:
            keep = rounded(255 * np.clip((330 - values * level) / 110, 0, 1))
            u, v = (_faded(plane, picture.y, keep) for plane in (u, v))
        return YuvImage(mapped(picture.y, rounded(luma)).copy(), u.copy(), v.copy())


def _faded(plane: Pixels, luma: Pixels, keep: Table) -> Pixels:
    """Colours go where the sensor saturates: what is too bright is white."""
    share = keep[luma[::2, ::2]].astype(np.int32)
    return (((plane.astype(np.int32) - 128) * share) // 255 + 128).astype(np.uint8)
