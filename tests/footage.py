"""Footage for tests: a window that pans to and fro over two real photographs, and network cameras that show it.

`matches` tells how much a picture is like the footage, so that a test can say what a camera has seen.
"""

from __future__ import annotations

import contextlib
import io
import re
import socket
import subprocess
import tempfile
import warnings
from collections.abc import Iterator
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image

from tests.requirements import require

#: Pixels of the photographs: the window, and how far it moves from one frame to the next.
WINDOW = (480, 360)
STEP = 8
#: A frame of the footage is at least this like it; another picture is far below.
ALIKE = 0.97

_THUMBNAIL = (64, 48)
_PANORAMA_WIDTH = 1280
_STOPS = (_PANORAMA_WIDTH - WINDOW[0]) // STEP + 1


@cache
def _panorama() -> PIL.Image.Image:
    """Both photographs side by side."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of scikit-learn's own imports
        from sklearn.datasets import load_sample_images

        photographs = load_sample_images().images
    return PIL.Image.fromarray(np.hstack(photographs))


def picture(index: int, width: int = 320, height: int = 240) -> PIL.Image.Image:
    """Frame `index` of the pan, which turns round at either end."""
    stop = index % (2 * _STOPS - 2)
    left = min(stop, 2 * _STOPS - 2 - stop) * STEP
    window = _panorama().crop((left, 30, left + WINDOW[0], 30 + WINDOW[1]))
    return window.resize((width, height), reducing_gap=2.0)


def jpeg(index: int, width: int = 320, height: int = 240) -> bytes:
    """The same as a file."""
    file = io.BytesIO()
    picture(index, width, height).save(file, "JPEG", quality=85)
    return file.getvalue()


def write_folder(folder: Path, frames: int = 30, width: int = 320, height: int = 240) -> Path:
    """A folder of JPEGs, `0000.jpg` first."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(frames):
        (folder / f"{index:04d}.jpg").write_bytes(jpeg(index, width, height))
    return folder


def write_film(path: Path, frames: int = 30, *, codec: str = "libx264", fps: int = 30, **size: int) -> Path:
    """A film; its suffix says what kind of file."""
    import av

    pictures = [picture(index, **size) for index in range(frames)]
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=Fraction(fps))
        stream.width, stream.height = pictures[0].size
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.bit_rate = 4_000_000
        for shown in pictures:
            container.mux(stream.encode(av.VideoFrame.from_image(shown)))
        container.mux(stream.encode())
    return path


@cache
def _stops() -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.stack([_outline(picture(index)) for index in range(_STOPS)])


def _outline(shown: PIL.Image.Image) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Brightness of a thumbnail as a vector of length 1 around 0: neither exposure nor contrast counts."""
    grey = np.asarray(shown.convert("L").resize(_THUMBNAIL, PIL.Image.Resampling.BOX), dtype=np.float64).ravel()
    grey -= grey.mean()
    length = float(np.linalg.norm(grey))
    return grey / length if length else grey


def nearest(data: bytes) -> tuple[int, float]:
    """The stop of the pan that a picture file is most like, and how much: their correlation, 1 for the same."""
    with PIL.Image.open(io.BytesIO(data)) as shown:
        likeness = _stops() @ _outline(shown)
    return int(likeness.argmax()), float(likeness.max())


def matches(data: bytes) -> float:
    """How much a picture file is like the footage; see `ALIKE`."""
    return nearest(data)[1]


def free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def network_camera(fps: int = 15, frames: int = 60, width: int = 320, height: int = 240) -> Iterator[str]:
    """The address of a camera that is a program of its own: ffmpeg, serving the footage as MJPEG over HTTP, to one
    client at a time. After a client has gone it refuses connections for a moment, as it then begins to listen anew."""
    ffmpeg, port = require("ffmpeg"), free_port()
    with tempfile.TemporaryDirectory() as folder:
        write_folder(Path(folder), frames, width, height)
        url = f"http://127.0.0.1:{port}/"
        command = [ffmpeg, "-nostdin", "-loglevel", "error", "-re", "-stream_loop", "-1", "-framerate", str(fps)]
        command += ["-i", f"{folder}/%04d.jpg", "-map", "0:v", "-c", "copy"]
        # The fifo muxer opens the output again when a client has left, which ffmpeg by itself does not.
        command += ["-f", "fifo", "-fifo_format", "mpjpeg", "-format_opts", "listen=1", "-drop_pkts_on_overflow", "1"]
        command += ["-attempt_recovery", "1", "-recover_any_error", "1", "-recovery_wait_time", "0.01", url]
        program = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            _wait_until_listening(port, program)
            yield url
        finally:
            program.kill()
            program.wait()


def _wait_until_listening(port: int, program: subprocess.Popen[bytes]) -> None:
    """By the kernel's table: to connect would be to be the client."""
    listening = re.compile(rf"0100007F:{port:04X} 00000000:0000 0A ")
    for _attempt in range(600):
        if listening.search(Path("/proc/net/tcp").read_text()):
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            raise RuntimeError(f"ffmpeg ended with {program.wait(timeout=0.05)}")
    raise RuntimeError("ffmpeg does not listen")
