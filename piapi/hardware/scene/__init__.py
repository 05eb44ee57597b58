"""The scene in front of the simulated camera: a house and a windmill on a day that passes in ten minutes."""

from __future__ import annotations

from piapi.hardware.scene.light import DAY_S, Exposure, Light, hour_at
from piapi.hardware.scene.overlay import Strip, read_strip
from piapi.hardware.scene.scene import Scene, write_over
from piapi.hardware.scene.tone import WHITE_BALANCES, Tone, cast_of, gains_of

__all__ = [
    "DAY_S",
    "WHITE_BALANCES",
    "Exposure",
    "Light",
    "Scene",
    "Strip",
    "Tone",
    "cast_of",
    "gains_of",
    "hour_at",
    "read_strip",
    "write_over",
]
