"""What clients were told while piapi worked, and whether it is still so after a power cut.

The same questions are put to piapi on this machine and in a guest: whoever can `call` it is asked.
"""

from __future__ import annotations

import hashlib
import json
import operator
import subprocess
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from tests.service import Answer

ENDED = {"succeeded", "failed", "timed_out", "superseded", "cancelled", "unknown", "done", "interrupted"}
"""States of operations and actuations in which nothing moves any more."""


class Api(Protocol):
    """Somebody who speaks with piapi as the client that was told."""

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """Status, headers (names in lower case), body."""


@dataclass(frozen=True)
class Told:
    """Something that was said, and how long the disk's log was when it had been: so much of it is beyond doubt."""

    at: int


@dataclass(frozen=True)
class Photo(Told):
    """201."""

    id: str
    sha256: str


@dataclass(frozen=True)
class Removing(Told):
    """Its removal is asked for: from now on a photo may be there or not."""

    id: str


@dataclass(frozen=True)
class Removed(Told):
    """204."""

    id: str


@dataclass(frozen=True)
class Frames(Told):
    """A time-lapse has captured so many."""

    lapse: str
    count: int


@dataclass(frozen=True)
class Entry(Told):
    """The newest entry of the journal."""

    id: int


@dataclass(frozen=True)
class Command(Told):
    """It was taken. With a key, the same request says the same for ever."""

    method: str
    path: str
    body: dict[str, Any]
    key: str | None
    status: int
    location: str | None
    """Of what it made."""

    @property
    def made(self) -> str:
        return (self.location or "").rpartition("/")[2]

    @property
    def pin(self) -> str | None:
        """That it switched on, as the journal names it. Off is no intent that has to be known before."""
        return f"pin:{self.path.split('/')[1]}" if self.body.get("value") else None

    @property
    def moves(self) -> bool:
        """Whether it made an operation of a door, or an actuation of a pin."""
        return "/operations/" in (self.location or "") or "/actuations/" in (self.location or "")


@dataclass(frozen=True)
class Period:
    """All that was told, and what stood behind it in the end. Frames and entries never change."""

    told: Sequence[Told]
    frames: Mapping[str, Sequence[str]]
    """By the path of their time-lapse: the SHA-256 of each that was captured, in their order."""
    journal: Sequence[Mapping[str, Any]]
    """Oldest first."""

    def by(self, position: int) -> Period:
        """What was told by then."""
        return replace(self, told=[told for told in self.told if told.at <= position])

    def newest(self, count: int) -> Period:
        """With so many commands alone; the rest whole."""
        left = self.of(Command)[-count:]
        return replace(self, told=[told for told in self.told if not isinstance(told, Command) or told in left])

    def of(self, kind: type[Told]) -> list[Any]:
        return [told for told in self.told if isinstance(told, kind)]

    def counts(self) -> Counter[str]:
        return Counter(type(told).__name__ for told in self.told)


def get(api: Api, path: str) -> bytes:
    status, _, said = api.call("GET", path)
    assert status == 200, f"{path}: {status} {said[:500]!r}"
    return said


def all_of(api: Api, path: str) -> list[dict[str, Any]]:
    """A collection to its end, oldest first."""
    items: list[dict[str, Any]] = []
    following = path + ("&" if "?" in path else "?") + "limit=200"
    while following:
        page = json.loads(get(api, following))
        items += page["items"]
        following = page["links"].get("next")
    return items[::-1]


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def frames_of(api: Api, lapse: str) -> list[str]:
    """The SHA-256 of each captured frame. Its ledger has a row for every tick, once."""
    rows = all_of(api, f"{lapse}/frames")
    assert [row["index"] for row in rows] == list(range(len(rows))), "the ledger has gaps, or rows that stand twice"
    return [sha256(get(api, row["links"]["file"])) for row in rows if row["status"] == "captured"]


def frames_captured(api: Api, lapse: str) -> int:
    """By its own account."""
    return int(json.loads(get(api, lapse))["frames_captured"])


def frames_in(film: bytes) -> int:
    """As ffprobe counts them."""
    shown = ("-select_streams", "v", "-count_packets", "-show_entries", "stream=nb_read_packets", "-of", "csv=p=0")
    with tempfile.NamedTemporaryFile(suffix=".mp4") as file:
        file.write(film)
        file.flush()
        done = subprocess.run(("ffprobe", "-v", "error", *shown, file.name), capture_output=True, text=True, check=True)
    return int(done.stdout)


def assert_kept(api: Api, period: Period, *, with_films: bool = True) -> None:
    """All that was told is so. What a film lacks has to be encoded, which takes a while."""
    assert_photos_kept(api, period)
    for lapse, frames in period.frames.items():
        if counted := max((told.count for told in period.of(Frames) if told.lapse == lapse), default=0):
            kept = frames_of(api, lapse)
            same = sum(map(operator.eq, kept, frames[:counted]))
            assert same == counted, f"{lapse}: of {counted} frames that were told of, {same} are as they were"
            if with_films:
                assert frames_in(get(api, f"{lapse}/video.mp4")) >= len(kept)
    assert_journal_kept(api, period)
    for command in period.of(Command):
        assert_not_repeated(api, command)


def assert_photos_kept(api: Api, period: Period) -> None:
    """All that nobody wanted removed are as they were, and what was removed stays away."""
    removing = {told.id for told in period.of(Removing)}
    for photo in period.of(Photo):
        if photo.id not in removing:
            assert sha256(get(api, f"photos/{photo.id}/file")) == photo.sha256, photo
    for removed in period.of(Removed):
        for path in ("", "/file"):
            assert api.call("GET", f"photos/{removed.id}{path}")[0] == 404, removed


def assert_journal_kept(api: Api, period: Period) -> None:
    """Entries that were seen are there, and so is each command, once; no door was pressed twice for one of them."""
    since = period.journal[0]
    entries = {entry["id"]: entry for entry in all_of(api, f"events?since={since['at']}")}
    newest = max((told.id for told in period.of(Entry)), default=0)
    for entry in period.journal:
        if entry["id"] <= newest:
            assert entries.get(entry["id"]) == entry, entry
    commands = [entry for entry in entries.values() if entry["type"] == "command.accepted"]
    accepted = Counter(_made_by(entry) for entry in commands)
    switched = Counter(entry["subject"] for entry in commands if "value" in entry["data"])
    pressed = Counter(entry["data"]["operation"] for entry in entries.values() if entry["type"] == "door.pressed")
    for command in period.of(Command):
        if command.moves:
            assert accepted[command.made] == 1, command
            assert pressed[command.made] <= 1, command
    lost = Counter(command.pin for command in period.of(Command) if command.pin) - switched
    assert not lost, lost


def _made_by(entry: dict[str, Any]) -> str | None:
    data = entry["data"]
    return data.get("operation") or data.get("actuation")


def assert_not_repeated(api: Api, command: Command) -> None:
    """It has ended, and who asks again gets the answer of then."""
    if command.moves:
        now = json.loads(get(api, command.location or ""))
        assert now["state"] in ENDED, now
    if command.key:
        status, headers, said = api.call(command.method, command.path, command.body, **{"Idempotency-Key": command.key})
        assert (status, headers.get("location")) == (command.status, command.location), said
        assert headers.get("idempotency-replayed") == "true", command
