"""What all benchmarks share in one run: a folder, the tools, the footage, and how long to take."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from pathlib import Path

from benchmarks import frames, tools
from benchmarks.tools import Webcam


class Lab:
    """One run of the benchmarks."""

    def __init__(self, folder: Path, *, quick: bool) -> None:
        self.folder = folder
        self.quick = quick
        self._numbers = itertools.count(1)

    def new_folder(self, name: str) -> Path:
        """An empty folder of this run."""
        folder = self.folder / f"{next(self._numbers):03d}-{name}"
        folder.mkdir()
        return folder

    def take(self, normal: float, quick: float) -> float:
        """Seconds to spend on something."""
        return quick if self.quick else normal

    def rounds(self, normal: int) -> int:
        """Times to do something; once in a quick run."""
        return 1 if self.quick else normal

    def viewers_program(self) -> Path:
        """See viewers.c."""
        return tools.build_viewers(self.folder)

    def footage(self, width: int, height: int) -> Path:
        """A folder of JPEGs of this size, made once."""
        folder = self.folder / f"footage-{width}x{height}"
        if not folder.exists():
            frames.write_footage(folder, width, height)
        return folder

    @contextlib.contextmanager
    def webcam(self, width: int = 640, height: int = 480) -> Iterator[Webcam]:
        """A webcam of this size."""
        with tools.webcam(tools.build_shim(self.folder), self.footage(width, height), width, height) as camera:
            yield camera
