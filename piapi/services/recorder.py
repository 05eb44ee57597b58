"""Writing down what has happened already, by a thread of its own.

A relay must not stay on, nor an input go deaf, because the card is slow: whoever moves things only puts its entries
here. All that has gathered is written in one transaction, so that a burst costs one sync.
"""

from __future__ import annotations

import logging
import threading
from collections import deque

from piapi.clock import Clock
from piapi.errors import StorageError
from piapi.storage.database import Along, Database

log = logging.getLogger(__name__)

#: Entries that may wait, when the disk takes none; more are lost, and the log says so.
MOST_WAITING = 10_000

#: Seconds until a write that failed is tried again.
RETRY_S = 5.0


class Recorder:
    """A queue of entries for the database, in their order."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._waiting: deque[Along] = deque()
        self._changed = threading.Condition()
        self._is_closed = False
        self._is_writing = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin."""
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Write what waits, and end. May be called twice."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def put(self, *entries: Along) -> None:
        """Entries to write, soon. Never waits."""
        with self._changed:
            if len(self._waiting) + len(entries) > MOST_WAITING:
                log.error("the journal takes nothing: %d entries are lost", len(entries))
                return
            self._waiting.extend(entries)
            self._changed.notify_all()

    def flush(self, timeout: float) -> bool:
        """Wait until all that was put before is written; False when it is not by then, in seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting and not self._is_writing, timeout)

    def _run(self) -> None:
        while (entries := self._take()) is not None:
            try:
                self._write(entries)
            except StorageError as error:
                if not self._put_back(entries):
                    log.error("%d entries of the journal are lost: %s", len(entries), error)
            except Exception:  # noqa: BLE001 — whatever it was must cost neither the others nor those that come
                log.exception("fault in writing %d entries of the journal", len(entries))
                self._write_one_by_one(entries)
            finally:
                with self._changed:
                    self._is_writing = False
                    self._changed.notify_all()

    def _write(self, entries: list[Along]) -> None:
        with self._database.write() as connection:
            for add in entries:
                add(connection)

    def _write_one_by_one(self, entries: list[Along]) -> None:
        for entry in entries:
            try:
                self._write([entry])
            except Exception as error:  # noqa: BLE001 — as above
                log.error("an entry of the journal is lost: %s", error)

    def _take(self) -> list[Along] | None:
        with self._changed:
            while not self._waiting:
                if self._is_closed:
                    return None
                self._changed.wait()
            entries = list(self._waiting)
            self._waiting.clear()
            self._is_writing = True
            return entries

    def _put_back(self, entries: list[Along]) -> bool:
        """They are written before what has come since; False at the end, when there is no later."""
        with self._changed:
            if self._is_closed:
                return False
            self._waiting.extendleft(reversed(entries))
            self._clock.wait(self._changed, RETRY_S)
            return True
