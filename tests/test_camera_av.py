"""Cameras read through FFmpeg: network cameras, footage and webcams, with their faults."""

from __future__ import annotations

import contextlib
import gc
import io
import re
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import PIL.Image
import pytest

from piapi.clock import SystemClock
from piapi.errors import CameraTimeout, CameraUnavailable, UnsupportedControl
from piapi.hardware import av_live, av_source, v4l2
from piapi.hardware.base import CameraConfig, Capabilities, Frame, StillRequest
from piapi.hardware.camera_av import AvCamera, detect
from piapi.hardware.mjpeg import standard_huffman_tables, whole_jpeg
from piapi.hardware.v4l2_controls import WebcamControls
from piapi.services.timelapses.exposure import locked_controls
from tests import footage
from tests.faulty_camera import FaultyCamera

PATIENCE_S = 20.0


class StepClock:
    """A clock that goes on only while somebody waits on it."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.seconds, UTC)

    def monotonic(self) -> float:
        return self.seconds

    def wait(self, condition: threading.Condition, timeout: float | None) -> bool:
        assert timeout is not None
        self.seconds += timeout
        return False


CLOCK = SystemClock()


def config(source: object, **settings: Any) -> CameraConfig:
    return CameraConfig("test", "av", str(source), **settings)


@pytest.fixture
def camera_of() -> Iterator[Any]:
    """Makes cameras, and closes them."""
    cameras: list[AvCamera] = []

    def make(source: object, clock: Any = CLOCK, **settings: Any) -> AvCamera:
        cameras.append(AvCamera(config(source, **settings), clock))
        return cameras[-1]

    yield make
    for camera in cameras:
        camera.close()


def soon() -> float:
    return CLOCK.monotonic() + PATIENCE_S


def read(camera: AvCamera) -> bytes:
    return camera.read(soon()).image.encode("jpeg")


def open_when_there(camera: AvCamera) -> Capabilities:
    """As its owner does: again and again while the connection is refused."""
    pause, deadline = threading.Event(), soon()
    while True:
        try:
            return camera.open()
        except CameraUnavailable as error:
            if "refuses" not in str(error) or CLOCK.monotonic() > deadline:
                raise
            pause.wait(0.05)


def fault_of(camera: AvCamera) -> str:
    """What `open` says."""
    with pytest.raises(CameraUnavailable) as failure:
        camera.open()
    assert failure.value.__cause__ is None
    return str(failure.value)


def fault_while_reading(camera: AvCamera) -> str:
    """What `read` says once the last good frames are through, each of which must be whole."""
    while True:
        try:
            assert footage.matches(read(camera)) > footage.ALIKE
        except CameraUnavailable as error:
            return str(error)


# Network cameras


def test_the_pictures_of_another_program_are_the_footage(camera_of: Any) -> None:
    with footage.network_camera() as url:
        camera = camera_of(url)
        first = camera.open()
        assert first == Capabilities("127.0.0.1", emulated=False, resolutions=((320, 240),))
        assert all(footage.matches(read(camera)) > footage.ALIKE for _ in range(5))
        camera.close()
        open_when_there(camera)
        still = camera.capture(StillRequest(), soon())
        assert still.image.encode("jpeg") in [footage.jpeg(index) for index in range(60)], (
            "the very bytes are passed on"
        )


@pytest.mark.parametrize("with_length", [True, False])
def test_jpegs_are_passed_on_as_they_are(camera_of: Any, with_length: bool) -> None:
    with FaultyCamera() as device:
        device.with_length = with_length
        camera = camera_of(device.url)
        camera.open()
        sent = [footage.jpeg(index) for index in range(60)]
        indices = [sent.index(read(camera)) for _ in range(5)]
        assert indices == sorted(set(indices)), "each frame is given out once, in order"


def test_a_still_was_sent_wholly_after_the_call(camera_of: Any) -> None:
    with FaultyCamera(fps=20) as device:
        camera = camera_of(device.url)
        camera.open()
        for _ in range(3):
            passed: list[Frame] = []
            sent, called = device.frames_sent, CLOCK.monotonic()
            still = camera.capture(StillRequest(), soon(), passed.append)
            assert still.image.encode("jpeg") in [footage.jpeg(sent + ahead) for ahead in (1, 2, 3)]
            assert still.exposed_at > called
            assert len(passed) >= 2, "the stream goes on meanwhile"


def test_frames_are_fresh_after_nobody_has_read_for_a_while(camera_of: Any) -> None:
    with FaultyCamera() as device:
        camera = camera_of(device.url)
        camera.open()
        begun = device.frames_sent
        pause = threading.Event()
        while device.frames_sent < begun + 30:
            pause.wait(0.01)
        sent = device.frames_sent
        assert read(camera) in [footage.jpeg(sent + ahead) for ahead in (-2, -1, 0, 1, 2)]


def test_reading_a_silent_camera_ends_at_the_deadline(camera_of: Any) -> None:
    with FaultyCamera() as device:
        camera = camera_of(device.url)
        camera.open()
        device.silent.set()
        with pytest.raises(CameraTimeout):
            while True:
                deadline = CLOCK.monotonic() + 0.2
                camera.read(deadline)
        assert 0 <= CLOCK.monotonic() - deadline < 1
        with pytest.raises(CameraTimeout):
            camera.capture(StillRequest(), CLOCK.monotonic() + 0.1)
        device.silent.clear()
        assert footage.matches(read(camera)) > footage.ALIKE


def test_a_camera_that_stays_silent_counts_as_gone(camera_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(av_live, "SILENCE_S", 0.3)
    with FaultyCamera() as device:
        camera = camera_of(device.url)
        camera.open()
        device.silent.set()
        assert "sent nothing in time" in fault_while_reading(camera)


@pytest.mark.parametrize("fault", ["cut", "reset"])
def test_a_stream_that_breaks_off_hands_out_no_torn_frame(camera_of: Any, fault: str) -> None:
    with FaultyCamera() as device:
        camera = camera_of(device.url)
        camera.open()
        getattr(device, fault).set()
        assert fault_while_reading(camera)
        with pytest.raises(CameraUnavailable):
            camera.capture(StillRequest(), soon())


def test_an_unplugged_camera_can_be_opened_again_when_it_is_back(camera_of: Any) -> None:
    with FaultyCamera() as device:
        camera = camera_of(device.url)
        camera.open()
        read(camera)
        device.unplug()
        assert fault_while_reading(camera)
        assert "refuses the connection" in fault_of(camera)
        device.plug_in()
        camera.open()
        assert footage.matches(read(camera)) > footage.ALIKE


def test_torn_frames_in_a_stream_are_left_out(camera_of: Any) -> None:
    def every_other_torn(index: int) -> bytes:
        data = footage.jpeg(index)
        return data[: len(data) // 2] if index % 2 else data

    with FaultyCamera(encode=every_other_torn) as device:
        camera = camera_of(device.url)
        camera.open()
        assert {footage.nearest(read(camera))[0] % 2 for _ in range(4)} == {0}


def test_jpegs_that_only_look_whole_are_left_out(camera_of: Any) -> None:
    spoiling = threading.Event()

    def every_other_without_size(index: int) -> bytes:
        data = footage.jpeg(index)
        size_at = data.index(b"\xff\xc0") + 5
        return data[:size_at] + bytes(4) + data[size_at + 4 :] if index % 2 and spoiling.is_set() else data

    with FaultyCamera(encode=every_other_without_size) as device:
        camera = camera_of(device.url)
        camera.open()
        spoiling.set()
        camera.capture(StillRequest(), soon())
        seen = {footage.nearest(read(camera))[0] % 2 for _ in range(4)}
        seen.add(footage.nearest(camera.capture(StillRequest(), soon()).image.encode("jpeg"))[0] % 2)
        assert seen == {0}


def test_a_still_address_is_fetched_anew_and_only_on_demand(camera_of: Any) -> None:
    with FaultyCamera() as device:
        camera = camera_of(device.still_url)
        assert camera.open().resolutions == ((320, 240),)
        asked = device.requests
        still = camera.capture(StillRequest(), soon())
        assert still.image.encode("jpeg") == footage.jpeg(device.frames_sent - 1)
        assert asked < device.requests <= asked + 2


def test_faults_of_an_address_are_told_in_words_that_help(camera_of: Any) -> None:
    with FaultyCamera(password="s3cret") as device:
        address = f"user:wr0ng@127.0.0.1:{device.port}/stream"
        assert "401: check user and password" in fault_of(camera_of(f"http://{address}?pwd=t0ken"))
        assert "404: check the path" in fault_of(camera_of(device.url.replace("http://", "http://user:s3cret@") + "s"))
        page = device.url.replace("http://", "http://user:s3cret@").replace("/stream", "/page")
        assert "no picture, film or stream" in fault_of(camera_of(page))
        assert "begins with rtsp:// or http://" in fault_of(camera_of(f"ftp://{address}"))
    assert "refuses the connection" in fault_of(camera_of(f"http://{address}"))
    assert "refuses the connection" in fault_of(camera_of(f"rtsp://{address}"))


def test_the_password_of_an_address_is_used_and_never_told(camera_of: Any, caplog: pytest.LogCaptureFixture) -> None:
    with FaultyCamera(password="s3cret") as device:
        url = device.url.replace("http://", "http://user:s3cret@") + "?pwd=s3cret"
        camera = camera_of(url.partition("?")[0])
        camera.open()
        assert footage.matches(read(camera)) > footage.ALIKE
        device.reset.set()
        faults = [fault_while_reading(camera), fault_of(camera_of(url)), fault_of(camera_of(url.replace("http", "x")))]
    faults.append(fault_of(camera_of(url)))
    assert not re.search("s3cret|user", "".join(faults) + caplog.text)
    assert av_source.shown("rtsp://user:p@ss@cam:554/live?u=x&p=y") == "rtsp://cam:554/live"


def test_rtsp_is_asked_for_over_tcp_and_nothing_opens_files() -> None:
    options = av_live.NetworkCamera("rtsp://user:secret@garage.local:554/live").options()
    assert options["rtsp_transport"] == "tcp"
    assert "file" not in options["protocol_whitelist"].split(",")
    assert "rtsp_transport" not in av_live.NetworkCamera("http://garage.local/").options()
    assert av_live.NetworkCamera("rtsp://user:secret@garage.local:554/live").model == "garage.local"


# Footage


def test_a_film_is_played_at_its_own_speed_and_again(camera_of: Any, tmp_path: Path) -> None:
    clock = StepClock()
    film = footage.write_film(tmp_path / "pan.mp4", frames=10, fps=25, width=320, height=240)
    camera = camera_of(film, clock, fps=5)
    assert camera.open() == Capabilities("pan.mp4", emulated=True, resolutions=((320, 240),))
    frames = [camera.read(clock.seconds + 1) for _ in range(25)]
    assert [footage.nearest(frame.image.encode("jpeg"))[0] for frame in frames] == [*range(10), *range(10), *range(5)]
    spacing = np.diff([frame.exposed_at for frame in frames])
    assert spacing == pytest.approx(np.full(24, 1 / 25), abs=1e-3)


@pytest.mark.parametrize(("name", "codec"), [("pan.mp4", "mpeg4"), ("pan.mkv", "libx264"), ("pan.avi", "mjpeg")])
def test_films_of_several_kinds_are_the_footage(camera_of: Any, tmp_path: Path, name: str, codec: str) -> None:
    camera = camera_of(footage.write_film(tmp_path / name, frames=8, codec=codec), StepClock())
    camera.open()
    seen = [footage.nearest(camera.read(1e9).image.encode("jpeg")) for _ in range(8)]
    assert [stop for stop, _likeness in seen] == list(range(8))
    assert min(likeness for _stop, likeness in seen) > footage.ALIKE


def test_a_folder_is_played_by_name_and_again(camera_of: Any, tmp_path: Path) -> None:
    clock = StepClock()
    folder = footage.write_folder(tmp_path / "pan", frames=4)
    (folder / "0002x.jpg").write_bytes(footage.jpeg(50)[:4000])
    (folder / "notes.txt").write_text("no picture")
    camera = camera_of(folder, clock, fps=10)
    assert camera.open() == Capabilities("pan", emulated=True, resolutions=((320, 240),))
    frames = [camera.read(clock.seconds + 1) for _ in range(6)]
    assert [frame.image.encode("jpeg") for frame in frames] == [footage.jpeg(index) for index in (0, 1, 2, 3, 0, 1)]
    assert np.diff([frame.exposed_at for frame in frames]) == pytest.approx(np.full(5, 0.1))


def test_footage_that_nobody_fetches_is_skipped(camera_of: Any, tmp_path: Path) -> None:
    clock = StepClock()
    camera = camera_of(footage.write_folder(tmp_path, frames=20), clock, fps=10)
    camera.open()
    camera.read(clock.seconds + 1)
    clock.seconds += 0.52
    assert camera.read(clock.seconds + 1).image.encode("jpeg") == footage.jpeg(5)
    clock.seconds += 1000
    assert camera.read(clock.seconds + 1).exposed_at == clock.seconds


def test_a_still_of_footage_is_due_after_the_call(camera_of: Any, tmp_path: Path) -> None:
    clock = StepClock()
    camera = camera_of(footage.write_folder(tmp_path, frames=20), clock, fps=10)
    camera.open()
    camera.read(clock.seconds + 1)
    clock.seconds += 0.15
    called = clock.seconds
    assert camera.capture(StillRequest(), called + 1).exposed_at >= called
    with pytest.raises(CameraTimeout):
        camera.capture(StillRequest(), clock.seconds + 0.01)
    assert camera.capture(StillRequest(), clock.seconds + 1).exposed_at >= called


def test_a_single_picture_and_an_odd_name_are_footage_too(camera_of: Any, tmp_path: Path) -> None:
    path = tmp_path / "photo: 50%, of #1?.jpg"
    path.write_bytes(footage.jpeg(7))
    clock = StepClock()
    camera = camera_of(path, clock, fps=4)
    camera.open()
    frames = [camera.read(clock.seconds + 1) for _ in range(3)]
    assert {frame.image.encode("jpeg") for frame in frames} == {footage.jpeg(7)}
    assert np.diff([frame.exposed_at for frame in frames]) == pytest.approx([0.25, 0.25])


def test_missing_and_unreadable_footage_is_told(camera_of: Any, tmp_path: Path) -> None:
    (tmp_path / "notes.mp4").write_text("no film " * 100)
    (tmp_path / "empty").mkdir()
    assert "There is no file or folder" in fault_of(camera_of(tmp_path / "nothing.mp4"))
    assert "no picture, film or stream" in fault_of(camera_of(tmp_path / "notes.mp4"))
    assert "holds no JPEG" in fault_of(camera_of(tmp_path / "empty"))


def test_a_film_that_is_removed_ends_the_camera(camera_of: Any, tmp_path: Path) -> None:
    folder = footage.write_folder(tmp_path / "pan", frames=2)
    camera = camera_of(folder, StepClock())
    camera.open()
    for path in folder.iterdir():
        path.unlink()
    for _again in range(2):
        with pytest.raises(CameraUnavailable):
            while True:
                camera.read(1e9)


# Images


def test_live_frames_fit_into_the_configured_size_and_stills_can_be_larger(camera_of: Any, tmp_path: Path) -> None:
    folder = footage.write_folder(tmp_path / "pan", frames=3)
    film = footage.write_film(tmp_path / "pan.mp4", frames=3, width=320, height=240)
    for source in (folder, film):
        camera = camera_of(source, StepClock(), width=200, height=200)
        assert camera.open().resolutions == ((320, 240),)
        live = camera.read(1e9).image
        assert (live.width, live.height) == (200, 150)
        assert footage.matches(live.encode("jpeg")) > footage.ALIKE
        still = camera.capture(StillRequest(), 1e9).image
        assert (still.width, still.height) == (200, 150)
        still = camera.capture(StillRequest(width=300), 1e9).image
        assert (still.width, still.height) == (320, 240)


def test_sizes_keep_their_shape_and_are_never_enlarged() -> None:
    assert av_source.fitting((640, 480), (1920, 1080)) == (640, 480)
    assert av_source.fitting((641, 479), (641, 479)) == (641, 479)
    assert av_source.fitting((2560, 1440), (1920, 1080)) == (1920, 1080)
    assert av_source.fitting((2592, 1944), (1920, 1080)) == (1440, 1080)
    assert av_source.fitting((10000, 10), (100, 100)) == (100, 2)


def test_a_frame_does_not_change_when_others_follow(camera_of: Any, tmp_path: Path) -> None:
    camera = camera_of(footage.write_film(tmp_path / "pan.mp4", frames=12, width=322, height=242), StepClock())
    camera.open()
    images = [camera.read(1e9).image for _ in range(12)]
    camera.close()
    gc.collect()
    assert [footage.nearest(image.encode("jpeg"))[0] for image in images] == list(range(12))


PATCHES = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "grey": (128, 128, 128), "white": (255,) * 3}
KR_KB = {"601": (0.299, 0.114), "709": (0.2126, 0.0722)}


def write_patches(path: Path, matrix: str, *, full: bool, tagged: bool, height: int = 64) -> None:
    """A film of five stripes, its planes computed here by the definitions of ITU-R BT.601 and BT.709."""
    kr, kb = KR_KB[matrix]
    planes = np.zeros((3, height, 5 * 32))
    for index, (red, green, blue) in enumerate(PATCHES.values()):
        luma = kr * red + (1 - kr - kb) * green + kb * blue
        yuv = np.array([luma, (blue - luma) / (2 - 2 * kb), (red - luma) / (2 - 2 * kr)])
        yuv = yuv + [0, 128, 128] if full else yuv * [219 / 255, 224 / 255, 224 / 255] + [16, 128, 128]
        planes[:, :, 32 * index : 32 * (index + 1)] = yuv.clip(0, 255).round()[:, None, None]
    y, u, v = planes.astype(np.uint8)
    pixels = np.concatenate([y.ravel(), u[::2, ::2].ravel(), v[::2, ::2].ravel()]).reshape(-1, 5 * 32)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=Fraction(10), options={"qp": "0"})
        stream.width, stream.height = 5 * 32, height
        stream.pix_fmt = "yuvj420p" if full else "yuv420p"
        if tagged:
            stream.codec_context.colorspace = {"601": 6, "709": 1}[matrix]
            stream.codec_context.color_range = 2 if full else 1
        frame = av.VideoFrame.from_ndarray(pixels, "yuvj420p" if full else "yuv420p")
        if tagged:
            frame.colorspace, frame.color_range = {"601": 6, "709": 1}[matrix], 2 if full else 1
        container.mux(stream.encode(frame))
        container.mux(stream.encode())


@pytest.mark.parametrize(
    ("matrix", "full", "tagged", "height"),
    [
        ("601", False, True, 64),
        ("601", True, True, 64),
        ("709", False, True, 64),
        ("709", True, True, 64),
        ("601", False, False, 64),
        ("709", False, False, 720),
    ],
)
def test_colours_come_back(camera_of: Any, tmp_path: Path, matrix: str, full: bool, tagged: bool, height: int) -> None:
    write_patches(tmp_path / "patches.mkv", matrix, full=full, tagged=tagged, height=height)
    camera = camera_of(tmp_path / "patches.mkv", StepClock())
    camera.open()
    data = camera.read(1e9).image.encode("jpeg", quality=100)
    with PIL.Image.open(io.BytesIO(data)) as shown:
        pixels = np.asarray(shown.convert("RGB")).astype(int)
    for index, (name, colour) in enumerate(PATCHES.items()):
        seen = pixels[height // 2, 32 * index + 16]
        assert np.abs(seen - colour).max() <= 5, (name, seen)


# JPEGs


def without_tables(index: int) -> bytes:
    """A JPEG as many webcams send it."""
    tables = standard_huffman_tables()
    data = footage.jpeg(index)
    stripped = re.sub(rb"\xff\xc4.*?(?=\xff[\xc4\xda])", b"", data[:1000], flags=re.DOTALL) + data[1000:]
    assert len(stripped) == len(data) - len(tables)
    return stripped


def test_huffman_tables_that_a_camera_leaves_out_are_put_in(camera_of: Any) -> None:
    with FaultyCamera(encode=without_tables) as device:
        camera = camera_of(device.url)
        camera.open()
        data = read(camera)
        assert data.count(b"\xff\xc4") == 4
        assert footage.matches(data) > footage.ALIKE


def test_a_jpeg_is_whole_or_it_is_none() -> None:
    whole = footage.jpeg(3)
    assert whole_jpeg(whole) is whole
    assert whole_jpeg(whole + b"\0" * 100) == whole
    assert whole_jpeg(without_tables(3)) != without_tables(3)
    for torn in (
        b"",
        b"\xff\xd8",
        whole[1:],
        whole[:-2],
        whole[:500],
        whole[:4000] + footage.jpeg(4),
        b"\xff\xd8\xff\xd9",
    ):
        assert whole_jpeg(torn) is None
    for end in range(0, len(whole) - 2, 97):
        assert whole_jpeg(whole[:end]) is None


# Webcams


class FakeKernel:
    """Answers ioctls as a webcam's driver does, and notes what is set."""

    def __init__(self) -> None:
        self.set: list[tuple[int, int]] = []
        self.mute = False
        self.driver, self.caps = b"uvcvideo", 0x84200001
        self.node_caps = 0x04200001
        self.sizes = [(640, 480), (1280, 720), (320, 240)]
        self.ranges = {0x980900: (-64, 64, 0), 0x98091A: (2800, 6000, 4600), 0x98090C: (0, 1, 1), 0x980913: (0, 100, 0)}
        self.ranges |= {0x9A0902: (3, 2047, 250), 0x9A0901: (0, 3, 3), 0x9A090C: (0, 1, 1)}

    def ioctl(self, fd: int, request: int, buffer: bytearray) -> int:
        number = request & 0xFF
        if number == 0:
            struct.pack_into("=16s32s32sIII", buffer, 0, self.driver, b"Webcam C270", b"", 0, self.caps, self.node_caps)
        elif number == 2:
            index = struct.unpack_from("=I", buffer)[0]
            self._refuse_unless(index < 2)
            struct.pack_into("=4s", buffer, 44, (b"YUYV", b"MJPG")[index])
        elif number == 74:
            index, pixel_format = struct.unpack_from("=I4s", buffer)
            self._refuse_unless(index < len(self.sizes) and pixel_format == b"MJPG")
            struct.pack_into("=III", buffer, 8, 1, *self.sizes[index])
        elif number == 36:
            control = struct.unpack_from("=I", buffer)[0]
            self._refuse_unless(control in self.ranges)
            least, greatest, default = self.ranges[control]
            struct.pack_into("=iiiiI", buffer, 40, least, greatest, 1, default, 0)
        elif number == 37:
            control, index = struct.unpack_from("=II", buffer)
            self._refuse_unless(control == 0x9A0901 and index in (1, 3))
        elif number == 27:
            self._refuse_unless(not self.mute)
            struct.pack_into("=i", buffer, 4, self.ranges[struct.unpack_from("=I", buffer)[0]][2])
        else:
            assert number == 28
            self.set.append(struct.unpack_from("=Ii", buffer))
        return 0

    def _refuse_unless(self, condition: bool) -> None:
        if not condition:
            raise OSError(22, "Invalid argument")


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> FakeKernel:
    fake = FakeKernel()
    monkeypatch.setattr(v4l2.fcntl, "ioctl", fake.ioctl)
    return fake


