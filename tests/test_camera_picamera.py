"""The legacy camera: frames out of its stream, stills from both ports, and its errors in words that help."""

from __future__ import annotations

import io
import sys
import threading
from collections.abc import Iterator
from fractions import Fraction

import PIL.Image
import pytest

from piapi.errors import CameraTimeout, CameraUnavailable, UnsupportedControl
from piapi.hardware.base import CameraConfig, Frame, StillRequest
from piapi.hardware.camera_picamera import PicameraCamera, detect
from piapi.hardware.jpeg_image import JpegImage
from tests import fake_picamera
from tests.fakes import FakeClock


class TickingClock(FakeClock):
    """Waits really, in short."""

    def wait(self, condition: threading.Condition, timeout: float | None) -> bool:
        if condition.wait(0.05):
            return True
        self.advance(timeout or 0)
        return False


@pytest.fixture
def clock() -> FakeClock:
    return TickingClock()


@pytest.fixture
def firmware(monkeypatch: pytest.MonkeyPatch, clock: FakeClock) -> fake_picamera.Firmware:
    return fake_picamera.install(monkeypatch, clock)


@pytest.fixture
def camera(firmware: fake_picamera.Firmware, clock: FakeClock) -> Iterator[PicameraCamera]:
    camera = PicameraCamera(CameraConfig("old", "picamera", width=640, height=480, fps=25), clock)
    yield camera
    camera.close()
    assert firmware.open == []


def size_of(jpeg: bytes) -> tuple[int, int]:
    return PIL.Image.open(io.BytesIO(jpeg)).size


def test_an_opened_camera_says_what_it_can(camera: PicameraCamera) -> None:
    capabilities = camera.open()
    assert (capabilities.model, capabilities.emulated, capabilities.raw) == ("ov5647", False, False)
    assert capabilities.resolutions == ((2592, 1944), (640, 480))
    assert capabilities.controls["exposure_s"].max == 1 / 25


def test_frames_are_the_jpegs_of_the_camera_untouched(
    camera: PicameraCamera, firmware: fake_picamera.Firmware, clock: FakeClock
) -> None:
    camera.open()
    frame = camera.read(clock.monotonic() + 5)
    assert isinstance(frame.image, JpegImage) and frame.image.data == firmware.jpeg((640, 480))
    assert frame.metadata == {"exposure_s": 0.009, "gain": 2.0, "red_gain": 1.5, "blue_gain": 1.25}
    assert frame.exposed_at < clock.monotonic()


def test_frames_without_a_timestamp_are_dated_by_their_arrival(
    camera: PicameraCamera, firmware: fake_picamera.Firmware, clock: FakeClock
) -> None:
    firmware.timestamps = False
    camera.open()
    before = clock.monotonic()
    camera.read(before + 5)
    assert camera.read(clock.monotonic() + 5).exposed_at > before - 0.1


def test_a_still_within_the_stream_comes_from_the_video_port_and_the_stream_goes_on(
    camera: PicameraCamera, firmware: fake_picamera.Firmware, clock: FakeClock
) -> None:
    camera.open()
    seen: list[Frame] = []
    called = clock.monotonic()
    still = camera.capture(StillRequest(), called + 10, seen.append)
    assert still.exposed_at >= called and size_of(still.image.encode("jpeg")) == (640, 480)
    assert seen and firmware.captures == []


def test_a_frame_from_before_the_call_is_not_the_still(
    camera: PicameraCamera, firmware: fake_picamera.Firmware, clock: FakeClock
) -> None:
    camera.open()
    with camera._frames._arrived:
        assert camera._frames._arrived.wait_for(lambda: camera._frames._latest is not None, 30)
        firmware.hanging = True  # so that this one is the latest when the still is asked for
    clock.advance(3)
    called = clock.monotonic()
    seen: list[Frame] = []

    def wake(frame: Frame) -> None:
        seen.append(frame)
        firmware.hanging = False

    still = camera.capture(StillRequest(), called + 10, wake)
    assert seen[0].exposed_at < called <= still.exposed_at


def test_a_larger_still_comes_from_the_still_port_and_the_stream_returns(
    camera: PicameraCamera, firmware: fake_picamera.Firmware, clock: FakeClock
) -> None:
    camera.open()
    called = clock.monotonic()
    still = camera.capture(StillRequest(width=2592, height=1944), called + 10)
    assert size_of(still.image.encode("jpeg")) == (2592, 1944) and still.exposed_at >= called
    [(size, from_video_port, timeout)] = firmware.captures
    assert (size, from_video_port) == ((2592, 1944), False) and timeout <= 10
    assert size_of(camera.read(clock.monotonic() + 5).image.encode("jpeg")) == (640, 480)


def test_a_still_that_hangs_times_out_and_the_camera_can_be_opened_again(
    camera: PicameraCamera, firmware: fake_picamera.Firmware, clock: FakeClock
) -> None:
    camera.open()
    firmware.hanging = True
    with pytest.raises(CameraTimeout):
        camera.capture(StillRequest(width=2592), clock.monotonic() + 3)
    assert firmware.open == []
    firmware.hanging = False
    camera.open()
    camera.read(clock.monotonic() + 5)


