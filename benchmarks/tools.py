"""The two C programs of the benchmarks, the webcam that one of them makes, and Pythons with a peer's packages."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import Failed, Missing, program

_SOURCES = Path(__file__).parent
FPS = 30
_PEERS = _SOURCES.parent / "build" / "peers"


def build_shim(folder: Path) -> Path:
    """The library that is a webcam to whoever loads it. Raises Missing without a C compiler."""
    return _compile("v4l2_shim.c", folder / "v4l2_shim.so", "-shared", "-fPIC", "-ldl", "-lpthread")


def build_viewers(folder: Path) -> Path:
    """The program that reads many streams. Raises Missing without a C compiler."""
    return _compile("viewers.c", folder / "viewers")


def _compile(source: str, target: Path, *options: str) -> Path:
    if not target.exists():
        command = [program("cc", "gcc libc6-dev"), "-O2", "-o", str(target), str(_SOURCES / source), *options]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Failed(f"{source} does not compile: {done.stderr.strip().splitlines()[0]}")
    return target


def python_with(name: str, *packages: str) -> Path:
    """A Python with these packages and what they need, apart from ours; made once and kept in `build/peers`.

    Raises Missing when they cannot be had.
    """
    folder = _PEERS / f"{name}-{sys.version_info.major}.{sys.version_info.minor}"
    python, made = folder / "bin" / "python", folder / "packages.txt"
    wanted = "\n".join(packages)
    if not (made.exists() and made.read_text() == wanted):
        shutil.rmtree(folder, ignore_errors=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages]
        for command in ([sys.executable, "-m", "venv", str(folder)], install):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                reason = (done.stderr.strip().splitlines() or ["failed"])[-1]
                raise Missing(f"pip install {' '.join(packages)} ({reason})")
        made.write_text(wanted)
    return python


@dataclass(frozen=True, slots=True)
class Webcam:
    """A webcam that shows footage. `environment` makes it exist for a program; `path` is where."""

    path: Path
    width: int
    height: int
    footage: Path
    environment: Mapping[str, str]


@contextlib.contextmanager
def webcam(shim: Path, footage: Path, width: int, height: int) -> Iterator[Webcam]:
    """A device below /dev, as piapi takes no other path for one, that shows the JPEGs of a folder."""
    if not os.access("/dev/shm", os.W_OK):
        raise Missing("a writable /dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="piapi-bench-", dir="/dev/shm"))
    try:
        path = folder / "video0"
        os.mkfifo(path)
        environment = {
            "LD_PRELOAD": str(shim),
            "SHIM_DEVICE": str(path),
            "SHIM_FRAMES": str(footage),
            "SHIM_FPS": str(FPS),
        }
        yield Webcam(path, width, height, footage, environment)
    finally:
        shutil.rmtree(folder)
