"""The cameras of a Pi: a stream that goes on, stills of the right moment and colour, waits that end, clear words."""

from __future__ import annotations

import io
import sys
import threading
import types
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from piapi.errors import CameraTimeout, CameraUnavailable, UnsupportedControl
from piapi.hardware import picamera2_device
from piapi.hardware.base import CameraConfig, Frame, Image, StillRequest
from piapi.hardware.camera_picamera2 import STALE_FRAMES, Picamera2Camera, detect
from piapi.hardware.detection import Surroundings, explain_absence, explain_import, look
from piapi.hardware.imaging import YuvImage
from piapi.hardware.libcamera_controls import are_shown, described, exposed_at, is_metered, offered, values_of
from piapi.hardware.sensor_picture import covering, cut_to_shape, cut_to_size, picture_of
from tests import fake_picamera2
from tests.fake_picamera2 import CAMERA_MODULE_2, CAMERA_MODULE_3, Pi, Sensor
from tests.fakes import FakeClock

CONFIG = CameraConfig("front", "picamera2")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def pi(monkeypatch: pytest.MonkeyPatch, clock: FakeClock) -> Iterator[Pi]:
    pi = fake_picamera2.install(monkeypatch, clock)
    yield pi
    assert pi.taken == {}, "every camera is let go in the end"


@pytest.fixture
def camera(pi: Pi, clock: FakeClock) -> Iterator[Picamera2Camera]:
    camera = Picamera2Camera(CONFIG, clock)
    yield camera
    camera.close()


@pytest.fixture
def device(camera: Picamera2Camera, pi: Pi) -> fake_picamera2.Picamera2:
    """The library's object, opened."""
    camera.open()
    return pi.opened[-1]


def pixel(image: Image) -> tuple[int, ...]:
    picture = PIL.Image.open(io.BytesIO(image.encode("jpeg", quality=95, width=64, height=36)))
    return tuple(int(value) for value in np.asarray(picture)[18, 32])


