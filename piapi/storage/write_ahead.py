"""SQLite's write-ahead log, where SQLite does not see to it by itself (https://www.sqlite.org/wal.html)."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import sys
import threading
import time
from collections.abc import Sequence

log = logging.getLogger(__name__)

_AGAIN_AFTER_S = 0.01


def use(connection: sqlite3.Connection, within_s: float) -> None:
    """Have this connection write ahead. Raises sqlite3.DatabaseError.

    Where two programs meet at a new file, or at one that the last of them is closing, SQLite has one of them fail at
    once, as waiting might be for ever (https://www.sqlite.org/c3ref/busy_handler.html): it is tried again.
    """
    deadline, pause = time.monotonic() + within_s, threading.Event()
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() >= deadline:
                raise
        pause.wait(_AGAIN_AFTER_S)


def keep_log(connections: Sequence[sqlite3.Connection]) -> None:
    """Have SQLite not remove the log with the last of them, the writer; Python 3.11 cannot tell it."""
    if sys.version_info >= (3, 12):
        with contextlib.suppress(sqlite3.Error):
            connections[-1].execute("PRAGMA wal_checkpoint").fetchall()  # the database has all that it can all the same
        for connection in connections:
            connection.setconfig(sqlite3.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, True)
        log.warning("the disk is short: the log of the database, `-wal`, stays beside it, and belongs to it")
