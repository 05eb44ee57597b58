"""What a client asks for under a key of its own is done once at most, however often it asks, whatever crashes.

A key is on disk before anything else happens. What its request makes is tied to it in the transaction that makes it
(`tie`), and the answer is kept afterwards. So after a crash a key either leads to what was made, and is answered from
that, or nothing was made, and the key is as new. Nothing is ever begun again except by the client's own retry.
"""

from __future__ import annotations

import logging
import threading

from piapi.clock import Clock
from piapi.errors import KeyInFlight, KeyReused, StorageError, TooManyRequests
from piapi.storage.database import Along, to_millis
from piapi.storage.idempotency import Answer, KeyRow, KeyRows, RequestName, Stamp

log = logging.getLogger(__name__)

KEPT_S = 24 * 3600
"""Seconds for which a key is kept. Within one boot they are counted by the clock that never jumps."""

MOST_KEYS = 10_000
"""Of one caller. One more is refused, for dropping a key early could do a thing twice."""

_RETRY_AFTER_S = 3600
_BATCH = 100


class Keys:
    """The keys of requests. One process has them, so which of them run is known in memory."""

    def __init__(self, rows: KeyRows, clock: Clock, boot_id: str) -> None:
        self._rows = rows
        self._clock = clock
        self._boot_id = boot_id
        self._claiming = threading.Lock()
        self._running: set[int] = set()

    def claim(self, name: RequestName, digest: bytes) -> KeyRow:
        """A request has come with this key and content. The row says how to go on.

        With an `answer`: that is the answer. Else with a `location`: the answer is to be made of what is there, and
        given to `keep`. With neither: do it, and call `keep` or `release` at the end, whatever happens.
        Raises KeyInFlight, KeyReused, TooManyRequests, StorageError.
        """
        with self._claiming:
            # Before the row is read: what ends in between is in flight all the same, for the row does not tell of it
            # yet, and would look like one that a crash cut off. Then it would be done again.
            running = frozenset(self._running)
            row = self._rows.find(name)
            if row is None:
                self._require_room(name.caller)
            elif self._is_held(row, running):
                if row.digest != digest:
                    raise KeyReused("This Idempotency-Key came with another body before: take a new one.")
                if row.seq in running:
                    raise KeyInFlight("The first request with this Idempotency-Key is not answered yet: ask again.")
                return row
            claimed = self._rows.put(name, digest, self._now())
            self._running.add(claimed.seq)
            return claimed

    def tie(self, seq: int, location: str) -> Along:
        """For the transaction in which the request makes (or intends) something, which is at `location`."""
        return self._rows.tie(seq, location)

    def keep(self, seq: int, answer: Answer) -> None:
        """This is answered. If it cannot be stored, a retry is answered from what was made."""
        try:
            self._rows.keep(seq, answer)
        except StorageError as error:
            log.warning("an answer is not kept for retries: %s", error)
        finally:
            self._running.discard(seq)

    def release(self, seq: int) -> None:
        """The request failed. If it has made nothing, its key is as new."""
        try:
            self._rows.free(seq)
        except StorageError as error:
            log.warning("a key that made nothing stays until its request comes again: %s", error)
        finally:
            self._running.discard(seq)

    def forget_old(self) -> None:
        """Remove what is older than a day, few at a time: nothing else is written meanwhile."""
        now = self._now()
        self._rows.adopt(now)
        while old := self._rows.older_than(KEPT_S * 1000, now, _BATCH):
            self._rows.remove(old)

    def _is_held(self, row: KeyRow, running: frozenset[int]) -> bool:
        """Whether the key still stands for something: neither old, nor cut off before it made anything."""
        if row.seq in running:
            return True
        return (row.answer is not None or row.location is not None) and self._age_ms(row) < KEPT_S * 1000

    def _age_ms(self, row: KeyRow) -> int:
        """By the wall across boots: a Pi wakes up in the past, and then nothing is old."""
        now, then = self._now(), row.claimed
        return now.boot_ms - then.boot_ms if now.boot_id == then.boot_id else now.wall_ms - then.wall_ms

    def _now(self) -> Stamp:
        return Stamp(to_millis(self._clock.now()), self._boot_id, int(self._clock.monotonic() * 1000))

    def _require_room(self, caller: str) -> None:
        if self._rows.count(caller) >= MOST_KEYS:
            raise TooManyRequests(
                f"{MOST_KEYS} of your Idempotency-Keys are kept, each for a day. Send this without a key, or later.",
                retry_after_s=_RETRY_AFTER_S,
            )
