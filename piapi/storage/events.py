"""The journal of events, as rows that are only ever added, and removed from the oldest on.

A page costs the same wherever it is and whatever it leaves out: it is read in the order of ids, from an index for each
subject where not all of them are wanted, and SQLite merges these as it goes.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

from piapi.models import Event, EventFilter
from piapi.storage.database import Database, from_millis, to_millis

_EVERYTHING = EventFilter()

#: One step from each subject to the next one, in place of a look at every entry.
_SUBJECTS = """
WITH RECURSIVE known (subject) AS (
    SELECT min(subject) FROM events
    UNION ALL
    SELECT (SELECT min(subject) FROM events WHERE subject > known.subject) FROM known WHERE known.subject IS NOT NULL
)
SELECT subject FROM known WHERE subject IS NOT NULL
"""


class EventRows:
    """The journal on disk. There is no hole in it: ids that are gone are below all that are there."""

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
        row = self._database.read_one(  # +id: else SQLite goes back from the newest entry, all the way if there is none
            f"SELECT type FROM events WHERE type IN ({marks}) ORDER BY +id DESC LIMIT 1",  # noqa: S608 — no value in it
            types,
        )
        return str(row["type"]) if row else None

    def page(
        self,
        chosen: EventFilter = _EVERYTHING,
        limit: int = 50,
        before: int | None = None,
        subjects: Collection[str] | None = None,
    ) -> list[Event]:
        """Newest first, before the entry with this id; of these subjects alone, unless None."""
        where: list[tuple[str, int]] = [] if before is None else [("id < ?", before)]
        if chosen.since is not None:  # or all older ones were looked at for a page that is not full
            if (first := self.first_since(chosen.since)) is None:
                return []
            where.append(("id >= ?", first))
        return self._select(chosen, subjects, where, "DESC", limit)

    def after(
        self,
        id: int,
        limit: int,
        chosen: EventFilter = _EVERYTHING,
        subjects: Collection[str] | None = None,
    ) -> list[Event]:
        """Oldest first, from the entry behind this one on; of these subjects alone, unless None."""
        return self._select(chosen, subjects, [("id > ?", id)], "ASC", limit)

    def subjects(self) -> list[str]:
        """Those that any entry is about: as many as there are things in the configuration."""
        return [row[0] for row in self._database.read(_SUBJECTS)]

    def bounds(self) -> tuple[int, int]:
        """The ids of the oldest entry that is there, and of the newest that ever was; (n + 1, n) when none is there."""
        row = self._database.read_one(
            "SELECT (SELECT min(id) FROM events), (SELECT seq FROM sqlite_sequence WHERE name = 'events')"
        )
        oldest, newest = (row[0], row[1] or 0) if row else (None, 0)
        return newest + 1 if oldest is None else oldest, newest

    def first_since(self, moment: datetime) -> int | None:
        """The least id of those written at or after `moment`; None when there is none."""
        # Without the hint SQLite walks all ids from the oldest on. The labels do not rise with the ids: clocks jump.
        row = self._database.read_one(
            "SELECT min(id) FROM events INDEXED BY events_by_time WHERE at >= ?", (to_millis(moment),)
        )
        return row[0] if row else None

    def mark(self, at: datetime) -> None:
        """Note that the newest entry of now was there at `at`."""
        with self._database.write() as connection:
            connection.execute(
                "INSERT INTO journal_marks (at, last_id) SELECT ?, seq FROM sqlite_sequence WHERE name = 'events'"
                " ON CONFLICT (at) DO NOTHING",
                (to_millis(at),),
            )

    def last_mark(self, before: datetime) -> tuple[datetime, int] | None:
        """The latest mark, and the newest entry of then; but for marks that are still to come."""
        sql = "SELECT at, last_id FROM journal_marks WHERE at <= ? ORDER BY at DESC LIMIT 1"
        row = self._database.read_one(sql, (to_millis(before),))
        return (from_millis(row["at"]), row["last_id"]) if row else None

    def marked_before(self, moment: datetime) -> int:
        """The newest entry that is known to have been there at `moment`; 0 when none is."""
        row = self._database.read_one("SELECT max(last_id) FROM journal_marks WHERE at <= ?", (to_millis(moment),))
        return (row[0] or 0) if row else 0

    def remove_through(self, id: int, limit: int) -> int:
        """Remove up to `limit` of the oldest entries, none newer than this one. Returns how many were removed."""

        def delete(connection: sqlite3.Connection) -> int:
            removed = connection.execute(
                "DELETE FROM events WHERE id IN (SELECT id FROM events WHERE id <= ? ORDER BY id LIMIT ?)", (id, limit)
            ).rowcount
            connection.execute("DELETE FROM journal_marks WHERE last_id < (SELECT min(id) FROM events)")
            return removed

        return self._database.write_to_free(delete)

    def _select(
        self,
        chosen: EventFilter,
        subjects: Collection[str] | None,
        where: list[tuple[str, Any]],
        order: str,
        limit: int,
    ) -> list[Event]:
        if chosen.since is not None:
            where.append(("at >= ?", to_millis(chosen.since)))
        if chosen.type is not None:
            where.append(("type = ?", chosen.type))
            subjects = self.subjects() if subjects is None else subjects
        each = [where] if subjects is None else [[*where, ("subject = ?", subject)] for subject in sorted(subjects)]
        if not each:
            return []
        terms = [" AND ".join(condition for condition, _ in term) for term in each]
        sql = " UNION ALL ".join(f"SELECT * FROM events WHERE {term or 'true'}" for term in terms)  # noqa: S608 — no value
        values = [value for term in each for _, value in term]
        rows = self._database.read(f"{sql} ORDER BY id {order} LIMIT ?", (*values, limit))
        return [_event(row) for row in rows]


def _event(row: sqlite3.Row) -> Event:
    return Event(
        id=row["id"],
        at=from_millis(row["at"]),
        type=row["type"],
        subject=row["subject"],
        actor=row["actor"],
        data=json.loads(row["data"]),
    )
