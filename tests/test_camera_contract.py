"""What every camera backend does, whatever is behind it: the promises of `base.Camera`, one by one.

A new backend is a line in `BACKENDS`: a context manager that makes a `Subject`, ready and not yet opened.
"""

from __future__ import annotations

import contextlib
import io
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from piapi.clock import Clock, SystemClock
from piapi.errors import CameraTimeout, CameraUnavailable, UnsupportedControl
from piapi.hardware.base import Camera, CameraConfig, Capabilities, Control, ControlValue, Frame, Image, StillRequest
from piapi.hardware.camera_av import AvCamera
from piapi.hardware.camera_picamera import PicameraCamera
from piapi.hardware.camera_picamera2 import Picamera2Camera
from piapi.hardware.camera_simulated import Faults, SimulatedCamera
from piapi.services.timelapses.exposure import locked_controls
from tests import fake_picamera, fake_picamera2, footage
from tests.faulty_camera import FaultyCamera

PATIENCE_S = 20.0


@dataclass(frozen=True)
class Subject:
    """A camera, and what a test may do to its device. A backend leaves out what it has no means for."""

    camera: Camera
    config: CameraConfig
    clock: Clock
    unplug: Callable[[], None] | None = None
    plug_in: Callable[[], None] | None = None
    held: Callable[[], object] | None = None
    """What of the controls is in force, as far as it can be seen from outside: the same again for the same controls."""

    def soon(self) -> float:
        """A deadline that a camera that works meets with ease."""
        return self.clock.monotonic() + PATIENCE_S

    def read(self) -> Frame:
        return self.camera.read(self.soon())


def is_bright(camera: Camera, clock: Clock) -> Callable[[], object]:
    """Whether a camera whose control `brightness` works shows its scene far too bright."""

    def look() -> object:
        for _ in range(8):  # a sensor has frames on their way when it is told something
            image = camera.read(clock.monotonic() + PATIENCE_S).image
        return float(np.asarray(opened(image.encode("png", width=160))).mean()) > 200

    return look


@contextlib.contextmanager
def simulated(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Subject]:
    config, clock, faults = CameraConfig("test", "simulated", width=320, height=240, fps=60), SystemClock(), Faults()
    camera = SimulatedCamera(config, clock, faults)
    yield Subject(camera, config, clock, faults.unplug, faults.plug_in, is_bright(camera, clock))


@contextlib.contextmanager
def av_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Subject]:
    source = footage.write_folder(folder / "pictures", frames=12)
    config = CameraConfig("test", "av", str(source), width=320, height=240, fps=60)
    yield Subject(AvCamera(config, SystemClock()), config, SystemClock())


@contextlib.contextmanager
def av_film(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Subject]:
    source = footage.write_film(folder / "film.mp4", frames=12, width=320, height=240)
    config = CameraConfig("test", "av", str(source), width=240, height=180)
    yield Subject(AvCamera(config, SystemClock()), config, SystemClock())


@contextlib.contextmanager
def av_network(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Subject]:
    with FaultyCamera() as device:
        config = CameraConfig("test", "av", device.url, width=320, height=240)
        yield Subject(AvCamera(config, SystemClock()), config, SystemClock(), device.unplug, device.plug_in)


@contextlib.contextmanager
def picamera2(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Subject]:
    clock = SystemClock()
    pi = fake_picamera2.install(monkeypatch, clock, [fake_picamera2.Sensor(size=(1296, 972))])
    config = CameraConfig("test", "picamera2", width=320, height=240, fps=60)
    camera = Picamera2Camera(config, clock)
    yield Subject(camera, config, clock, lambda: setattr(pi, "unplugged", True), pi.put_back, is_bright(camera, clock))


@contextlib.contextmanager
def picamera(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Subject]:
    firmware = fake_picamera.install(monkeypatch, SystemClock())
    config = CameraConfig("test", "picamera", width=320, height=240, fps=30)

    def plug(enabled: bool) -> None:
        firmware.enabled = enabled
        firmware.fail_write = None if enabled else fake_picamera.PiCameraMMALError("Camera component is gone")

    def settings() -> object:
        (device,) = firmware.open
        return [device._settings.get(name, default) for name, default in (("brightness", 50), ("shutter_speed", 0))]

    camera = PicameraCamera(config, SystemClock())
    yield Subject(camera, config, SystemClock(), lambda: plug(False), lambda: plug(True), settings)


BACKENDS: dict[str, Callable[[Path, pytest.MonkeyPatch], AbstractContextManager[Subject]]] = {
    "simulated": simulated,
    "av, a folder": av_folder,
    "av, a film": av_film,
    "av, a network camera": av_network,
    "picamera2": picamera2,
    "picamera": picamera,
}


@pytest.fixture(params=BACKENDS)
def subject(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Subject]:
    """Each backend in turn, not yet opened; closed afterwards."""
    with BACKENDS[request.param](tmp_path, monkeypatch) as subject:
        yield subject
        subject.camera.close()


