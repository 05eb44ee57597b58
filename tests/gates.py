"""Renders that a test can hold: a frame that cannot be read before the test lets it, and the children that read."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path
from typing import Any

from tests.service import eventually


def is_filmed(document: dict[str, Any]) -> bool:
    """Whether the film of a time-lapse has all its frames: it reads none of them any more, and so waits at no gate."""
    video = document["video"]
    return bool(video["size_bytes"]) and video["frames"] == document["frames_captured"] > 0


class Gate:
    """A frame that is a pipe for now: whoever reads it waits."""

    def __init__(self, path: Path) -> None:
        self._path, self._data = path, path.read_bytes()
        self._whole = path.rename(path.with_suffix(".whole"))
        self._writer: int | None = None
        os.mkfifo(path)

    def wait(self) -> None:
        """Until somebody reads it."""
        eventually(self._is_reached)

    def open(self) -> None:
        """The frame is as it was, for who waits and for all after."""
        self._whole.rename(self._path)
        if self._writer is not None:
            with contextlib.suppress(BrokenPipeError):  # who waited is gone
                os.write(self._writer, self._data)
        self.close()

    def close(self) -> None:
        """Nothing is held open. May be called twice."""
        if self._writer is not None:
            os.close(self._writer)
            self._writer = None

    def _is_reached(self) -> bool:
        if self._writer is None:
            try:
                self._writer = os.open(self._path, os.O_WRONLY | os.O_NONBLOCK)
            except OSError as error:
                assert error.errno == errno.ENXIO  # nobody reads it
        return self._writer is not None


def renderers(pid: int | None = None) -> list[int]:
    """The children of a process, or of this one, that render."""
    found = []
    for task in Path(f"/proc/{pid or os.getpid()}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for child in (task / "children").read_text().split():
                if b"piapi.film.render" in Path(f"/proc/{child}/cmdline").read_bytes():
                    found.append(int(child))
    return found


def is_stopped(pid: int) -> bool:
    """Whether a process stands still (proc(5), the state of stat)."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