def test_a_device_tells_what_it_is(kernel: FakeKernel, tmp_path: Path) -> None:
    node = tmp_path / "video0"
    node.touch()
    assert v4l2.query(str(node)) == v4l2.Device("uvcvideo", "Webcam C270", captures=True)
    kernel.node_caps = 0x04A00000
    assert not v4l2.query(str(node)).captures, "a metadata node of the same webcam"
    kernel.node_caps, kernel.driver = 0x04200001, b"bcm2835-isp"
    assert not v4l2.query(str(node)).captures
    assert v4l2.gives_jpeg(0)
    assert v4l2.sizes(0) == [(640, 480), (1280, 720), (320, 240)]


def test_webcam_controls_have_the_known_names_and_units(kernel: FakeKernel) -> None:
    offered = WebcamControls(0).offered
    balance = {"white_balance", "colour_temperature_k"}
    assert set(offered) == {"brightness", "exposure", "exposure_s", "focus_mode"} | balance
    assert (offered["colour_temperature_k"].min, offered["colour_temperature_k"].max) == (2800, 6000)
    assert (offered["brightness"].min, offered["brightness"].max, offered["brightness"].default) == (-64, 64, 0)
    assert (offered["exposure_s"].min, offered["exposure_s"].max) == (0.0003, 0.2047)
    assert offered["white_balance"].choices == ("auto", "tungsten", "fluorescent", "daylight", "manual")


