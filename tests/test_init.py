"""piapi init: a configuration from what is attached, with every setting in it."""

from __future__ import annotations

import re
import stat
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import config
from piapi.cli import main
from piapi.cli.settings_file import compose
from piapi.hardware.attached import AttachedCamera, attached_cameras

WEBCAM = AttachedCamera("av", "/dev/video0", 'Webcam "C920"\n[x]')
FIRST, SECOND = AttachedCamera("picamera2", "0", "front"), AttachedCamera("picamera2", "1", "back")


def piapi(*arguments: str, **environ: str | None) -> Result:
    return CliRunner().invoke(main, arguments, env={"PIAPI_CONFIG": None, "PIAPI_DATA": None, **environ})


def node(sysfs: Path, name: str, card: str, device: str, driver: str = "", index: int = 0) -> None:
    """A capture node as sysfs has it: the class's entry with links to device and driver."""
    entry, parent = sysfs / "class/video4linux" / name, sysfs / "devices" / device
    entry.mkdir(parents=True)
    parent.mkdir(parents=True, exist_ok=True)
    (entry / "name").write_text(card + "\n")
    (entry / "index").write_text(f"{index}\n")
    (entry / "device").symlink_to(parent)
    if driver and not (parent / "driver").exists():
        (sysfs / "drivers" / driver).mkdir(parents=True, exist_ok=True)
        (parent / "driver").symlink_to(sysfs / "drivers" / driver)


def uncommented(text: str) -> str:
    return re.sub(r"^# (?=\[|\w+ = )", "", text, flags=re.MULTILINE)


def load(tmp_path: Path, text: str, **environ: str) -> config.Settings:
    file = tmp_path / "loaded.toml"
    file.write_text(text, encoding="utf-8")
    return config.load({"PIAPI_CONFIG": str(file), **environ})


# What is attached -----------------------------------------------------------------------------------------------------


def test_cameras_are_listed_without_opening_them(tmp_path: Path) -> None:
    node(tmp_path, "video10", "bcm2835-codec-decode", "codec", "bcm2835-codec")
    node(tmp_path, "video2", "HD Webcam", "usb2", "uvcvideo")
    node(tmp_path, "video3", "HD Webcam", "usb2", "uvcvideo", index=1)
    node(tmp_path, "video0", "unicam-image", "csi1", "unicam")
    node(tmp_path, "video1", "unicam-embedded", "csi1", "unicam", index=1)
    node(tmp_path, "video13", "bcm2835-isp-output0", "isp", "bcm2835-isp")
    node(tmp_path, "video42", "Loopback", "virtual")
    found = attached_cameras(tmp_path, tmp_path)
    assert [(camera.backend, camera.source) for camera in found] == [
        ("picamera2", ""),
        ("av", "/dev/video2"),
        ("av", "/dev/video42"),
    ]
    assert found[1].model == "HD Webcam"


def test_two_cameras_on_the_connectors_are_told_apart_by_number(tmp_path: Path) -> None:
    for index in range(8):
        node(tmp_path, f"video{index}", f"rp1-cfe-{index}", f"cfe{index // 4}", "rp1-cfe", index % 4)
    assert [camera.source for camera in attached_cameras(tmp_path, tmp_path)] == ["0", "1"]


@pytest.mark.parametrize(
    "by_id, sources",
    [
        ({"usb-A-index0": "video0", "usb-B-index0": "video2"}, ["by-id/usb-A-index0", "by-id/usb-B-index0"]),
        ({"usb-A-index0": "video2"}, ["by-path/port1", "by-path/port2"]),  # they have no serial numbers
        ({}, ["by-path/port1", "by-path/port2"]),
    ],
)
def test_webcams_of_one_kind_are_named_by_what_stays(tmp_path: Path, by_id: dict[str, str], sources: list[str]) -> None:
    for number, port in ((0, "usb1"), (2, "usb2")):
        node(tmp_path, f"video{number}", "HD Webcam", port, "uvcvideo")
    links = tmp_path / "v4l"
    link(links / "by-id", by_id)
    link(links / "by-path", {"port1": "video0", "port1-again": "video0", "port2": "video2"})
    assert [camera.source for camera in attached_cameras(tmp_path, links)] == [f"{links}/{name}" for name in sources]


def test_two_cameras_in_one_usb_device_are_told_apart_by_their_place(tmp_path: Path) -> None:
    for number, card in ((0, "Integrated Camera: C"), (2, "Integrated Camera: I")):
        node(tmp_path, f"video{number}", card, f"usb1/1.{number}", "uvcvideo")
    (tmp_path / "devices/usb1/idVendor").touch()
    links = tmp_path / "v4l"
    link(links / "by-id", {"usb-Integrated_Camera-index0": "video2"})
    link(links / "by-path", {"port1.0": "video0", "port1.2": "video2"})
    found = attached_cameras(tmp_path, links)
    assert [camera.source for camera in found] == [f"{links}/by-path/port1.0", f"{links}/by-path/port1.2"]


