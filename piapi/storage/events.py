"""The journal of events, as rows that are only ever added, and removed when they are old."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from piapi.models import Event
from piapi.storage.database import Database, from_millis, to_millis


class EventRows:
    """The journal on disk."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @staticmethod
    def add(
        connection: sqlite3.Connection, at: datetime, type: str, subject: str, actor: str, data: Mapping[str, Any]
    ) -> None:
        """One entry, in a transaction that is open."""
        connection.execute(
            "INSERT INTO events (at, type, subject, actor, data) VALUES (?, ?, ?, ?, ?)",
            (to_millis(at), type, subject, actor, json.dumps(data, separators=(",", ":"), ensure_ascii=False)),
        )

    def newest_type(self, *types: str) -> str | None:
        """Which of these was written last."""
        marks = ", ".join("?" * len(types))
        row = self._database.read_one(
            f"SELECT type FROM events WHERE type IN ({marks}) ORDER BY id DESC LIMIT 1",  # noqa: S608 — no value in it
            types,
        )
        return str(row["type"]) if row else None

    def after(self, id: int, limit: int) -> list[Event]:
        """Oldest first, from the entry behind this one on."""
        return [
            _event(row)
            for row in self._database.read("SELECT * FROM events WHERE id > ? ORDER BY id LIMIT ?", (id, limit))
        ]


def _event(row: sqlite3.Row) -> Event:
    return Event(
        id=row["id"],
        at=from_millis(row["at"]),
        type=row["type"],
        subject=row["subject"],
        actor=row["actor"],
        data=json.loads(row["data"]),
    )