def test_webcam_controls_are_set_switch_first_and_go_back_to_their_defaults(kernel: FakeKernel) -> None:
    controls = WebcamControls(0)
    controls.hold({})
    assert dict(kernel.set) == {0x980900: 0, 0x9A0901: 3, 0x98090C: 1, 0x9A090C: 1}
    kernel.set.clear()
    controls.hold({"exposure_s": 0.01, "white_balance": "daylight", "brightness": 5})
    assert kernel.set == [(0x980900, 5), (0x9A0901, 1), (0x9A0902, 100), (0x98090C, 0), (0x98091A, 5500)]
    kernel.set.clear()
    controls.hold({"brightness": 5})
    assert kernel.set == [(0x9A0901, 3), (0x98090C, 1)]
    kernel.set.clear()
    for wrong in ({"brightness": 65}, {"gain": 2.0}, {"exposure": "night"}):
        with pytest.raises(UnsupportedControl):
            controls.hold({"focus_mode": "manual", **wrong})
    assert kernel.set == []


def test_a_webcam_tells_what_it_has_chosen_and_holds_it_as_often_as_it_is_told(kernel: FakeKernel) -> None:
    controls = WebcamControls(0)
    controls.hold({})
    chosen = controls.in_force()
    assert chosen == {"exposure_s": 0.025, "colour_temperature_k": 4600.0}
    for _ in range(2):  # between them the camera sets both as it likes
        kernel.set.clear()
        controls.hold({"exposure": "manual", "white_balance": "manual", **chosen})
        assert kernel.set == [(0x9A0901, 1), (0x9A0902, 250), (0x98090C, 0), (0x98091A, 4600)]
        controls.hold({})
    kernel.set.clear()
    controls.hold({"white_balance": "manual"})
    assert kernel.set == [(0x98090C, 0)], "it stays where it is"
    kernel.mute = True
    assert controls.in_force() == {}


