"""Pairings: an admin makes a code, and a new device redeems it for a token of its own, once, within five minutes."""

from __future__ import annotations

import base64
import hashlib
import math
import secrets
from collections.abc import Callable, Sequence
from datetime import timedelta

from piapi.clock import Clock
from piapi.errors import NotFound, TooManyRequests
from piapi.models import ROLES, Pairing, Token
from piapi.services.access import Access, check_scopes
from piapi.services.attempts import Brake, network_of
from piapi.services.events import Events
from piapi.storage.database import Along, to_millis
from piapi.storage.pairings import BootTime, PairingRows

OPEN_S = 300
"""Seconds for which a code is good; by the clock that never jumps, and no longer than the machine runs."""

MOST_OPEN = 20

SUBJECT = "system:tokens"


class Pairings:
    """The codes that are open. One leaves this class once, when it is made; what is kept is its SHA-256."""

    def __init__(
        self,
        rows: PairingRows,
        access: Access,
        events: Events,
        clock: Clock,
        boot_id: str,
        random: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._rows = rows
        self._access = access
        self._events = events
        self._clock = clock
        self._boot_id = boot_id
        self._random = random
        self._attempts = Brake(clock, free=10, longest_s=60)

    def create(
        self,
        name: str,
        *along: Callable[[Pairing], Along],
        scopes: Sequence[str] = (),
        role: str | None = None,
        expires_in_s: int | None = None,
        by: str,
    ) -> tuple[Pairing, str]:
        """Open a pairing for a token with scopes or a role (one of the two). Gives it with its code, this once.

        Raises Invalid, and TooManyRequests while 20 are open.
        """
        granted = tuple(scopes) if role is None else ROLES[role]
        check_scopes(granted)
        code = base64.b32encode(self._random(20)).decode("ascii")
        created = self._clock.now()
        pairing = Pairing(
            id=self._random(6).hex(),
            name=name,
            scopes=granted,
            role=role,
            token_expires_in_s=expires_in_s,
            created_at=created,
            expires_at=created + timedelta(seconds=OPEN_S),
            created_by=by,
        )
        now = self._now()
        told = self._events.entry("pairing.created", SUBJECT, {"id": pairing.id, "name": name}, actor=by)
        ends = BootTime(now.boot_id, now.ms + OPEN_S * 1000)
        rest_ms = self._rows.add(pairing, _digest(code), now, ends, MOST_OPEN, told, *(of(pairing) for of in along))
        if rest_ms is not None:
            raise TooManyRequests(f"{MOST_OPEN} pairings are open already.", retry_after_s=math.ceil(rest_ms / 1000))
        return pairing, code

    def redeem(self, code: str, address: str) -> tuple[Token, str]:
        """The token, and its secret. Raises NotFound for a code that is wrong, used or over, and TooManyRequests."""
        place = network_of(address)
        self._attempts.check(place)
        pairing = self._rows.find(_digest(code), self._now())
        try:
            if pairing is None:
                raise NotFound("")
            made = self._token_of(pairing, f"address:{address}")
        except NotFound:
            self._attempts.failed(place)
            raise NotFound("This code is wrong, has been used, or is over. Make a new one.") from None
        self._attempts.forget(place)
        return made

    def _token_of(self, pairing: Pairing, actor: str) -> tuple[Token, str]:
        def told(token: Token) -> Along:
            data = {"id": pairing.id, "name": pairing.name, "token": token.id, "allowed_by": pairing.created_by}
            return self._events.entry("pairing.redeemed", SUBJECT, data, actor=actor)

        return self._access.create_token(
            pairing.name,
            lambda _: self._rows.use(pairing.id),
            told,
            scopes=pairing.scopes if pairing.role is None else (),
            role=pairing.role,
            expires_in_s=pairing.token_expires_in_s,
            by=actor,
        )

    def pairing(self, id: str) -> Pairing:
        """Raises NotFound."""
        if found := self._rows.get(id, self._now()):
            return found
        raise NotFound(f"There is no pairing {id}.")

    def pairings(self, limit: int, before: tuple[int, str] | None = None) -> list[Pairing]:
        """Those that are open, newest first."""
        return self._rows.page(self._now(), limit, before)

    @staticmethod
    def key_of(pairing: Pairing) -> tuple[int, str]:
        """Its place in the order of pages."""
        return to_millis(pairing.created_at), pairing.id

    def remove(self, id: str, *, by: str) -> None:
        """Its code is good for nothing from now on. Raises NotFound."""
        if not self._rows.remove(id, self._events.entry("pairing.removed", SUBJECT, {"id": id}, actor=by)):
            raise NotFound(f"There is no pairing {id}.")

    def forget_old(self) -> None:
        """Called now and then."""
        self._rows.remove_ended(self._now())

    def _now(self) -> BootTime:
        return BootTime(self._boot_id, int(self._clock.monotonic() * 1000))


def _digest(code: str) -> bytes:
    """A code is 160 random bits, so a plain hash is enough. Upper or lower case: some read it from paper."""
    return hashlib.sha256(code.upper().encode("utf-8", "surrogatepass")).digest()
