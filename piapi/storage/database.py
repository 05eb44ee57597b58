"""SQLite: one file, opened once a thread for reading and once for writing.

WAL and synchronous FULL: a transaction that has returned survives a power cut, and readers never wait for a writer
(https://www.sqlite.org/wal.html). The schema only moves forward, by the steps of `schema.py`, after a copy.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from piapi.errors import DatabaseUnusable, StorageBusy, StorageError, StorageFull
from piapi.storage import schema, write_ahead
from piapi.storage.files import sync_folder

log = logging.getLogger(__name__)

Along = Callable[[sqlite3.Connection], None]
"""Statements that belong to a transaction of somebody else: an event to what it tells of, a key to what it made."""

Result = TypeVar("Result")

#: What the log is given ahead, where four times as much is free. SQLite begins it anew after 1,000 pages (4.1 MB); the
#: rest is for when it cannot, as the database finds no room to grow.
LOG_BYTES = 5 * 1024 * 1024

#: How long a writer of another process (the command line) is waited for.
BUSY_TIMEOUT_S = 10.0


class Database:
    """A database file. `open` migrates it; until then nothing can be read or written."""

    def __init__(self, path: Path, make_room: Callable[[], bool] = lambda: False, *, is_service: bool = False) -> None:
        """`make_room` frees some space on a disk that is full to the last byte; False when there is none to free.

        `is_service`: it is to start on such a disk as well, so it may keep its log there, and other programs out.
        """
        self.path = path
        self._make_room = make_room
        self._is_service = is_service
        self.on_commit: list[Callable[[], None]] = []
        """Called after each transaction, by the thread that made it, with nothing held."""
        self._local = threading.local()
        self._readers: list[sqlite3.Connection] = []
        self._writer: sqlite3.Connection | None = None
        self._is_alone = False
        """Whether the index of the log is in this process's memory, as the disk had no room for its 32 KiB. No other
        process can open the file then (https://www.sqlite.org/vfs.html)."""
        self._connections = threading.Lock()
        self._writing = threading.Lock()

    def open(self, migrate: bool = True) -> None:
        """Create, or bring forward; without `migrate` one of an earlier version is refused (a service may be using it).

        Raises DatabaseUnusable, StorageFull or StorageError, and then nothing has been changed.
        """
        self._is_alone = False
        try:
            self._open(migrate)
        except StorageFull:
            if self._make_room():
                with contextlib.suppress(StorageFull):
                    return self._open(migrate)
            if not self._is_service:
                raise
            self._is_alone = True
            self._open(migrate)
            log.warning("%s is not shared until the next start: there is no room for what programs share", self.path)

    def _open(self, migrate: bool) -> None:
        try:
            self._writer = writer = self._connect()
            version = _version_of(writer)
            if version > schema.VERSION:
                raise DatabaseUnusable(
                    f"{self.path} was written by a later piapi (schema {version}, this one knows {schema.VERSION}). "
                    "Install that version again, or restore a copy from before the upgrade."
                )
            if 0 < version < schema.VERSION:
                if not migrate:
                    raise DatabaseUnusable(
                        f"{self.path} is of an earlier piapi; start the service once, it migrates it."
                    )
                self._copy(version)
            if version < schema.VERSION:
                _migrate(writer)
        except sqlite3.DatabaseError as error:
            self.close()
            if isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode & 0xFF in _OF_THE_DISK:
                raise _in_words(error) from error
            raise self._unusable(error) from error
        except BaseException:
            self.close()
            raise

    def _unusable(self, error: sqlite3.DatabaseError) -> DatabaseUnusable:
        return DatabaseUnusable(
            f"{self.path} cannot be used: {error}. It was left as it is; restore a backup, or move it away."
        )

    def _refuse_damage(self, error: sqlite3.DatabaseError) -> None:
        """In words, when it is the file that is at fault, and not what was asked of it."""
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in _OF_THE_FILE:
            raise self._unusable(error) from error

    def close(self) -> None:
        """Close every connection. May be called twice.

        The service's log stays where its next start might not find the room for another one.
        """
        with self._connections:
            connections = [connection for connection in (*self._readers, self._writer) if connection is not None]
            self._readers, self._writer, self._local = [], None, threading.local()
        if connections and self._is_service and self._is_disk_short():
            write_ahead.keep_log(connections)
        for connection in connections:
            connection.close()

    def read(self, sql: str, values: Sequence[Any] = ()) -> list[sqlite3.Row]:
        """All rows of a query. Raises DatabaseUnusable."""
        try:
            rows: list[sqlite3.Row] = self._reader().execute(sql, values).fetchall()
        except sqlite3.DatabaseError as error:
            self._refuse_damage(error)
            raise
        return rows

    def read_one(self, sql: str, values: Sequence[Any] = ()) -> sqlite3.Row | None:
        """The first row of a query. Raises DatabaseUnusable."""
        try:
            row: sqlite3.Row | None = self._reader().execute(sql, values).fetchone()
        except sqlite3.DatabaseError as error:
            self._refuse_damage(error)
            raise
        return row

    @contextlib.contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """A transaction; one at a time. On disk, synced, when the block is left; nothing of it when it raises.

        Raises StorageFull when the disk is full, StorageBusy when another process writes for too long, and
        DatabaseUnusable.
        """
        with self._writing:
            if self._writer is None:
                raise DatabaseUnusable("the database is closed")
            try:
                with _transaction(self._writer):
                    yield self._writer
            except sqlite3.OperationalError as error:
                raise _in_words(error) from error
            except sqlite3.DatabaseError as error:
                self._refuse_damage(error)
                raise
        for tell in self.on_commit:
            tell()

    def write_to_free(self, change: Callable[[sqlite3.Connection], Result]) -> Result:
        """A transaction after which there is more space: it uses the room kept for it where none is left."""
        try:
            with self.write() as connection:
                return change(connection)
        except StorageFull:
            if not self._make_room():
                raise
        with self.write() as connection:
            return change(connection)

    def keep_room(self) -> None:
        """Give the log its blocks ahead, so that it can be written on a disk that is full. Raises nothing.

        Zeros after its end are nothing to SQLite, which checks each page (https://www.sqlite.org/walformat.html).
        """
        path = self.path.with_name(f"{self.path.name}-wal")
        try:
            if path.stat().st_size >= LOG_BYTES or self._is_disk_short():
                return
            with self.write(), path.open("r+b") as file:  # nobody else writes to it now
                os.posix_fallocate(file.fileno(), 0, LOG_BYTES)
        except (OSError, sqlite3.Error, StorageError) as error:
            log.debug("no room is kept for the log: %s", error)

    def _is_disk_short(self) -> bool:
        try:
            return shutil.disk_usage(self.path.parent).free < 4 * LOG_BYTES
        except OSError:
            return True

    def _reader(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._connect()
            connection.execute("PRAGMA query_only = ON")
            with self._connections:
                is_closed = self._writer is None
                if not is_closed:
                    self._readers.append(connection)
            if is_closed:  # while the rest of the program ends, some thread still asks
                connection.close()
                raise DatabaseUnusable("the database is closed")
            self._local.connection = connection
        return connection

    def _connect(self) -> sqlite3.Connection:
        name = f"{self.path.absolute().as_uri()}{'?vfs=unix-excl' if self._is_alone else ''}"
        connection = sqlite3.connect(
            name, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False, uri=True
        )
        try:
            connection.row_factory = sqlite3.Row
            write_ahead.use(connection, BUSY_TIMEOUT_S)
            connection.execute("PRAGMA synchronous = FULL")
        except BaseException:
            connection.close()
            raise
        return connection

    def copy_to(self, path: Path) -> None:
        """The database as it is at one instant, into a new file. Waits for no writer, and none waits for it.

        Raises StorageError.
        """
        try:
            with contextlib.closing(self._connect()) as source, contextlib.closing(sqlite3.connect(path)) as target:
                source.backup(target)
        except sqlite3.OperationalError as error:
            raise _in_words(error) from error

    def _copy(self, version: int) -> None:
        """Keep the database as it was before a migration, beside it."""
        copy = self.path.with_name(f"{self.path.name}.v{version}")
        part = copy.with_name(f"{copy.name}.part")
        part.unlink(missing_ok=True)
        self.copy_to(part)
        part.replace(copy)
        sync_folder(copy.parent)
        log.info("kept a copy of the database before the migration: %s", copy.name)


def _migrate(writer: sqlite3.Connection) -> None:
    """All the steps that are missing, in one transaction: two that start at once do it one after the other."""
    with _transaction(writer):
        for number in range(_version_of(writer) + 1, schema.VERSION + 1):
            for statement in _statements(schema.STEPS[number - 1]):
                writer.execute(statement)
            writer.execute(f"PRAGMA user_version = {number}")
            log.info("database schema is now at step %d", number)


def _statements(script: str) -> Iterator[str]:
    """`executescript` would commit before it begins."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # SQLite has rolled back by itself when the disk is full
            connection.execute("ROLLBACK")
        raise


#: Codes of SQLite that say nothing of the database itself.
_OF_THE_DISK = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_BUSY})
_OF_THE_DISK |= {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_PERM}

#: Codes of SQLite that say that the file is no whole database.
_OF_THE_FILE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


def _in_words(error: sqlite3.OperationalError) -> StorageError:
    code = error.sqlite_errorcode & 0xFF
    if code == sqlite3.SQLITE_FULL or error.sqlite_errorcode == sqlite3.SQLITE_IOERR_SHMSIZE:
        return StorageFull("The disk is full. Delete photos, or use a larger disk.")
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        why = "a service that has started on a full disk keeps it until it is restarted"
        return StorageBusy(f"Another program has kept the database for too long. Try again ({why}).")
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
        return StorageError(f"The database cannot be written ({error}). Check whose the data folder is, and its disk.")
    return StorageError(f"The database cannot be written: {error}.")


def _version_of(connection: sqlite3.Connection) -> int:
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def to_millis(moment: datetime) -> int:
    """As it stands in the database."""
    return (moment - _EPOCH) // _MILLISECOND


def from_millis(millis: int) -> datetime:
    """As the program wants it, in UTC."""
    return _EPOCH + millis * _MILLISECOND
