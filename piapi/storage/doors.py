"""Doors' operations, and what outlives a restart of a door, as rows."""

from __future__ import annotations

import json
import sqlite3
from datetime import datetime

from piapi.models import DoorMemory, DoorOperation, Evidence
from piapi.storage.database import Along, Database, from_millis, to_millis


class DoorRows:
    """What was asked of doors, and what is known of them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @staticmethod
    def put(operation: DoorOperation) -> Along:
        """As it is now, for a transaction. One that is older than what is there changes nothing."""
        values = _values(operation)

        def change(connection: sqlite3.Connection) -> None:
            connection.execute(_PUT, values)

        return change

    @staticmethod
    def add_pictures(id: str) -> Along:
        """There is at least one picture of it."""
        return lambda connection: _run(connection, "UPDATE operations SET has_pictures = 1 WHERE id = ?", id)

    @staticmethod
    def lock(door: str, locked: bool, reason: str | None) -> Along:
        """Locked or not."""
        return lambda connection: _run(
            connection,
            "INSERT INTO doors (door, locked, lock_reason) VALUES (?, ?, ?)"
            " ON CONFLICT (door) DO UPDATE SET locked = excluded.locked, lock_reason = excluded.lock_reason",
            door,
            locked,
            reason,
        )

    @staticmethod
    def count_failed_closes(door: str, count: int) -> Along:
        """How many closes in a row have failed."""
        return lambda connection: _run(
            connection,
            "INSERT INTO doors (door, failed_closes) VALUES (?, ?)"
            " ON CONFLICT (door) DO UPDATE SET failed_closes = excluded.failed_closes",
            door,
            count,
        )

    def get(self, id: str) -> DoorOperation | None:
        """The operation with this id."""
        row = self._database.read_one("SELECT * FROM operations WHERE id = ?", (id,))
        return _operation(row) if row else None

    def remembered(self, door: str) -> DoorMemory:
        """Of one door. Raises StorageError."""
        row = self._database.read_one("SELECT * FROM doors WHERE door = ?", (door,))
        last = self._database.read_one("SELECT * FROM operations WHERE door = ? ORDER BY rowid DESC", (door,))
        operation = _operation(last) if last else None
        if row is None:
            return DoorMemory(operation)
        return DoorMemory(operation, bool(row["locked"]), row["lock_reason"], row["failed_closes"])

    def end_all_but_last(self, door: str, at: datetime) -> None:
        """Of operations whose end was lost in a crash, only the last is still of interest. Raises StorageError."""
        if self._database.read_one("SELECT 1 FROM operations WHERE door = ? AND ended_at IS NULL", (door,)):
            with self._database.write() as connection:
                connection.execute(
                    "UPDATE operations SET state = 'unknown', ended_at = ?, detail = 'piapi was interrupted.'"
                    " WHERE door = ? AND ended_at IS NULL"
                    " AND rowid < (SELECT max(rowid) FROM operations WHERE door = ?)",
                    (to_millis(at), door, door),
                )

    def forget_beyond(self, most: int) -> None:
        """Keep the newest, and what has not ended."""
        with self._database.write() as connection:
            connection.execute(
                "DELETE FROM operations WHERE ended_at IS NOT NULL"
                " AND rowid <= (SELECT max(rowid) FROM operations) - ?",
                (most,),
            )


_COLUMNS = (
    "id", "revision", "door", "target", "state", "requested_by", "requested_at", "warning_ends_at", "pressed_at",
    "ended_at", "presses", "evidence", "detail",
)  # fmt: skip
_PUT = (
    f"INSERT INTO operations ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"  # noqa: S608
    " ON CONFLICT (id) DO UPDATE SET revision = excluded.revision, state = excluded.state,"
    " warning_ends_at = excluded.warning_ends_at, pressed_at = excluded.pressed_at, ended_at = excluded.ended_at,"
    " presses = excluded.presses, evidence = excluded.evidence, detail = excluded.detail"
    " WHERE excluded.revision > operations.revision"
)


def _run(connection: sqlite3.Connection, sql: str, *values: object) -> None:
    connection.execute(sql, values)


def _values(operation: DoorOperation) -> tuple[object, ...]:
    evidence = [[to_millis(seen.at), seen.sensor, seen.active] for seen in operation.evidence]
    return (
        operation.id,
        operation.revision,
        operation.door,
        operation.target,
        operation.state,
        operation.requested_by,
        to_millis(operation.requested_at),
        _millis(operation.warning_ends_at),
        _millis(operation.pressed_at),
        _millis(operation.ended_at),
        operation.presses,
        json.dumps(evidence, separators=(",", ":")),
        operation.detail,
    )


def _operation(row: sqlite3.Row) -> DoorOperation:
    return DoorOperation(
        id=row["id"],
        revision=row["revision"],
        door=row["door"],
        target=row["target"],
        state=row["state"],
        requested_by=row["requested_by"],
        requested_at=from_millis(row["requested_at"]),
        warning_ends_at=_moment(row["warning_ends_at"]),
        pressed_at=_moment(row["pressed_at"]),
        ended_at=_moment(row["ended_at"]),
        presses=row["presses"],
        evidence=tuple(Evidence(from_millis(at), sensor, active) for at, sensor, active in json.loads(row["evidence"])),
        detail=row["detail"],
        has_pictures=bool(row["has_pictures"]),
    )


def _millis(moment: datetime | None) -> int | None:
    return None if moment is None else to_millis(moment)


def _moment(millis: int | None) -> datetime | None:
    return None if millis is None else from_millis(millis)
