"""piapi fsck: sound is said of what is sound, and each fault is a line."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import config
from piapi.clock import SystemClock
from piapi.services.inspection import Inspection
from piapi.storage.database import Database
from piapi.storage.files import FolderLock
from piapi.storage.photos import PhotoLibrary
from tests.conftest import Api
from tests.fakes import FakeClock
from tests.library import execute, file_of, piapi, started, take


def faults(settings: config.Settings, *options: str) -> list[str]:
    done = piapi(settings.storage.path, "fsck", *options)
    lines = done.stdout.splitlines()
    assert done.exit_code == (1 if lines else 0), done.output
    assert "Traceback" not in done.output
    return lines


def test_a_sound_folder_is_said_to_be_sound(settings: config.Settings) -> None:
    with started(settings) as api:
        for format in ("jpeg", "png"):
            api.get(take(api, format=format)["links"]["thumbnail"])
    assert faults(settings) == faults(settings, "--fast") == []
    assert "2 photos, no faults" in piapi(settings.storage.path, "fsck").stderr


def test_it_makes_nothing_where_there_is_nothing(tmp_path: Path) -> None:
    done = piapi(tmp_path / "data", "fsck")
    assert done.exit_code == 1 and "no database" in done.stderr
    assert not (tmp_path / "data").exists()


def test_each_fault_is_a_line(settings: config.Settings) -> None:
    with started(settings) as api:
        changed, cut, gone, stray = (take(api) for _ in range(4))
    data = file_of(settings, changed).read_bytes()
    file_of(settings, changed).write_bytes(data[:-5] + b"xxxxx")
    file_of(settings, cut).write_bytes(data[:10])
    file_of(settings, gone).unlink()
    execute(settings, "DELETE FROM photos WHERE id = ?", stray["id"])
    found = faults(settings)
    assert len(found) == 4
    for photo, word in ((changed, "hash"), (cut, "10 bytes"), (gone, "has gone"), (stray, "no row")):
        assert any(photo["id"] in line and word in line for line in found), (word, found)
    assert len(faults(settings, "--fast")) == 3


def test_a_start_mends_what_can_be_mended_and_fsck_agrees(settings: config.Settings) -> None:
    with started(settings) as api:
        gone, stray = take(api), take(api)
    file_of(settings, gone).unlink()
    execute(settings, "DELETE FROM photos WHERE id = ?", stray["id"])
    with started(settings) as api:
        assert [line.split()[1] for line in faults(settings)] == [f"{gone['id']}:"]
        api.delete(gone["links"]["self"])
        assert faults(settings) == []


def test_what_is_left_over_is_a_fault_and_what_is_being_written_is_not(settings: config.Settings) -> None:
    with started(settings):
        pass
    part = settings.storage.path / "incoming" / "abcd.jpg.part"
    part.write_bytes(b"half")
    assert faults(settings) == []
    database = Database(settings.storage.path / "piapi.db")
    database.open()
    later = FakeClock()
    later.jump(SystemClock().now().timestamp() - later.now().timestamp() + 61)
    assert ["left over" in line for line in Inspection(database, settings.storage.path, later).faults()] == [True]
    database.close()


def test_a_damaged_page_is_found(settings: config.Settings) -> None:
    with started(settings) as api:
        take(api)
    path = settings.storage.path / "piapi.db"
    (root,) = execute(settings, "SELECT rootpage FROM sqlite_master WHERE name = 'photos_by_time'")[0]
    with path.open("r+b") as file:
        file.seek((root - 1) * 4096)
        file.write(b"\xff" * 4096)
    assert any(line.startswith("database:") for line in faults(settings))


def test_totals_that_do_not_add_up_are_found(settings: config.Settings) -> None:
    with started(settings):
        pass
    execute(settings, "UPDATE photo_totals SET bytes = 5")
    assert faults(settings) == ["database: the totals of photos are not those of its rows"]


def test_a_damaged_database_is_said_in_words(settings: config.Settings) -> None:
    settings.storage.path.mkdir()
    (settings.storage.path / "piapi.db").write_bytes(b"this is no database" * 500)
    done = piapi(settings.storage.path, "fsck")
    assert done.exit_code == 1 and "left as it is" in done.stderr


# Beside a running service ---------------------------------------------------------------------------------------------


def test_photos_that_come_and_go_meanwhile_are_no_faults(api: Api, settings: config.Settings) -> None:
    stop = threading.Event()

    def busy() -> None:
        while not stop.is_set():
            photo = take(api)
            api.delete(photo["links"]["self"])

    thread = threading.Thread(target=busy)
    thread.start()
    try:
        for _ in range(5):
            assert faults(settings) == []
    finally:
        stop.set()
        thread.join()


def looked_at(settings: config.Settings, meanwhile: Callable[[PhotoLibrary], None]) -> list[str]:
    """The faults found while `meanwhile` happens between two looks."""
    database = Database(settings.storage.path / "piapi.db")
    database.open()
    library = PhotoLibrary(database, settings.storage.path)
    try:
        inspection = Inspection(database, settings.storage.path, SystemClock(), lambda _: meanwhile(library))
        return list(inspection.faults())
    finally:
        database.close()


def test_a_file_whose_row_comes_a_moment_later_is_no_fault(settings: config.Settings) -> None:
    with started(settings) as api:
        photo = take(api)
    database = Database(settings.storage.path / "piapi.db")
    database.open()
    kept = PhotoLibrary(database, settings.storage.path).get(photo["id"])
    database.close()
    assert kept is not None
    execute(settings, "DELETE FROM photos")
    assert looked_at(settings, lambda library: library.get(kept.id) or library.add_row(kept, is_dated=True)) == []


def test_a_file_in_the_making_is_no_fault_and_one_that_stays_is(settings: config.Settings) -> None:
    with started(settings) as api:
        photo = take(api)
    execute(settings, "DELETE FROM photos")
    mark = settings.storage.path / "incoming" / f"{file_of(settings, photo).name}.pending"
    mark.touch()
    assert looked_at(settings, lambda _: None) == []
    mark.unlink()
    assert len(looked_at(settings, lambda _: None)) == 1


# Mending --------------------------------------------------------------------------------------------------------------


def test_mend_accepts_that_all_files_are_gone(settings: config.Settings) -> None:
    with started(settings) as api:
        photos = [take(api) for _ in range(2)]
    for photo in photos:
        file_of(settings, photo).unlink()
    assert len(faults(settings, "--mend")) == 2
    with started(settings) as api:
        assert api.get("/photos").get_json()["items"] == []
        for photo in photos:
            assert api.delete(photo["links"]["self"]).status_code == 204
    assert faults(settings) == []


def test_mend_is_refused_while_a_service_runs(settings: config.Settings) -> None:
    with started(settings):
        lock = FolderLock(settings.storage.path)
        lock.acquire()
        done = piapi(settings.storage.path, "fsck", "--mend")
        lock.release()
    assert done.exit_code == 1 and "in use by another piapi" in done.stderr


def test_mend_adopts_all_at_once(settings: config.Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("piapi.services.recovery.ADOPTING_S", 1e-9)
    with started(settings) as api:
        for _ in range(3):
            take(api)
    execute(settings, "DELETE FROM photos")
    assert faults(settings, "--mend") == []
