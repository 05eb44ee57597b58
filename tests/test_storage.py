"""The database and the files: durable, whole, forward only."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from piapi.errors import DatabaseUnusable, DataFolderInUse, StorageBusy, StorageError, StorageFull
from piapi.models import Photo, PhotoFilter
from piapi.storage import schema
from piapi.storage.database import Database, from_millis, to_millis
from piapi.storage.files import FolderLock, require_space, write_durably, write_whole
from piapi.storage.photos import PhotoLibrary, key_of


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(tmp_path / "piapi.db")
    database.open()
    yield database
    database.close()


def photo(number: int, captured_at: datetime | None = None) -> Photo:
    return Photo(
        seq=0,
        id=f"{number:016x}",
        camera="front",
        captured_at=captured_at or datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=number),
        width=1,
        height=1,
        size_bytes=1,
        format="jpeg",
        sha256="0" * 64,
        label=None,
        pinned=False,
        metadata={},
        emulated=True,
    )


# Files ----------------------------------------------------------------------------------------------------------------


def test_a_durable_write_syncs_the_file_before_it_has_its_name_and_the_folder_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    real_fsync, real_rename = os.fsync, Path.rename
    monkeypatch.setattr(
        os, "fsync", lambda fd: (steps.append("fsync " + Path(f"/proc/self/fd/{fd}").readlink().name), real_fsync(fd))
    )
    monkeypatch.setattr(Path, "rename", lambda self, to: (steps.append("rename"), real_rename(self, to))[1])
    (tmp_path / "ab").mkdir()
    write_durably(tmp_path / "ab" / "x.jpg", b"data", tmp_path)
    assert steps == ["fsync x.jpg.part", "rename", "fsync ab"]
    assert (tmp_path / "ab" / "x.jpg").read_bytes() == b"data"


@pytest.mark.parametrize("write", [lambda path, data: write_durably(path, data, path.parent), write_whole])
def test_a_write_that_fails_leaves_nothing(tmp_path: Path, write, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    def full(self: Path, to: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(StorageFull):
        write(tmp_path / "x.jpg", b"data")
    assert list(tmp_path.iterdir()) == []


def test_space_below_the_floor_is_refused_in_words(tmp_path: Path) -> None:
    require_space(tmp_path, 1, 0)
    with pytest.raises(StorageFull, match="never used"):
        require_space(tmp_path, 1, 2**62)


def test_one_folder_has_one_owner(tmp_path: Path) -> None:
    first, second = FolderLock(tmp_path / "data"), FolderLock(tmp_path / "data")
    first.acquire()
    with pytest.raises(DataFolderInUse, match="another piapi"):
        second.acquire()
    first.release()
    first.release()
    second.acquire()
    second.release()


def test_a_folder_that_cannot_be_made_is_said_in_words(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match="cannot be written"):
        FolderLock(tmp_path / "file").acquire()


# Database -------------------------------------------------------------------------------------------------------------


def test_it_is_wal_and_synchronous_full(database: Database) -> None:
    with database.write() as connection:
        assert connection.execute("PRAGMA synchronous").fetchone()[0] == 2
    assert database.read("PRAGMA journal_mode")[0][0] == "wal"


def test_a_transaction_that_raises_leaves_nothing(database: Database) -> None:
    with pytest.raises(ZeroDivisionError), database.write() as connection:
        connection.execute("INSERT INTO camera_settings VALUES ('x', 0, '{}')")
        raise ZeroDivisionError
    assert database.read("SELECT * FROM camera_settings") == []


def test_readers_do_not_wait_for_a_writer_and_cannot_write(database: Database) -> None:
    with database.write() as connection:
        connection.execute("INSERT INTO camera_settings VALUES ('x', 0, '{}')")
        assert database.read("SELECT * FROM camera_settings") == []
    assert len(database.read("SELECT * FROM camera_settings")) == 1
    with pytest.raises(sqlite3.OperationalError):
        database.read("DELETE FROM camera_settings")


def test_each_thread_reads_by_its_own_connection(database: Database) -> None:
    def look() -> None:
        for _ in range(50):
            assert len(database.read("SELECT 1")) == 1

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(database._readers) == 4


def test_a_database_of_the_future_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "piapi.db"
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
    connection.close()
    with pytest.raises(DatabaseUnusable, match="later piapi"):
        Database(path).open()
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA user_version").fetchone()[0] == schema.VERSION + 1
    connection.close()


def test_a_damaged_database_is_said_and_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "piapi.db"
    path.write_bytes(b"this is no database" * 500)
    before = path.read_bytes()
    with pytest.raises(DatabaseUnusable, match="left as it is"):
        Database(path).open()
    assert path.read_bytes() == before


def test_programs_that_open_a_new_database_at_once_wait_for_each_other(tmp_path: Path) -> None:
    def open_at_once(path: Path) -> None:
        with contextlib.closing(Database(path)) as database:
            together.wait()
            database.open()

    together = threading.Barrier(4)
    with ThreadPoolExecutor(together.parties) as programs:
        for number in range(150):  # one in twenty of them failed
            path = tmp_path / f"{number}.db"
            list(programs.map(open_at_once, [path] * together.parties))


def test_a_database_that_another_program_keeps_is_busy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("piapi.storage.database.BUSY_TIMEOUT_S", 0.05)
    path = tmp_path / "piapi.db"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StorageBusy):
            Database(path).open()
        other.execute("ROLLBACK")
    with contextlib.closing(Database(path)) as database:
        database.open()


def test_a_migration_keeps_a_copy_from_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "piapi.db"
    database = Database(path)
    database.open()
    with database.write() as connection:
        connection.execute("INSERT INTO camera_settings VALUES ('x', 90, '{}')")
    database.close()
    steps = (*schema.STEPS, "ALTER TABLE camera_settings ADD COLUMN extra TEXT;")
    monkeypatch.setattr(schema, "STEPS", steps)
    monkeypatch.setattr(schema, "VERSION", len(steps))
    database = Database(path)
    database.open()
    row = database.read_one("SELECT * FROM camera_settings")
    assert row is not None and row["rotation"] == 90 and row["extra"] is None
    database.close()
    with sqlite3.connect(tmp_path / f"piapi.db.v{len(steps) - 1}") as copy:
        assert copy.execute("SELECT rotation FROM camera_settings").fetchone() == (90,)
        assert copy.execute("PRAGMA user_version").fetchone()[0] == len(steps) - 1
    copy.close()


def test_who_asks_after_the_end_is_told_and_opens_nothing(database: Database) -> None:
    database.close()
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 — a listing without a descriptor of its own to count
    with pytest.raises(DatabaseUnusable, match="closed"):
        database.read("SELECT 1")
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_a_migration_that_fails_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "piapi.db"
    before = Database(path)
    before.open()
    before.close()
    monkeypatch.setattr(schema, "STEPS", (*schema.STEPS, "CREATE TABLE a (b TEXT);\nSELECT * FROM nothing;"))
    monkeypatch.setattr(schema, "VERSION", len(schema.STEPS))
    with pytest.raises(DatabaseUnusable):
        Database(path).open()
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT name FROM sqlite_master WHERE name = 'a'").fetchall() == []
        assert connection.execute("PRAGMA user_version").fetchone()[0] == schema.VERSION - 1
    connection.close()


def test_a_closed_database_says_so(tmp_path: Path) -> None:
    database = Database(tmp_path / "piapi.db")
    database.open()
    database.close()
    database.close()
    with pytest.raises(DatabaseUnusable), database.write():
        pass


@pytest.mark.parametrize("millis", [0, 1, 1_700_000_000_123, 1_763_675_848_999, -1])
def test_times_survive_to_the_millisecond(millis: int) -> None:
    assert to_millis(from_millis(millis)) == millis


# Photos ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def library(database: Database, tmp_path: Path) -> PhotoLibrary:
    library = PhotoLibrary(database, tmp_path)
    library.prepare()
    return library


def test_pages_go_through_photos_of_one_instant_without_repeats(library: PhotoLibrary) -> None:
    instant = datetime(2026, 1, 1, tzinfo=UTC)
    for number in range(7):
        library.add(photo(number, instant), b"x")
    seen: list[str] = []
    before = None
    while found := library.page(PhotoFilter(), 2, before):
        seen += [one.id for one in found]
        before = key_of(found[-1])
    assert seen == [f"{number:016x}" for number in reversed(range(7))]


@pytest.mark.parametrize(
    "chosen",
    [
        PhotoFilter(),
        PhotoFilter(cameras=frozenset({"front"})),
        PhotoFilter(label="x"),
        PhotoFilter(since=datetime(2026, 1, 1, tzinfo=UTC), until=datetime(2026, 1, 2, tzinfo=UTC)),
    ],
    ids=str,
)
def test_every_page_is_found_by_an_index_without_sorting(
    library: PhotoLibrary, database: Database, chosen: PhotoFilter
) -> None:
    plans: list[str] = []
    real = database.read

    def explain(sql: str, values: tuple[object, ...] = ()) -> list[sqlite3.Row]:
        plans.extend(row["detail"] for row in real(f"EXPLAIN QUERY PLAN {sql}", values))
        return real(sql, values)

    database.read = explain  # type: ignore[method-assign, assignment]
    library.page(chosen, 50, (1_767_225_600_000, 5))
    assert plans and all("USING INDEX" in plan and "TEMP B-TREE" not in plan for plan in plans)
