"""Pulses of pins, as rows: intended before the edge, ended after it."""

from __future__ import annotations

import sqlite3
from datetime import datetime

from piapi.models import Actuation
from piapi.storage.database import Along, Database, from_millis, to_millis


class ActuationRows:
    """What pulses were asked for, and what became of them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, actuation: Actuation, *along: Along) -> None:
        """An intent, synced when this returns, and `along` with it."""
        with self._database.write() as connection:
            connection.execute(
                "INSERT INTO actuations (id, pin, state, duration_ms, requested_by, requested_at)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (
                    actuation.id,
                    actuation.pin,
                    actuation.state,
                    round(actuation.duration_s * 1000),
                    actuation.requested_by,
                    to_millis(actuation.requested_at),
                ),
            )
            for more in along:
                more(connection)

    @staticmethod
    def end(actuation: Actuation) -> Along:
        """How it ended, for a transaction."""

        def change(connection: sqlite3.Connection) -> None:
            connection.execute(
                "UPDATE actuations SET state = ?, started_at = ?, ended_at = ?, on_us = ? WHERE id = ?",
                (
                    actuation.state,
                    _millis(actuation.started_at),
                    _millis(actuation.ended_at),
                    None if actuation.on_s is None else round(actuation.on_s * 1_000_000),
                    actuation.id,
                ),
            )

        return change

    def get(self, id: str) -> Actuation | None:
        """The one with this id."""
        row = self._database.read_one("SELECT * FROM actuations WHERE id = ?", (id,))
        return _actuation(row) if row else None

    def cut_off(self) -> list[Actuation]:
        """Those that were intended and have no end: piapi died in between. From now on their outcome is unknown."""
        rows = self._database.read("SELECT * FROM actuations WHERE state = 'intended'")
        if rows:
            with self._database.write() as connection:
                connection.execute("UPDATE actuations SET state = 'unknown' WHERE state = 'intended'")
        return [_actuation(row) for row in rows]

    def forget_beyond(self, most: int) -> None:
        """Keep the newest, and what has not ended."""
        with self._database.write() as connection:
            connection.execute(
                "DELETE FROM actuations WHERE state <> 'intended' AND rowid <= (SELECT max(rowid) FROM actuations) - ?",
                (most,),
            )


def _actuation(row: sqlite3.Row) -> Actuation:
    return Actuation(
        id=row["id"],
        pin=row["pin"],
        state=row["state"],
        duration_s=row["duration_ms"] / 1000,
        requested_by=row["requested_by"],
        requested_at=from_millis(row["requested_at"]),
        started_at=None if row["started_at"] is None else from_millis(row["started_at"]),
        ended_at=None if row["ended_at"] is None else from_millis(row["ended_at"]),
        on_s=None if row["on_us"] is None else row["on_us"] / 1_000_000,
    )


def _millis(moment: datetime | None) -> int | None:
    return None if moment is None else to_millis(moment)
