"""Sessions of browsers, as rows."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Literal

from piapi.models import Caller
from piapi.storage.database import Along, Database


@dataclass(frozen=True, slots=True)
class NewSession:
    """A session that begins. `most` is how many its owner may have: the oldest give way."""

    digest: bytes
    created_ms: int
    expires_ms: int
    most: int


@dataclass(frozen=True, slots=True)
class StoredSession:
    """A session, as it is stored: who has it (its hash is their proof), and until when, in ms since 1970."""

    caller: Caller
    role: str | None
    expires_ms: int


class SessionRows:
    """Who is logged in. A cookie is never here, only its SHA-256."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add_of_user(self, new: NewSession, name: str, password_hash: str, *along: Along) -> bool:
        """Keep a new session of a user. False when the password is another one meanwhile."""
        return self._add(
            "INSERT INTO sessions (hash, user, created_at, expires_at)"
            " SELECT ?, name, ?, ? FROM users WHERE name = ? AND hash = ?",
            (new.digest, new.created_ms, new.expires_ms, name, password_hash),
            new,
            along,
        )

    def add_of_token(self, new: NewSession, id: str, *along: Along) -> bool:
        """Keep a new session of a token, which ends with it at the latest. False when it has been revoked meanwhile."""
        return self._add(
            "INSERT INTO sessions (hash, token, created_at, expires_at)"
            " SELECT ?1, id, ?2, min(?3, coalesce(expires_at, ?3)) FROM tokens WHERE id = ?4",
            (new.digest, new.created_ms, new.expires_ms, id),
            new,
            along,
        )

    def _add(self, insert: str, values: tuple[object, ...], new: NewSession, along: tuple[Along, ...]) -> bool:
        with self._database.write() as connection:
            if not connection.execute(insert, values).rowcount:
                return False
            connection.execute(
                "DELETE FROM sessions WHERE hash IN (SELECT others.hash FROM sessions AS one JOIN sessions AS others"
                " ON others.user = one.user OR others.token = one.token WHERE one.hash = ?1 AND others.hash <> ?1"
                " ORDER BY others.created_at DESC LIMIT -1 OFFSET ?2)",
                (new.digest, new.most - 1),
            )
            for more in along:
                more(connection)
            return True

    def find(self, digest: bytes) -> StoredSession | None:
        """The session whose cookie has this hash."""
        row = self._database.read_one(
            "SELECT sessions.*, coalesce(users.name, tokens.name) AS name, coalesce(users.scopes, tokens.scopes)"
            " AS scopes, coalesce(users.role, tokens.role) AS role FROM sessions"
            " LEFT JOIN users ON users.name = sessions.user LEFT JOIN tokens ON tokens.id = sessions.token"
            " WHERE sessions.hash = ? AND coalesce(users.name, tokens.id) IS NOT NULL",
            (digest,),
        )
        return _stored(row) if row else None

    def remove(self, digest: bytes, *along: Along) -> None:
        """This one, if it is there."""
        self._remove("hash = ?", digest, along)

    def remove_all(self, caller: Caller, *along: Along) -> None:
        """Those of one user or one token."""
        self._remove("user = ?" if caller.kind == "user" else "token = ?", caller.id, along)

    def _remove(self, which: str, value: object, along: tuple[Along, ...]) -> None:
        with self._database.write() as connection:
            if connection.execute(f"DELETE FROM sessions WHERE {which}", (value,)).rowcount:  # noqa: S608 — no value in it
                for more in along:
                    more(connection)

    def remove_expired(self, now_ms: int) -> None:
        """Those whose time is over. Writes nothing where there are none."""
        if self._database.read_one("SELECT 1 FROM sessions WHERE expires_at <= ?", (now_ms,)):
            with self._database.write() as connection:
                connection.execute("DELETE FROM sessions WHERE expires_at <= ?", (now_ms,))


def _stored(row: sqlite3.Row) -> StoredSession:
    kind: Literal["user", "token"] = "user" if row["token"] is None else "token"
    id = row["name"] if kind == "user" else row["token"]
    caller = Caller(id, row["name"], tuple(row["scopes"].split()), kind, row["hash"])
    return StoredSession(caller, row["role"], row["expires_at"])
