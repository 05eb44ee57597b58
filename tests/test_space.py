"""Free space: told once a change, and what is kept in reserve for a disk that is full."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import config
from piapi.errors import StorageBusy, StorageFull
from piapi.services.events import Events
from piapi.services.space import Space
from piapi.storage.database import Database
from piapi.storage.events import EventRows
from piapi.storage.reserve import Reserve
from tests.conftest import Api, assert_problem
from tests.fakes import FakeClock

FLOOR = 100_000_000


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(tmp_path / "piapi.db")
    database.open()
    yield database
    database.close()


class Disk:
    """A disk with as much free space as a test says."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.free = 10 * FLOOR
        self.database = database
        self.folder = folder
        self.space = self.anew()

    def anew(self) -> Space:
        events = Events(self.database, FakeClock())
        return Space(self.folder, FLOOR, events, Reserve(self.folder), lambda _: self.free)

    def look(self, free: int) -> list[str]:
        self.free = free
        self.space.look()
        return self.told()

    def told(self) -> list[str]:
        return [event.type.removeprefix("storage.") for event in EventRows(self.database).after(0, 100)]


@pytest.fixture
def disk(database: Database, tmp_path: Path) -> Disk:
    return Disk(database, tmp_path)


def test_a_change_is_told_once_and_not_while_it_wavers(disk: Disk) -> None:
    assert disk.look(FLOOR + 1) == []
    assert disk.look(FLOOR) == []
    assert disk.look(FLOOR - 1) == ["low"] and disk.space.is_low
    assert disk.look(FLOOR + 1) == ["low"]
    assert disk.look(FLOOR - 1) == ["low"]
    assert disk.look(FLOOR + FLOOR // 20) == ["low", "ok"] and not disk.space.is_low
    assert disk.look(FLOOR + 1) == ["low", "ok"]
    (event, _) = EventRows(disk.database).after(0, 100)
    assert event.subject == "system:storage" and event.actor == "nobody"
    assert event.data == {"free_bytes": FLOOR - 1, "floor_bytes": FLOOR}


def test_a_restart_does_not_tell_it_again(disk: Disk) -> None:
    disk.look(1)
    disk.space = disk.anew()
    assert disk.look(1) == ["low"]
    disk.space = disk.anew()
    assert disk.look(10 * FLOOR) == ["low", "ok"]


def test_a_refusal_is_told_at_once_and_lasts_until_so_much_would_fit(disk: Disk) -> None:
    disk.free = FLOOR + FLOOR // 2
    disk.space.refuse(FLOOR)
    disk.space.refuse(1)
    assert disk.told() == ["low"]
    assert disk.look(FLOOR + FLOOR // 2) == ["low"]
    assert disk.look(2 * FLOOR + FLOOR // 20) == ["low", "ok"]


def test_a_refusal_that_cannot_be_written_down_is_told_later(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise StorageBusy("later")

    with monkeypatch.context() as patch:
        patch.setattr(Events, "record", full)
        disk.free = 1
        disk.space.refuse(1)
        with pytest.raises(StorageBusy):
            disk.space.look()
    assert disk.told() == []
    assert disk.look(1) == ["low"]


def test_a_photo_that_finds_no_space_is_507_and_told(
    api: Api, app: object, settings: config.Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(settings.storage.path)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=-1))
        assert_problem(api.post("/cameras/demo/photos"), 507, "insufficient-storage")
        assert_problem(api.post("/cameras/demo/photos"), 507, "insufficient-storage")
    database = app.extensions["piapi"]._database  # type: ignore[attr-defined]
    told = [event.type for event in EventRows(database).after(0, 100) if event.type.startswith("storage.")]
    assert told == ["storage.low"]
    assert api.post("/cameras/demo/photos").status_code == 201


# The reserve ----------------------------------------------------------------------------------------------------------


def test_the_reserve_is_kept_where_there_is_space_and_given_up_once(tmp_path: Path) -> None:
    reserve = Reserve(tmp_path, 4096)
    reserve.keep()
    reserve.keep()
    assert (tmp_path / "reserve").stat().st_blocks * 512 >= 4096
    assert reserve.give_up() is True
    assert reserve.give_up() is False
    assert list(tmp_path.iterdir()) == []


def test_no_reserve_is_made_where_space_is_short(tmp_path: Path) -> None:
    Reserve(tmp_path, 2**61).keep()
    Reserve(tmp_path / "nowhere", 4096).keep()
    assert list(tmp_path.iterdir()) == []


def test_a_transaction_that_frees_space_uses_the_reserve(tmp_path: Path) -> None:
    rooms = [True]
    database = Database(tmp_path / "piapi.db", make_room=lambda: bool(rooms and rooms.pop()))
    database.open()
    tries = []

    def change(connection: object) -> str:
        tries.append(connection)
        if len(tries) < 2:
            raise StorageFull("full")
        return "done"

    assert database.write_to_free(change) == "done"
    tries.clear()
    with pytest.raises(StorageFull):
        database.write_to_free(change)
    database.close()
