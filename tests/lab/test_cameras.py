"""A V4L2 webcam (vivid) through PyAV, and libcamera's vimc through picamera2."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.conftest import Pi, eventually
from tests.lab.lapses import lapse, wait_until_ready
from tests.lab.streams import viewer
from tests.lab.tracing import traced

DRIVER = "/sys/bus/platform/drivers/vivid"
PORCH = 17


def size_by_ffprobe(picture: bytes, path: Path) -> str:
    path.write_bytes(picture)
    shown = ("-show_entries", "stream=codec_name,width,height", "-of", "csv=p=0")
    done = subprocess.run(("ffprobe", "-v", "error", *shown, path), capture_output=True, text=True, check=True)
    return done.stdout.strip()


def pixels(pi: Pi, link: str) -> str:
    """A digest of what a picture shows, whatever it says of itself."""
    status, _, picture = pi.call("GET", link)
    assert status == 200
    decode = ("ffmpeg", "-v", "error", "-i", "-", "-f", "md5", "-")
    return subprocess.run(decode, input=picture, capture_output=True, check=True).stdout.decode()


@contextlib.contextmanager
def pulled_out(pi: Pi) -> Iterator[None]:
    """The webcam's driver lets go of the device, also while it is read, as when a plug is pulled."""
    pi.guest.run(f"echo vivid.0 >{DRIVER}/unbind")
    try:
        yield
    finally:
        pi.guest.run(f"echo vivid.0 >{DRIVER}/bind; udevadm settle")


@pytest.mark.smoke
@pytest.mark.parametrize(("camera", "size"), [("webcam", "320,180"), ("front", "320,240")])
def test_a_photo_is_taken_and_kept(pi: Pi, camera: str, size: str, tmp_path: Path) -> None:
    eventually(lambda: pi.get(f"cameras/{camera}")["state"] == "ready", f"{camera} is ready")
    assert pi.get(f"cameras/{camera}")["emulated"] is False
    eventually(lambda: pi.call("POST", f"cameras/{camera}/photos", {})[0] == 201, "a photo is taken")
    photo = pi.get(f"photos?camera={camera}&limit=1")["items"][0]
    status, _, picture = pi.call("GET", photo["links"]["file"])
    assert status == 200
    assert size_by_ffprobe(picture, tmp_path / "photo.jpg") == f"mjpeg,{size}"


def test_a_webcam_that_is_pulled_out_is_unavailable_and_comes_back_by_itself(pi: Pi) -> None:
    with viewer(pi, "webcam") as looking, lapse(pi, "webcam", interval_s=4, count=500) as running:
        looking.wait_for_frames(2)
        running.wait_for_frames(1)
        with pulled_out(pi):
            looking.wait_for_end()
            camera = eventually(lambda: unavailable(pi, "webcam"), "the webcam is unavailable")
            assert "/dev/video0" in camera["detail"]
            status, _, said = pi.call("POST", "cameras/webcam/photos", {})
            assert status == 503, said
            for value in (True, False):
                pi.ask("PUT", "pins/porch/value", {"value": value})
                assert pi.level(PORCH) is value
            eventually(lambda: running.ledger()[-1]["cause"] == "camera", "a tick is missed for want of the camera")
        wait_until_ready(pi, "webcam")
        running.wait_for_frames(2)
        ledger = running.ledger()
        shown = [pixels(pi, row["links"]["file"]) for row in ledger if row["status"] == "captured"]
        assert len(set(shown)) == len(shown), "a picture was taken twice"
        eventually(lambda: pi.call("POST", "cameras/webcam/photos", {})[0] == 201, "it takes photos again")
    causes = [row["cause"] for row in ledger]
    print(f"{causes.count('camera')} of {len(ledger)} ticks missed for want of the camera")  # noqa: T201


def unavailable(pi: Pi, camera: str) -> Any:
    found = pi.get(f"cameras/{camera}")
    return found if found["state"] == "unavailable" else None


@pytest.mark.parametrize("camera", ["webcam", "front"])
def test_a_stream_goes_on_beside_photos_and_a_time_lapse(pi: Pi, camera: str) -> None:
    with viewer(pi, camera) as looking, lapse(pi, camera, interval_s=5, count=500) as running:
        photos = []
        for _ in range(3):
            photos.append(pi.ask("POST", f"cameras/{camera}/photos", {}, expected=201))
            looking.wait_for_frames(2)
        running.wait_for_frames(2)
        ledger = running.ledger()
    captured = [row for row in ledger if row["status"] == "captured"]
    if camera == "webcam":  # what vimc shows stands still
        assert len({pixels(pi, photo["links"]["file"]) for photo in photos}) == len(photos)
    print(f"{looking.frames} frames streamed beside {len(captured)} of {len(ledger)} ticks and 3 photos")  # noqa: T201
    assert looking.torn == 0


def test_relays_are_let_go_before_the_cameras_have_stopped(pi: Pi) -> None:
    """To stop a camera that films takes the kernel seconds, and on a Pi the relay is on as long as it is held."""
    pi.ask("PUT", "pins/lamp/value", {"value": True})
    with viewer(pi, "webcam") as looking:
        looking.wait_for_frames(2)
        worker = pi.worker()
        with traced(pi.guest, {"linereq_release": "", "v4l2_release": ""}) as trace:
            pi.guest.run(f"kill -KILL {worker}")
            eventually(lambda: pi.worker() not in (worker, 0), "another worker is there")
            made = trace.calls()
    last = next(call.task for call in made if call.name == "linereq_release")  # it closes all that the process had
    released = [call.name for call in made if call.task == last]
    outputs = 4  # porch, lamp, fan and the door's relay
    assert "v4l2_release" in released
    assert released[:outputs] == ["linereq_release"] * outputs
    eventually(pi.answers, "piapi answers again")
