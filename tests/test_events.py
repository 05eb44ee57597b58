"""The journal: what is written, who may read it, how long it is kept, and how it is read live."""

from __future__ import annotations

import json
import re
import sqlite3
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

import config
from piapi.api.event_stream import COMMENT_EVERY_S, EventStream, encode
from piapi.api.services import Services
from piapi.app import create_app
from piapi.errors import StorageFull, TooManyRequests
from piapi.hardware.camera_simulated import Faults
from piapi.models import Caller, Event, EventFilter
from piapi.services.camera_states import MOST_AT_ONCE, ONE_MORE_S, CameraStates
from piapi.services.event_feed import LOOK_EVERY_S, PAGE, RECENT, EventFeed, Reader
from piapi.services.events import MOST_SUMS, OTHERS, Events
from piapi.services.journal_retention import AT_ONCE, JournalRetention
from piapi.storage.database import Database
from tests.conftest import Api, assert_problem, faults_of
from tests.fakes import FakeClock

ADMIN = Caller("1", "admin", ("*:*:*",))
FRONT = Caller("2", "front", ("camera:front:view",))
ALL = EventFilter()
DAY = 86_400.0


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(tmp_path / "piapi.db")
    database.open()
    yield database
    database.close()


@pytest.fixture
def events(database: Database, clock: FakeClock) -> Events:
    return Events(database, clock)


def fill(events: Events, *subjects: str, type: str = "x") -> None:
    """One entry for each of these subjects, in one transaction."""
    with events._database.write() as connection:
        for subject in subjects:
            events.entry(type, subject)(connection)


def ids(found: list[Event]) -> list[int]:
    return [event.id for event in found]


# On disk --------------------------------------------------------------------------------------------------------------


def test_an_entry_is_there_with_the_change_that_it_tells_of_or_not_at_all(events: Events, database: Database) -> None:
    with pytest.raises(ZeroDivisionError), database.write() as connection:
        events.entry("x", "camera:front")(connection)
        raise ZeroDivisionError
    assert events.rows.bounds() == (1, 0)
    events.record("x", "camera:front", {"colour": "grün"}, actor="console")
    (found,) = events.rows.after(0, 10)
    assert (found.id, found.type, found.subject, found.actor, found.data) == (
        1,
        "x",
        "camera:front",
        "console",
        {"colour": "grün"},
    )


def test_pages_hold_what_is_asked_for_newest_first_and_full(events: Events, clock: FakeClock) -> None:
    for _ in range(20):
        fill(events, "camera:front", "camera:back", "system:tokens")
        clock.advance(60)
    assert ids(events.page(ADMIN, ALL, 4)) == [60, 59, 58, 57]
    assert ids(events.page(ADMIN, ALL, 2, before=58)) == [57, 56]
    assert ids(events.page(FRONT, ALL, 4)) == [58, 55, 52, 49]
    assert ids(events.page(FRONT, ALL, 4, before=10)) == [7, 4, 1]
    both = Caller("3", "both", ("camera:front:view", "*:back:*"))
    assert ids(events.page(both, ALL, 4)) == [59, 58, 56, 55]
    assert ids(events.page(both, EventFilter(subject="camera:back"), 2)) == [59, 56]
    assert events.page(FRONT, EventFilter(subject="camera:back"), 2) == []
    assert events.page(Caller("4", "none", ("door:garage:open",)), ALL, 2) == []
    since = clock.now() - timedelta(minutes=2)
    assert ids(events.page(ADMIN, EventFilter(since=since), 10)) == [60, 59, 58, 57, 56, 55]
    assert ids(events.page(FRONT, EventFilter(since=since), 10)) == [58, 55]
    assert events.page(ADMIN, EventFilter(since=clock.now()), 10) == []
    fill(events, "camera:front", type="rare")
    assert ids(events.page(ADMIN, EventFilter(type="rare"), 10)) == [61]
    assert ids(events.page(FRONT, EventFilter(type="x", subject="camera:front"), 1)) == [58]
    assert events.page(ADMIN, EventFilter(type="unknown"), 10) == []


def test_since_finds_what_was_written_while_the_clock_was_wrong(events: Events, clock: FakeClock) -> None:
    fill(events, "camera:front")
    clock.jump(-50 * 365 * DAY)
    fill(events, "camera:front")
    clock.jump(50 * 365 * DAY)
    fill(events, "camera:front")
    assert ids(events.page(ADMIN, EventFilter(since=clock.now()), 10)) == [3, 1]


