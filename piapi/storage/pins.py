"""What pins were left at: as rows for those that are to keep it, and as far as the journal knows for all."""

from __future__ import annotations

import json
import sqlite3
from datetime import datetime

from piapi.storage.database import Along, Database, from_millis

_LAST = """
SELECT at, data FROM events WHERE id = (SELECT max(id) FROM (
    SELECT max(id) AS id FROM events WHERE type = 'command.accepted' AND subject = ?1
    UNION ALL SELECT max(id) AS id FROM events WHERE type = 'pin.changed' AND subject = ?1))
"""


class PinRows:
    """The last value of each pin that keeps it across restarts, and the boot in which that was."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @staticmethod
    def put(pin: str, is_on: bool, boot_id: str) -> Along:
        """For the transaction of the command."""

        def change(connection: sqlite3.Connection) -> None:
            connection.execute(
                "INSERT INTO pin_values (pin, is_on, boot_id) VALUES (?, ?, ?)"
                " ON CONFLICT (pin) DO UPDATE SET is_on = excluded.is_on, boot_id = excluded.boot_id",
                (pin, is_on, boot_id),
            )

        return change

    def was_on(self, pin: str, boot_id: str) -> bool:
        """Whether it was on within this boot: after power has come back nothing goes on by itself."""
        row = self._database.read_one("SELECT is_on FROM pin_values WHERE pin = ? AND boot_id = ?", (pin, boot_id))
        return bool(row and row["is_on"])

    def last_change(self, pin: str) -> tuple[datetime, bool] | None:
        """When it was last switched, or was about to be, and whether that was off; None where nothing is known."""
        row = self._database.read_one(_LAST, (f"pin:{pin}",))
        return (from_millis(row["at"]), not json.loads(row["data"]).get("value", True)) if row else None
