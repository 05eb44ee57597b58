"""The keys of requests on disk: which have come, what each made, and what was answered."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from piapi.errors import StorageError
from piapi.storage.database import Along, Database


@dataclass(frozen=True, slots=True)
class RequestName:
    """What a key belongs to: for another caller, method or path it is another key."""

    caller: str
    method: str
    path: str
    key: bytes
    """SHA-256 of the client's key."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """A moment, in milliseconds by both clocks: the wall's, which jumps, and the one that runs within a boot."""

    wall_ms: int
    boot_id: str
    boot_ms: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered: enough to answer it again."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class KeyRow:
    """A key that has come."""

    seq: int
    digest: bytes
    """Of the query and body that it came with."""
    claimed: Stamp
    location: str | None = None
    """What its request made; written in the transaction that made it."""
    answer: Answer | None = None


class KeyRows:
    """All keys that have come of late."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, name: RequestName) -> KeyRow | None:
        """The key of such a request."""
        row = self._database.read_one(
            "SELECT * FROM idempotency WHERE caller = ? AND method = ? AND path = ? AND key = ?", _values(name)
        )
        return _key(row) if row else None

    def count(self, caller: str) -> int:
        """How many keys of this caller there are, in an index."""
        row = self._database.read_one("SELECT count(*) FROM idempotency WHERE caller = ?", (caller,))
        return int(row[0]) if row else 0

    def put(self, name: RequestName, digest: bytes, stamp: Stamp) -> KeyRow:
        """A request has come: durable when this returns. A key of this name from before is no more."""
        with self._database.write() as connection:
            cursor = connection.execute(
                "INSERT OR REPLACE INTO idempotency (caller, method, path, key, digest, created_at, boot_id, boot_ms)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (*_values(name), digest, stamp.wall_ms, stamp.boot_id, stamp.boot_ms),
            )
        return KeyRow(cursor.lastrowid or 0, digest, stamp)

    @staticmethod
    def tie(seq: int, location: str) -> Along:
        """For the transaction in which the request makes something: from then on the key leads to it.

        Raises StorageError when the key has gone, so that what could not be known again is not made.
        """

        def set_location(connection: sqlite3.Connection) -> None:
            found = connection.execute("UPDATE idempotency SET location = ? WHERE seq = ?", (location, seq))
            if not found.rowcount:
                raise StorageError("The key of a request has gone while the request ran.")

        return set_location

    def keep(self, seq: int, answer: Answer) -> None:
        """It has been answered."""
        with self._database.write() as connection:
            connection.execute(
                "UPDATE idempotency SET status = ?, headers = ?, body = ? WHERE seq = ?",
                (answer.status, json.dumps(dict(answer.headers)), answer.body, seq),
            )

    def free(self, seq: int) -> None:
        """Its request has made nothing: the key is as new. One that has made something stays."""
        with self._database.write() as connection:
            connection.execute("DELETE FROM idempotency WHERE seq = ? AND location IS NULL AND status IS NULL", (seq,))

    def adopt(self, now: Stamp) -> None:
        """Count the age of those from an earlier boot, and from a time that is yet to come, from now on."""
        with self._database.write() as connection:
            connection.execute(
                "UPDATE idempotency SET boot_id = ?, boot_ms = ? WHERE boot_id <> ? AND created_at > ?",
                (now.boot_id, now.boot_ms, now.boot_id, now.wall_ms),
            )

    def older_than(self, age_ms: int, now: Stamp, limit: int) -> list[int]:
        """The numbers of some keys of this age."""
        rows = self._database.read(
            "SELECT seq FROM idempotency WHERE (boot_id = ? AND boot_ms <= ?) OR (boot_id <> ? AND created_at <= ?)"
            " LIMIT ?",
            (now.boot_id, now.boot_ms - age_ms, now.boot_id, now.wall_ms - age_ms, limit),
        )
        return [row[0] for row in rows]

    def remove(self, seqs: Sequence[int]) -> None:
        """Forget these."""
        with self._database.write() as connection:
            connection.executemany("DELETE FROM idempotency WHERE seq = ?", [(seq,) for seq in seqs])


def _values(name: RequestName) -> tuple[str, str, str, bytes]:
    return name.caller, name.method, name.path, name.key


def _key(row: sqlite3.Row) -> KeyRow:
    answer = None
    if row["status"] is not None:
        answer = Answer(row["status"], json.loads(row["headers"]), row["body"])
    claimed = Stamp(row["created_at"], row["boot_id"], row["boot_ms"])
    return KeyRow(row["seq"], row["digest"], claimed, row["location"], answer)
