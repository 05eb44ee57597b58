"""The journal: what changed, when, and by whom.

An entry is best written in the transaction of the change that it tells of (`entry`): then neither is there without
the other, and it costs no sync of its own.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Any

from piapi.clock import Clock
from piapi.models import NOBODY
from piapi.storage.database import Along, Database
from piapi.storage.events import EventRows


class Events:
    """The journal of this machine."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._rows = EventRows(database)

    def entry(self, type: str, subject: str, data: Mapping[str, Any] | None = None, *, actor: str = NOBODY) -> Along:
        """An entry for the transaction of the change: `database.write()`'s connection is given to what this returns."""
        at = self._clock.now()

        def add(connection: sqlite3.Connection) -> None:
            self._rows.add(connection, at, type, subject, actor, data or {})

        return add

    def newest_type(self, *types: str) -> str | None:
        """Which of these was written last, in this run or one before; None when none is kept."""
        return self._rows.newest_type(*types)

    def record(self, type: str, subject: str, data: Mapping[str, Any] | None = None, *, actor: str = NOBODY) -> None:
        """Write an entry of its own, synced when this returns. Raises StorageError."""
        add = self.entry(type, subject, data, actor=actor)
        with self._database.write() as connection:
            add(connection)
