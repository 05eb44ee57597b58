"""Retention: the quota, the age, what is pinned, and clocks that lie."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from piapi.errors import NotFound
from piapi.models import Photo, PhotoFilter
from piapi.services.events import Events
from piapi.services.retention import Retention
from piapi.storage.database import Along, Database
from piapi.storage.events import EventRows
from piapi.storage.photos import PhotoLibrary
from tests.fakes import FakeClock

DAY = 86_400.0


class Shelf:
    """A library with a clock, to be filled by hand."""

    def __init__(self, folder: Path) -> None:
        self.clock = FakeClock()
        self.is_believed = True
        self.database = Database(folder / "piapi.db")
        self.database.open()
        self.library = PhotoLibrary(self.database, folder, 0, lambda: self.is_believed)
        self.library.prepare()
        self.events = Events(self.database, self.clock)
        self._number = 0

    def add(self, size: int = 100, pinned: bool = False, at: datetime | None = None) -> str:
        """A photo, taken now or at `at`. Gives its id."""
        self._number += 1
        photo = Photo(
            seq=0,
            id=f"{self._number * 7919:016x}",
            camera="front",
            captured_at=at or self.clock.now(),
            width=1,
            height=1,
            size_bytes=size,
            format="jpeg",
            sha256="0" * 64,
            label=None,
            pinned=pinned,
            metadata={},
            emulated=True,
        )
        self.library.add(photo, b"x" * size)
        return photo.id

    def retention(self, quota_bytes: int = 0, max_age_days: int = 0) -> Retention:
        return Retention(self.library, self.events, self.clock, quota_bytes, max_age_days, lambda: self.is_believed)

    def ids(self) -> set[str]:
        photos = self.library.page(PhotoFilter(), 10_000)
        assert {path.stem for path in self.library.place("x").parent.parent.rglob("*.jpg")} == {
            photo.id for photo in photos
        }
        return {photo.id for photo in photos}

    def told(self) -> list[tuple[str, str, str]]:
        return [(event.type, event.data["id"], event.data["cause"]) for event in EventRows(self.database).after(0, 999)]


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    shelf = Shelf(tmp_path)
    yield shelf
    shelf.database.close()


def test_nothing_is_removed_unless_it_is_configured(shelf: Shelf) -> None:
    kept = {shelf.add(at=datetime(1999, 1, 1, tzinfo=UTC)) for _ in range(3)}
    shelf.retention().keep_quota()
    shelf.retention().keep_age()
    assert shelf.ids() == kept and shelf.told() == []


# The quota ------------------------------------------------------------------------------------------------------------


def test_the_quota_removes_the_oldest_and_no_more_than_it_must(shelf: Shelf) -> None:
    ids = [shelf.add() for _ in range(10)]
    shelf.retention(quota_bytes=650).keep_quota()
    assert shelf.ids() == set(ids[4:])
    assert shelf.told() == [("photo.removed", id, "quota") for id in ids[:4]]
    (first, *_) = EventRows(shelf.database).after(0, 1)
    assert first.subject == "camera:front" and first.actor == "nobody"


def test_a_quota_that_is_met_to_the_byte_removes_nothing(shelf: Shelf) -> None:
    ids = {shelf.add() for _ in range(10)}
    shelf.retention(quota_bytes=1000).keep_quota()
    assert shelf.ids() == ids


def test_pinned_photos_stay_whatever_the_quota(shelf: Shelf, caplog: pytest.LogCaptureFixture) -> None:
    pinned = {shelf.add(pinned=True) for _ in range(5)}
    for _ in range(5):
        shelf.add()
    retention = shelf.retention(quota_bytes=100)
    for _ in range(3):
        retention.keep_quota()
    assert shelf.ids() == pinned
    assert [record.levelname for record in caplog.records].count("WARNING") == 1


def test_the_quota_goes_by_the_order_of_keeping_whatever_the_clock_said(shelf: Shelf) -> None:
    shelf.clock.jump(400 * DAY)
    future = shelf.add()
    shelf.clock.jump(-400 * DAY)
    present = shelf.add()
    past = shelf.add(at=datetime(1970, 1, 1, tzinfo=UTC))
    shelf.retention(quota_bytes=200).keep_quota()
    assert shelf.ids() == {present, past}
    shelf.retention(quota_bytes=100).keep_quota()
    assert shelf.ids() == {past} and future not in shelf.ids()


def test_many_are_removed_in_several_turns_of_small_transactions(shelf: Shelf) -> None:
    for _ in range(250):
        shelf.add(1)
    commits: list[None] = []
    shelf.database.on_commit.append(lambda: commits.append(None))
    retention = shelf.retention(quota_bytes=1)
    retention.keep_quota()
    assert len(shelf.ids()) == 50 and len(commits) == 10
    retention.keep_quota()
    assert len(shelf.ids()) == 1


def test_a_photo_pinned_at_the_last_moment_is_kept(shelf: Shelf) -> None:
    first, second = (shelf.library.get(shelf.add()) for _ in range(2))
    assert first and second

    def tell(photo: Photo) -> Along:
        return lambda connection: None

    with shelf.database.write() as connection:
        connection.execute("UPDATE photos SET pinned = 1 WHERE id = ?", (first.id,))
    assert shelf.library.remove_unpinned([first, second], tell) == [second]
    assert shelf.ids() == {first.id}


def test_a_change_to_a_photo_that_retention_has_removed_says_so(shelf: Shelf) -> None:
    photo = shelf.library.get(shelf.add())
    assert photo
    shelf.library.remove(photo)
    with pytest.raises(NotFound):
        shelf.library.change(photo)


def test_a_photo_that_is_being_downloaded_is_read_to_its_end(shelf: Shelf) -> None:
    photo = shelf.library.get(shelf.add(100_000))
    assert photo
    with shelf.library.path(photo).open("rb") as download:
        assert len(download.read(10)) == 10
        shelf.retention(quota_bytes=1).keep_quota()
        assert shelf.ids() == set()
        assert len(download.read()) == 99_990


# The age --------------------------------------------------------------------------------------------------------------


def test_what_is_too_old_is_removed_and_pinned_photos_stay(shelf: Shelf) -> None:
    old, pinned = shelf.add(), shelf.add(pinned=True)
    shelf.clock.advance(29 * DAY)
    young = shelf.add()
    retention = shelf.retention(max_age_days=30)
    retention.keep_age()
    assert shelf.ids() == {old, pinned, young}
    shelf.clock.advance(2 * DAY)
    retention.keep_age()
    assert shelf.ids() == {pinned, young}
    assert shelf.told() == [("photo.removed", old, "age")]


def test_a_clock_that_nobody_believes_removes_nothing(shelf: Shelf) -> None:
    kept = {shelf.add() for _ in range(3)}
    shelf.is_believed = False
    shelf.clock.jump(5000 * DAY)
    shelf.retention(max_age_days=1).keep_age()
    assert shelf.ids() == kept
    shelf.is_believed = True
    shelf.retention(max_age_days=1).keep_age()
    assert shelf.ids() == set()


def test_a_photo_taken_before_the_clock_was_right_is_not_taken_for_old(shelf: Shelf) -> None:
    shelf.is_believed = False
    woken = shelf.add(at=shelf.clock.now() - timedelta(days=200))
    shelf.is_believed = True
    retention = shelf.retention(max_age_days=30)
    retention.keep_age()
    assert shelf.ids() == {woken}
    later = shelf.add()
    shelf.clock.advance(31 * DAY)
    newest = shelf.add()
    retention.keep_age()
    assert shelf.ids() == {newest} and later not in shelf.ids()


def test_one_photo_dated_long_ago_by_mistake_takes_no_other_with_it(shelf: Shelf) -> None:
    first = shelf.add()
    shelf.add(at=datetime(2000, 1, 1, tzinfo=UTC))
    shelf.retention(max_age_days=30).keep_age()
    assert shelf.ids() == {first}


def test_photos_of_the_future_wait_for_their_time(shelf: Shelf) -> None:
    shelf.clock.jump(100 * DAY)
    future = shelf.add()
    shelf.clock.jump(-100 * DAY)
    shelf.clock.advance(40 * DAY)
    shelf.retention(max_age_days=30).keep_age()
    assert shelf.ids() == {future}


def test_quota_and_age_are_found_by_an_index(shelf: Shelf) -> None:
    plans: list[str] = []
    real = shelf.database.read

    def explain(sql: str, values: tuple[object, ...] = ()) -> list[object]:
        plans.extend(row["detail"] for row in real(f"EXPLAIN QUERY PLAN {sql}", values))
        return []

    shelf.database.read = explain  # type: ignore[method-assign, assignment]
    shelf.library.first_unpinned(20)
    shelf.library.unpinned_before(shelf.clock.now(), 20)
    assert all("USING" in plan or "SUBQUERY" in plan for plan in plans), plans
    assert not any("TEMP B-TREE" in plan for plan in plans), plans
