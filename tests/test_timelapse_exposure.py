"""Exposure of a time-lapse: held as the camera chose it, or led after the light without jumps or swinging."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Mapping
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from piapi.errors import UnsupportedControl
from piapi.hardware.base import CameraConfig, Control, ControlValue, StillRequest
from piapi.hardware.camera_simulated import CONTROLS, SimulatedCamera
from piapi.hardware.imaging import YuvImage
from piapi.hardware.scene import DAY_S
from piapi.services.timelapses.exposure import (
    DEAD_BAND,
    MOST_STEP,
    SETTLED_FRAMES,
    TARGET,
    Ramp,
    locked_controls,
    settled,
)
from tests.fakes import FakeClock

MANUAL = Control("auto", choices=("auto", "manual"))
MODULE_3: Mapping[str, Control] = {
    "exposure": MANUAL,
    "exposure_s": Control(None, 26e-6, 220.0),
    "gain": Control(None, 1.12, 16.0),
    "white_balance": Control("auto", choices=("auto", "daylight", "manual")),
    "red_gain": Control(None, 0.1, 32.0),
    "blue_gain": Control(None, 0.1, 32.0),
    "focus_mode": Control("continuous", choices=("manual", "auto", "continuous")),
    "focus_position": Control(None, 0.0, 32.0),
}
WEBCAM: Mapping[str, Control] = {
    "exposure": MANUAL,
    "exposure_s": Control(None, 0.0003, 0.2047),
    "white_balance": Control("auto", choices=("auto", "daylight", "manual")),
    "colour_temperature_k": Control(None, 2800, 6000),
    "focus_mode": Control("continuous", choices=("continuous", "manual")),
}


def log2_product(controls: Mapping[str, ControlValue]) -> float:
    return math.log2(float(controls["exposure_s"]) * float(controls.get("gain", 1.0)))


class Sensor:
    """Answers light and exposure with a mean, by a curve of its own, with noise and in steps, as sensors do."""

    def __init__(self, gamma: float = 2.2, noise: float = 0.0, steps: float = 0.0) -> None:
        self.gamma, self.noise, self.steps = gamma, noise, steps
        self.light = 0.0
        """In stops: at 0 a product of 1 gives a mean of the target."""
        self._random = random.Random(5)

    def mean(self, controls: Mapping[str, ControlValue]) -> float:
        stops = self.light + log2_product(controls)
        if self.steps:
            stops = round(stops / self.steps) * self.steps
        level = TARGET * 2 ** (stops / self.gamma)
        return min(max(level * (1 + self._random.gauss(0, self.noise)), 0.0), 1.0)

    def off(self, controls: Mapping[str, ControlValue]) -> float:
        """In stops."""
        return self.light + log2_product(controls)


def run(ramp: Ramp, sensor: Sensor, frames: int, light: Callable[[int], float]) -> list[float]:
    """How far off each frame was, in stops."""
    controls, off = ramp.controls(), []
    for number in range(frames):
        sensor.light = light(number)
        off.append(sensor.off(controls))
        controls = ramp.next(sensor.mean(controls))
    return off


# Locked


def test_a_lock_holds_what_the_camera_chose() -> None:
    seen = {"exposure_s": 0.01, "gain": 2.0, "red_gain": 2.1, "blue_gain": 1.7, "focus_position": 1.5, "lux": 400.0}
    assert locked_controls(MODULE_3, seen) == {
        "exposure": "manual",
        "exposure_s": 0.01,
        "gain": 2.0,
        "white_balance": "manual",
        "red_gain": 2.1,
        "blue_gain": 1.7,
        "focus_mode": "manual",
        "focus_position": 1.5,
    }
    assert locked_controls(WEBCAM, {"exposure_s": 0.01, "colour_temperature_k": 4600}) == {
        "exposure": "manual",
        "exposure_s": 0.01,
        "white_balance": "manual",
        "colour_temperature_k": 4600,
        "focus_mode": "manual",
    }


def test_a_lock_takes_digital_gain_into_the_sensors() -> None:
    assert locked_controls(MODULE_3, {"exposure_s": 0.01, "gain": 4.0, "digital_gain": 1.5})["gain"] == 6.0
    assert locked_controls(MODULE_3, {"exposure_s": 0.01, "gain": 16.0, "digital_gain": 4.0})["gain"] == 16.0


def test_a_camera_that_can_hold_nothing_is_locked_with_nothing() -> None:
    assert locked_controls({}, {"exposure_s": 0.01, "red_gain": 2.0}) == {}
    with pytest.raises(UnsupportedControl, match="ramp needs"):
        Ramp({}, 5.0)


@given(
    st.sampled_from([MODULE_3, WEBCAM, CONTROLS, {}]),
    st.dictionaries(
        st.sampled_from([*MODULE_3, "digital_gain", "colour_temperature_k"]),
        st.floats() | st.integers() | st.sampled_from(["", "auto"]) | st.booleans(),
    ),
)
def test_a_lock_is_always_one_that_the_camera_takes(
    known: Mapping[str, Control], metadata: dict[str, ControlValue]
) -> None:
    for name, value in locked_controls(known, metadata).items():
        known[name].check(name, value)


def test_settled_means_that_the_last_frames_agree() -> None:
    good = {"exposure_s": 0.01, "gain": 2.0, "red_gain": 2.0, "blue_gain": 1.5, "focus_position": 1.0}
    assert settled([good] * SETTLED_FRAMES) and not settled([good] * (SETTLED_FRAMES - 1)) and not settled([])
    for change in ({"exposure_s": 0.011}, {"gain": 1.8}, {"blue_gain": 1.4}, {"focus_position": 1.2}):
        frames = [good] * SETTLED_FRAMES + [{**good, **change}]
        assert not settled(frames), change
        assert settled([{**good, **change}, *[good] * SETTLED_FRAMES]), "long ago"
    assert settled([{**good, "exposure_s": 0.02, "gain": 1.0}, *[good] * SETTLED_FRAMES])
    assert settled([{}] * SETTLED_FRAMES), "a camera that says nothing"


# The ramp: ranges


controls_of_cameras = st.builds(
    lambda shortest, span, least, most, has_gain: {
        "exposure": MANUAL,
        "exposure_s": Control(None, shortest, shortest * span),
        **({"gain": Control(None, least, least * most)} if has_gain else {}),
    },
    st.floats(1e-5, 1e-2),
    st.floats(1.5, 1e6),
    st.floats(1.0, 3.0),
    st.floats(1.5, 60.0),
    st.booleans(),
)
luminances = st.lists(st.none() | st.floats(0, 1) | st.just(math.nan), min_size=1, max_size=60)


@given(controls_of_cameras, st.floats(0.1, 86400.0), luminances)
@settings(max_examples=200, deadline=None)
def test_the_ramp_never_leaves_a_range_or_takes_a_large_step(
    known: dict[str, Control], interval_s: float, seen: list[float | None]
) -> None:
    ramp = Ramp(known, interval_s)
    cap, most = max(interval_s / 2, known["exposure_s"].min or 0), max(MOST_STEP, interval_s / 120)
    said = [ramp.controls(), *(ramp.next(luminance) for luminance in seen)]
    for controls in said:
        for name, value in controls.items():
            known[name].check(name, value)
        assert float(controls["exposure_s"]) <= cap
    for before, after in pairwise(said):
        assert abs(log2_product(after) - log2_product(before)) <= most + 0.1, "and what rounding adds"


@given(controls_of_cameras, luminances, luminances)
@settings(max_examples=100, deadline=None)
def test_a_restart_changes_nothing(
    known: dict[str, Control], before: list[float | None], after: list[float | None]
) -> None:
    ramp = Ramp(known, 10.0)
    for luminance in before:
        ramp.next(luminance)
    again = Ramp.from_state(known, 10.0, json.loads(json.dumps(ramp.state())))
    assert again.controls() == ramp.controls()
    assert [again.next(luminance) for luminance in after] == [ramp.next(luminance) for luminance in after]


def test_a_state_of_another_camera_is_brought_into_range() -> None:
    ramp = Ramp.from_state(WEBCAM, 5.0, {"stops": 9.0, "light": [], "moving": False})
    assert ramp.controls()["exposure_s"] == 0.2047


def test_time_grows_first_and_then_gain_and_back() -> None:
    ramp, seen = Ramp(MODULE_3, 4.0), []
    for luminance in [0.05] * 80 + [0.95] * 120:
        controls = ramp.next(luminance)
        seen.append((float(controls["exposure_s"]), float(controls["gain"])))
    assert max(seconds for seconds, _ in seen) == 2.0, "half the interval"
    assert all(gain == pytest.approx(1.12, rel=0.02) or seconds == 2.0 for seconds, gain in seen)
    assert max(gain for _, gain in seen) == pytest.approx(16.0, rel=0.03) and seen[-1][0] < 0.01


def test_the_ramp_begins_where_the_camera_was() -> None:
    ramp = Ramp(MODULE_3, 5.0, {"exposure_s": 0.02, "gain": 4.0, "digital_gain": 1.25})
    assert log2_product(ramp.controls()) == pytest.approx(math.log2(0.1), abs=0.01)
    assert ramp.controls()["gain"] == pytest.approx(1.12, rel=0.01)


# The ramp: how it gets there


@pytest.mark.parametrize("gamma", [1.4, 1.8, 2.2, 2.8])
@pytest.mark.parametrize("light", [-5.0, -1.0, 1.0, 5.0])
def test_the_ramp_arrives_and_stays(gamma: float, light: float) -> None:
    ramp = Ramp(MODULE_3, 10.0, {"exposure_s": 0.5, "gain": 2.0})
    off = run(ramp, Sensor(gamma), 80, lambda _: light)
    needed = abs(light) / MOST_STEP
    settled_at = math.ceil(needed) + 15
    assert all(abs(one) <= 0.15 for one in off[settled_at:])
    assert off[settled_at:] == [off[-1]] * len(off[settled_at:]), "it rests"
    beyond = [one for one in off if one * light < 0]
    assert all(abs(one) < 0.35 for one in beyond), "it hardly goes beyond"
    changes = sum(1 for a, b, c in zip(off, off[1:], off[2:], strict=False) if (b - a) * (c - b) < -1e-9)
    assert changes <= 3, "it does not swing"


@pytest.mark.parametrize("noise", [0.005, 0.02])
def test_noise_and_a_sensors_steps_move_little(noise: float) -> None:
    ramp = Ramp(MODULE_3, 10.0, {"exposure_s": 0.5, "gain": 2.0})
    off = run(ramp, Sensor(noise=noise, steps=1 / 16), 300, lambda _: 0.0)
    assert max(map(abs, off)) < 0.25


def test_one_bright_frame_moves_nothing() -> None:
    ramp = Ramp(MODULE_3, 10.0, {"exposure_s": 0.5, "gain": 2.0})
    off = run(ramp, Sensor(), 40, lambda number: 4.0 if number == 20 else 0.0)
    assert all(one == off[0] for number, one in enumerate(off) if number != 20)


def test_a_missed_frame_holds_the_exposure() -> None:
    ramp = Ramp(MODULE_3, 10.0)
    before = ramp.controls()
    assert ramp.next(None) == before == ramp.next(math.nan)


def test_a_frame_that_was_exposed_otherwise_than_asked_is_no_change_of_light() -> None:
    ramp = Ramp(MODULE_3, 10.0, {"exposure_s": 0.5, "gain": 2.0})
    before = ramp.controls()
    for _ in range(5):
        darker = {"exposure_s": 0.25, "gain": 2.0, "digital_gain": 1.0}
        assert ramp.next(TARGET * 2 ** (-1 / 2.2), darker) == before


def sunset(minute: float) -> float:
    """Stops of light, 0 by day and 17 less by night: at most 0.35 stops a minute, more than twilights at 45° take."""
    return -17.0 / (1.0 + math.exp(-(minute - 60.0) / 12.1))


@pytest.mark.parametrize("gamma", [1.8, 2.2, 2.6])
@pytest.mark.parametrize("interval_s", [2.0, 10.0, 30.0, 60.0])
def test_a_sunset_and_a_sunrise_are_followed_within_a_stop(interval_s: float, gamma: float) -> None:
    known = {**MODULE_3, "gain": Control(None, 1.0, 64.0)}
    ramp = Ramp(known, interval_s, {"exposure_s": 1 / 4000, "gain": 1.0})
    day = 12.0  # stops of light at which 1/4000 s is right
    frames = round(120 * 60 / interval_s)

    def light(number: int) -> float:
        minute = number * interval_s / 60
        return day + max(sunset(minute if minute <= 120 else 240 - minute), -17.0)

    sensor = Sensor(gamma, noise=0.003)
    off = run(ramp, sensor, 2 * frames, light)
    reachable = [one for number, one in enumerate(off) if 2.0 ** -light(number) <= interval_s / 2 * 64 and number > 10]
    assert max(map(abs, reachable)) < 1.0
    jumps = [abs((b - light(n + 1)) - (a - light(n))) for n, (a, b) in enumerate(pairwise(off))]
    assert max(jumps) <= max(MOST_STEP, interval_s / 120) + 0.02


def test_frames_far_apart_are_off_by_no_more_than_the_light_changes_between_them() -> None:
    ramp = Ramp({**MODULE_3, "gain": Control(None, 1.0, 64.0)}, 300.0, {"exposure_s": 1 / 4000, "gain": 1.0})
    off = run(ramp, Sensor(), 25, lambda number: 12.0 + sunset(number * 5.0))
    assert max(map(abs, off)) < 300 / 60 * 0.35 * 1.4


# With the simulated camera


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def camera(clock: FakeClock) -> SimulatedCamera:
    camera = SimulatedCamera(CameraConfig("test", "simulated", width=96, height=64, fps=2), Stepping(clock))
    camera.open()
    return camera


class Stepping(FakeClock):
    """Goes on as somebody waits."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__()
        self.__dict__ = clock.__dict__

    def wait(self, condition: object, timeout: float | None) -> bool:
        self.advance(timeout or 0.0)
        return False