def test_a_webcams_lens_is_held_where_it_was_however_often_it_moves_between(kernel: FakeKernel) -> None:
    kernel.ranges[0x9A090A] = (0, 250, 85)
    controls = WebcamControls(0)
    assert (controls.offered["focus_position"].min, controls.offered["focus_position"].max) == (0, 250)
    controls.hold({})
    held = locked_controls(controls.offered, controls.in_force())
    assert (held["focus_mode"], held["focus_position"]) == ("manual", 85.0)
    for asked in (held, {"focus_position": 85}, held):  # between them the lens moves as it likes
        kernel.set.clear()
        controls.hold(asked)
        assert kernel.set[-2:] == [(0x9A090C, 0), (0x9A090A, 85)]
        controls.hold({})
        assert (0x9A090C, 1) in kernel.set


def test_a_missing_or_unusable_device_is_told(camera_of: Any) -> None:
    assert "There is no /dev/video97: is the camera plugged in?" in fault_of(camera_of("/dev/video97"))
    assert "/dev/null" in fault_of(camera_of("/dev/null"))
    assert "video USER" in av_source.explain(PermissionError(13, "no"), "/dev/video0")
    assert "in use by another program" in av_source.explain(OSError(16, "busy"), "/dev/video0")
    assert all(path.startswith("/dev/video") for path in detect())


