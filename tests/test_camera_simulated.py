"""The simulated camera: its scene, its exposure, its pace and its faults. What every camera does is in
`test_camera_contract`."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import numpy as np
import PIL.Image
import pytest

from piapi.clock import SystemClock
from piapi.errors import CameraTimeout, CameraUnavailable, UnsupportedControl
from piapi.hardware.base import CameraConfig, ControlValue, Frame, StillRequest
from piapi.hardware.camera_simulated import Faults, SimulatedCamera
from piapi.hardware.imaging import YuvImage
from piapi.hardware.scene import DAY_S, Light, Scene, Strip, Tone, hour_at, read_strip, write_over

PATIENCE_S = 20.0


class StepClock:
    """A clock that goes on only while somebody waits on it."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def now(self) -> datetime:
        return datetime.fromtimestamp(1_760_000_000 + self.seconds, UTC)

    def monotonic(self) -> float:
        return self.seconds

    def wait(self, condition: threading.Condition, timeout: float | None) -> bool:
        assert timeout is not None
        self.seconds += timeout
        return False


@pytest.fixture
def clock() -> StepClock:
    return StepClock()


@pytest.fixture
def faults() -> Faults:
    return Faults()


@pytest.fixture
def camera(clock: StepClock, faults: Faults) -> Iterator[SimulatedCamera]:
    """Open, 320 × 240, ten frames a second."""
    camera = SimulatedCamera(CameraConfig("test", "simulated", width=320, height=240, fps=10), clock, faults)
    camera.open()
    yield camera
    camera.close()


def pixels_of(data: bytes) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.asarray(PIL.Image.open(io.BytesIO(data)).convert("RGB"))


def strip_of(frame: Frame, **how: int) -> Strip:
    return read_strip(pixels_of(frame.image.encode("jpeg", **how)))


