"""Pairings, as rows."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from piapi.errors import NotFound
from piapi.models import Pairing
from piapi.storage.database import Along, Database, from_millis, to_millis


@dataclass(frozen=True, slots=True)
class BootTime:
    """A moment by the clock that never jumps, which counts within one boot."""

    boot_id: str
    ms: int


class PairingRows:
    """The codes that are open. A code is never here, only its SHA-256."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(
        self, pairing: Pairing, digest: bytes, now: BootTime, ends: BootTime, most: int, *along: Along
    ) -> int | None:
        """Keep a new one, and `along` with it. Where `most` are open already nothing is written, and it gives the
        milliseconds until the first of those ends."""
        values = (
            pairing.id,
            digest,
            pairing.name,
            " ".join(pairing.scopes),
            pairing.role,
            pairing.token_expires_in_s,
            to_millis(pairing.created_at),
            to_millis(pairing.expires_at),
            pairing.created_by,
            ends.boot_id,
            ends.ms,
        )
        with self._database.write() as connection:
            _remove_ended(connection, now)
            count, first = connection.execute("SELECT count(*), min(ends_at_boot_ms) FROM pairings").fetchone()
            if count >= most:
                return int(first) - now.ms
            connection.execute("INSERT INTO pairings VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", values)
            for more in along:
                more(connection)
        return None

    def find(self, digest: bytes, now: BootTime) -> Pairing | None:
        """The open one whose code has this hash."""
        return self._one("hash", digest, now)

    def get(self, id: str, now: BootTime) -> Pairing | None:
        """The open one with this id."""
        return self._one("id", id, now)

    def page(self, now: BootTime, limit: int, before: tuple[int, str] | None = None) -> list[Pairing]:
        """Those that are open, newest first, after the key (created_at in ms, id) of the last one seen."""
        where, values = ("AND (created_at, id) < (?, ?)", before) if before else ("", ())
        rows = self._database.read(
            f"SELECT * FROM pairings WHERE {_OPEN} {where}"  # noqa: S608 — no value in it
            " ORDER BY created_at DESC, id DESC LIMIT ?",
            (now.boot_id, now.ms, *values, limit),
        )
        return [_pairing(row) for row in rows]

    @staticmethod
    def use(id: str) -> Along:
        """For the transaction that makes its token: raises NotFound when somebody else has been first."""

        def remove(connection: sqlite3.Connection) -> None:
            if not connection.execute("DELETE FROM pairings WHERE id = ?", (id,)).rowcount:
                raise NotFound("Somebody else has used this code just now.")

        return remove

    def remove(self, id: str, *along: Along) -> bool:
        """Whether there was one."""
        with self._database.write() as connection:
            removed = connection.execute("DELETE FROM pairings WHERE id = ?", (id,)).rowcount > 0
            if removed:
                for more in along:
                    more(connection)
            return removed

    def remove_ended(self, now: BootTime) -> None:
        """Those whose time is over. Writes nothing where there are none."""
        if self._database.read_one(f"SELECT 1 FROM pairings WHERE {_ENDED}", (now.boot_id, now.ms)):  # noqa: S608
            with self._database.write() as connection:
                _remove_ended(connection, now)

    def _one(self, column: str, value: object, now: BootTime) -> Pairing | None:
        row = self._database.read_one(
            f"SELECT * FROM pairings WHERE {column} = ? AND {_OPEN}",  # noqa: S608 — as above
            (value, now.boot_id, now.ms),
        )
        return _pairing(row) if row else None


_OPEN = "boot_id = ? AND ends_at_boot_ms > ?"
_ENDED = "boot_id <> ? OR ends_at_boot_ms <= ?"


def _remove_ended(connection: sqlite3.Connection, now: BootTime) -> None:
    connection.execute(f"DELETE FROM pairings WHERE {_ENDED}", (now.boot_id, now.ms))  # noqa: S608 — no value in it


def _pairing(row: sqlite3.Row) -> Pairing:
    return Pairing(
        id=row["id"],
        name=row["name"],
        scopes=tuple(row["scopes"].split()),
        role=row["role"],
        token_expires_in_s=row["token_expires_in_s"],
        created_at=from_millis(row["created_at"]),
        expires_at=from_millis(row["expires_at"]),
        created_by=row["created_by"],
    )
