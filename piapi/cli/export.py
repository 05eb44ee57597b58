"""piapi timelapse export: frames and film with their SHA-256, into a folder or a tar."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import io
import json
import os
import sys
import tarfile
from array import array
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import IO, Any, Protocol, cast

import click

from piapi.cli.local import LocalService, Refused, local_service, path_of
from piapi.storage.files import sync_folder

MANIFEST = "SHA256SUMS"
ABOUT = "timelapse.json"

_PIECE = 256 * 1024
_AGAIN = "Ask for the same export again: into a folder, it goes on where it ended."


@click.command()
@click.argument("id")
@click.argument("target", type=click.Path(path_type=Path, allow_dash=True))
def export(id: str, target: Path) -> None:
    """Write frames and film of a time-lapse to TARGET, with a manifest for `sha256sum -c`.

    TARGET is a folder, or a tar when it ends in .tar; - is a tar on standard output. An export into a folder that was
    cut off goes on when it is asked for again. What somebody else has put there is never overwritten.
    """
    with local_service() as service:
        about = service.ask("GET", path_of(id))
        with _written(target, about) as place:
            _fill(place, service, about)
    click.echo(f"All of it is in {target}; {MANIFEST} says whether it is whole.", err=True)


class Place(Protocol):
    """Where an export goes."""

    def has(self, name: str, size: int | None) -> str | None:
        """The SHA-256 of what is there already by this name, as far as that may be; None where nothing is."""

    def put(self, name: str, size: int, moment: datetime, source: Source) -> None:
        """Write a file of `size` bytes."""


def _fill(place: Place, service: LocalService, about: dict[str, Any]) -> None:
    manifest = io.StringIO()

    def keep(name: str, path: str, size: int | None = None) -> None:
        digest = place.has(name, size)
        if digest is None:
            with service.answer("GET", path) as response:
                length = int(response.headers["Content-Length"])
                source = Hashing(response, length)
                moment = response.headers["X-Captured-At"] or about["ended_at"] or about["created_at"]
                place.put(name, length, datetime.fromisoformat(moment), source)
            digest = source.digest()
        manifest.write(f"{digest}  {name}\n")

    data = json.dumps(about, indent=2, ensure_ascii=False).encode() + b"\n"
    place.put(ABOUT, len(data), datetime.fromisoformat(about["created_at"]), io.BytesIO(data))
    manifest.write(f"{hashlib.sha256(data).hexdigest()}  {ABOUT}\n")
    indices, sizes = _ledger(service, about)
    with click.progressbar(length=len(indices) + 1, show_pos=True, file=sys.stderr) as bar:
        for index, size in zip(reversed(indices), reversed(sizes), strict=True):
            with contextlib.suppress(Gone), _as_gone():
                keep(f"frames/{index:09d}.jpg", f"{about['links']['frames']}/{index}/file", size)
            bar.update(1)
        if about["frames_captured"]:
            keep("film.mp4", about["links"]["video"])
        bar.update(1)
    sums = manifest.getvalue().encode()
    place.put(MANIFEST, len(sums), datetime.fromisoformat(about["created_at"]), io.BytesIO(sums))


def _ledger(service: LocalService, about: dict[str, Any]) -> tuple[array[int], array[int]]:
    """Ticks whose frames are kept, and their sizes, newest first: 16 bytes for each, however many there are."""
    indices, sizes = array("Q"), array("Q")
    for row in service.items(about["links"]["frames"]):
        if "file" in row["links"]:
            indices.append(row["index"])
            sizes.append(row["size_bytes"])
    return indices, sizes


class Gone(Exception):
    """A frame went between the ledger and now: the film has it."""


@contextlib.contextmanager
def _as_gone() -> Iterator[None]:
    try:
        yield
    except Refused as error:
        if error.status == 404:
            raise Gone from error
        raise


class Source(Protocol):
    """What is read."""

    def read(self, size: int = -1, /) -> bytes:
        """So many bytes, or what is left."""


class Hashing:
    """An answer of so many bytes as it is read, with its SHA-256."""

    def __init__(self, response: Source, length: int) -> None:
        self._response = response
        self._left = length
        self._hash = hashlib.sha256()

    def read(self, size: int = -1, /) -> bytes:
        """As of any file; one that ends too early ends the command."""
        wanted = self._left if size < 0 else min(size, self._left)
        try:
            data = self._response.read(wanted) if wanted else b""
        except (OSError, http.client.HTTPException) as error:
            raise click.ClickException(f"piapi was cut off: {error}. {_AGAIN}") from error
        if wanted and not data:
            raise click.ClickException(f"piapi was cut off. {_AGAIN}")
        self._left -= len(data)
        self._hash.update(data)
        return data

    def digest(self) -> str:
        """Of what was read."""
        return self._hash.hexdigest()


class Folder:
    """A folder, which a manifest makes complete."""

    def __init__(self, path: Path, id: str) -> None:
        self._path = path
        if (path / MANIFEST).exists():
            raise click.ClickException(f"{path} has all of an export already; `sha256sum -c {MANIFEST}` checks it.")
        if path.exists() and any(entry.suffix != ".part" for entry in path.iterdir()) and _id_in(path) != id:
            raise click.ClickException(f"{path} is not empty, and holds no export of this time-lapse.")

    def has(self, name: str, size: int | None) -> str | None:
        """What an earlier try has left, whole. A film may have grown since, and is fetched anew."""
        path = self._path / name
        if not path.exists() or name == "film.mp4":
            return None
        if size is not None and path.stat().st_size != size:
            raise click.ClickException(f"{path} is there with another content; move it away.")
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def put(self, name: str, size: int, moment: datetime, source: Source) -> None:
        """Whole or not at all."""
        path = self._path / name
        part = path.with_name(f"{path.name}.part")
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            while piece := source.read(_PIECE):
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        os.utime(part, (moment.timestamp(), moment.timestamp()))
        part.replace(path)


class Tar:
    """A tar stream (POSIX.1-2017, pax), everything in one folder."""

    def __init__(self, file: IO[bytes], folder: str) -> None:
        self._folder = folder
        self._tar = tarfile.open(fileobj=file, mode="w|", format=tarfile.PAX_FORMAT)  # noqa: SIM115 — see `close`

    def has(self, name: str, size: int | None) -> str | None:
        """Nothing: it is new."""
        return None

    def put(self, name: str, size: int, moment: datetime, source: Source) -> None:
        """Add a file."""
        info = tarfile.TarInfo(f"{self._folder}/{name}")
        info.size, info.mtime = size, int(moment.timestamp())
        self._tar.addfile(info, cast("IO[bytes]", source))  # of which it only reads

    def close(self) -> None:
        """Write the end."""
        self._tar.close()


@contextlib.contextmanager
def _written(target: Path, about: dict[str, Any]) -> Iterator[Place]:
    """Where it goes; an error of the disk ends the command with its sentence."""
    folder = f"{about['camera']}-{about['id']}"
    try:
        if str(target) == "-":
            if sys.stdout.isatty():
                raise click.UsageError("this is a terminal; name a folder or a .tar, or send the output elsewhere")
            with contextlib.closing(Tar(sys.stdout.buffer, folder)) as tar:
                yield tar
        elif target.suffix == ".tar":
            yield from _in_file(target, lambda file: Tar(file, folder))
        else:
            yield Folder(target, about["id"])
            for made in (target / "frames", target):
                if made.exists():
                    sync_folder(made)
    except OSError as error:
        raise click.ClickException(f"{target} cannot be written: {error.strerror or error}.") from error


def _in_file(target: Path, tar_of: Callable[[IO[bytes]], Tar]) -> Iterator[Tar]:
    """A file that is there when it is whole, and never in the place of one that is there."""
    if target.exists():
        raise click.ClickException(f"{target} is there already.")
    part = target.with_name(f"{target.name}.part")
    try:
        with part.open("wb") as file:
            tar = tar_of(file)
            yield tar
            tar.close()
            file.flush()
            os.fsync(file.fileno())
        part.rename(target)
        sync_folder(target.absolute().parent)
    finally:
        part.unlink(missing_ok=True)


def _id_in(folder: Path) -> str | None:
    try:
        found: str | None = json.loads((folder / ABOUT).read_text(encoding="utf-8")).get("id")
    except (OSError, ValueError):
        return None
    return found
