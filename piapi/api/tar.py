"""Many files as one tar stream (POSIX.1-2017, pax, ustar interchange format), made while it is sent."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from flask import Response

from piapi.errors import StorageError
from piapi.server.bodies import FileSpan, Part, StreamBody, StreamEnded

MEDIA_TYPE = "application/x-tar"

_BLOCK = 512
_END = bytes(2 * _BLOCK)


@dataclass(frozen=True, slots=True)
class Member:
    """A file on its way into an archive."""

    name: str
    modified_at: datetime
    path: Path


class TarStream:
    """What the server's poller asks (`piapi.server.bodies.Stream`). The members are opened one at a time."""

    skips = False
    ends = True

    def __init__(self, members: Iterator[Member], allowed: Callable[[], bool], on_close: Callable[[], None]) -> None:
        self._members = members
        self._on_close = on_close
        self._ended = False
        self.allowed = allowed

    def attach(self, wake: Callable[[], None]) -> None:
        """Nothing wakes it: it goes as fast as its reader."""

    def next(self, now: float) -> Part | None:
        """The next file with its header. One that has gone meanwhile is left out."""
        if self._ended:
            raise StreamEnded
        for member in self._members:
            try:
                file = member.path.open("rb")
            except FileNotFoundError:
                continue
            except OSError as error:
                raise StorageError(f"A file cannot be read: {error.strerror}.") from error
            size = os.fstat(file.fileno()).st_size
            return (_header(member, size), FileSpan(file, 0, size), bytes(-size % _BLOCK))
        self._ended = True
        return (_END,)

    def close(self) -> None:
        """Let go."""
        self._on_close()


def tar_response(
    name: str, members: Iterator[Member], allowed: Callable[[], bool], on_close: Callable[[], None]
) -> Response:
    """The answer to who wants all of it. No thread is held while it lasts."""
    response = Response(StreamBody(TarStream(members, allowed, on_close)), direct_passthrough=True)
    response.content_type = MEDIA_TYPE
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


def _header(member: Member, size: int) -> bytes:
    import tarfile

    info = tarfile.TarInfo(member.name)
    info.size = size
    info.mtime = max(0, int(member.modified_at.timestamp()))
    return info.tobuf(tarfile.PAX_FORMAT)
