"""How the frames of a time-lapse are exposed: as the camera chose once, or led slowly from day to night.

Both are controls for each still, made from what a frame's metadata says and what the camera can be told
(`Capabilities.controls`). Nothing here knows a camera.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from piapi.errors import UnsupportedControl
from piapi.hardware.base import Control, ControlValue

#: Mean of a picture that is neither dark nor pale, 0 to 1 as it is stored.
TARGET = 0.42

#: Most that the exposure moves from one frame to the next, in stops (a factor of two is one)…
MOST_STEP = 1 / 3

#: … and to which that grows where frames are far apart, in stops a second: twilight goes by at half of it.
_FASTEST = 1 / 120

#: Seconds between frames up to which it has time to be calm.
_CALM_S = 30.0

#: Off by no more than this, it rests; once it moves, it goes on until it is this near. In stops.
DEAD_BAND, NEAR = 0.1, 0.03

#: Part of an interval that an exposure may take: the rest is for reading, encoding and writing.
MOST_OF_INTERVAL = 0.5

#: Part of what is missing that is made up for in one frame, with time and without.
_SHARE, _HASTY_SHARE = 0.6, 0.8

#: How stored values follow light: by a power of this, about, whatever a camera's own curve is.
_GAMMA = 2.2

#: Frames whose median counts, where there is time, so that lightning or a passing headlight moves nothing.
_REMEMBERED = 3

#: Means below and above are as good as black and white: how far off they are cannot be seen.
_BLACK, _WHITE = 0.01, 0.97

#: Frames that have to agree before automatic exposure, white balance and focus count as settled.
SETTLED_FRAMES = 5

#: By what they may differ: as shares, and for the lens in dioptres.
_AGREE = {"exposure": 0.05, "red_gain": 0.02, "blue_gain": 0.02, "colour_temperature_k": 0.02}
_AGREE_FOCUS = 0.05


def locked_controls(known: Mapping[str, Control], metadata: Mapping[str, ControlValue]) -> dict[str, ControlValue]:
    """What holds exposure, gain, white balance and focus as a frame with this metadata has them.

    Without a number, manual alone is said: the camera then stays where it is. What a camera cannot hold is left out.
    """
    held: dict[str, ControlValue] = {}
    if _has_choice(known, "exposure", "manual"):
        held["exposure"] = "manual"
        held |= _numbers(known, metadata, "exposure_s", "gain")
        digital = metadata.get("digital_gain")
        if "gain" in held and isinstance(digital, int | float) and digital > 1:  # held, the sensor has to give it all
            held |= _numbers(known, {"gain": float(held["gain"]) * digital}, "gain")
    if _has_choice(known, "white_balance", "manual"):
        gains = _numbers(known, metadata, "red_gain", "blue_gain")
        held["white_balance"] = "manual"
        held |= gains if len(gains) == 2 else _numbers(known, metadata, "colour_temperature_k")
    if _has_choice(known, "focus_mode", "manual"):
        held["focus_mode"] = "manual"
        held |= _numbers(known, metadata, "focus_position")
    return held


def settled(frames: Sequence[Mapping[str, ControlValue]]) -> bool:
    """Whether the last frames, by their metadata, agree in all that a lock would hold.

    A camera that says nothing of its frames counts as settled after as many of them.
    """
    last = frames[-SETTLED_FRAMES:]
    if len(last) < SETTLED_FRAMES:
        return False
    products = [_number(frame, "exposure_s", 1.0) * _number(frame, "gain", 1.0) for frame in last]
    if not _agree(products, _AGREE["exposure"]):
        return False
    named = ("red_gain", "blue_gain", "colour_temperature_k")
    if not all(_agree([_number(frame, name, 1.0) for frame in last], _AGREE[name]) for name in named):
        return False
    focus = [_number(frame, "focus_position", 0.0) for frame in last]
    return max(focus) - min(focus) <= _AGREE_FOCUS


class Ramp:
    """Leads the exposure after the light, in steps too small to be seen, from day to night and back.

    Frames at most 30 s apart are kept within a stop of the target through a twilight. Farther apart each is off by what
    the light has changed since the last one, and steps may be larger.

    The light is what a picture's mean says less what it was exposed by, so that a picture which was exposed otherwise
    than the last one does not look like a change of light. The time grows first, up to half an interval or what the
    camera can do, then the gain; on the way back the other way round.
    """

    def __init__(
        self,
        known: Mapping[str, Control],
        interval_s: float,
        metadata: Mapping[str, ControlValue] | None = None,
        target: float = TARGET,
    ) -> None:
        """Begins with what a frame with this metadata had. Raises UnsupportedControl for a camera that takes no time.

        `target`: mean of the pictures, 0 to 1.
        """
        exposure, gain = known.get("exposure_s"), known.get("gain")
        if exposure is None or exposure.min is None or exposure.max is None:
            raise UnsupportedControl("exposure", "ramp needs a camera that takes exposure_s, and this one does not")
        self._shortest = float(exposure.min)
        self._longest = max(min(float(exposure.max), MOST_OF_INTERVAL * interval_s), self._shortest)
        self._says_exposure = _has_choice(known, "exposure", "manual")
        self._has_gain = gain is not None and gain.min is not None and gain.max is not None
        self._least = float(gain.min) if gain is not None and gain.min else 1.0
        self._most = max(float(gain.max), self._least) if gain is not None and gain.max else self._least
        self._darkest = math.log2(self._shortest * self._least)
        self._brightest = math.log2(self._longest * self._most)
        self._target = _stops_of(target)
        self._most_step = max(MOST_STEP, interval_s * _FASTEST)
        self._share, self._frames = (_SHARE, _REMEMBERED) if interval_s <= _CALM_S else (_HASTY_SHARE, 1)
        self._stops = self._within(self._stops_seen(metadata or {}, self._middle))
        self._light: list[float] = []
        self._moving = False

    @property
    def stops(self) -> float:
        """What is exposed by: the binary logarithm of seconds × gain."""
        return self._stops

    def controls(self) -> dict[str, ControlValue]:
        """For the next frame."""
        product = 2.0**self._stops
        seconds = min(max(round(product / self._least, 6), self._shortest), self._longest)
        said: dict[str, ControlValue] = {"exposure": "manual"} if self._says_exposure else {}
        said["exposure_s"] = seconds
        if self._has_gain:
            said["gain"] = min(max(round(product / seconds, 4), self._least), self._most)
        return said

    def next(
        self, luminance: float | None, metadata: Mapping[str, ControlValue] | None = None
    ) -> dict[str, ControlValue]:
        """The controls for the next frame, after one whose mean was so bright (0 to 1; None: there was none).

        `metadata`: of that frame, where what it says of time and gain counts more than what was asked for.
        """
        if luminance is None or not math.isfinite(luminance):
            return self.controls()
        light = _stops_of(luminance) - self._stops_seen(metadata or {}, self._stops)
        self._light = [*self._light, light][-self._frames :]
        missing = self._within(self._target - _median(self._light)) - self._stops
        self._moving = abs(missing) > (NEAR if self._moving else DEAD_BAND)
        if self._moving:
            step = max(-self._most_step, min(self._most_step, missing * self._share))
            self._stops = self._within(self._stops + step)
        return self.controls()

    def state(self) -> dict[str, Any]:
        """What has to be kept to go on with after a restart; plain enough for JSON."""
        return {"stops": self._stops, "light": list(self._light), "moving": self._moving}

    @classmethod
    def from_state(
        cls, known: Mapping[str, Control], interval_s: float, state: Mapping[str, Any], target: float = TARGET
    ) -> Ramp:
        """Goes on where `state` was taken, within the ranges of today."""
        ramp = cls(known, interval_s, target=target)
        ramp._stops = ramp._within(float(state["stops"]))
        ramp._light = [float(light) for light in state["light"]][-ramp._frames :]
        ramp._moving = bool(state["moving"])
        return ramp

    @property
    def _middle(self) -> float:
        """Where to begin when nothing is known: 1/60 s."""
        return math.log2(self._least / 60)

    def _within(self, stops: float) -> float:
        return min(max(stops, self._darkest), self._brightest)

    def _stops_seen(self, metadata: Mapping[str, ControlValue], otherwise: float) -> float:
        seconds = _number(metadata, "exposure_s", 0.0)
        if seconds <= 0:
            return otherwise
        gain = _number(metadata, "gain", self._least) * max(_number(metadata, "digital_gain", 1.0), 1.0)
        return math.log2(seconds * (gain if self._has_gain and gain > 0 else self._least))


def _stops_of(luminance: float) -> float:
    """The light that a stored mean stands for, in stops below white."""
    return _GAMMA * math.log2(min(max(luminance, _BLACK), _WHITE))


def _median(values: Sequence[float]) -> float:
    """The lower one of two."""
    return sorted(values)[(len(values) - 1) // 2]


def _agree(values: Sequence[float], share: float) -> bool:
    return max(values) - min(values) <= share * max(abs(value) for value in values)


def _number(metadata: Mapping[str, ControlValue], name: str, otherwise: float) -> float:
    value = metadata.get(name)
    return float(value) if isinstance(value, int | float) else otherwise


def _numbers(
    known: Mapping[str, Control], metadata: Mapping[str, ControlValue], *names: str
) -> dict[str, ControlValue]:
    """Those that the metadata has and the camera takes, within their ranges."""
    found: dict[str, ControlValue] = {}
    for name in names:
        control, value = known.get(name), metadata.get(name)
        if control is None or not isinstance(value, int | float) or not math.isfinite(value):
            continue
        least = float(value) if control.min is None else max(float(value), control.min)
        found[name] = least if control.max is None else min(least, control.max)
    return found


def _has_choice(known: Mapping[str, Control], name: str, choice: str) -> bool:
    control = known.get(name)
    return control is not None and choice in (control.choices or ())