def mean_of(still: object) -> float:
    image = still.image  # type: ignore[attr-defined]
    assert isinstance(image, YuvImage)
    return float(np.mean(image.y)) / 255


def test_a_locked_camera_makes_the_very_same_exposure_hours_later(camera: SimulatedCamera, clock: FakeClock) -> None:
    seen = [camera.read(clock.monotonic() + 5).metadata for _ in range(SETTLED_FRAMES)]
    assert settled(seen)
    held = locked_controls(CONTROLS, seen[-1])
    clock.advance(DAY_S * 9 / 24)
    still = camera.capture(StillRequest(controls=held), clock.monotonic() + 5)
    assert {name: still.metadata[name] for name in ("exposure_s", "gain", "red_gain", "blue_gain")} == {
        name: held[name] for name in ("exposure_s", "gain", "red_gain", "blue_gain")
    }


def test_the_ramp_leads_the_simulated_camera_into_its_night(camera: SimulatedCamera, clock: FakeClock) -> None:
    interval_s, begun = 1.0, DAY_S * 7 / 24  # 2.4 minutes of the scene's day, from 16 o'clock on
    clock.advance(begun)
    first = camera.read(clock.monotonic() + 5)
    ramp, controls, seen = Ramp(CONTROLS, interval_s, first.metadata), {}, []
    controls = ramp.controls()
    for number in range(150):
        clock.advance(max(1000.0 + begun + number * interval_s - clock.monotonic(), 0.0))
        still = camera.capture(StillRequest(controls=controls), clock.monotonic() + 5)
        seen.append((mean_of(still), log2_product(still.metadata)))
        controls = ramp.next(seen[-1][0], still.metadata)
    means = [mean for mean, _ in seen[15:]]
    off = [abs(2.2 * math.log2(mean / TARGET)) for mean in means]
    assert max(off) < 1.0
    assert all(abs(a - b) <= MOST_STEP + 0.1 for (_, a), (_, b) in pairwise(seen))
    assert max(stops for _, stops in seen) - min(stops for _, stops in seen) > 5 and DEAD_BAND == 0.1
