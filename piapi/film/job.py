"""What a render child is told on its standard input, and how its frames are listed: in a file, one a line, so that
neither a command line nor anybody's memory grows with them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, slots=True)
class RenderJob:
    """One film to be made."""

    frames: str
    """Path of the list: a `frame_line` for each frame, in order."""
    output: str
    """Path of the film. While it is made it is this with `.part` after it."""
    fps: float = 30.0
    width: int = 0
    """Pixels; 0: as the first frame."""
    codec: Literal["h264", "hevc"] = "h264"
    preset: str = "veryfast"
    """Of x264 and x265."""
    threads: int = 0
    """Of the encoder; 0: one less than there are cores, and one at least."""
    every_nth: int = 1
    """Frames of the list of which one is taken, the first being one."""
    deflicker: bool = False
    timestamp: bool = False
    zone: str | None = None
    """IANA name, for the timestamps; None: the system's."""
    parent: int | None = None
    """Process that the child ends with."""

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self))


@dataclass(frozen=True, slots=True)
class Listed:
    """A frame as the list has it."""

    path: str
    captured_at: datetime
    luminance: float | None


def frame_line(path: Path, captured_at: datetime, luminance: float | None) -> str:
    """The line of a frame. `path` as the child can open it, without a tab or a line break in it."""
    return f"{captured_at.timestamp():.3f}\t{'' if luminance is None else format(luminance, '.5f')}\t{path}\n"


def listed(path: Path, every_nth: int = 1) -> Iterator[Listed]:
    """The frames of a list that are taken. Raises ValueError for a line that is none."""
    with path.open(encoding="utf-8", errors="surrogateescape") as lines:
        for number, line in enumerate(lines):
            if number % every_nth:
                continue
            moment, luminance, name = line.rstrip("\n").split("\t")
            yield Listed(name, datetime.fromtimestamp(float(moment), UTC), float(luminance) if luminance else None)