def test_a_webcam_is_named_by_what_it_is_and_never_by_its_port_alone(tmp_path: Path) -> None:
    for number, card in ((0, "HD Webcam"), (2, "Grabber")):
        node(tmp_path, f"video{number}", card, card, "uvcvideo")
    links = tmp_path / "v4l"
    link(links / "by-id", {"usb-HD_Webcam-index0": "video0", "usb-HD_Webcam-index1": "video1"})
    link(links / "by-path", {"port1": "video0", "port2": "video2"})
    found = attached_cameras(tmp_path, links)
    assert [camera.source for camera in found] == [f"{links}/by-id/usb-HD_Webcam-index0", "/dev/video2"]


def link(folder: Path, links: dict[str, str]) -> None:
    folder.mkdir(parents=True)
    for name, target in links.items():
        (folder / name).symlink_to(f"../../{target}")


def test_a_machine_without_cameras_has_none(tmp_path: Path) -> None:
    assert attached_cameras(tmp_path, tmp_path) == []


# The text -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cameras", [[], [WEBCAM], [FIRST, SECOND, WEBCAM]], ids=len)
def test_as_written_it_is_sound_and_only_the_cameras_found_are_in_force(
    tmp_path: Path, cameras: list[AttachedCamera]
) -> None:
    loaded = load(tmp_path, compose(cameras, "Raspberry Pi 5", config.Settings()))
    assert list(loaded.cameras) == ["camera", "camera2", "camera3"][: len(cameras)]
    assert [(camera.backend, camera.source) for camera in loaded.cameras.values()] == [
        (camera.backend, camera.source) for camera in cameras
    ]
    assert loaded.server == config.Server() and loaded.storage == config.Storage()
    assert loaded.pins == {} and loaded.doors == {}


@pytest.mark.parametrize("cameras", [[], [WEBCAM]], ids=len)
def test_every_setting_is_there_and_sound_when_its_mark_is_taken_away(
    tmp_path: Path, cameras: list[AttachedCamera]
) -> None:
    text = compose(cameras, "", config.Settings())
    loaded = load(tmp_path, uncommented(text))
    assert loaded.server == config.Server() and loaded.storage == config.Storage()
    assert len(loaded.cameras) == 1 and list(loaded.pins) == ["porch_light"] and list(loaded.doors) == ["garage"]
    for cls in (*config.SECTIONS.values(), *config.NAMED_SECTIONS.values()):
        for item in fields(cls):
            assert re.search(rf"^(# )?{item.name} = .*# {re.escape(item.metadata['help'])}$", text, re.MULTILINE)


# The command ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> list[AttachedCamera]:
    """What the command finds."""
    found = [WEBCAM]
    monkeypatch.setattr(sys.modules["piapi.cli.init"], "attached_cameras", lambda: found)
    return found


@pytest.mark.usefixtures("found")
def test_it_writes_what_check_config_calls_sound(tmp_path: Path) -> None:
    file = tmp_path / "piapi.toml"
    done = piapi("init", "--output", str(file))
    assert done.exit_code == 0 and "Cameras found: 1" in done.stderr and "/dev/video0" in done.stderr
    assert piapi("check-config", str(file)).exit_code == 0
    assert stat.S_IMODE(file.stat().st_mode) & 0o007 == 0
    assert [entry.name for entry in tmp_path.iterdir()] == ["piapi.toml"]


@pytest.mark.usefixtures("found")
def test_it_overwrites_nothing_unless_told_and_then_keeps_the_mode(tmp_path: Path) -> None:
    file = tmp_path / "piapi.toml"
    file.write_text("mine")
    file.chmod(0o600)
    done = piapi("init", PIAPI_CONFIG=str(file))
    assert done.exit_code == 1 and "--force" in done.stderr and file.read_text() == "mine"
    assert piapi("init", "--force", PIAPI_CONFIG=str(file)).exit_code == 0
    assert "[cameras.camera]" in file.read_text() and stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.usefixtures("found")
def test_for_another_machine_it_looks_for_nothing(tmp_path: Path) -> None:
    file = tmp_path / "piapi.toml"
    assert piapi("init", "--examples-only", "--output", str(file), PIAPI_HOME="/var/lib/piapi").exit_code == 0
    text = file.read_text()
    assert "# [cameras.front]" in text and '# path = "/var/lib/piapi"' in text


@pytest.mark.usefixtures("found")
@pytest.mark.parametrize("place", ["none/piapi.toml", "."])
def test_a_place_that_cannot_be_written_is_said_in_words(tmp_path: Path, place: str) -> None:
    done = piapi("init", "--force", "--output", str(tmp_path / place))
    assert done.exit_code == 1 and "cannot be written" in done.stderr and "Traceback" not in done.output


# Where the data is, installed -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "path"),
    [("", "/var/lib/piapi"), ("path = 'more'", "/var/lib/piapi/more"), ("path = '/mnt/disk'", "/mnt/disk")],
)
def test_installed_the_data_is_in_the_home_of_the_service(tmp_path: Path, setting: str, path: str) -> None:
    loaded = load(tmp_path, f"[storage]\n{setting}\n", PIAPI_HOME="/var/lib/piapi")
    assert loaded.storage.path == Path(path)
