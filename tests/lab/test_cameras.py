"""A V4L2 webcam (vivid) through PyAV, and libcamera's vimc through picamera2."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.lab.conftest import Pi, eventually


def size_by_ffprobe(picture: bytes, path: Path) -> str:
    path.write_bytes(picture)
    shown = ("-show_entries", "stream=codec_name,width,height", "-of", "csv=p=0")
    done = subprocess.run(("ffprobe", "-v", "error", *shown, path), capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.smoke
@pytest.mark.parametrize("camera", ["webcam", "front"])
def test_a_photo_is_taken_and_kept(pi: Pi, camera: str, tmp_path: Path) -> None:
    eventually(lambda: pi.get(f"cameras/{camera}")["state"] == "ready", f"{camera} is ready")
    assert pi.get(f"cameras/{camera}")["emulated"] is False
    photo = pi.ask("POST", f"cameras/{camera}/photos", {}, expected=201)
    status, _, picture = pi.call("GET", photo["links"]["file"])
    assert status == 200
    assert size_by_ffprobe(picture, tmp_path / "photo.jpg") == "mjpeg,640,480"