def planes_of(frame: Frame) -> tuple[np.ndarray[Any, Any], ...]:
    """The part of a picture over which nothing is written."""
    assert isinstance(frame.image, YuvImage)
    height = frame.image.height
    rows, half = slice(height // 20, height * 3 // 4), slice(height // 40, height * 3 // 8)
    return frame.image.y[rows].astype(float), frame.image.u[half] - 128.0, frame.image.v[half] - 128.0


def brightness_of(frame: Frame) -> float:
    return float(planes_of(frame)[0].mean())


def colourfulness_of(frame: Frame) -> float:
    _, u, v = planes_of(frame)
    return float(np.hypot(u, v).mean())


def with_controls(camera: SimulatedCamera, clock: StepClock, **controls: ControlValue) -> Frame:
    camera.configure(controls)
    return camera.read(clock.seconds + 120)


# The strip


@pytest.mark.parametrize("size", [(160, 120), (641, 481), (720, 1280), (1280, 720), (1920, 1080)])
def test_the_strip_survives_jpeg_and_scaling(size: tuple[int, int]) -> None:
    scene = Scene(*size)
    for elapsed in (0.0, 100.0, 420.5):
        picture = scene.draw(elapsed)
        write_over(picture, 70001, 12345.678 + elapsed, datetime(2026, 6, 21, tzinfo=UTC))
        expected = Strip(70001, round((12345.678 + elapsed) * 1000))
        for width in (0, *(width for width in (160, 213, 320) if width <= size[0])):
            for quality in (30, 90):
                data = picture.encode("jpeg", width=width, quality=quality)
                assert read_strip(pixels_of(data)) == expected
                assert read_strip(pixels_of(data).mean(axis=2)) == expected, "luma alone will do"


def test_frames_say_their_number_and_when_they_were_exposed(camera: SimulatedCamera, clock: StepClock) -> None:
    for number in range(1, 5):
        frame = camera.read(clock.seconds + 1)
        assert frame.metadata["frame"] == number
        assert strip_of(frame, width=160, quality=30) == Strip(number, round(frame.exposed_at * 1000))


def test_a_mixture_of_two_frames_is_recognised(camera: SimulatedCamera, clock: StepClock) -> None:
    first, second = (pixels_of(camera.read(clock.seconds + 1).image.encode("png")) for _ in range(2))
    for row in (12, 120, 230):
        with pytest.raises(ValueError, match="torn"):
            read_strip(np.concatenate([first[:row], second[row:]]))


@pytest.mark.parametrize("shade", [0, 127, 128, 255])
def test_a_picture_of_something_else_has_no_strip(shade: int) -> None:
    with pytest.raises(ValueError, match="no strips"):
        read_strip(np.full((120, 160, 3), shade, np.uint8))


def test_a_torn_frame_says_so(camera: SimulatedCamera, clock: StepClock, faults: Faults) -> None:
    with faults.tearing():
        torn = camera.read(clock.seconds + 1)
        still = camera.capture(StillRequest(), clock.seconds + 1)
    for frame in (torn, still):
        with pytest.raises(ValueError, match="torn"):
            strip_of(frame)
    assert strip_of(camera.read(clock.seconds + 1))


# The scene


def test_a_day_passes() -> None:
    assert [round(hour_at(part * DAY_S)) for part in (0.0, 0.25, 0.5, 1.0)] == [9, 15, 21, 9]
    scene = Scene(320, 180)
    by_hour = {hour: float(scene.draw((hour - 9) % 24 * DAY_S / 24).y.mean()) for hour in (1, 7, 13, 19)}
    assert by_hour[1] < by_hour[7] < by_hour[13] > by_hour[19] > by_hour[1]
    lux = [Light(hour).lux for hour in (1, 7, 13)]
    assert lux == sorted(lux) and lux[0] < 10 and lux[-1] > 10_000


def test_the_scene_moves_from_one_frame_to_the_next_and_depends_on_the_time_alone() -> None:
    scene = Scene(640, 360)
    first, second = scene.draw(10.0), scene.draw(10.1)
    moved = np.abs(first.y.astype(int) - second.y) > 8
    assert 0.0005 < moved.mean() < 0.2
    assert np.array_equal(Scene(640, 360).draw(10.0).y, first.y)
    assert np.array_equal(scene.draw(10.0).y, first.y)


@pytest.mark.parametrize("size", [(64, 64), (65, 97), (641, 481), (333, 1000), (4608, 144)])
def test_any_size_can_be_drawn(size: tuple[int, int]) -> None:
    picture = Scene(*size).draw(300.0)
    write_over(picture, 1, 1.0, datetime(2026, 6, 21, tzinfo=UTC))
    assert pixels_of(picture.encode("jpeg")).shape == (size[1], size[0], 3)


def test_a_still_of_the_whole_sensor_can_be_taken(camera: SimulatedCamera, clock: StepClock) -> None:
    still = camera.capture(StillRequest(4608, 2592), clock.seconds + 5)
    assert (still.image.width, still.image.height) == (4608, 2592)
    assert strip_of(still, width=1280).frame == still.metadata["frame"]


@pytest.mark.parametrize(
    ("asked", "got"),
    [((0, 0), (320, 240)), ((640, 0), (640, 480)), ((0, 600), (800, 600)), ((9216, 5184), (4608, 2592))],
)
def test_a_still_has_the_size_asked_for(
    camera: SimulatedCamera, clock: StepClock, asked: tuple[int, int], got: tuple[int, int]
) -> None:
    image = camera.capture(StillRequest(*asked), clock.seconds + 5).image
    assert (image.width, image.height) == got


def test_live_frames_are_no_larger_than_the_sensor(clock: StepClock) -> None:
    camera = SimulatedCamera(CameraConfig("test", "simulated", width=9216, height=600), clock)
    camera.open()
    image = camera.read(clock.seconds + 1).image
    assert (image.width, image.height) == (4608, 300)
    camera.close()


# Controls


def test_brightness_contrast_and_saturation_have_their_effect(camera: SimulatedCamera, clock: StepClock) -> None:
    plain = with_controls(camera, clock)
    assert brightness_of(with_controls(camera, clock, brightness=0.3)) > brightness_of(plain) + 20
    assert brightness_of(with_controls(camera, clock, brightness=-1.0)) < 64
    assert planes_of(with_controls(camera, clock, contrast=0.5))[0].std() < planes_of(plain)[0].std() * 0.6
    assert planes_of(with_controls(camera, clock, contrast=0))[0].std() == 0
    assert colourfulness_of(with_controls(camera, clock, saturation=0)) == 0
    assert colourfulness_of(with_controls(camera, clock, saturation=2)) > colourfulness_of(plain) * 1.5
    assert brightness_of(with_controls(camera, clock)) == pytest.approx(brightness_of(plain), abs=2)


def test_white_balance_for_another_light_turns_the_picture_blue(camera: SimulatedCamera, clock: StepClock) -> None:
    plain, blue = with_controls(camera, clock), with_controls(camera, clock, white_balance="tungsten")
    assert planes_of(blue)[1].mean() > planes_of(plain)[1].mean() + 10


def test_white_balance_that_is_held_lets_the_evening_turn_red(camera: SimulatedCamera, clock: StepClock) -> None:
    def redness() -> float:
        _, u, v = planes_of(camera.read(clock.seconds + 1))
        return float(v.mean() - u.mean())

    noon = camera.read(clock.seconds + 1).metadata
    held = {name: noon[name] for name in ("red_gain", "blue_gain")}
    plain = redness()
    camera.configure({"white_balance": "manual", **held})
    assert redness() == pytest.approx(plain, abs=1)
    clock.seconds += DAY_S * 10.5 / 24  # the sun sets
    camera.configure({})
    for _ in range(20):  # exposure settles
        camera.read(clock.seconds + 1)
    automatic, frame = redness(), camera.read(clock.seconds + 1)
    assert frame.metadata["blue_gain"] > held["blue_gain"] and frame.metadata["red_gain"] < held["red_gain"]
    camera.configure({"white_balance": "manual"})
    assert redness() == pytest.approx(automatic, abs=1), "the gains in force are held"
    camera.configure(held)
    assert redness() > automatic + 10
    assert camera.read(clock.seconds + 1).metadata["red_gain"] == held["red_gain"]


def test_exposure_that_is_held_lets_the_evening_go_dark(camera: SimulatedCamera, clock: StepClock) -> None:
    noon = camera.read(clock.seconds + 1)
    held = {name: noon.metadata[name] for name in ("exposure_s", "gain")}
    clock.seconds += DAY_S * 10.5 / 24
    camera.configure({"exposure": "manual", **held})
    assert brightness_of(camera.read(clock.seconds + 1)) < brightness_of(noon) / 2


@pytest.mark.parametrize("factor", [0.25, 0.5, 1.0])
def test_manual_exposure_scales_the_light(camera: SimulatedCamera, clock: StepClock, factor: float) -> None:
    automatic = with_controls(camera, clock)
    seconds = float(automatic.metadata["exposure_s"]) * factor
    manual = with_controls(camera, clock, exposure="manual", exposure_s=seconds, gain=1)
    ratio = brightness_of(manual) / brightness_of(automatic)
    assert ratio**2.2 == pytest.approx(factor, rel=0.1), "linear in light"
    assert manual.metadata["exposure_s"] == pytest.approx(seconds, rel=1e-3) and manual.metadata["gain"] == 1


def test_gain_does_what_exposure_time_does(camera: SimulatedCamera, clock: StepClock) -> None:
    longer = with_controls(camera, clock, exposure_s=0.004, gain=1)
    amplified = with_controls(camera, clock, exposure_s=0.001, gain=4)
    assert brightness_of(amplified) == pytest.approx(brightness_of(longer), abs=1)


def test_what_is_much_too_bright_is_white(camera: SimulatedCamera, clock: StepClock) -> None:
    blown = with_controls(camera, clock, exposure_s=0.05, gain=16)
    assert brightness_of(blown) > 245 and colourfulness_of(blown) < 8


def test_automatic_exposure_settles_on_the_right_one(camera: SimulatedCamera, clock: StepClock) -> None:
    right = brightness_of(with_controls(camera, clock))
    with_controls(camera, clock, exposure_s=0.0005, gain=1)
    levels = [brightness_of(with_controls(camera, clock)) for _ in range(20)]
    assert levels[0] < right * 0.9
    assert levels == sorted(levels) or max(levels) < right * 1.02
    assert levels[-1] == pytest.approx(right, abs=2)


def test_saying_automatic_outweighs_an_exposure_time(camera: SimulatedCamera, clock: StepClock) -> None:
    assert with_controls(camera, clock, exposure="auto", exposure_s=0.05).metadata["exposure_s"] < 0.02


def test_controls_of_a_still_are_for_it_alone(camera: SimulatedCamera, clock: StepClock) -> None:
    camera.configure({"saturation": 0})
    still = camera.capture(StillRequest(controls={"brightness": 1.0}), clock.seconds + 1)
    assert brightness_of(still) > 200 and colourfulness_of(still) == 0
    assert brightness_of(camera.read(clock.seconds + 1)) < 200
    with pytest.raises(UnsupportedControl):
        camera.capture(StillRequest(controls={"gain": 17}), clock.seconds + 1)


# Pace


def test_frames_come_at_the_configured_rate_without_drift(camera: SimulatedCamera, clock: StepClock) -> None:
    begun = clock.seconds
    frames = [camera.read(clock.seconds + 1) for _ in range(50)]
    moments = [frame.exposed_at - begun for frame in frames]
    assert moments == pytest.approx([number / 10 for number in range(50)])
    assert all(frame.exposed_at < clock.seconds for frame in frames)


def test_frames_that_nobody_fetched_are_skipped_and_the_grid_stays(camera: SimulatedCamera, clock: StepClock) -> None:
    first = camera.read(clock.seconds + 1)
    clock.seconds = first.exposed_at + 0.74
    assert camera.read(clock.seconds + 1).exposed_at == pytest.approx(first.exposed_at + 0.8)


def test_a_reader_that_is_a_little_late_misses_nothing(camera: SimulatedCamera, clock: StepClock) -> None:
    first = camera.read(clock.seconds + 1)
    clock.seconds = first.exposed_at + 0.15
    assert camera.read(clock.seconds + 1).exposed_at == pytest.approx(first.exposed_at + 0.1)


def test_a_long_exposure_takes_long_and_live_frames_pass_meanwhile(camera: SimulatedCamera, clock: StepClock) -> None:
    called, passed = clock.seconds, list[Frame]()
    still = camera.capture(StillRequest(controls={"exposure_s": 2.0}), called + 5, passed.append)
    assert called <= still.exposed_at <= called + 0.1
    assert clock.seconds == pytest.approx(still.exposed_at + 2.0)
    assert len(passed) == 20
    assert np.diff([frame.exposed_at for frame in passed]) == pytest.approx(np.full(19, 0.1))
    assert still.metadata["exposure_s"] == 2.0
    assert camera.read(clock.seconds + 1).exposed_at >= passed[-1].exposed_at + 0.09


def test_every_still_lets_at_least_one_live_frame_pass(camera: SimulatedCamera, clock: StepClock) -> None:
    for _ in range(5):
        passed: list[Frame] = []
        camera.capture(StillRequest(), clock.seconds + 1, passed.append)
        assert passed


def test_a_long_live_exposure_slows_the_stream_down(camera: SimulatedCamera, clock: StepClock) -> None:
    camera.configure({"exposure_s": 0.5, "gain": 1})
    moments = [camera.read(clock.seconds + 1).exposed_at for _ in range(4)]
    assert np.diff(moments) == pytest.approx(np.full(3, 0.5))


def test_an_exposure_longer_than_the_deadline_is_a_timeout_at_the_deadline(
    camera: SimulatedCamera, clock: StepClock
) -> None:
    deadline = clock.seconds + 1.0
    with pytest.raises(CameraTimeout):
        camera.capture(StillRequest(controls={"exposure_s": 30.0}), deadline)
    assert clock.seconds == pytest.approx(deadline)


# Faults


def test_a_busy_camera_says_who_has_it(camera: SimulatedCamera, faults: Faults) -> None:
    with faults.busy(), pytest.raises(CameraUnavailable, match="in use by another program"):
        camera.open()
    assert camera.open().emulated


def test_a_camera_that_was_unplugged_meanwhile_has_to_be_opened_again(
    camera: SimulatedCamera, clock: StepClock, faults: Faults
) -> None:
    faults.unplug()
    faults.plug_in()
    with pytest.raises(CameraUnavailable):
        camera.read(clock.seconds + 1)
    camera.open()
    assert camera.read(clock.seconds + 1)


def test_a_slow_camera_is_late_and_then_too_late(camera: SimulatedCamera, clock: StepClock, faults: Faults) -> None:
    with faults.slow(0.7):
        assert clock.seconds + 0.7 <= camera.read(clock.seconds + 1).exposed_at + 0.75
        for call in (lambda end: camera.read(end), lambda end: camera.capture(StillRequest(), end)):
            deadline = clock.seconds + 0.5
            with pytest.raises(CameraTimeout):
                call(deadline)
            assert clock.seconds == pytest.approx(deadline)
    assert camera.read(clock.seconds + 1)


def waiting_camera(faults: Faults) -> SimulatedCamera:
    """One that is opened, on the machine's clock, and gives a frame in a thousand seconds."""
    camera = SimulatedCamera(CameraConfig("test", "simulated", width=64, height=64, fps=0.001), SystemClock(), faults)
    camera.open()
    camera.read(SystemClock().monotonic() + PATIENCE_S)
    return camera


@pytest.fixture
def elsewhere() -> Iterator[Callable[..., Future[Any]]]:
    """Runs a call in another thread."""
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit


def test_a_camera_that_hangs_blocks_past_its_deadline_until_released(
    faults: Faults, elsewhere: Callable[..., Future[Any]]
) -> None:
    camera = waiting_camera(faults)
    with faults.hanging():
        call = elsewhere(camera.read, SystemClock().monotonic() + 0.01)
        with pytest.raises(TimeoutError):
            call.result(0.3)
    with pytest.raises(CameraTimeout):
        call.result(PATIENCE_S)
    camera.close()


def test_unplugging_ends_a_call_that_waits(faults: Faults, elsewhere: Callable[..., Future[Any]]) -> None:
    camera = waiting_camera(faults)
    call = elsewhere(camera.read, SystemClock().monotonic() + 1000)
    with pytest.raises(TimeoutError):
        call.result(0.1)
    faults.unplug()
    with pytest.raises(CameraUnavailable, match="unplugged"):
        call.result(PATIENCE_S)
    camera.close()


# Memory


def test_nothing_is_kept_when_closed(camera: SimulatedCamera, clock: StepClock) -> None:
    camera.read(clock.seconds + 1)
    camera.close()
    assert not [name for name, value in vars(camera).items() if isinstance(value, Scene | YuvImage | np.ndarray)]


def test_a_neutral_tone_costs_nothing() -> None:
    picture = Scene(64, 64).draw(0.0)
    assert Tone().applied(picture) is picture