def test_a_stream_that_hangs_times_out(
    camera: PicameraCamera, firmware: fake_picamera.Firmware, clock: FakeClock
) -> None:
    camera.open()
    firmware.hanging = True
    with pytest.raises(CameraTimeout):
        for _ in range(100):  # what had come before is read first
            camera.read(clock.monotonic() + 2)


def test_torn_frames_are_never_handed_out(
    camera: PicameraCamera, firmware: fake_picamera.Firmware, clock: FakeClock
) -> None:
    firmware.torn = True
    with pytest.raises(CameraUnavailable, match="no pictures"):
        camera.open()


def test_what_ends_the_stream_is_told_and_the_camera_let_go(
    camera: PicameraCamera, firmware: fake_picamera.Firmware, clock: FakeClock
) -> None:
    camera.open()
    firmware.fail_write = fake_picamera.PiCameraRuntimeError("No data received from sensor. Check all connections")
    with pytest.raises(CameraUnavailable, match="No data received.*cable"):
        for _ in range(100):
            camera.read(clock.monotonic() + 5)
    assert firmware.open == []
    firmware.fail_write = None
    camera.open()


def test_controls_reach_the_camera_and_return_to_their_defaults(
    camera: PicameraCamera, firmware: fake_picamera.Firmware
) -> None:
    camera.open()
    camera.configure({"brightness": 70, "white_balance": "daylight", "exposure_s": 0.02})
    [device] = firmware.open
    assert (device.brightness, device.awb_mode, device.shutter_speed) == (70, "sunlight", 20000)
    camera.configure({})
    assert (device.brightness, device.awb_mode, device.shutter_speed) == (50, "auto", 0)
    camera.configure({"exposure": "manual"})
    assert device.shutter_speed == 9000, "the time in force is held"


def test_manual_exposure_holds_the_gains_once_they_have_settled(
    camera: PicameraCamera, firmware: fake_picamera.Firmware
) -> None:
    camera.open()
    [device] = firmware.open
    camera.configure({"exposure_s": 0.02})
    assert device.exposure_mode == "off"
    camera.configure({})
    assert device.exposure_mode == "auto"
    firmware.analog_gain = Fraction(0)
    camera.configure({"exposure_s": 0.02})
    assert device.exposure_mode == "auto", "held at 0 they would make black pictures"


def test_white_balance_can_be_held(camera: PicameraCamera, firmware: fake_picamera.Firmware, clock: FakeClock) -> None:
    camera.open()
    [device] = firmware.open
    camera.configure({"white_balance": "manual"})
    assert device.awb_mode == "off" and device.awb_gains == firmware.balance, "those in force are held"
    camera.configure({"red_gain": 1.8, "blue_gain": 2.4})
    seen = camera.read(clock.monotonic() + 5).metadata
    assert device.awb_mode == "off" and (seen["red_gain"], seen["blue_gain"]) == (1.8, 2.4)
    camera.configure({"white_balance": "auto", "red_gain": 1.8})
    assert device.awb_mode == "auto"


def test_controls_of_a_still_hold_for_it_alone(
    camera: PicameraCamera, firmware: fake_picamera.Firmware, clock: FakeClock
) -> None:
    camera.open()
    camera.configure({"contrast": 5})
    still = camera.capture(StillRequest(controls={"exposure_s": 0.01}), clock.monotonic() + 10)
    assert still.metadata["exposure_s"] == 0.01
    assert (firmware.open[0].shutter_speed, firmware.open[0].contrast) == (0, 5)


@pytest.mark.parametrize("controls", [{"gain": 2}, {"brightness": 101}, {"exposure_s": 1.0}])
def test_what_the_camera_has_not_is_refused(camera: PicameraCamera, controls: dict[str, float]) -> None:
    camera.open()
    with pytest.raises(UnsupportedControl):
        camera.configure(controls)


def test_a_camera_that_is_not_enabled_says_raspi_config(
    camera: PicameraCamera, firmware: fake_picamera.Firmware
) -> None:
    firmware.enabled = False
    assert detect() == []
    with pytest.raises(CameraUnavailable, match="raspi-config"):
        camera.open()


def test_a_busy_camera_says_that_another_program_has_it(
    camera: PicameraCamera, firmware: fake_picamera.Firmware
) -> None:
    firmware.busy = True
    with pytest.raises(CameraUnavailable, match="another program"):
        camera.open()


def test_without_the_library_there_is_no_camera(
    camera: PicameraCamera, firmware: fake_picamera.Firmware, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert detect() == ["0"]
    monkeypatch.setitem(sys.modules, "picamera", None)
    assert detect() == []
    with pytest.raises(CameraUnavailable, match="old systems"):
        camera.open()


def test_a_camera_that_is_not_open_says_so_and_closes_twice(camera: PicameraCamera) -> None:
    for call in (lambda: camera.read(0), lambda: camera.capture(StillRequest(), 0), lambda: camera.configure({})):
        with pytest.raises(CameraUnavailable, match="not open"):
            call()
    camera.open()
    camera.close()
    camera.close()
