"""The journal: what changed, when, and by whom.

An entry is best written in the transaction of the change that it tells of (`entry`): then neither is there without
the other, and it costs no sync of its own. What comes often is summed (`count`), so that nobody wears out the card.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from piapi.clock import Clock, format_time
from piapi.errors import StorageError
from piapi.models import NOBODY, Caller, Event, EventFilter
from piapi.storage.database import Along, Database
from piapi.storage.events import EventRows

log = logging.getLogger(__name__)

SUM_EVERY_S = 60.0
"""Seconds that `count` sums before it writes."""

MOST_SUMS = 16
"""Sums of one type at once; whoever comes beyond is summed with all the others (`OTHERS`)."""

OTHERS = "address:others"
"""The actor of what was done from more addresses than are told apart."""


@dataclass(frozen=True, slots=True)
class _Sum:
    count: int
    first_at: datetime
    last_at: datetime


class Events:
    """The journal of this machine."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self.rows = EventRows(database)
        self._database = database
        self._clock = clock
        self._sums: dict[tuple[str, str, str], _Sum] = {}
        self._summing = threading.Lock()

    def entry(self, type: str, subject: str, data: Mapping[str, Any] | None = None, *, actor: str = NOBODY) -> Along:
        """An entry for the transaction of the change: `database.write()`'s connection is given to what this returns."""
        at = self._clock.now()

        def add(connection: sqlite3.Connection) -> None:
            self.rows.add(connection, at, type, subject, actor, data or {})

        return add

    def newest_type(self, *types: str) -> str | None:
        """Which of these was written last, in this run or one before; None when none is kept."""
        return self.rows.newest_type(*types)

    def record(self, type: str, subject: str, data: Mapping[str, Any] | None = None, *, actor: str = NOBODY) -> None:
        """Write an entry of its own, synced when this returns. Raises StorageError."""
        add = self.entry(type, subject, data, actor=actor)
        with self._database.write() as connection:
            add(connection)

    def note(self, type: str, subject: str, data: Mapping[str, Any] | None = None, *, actor: str = NOBODY) -> bool:
        """As `record`, for what has happened whether it can be written down or not: False when it cannot."""
        try:
            self.record(type, subject, data, actor=actor)
        except StorageError as error:
            log.warning("%s of %s is not in the journal: %s", type, subject, error)
            return False
        return True

    def count(self, type: str, subject: str, *, actor: str) -> None:
        """One more of what may come often: an entry a minute and actor, with the first and last time and the count.

        Costs no write now, and bounded memory whoever the actors are.
        """
        now = self._clock.now()
        with self._summing:
            key = (type, subject, actor)
            if key not in self._sums and sum(known[0] == type for known in self._sums) >= MOST_SUMS:
                key = (type, subject, OTHERS)
            known = self._sums.get(key, _Sum(0, now, now))
            self._sums[key] = replace(known, count=known.count + 1, last_at=now)

    def write_counts(self) -> None:
        """Write the sums, all in one transaction. Called once a minute, and at the end. Raises StorageError."""
        with self._summing:
            sums, self._sums = self._sums, {}
        if not sums:
            return
        try:
            with self._database.write() as connection:
                for (type, subject, actor), found in sums.items():
                    self.entry(type, subject, _document(found), actor=actor)(connection)
        except BaseException:
            with self._summing:
                for key, later in self._sums.items():
                    sums[key] = _joined(sums[key], later) if key in sums else later
                self._sums = sums
            raise

    def page(self, caller: Caller, chosen: EventFilter, limit: int, before: int | None = None) -> list[Event]:
        """Newest first, before the entry with this id; only what the caller may view."""
        return self.rows.page(chosen, limit, before, self.visible(caller, chosen))

    def visible(self, caller: Caller, chosen: EventFilter) -> list[str] | None:
        """Of what the caller asks about, the subjects that they may view; None: every one there is or will be."""
        if chosen.subject is None and may_view(caller, "*:*"):
            return None
        known = self.rows.subjects() if chosen.subject is None else [chosen.subject]
        return [subject for subject in known if may_view(caller, subject)]


def may_view(caller: Caller, subject: str) -> bool:
    """Whether a caller may see what is about this subject."""
    return caller.may(f"{subject}:view")


def _joined(earlier: _Sum, later: _Sum) -> _Sum:
    return _Sum(earlier.count + later.count, earlier.first_at, later.last_at)


def _document(found: _Sum) -> dict[str, Any]:
    return {
        "count": found.count,
        "first_at": format_time(found.first_at),
        "last_at": format_time(found.last_at),
    }
