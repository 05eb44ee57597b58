"""Flicker: brightness that jumps from frame to frame where the scene did not. Measured, and taken out.

Brightness is counted in stops (a doubling each), as exposure is.
"""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    import av

#: Frames to either side that a frame is judged by, and those that it is smoothed over (twice).
_JUDGED_BY, _SMOOTHED_OVER = 5, 15

#: Luminance below which nothing but noise is left.
_DARKEST = 1 / 512

#: No frame is made brighter or darker by more than this factor.
_MOST = 4.0

_BLACK, _WHITE, _NO_COLOUR = 16, 235, 128  # of tv range
_EVERY = 8  # of the pixels of a row, and of the rows: those that are looked at


def flicker_score(luminances: Iterable[float | None]) -> float:
    """How far frames are from what lies around them, in stops, root mean square. 0 is none; 0.02 is hardly seen; 0.1 is
    plain. Luminances are 0 to 1; a slow change, as of a day, counts for nothing, nor does a missing one."""
    state: State | None = None
    for luminance in luminances:
        state = one_more(state, luminance)
    return score_of(state) or 0.0


class State(TypedDict):
    """What is known of a film so far: as much for a long one as for a short one. As JSON it is the same."""

    frames: int
    squares: float
    """Sum over all frames but the last five."""
    last: list[float]
    """Of the last eleven frames, in stops."""


def one_more(state: State | None, luminance: float | None) -> State | None:
    """After another frame. `state` stays as it is; None: there was no frame before."""
    if luminance is None or math.isnan(luminance):
        return state
    frames, squares, last = (state["frames"], state["squares"], state["last"]) if state else (0, 0.0, [])
    last = [*last[-2 * _JUDGED_BY :], round(_in_stops(luminance), 6)]
    if frames == 2 * _JUDGED_BY:  # the first five are judged as all of the first eleven are
        squares += sum(_squares(last)[:_JUDGED_BY])
    if frames >= 2 * _JUDGED_BY:
        squares += (last[_JUDGED_BY] - sum(last) / len(last)) ** 2
    return State(frames=frames + 1, squares=squares, last=last)


def score_of(state: State | None) -> float | None:
    """As `flicker_score`; None before the first frame."""
    if state is None:
        return None
    open_end = _squares(state["last"])
    if state["frames"] > 2 * _JUDGED_BY:
        open_end = open_end[-_JUDGED_BY:]
    return math.sqrt((state["squares"] + sum(open_end)) / state["frames"])


def _squares(stops: Sequence[float]) -> list[float]:
    return [(own - mean) ** 2 for own, mean in zip(stops, _line(stops), strict=True)]


def gains(luminances: Iterable[float | None]) -> array[float]:
    """What each frame's brightness is to be multiplied by, so that it follows those around it. Where a luminance is
    missing the frame stays about as it is."""
    stops = _stops(luminances)
    wanted = _smoothed(_smoothed(stops, _SMOOTHED_OVER), _SMOOTHED_OVER)
    return array("d", (_bounded(2 ** (mean - own)) for own, mean in zip(stops, wanted, strict=True)))


def apply(gain: float, picture: av.VideoFrame) -> None:
    """Multiply the brightness of a yuv420p picture in tv range. What white cuts off is made up for by the rest."""
    if abs(gain - 1) < 1e-3:
        return
    luma = picture.planes[0]
    factor = _unclipped(gain, luma) if gain > 1 else gain
    for number, (plane, middle) in enumerate(zip(picture.planes, (_BLACK, _NO_COLOUR, _NO_COLOUR), strict=True)):
        least, most = (_BLACK, _WHITE) if number == 0 else (_BLACK, 240)
        table = bytes(min(most, max(least, round(middle + (level - middle) * factor))) for level in range(256))
        plane.update(bytes(plane).translate(table))


def _unclipped(gain: float, luma: object) -> float:
    """The factor that raises the mean by `gain`, though levels end at white."""
    levels = _levels(luma)
    wanted = gain * sum(level * times for level, times in levels.items())
    least, most = gain, _MOST
    for _step in range(12):
        factor = (least + most) / 2
        if sum(min(level * factor, _WHITE - _BLACK) * times for level, times in levels.items()) < wanted:
            least = factor
        else:
            most = factor
    return most if most < _MOST else gain


def _levels(plane: object) -> Counter[int]:
    """How often each level above black occurs, from some of the pixels."""
    data = memoryview(plane)  # type: ignore[arg-type]
    across, stride, rows = plane.width, plane.line_size, plane.height  # type: ignore[attr-defined]
    seen: Counter[int] = Counter()
    for row in range(0, rows, _EVERY):
        seen.update(bytes(data[row * stride : row * stride + across])[::_EVERY])
    return Counter({max(0, min(level, _WHITE) - _BLACK): times for level, times in seen.items()})


def _in_stops(luminance: float) -> float:
    return math.log2(max(luminance, _DARKEST))


def _stops(luminances: Iterable[float | None]) -> array[float]:
    """In stops; what is missing is as what was before it, or at the beginning as what comes first."""
    found = array("d")
    missing = 0
    for luminance in luminances:
        if luminance is not None and not math.isnan(luminance):
            found.extend([_in_stops(luminance)] * (missing + 1 if not found else 1))
        elif found:
            found.append(found[-1])
        else:
            missing += 1
    return found or array("d", [0.0] * missing)


def _smoothed(values: Sequence[float], reach: int) -> array[float]:
    """The mean over `reach` values to either side; at both ends, where there are none, the line that fits best."""
    count, window = len(values), 2 * reach + 1
    if count <= window:
        return array("d", _line(values))
    sums = array("d", accumulate(values, initial=0.0))
    middle = ((sums[at + window] - sums[at]) / window for at in range(count - window + 1))
    return array("d", [*_line(values[:window])[:reach], *middle, *_line(values[-window:])[-reach:]])


def _line(values: Sequence[float]) -> list[float]:
    """The straight line through values by least squares, at each of them."""
    count = len(values)
    if count < 3:
        return list(values)
    centre, mean = (count - 1) / 2, sum(values) / count
    slope = 12 * sum((at - centre) * value for at, value in enumerate(values)) / (count * (count * count - 1))
    return [mean + slope * (at - centre) for at in range(count)]


def _bounded(gain: float) -> float:
    return min(_MOST, max(1 / _MOST, gain))