def test_programs_that_hold_a_file_are_named(tmp_path: Path) -> None:
    held = tmp_path / "video0"
    held.touch()
    assert v4l2.holders(str(held)) == []
    script = "import sys; held = open(sys.argv[1]); print(flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", script, str(held)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program:
        assert program.stdout is not None
        program.stdout.readline()
        assert [name.rpartition(" ")[2] for name in v4l2.holders(str(held))] == [f"({program.pid})"]
        program.communicate()


def test_a_camera_without_controls_refuses_them(camera_of: Any, tmp_path: Path) -> None:
    camera = camera_of(footage.write_folder(tmp_path, frames=2), StepClock())
    camera.open()
    camera.configure({})
    with pytest.raises(UnsupportedControl):
        camera.configure({"brightness": 1})
    with pytest.raises(UnsupportedControl):
        camera.capture(StillRequest(controls={"gain": 2}), 1e9)


# Opening and closing


def test_reopening_leaves_no_thread_and_no_descriptor(tmp_path: Path) -> None:
    film = footage.write_film(tmp_path / "pan.mp4", frames=4)
    with FaultyCamera() as device:
        cameras = [AvCamera(config(source), CLOCK) for source in (device.url, device.still_url, film)]

        def left_after_a_cycle() -> tuple[list[str], int]:
            for camera in cameras:
                camera.open()
                read(camera)
                camera.close()
                camera.close()
            gc.collect()
            # Connections that the server's own threads have not closed yet are not the camera's.
            files = [link for link in links("/proc/self/fd") if not link.startswith("socket:")]
            return [thread.name for thread in threading.enumerate() if "camera-test" in thread.name], len(files)

        _threads, before = left_after_a_cycle()
        for _ in range(10):
            assert left_after_a_cycle() == ([], before)
    assert not [link for link in links("/proc/self/fd") if link.startswith("socket:")]


