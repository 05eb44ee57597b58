"""Rows and files of the photo library against each other, by their names alone: quick for a hundred thousand."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from piapi.storage.database import Along, Database, to_millis
from piapi.storage.files import PART
from piapi.storage.photos import ENDINGS, name_of

PHOTO_NAME = re.compile(rf"[0-9a-f]{{16}}\.({'|'.join(ENDINGS.values())})")
_THUMBNAIL_NAME = re.compile(rf"([0-9a-f]{{16}})-\d+\.jpg(\..*\{PART})?")

#: Rows that are marked in one transaction.
_AT_ONCE = 1000


@dataclass(slots=True)
class Differences:
    """Where rows and files do not agree."""

    kept: int = 0
    """Rows that have their file, and are not marked."""
    gone: list[str] = field(default_factory=list)
    """Ids of photos whose file is not there, and that are not marked yet."""
    known_gone: list[str] = field(default_factory=list)
    """Ids of photos whose file is not there, and that are marked."""
    back: list[str] = field(default_factory=list)
    """Ids of photos that are marked, and whose file is there again."""
    strays: list[str] = field(default_factory=list)
    """Names of files without a row. Only what is named as a photo, in its place: other files are not ours."""
    thumbnails: list[Path] = field(default_factory=list)
    """Of no photo that there is, and half written ones."""

    @property
    def is_empty_disk(self) -> bool:
        """There should be photos, and not one file of them is there: as where a disk is not mounted."""
        return bool(self.gone) and not (self.kept or self.back or self.strays)


class Inventory:
    """The photo library of a data folder."""

    def __init__(self, database: Database, folder: Path) -> None:
        self._database = database
        self._folder = folder

    def compare(self) -> Differences:
        """Each folder's names against the rows that belong into it. No file is opened, and none asked for its size."""
        found = Differences()
        for number in range(256):
            self._compare_folder(f"{number:02x}", f"{number + 1:02x}" if number < 255 else "g", found)
        return found

    def _compare_folder(self, first: str, after: str, found: Differences) -> None:
        names = {name for name in _names_in(self._folder / "photos" / first) if PHOTO_NAME.fullmatch(name)}
        thumbnails = _names_in(self._folder / "thumbnails" / first)
        rows = self._database.read(
            "SELECT id, format, missing_since FROM photos WHERE id >= ? AND id < ?", (first, after)
        )
        ids = set()
        for id, format, missing_since in rows:
            ids.add(id)
            name = name_of(id, format)
            if name in names:
                names.discard(name)
                if missing_since is None:
                    found.kept += 1
                else:
                    found.back.append(id)
            else:
                (found.gone if missing_since is None else found.known_gone).append(id)
        found.strays += sorted(name for name in names if name.startswith(first))
        for name in thumbnails:
            match = _THUMBNAIL_NAME.fullmatch(name)
            if match and (match[1] not in ids or match[2]):
                found.thumbnails.append(self._folder / "thumbnails" / first / name)

    def mark(self, ids: Sequence[str], missing_since: datetime | None, *along: Along) -> None:
        """Write down that the files of these photos have been missing since then; None: that they are there.

        What is `along` is in the last transaction, if there is any.
        """
        millis = None if missing_since is None else to_millis(missing_since)
        for part in _parts(ids):
            with self._database.write() as connection:
                connection.executemany(
                    "UPDATE photos SET missing_since = ? WHERE id = ?", [(millis, id) for id in part]
                )
                if part[-1] == ids[-1]:
                    for more in along:
                        more(connection)


def _names_in(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208 — of a hundred thousand: a Path for each takes most of the time
    except (FileNotFoundError, NotADirectoryError):
        return []


def _parts(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    return (ids[at : at + _AT_ONCE] for at in range(0, len(ids), _AT_ONCE))
