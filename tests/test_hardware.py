"""Backends by name: imported when wanted, never a simulated one for a real one, and words where there is none."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator

import pytest

import config
from piapi.errors import CameraUnavailable
from piapi.hardware import CAMERAS, open_camera, open_hardware
from piapi.hardware.base import CameraConfig, StillRequest
from piapi.hardware.camera_auto import CANDIDATES, AutoCamera
from piapi.hardware.camera_simulated import SimulatedCamera
from piapi.hardware.unavailable import UnavailableCamera
from tests.fakes import FakeClock, ScriptedCamera

CLOCK = FakeClock()


class Plugged:
    """Two made-up backends, whose cameras a test plugs in."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.found: dict[str, list[str]] = {"first": [], "second": []}
        self.opened: list[tuple[str, str]] = []
        for name in self.found:
            module = types.ModuleType(f"made_up_{name}")
            module.detect = lambda name=name: self.found[name]  # type: ignore[attr-defined]
            module.Backend = lambda config, clock, name=name: self.make(name, config)  # type: ignore[attr-defined]
            monkeypatch.setitem(sys.modules, module.__name__, module)
        self.candidates = tuple((f"made_up_{name}", "Backend") for name in self.found)

    def make(self, name: str, config: CameraConfig) -> ScriptedCamera:
        self.opened.append((name, config.source))
        return ScriptedCamera(CLOCK)


@pytest.fixture
def plugged(monkeypatch: pytest.MonkeyPatch) -> Iterator[Plugged]:
    yield Plugged(monkeypatch)


def test_every_backend_of_the_settings_is_there_and_the_other_way_round() -> None:
    check = next(item for item in config.fields(config.Camera) if item.name == "backend").metadata["check"]
    for name in CAMERAS:
        assert check(name) == name
    with pytest.raises(ValueError, match=", ".join(map(repr, CAMERAS))):
        check("canon")


def test_cameras_are_opened_by_name() -> None:
    cameras = open_hardware([CameraConfig("a", "simulated"), CameraConfig("b", "auto")], CLOCK)
    assert isinstance(cameras["a"], SimulatedCamera) and isinstance(cameras["b"], AutoCamera)


def test_a_backend_that_cannot_be_imported_is_unavailable_and_never_replaced(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "piapi.hardware.camera_av", None)
    camera = open_camera(CameraConfig("front", "av"), CLOCK)
    assert isinstance(camera, UnavailableCamera)
    for call in (
        camera.open,
        lambda: camera.configure({}),
        lambda: camera.read(0),
        lambda: camera.capture(StillRequest(), 0),
    ):
        with pytest.raises(CameraUnavailable, match="backend av cannot be used"):
            call()
    camera.close()


def test_auto_looks_among_real_cameras_alone() -> None:
    assert not any("simulated" in module for module, _ in CANDIDATES)


def test_auto_takes_the_first_that_is_found(plugged: Plugged) -> None:
    camera = AutoCamera(CameraConfig("front", "auto"), CLOCK, plugged.candidates)
    plugged.found["second"] = ["/dev/video0", "/dev/video2"]
    assert camera.open().model == "scripted"
    assert plugged.opened == [("second", "/dev/video0")]
    assert camera.read(CLOCK.monotonic() + 1).image.width == 640
    camera.close()
    camera.close()
    with pytest.raises(CameraUnavailable):
        camera.read(0)


def test_auto_looks_anew_each_time(plugged: Plugged) -> None:
    camera = AutoCamera(CameraConfig("front", "auto", source="1"), CLOCK, plugged.candidates)
    with pytest.raises(CameraUnavailable):
        camera.open()
    plugged.found["first"] = ["0", "1"]
    camera.open()
    assert plugged.opened == [("first", "1")]


def test_auto_says_in_words_what_would_help(plugged: Plugged) -> None:
    with pytest.raises(CameraUnavailable) as caught:
        AutoCamera(CameraConfig("front", "auto"), CLOCK, plugged.candidates).open()
    assert len(str(caught.value)) > 40
