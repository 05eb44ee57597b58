"""Files, written whole or not at all (rename(2), fsync(2)): a power cut leaves the old state or the new one."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from piapi.errors import DataFolderInUse, StorageError, StorageFull

#: Ending of a file that is being written. One that is left over was never acknowledged.
PART = ".part"

#: Ending of a mark beside it: the file of this name, which is in its place already, is not acknowledged yet.
PENDING = ".pending"

#: Bytes that are copied at once.
_PIECE = 2**20


def write_durably(path: Path, data: bytes, incoming: Path, unique: str = "") -> None:
    """Put `data` at `path`; when this returns it survives a power cut. `unique` tells files of the same name apart.

    Temporary file in `incoming` (a folder of the same file system, which a start empties), fsync, rename, fsync of the
    folder. Raises StorageFull (and leaves nothing) where the disk is full.
    """
    _write_durably(path, (data,), incoming / (unique + path.name + PART))


def copy_durably(path: Path, source: IO[bytes], incoming: Path, unique: str = "") -> str:
    """Like `write_durably`, of what `source` gives up to its end, piece by piece. Gives its SHA-256."""
    digest = hashlib.sha256()

    def pieces() -> Iterator[bytes]:
        while piece := source.read(_PIECE):
            digest.update(piece)
            yield piece

    _write_durably(path, pieces(), incoming / (unique + path.name + PART))
    return digest.hexdigest()


def _write_durably(path: Path, pieces: Iterable[bytes], part: Path) -> None:
    try:
        if not path.parent.is_dir():
            path.parent.mkdir(parents=True, exist_ok=True)
            sync_folder(path.parent.parent)
        with part.open("wb") as file:
            for piece in pieces:
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        part.rename(path)
        sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise in_words(error) from error


def hash_of(source: IO[bytes]) -> str:
    """The SHA-256 of what `source` gives up to its end."""
    digest = hashlib.sha256()
    while piece := source.read(_PIECE):
        digest.update(piece)
    return digest.hexdigest()


@contextlib.contextmanager
def pending(path: Path, incoming: Path) -> Iterator[None]:
    """While the block runs, a mark in `incoming` says that the file at `path` belongs to nobody yet.

    What is killed meanwhile leaves the mark, so that a start can tell this file from an acknowledged one whose row is
    lost. When the block raises, the file goes. Raises StorageFull.
    """
    mark = incoming / (path.name + PENDING)
    try:
        mark.touch()
    except OSError as error:
        raise in_words(error) from error
    try:
        yield
    except BaseException:
        path.unlink(missing_ok=True)
        mark.unlink(missing_ok=True)
        raise
    with contextlib.suppress(OSError):  # the photo is kept all the same, and the next start clears this away
        mark.unlink()


def hash_in(path: Path) -> str:
    """The SHA-256 of a file. Raises OSError."""
    with path.open("rb") as file:
        return hash_of(file)


def fault_of(path: Path, size_bytes: int | None, sha256: str | None, was: str = "written") -> str:
    """What is wrong with a file that `was` written or taken so; "" for nothing. `sha256`: None looks at no byte of it.

    Raises FileNotFoundError.
    """
    try:
        if (size := path.stat().st_size) != size_bytes:
            return f"its file has {size} bytes instead of {size_bytes}"
        if sha256 is not None and hash_in(path) != sha256:
            return f"its file is not what was {was}: another hash"
    except FileNotFoundError:
        raise
    except OSError as error:
        return f"its file cannot be read: {error.strerror}"
    return ""


def write_whole(path: Path, data: bytes) -> None:
    """Put `data` at `path` in one step, without a sync: for what can be made again."""
    part = path.with_name(f"{path.name}.{os.getpid()}.{id(data):x}{PART}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(data)
        part.rename(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise in_words(error) from error


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def require_space(folder: Path, wanted_bytes: int, floor_bytes: int) -> None:
    """Raise StorageFull unless `wanted_bytes` fit above the floor of free space."""
    free = shutil.disk_usage(folder).free
    if free - wanted_bytes < floor_bytes:
        raise StorageFull(
            f"{free / 1e6:.0f} MB are free and {floor_bytes / 1e6:.0f} MB of them are never used. "
            "Delete photos, lower [storage] floor_bytes, or use a larger disk."
        )


class FolderLock:
    """The right to use a data folder; one process (and its children) at a time, given back by the kernel at death."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "piapi.lock"
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Raises DataFolderInUse when another process has it."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StorageError(f"{self._path.parent} cannot be written: {error.strerror}.") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            raise DataFolderInUse(
                f"{self._path.parent} is in use by another piapi. Stop that one, or give this one a folder of its own "
                "(PIAPI_DATA)."
            ) from None
        self._descriptor = descriptor

    def release(self) -> None:
        """Give it back. May be called twice."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def in_words(error: OSError) -> StorageError:
    """What the operating system says of a file, as an error of ours."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageFull("The disk is full. Delete photos, or use a larger disk.")
    return StorageError(f"The data folder cannot be written: {error.strerror}.")
