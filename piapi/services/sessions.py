"""Sessions: browsers in which somebody has logged in. The cookie is 256 random bits, and stored as a hash alone."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Callable
from datetime import timedelta

from piapi.clock import Clock
from piapi.models import Caller, Session
from piapi.services.events import Events
from piapi.services.users import SUBJECT, Users
from piapi.storage.database import Along, from_millis, to_millis
from piapi.storage.sessions import SessionRows

LONGEST_S = 30 * 86_400
"""Seconds after which one has to log in again."""

MOST = 50
"""Of one user; the oldest give way."""


class Sessions:
    """Who is logged in where."""

    def __init__(
        self,
        rows: SessionRows,
        users: Users,
        events: Events,
        clock: Clock,
        random: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._rows = rows
        self._users = users
        self._events = events
        self._clock = clock
        self._random = random

    def log_in(self, name: str, password: str, address: str) -> tuple[Session, str] | None:
        """A new session and its cookie, this once; None when name or password is wrong. Raises TooManyRequests."""
        found = self._users.verify(name, password, address)
        if found is None:
            return None
        user, stored = found
        now = self._clock.now()
        expires_at = now + timedelta(seconds=LONGEST_S)
        cookie = base64.urlsafe_b64encode(self._random(32)).rstrip(b"=").decode("ascii")
        told = self._events.entry("session.created", SUBJECT, {"address": address}, actor=f"user:{user.name}")
        digest = _digest(cookie)
        if not self._rows.add(digest, user.name, stored, to_millis(now), to_millis(expires_at), MOST, told):
            return None
        return Session(user, expires_at, digest, _csrf_token(cookie)), cookie

    def find(self, cookie: str) -> Session | None:
        """The session of this cookie; None for a wrong or expired one."""
        digest = _digest(cookie)
        found = self._rows.find(digest)
        if found is None:
            return None
        user, until, stored = found
        if not hmac.compare_digest(stored, digest) or until <= to_millis(self._clock.now()):
            return None
        return Session(user, from_millis(until), digest, _csrf_token(cookie))

    def end(self, session: Session) -> None:
        """Log out here."""
        self._rows.remove(session.digest, self._ended(session, everywhere=False))

    def end_all(self, session: Session) -> None:
        """Log this user out everywhere."""
        self._rows.remove_all(session.user.name, self._ended(session, everywhere=True))

    def access_of(self, caller: Caller) -> tuple[str, ...] | None:
        """What a user who was let in before may now; None when they are logged out, or the password is another one."""
        found = self._rows.find(caller.proof)
        if found is None:
            return self._users.access_of(caller)
        user, until, _ = found
        return user.scopes if user.name == caller.id and until > to_millis(self._clock.now()) else None

    def forget_old(self) -> None:
        """Called now and then. By the wall clock: where that is wrong, somebody has to log in again, and no more."""
        self._rows.remove_expired(to_millis(self._clock.now()))

    def _ended(self, session: Session, everywhere: bool) -> Along:
        told = {"everywhere": everywhere}
        return self._events.entry("session.removed", SUBJECT, told, actor=f"user:{session.user.name}")


def caller_of(session: Session) -> Caller:
    """Who asks, in a session."""
    user = session.user
    return Caller(user.name, user.name, user.scopes, "user", session.digest)


def _digest(cookie: str) -> bytes:
    """A cookie is 256 random bits, so a plain hash is enough."""
    return hashlib.sha256(cookie.encode("utf-8", "surrogatepass")).digest()


def _csrf_token(cookie: str) -> str:
    """Made from the cookie, so that it has to be kept nowhere, and is the same when a page is loaded again."""
    made = hmac.digest(cookie.encode("utf-8", "surrogatepass"), b"piapi csrf", "sha256")
    return base64.urlsafe_b64encode(made).rstrip(b"=").decode("ascii")