def near(seen: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    return max(abs(a - b) for a, b in zip(seen, wanted, strict=True)) <= 3


# What it is -----------------------------------------------------------------------------------------------------------


def test_an_opened_camera_says_what_it_can(camera: Picamera2Camera) -> None:
    capabilities = camera.open()
    assert capabilities.model == "Camera Module 3 (imx708)"
    assert capabilities.resolutions[:2] == ((4608, 2592), (1920, 1080))
    assert capabilities.raw and not capabilities.emulated
    assert capabilities.controls["exposure_s"].max == pytest.approx(220.417486)
    assert capabilities.controls["focus_mode"].choices == ("manual", "auto", "continuous")
    assert "custom" not in (capabilities.controls["white_balance"].choices or ())


def test_controls_that_the_sensor_has_not_are_not_listed(pi: Pi, camera: Picamera2Camera) -> None:
    pi.sensors[0] = Sensor("imx219", (3280, 2464), CAMERA_MODULE_2)
    capabilities = camera.open()
    assert capabilities.model == "Camera Module 2 (imx219)"
    assert not {"focus_mode", "focus_position"} & set(capabilities.controls)


def test_usb_cameras_are_left_to_the_other_backend(pi: Pi) -> None:
    pi.sensors.append(Sensor("webcam", (1280, 720), id="/base/axi/usb@200000/usb-1:1.0", of_pi=False))
    assert detect() == ["0"]


def test_a_camera_is_chosen_by_index_or_model(pi: Pi, clock: FakeClock) -> None:
    pi.sensors.append(Sensor("imx219", (3280, 2464), CAMERA_MODULE_2))
    for source in ("1", "imx219"):
        camera = Picamera2Camera(replace(CONFIG, source=source), clock)
        assert "imx219" in camera.open().model
        camera.close()
    with pytest.raises(CameraUnavailable, match=r"no camera 2. Found: 0 \(imx708\), 1 \(imx219\)"):
        Picamera2Camera(replace(CONFIG, source="2"), clock).open()


def test_two_cameras_run_at_once(pi: Pi, clock: FakeClock) -> None:
    pi.sensors.append(Sensor("imx219", (3280, 2464), CAMERA_MODULE_2))
    first, second = (Picamera2Camera(replace(CONFIG, source=source), clock) for source in "01")
    first.open()
    second.open()
    first.read(clock.monotonic() + 5)
    first.close()
    second.read(clock.monotonic() + 5)
    second.close()


# Pictures -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rgb", [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0), (90, 120, 150)])
def test_colours_are_right_in_the_jpeg(
    camera: Picamera2Camera, pi: Pi, clock: FakeClock, rgb: tuple[int, int, int]
) -> None:
    pi.scene = rgb
    camera.open()
    assert near(pixel(camera.read(clock.monotonic() + 5).image), rgb)
    assert near(pixel(camera.capture(StillRequest(), clock.monotonic() + 5).image), rgb)


def test_planes_have_full_range(camera: Picamera2Camera, pi: Pi, clock: FakeClock) -> None:
    pi.scene = (255, 255, 255)
    camera.open()
    image = camera.read(clock.monotonic() + 5).image
    assert isinstance(image, YuvImage) and image.y.max() == image.y.min() == 255


@pytest.mark.parametrize(("width", "height"), [(1920, 1080), (1000, 562), (640, 480), (1002, 1002)])
def test_live_frames_have_the_configured_size_and_padding_never_shows(
    pi: Pi, clock: FakeClock, width: int, height: int
) -> None:
    camera = Picamera2Camera(replace(CONFIG, width=width, height=height), clock)
    camera.open()
    image = camera.read(clock.monotonic() + 5).image
    assert (image.width, image.height) == (width, height)
    assert isinstance(image, YuvImage)
    assert all(plane.min() == plane.max() for plane in (image.y, image.u, image.v))
    camera.close()


def test_a_frame_is_the_backends_to_keep(camera: Picamera2Camera, pi: Pi, clock: FakeClock) -> None:
    camera.open()
    first = camera.read(clock.monotonic() + 5).image
    pi.scene = (255, 0, 0)
    camera.read(clock.monotonic() + 5)
    assert near(pixel(first), (90, 120, 150))


@pytest.mark.parametrize(
    ("request_", "size"),
    [
        (StillRequest(), (4608, 2592)),
        (StillRequest(width=4608, height=2592), (4608, 2592)),
        (StillRequest(width=640, height=480), (3456, 2592)),
        (StillRequest(width=1000), (4608, 2592)),
        (StillRequest(width=1000, height=1000), (2592, 2592)),
    ],
)
def test_a_still_is_the_whole_sensor_in_the_proportions_asked_for(
    camera: Picamera2Camera, clock: FakeClock, request_: StillRequest, size: tuple[int, int]
) -> None:
    camera.open()
    image = camera.capture(request_, clock.monotonic() + 5).image
    assert (image.width, image.height) == size


def test_a_camera_without_planes_gives_pixels_in_the_right_order(pi: Pi, clock: FakeClock) -> None:
    pi.sensors[0] = Sensor("vimc", (1920, 1080), CAMERA_MODULE_2, of_pi=False)
    pi.scene = (255, 0, 0)
    camera = Picamera2Camera(replace(CONFIG, width=640, height=480), clock)
    assert not camera.open().raw
    for image in (
        camera.read(clock.monotonic() + 5).image,
        camera.capture(StillRequest(), clock.monotonic() + 5).image,
    ):
        assert near(pixel(image), (255, 0, 0)) and (image.width, image.height) == (640, 480)
    camera.close()


def test_rgb888_is_blue_first_in_memory() -> None:
    array = np.zeros((2, 2, 3), np.uint8)
    array[:, :, 2] = 255
    assert near(pixel(picture_of(array, "RGB888", (2, 2))), (254, 0, 0))


def test_metadata_comes_under_our_names(camera: Picamera2Camera, clock: FakeClock) -> None:
    camera.open()
    metadata = camera.read(clock.monotonic() + 5).metadata
    assert metadata["exposure_s"] == 0.011997
    assert metadata["gain"] == 2.0 and metadata["lux"] == 400.123 and metadata["colour_temperature_k"] == 4500.0
    assert metadata["focus_position"] == 1.0


def test_a_dng_comes_as_bytes_while_the_stream_goes_on(camera: Picamera2Camera, clock: FakeClock) -> None:
    camera.open()
    seen: list[Frame] = []
    still = camera.capture(StillRequest(raw=True), clock.monotonic() + 600, seen.append)
    assert still.raw == b"II*\x004608x2592 SBGGR10_CSI2P"
    assert (still.image.width, still.image.height) == (4608, 2592) and seen


def test_a_dng_that_cannot_be_made_is_an_error(
    camera: Picamera2Camera, device: fake_picamera2.Picamera2, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(device.helpers, "save_dng", full)
    with pytest.raises(CameraUnavailable, match="No space left"):
        camera.capture(StillRequest(raw=True), clock.monotonic() + 600)


# The moment, and the stream -------------------------------------------------------------------------------------------


def test_a_stills_exposure_begins_after_the_call(camera: Picamera2Camera, clock: FakeClock) -> None:
    camera.open()
    for pause in (0.0, 0.01, 0.05, 3.0):
        clock.advance(pause)
        called = clock.monotonic()
        assert camera.capture(StillRequest(), called + 5).exposed_at >= called


def test_the_exposure_begins_before_the_sensors_timestamp() -> None:
    assert exposed_at({"SensorTimestamp": 5_000_000_000, "ExposureTime": 250_000}, 9.0) == 4.75
    assert exposed_at({}, 9.0) == 9.0


def test_the_stream_goes_on_through_a_still(camera: Picamera2Camera, clock: FakeClock) -> None:
    camera.open()
    camera.configure({"brightness": 0.5})
    seen: list[Frame] = []
    still = camera.capture(StillRequest(controls={"exposure_s": 0.05}), clock.monotonic() + 10, seen.append)
    times = [frame.exposed_at for frame in seen]
    assert len(seen) >= 5 and times == sorted(times) and len(set(times)) == len(times)
    assert all((frame.image.width, frame.image.height) == (1920, 1080) for frame in seen)
    assert still.exposed_at == times[-1]


def test_live_frames_are_each_read_once(camera: Picamera2Camera, clock: FakeClock) -> None:
    camera.open()
    times = [camera.read(clock.monotonic() + 5).exposed_at for _ in range(10)]
    assert sorted(set(times)) == times


def test_after_a_pause_the_frame_is_of_now(camera: Picamera2Camera, clock: FakeClock) -> None:
    camera.open()
    clock.advance(30)
    assert clock.monotonic() - camera.read(clock.monotonic() + 5).exposed_at < 0.3


# Controls -------------------------------------------------------------------------------------------------------------


def test_a_still_shows_the_controls_asked_for_it_alone(camera: Picamera2Camera, clock: FakeClock) -> None:
    camera.open()
    still = camera.capture(StillRequest(controls={"exposure_s": 0.5, "gain": 4.0}), clock.monotonic() + 20)
    assert still.metadata["exposure_s"] == pytest.approx(0.5, rel=0.02) and still.metadata["gain"] == 4.0
    after = camera.capture(StillRequest(), clock.monotonic() + 20)
    assert after.metadata["exposure_s"] == pytest.approx(0.012, rel=0.02)


def test_a_sensor_that_is_slow_to_follow_is_waited_for(
    camera: Picamera2Camera, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fake_picamera2, "_SENSOR_DELAY", 12)
    camera.open()
    still = camera.capture(StillRequest(controls={"exposure_s": 0.05}), clock.monotonic() + 20)
    assert still.metadata["exposure_s"] == pytest.approx(0.05, rel=0.02)


def test_controls_without_a_trace_in_the_metadata_are_in_force_too(camera: Picamera2Camera, clock: FakeClock) -> None:
    camera.open()
    plain = pixel(camera.capture(StillRequest(), clock.monotonic() + 5).image)
    bright = pixel(camera.capture(StillRequest(controls={"brightness": 0.3}), clock.monotonic() + 5).image)
    again = pixel(camera.capture(StillRequest(), clock.monotonic() + 5).image)
    assert bright[0] > plain[0] + 20 and near(again, plain)


def test_configured_controls_hold_until_they_are_left_out(
    camera: Picamera2Camera, device: fake_picamera2.Picamera2, clock: FakeClock
) -> None:
    camera.configure({"exposure_s": 0.02, "gain": 8.0, "focus_position": 2.5})
    held = camera.capture(StillRequest(), clock.monotonic() + 10).metadata
    assert (held["gain"], held["focus_position"]) == (8.0, 2.5) and held["exposure_s"] == pytest.approx(0.02, rel=0.02)
    camera.configure({})
    camera.capture(StillRequest(), clock.monotonic() + 10)
    assert device._in_force["AeEnable"] is True and device._in_force["ExposureTime"] == 0
    assert device._in_force["AfMode"] == 2


def test_the_first_still_waits_for_no_controls_that_were_never_changed(
    camera: Picamera2Camera, clock: FakeClock
) -> None:
    """Each opening is followed by what is held, mostly nothing: a slow camera would have seven frames to wait for."""
    camera.open()
    camera.configure({})
    seen: list[Frame] = []
    camera.capture(StillRequest(), clock.monotonic() + 10, seen.append)
    assert len(seen) < STALE_FRAMES


def test_the_lens_looks_again_when_that_is_asked_for_again(
    camera: Picamera2Camera, device: fake_picamera2.Picamera2, clock: FakeClock
) -> None:
    for _ in range(2):
        camera.configure({"focus_mode": "auto"})
        looks = []
        for _ in range(20):
            camera.read(clock.monotonic() + 5)
            looks.append(device._scanning > 0)
        assert any(looks) and not looks[-1]


def test_an_exposure_longer_than_a_frame_is_given_its_time(camera: Picamera2Camera, clock: FakeClock) -> None:
    camera.open()
    still = camera.capture(StillRequest(controls={"exposure_s": 30.0}), clock.monotonic() + 600)
    assert still.metadata["exposure_s"] == pytest.approx(30.0)


def test_a_still_waits_for_the_lens_to_come_to_rest(camera: Picamera2Camera, pi: Pi, clock: FakeClock) -> None:
    pi.sensors[0].scanning_frames = 12
    camera.open()
    called = clock.monotonic()
    still = camera.capture(StillRequest(controls={"focus_mode": "auto"}), called + 10)
    assert 12 * 0.0697 < clock.monotonic() - called < 3
    assert still.exposed_at > called


def test_a_lens_that_never_rests_holds_up_no_still_for_long(camera: Picamera2Camera, pi: Pi, clock: FakeClock) -> None:
    pi.sensors[0].scanning_frames = 10**6
    camera.open()
    called = clock.monotonic()
    camera.capture(StillRequest(), called + 10)
    assert clock.monotonic() - called < 3.4


@pytest.mark.parametrize(
    ("controls", "words"),
    [({"zoom": 2}, "no such control; it has brightness"), ({"gain": 99}, "from 1.12"), ({"focus_mode": "x"}, "one of")],
)
def test_wrong_controls_change_nothing(
    camera: Picamera2Camera, clock: FakeClock, controls: dict[str, Any], words: str
) -> None:
    camera.open()
    camera.configure({"brightness": 0.2})
    for call in (
        lambda: camera.configure({"brightness": 0.9, **controls}),
        lambda: camera.capture(StillRequest(controls=controls), clock.monotonic() + 5),
    ):
        with pytest.raises(UnsupportedControl, match=words):
            call()
    assert camera._held == {"brightness": 0.2}


def test_our_controls_are_those_of_libcamera() -> None:
    values = values_of({}, CAMERA_MODULE_3, 12000, 30)
    assert values == {
        "Brightness": 0.0,
        "Contrast": 1.0,
        "Saturation": 1.0,
        "Sharpness": 1.0,
        "AeEnable": True,
        "ExposureTime": 0,
        "AnalogueGain": 0.0,
        "FrameDurationLimits": (69669, 220535845),
        "AwbMode": 0,
        "AwbEnable": True,
        "AfMode": 2,
    }
    held = {"exposure": "manual", "white_balance": "daylight", "focus_mode": "auto", "contrast": 2.0}
    assert values_of(held, CAMERA_MODULE_3, 12000, 5) == values | {
        "Contrast": 2.0,
        "AeEnable": False,
        "ExposureTime": 12000,
        "AnalogueGain": CAMERA_MODULE_3["AnalogueGain"][0],
        "FrameDurationLimits": (200000, 220535845),
        "AwbMode": 5,
        "AfMode": 1,
        "AfTrigger": 0,
    }
    assert values_of({"focus_position": 0.0}, CAMERA_MODULE_3, 0, 30)["LensPosition"] == 0.0
    assert values_of({"exposure": "auto", "exposure_s": 1.0}, CAMERA_MODULE_3, 0, 30)["ExposureTime"] == 0


def test_white_balance_is_held_by_its_gains() -> None:
    def told(**held: Any) -> dict[str, Any]:
        values = values_of(held, CAMERA_MODULE_3, 0, 30)
        return {name: values[name] for name in ("AwbMode", "AwbEnable", "ColourGains") if name in values}

    manual = {"AwbMode": 0, "AwbEnable": False}
    assert told(red_gain=1.5, blue_gain=2.25) == {**manual, "ColourGains": (1.5, 2.25)}
    assert told(white_balance="manual", blue_gain=2.25) == {**manual, "ColourGains": (1.0, 2.25)}
    assert told(white_balance="manual") == manual, "libcamera keeps the gains in force"
    assert told(white_balance="daylight", red_gain=1.5) == {"AwbMode": 5, "AwbEnable": True}
    old = {name: range_ for name, range_ in CAMERA_MODULE_3.items() if name != "AwbEnable"}
    assert values_of({}, old, 0, 30)["ColourGains"] == (0.0, 0.0), "given back to the camera"
    monochrome = {name: range_ for name, range_ in CAMERA_MODULE_3.items() if name != "ColourGains"}
    assert "manual" not in (offered(monochrome)["white_balance"].choices or ())
    assert described({"ColourGains": (1.23456, 2.0)}) == {"red_gain": 1.235, "blue_gain": 2.0}


def test_held_white_balance_stays_when_the_light_changes(camera: Picamera2Camera, pi: Pi, clock: FakeClock) -> None:
    def gains() -> tuple[Any, Any]:
        seen = camera.capture(StillRequest(), clock.monotonic() + 10).metadata
        return seen["red_gain"], seen["blue_gain"]

    camera.open()
    assert gains() == (2.125, 1.75)
    camera.configure({"white_balance": "manual", "red_gain": 2.125, "blue_gain": 1.75})
    pi.sensors[0].balance = (1.25, 3.0)
    assert gains() == (2.125, 1.75)
    camera.configure({})
    assert gains() == (1.25, 3.0)


def test_what_libcamera_does_not_name_is_not_offered() -> None:
    assert offered({}) == {} and values_of({}, {}, 0, 30) == {} and described({}) == {}
    assert offered({"Contrast": (0.0, 32.0, None)})["contrast"].default == 1.0


def test_automatic_exposure_that_still_searches_is_told_by_old_and_new_names() -> None:
    assert not is_metered({}, {"AeState": 1}) and is_metered({}, {"AeState": 2})
    assert not is_metered({}, {"AeLocked": False}) and is_metered({}, {"AeLocked": True})
    assert is_metered({}, {}) and is_metered({"ExposureTime": 100}, {"AeState": 1})


@pytest.mark.parametrize(
    ("metadata", "shown"),
    [
        ({"ExposureTime": 19997, "AnalogueGain": 4.1, "LensPosition": 0.0}, True),
        ({"ExposureTime": 12000, "AnalogueGain": 4.0, "LensPosition": 0.0}, False),
        ({"ExposureTime": 20000, "AnalogueGain": 2.0, "LensPosition": 0.0}, False),
        ({"ExposureTime": 20000, "AnalogueGain": 4.0, "LensPosition": 1.0}, False),
        ({}, True),
    ],
)
def test_metadata_shows_what_is_in_force(metadata: dict[str, float], shown: bool) -> None:
    assert are_shown({"ExposureTime": 20000, "AnalogueGain": 4.0, "LensPosition": 0.0}, metadata) is shown


# Waits, hangs and errors ----------------------------------------------------------------------------------------------


def test_every_wait_has_a_bound(camera: Picamera2Camera, pi: Pi, clock: FakeClock) -> None:
    camera.open()
    camera.read(clock.monotonic() + 5)
    camera.capture(StillRequest(), clock.monotonic() + 7)
    assert pi.waits and all(0 <= wait <= 7 for wait in pi.waits)


def test_every_request_is_released(camera: Picamera2Camera, device: fake_picamera2.Picamera2, clock: FakeClock) -> None:
    for _ in range(20):
        camera.read(clock.monotonic() + 5)
        camera.capture(StillRequest(), clock.monotonic() + 5)
        assert device.held == 0


def test_requests_are_released_when_copying_fails(
    camera: Picamera2Camera, device: fake_picamera2.Picamera2, pi: Pi, clock: FakeClock
) -> None:
    pi.fail_make_array = RuntimeError("failed to find buffer")
    for call in (
        lambda: camera.read(clock.monotonic() + 5),
        lambda: camera.capture(StillRequest(), clock.monotonic() + 5),
    ):
        with pytest.raises(CameraUnavailable, match="failed to find buffer"):
            call()
    pi.fail_make_array = None
    assert device.held == 0
    camera.read(clock.monotonic() + 5)


def test_requests_are_released_when_the_viewer_fails(
    camera: Picamera2Camera, device: fake_picamera2.Picamera2, clock: FakeClock
) -> None:
    def fail(frame: Frame) -> None:
        raise RuntimeError("a viewer")

    with pytest.raises(RuntimeError, match="a viewer"):
        camera.capture(StillRequest(), clock.monotonic() + 5, fail)
    assert device.held == 0


@pytest.mark.parametrize("call", ["read", "capture"])
def test_a_hang_ends_at_the_deadline_and_leaves_nothing_queued(
    camera: Picamera2Camera, device: fake_picamera2.Picamera2, pi: Pi, clock: FakeClock, call: str
) -> None:
    pi.hanging = True
    deadline = clock.monotonic() + 3
    with pytest.raises(CameraTimeout):
        for _ in range(3):  # one frame is kept by picamera2
            camera.read(deadline) if call == "read" else camera.capture(StillRequest(), deadline)
    assert clock.monotonic() == pytest.approx(deadline) and device._jobs == []
    pi.hanging = False
    camera.read(clock.monotonic() + 5)
    assert device.held == 0


def test_a_job_that_ends_as_it_is_given_up_is_released(
    camera: Picamera2Camera, device: fake_picamera2.Picamera2, pi: Pi, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = device.capture_request(wait=1.0)
    waits: list[Callable[[], object]] = [lambda: (_ for _ in ()).throw(TimeoutError()), lambda: late]
    monkeypatch.setattr(device, "wait", lambda job, timeout: waits.pop(0)())
    with pytest.raises(CameraTimeout):
        camera.read(clock.monotonic() + 1)
    assert late.ref_count == 0


def test_a_job_left_in_the_queue_does_not_hold_up_the_close(
    camera: Picamera2Camera, device: fake_picamera2.Picamera2, pi: Pi, caplog: pytest.LogCaptureFixture
) -> None:
    device.capture_request(wait=False)
    pi.hanging = True
    device.capture_request(wait=False)
    camera.close()
    assert pi.taken == {} and not caplog.records


def test_after_a_hang_the_camera_can_be_opened_again(camera: Picamera2Camera, pi: Pi, clock: FakeClock) -> None:
    camera.open()
    pi.hanging = True
    with pytest.raises(CameraTimeout):
        camera.capture(StillRequest(), clock.monotonic() + 3)
    camera.close()
    pi.hanging = False
    camera.open()
    camera.read(clock.monotonic() + 5)


def test_an_unplugged_camera_times_out_says_so_and_comes_back(
    camera: Picamera2Camera, pi: Pi, clock: FakeClock
) -> None:
    camera.open()
    pi.unplugged = True
    with pytest.raises(CameraTimeout):
        for _ in range(3):
            camera.read(clock.monotonic() + 3)
    camera.close()
    with pytest.raises(CameraUnavailable, match="Remote I/O error.*ribbon cable"):
        camera.open()
    assert pi.taken == {}
    pi.put_back()
    camera.open()
    camera.read(clock.monotonic() + 5)


def test_a_camera_that_starts_and_sends_nothing_is_unavailable(camera: Picamera2Camera, pi: Pi) -> None:
    pi.hanging = True
    with pytest.raises(CameraUnavailable, match="sends no pictures.*ribbon cable"):
        camera.open()
    assert pi.taken == {}


def test_a_driver_that_hangs_in_close_is_left_behind(
    camera: Picamera2Camera, pi: Pi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(picamera2_device, "CLOSE_S", 0.05)
    camera.open()
    pi.close_hangs = threading.Event()
    camera.close()
    with pytest.raises(CameraUnavailable, match="driver hangs"):
        camera.open()
    assert detect() == [], "nothing else opens or closes meanwhile"
    pi.close_hangs.set()
    monkeypatch.setattr(picamera2_device, "CLOSE_S", 30)
    camera.close()
    camera.open()


def test_an_error_while_closing_is_logged_and_goes_no_further(
    camera: Picamera2Camera, pi: Pi, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    camera.open()
    device = pi.opened[-1]

    def fail() -> None:
        raise RuntimeError("Closing failed")

    with monkeypatch.context() as patched:
        patched.setattr(device, "close", fail)
        camera.close()
    assert "did not close well" in caplog.text
    device.close()


def test_a_busy_camera_is_said_to_be_in_use_and_its_retries_leak_nothing(
    camera: Picamera2Camera, pi: Pi, clock: FakeClock
) -> None:
    pi.busy = True
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(10):
        with pytest.raises(CameraUnavailable, match="in use by another program"):
            camera.open()
    assert len(list(Path("/proc/self/fd").iterdir())) <= before
    pi.busy = False
    camera.open()


def test_one_camera_opened_twice_is_in_use(camera: Picamera2Camera, pi: Pi, clock: FakeClock) -> None:
    camera.open()
    with pytest.raises(CameraUnavailable, match="in use"):
        Picamera2Camera(CONFIG, clock).open()
    camera.read(clock.monotonic() + 5)


def test_a_camera_that_is_not_open_says_so_and_closes_twice(camera: Picamera2Camera) -> None:
    for call in (lambda: camera.read(0), lambda: camera.capture(StillRequest(), 0), lambda: camera.configure({})):
        with pytest.raises(CameraUnavailable, match="not open"):
            call()
    camera.open()
    camera.close()
    camera.close()


def test_without_rights_the_words_name_the_group(
    camera: Picamera2Camera, pi: Pi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fake_picamera2.Picamera2, "global_camera_info", lambda: [{"Model": "imx708", "Id": "x"}])
    pi.forbidden = True
    with pytest.raises(CameraUnavailable, match="usermod -aG video"):
        camera.open()
    assert pi.taken == {}


def test_a_webcam_that_sends_no_pixels_is_pointed_to_the_other_backend(pi: Pi, clock: FakeClock) -> None:
    pi.sensors[0] = Sensor("webcam", (1280, 720), CAMERA_MODULE_2, of_pi=False, only_yuyv=True)
    with pytest.raises(CameraUnavailable, match="YUYV.*backend `av`"):
        Picamera2Camera(CONFIG, clock).open()


# Little memory --------------------------------------------------------------------------------------------------------


@pytest.fixture
def small(pi: Pi, clock: FakeClock) -> Iterator[Picamera2Camera]:
    """On a machine whose memory is too short for stills beside the stream."""
    pi.cma_bytes = 64 * 1024 * 1024
    camera = Picamera2Camera(replace(CONFIG, width=1280, height=720), clock)
    yield camera
    camera.close()


def test_with_little_memory_stills_are_taken_in_another_mode(small: Picamera2Camera, pi: Pi, clock: FakeClock) -> None:
    assert small.open().resolutions[0] == (4608, 2592)
    frame = small.read(clock.monotonic() + 5)
    assert (frame.image.width, frame.image.height) == (1280, 720)
    small.configure({"brightness": 0.2})
    called = clock.monotonic()
    still = small.capture(StillRequest(controls={"exposure_s": 0.1}, raw=True), called + 600)
    assert (still.image.width, still.image.height) == (4608, 2592) and still.exposed_at >= called
    assert still.metadata["exposure_s"] == pytest.approx(0.1, rel=0.02) and still.raw is not None
    back = small.read(clock.monotonic() + 5)
    assert (back.image.width, back.image.height) == (1280, 720)
    assert pi.opened[-1]._in_force["Brightness"] == 0.2 and pi.opened[-1]._in_force["ExposureTime"] == 0


def test_a_hang_in_the_other_mode_ends_at_the_deadline_and_closes(
    small: Picamera2Camera, pi: Pi, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    small.open()
    pi.hanging = True
    deadline = clock.monotonic() + 4
    with pytest.raises(CameraTimeout):
        small.capture(StillRequest(), deadline)
    assert clock.monotonic() == pytest.approx(deadline) and pi.taken == {}
    pi.hanging = False
    small.open()


def test_a_still_too_large_for_the_memory_says_what_would_help(
    small: Picamera2Camera, pi: Pi, clock: FakeClock
) -> None:
    small.open()
    pi.cma_bytes = 8 * 1024 * 1024
    with pytest.raises(CameraUnavailable, match="contiguous memory.*cma"):
        small.capture(StillRequest(), clock.monotonic() + 5)
    assert pi.taken == {}


def test_no_memory_at_all_says_what_would_help(camera: Picamera2Camera, pi: Pi) -> None:
    pi.cma_bytes = 0
    with pytest.raises(CameraUnavailable, match="contiguous memory.*cma"):
        camera.open()


# What is missing ------------------------------------------------------------------------------------------------------

HERE = Surroundings(
    is_pi=True, devices=True, may_use_devices=True, has_picamera2=True, installed_by_apt=True, user="ana"
)


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (HERE, "rpicam-hello --list-cameras"),
        (replace(HERE, may_use_devices=False), "usermod -aG video ana"),
        (replace(HERE, has_picamera2=False), "--system-site-packages"),
        (replace(HERE, has_picamera2=False, installed_by_apt=False), "apt install python3-picamera2"),
        (replace(HERE, is_pi=False), "Plug in a USB camera"),
        (replace(HERE, is_pi=False, may_use_devices=False), "usermod -aG video ana"),
    ],
)
def test_the_words_fit_what_is_missing(seen: Surroundings, words: str) -> None:
    assert words in explain_absence(seen)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ModuleNotFoundError("No module named 'picamera2'", name="picamera2"), "--system-site-packages"),
        (ModuleNotFoundError("No module named 'libcamera'", name="libcamera"), "pip has no libcamera"),
        (ModuleNotFoundError("…", name="libcamera._libcamera"), "pip has no libcamera"),
        (ValueError("numpy.dtype size changed"), "pip uninstall numpy simplejpeg"),
        (OSError("libfoo.so: cannot open"), "reinstall"),
    ],
)
def test_the_words_fit_why_the_library_cannot_be_loaded(error: Exception, words: str) -> None:
    assert words in explain_import(error, replace(HERE, has_picamera2=False))


def test_looking_around_opens_nothing() -> None:
    assert isinstance(look(), Surroundings) and explain_absence()


def test_without_the_library_there_is_no_camera(camera: Picamera2Camera, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "picamera2", None)
    assert detect() == []
    with pytest.raises(CameraUnavailable, match="picamera2"):
        camera.open()


def test_a_library_built_against_another_numpy_is_no_crash(
    camera: Picamera2Camera, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(name: str) -> object:
        raise ValueError("numpy.dtype size changed, may indicate binary incompatibility")

    module = types.ModuleType("picamera2.allocators")
    module.__getattr__ = broken  # type: ignore[method-assign]
    monkeypatch.setitem(sys.modules, "picamera2.allocators", module)
    assert detect() == []
    with pytest.raises(CameraUnavailable, match="pip uninstall numpy"):
        camera.open()


def test_without_a_camera_the_words_help(camera: Picamera2Camera, pi: Pi) -> None:
    pi.sensors.clear()
    assert detect() == []
    with pytest.raises(CameraUnavailable, match="No camera was found"):
        camera.open()


# Geometry -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "whole", "size"),
    [
        ((1920, 1080), (4608, 2592), (1920, 1080)),
        ((1920, 1080), (4056, 3040), (1920, 1440)),
        ((640, 480), (4608, 2592), (854, 480)),
        ((9000, 100), (4608, 2592), (4608, 2592)),
    ],
)
def test_the_stream_has_the_sensors_shape(
    wanted: tuple[int, int], whole: tuple[int, int], size: tuple[int, int]
) -> None:
    assert covering(wanted, whole) == size


def test_cutting_keeps_the_middle() -> None:
    plane = np.arange(64, dtype=np.uint8).reshape(8, 8)
    picture = YuvImage(plane, plane[::2, ::2], plane[::2, ::2])
    square = cut_to_shape(picture, (1, 2))
    assert isinstance(square, YuvImage) and square.y.tolist() == plane[:, 2:6].tolist()
    assert square.u.tolist() == plane[::2, 2:6:2].tolist()
    assert cut_to_size(picture, (99, 99)) is picture
