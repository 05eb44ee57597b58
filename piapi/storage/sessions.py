"""Sessions of browsers, as rows."""

from __future__ import annotations

from piapi.models import User
from piapi.storage.database import Along, Database
from piapi.storage.users import user_of


class SessionRows:
    """Who is logged in. A cookie is never here, only its SHA-256."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(
        self, digest: bytes, name: str, password_hash: str, created_ms: int, expires_ms: int, most: int, *along: Along
    ) -> bool:
        """Keep a new session, and the newest `most` of this user. False when the password is another one meanwhile."""
        with self._database.write() as connection:
            added = connection.execute(
                "INSERT INTO sessions (hash, user, created_at, expires_at)"
                " SELECT ?, name, ?, ? FROM users WHERE name = ? AND hash = ?",
                (digest, created_ms, expires_ms, name, password_hash),
            )
            if not added.rowcount:
                return False
            connection.execute(
                "DELETE FROM sessions WHERE hash IN (SELECT hash FROM sessions WHERE user = ? AND hash <> ?"
                " ORDER BY created_at DESC LIMIT -1 OFFSET ?)",
                (name, digest, most - 1),
            )
            for more in along:
                more(connection)
            return True

    def find(self, digest: bytes) -> tuple[User, int, bytes] | None:
        """Whose session has this hash, until when (in ms since 1970), and the hash as it is stored."""
        row = self._database.read_one(
            "SELECT users.*, sessions.expires_at AS until, sessions.hash AS digest"
            " FROM sessions JOIN users ON users.name = sessions.user WHERE sessions.hash = ?",
            (digest,),
        )
        return (user_of(row), row["until"], row["digest"]) if row else None

    def remove(self, digest: bytes, *along: Along) -> None:
        """This one, if it is there."""
        with self._database.write() as connection:
            if connection.execute("DELETE FROM sessions WHERE hash = ?", (digest,)).rowcount:
                for more in along:
                    more(connection)

    def remove_all(self, name: str, *along: Along) -> None:
        """Those of one user."""
        with self._database.write() as connection:
            if connection.execute("DELETE FROM sessions WHERE user = ?", (name,)).rowcount:
                for more in along:
                    more(connection)

    def remove_expired(self, now_ms: int) -> None:
        """Those whose time is over. Writes nothing where there are none."""
        if self._database.read_one("SELECT 1 FROM sessions WHERE expires_at <= ?", (now_ms,)):
            with self._database.write() as connection:
                connection.execute("DELETE FROM sessions WHERE expires_at <= ?", (now_ms,))