def opened(data: bytes, format: str = "PNG") -> PIL.Image.Image:
    picture = PIL.Image.open(io.BytesIO(data))
    assert picture.format == format
    picture.load()
    return picture.convert("RGB")


def assert_live(frame: Frame, subject: Subject) -> None:
    """A live frame: no larger than configured, and a picture."""
    assert 0 < frame.image.width <= subject.config.width
    assert 0 < frame.image.height <= subject.config.height
    assert all(isinstance(value, float | int | bool | str) for value in frame.metadata.values())
    assert opened(frame.image.encode("jpeg"), "JPEG").size == (frame.image.width, frame.image.height)


def wrong_values(control: Control) -> Iterator[ControlValue]:
    """Values that a control does not take."""
    if control.choices is not None:
        yield from ("no such choice", 3, True)
    elif isinstance(control.default, bool):
        yield from ("on", 1)
    else:
        yield from ("1", True)
        if control.min is not None:
            yield control.min - 1
        if control.max is not None:
            yield control.max + 1


def another_value(capabilities: Capabilities) -> dict[str, ControlValue]:
    """One control at a value that is not its default."""
    for name, control in capabilities.controls.items():
        if control.max is not None and control.default is not None and control.max != control.default:
            return {name: control.max}
    pytest.skip("this backend has no control with a range")


# Opening and closing


def test_an_opened_camera_says_what_it_can_do(subject: Subject) -> None:
    said = subject.camera.open()
    assert said.model and isinstance(said.emulated, bool) and isinstance(said.raw, bool)
    areas = [width * height for width, height in said.resolutions]
    assert areas and min(areas) > 0 and areas == sorted(areas, reverse=True), "the largest first"
    for name, control in said.controls.items():
        assert name.isidentifier() and name.islower()
        if control.default is not None:
            control.check(name, control.default)
        if control.min is not None and control.max is not None:
            assert control.min < control.max


def test_closing_is_always_possible(subject: Subject) -> None:
    subject.camera.close()
    subject.camera.open()
    subject.camera.close()
    subject.camera.close()


def test_a_closed_camera_can_be_opened_again(subject: Subject) -> None:
    for _ in range(3):
        subject.camera.open()
        assert_live(subject.read(), subject)
        subject.camera.close()


def test_a_closed_camera_gives_no_pictures(subject: Subject) -> None:
    with pytest.raises(CameraUnavailable):
        subject.read()
    subject.camera.open()
    subject.camera.close()
    with pytest.raises(CameraUnavailable):
        subject.camera.capture(StillRequest(), subject.soon())


def test_no_thread_is_left_after_closing(subject: Subject) -> None:
    before = set(threading.enumerate())
    subject.camera.open()
    subject.read()
    subject.camera.capture(StillRequest(), subject.soon())
    subject.camera.close()
    for thread in set(threading.enumerate()) - before:
        thread.join(PATIENCE_S)
        assert not thread.is_alive(), thread.name


# Pictures


def test_live_frames_follow_one_another(subject: Subject) -> None:
    subject.camera.open()
    frames = [subject.read() for _ in range(5)]
    for frame in frames:
        assert_live(frame, subject)
    moments = [frame.exposed_at for frame in frames]
    assert moments == sorted(set(moments))
    assert subject.clock.monotonic() - 2 * PATIENCE_S < moments[0] and moments[-1] <= subject.clock.monotonic()


def test_a_still_is_exposed_after_the_call(subject: Subject) -> None:
    subject.camera.open()
    subject.read()
    for _ in range(3):
        called = subject.clock.monotonic()
        still = subject.camera.capture(StillRequest(), subject.soon())
        assert called <= still.exposed_at <= subject.clock.monotonic()
        assert opened(still.image.encode("jpeg"), "JPEG").size == (still.image.width, still.image.height)
        assert opened(still.image.encode("png"), "PNG").size == (still.image.width, still.image.height)


def test_a_still_has_at_least_the_size_asked_for(subject: Subject) -> None:
    largest = subject.camera.open().resolutions[0]
    for part in (1, 2):
        width, height = largest[0] // part, largest[1] // part
        image = subject.camera.capture(StillRequest(width, height), subject.soon()).image
        assert image.width >= width and image.height >= height
        assert opened(image.encode("jpeg", width=width, height=height), "JPEG").size == (width, height)
    assert_live(subject.read(), subject)


def test_a_stream_goes_on_through_stills(subject: Subject) -> None:
    subject.camera.open()
    passed = [subject.read()]
    for _ in range(3):
        subject.camera.capture(StillRequest(), subject.soon(), passed.append)
        passed.append(subject.read())
    for frame in passed:
        assert_live(frame, subject)
    moments = [frame.exposed_at for frame in passed]
    assert moments == sorted(set(moments)), "each live frame once, in order"


def test_pictures_never_change(subject: Subject) -> None:
    subject.camera.open()
    images: list[Image] = [subject.read().image, subject.camera.capture(StillRequest(), subject.soon()).image]
    before = [image.encode("png", width=160) for image in images]
    for _ in range(8):
        subject.read()
    subject.camera.capture(StillRequest(), subject.soon())
    subject.camera.close()
    assert [image.encode("png", width=160) for image in images] == before