def links(folder: str) -> list[str]:
    found = []
    for path in Path(folder).iterdir():
        with contextlib.suppress(OSError):  # that of the listing itself
            found.append(str(path.readlink()))
    return found


def test_a_closed_camera_says_so_and_close_may_come_at_any_time(camera_of: Any) -> None:
    camera = camera_of("/nowhere/film.mp4")
    camera.close()
    with pytest.raises(CameraUnavailable):
        camera.open()
    camera.close()
    with pytest.raises(CameraUnavailable):
        camera.read(soon())


def test_closing_a_silent_network_camera_is_bounded(
    camera_of: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(av_live, "STOP_S", 0.1)
    monkeypatch.setattr(av_live, "SILENCE_S", 1.0)
    with FaultyCamera() as device:
        camera = camera_of(device.url)
        camera.open()
        device.silent.set()
        with pytest.raises(CameraTimeout):
            while True:
                camera.read(CLOCK.monotonic() + 0.1)
        before = CLOCK.monotonic()
        camera.close()
        assert CLOCK.monotonic() - before < 1
        assert "does not let go" in caplog.text
        left = [thread for thread in threading.enumerate() if thread.name == "camera-test-feed"]
        for thread in left:
            thread.join(PATIENCE_S)
            assert not thread.is_alive(), "FFmpeg gives up by itself"
