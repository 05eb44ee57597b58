"""Users: people with a name and a password."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Callable, Sequence

from piapi.clock import Clock
from piapi.errors import Conflict, Fault, Invalid, NotFound
from piapi.models import ROLES, Caller, User
from piapi.services.access import check_scopes
from piapi.services.attempts import Attempts
from piapi.services.events import Events
from piapi.services.passwords import Passwords
from piapi.storage.database import Along, to_millis
from piapi.storage.users import UserRows

log = logging.getLogger(__name__)

NAME = r"[A-Za-z][A-Za-z0-9_.-]{0,39}"
SHORTEST, LONGEST = 8, 128
"""Characters of a password."""

RESERVED = "token"
"""As the user of Basic it means that the password is a token."""

SUBJECT = "system:users"


class Users:
    """Accounts. A password leaves this class only as a hash; the last admin may go, as the console can make another."""

    def __init__(self, rows: UserRows, passwords: Passwords, attempts: Attempts, events: Events, clock: Clock) -> None:
        self._rows = rows
        self._passwords = passwords
        self._attempts = attempts
        self._events = events
        self._clock = clock

    def create(
        self,
        name: str,
        password: str,
        *along: Callable[[User], Along],
        scopes: Sequence[str] = (),
        role: str | None = None,
        by: str,
    ) -> User:
        """Make a user with scopes or a role (one of the two). Raises Invalid, Conflict, TooManyRequests."""
        if not re.fullmatch(NAME, name):
            raise Invalid(Fault("/name", "is 1 to 40 letters, digits, _ . and -, and begins with a letter"))
        if name.lower() == RESERVED:
            raise Invalid(Fault("/name", f"{RESERVED} is what one logs in as with a token; choose another name"))
        granted = _granted(scopes, role)
        check_password(password)
        now = self._clock.now()
        user = User(name, granted, role, created_at=now, changed_at=now)
        made = self._events.entry("user.created", SUBJECT, _told(user), actor=by)
        if not self._rows.add(user, self._passwords.hash(password), made, *(of(user) for of in along)):
            raise Conflict(f"There is a user {name} already.")
        return self.user(name)

    def change(
        self,
        name: str,
        *,
        password: str | None = None,
        scopes: Sequence[str] = (),
        role: str | None = None,
        by: str,
    ) -> User:
        """Set what is given. A new password ends the sessions. Raises Invalid, NotFound, TooManyRequests."""
        user = self.user(name)
        changes: list[Along] = []
        what: list[str] = []
        if scopes or role is not None:
            changes.append(self._rows.set_access(user.name, _granted(scopes, role), role))
            what.append("access")
        if password is not None:
            check_password(password)
            hashed = self._passwords.hash(password)
            changes.append(self._rows.set_password(user.name, hashed, to_millis(self._clock.now())))
            what.append("password")
        told = {"name": user.name, "changed": what}
        self._rows.write(*changes, self._events.entry("user.changed", SUBJECT, told, actor=by))
        return self.user(user.name)

    def remove(self, name: str, *, by: str) -> None:
        """Its sessions and open streams end too. Raises NotFound."""
        user = self.user(name)
        if not self._rows.remove(user.name, self._events.entry("user.removed", SUBJECT, {"name": user.name}, actor=by)):
            raise _unknown(name)

    def user(self, name: str) -> User:
        """Raises NotFound."""
        if found := self._rows.find(name):
            return found[0]
        raise _unknown(name)

    def users(self, limit: int, before: tuple[int, str] | None = None) -> list[User]:
        """Newest first."""
        return self._rows.page(limit, before)

    @staticmethod
    def key_of(user: User) -> tuple[int, str]:
        """Its place in the order of pages."""
        return to_millis(user.created_at), user.name

    def authenticate(self, name: str, password: str, address: str) -> Caller | None:
        """Who has this name and password; None when something is wrong. Raises TooManyRequests."""
        found = self.verify(name, password, address)
        if found is None:
            return None
        user, stored = found
        return Caller(user.name, user.name, user.scopes, "user", proof_of(stored))

    def verify(self, name: str, password: str, address: str) -> tuple[User, str] | None:
        """The user, and the stored hash that the password fits; None when either is wrong. Raises TooManyRequests."""
        found = self._rows.find(name)
        if found and self._passwords.is_remembered(password, found[1]):
            return found
        self._attempts.check(name, address)
        if not self._passwords.is_right(password, found[1] if found else None) or found is None:
            self._attempts.failed(name, address)
            note_failure(self._events, address)
            return None
        self._attempts.succeeded(name, address)
        self._passwords.remember(password, found[1])
        return found

    def access_of(self, caller: Caller) -> tuple[str, ...] | None:
        """What a user who was let in by the password may now; None when it is another one, or the user has gone."""
        found = self._rows.find(caller.id)
        return found[0].scopes if found and caller.proof == proof_of(found[1]) else None


def check_password(password: str, pointer: str = "/password") -> None:
    """Raise Invalid for one that is too short or too long."""
    if not SHORTEST <= len(password) <= LONGEST:
        raise Invalid(Fault(pointer, f"must have {SHORTEST} to {LONGEST} characters"))


def proof_of(stored: str) -> bytes:
    """What a caller keeps of the hash that their password fitted."""
    return hashlib.sha256(stored.encode()).digest()


def note_failure(events: Events, address: str) -> None:
    """A wrong password is in the journal, without the name: people type a password there by mistake."""
    events.count("auth.failed", "system:users", actor=f"address:{address}")


def _granted(scopes: Sequence[str], role: str | None) -> tuple[str, ...]:
    granted = tuple(scopes) if role is None else ROLES[role]
    check_scopes(granted)
    return granted


def _told(user: User) -> dict[str, object]:
    return {"name": user.name, "role": user.role, "scopes": list(user.scopes)}


def _unknown(name: str) -> NotFound:
    return NotFound(f"There is no user {name}.")
