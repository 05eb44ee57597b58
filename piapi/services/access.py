"""Who may do what: tokens, their scopes, and the callers that present them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from piapi.clock import Clock
from piapi.errors import Fault, Invalid, NotFound
from piapi.models import NOBODY, ROLES, VERBS, Caller, Token
from piapi.services.events import Events
from piapi.storage.database import Along, to_millis
from piapi.storage.tokens import TokenRows

PREFIX = "piapi_"
"""Of every token, so that scanners for leaked secrets can know one."""

SUBJECT = "system:tokens"
"""Of entries in the journal."""

LONGEST_S = 10 * 365 * 86_400
"""Of a token that expires, in seconds."""

_SCOPE = re.compile(r"(?P<kind>\*|[a-z]+):(?P<name>\*|[A-Za-z][A-Za-z0-9_-]{0,39}):(?P<verb>\*|[a-z]+)")


class Access:
    """Tokens. A secret leaves this class once, when it is made; what is kept is its SHA-256."""

    def __init__(
        self,
        rows: TokenRows,
        events: Events,
        clock: Clock,
        random: Callable[[int], bytes] = secrets.token_bytes,
        access_by_proof: Callable[[Caller], tuple[str, ...] | None] = lambda caller: None,
    ) -> None:
        """`access_by_proof`: the scopes now of one whom a session or password let in; None: they are not to stay."""
        self._rows = rows
        self._events = events
        self._access_by_proof = access_by_proof
        self._clock = clock
        self._random = random
        self._used: dict[str, datetime] = {}
        self._lock = threading.Lock()

    def create_token(
        self,
        name: str,
        *along: Callable[[Token], Along],
        scopes: Sequence[str] = (),
        role: str | None = None,
        expires_in_s: float | None = None,
        by: str = NOBODY,
    ) -> tuple[Token, str]:
        """Make a token with scopes or a role (one of the two). Gives it with its secret, this once.

        What `along` make of it is written in the same transaction.
        """
        granted = tuple(scopes) if role is None else ROLES[role]
        check_scopes(granted)
        secret = PREFIX + _encode(self._random(32))
        now = self._clock.now()
        token = Token(
            id=self._random(6).hex(),
            name=name,
            scopes=granted,
            role=role,
            created_at=now,
            expires_at=None if expires_in_s is None else now + timedelta(seconds=expires_in_s),
            last_used_at=None,
        )
        data = {"id": token.id, "name": name, "scopes": list(granted), "role": role}
        told = self._events.entry("token.created", SUBJECT, data, actor=by)
        self._rows.add(token, _digest(secret), told, *(of(token) for of in along))
        return token, secret

    def authenticate(self, secret: str) -> Caller | None:
        """Who presents this token; None for a wrong, expired or revoked one."""
        digest = _digest(secret)
        found = self._rows.find(digest)
        if found is None:
            return None
        caller, expires_at, stored = found
        now = self._clock.now()
        if not hmac.compare_digest(stored, digest) or (expires_at is not None and expires_at <= to_millis(now)):
            return None
        self._used[caller.id] = now
        return caller

    def note_session(self, caller: Caller) -> None:
        """A session let this caller in; if it is one of a token, the token has been used."""
        if caller.kind == "token":
            self._used[caller.id] = self._clock.now()

    def still_allowed(self, caller: Caller, scope: str) -> bool:
        """Whether a caller who was let in may stay: asked about open streams."""
        known = self.current(caller)
        return known is not None and known.may(scope)

    def current(self, caller: Caller) -> Caller | None:
        """A caller who was let in, as they are now; None when they no longer would be."""
        if caller.kind == "console":
            return caller
        if caller.proof:
            scopes = self._access_by_proof(caller)
            return None if scopes is None else replace(caller, scopes=scopes)
        token = self._rows.get(caller.id)
        if token is None or (token.expires_at is not None and token.expires_at <= self._clock.now()):
            return None
        return replace(caller, scopes=token.scopes)

    def token(self, id: str) -> Token:
        """Raises NotFound."""
        if token := self._rows.get(id):
            return self._with_last_use(token)
        raise NotFound(f"There is no token {id}.")

    def tokens(self, limit: int, before: tuple[int, str] | None = None) -> list[Token]:
        """Newest first."""
        return [self._with_last_use(token) for token in self._rows.page(limit, before)]

    @staticmethod
    def key_of(token: Token) -> tuple[int, str]:
        """Its place in the order of pages."""
        return to_millis(token.created_at), token.id

    def revoke(self, id: str, *, by: str = NOBODY) -> None:
        """From now on it opens nothing. Raises NotFound."""
        told = self._events.entry("token.revoked", SUBJECT, {"id": id, "name": self.token(id).name}, actor=by)
        if not self._rows.remove(id, told):
            raise NotFound(f"There is no token {id}.")

    def note_use(self) -> None:
        """Write down when each token was last used. Called now and then: a write a request would wear out the card."""
        with self._lock:
            used, self._used = self._used, {}
        if used:
            try:
                self._rows.note_use(used)
            except BaseException:
                with self._lock:
                    self._used = {**used, **self._used}
                raise

    def _with_last_use(self, token: Token) -> Token:
        """With a use that is not written down yet."""
        return replace(token, last_used_at=self._used.get(token.id, token.last_used_at))


def check_scopes(scopes: Sequence[str], pointer: str = "/scopes") -> None:
    """Raise Invalid with all that is wrong with them."""
    faults = [Fault(f"{pointer}/{index}", _fault_of(scope)) for index, scope in enumerate(scopes) if _fault_of(scope)]
    if not scopes:
        faults.append(Fault(pointer, "at least one scope, or a role, is needed"))
    if faults:
        raise Invalid(*faults)


def _fault_of(scope: str) -> str:
    match = _SCOPE.fullmatch(scope)
    if match is None:
        return "must be <kind>:<name>:<verb>, such as camera:front:view; * stands for any part"
    kind, verb = match["kind"], match["verb"]
    if kind != "*" and kind not in VERBS:
        return f"the kind must be one of {', '.join(VERBS)} or *"
    verbs = VERBS[kind] if kind != "*" else tuple({verb for of in VERBS.values() for verb in of})
    if verb != "*" and verb not in verbs:
        return f"the verb must be one of {', '.join(sorted(verbs))} or *"
    return ""


def _digest(secret: str) -> bytes:
    """A token is 256 random bits, so a plain hash is enough: there is nothing to guess."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
