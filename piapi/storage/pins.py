"""What pins were left at, as rows: for those that are to keep it."""

from __future__ import annotations

import sqlite3

from piapi.storage.database import Along, Database


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