@pytest.mark.parametrize(
    ("caller", "chosen"),
    [(ADMIN, ALL), (FRONT, ALL), (ADMIN, EventFilter(type="rare")), (FRONT, EventFilter(type="rare"))],
)
def test_the_cost_of_a_page_does_not_rise_with_what_it_leaves_out(
    caller: Caller, chosen: EventFilter, events: Events, database: Database
) -> None:
    fill(events, "camera:front", type="rare")
    fill(events, *["camera:back", "system:tokens"] * 10_000)
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 1
        return 0

    database._reader().set_progress_handler(count, 100)
    assert 1 in ids(events.page(caller, chosen, 10)) or caller is ADMIN
    events.rows.after(0, 10, chosen, events.visible(caller, chosen))
    database._reader().set_progress_handler(None, 0)
    assert steps < 100  # 10,000 instructions; to look at all the entries takes 20 times as many


def test_which_of_some_rare_types_came_last_is_found_without_a_look_at_all(events: Events, database: Database) -> None:
    assert events.newest_type("low", "ok") is None
    fill(events, "system:storage", type="ok")
    fill(events, "system:storage", type="low")
    fill(events, *["camera:back"] * 20_000)
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 1
        return 0

    database._reader().set_progress_handler(count, 100)
    assert events.newest_type("low", "ok") == "low"
    assert events.newest_type("never") is None
    database._reader().set_progress_handler(None, 0)
    assert steps < 10


# Sums -----------------------------------------------------------------------------------------------------------------


def test_what_comes_often_is_one_entry_for_each_actor_and_a_few_at_most(events: Events, clock: FakeClock) -> None:
    began = clock.now()
    for _ in range(1000):
        events.count("auth.failed", "system:tokens", actor="address:10.0.0.1")
        clock.advance(0.01)
    for number in range(1000):
        events.count("auth.failed", "system:tokens", actor=f"address:10.1.0.{number}")
    events.count("auth.failed", "system:users", actor="address:10.0.0.1")
    assert events.rows.bounds() == (1, 0)
    events.write_counts()
    events.write_counts()
    found = {(event.subject, event.actor): event for event in events.rows.after(0, 100)}
    assert len(found) == MOST_SUMS + 2
    first = found["system:tokens", "address:10.0.0.1"]
    assert first.data["count"] == 1000
    assert (first.data["first_at"], first.data["last_at"]) == ("2026-06-21T12:00:00.000Z", "2026-06-21T12:00:09.990Z")
    assert first.at > began
    assert found["system:tokens", OTHERS].data["count"] == 1000 - MOST_SUMS + 1
    assert sum(event.data["count"] for event in found.values()) == 2001


