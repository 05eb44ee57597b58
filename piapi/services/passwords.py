"""Passwords: hashed by scrypt, one at a time, and a right one remembered for a while.

A hash takes 16 MB and, on a small Pi, more than a second. So one is made, one waits, and the rest are told to come
again (`TooManyRequests`): a flood of wrong passwords costs neither memory nor the threads that a door needs.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import threading
import unicodedata
from collections import OrderedDict
from collections.abc import Callable

from piapi.clock import Clock
from piapi.errors import TooManyRequests
from piapi.memory import keep_large_blocks_apart

COST = 2**14, 8, 5
"""N, r and p of scrypt (RFC 7914), in 16 MB: one of the equal choices of OWASP's Password Storage Cheat Sheet."""

_MOST_MEMORY = 64 * 2**20

REMEMBER_S = 300.0
"""For so long a password that was right is known again without hashing it."""

MOST_REMEMBERED = 100

_PLACES = 2
_PATIENCE_S = 10.0


class Passwords:
    """Makes and checks hashes."""

    def __init__(
        self,
        clock: Clock,
        random: Callable[[int], bytes] = secrets.token_bytes,
        cost: tuple[int, int, int] = COST,
    ) -> None:
        keep_large_blocks_apart()
        self._clock = clock
        self._random = random
        self._cost = cost
        self._nobodys = _stored(cost, bytes(16), bytes(64))
        self._places = threading.BoundedSemaphore(_PLACES)
        self._hashing = threading.Lock()
        self._key = random(32)
        self._remembered: OrderedDict[str, tuple[bytes, float]] = OrderedDict()
        self._lock = threading.Lock()

    def hash(self, password: str) -> str:
        """To be stored: scrypt with its parameters and a salt of its own. Raises TooManyRequests."""
        salt = self._random(16)
        return _stored(self._cost, salt, self._scrypt(password, salt, *self._cost))

    def is_right(self, password: str, stored: str | None) -> bool:
        """Whether it is the one that was stored; None, no user, takes as long. Raises TooManyRequests."""
        _, n, r, p, salt, digest = (stored or self._nobodys).split("$")
        found = self._scrypt(password, _bytes(salt), int(n), int(r), int(p))
        is_equal = hmac.compare_digest(found, _bytes(digest))
        return is_equal and stored is not None

    def remember(self, password: str, stored: str) -> None:
        """It was right for this stored hash. Only a hash by a key of this process is kept."""
        with self._lock:
            self._remembered[stored] = self._tag(password), self._clock.monotonic() + REMEMBER_S
            self._remembered.move_to_end(stored)
            while len(self._remembered) > MOST_REMEMBERED:
                self._remembered.popitem(last=False)

    def is_remembered(self, password: str, stored: str) -> bool:
        """Whether it was right for this stored hash not long ago. A new password, or user, has a new stored hash."""
        with self._lock:
            tag, until = self._remembered.get(stored, (b"", 0.0))
        return until > self._clock.monotonic() and hmac.compare_digest(tag, self._tag(password))

    def _scrypt(self, password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
        if not self._places.acquire(blocking=False):
            raise _busy()
        try:
            if not self._hashing.acquire(timeout=_PATIENCE_S):
                raise _busy()
            try:
                return hashlib.scrypt(_prepared(password), salt=salt, n=n, r=r, p=p, maxmem=_MOST_MEMORY)
            finally:
                self._hashing.release()
        finally:
            self._places.release()

    def _tag(self, password: str) -> bytes:
        return hmac.digest(self._key, _prepared(password), "sha256")


def _prepared(password: str) -> bytes:
    """The same bytes however a keyboard composes an accented letter (RFC 8265, section 4.2)."""
    return unicodedata.normalize("NFC", password).encode("utf-8", "surrogatepass")


def _busy() -> TooManyRequests:
    return TooManyRequests("Other passwords are being checked. Try again in a moment.", retry_after_s=2)


def _stored(cost: tuple[int, int, int], salt: bytes, digest: bytes) -> str:
    return "$".join(("scrypt", *map(str, cost), _text(salt), _text(digest)))


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _bytes(text: str) -> bytes:
    return base64.b64decode(text)