def test_pictures_can_be_encoded_in_another_thread(subject: Subject) -> None:
    subject.camera.open()
    frame = subject.read()
    with ThreadPoolExecutor(2) as pool:
        files = list(pool.map(lambda width: frame.image.encode("jpeg", width=width), (160, 80, 160)))
        subject.read()
    assert files[0] == files[2] == frame.image.encode("jpeg", width=160)
    assert opened(files[1], "JPEG").width == 80


def test_pictures_can_be_turned(subject: Subject) -> None:
    subject.camera.open()
    image = subject.read().image
    upright = np.asarray(opened(image.encode("png"))).astype(int)
    for degrees, turns in ((90, -1), (180, 2), (270, 1)):
        turned = np.asarray(opened(image.rotated(degrees).encode("png"))).astype(int)
        expected = np.rot90(upright, turns)
        assert turned.shape == expected.shape
        assert np.abs(turned - expected).mean() < 4


# Controls


def test_controls_that_do_not_fit_are_refused_and_change_nothing(subject: Subject) -> None:
    said = subject.camera.open()
    before = subject.held() if subject.held else None
    fitting = another_value(said) if said.controls else {}
    wrong = [
        ("no_such_control", 1),
        *((name, value) for name, it in said.controls.items() for value in wrong_values(it)),
    ]
    for name, value in wrong:
        with pytest.raises(UnsupportedControl) as refusal:
            subject.camera.configure({**fitting, name: value})
        assert [fault.where for fault in refusal.value.faults] == [f"/controls/{name}"]
        with pytest.raises(UnsupportedControl):
            subject.camera.capture(StillRequest(controls={**fitting, name: value}), subject.soon())
    if subject.held:
        assert subject.held() == before
    assert_live(subject.read(), subject)


def test_controls_that_are_not_named_go_back_to_their_default(subject: Subject) -> None:
    said = subject.camera.open()
    other = another_value(said)
    before = subject.held() if subject.held else None
    subject.camera.configure(other)
    changed = subject.held() if subject.held else None
    subject.camera.configure({})
    assert_live(subject.read(), subject)
    if subject.held:
        assert changed != before
        assert subject.held() == before


def test_controls_of_a_still_are_for_it_alone(subject: Subject) -> None:
    other = another_value(subject.camera.open())
    before = subject.held() if subject.held else None
    subject.camera.capture(StillRequest(controls=other), subject.soon())
    if subject.held:
        assert subject.held() == before
    assert_live(subject.read(), subject)


def test_what_the_camera_has_chosen_can_be_held(subject: Subject) -> None:
    said = subject.camera.open()
    chosen = subject.camera.capture(StillRequest(), subject.soon()).metadata
    held = locked_controls(said.controls, chosen)
    if not held:
        pytest.skip("this backend holds nothing")
    stills = [subject.camera.capture(StillRequest(controls=held), subject.soon())]
    subject.camera.configure(held)
    stills.append(subject.camera.capture(StillRequest(), subject.soon()))
    for still in stills:
        for name in ("exposure_s", "gain", "red_gain", "blue_gain", "focus_position"):
            if name in chosen:
                assert still.metadata[name] == pytest.approx(chosen[name], rel=0.07), name
    assert {"red_gain", "blue_gain"} <= set(held) and held["white_balance"] == "manual"


def test_every_default_can_be_set(subject: Subject) -> None:
    said = subject.camera.open()
    subject.camera.configure({name: it.default for name, it in said.controls.items() if it.default is not None})
    assert_live(subject.read(), subject)


# When it goes wrong


def test_a_deadline_that_has_passed_is_a_timeout_at_once(subject: Subject) -> None:
    subject.camera.open()
    subject.read()
    called = subject.clock.monotonic()
    with pytest.raises(CameraTimeout):
        for _ in range(2):  # a frame that lies ready may still be handed out
            subject.camera.read(called - 1)
    with pytest.raises(CameraTimeout):
        subject.camera.capture(StillRequest(), called - 1)
    assert subject.clock.monotonic() - called < PATIENCE_S / 4
    assert_live(subject.read(), subject)


def test_a_camera_that_has_gone_can_be_opened_again_once_it_is_back(subject: Subject) -> None:
    if subject.unplug is None or subject.plug_in is None:
        pytest.skip("this backend's device cannot be unplugged")
    subject.camera.open()
    subject.read()
    subject.unplug()
    gone = (CameraUnavailable, CameraTimeout)  # a sensor says nothing when its cable comes off
    with pytest.raises(gone):
        for _ in range(1000):  # frames that were on their way may still come
            subject.camera.read(subject.clock.monotonic() + 1.0)
    with pytest.raises(gone):
        subject.camera.capture(StillRequest(), subject.clock.monotonic() + 1.0)
    subject.camera.close()
    with pytest.raises(CameraUnavailable) as refusal:
        subject.camera.open()
    assert len(str(refusal.value)) > 20, "says what would help"
    subject.plug_in()
    subject.camera.open()
    assert_live(subject.read(), subject)
