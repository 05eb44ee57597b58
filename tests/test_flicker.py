"""Flicker is seen, a day is not taken for it, and what is computed against it works on pictures."""

from __future__ import annotations

import io
import json
import math
import random
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from piapi.film.flicker import apply, flicker_score, gains, one_more
from piapi.film.pictures import Decoder, mean_luma
from tests import footage


def day(frames: int = 300) -> list[float]:
    """From night to noon and back."""
    return [0.02 + 0.5 * math.sin(math.pi * place / (frames - 1)) ** 2 for place in range(frames)]


def flickering(luminances: list[float], stops: float = 0.2) -> list[float]:
    chance = random.Random(4)
    return [luminance * 2 ** chance.uniform(-stops, stops) for luminance in luminances]


def corrected(luminances: list[float]) -> list[float]:
    return [luminance * gain for luminance, gain in zip(luminances, gains(luminances), strict=True)]


def test_a_day_is_no_flicker() -> None:
    assert flicker_score(day()) < 0.02


@pytest.mark.parametrize("stops", [0.1, 0.2, 0.4])
def test_the_score_is_how_far_frames_jump_in_stops(stops: float) -> None:
    assert flicker_score(flickering(day(), stops)) == pytest.approx(stops / math.sqrt(3), rel=0.2)


@settings(deadline=None)
@given(st.lists(st.one_of(st.none(), st.floats(0, 1)), max_size=60))
def test_the_score_frame_by_frame_is_that_of_all_at_once(luminances: list[float | None]) -> None:
    stops = [math.log2(max(each, 1 / 512)) for each in luminances if each is not None]
    off = [own - mean for own, mean in zip(stops, smoothed(stops), strict=True)]
    wanted = math.sqrt(sum(each * each for each in off) / len(off)) if off else 0.0
    assert flicker_score(luminances) == pytest.approx(wanted, abs=1e-5)


def smoothed(stops: list[float]) -> list[float]:
    """The mean over five to either side; within five of an end, the line through the eleven that are there."""
    found = []
    for place in range(len(stops)):
        first = max(0, min(place - 5, len(stops) - 11))
        around = stops[first : first + 11]
        line = np.polynomial.Polynomial.fit(range(len(around)), around, min(1, len(around) - 1))
        found.append(float(line(place - first)) if len(around) > 2 else stops[place])
    return found


def test_what_is_known_does_not_grow_with_the_film() -> None:
    state = None
    for luminance in flickering(day(1000)):
        state = one_more(state, luminance)
    assert len(json.dumps(state)) < 300


def test_gains_take_flicker_out() -> None:
    seen = flickering(day())
    assert flicker_score(corrected(seen)) < flicker_score(seen) / 4


def test_gains_keep_the_day() -> None:
    for wanted, got in zip(day(), corrected(flickering(day(), 0.05)), strict=True):
        assert got == pytest.approx(wanted, rel=0.25, abs=0.02)


def test_a_steady_ramp_is_left_alone_to_its_ends() -> None:
    ramp = [0.1 * 2 ** (place / 50) for place in range(100)]
    assert list(gains(ramp)) == pytest.approx([1.0] * 100, abs=0.001)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 10, 31, 32])
def test_short_films_have_gains_too(count: int) -> None:
    assert len(gains([0.5] * count)) == count
    assert flicker_score([0.5] * count) == pytest.approx(0, abs=1e-9)


def test_missing_luminances_are_passed_over() -> None:
    seen = [None, None, 0.4, None, 0.4, float("nan"), 0.4]
    assert list(gains(seen)) == pytest.approx([1.0] * 7)
    assert list(gains([None, None])) == [1.0, 1.0]


def test_black_frames_have_bounded_gains() -> None:
    assert all(0.25 <= gain <= 4 for gain in gains([0.5, 0.0] * 40))


@pytest.mark.parametrize("gain", [0.5, 0.9, 1.0, 1.1, 1.4])
def test_a_picture_becomes_as_bright_as_wanted_though_white_is_white(gain: float) -> None:
    picture = Decoder().picture(footage.jpeg(0))
    before = mean_luma(picture) * 255 - 16
    apply(gain, picture)
    assert mean_luma(picture) * 255 - 16 == pytest.approx(before * gain, rel=0.02)
    assert max(bytes(picture.planes[0])) <= 235


def test_colours_keep_their_hue(tmp_path: Path) -> None:
    file = io.BytesIO()
    PIL.Image.new("RGB", (64, 48), (100, 50, 40)).save(file, "JPEG", quality=100)
    picture = Decoder().picture(file.getvalue())
    apply(1.5, picture)
    got = picture.to_image().getpixel((30, 20))
    assert got == pytest.approx((150, 75, 60), abs=4)
