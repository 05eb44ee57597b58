"""Tokens, as rows."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from datetime import datetime

from piapi.models import Caller, Token
from piapi.storage.database import Along, Database, from_millis, to_millis


class TokenRows:
    """The tokens that were handed out. A secret is never here, only its SHA-256."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, token: Token, digest: bytes, *along: Along) -> None:
        """Keep a new token, and `along` with it."""
        values = (
            token.id,
            token.name,
            digest,
            " ".join(token.scopes),
            token.role,
            to_millis(token.created_at),
            token.expires_at and to_millis(token.expires_at),
        )
        with self._database.write() as connection:
            connection.execute(
                "INSERT INTO tokens (id, name, hash, scopes, role, created_at, expires_at)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                values,
            )
            for more in along:
                more(connection)

    def find(self, digest: bytes) -> tuple[Caller, int | None, bytes] | None:
        """Who has the token with this hash, until when (in ms since 1970), and the hash as it is stored."""
        row = self._database.read_one("SELECT id, name, scopes, expires_at, hash FROM tokens WHERE hash = ?", (digest,))
        return (Caller(row[0], row[1], tuple(row[2].split())), row[3], row[4]) if row else None

    def get(self, id: str) -> Token | None:
        """The token with this id."""
        row = self._database.read_one("SELECT * FROM tokens WHERE id = ?", (id,))
        return _token(row) if row else None

    def page(self, limit: int, before: tuple[int, str] | None = None) -> list[Token]:
        """Newest first, after the key (created_at in ms, id) of the last one seen."""
        where, values = ("WHERE (created_at, id) < (?, ?)", before) if before else ("", ())
        rows = self._database.read(
            f"SELECT * FROM tokens {where} ORDER BY created_at DESC, id DESC LIMIT ?",  # noqa: S608 — no value in it
            (*values, limit),
        )
        return [_token(row) for row in rows]

    def remove(self, id: str, *along: Along) -> bool:
        """Whether there was one; `along` is done only then. Its sessions go too."""
        with self._database.write() as connection:
            connection.execute("DELETE FROM sessions WHERE token = ?", (id,))
            if not connection.execute("DELETE FROM tokens WHERE id = ?", (id,)).rowcount:
                return False
            for more in along:
                more(connection)
            return True

    def note_use(self, used: Mapping[str, datetime]) -> None:
        """When each was last used, for many at once: a write a request would wear out the card."""
        with self._database.write() as connection:
            connection.executemany(
                "UPDATE tokens SET last_used_at = ? WHERE id = ?",
                [(to_millis(moment), id) for id, moment in used.items()],
            )


def _token(row: sqlite3.Row) -> Token:
    return Token(
        id=row["id"],
        name=row["name"],
        scopes=tuple(row["scopes"].split()),
        role=row["role"],
        created_at=from_millis(row["created_at"]),
        expires_at=None if row["expires_at"] is None else from_millis(row["expires_at"]),
        last_used_at=None if row["last_used_at"] is None else from_millis(row["last_used_at"]),
    )
