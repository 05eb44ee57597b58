"""Sessions: browsers in which somebody has logged in, as a user or with a token. The cookie is 256 random bits, and
stored as a hash alone."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Callable
from datetime import timedelta

from piapi.clock import Clock
from piapi.models import Caller, Session
from piapi.services import access, users
from piapi.services.events import Events
from piapi.services.users import Users
from piapi.storage.database import Along, from_millis, to_millis
from piapi.storage.sessions import NewSession, SessionRows, StoredSession

LONGEST_S = 30 * 86_400
"""Seconds after which a user has to log in again."""

LONGEST_OF_TOKEN_S = 400 * 86_400
"""Seconds that a session of a token lasts, which ends with the token: browsers keep no cookie for longer (RFC 6265bis,
section 5.5)."""

MOST = 50
"""Of one user or token; the oldest give way."""

_SUBJECTS = {"user": users.SUBJECT, "token": access.SUBJECT}


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
        """A new session of a user and its cookie, this once; None when name or password is wrong.

        Raises TooManyRequests.
        """
        found = self._users.verify(name, password, address)
        if found is None:
            return None
        user, stored = found
        cookie, new = self._begin(LONGEST_S)
        told = self._told("session.created", Caller(user.name, user.name, user.scopes, "user"), address=address)
        return self._made(cookie) if self._rows.add_of_user(new, user.name, stored, told) else None

    def log_in_with_token(self, token: Caller, address: str) -> tuple[Session, str] | None:
        """A new session of a token that was let in, and its cookie, this once; None when it opens nothing any more."""
        cookie, new = self._begin(LONGEST_OF_TOKEN_S)
        told = self._told("session.created", token, address=address)
        return self._made(cookie) if self._rows.add_of_token(new, token.id, told) else None

    def _begin(self, lasts_s: int) -> tuple[str, NewSession]:
        now = self._clock.now()
        cookie = base64.urlsafe_b64encode(self._random(32)).rstrip(b"=").decode("ascii")
        return cookie, NewSession(_digest(cookie), to_millis(now), to_millis(now + timedelta(seconds=lasts_s)), MOST)

    def _made(self, cookie: str) -> tuple[Session, str] | None:
        session = self.find(cookie)
        return (session, cookie) if session else None

    def find(self, cookie: str) -> Session | None:
        """The session of this cookie; None for a wrong or expired one, and for one whose token has been revoked."""
        digest = _digest(cookie)
        found = self._current(digest)
        if found is None or not hmac.compare_digest(found.caller.proof, digest):
            return None
        return Session(found.caller, found.role, from_millis(found.expires_ms), _csrf_token(cookie))

    def _current(self, digest: bytes) -> StoredSession | None:
        found = self._rows.find(digest)
        return found if found and found.expires_ms > to_millis(self._clock.now()) else None

    def end(self, session: Session) -> None:
        """Log out here."""
        self._rows.remove(session.caller.proof, self._ended(session, everywhere=False))

    def end_all(self, session: Session) -> None:
        """Log this user, or all who have this token, out everywhere."""
        self._rows.remove_all(session.caller, self._ended(session, everywhere=True))

    def access_of(self, caller: Caller) -> tuple[str, ...] | None:
        """What a caller who was let in by a session or a password may now; None when they are logged out, or the
        password is another one."""
        if found := self._current(caller.proof):
            return found.caller.scopes if found.caller.identity == caller.identity else None
        return self._users.access_of(caller) if caller.kind == "user" else None

    def forget_old(self) -> None:
        """Called now and then. By the wall clock: where that is wrong, somebody has to log in again, and no more."""
        self._rows.remove_expired(to_millis(self._clock.now()))

    def _ended(self, session: Session, everywhere: bool) -> Along:
        return self._told("session.removed", session.caller, everywhere=everywhere)

    def _told(self, type: str, caller: Caller, **data: object) -> Along:
        return self._events.entry(type, _SUBJECTS[caller.kind], data, actor=caller.actor)


def _digest(cookie: str) -> bytes:
    """A cookie is 256 random bits, so a plain hash is enough."""
    return hashlib.sha256(cookie.encode("utf-8", "surrogatepass")).digest()


def _csrf_token(cookie: str) -> str:
    """Made from the cookie, so that it has to be kept nowhere, and is the same when a page is loaded again."""
    made = hmac.digest(cookie.encode("utf-8", "surrogatepass"), b"piapi csrf", "sha256")
    return base64.urlsafe_b64encode(made).rstrip(b"=").decode("ascii")
