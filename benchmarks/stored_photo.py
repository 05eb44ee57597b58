"""A photo put into the library, beside the bare calls that durability takes."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.lab import Lab
from benchmarks.load import at, median
from benchmarks.table import Row, compared
from piapi.models import Photo
from piapi.storage.database import Database
from piapi.storage.photos import PhotoLibrary

SIZE = 250_000
Store = Callable[[str, bytes], None]


def measure(lab: Lab) -> list[Row]:
    """In turns, each first in every other round. The folders are made beforehand: a library has them all after its
    first few hundred photos."""
    data, count = os.urandom(SIZE), 30 if lab.quick else 300
    with _library(lab.new_folder("library")) as ours, _bare_calls(lab.new_folder("bare")) as bare:
        taken: dict[Store, list[float]] = {ours: [], bare: []}
        for number in range(count):
            id = os.urandom(8).hex()
            for store in (ours, bare) if number % 2 else (bare, ours):
                began = time.perf_counter()
                store(id, data)
                taken[store].append((time.perf_counter() - began) * 1000)
    mine, its = taken[ours], taken[bare]
    return [
        compared(
            f"a photo of {SIZE // 1000} KB stored, durably: p50",
            f"{median(mine):.2f} ms (p90 {at(mine, 0.9):.1f})",
            f"{median(its):.2f} ms (p90 {at(its, 0.9):.1f}) the bare calls",
            median(mine) / median(its),
            "≤ 1.3",
        )
    ]


@contextlib.contextmanager
def _library(folder: Path):  # type: ignore[no-untyped-def]
    database = Database(folder / "piapi.db")
    database.open()
    library = PhotoLibrary(database, folder)
    library.prepare()
    _make_folders(folder / "photos")
    yield lambda id, data: library.add(_photo(id, data), data)
    database.close()


@contextlib.contextmanager
def _bare_calls(folder: Path):  # type: ignore[no-untyped-def]
    """The same steps with nothing around them: temporary file, fsync, rename, fsync of the folder, and one insert into
    the same table under WAL and synchronous FULL."""
    schema = Database(folder / "piapi.db")
    schema.open()
    schema.close()
    _make_folders(folder / "photos")
    connection = sqlite3.connect(folder / "piapi.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")

    def store(id: str, data: bytes) -> None:
        target = f"{folder}/photos/{id[:2]}/{id}.jpg"
        file = os.open(f"{target}.part", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.write(file, data)
        os.fsync(file)
        os.close(file)
        os.rename(f"{target}.part", target)  # noqa: PTH104 - the bare call
        names = os.open(f"{folder}/photos/{id[:2]}", os.O_RDONLY)
        os.fsync(names)
        os.close(names)
        connection.execute(
            "INSERT INTO photos (id, camera, captured_at, width, height, size_bytes, format, sha256, label, pinned,"
            " metadata, emulated) VALUES (?, 'bench', ?, 1920, 1080, ?, 'jpeg', ?, NULL, 0, '{}', 0)",
            (id, time.time_ns() // 1_000_000, len(data), id * 4),
        )

    yield store
    connection.close()


def _make_folders(folder: Path) -> None:
    for number in range(256):
        (folder / f"{number:02x}").mkdir(parents=True)


def _photo(id: str, data: bytes) -> Photo:
    return Photo(
        seq=0,
        id=id,
        camera="bench",
        captured_at=datetime.now(UTC),
        width=1920,
        height=1080,
        size_bytes=len(data),
        format="jpeg",
        sha256=id * 4,
        label=None,
        pinned=False,
        metadata={},
        emulated=False,
    )
