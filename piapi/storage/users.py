"""Users, as rows."""

from __future__ import annotations

import sqlite3
from typing import Any

from piapi.models import User
from piapi.storage.database import Along, Database, from_millis, to_millis


class UserRows:
    """The people who may log in. A name is found however its letters are cased."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, user: User, hash: str, *along: Along) -> bool:
        """Keep a new user, and `along` with it. False when there is one of this name; then nothing is written."""
        values = (
            user.name,
            hash,
            " ".join(user.scopes),
            user.role,
            to_millis(user.created_at),
            to_millis(user.changed_at),
        )
        with self._database.write() as connection:
            added = connection.execute("INSERT INTO users VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING", values)
            if added.rowcount:
                _write(connection, along)
            return added.rowcount > 0

    def find(self, name: str) -> tuple[User, str] | None:
        """The user of this name, and the stored hash of the password."""
        row = self._database.read_one("SELECT * FROM users WHERE name = ?", (name,))
        return (_user(row), row["hash"]) if row else None

    def page(self, limit: int, before: tuple[int, str] | None = None) -> list[User]:
        """Newest first, after the key (created_at in ms, name) of the last one seen."""
        where, values = ("WHERE (created_at, name) < (?, ?)", before) if before else ("", ())
        rows = self._database.read(
            f"SELECT * FROM users {where} ORDER BY created_at DESC, name DESC LIMIT ?",  # noqa: S608 — no value in it
            (*values, limit),
        )
        return [_user(row) for row in rows]

    def set_access(self, name: str, scopes: tuple[str, ...], role: str | None) -> Along:
        """For a transaction: what the user may from now on."""
        return _statement("UPDATE users SET scopes = ?, role = ? WHERE name = ?", " ".join(scopes), role, name)

    def set_password(self, name: str, hash: str, changed_at_ms: int) -> Along:
        """For a transaction: another password, and whoever logged in with the old one is logged out."""
        change = _statement("UPDATE users SET hash = ?, changed_at = ? WHERE name = ?", hash, changed_at_ms, name)
        log_out = _statement("DELETE FROM sessions WHERE user = ?", name)
        return lambda connection: _write(connection, (change, log_out))

    def write(self, *changes: Along) -> None:
        """Changes to a user, all or none."""
        with self._database.write() as connection:
            _write(connection, changes)

    def remove(self, name: str, *along: Along) -> bool:
        """Whether there was one. The sessions go too, and `along` is written."""
        with self._database.write() as connection:
            connection.execute("DELETE FROM sessions WHERE user = ?", (name,))
            removed = connection.execute("DELETE FROM users WHERE name = ?", (name,)).rowcount > 0
            if removed:
                _write(connection, along)
            return removed


def _user(row: sqlite3.Row) -> User:
    return User(
        name=row["name"],
        scopes=tuple(row["scopes"].split()),
        role=row["role"],
        created_at=from_millis(row["created_at"]),
        changed_at=from_millis(row["changed_at"]),
    )


def _statement(sql: str, *values: Any) -> Along:
    def write(connection: sqlite3.Connection) -> None:
        connection.execute(sql, values)

    return write


def _write(connection: sqlite3.Connection, along: tuple[Along, ...]) -> None:
    for more in along:
        more(connection)
