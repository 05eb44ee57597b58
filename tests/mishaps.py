"""Where a process may die: before or after any step that makes something durable, or within a transaction."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Literal, TypeVar

import pytest

from piapi.film.writer import FilmWriter
from piapi.storage.timelapses import TimelapseStore

Result = TypeVar("Result")

Step = Literal["sync", "rename", "save", "film"]


class Crash(BaseException):
    """The process dies here."""


@dataclass(frozen=True)
class Instant:
    """Next to a step, of a file whose name is like `name`."""

    step: Step
    name: str = "*"
    when: Literal["before", "within", "after"] = "before"
    loses: Literal["nothing", "bytes", "name"] = "nothing"
    """What a power cut takes: the end of a file that is not synced, or a name in a folder that is not."""

    def __str__(self) -> str:
        of = "" if self.name == "*" else f" {self.name}"
        return f"{self.when} {self.step}{of}" + (f", loses {self.loses}" if self.loses != "nothing" else "")


FRAME, SEGMENT, INDEX = "*.jpg*", "*.segment*", "index*"

INSTANTS = (
    Instant("sync", FRAME),
    Instant("sync", FRAME, loses="bytes"),
    Instant("rename", FRAME),
    Instant("rename", FRAME, "after"),
    Instant("rename", FRAME, "after", loses="name"),
    Instant("save"),
    Instant("save", when="within"),
    Instant("save", when="after"),
    Instant("film"),
    Instant("film", when="after"),
    Instant("sync", SEGMENT),
    Instant("sync", SEGMENT, loses="bytes"),
    Instant("rename", SEGMENT),
    Instant("rename", SEGMENT, "after"),
    Instant("rename", SEGMENT, "after", loses="name"),
    Instant("rename", INDEX),
    Instant("rename", INDEX, "after"),
)
"""Each kind, from a frame's bytes to the index of its film."""


class Fuse:
    """Stands beside each step, and lets the process die at an instant."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, chance: random.Random) -> None:
        self._chance = chance
        self._instant: Instant | None = None
        sync, rename, save, film = os.fsync, Path.rename, TimelapseStore.save, FilmWriter.append

        def fsync(descriptor: int) -> None:
            path = Path(f"/proc/self/fd/{descriptor}").readlink()
            self._around("sync", path, path, lambda: sync(descriptor))

        def rename_to(path: Path, target: Path) -> Path:
            return self._around("rename", path, target, lambda: rename(path, target))

        def save_all(store: TimelapseStore, job: Any, frame: Any = None, misses: Any = (), along: Any = ()) -> None:
            within = [*along, lambda _connection: self._die("save", "within", Path())]
            self._around("save", Path(), Path(), lambda: save(store, job, frame, misses, within))

        def append(*args: Any) -> bool:
            return self._around("film", Path(), Path(), lambda: film(*args))

        monkeypatch.setattr(os, "fsync", fsync)
        monkeypatch.setattr(Path, "rename", rename_to)
        monkeypatch.setattr(TimelapseStore, "save", save_all)
        monkeypatch.setattr(FilmWriter, "append", append)

    @contextmanager
    def dies(self, instant: Instant) -> Iterator[None]:
        """Within the block it does, once."""
        self._instant = instant
        with pytest.raises(Crash):
            yield
        assert self._instant is None, f"a crash that nobody asked for, not {instant}"

    def _around(self, step: Step, source: Path, target: Path, does: Callable[[], Result]) -> Result:
        self._die(step, "before", source)
        result = does()
        self._die(step, "after", target, source)
        return result

    def _die(self, step: Step, when: str, path: Path, source: Path | None = None) -> None:
        instant = self._instant
        if instant is None or (instant.step, instant.when) != (step, when) or not fnmatch(path.name, instant.name):
            return
        self._instant = None
        if instant.loses == "bytes":
            os.truncate(path, self._chance.randrange(path.stat().st_size))
        elif instant.loses == "name" and source is not None:
            os.rename(path, source)  # noqa: PTH104 — not one of the steps
        raise Crash(str(instant))
