"""A little space that piapi keeps for itself, so that photos can still be deleted on a disk that others have filled.

SQLite needs room to write down even a deletion. The file `reserve` is that room: given up when a transaction that frees
space finds none, and made again when there is some.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
from pathlib import Path

log = logging.getLogger(__name__)

RESERVE_BYTES = 1024 * 1024
"""A deletion with its entry in the journal writes at most a tenth of this."""


class Reserve:
    """The file."""

    def __init__(self, folder: Path, size: int = RESERVE_BYTES) -> None:
        self._path = folder / "reserve"
        self._size = size

    def keep(self) -> None:
        """Make it where it is not, unless space is so short that there is nothing to keep. Raises nothing."""
        try:
            if self._path.exists() or shutil.disk_usage(self._path.parent).free < 4 * self._size:
                return
            part = self._path.with_name("reserve.part")
            with part.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, self._size)
            part.rename(self._path)
        except OSError as error:
            log.debug("no space is kept in reserve: %s", error)
            with contextlib.suppress(OSError):
                self._path.with_name("reserve.part").unlink(missing_ok=True)

    def give_up(self) -> bool:
        """Free its space. False when there is none."""
        try:
            self._path.unlink()
        except OSError:
            return False
        log.warning("the disk is full to the last byte: the space kept in reserve is used")
        return True
