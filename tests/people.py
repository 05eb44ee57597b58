"""Users for tests: quickly hashed passwords, and browsers that keep their cookie."""

from __future__ import annotations

from pathlib import Path

from piapi.services.access import Access
from piapi.services.attempts import Attempts
from piapi.services.events import Events
from piapi.services.passwords import Passwords
from piapi.services.sessions import Sessions
from piapi.services.users import Users
from piapi.storage.database import Database
from piapi.storage.sessions import SessionRows
from piapi.storage.tokens import TokenRows
from piapi.storage.users import UserRows
from tests.fakes import FakeClock

CHEAP = (2, 1, 1)
"""scrypt's cost where a test is not about it."""

PASSWORD = "correct horse"


class House:
    """Users and sessions on a database of their own, by a clock that goes only when told."""

    def __init__(self, folder: Path) -> None:
        self.clock = FakeClock()
        self.database = Database(folder / "piapi.db")
        self.database.open()
        self.events = Events(self.database, self.clock)
        self.passwords = Passwords(self.clock, cost=CHEAP)
        self.users = self.beside()
        self.sessions = Sessions(SessionRows(self.database), self.users, self.events, self.clock)
        self.access = Access(TokenRows(self.database), self.events, self.clock, access_by_proof=self.sessions.access_of)

    def beside(self) -> Users:
        """As another process has them: the command line beside the service."""
        passwords = Passwords(self.clock, cost=CHEAP) if hasattr(self, "users") else self.passwords
        return Users(UserRows(self.database), passwords, Attempts(self.clock), self.events, self.clock)

    def journal(self) -> list[str]:
        return [row["type"] for row in self.database.read("SELECT type FROM events ORDER BY id")]
