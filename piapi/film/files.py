"""A film as it is given out: parts that follow each other, each bytes or a span of a file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Span:
    """`length` bytes of a file from `offset` on. The file never changes; it may go when its time-lapse does."""

    path: Path
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class FilmFile:
    """An MP4, as it was at one moment. `etag` is another one for every other content."""

    parts: tuple[bytes | Span, ...]
    size_bytes: int
    etag: str
    frames: int
    duration_s: float