def test_sums_that_cannot_be_written_are_kept_for_the_next_time(
    events: Events, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    events.count("auth.failed", "system:tokens", actor="address:10.0.0.1")

    def full() -> Any:
        events.count("auth.failed", "system:tokens", actor="address:10.0.0.1")
        events.count("auth.failed", "system:tokens", actor="address:10.0.0.2")
        raise StorageFull("full")

    with monkeypatch.context() as patch:
        patch.setattr(database, "write", full)
        with pytest.raises(StorageFull):
            events.write_counts()
    events.write_counts()
    assert [event.data["count"] for event in events.rows.after(0, 10)] == [2, 1]


def test_what_happens_anyway_is_noted_if_it_can_be(
    events: Events, database: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full() -> Any:
        raise StorageFull("The disk is full.")

    with monkeypatch.context() as patch:
        patch.setattr(database, "write", full)
        assert not events.note("system.started", "system:service")
    assert "system.started" in caplog.text
    assert events.note("system.started", "system:service")


# Retention ------------------------------------------------------------------------------------------------------------


class Keeping:
    """A journal that is kept 10 days, looked after every 10 minutes for as long as a test says."""

    def __init__(self, events: Events, clock: FakeClock) -> None:
        self.believed = True
        self._events = events
        self._clock = clock
        self._retention = JournalRetention(events.rows, clock, 10, lambda: self.believed)

    def restart(self) -> None:
        self._retention = JournalRetention(self._events.rows, self._clock, 10, lambda: self.believed)

    def look(self) -> None:
        self._retention.keep()

    def pass_days(self, days: float) -> None:
        for _ in range(int(days * 8)):
            self._clock.advance(DAY / 8)
            self.look()

    @property
    def oldest(self) -> int:
        return self._events.rows.bounds()[0]


@pytest.fixture
def keeping(events: Events, clock: FakeClock) -> Keeping:
    keeping = Keeping(events, clock)
    keeping.look()
    return keeping


def test_entries_are_removed_when_they_are_old_and_ids_are_never_used_again(keeping: Keeping, events: Events) -> None:
    for _ in range(20):
        fill(events, "camera:front")
        keeping.pass_days(1)
    assert 9 <= keeping.oldest <= 11
    keeping.pass_days(30)
    assert events.rows.bounds() == (21, 20)
    fill(events, "camera:front")
    assert ids(events.rows.after(0, 10)) == [21]
    (marks,) = events._database.read_one("SELECT count(*) FROM journal_marks") or (0,)
    assert marks <= 12


def test_a_machine_that_was_in_1970_for_months_loses_nothing_when_its_clock_is_set(
    keeping: Keeping, events: Events, clock: FakeClock
) -> None:
    clock.jump(-56 * 365 * DAY)
    keeping.believed = False
    fill(events, "camera:front")
    keeping.pass_days(60)
    fill(events, "camera:front")
    clock.jump(56 * 365 * DAY)
    keeping.believed = True
    keeping.pass_days(9)
    assert keeping.oldest == 1
    keeping.pass_days(3)
    assert keeping.oldest == 3


def test_a_clock_that_is_a_year_ahead_for_a_minute_removes_nothing(
    keeping: Keeping, events: Events, clock: FakeClock
) -> None:
    fill(events, "camera:front")
    keeping.pass_days(5)
    clock.jump(365 * DAY)
    keeping.look()
    keeping.restart()
    keeping.look()
    clock.jump(-365 * DAY)
    keeping.look()
    assert keeping.oldest == 1
    keeping.pass_days(7)
    assert keeping.oldest == 2


def test_a_clock_that_nobody_believes_removes_nothing(keeping: Keeping, events: Events) -> None:
    fill(events, "camera:front")
    keeping.pass_days(5)
    keeping.believed = False
    keeping.pass_days(50)
    assert keeping.oldest == 1


def test_the_journal_is_bounded_whatever_the_clock_says_and_goes_in_small_steps(
    events: Events, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("piapi.services.journal_retention.MOST_ENTRIES", 100)
    monkeypatch.setattr("piapi.services.journal_retention.MOST_BATCHES", 2)
    fill(events, *["camera:front"] * 600)
    keeping = Keeping(events, clock)
    keeping.believed = False
    keeping.look()
    assert keeping.oldest == 2 * AT_ONCE + 1
    keeping.look()
    assert keeping.oldest == 501


# Live: the feed -------------------------------------------------------------------------------------------------------


class Following:
    """A feed with its readers, and what each of them got."""

    def __init__(self, events: Events) -> None:
        self.read = 0
        self.encoded = 0
        self.now = 0.0
        self.feed = EventFeed(events, self._encode, most=3)
        events._database.on_commit.append(self.feed.changed)

    def _encode(self, item: Any) -> bytes:
        self.encoded += 1
        return encode(item)

    def drain(self, reader: Reader) -> list[int | tuple[int, int]]:
        """Ids, and gaps as pairs."""
        seen: list[int | tuple[int, int]] = []
        while texts := reader.next(self.now):
            for text in texts:
                data = json.loads(text.decode().split("data: ", 1)[1])
                seen.append((data["from"], data["to"]) if text.startswith(b"event: gap") else data["id"])
        return seen


@pytest.fixture
def following(events: Events) -> Following:
    return Following(events)


def test_a_reader_gets_what_is_new_once_in_order_and_all_share_it(following: Following, events: Events) -> None:
    fill(events, "camera:front")
    first, second = (following.feed.join(ADMIN, ALL) for _ in range(2))
    assert following.drain(first) == []
    fill(events, "camera:front", "camera:back")
    assert following.drain(first) == [2, 3]
    fill(events, "camera:front")
    assert following.drain(first) == [4]
    assert following.drain(second) == [2, 3, 4]
    assert following.encoded == 3


def test_a_reader_is_woken_by_each_commit_and_not_before(following: Following, events: Events) -> None:
    reader, woken = following.feed.join(ADMIN, ALL), list[int]()
    reader.wake = lambda: woken.append(events.rows.bounds()[1])
    with events._database.write() as connection:
        events.entry("x", "camera:front")(connection)
        assert following.drain(reader) == [] and woken == []
    assert woken == [1]
    assert following.drain(reader) == [1]
    reader.leave()
    reader.leave()
    fill(events, "camera:front")
    assert woken == [1]


def test_what_another_process_writes_is_noticed_soon_for_all_at_once(
    following: Following, events: Events, tmp_path: Path
) -> None:
    readers = [following.feed.join(ADMIN, ALL) for _ in range(3)]
    assert [following.drain(reader) for reader in readers] == [[], [], []]
    following.now = LOOK_EVERY_S
    assert following.drain(readers[0]) == []
    with sqlite3.connect(tmp_path / "piapi.db") as other:
        other.execute("INSERT INTO events (at, type, subject, actor, data) VALUES (1, 'x', 'camera:a', 'y', '{}')")
    other.close()
    woken = list[int]()
    for number, reader in enumerate(readers):
        reader.wake = lambda number=number: woken.append(number)  # type: ignore[misc]
    assert following.drain(readers[0]) == []
    following.now += LOOK_EVERY_S
    assert following.drain(readers[0]) == [1]
    assert woken == [0, 1, 2]
    assert [following.drain(reader) for reader in readers[1:]] == [[1], [1]]


def test_a_reader_sees_only_what_it_may_and_asked_for(following: Following, events: Events, clock: FakeClock) -> None:
    by_scope = following.feed.join(FRONT, ALL, 0)
    by_type = following.feed.join(ADMIN, EventFilter(type="rare"), 0)
    by_subject = following.feed.join(ADMIN, EventFilter(subject="camera:back"), 0)
    for _ in range(PAGE):  # from the database, then from memory
        fill(events, "camera:front", "camera:back", "system:tokens")
    fill(events, "camera:front", type="rare")
    for reader, step in ((by_scope, 1), (by_subject, 2)):
        assert following.drain(reader) == [*range(step, 3 * PAGE + 1, 3), *([151] if reader is by_scope else [])]
    assert following.drain(by_type) == [151]
    fill(events, "camera:back", "camera:front", type="rare")
    assert [following.drain(reader) for reader in (by_scope, by_type, by_subject)] == [[153], [152, 153], [152]]


def test_resuming_neither_loses_nor_repeats_while_more_is_being_written(following: Following, events: Events) -> None:
    fill(events, *["camera:front", "camera:back"] * RECENT)
    written = threading.Event()

    def write() -> None:
        for _ in range(200):
            fill(events, "camera:front", "camera:back")
        written.set()

    writer = threading.Thread(target=write)
    everything, front = following.feed.join(ADMIN, ALL, 7), following.feed.join(FRONT, ALL, 7)
    seen: tuple[list[Any], list[Any]] = ([], [])
    writer.start()
    done = False
    while not done:
        done = written.is_set()
        seen[0].extend(following.drain(everything))
        seen[1].extend(following.drain(front))
    writer.join()
    newest = 2 * RECENT + 400
    assert seen[0] == [*range(8, newest + 1)]
    assert seen[1] == [*range(9, newest + 1, 2)]


def test_a_reader_who_lags_behind_memory_reads_on_from_the_database(following: Following, events: Events) -> None:
    slow, fast = (following.feed.join(ADMIN, ALL) for _ in range(2))
    for _ in range(10):
        fill(events, *["camera:front"] * 100)
        assert len(following.drain(fast)) == 100
    assert len(slow.next(0.0)) == PAGE
    assert following.drain(slow) == [*range(PAGE + 1, 1001)]


def test_a_gap_is_told_where_entries_have_gone(following: Following, events: Events) -> None:
    fill(events, *["camera:front"] * 20)
    events.rows.remove_through(10, 100)
    assert following.drain(following.feed.join(ADMIN, ALL, 5)) == [(6, 10), *range(11, 21)]
    resumed = following.feed.join(ADMIN, ALL, 10)
    assert following.drain(resumed) == [*range(11, 21)]
    resumed.leave()
    # Also while one is catching up, and when all have gone.
    lagging = following.feed.join(ADMIN, ALL, 10)
    events.rows.remove_through(20, 100)
    assert following.drain(lagging) == [(11, 20)]
    fill(events, "camera:front")
    assert following.drain(lagging) == [21]


def test_an_id_from_a_later_journal_is_a_gap_and_then_it_goes_on(following: Following, events: Events) -> None:
    fill(events, *["camera:front"] * 5)
    reader = following.feed.join(ADMIN, ALL, 900)
    assert following.drain(reader) == [(6, 900)]
    fill(events, "camera:front")
    assert following.drain(reader) == [6]


def test_since_begins_there_and_goes_on(following: Following, events: Events, clock: FakeClock) -> None:
    fill(events, *["camera:front"] * 5)
    clock.advance(60)
    fill(events, *["camera:front"] * 2)
    reader = following.feed.join(ADMIN, EventFilter(since=clock.now()))
    assert following.drain(reader) == [6, 7]
    fill(events, "camera:front")
    assert following.drain(reader) == [8]
    late = following.feed.join(ADMIN, EventFilter(since=clock.now() + timedelta(hours=1)), 2)
    fill(events, "camera:front")
    assert following.drain(late) == []
    clock.advance(7200)
    fill(events, "camera:front")
    assert following.drain(late) == [10]


def test_places_are_bounded_and_given_back(following: Following) -> None:
    readers = [following.feed.join(ADMIN, ALL) for _ in range(3)]
    with pytest.raises(TooManyRequests):
        following.feed.join(ADMIN, ALL)
    readers[0].leave()
    following.feed.join(ADMIN, ALL)
    assert following.feed.readers == 3


def test_a_stream_begins_with_its_retry_and_says_something_every_15_seconds(
    following: Following, events: Events
) -> None:
    stream = EventStream(following.feed.join(ADMIN, ALL), lambda: True)
    woken: list[int] = []
    stream.attach(lambda: woken.append(1))
    assert stream.next(100.0) == (b"retry: 3000\n\n",)
    assert stream.next(100.0) is None
    fill(events, "camera:front")
    assert woken
    (text,) = stream.next(101.0) or ()
    assert isinstance(text, bytes)
    assert re.fullmatch(rb'id: 1\nevent: x\ndata: \{"id":1,"at":"2026-06-21T12:00:00.000Z",.*\}\n\n', text)
    assert stream.next(100 + COMMENT_EVERY_S) == (b":\n\n",)
    assert stream.next(100 + COMMENT_EVERY_S) is None
    stream.close()
    assert following.feed.readers == 0


# What is written ------------------------------------------------------------------------------------------------------


def journal(api: Api, **query: str) -> list[dict[str, Any]]:
    """Oldest first."""
    found: list[dict[str, Any]] = api.get("/events", query_string=query).get_json()["items"]
    return found[::-1]


def test_photos_tokens_and_settings_stand_in_the_journal_with_who_did_it(api: Api) -> None:
    photo = api.post("/cameras/demo/photos", json={"label": "tomatoes"}).get_json()
    api.patch(photo["links"]["self"], json={"pinned": True})
    api.patch(photo["links"]["self"], json={"pinned": 1})
    api.delete(photo["links"]["self"])
    api.patch("/cameras/demo", json={"rotation": 180})
    token = api.post("/tokens", json={"name": "tablet", "role": "viewer"}).get_json()
    api.delete(token["links"]["self"])
    found = [entry for entry in journal(api) if entry["actor"] == "token:test"]
    links = {"photo": photo["links"]["self"]}
    assert [(entry["type"], entry["subject"]) for entry in found] == [
        ("photo.captured", "camera:demo"),
        ("photo.changed", "camera:demo"),
        ("photo.removed", "camera:demo"),
        ("camera.configured", "camera:demo"),
        ("token.created", "system:tokens"),
        ("token.revoked", "system:tokens"),
    ]
    assert found[0]["data"] == {
        "id": photo["id"],
        "captured_at": photo["captured_at"],
        "label": "tomatoes",
        "emulated": True,
        "links": links,
    }
    assert found[1]["data"] == {"id": photo["id"], "pinned": True, "links": links}
    assert found[2]["data"] == {"id": photo["id"]}
    assert found[3]["data"] == {"rotation": 180, "controls": {}}
    assert found[4]["data"]["links"] == {"token": token["links"]["self"]}
    assert token["token"] not in json.dumps(found)
    assert set(found[0]) == {"id", "at", "type", "subject", "actor", "data"}


def test_starting_and_stopping_stand_in_the_journal(settings: config.Settings) -> None:
    for _ in range(2):
        app = create_app(settings)
        app.extensions["piapi"].start()
        app.extensions["piapi"].services.events.count("auth.failed", "system:tokens", actor="address:::1")
        app.extensions["piapi"].close()
        app.extensions["piapi"].close()
    database = Database(settings.storage.path / "piapi.db")
    database.open()
    found = Events(database, FakeClock()).rows.after(0, 100)
    database.close()
    assert [event.type for event in found if event.type != "camera.state"] == [
        "system.started",
        "auth.failed",
        "system.stopped",
    ] * 2
    assert found[0].data["emulated"] is True


def test_wrong_tokens_are_summed_and_missing_ones_are_no_news(api: Api, nobody: Api, services: Services) -> None:
    for headers in ({"Authorization": "Bearer wrong"}, {"Authorization": "bearer piapi_other"}):
        assert_problem(nobody.get("/cameras", headers=headers), 401, "unauthenticated")
    assert nobody.client.get("/api/v1/cameras", auth=("token", "wrong")).status_code == 401
    for headers in ({}, {"Authorization": "Bearer "}, {"Authorization": "Nonsense"}):
        assert_problem(nobody.get("/cameras", headers=headers), 401, "unauthenticated")
    services.events.write_counts()
    (entry,) = journal(api, type="auth.failed")
    assert (entry["subject"], entry["actor"]) == ("system:tokens", "address:127.0.0.1")
    assert entry["data"]["count"] == 3
    assert set(entry["data"]) == {"count", "first_at", "last_at"}


def test_a_camera_that_comes_and_goes_is_told_and_one_that_flaps_is_bounded(
    api: Api, services: Services, faults: Faults, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = CameraStates(services.cameras, services.events, clock)
    demo = services.cameras.get("demo")
    assert demo.owner.wait_ready(10)
    failure: list[str | None] = [None]
    monkeypatch.setattr(type(demo.owner), "failure", property(lambda owner: failure[0]))

    def told() -> list[tuple[str, str | None]]:
        found = journal(api, subject="camera:demo", type="camera.state")
        return [(entry["data"]["state"], entry["data"].get("detail")) for entry in found]

    before = len(told())
    states.note()
    states.note()
    failure[0] = "unplugged"
    states.note()
    assert told()[before:] == [("ready", None), ("unavailable", "unplugged")]
    for number in range(100):
        failure[0] = f"unplugged {number}"
        states.note()
    assert len(told()) - before == MOST_AT_ONCE
    clock.advance(ONE_MORE_S)
    states.note()
    assert told()[-1] == ("unavailable", "unplugged 99")


# Over HTTP: pages -----------------------------------------------------------------------------------------------------


@pytest.fixture
def written(services: Services) -> Services:
    """A journal with 30 entries of three subjects."""
    for number in range(10):
        for subject in ("camera:demo", "camera:back", "system:users"):
            services.events.record("test.entry", subject, {"number": number}, actor="console")
    return services


def test_pages_follow_each_other_without_repeating_or_skipping(written: Services, api: Api) -> None:
    seen: list[dict[str, Any]] = []
    path: str | None = "/events?type=test.entry&limit=7"
    while path:
        page = api.get(path).get_json()
        seen += page["items"]
        written.events.record("test.entry", "camera:demo", {"number": -1})
        path = page["links"].get("next")
    assert [entry["data"]["number"] for entry in seen] == [number for number in range(9, -1, -1) for _ in range(3)]
    assert [entry["id"] for entry in seen] == sorted((entry["id"] for entry in seen), reverse=True)


def test_only_what_the_caller_may_view_is_listed(written: Services, client_with: Callable[..., Api], api: Api) -> None:
    subjects = {entry["subject"] for entry in journal(client_with("camera:back:view"), limit="200")}
    assert subjects == {"camera:back"}
    cameras = client_with("camera:*:view", "door:garage:open")
    assert {entry["subject"] for entry in journal(cameras, type="test.entry")} == {"camera:demo", "camera:back"}
    assert journal(cameras, subject="system:users") == []
    assert journal(client_with("camera:demo:capture")) == []
    assert len(journal(api, subject="system:users", limit="200")) == 10


def test_filters_name_type_subject_and_time(written: Services, api: Api) -> None:
    at = journal(api, type="test.entry", subject="camera:back")[4]["at"]
    found = journal(api, type="test.entry", subject="camera:back", since=at)
    assert [entry["data"]["number"] for entry in found][-5:] == [5, 6, 7, 8, 9]
    assert all(entry["at"] >= at for entry in found)
    assert journal(api, since="2999-01-01T00:00:00Z") == []


@pytest.mark.parametrize(
    ("query", "where"),
    [
        ("limit=0", {"limit"}),
        ("limit=201", {"limit"}),
        ("limit=a", {"limit"}),
        ("cursor=made-up", {"cursor"}),
        ("cursor=WzEsMl0", {"cursor"}),
        ("since=yesterday", {"since"}),
        ("since=2026-01-01T00:00:00", {"since"}),
        ("type=" + "x" * 101, {"type"}),
        ("subject=a%00", {"subject"}),
        ("kind=camera", {"kind"}),
        ("type=a&type=b", {"type"}),
    ],
)
def test_a_query_that_makes_no_sense_is_refused(api: Api, query: str, where: set[str]) -> None:
    for accept in ("application/json", "text/event-stream"):
        response = api.get(f"/events?{query}", headers={"Accept": accept})
        assert faults_of(assert_problem(response, 422, "invalid")) == where


def test_nobody_reads_the_journal_without_a_token(nobody: Api) -> None:
    for accept in ("application/json", "text/event-stream"):
        assert_problem(nobody.get("/events", headers={"Accept": accept}), 401, "unauthenticated")


def test_it_is_to_be_had_in_two_forms_and_no_other(api: Api) -> None:
    assert_problem(api.get("/events", headers={"Accept": "text/html"}), 406, "not-acceptable")
    response = api.get("/events", headers={"Accept": "*/*", "Last-Event-ID": "nonsense"})
    assert response.content_type == "application/json"
    assert "Accept" in response.headers["Vary"]
    assert_problem(api.post("/events", json={}), 405, "method-not-allowed")
    assert_problem(api.delete("/events"), 405, "method-not-allowed")
    assert api.get("/").get_json()["links"]["events"] == "/api/v1/events"


# Over HTTP: live ------------------------------------------------------------------------------------------------------

LIVE = {"Accept": "text/event-stream"}


@pytest.mark.parametrize("made_up", ["", "x", "-1", "1.5", "0x10", "9" * 16, "9" * 400, "1 2"])
def test_a_made_up_last_event_id_is_refused(api: Api, services: Services, made_up: str) -> None:
    response = api.get("/events", headers={**LIVE, "Last-Event-ID": made_up})
    assert_problem(response, 400, "bad-request")
    assert services.feed.readers == 0


def test_a_stream_says_how_it_is_to_be_treated_and_gives_its_place_back(api: Api, services: Services) -> None:
    response = api.get("/events", headers=LIVE, buffered=False)
    assert response.content_type == "text/event-stream"
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["X-Accel-Buffering"] == "no"
    assert "Accept" in response.headers["Vary"]
    assert services.feed.readers == 1
    response.close()
    assert services.feed.readers == 0
    head = api.open("HEAD", "/events", headers=LIVE)
    assert head.content_type == "text/event-stream"
    assert services.feed.readers == 0


def test_the_reader_beyond_the_last_place_is_told_to_come_back(
    api: Api, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services.feed, "_most", 2)
    readers = [api.get("/events", headers=LIVE, buffered=False) for _ in range(2)]
    response = api.get("/events", headers=LIVE)
    assert_problem(response, 429, "too-many-requests")
    assert int(response.headers["Retry-After"]) > 0
    for reader in readers:
        reader.close()
    api.get("/events", headers=LIVE, buffered=False).close()


def test_a_stream_ends_when_its_token_is_revoked(api: Api, app: Flask, services: Services) -> None:
    token, secret = services.access.create_token("x", scopes=["camera:*:view"])
    caller = services.access.authenticate(secret)
    assert caller is not None and services.access.current(caller) == caller
    response = Api(app.test_client(), secret).get("/events?subject=camera:none", headers=LIVE, buffered=False)
    parts = response.iter_encoded()
    assert next(parts) == b"retry: 3000\n\n"
    services.access.revoke(token.id)
    assert list(parts) == []
    response.close()
