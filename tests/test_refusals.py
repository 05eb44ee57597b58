"""Refused commands in the journal: each one by hand, and a count of those of a script gone wild."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from piapi.errors import Locked
from piapi.models import Caller, Event, EventFilter
from piapi.services.events import Events
from piapi.services.recorder import Recorder
from piapi.services.refusals import BURST, MOST_KNOWN, Refusals
from piapi.storage.database import Database
from tests.fakes import FakeClock

OWNER = Caller("token:1", "token:owner", ("*:*:*",))


class Desk:
    """Refusals, and the journal that they come to."""

    def __init__(self, folder: Path) -> None:
        self.clock = FakeClock()
        self.database = Database(folder / "piapi.db")
        self.database.open()
        self.events = Events(self.database, self.clock)
        self.recorder = Recorder(self.database, self.clock)
        self.recorder.start()
        self.refusals = Refusals(self.events, self.recorder, self.clock)

    def refuse(self, actor: str = "token:anna", subject: str = "door:garage", **data: Any) -> None:
        with pytest.raises(Locked), self.refusals.recorded(subject, data, actor):
            raise Locked("It is locked.")

    def journal(self) -> list[Event]:
        assert self.recorder.flush(30)
        return self.events.page(OWNER, EventFilter(), 200)[::-1]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path)
    yield desk
    desk.recorder.close()
    desk.database.close()


def test_each_of_some_refused_commands_stands_in_the_journal_whoever_gave_it(desk: Desk) -> None:
    desk.refuse("token:anna", target="open")
    desk.refuse("token:bert", target="open")
    desk.refuse("token:anna", target="closed")
    desk.refuse("token:anna", subject="pin:lamp", value=True)
    assert [(entry.actor, entry.subject, entry.data.get("target")) for entry in desk.journal()] == [
        ("token:anna", "door:garage", "open"),
        ("token:bert", "door:garage", "open"),
        ("token:anna", "door:garage", "closed"),
        ("token:anna", "pin:lamp", None),
    ]
    assert {(entry.type, entry.data["reason"]) for entry in desk.journal()} == {("command.refused", "It is locked.")}


def test_many_of_one_caller_are_counted_and_hide_nobody_else(desk: Desk) -> None:
    for _ in range(100):
        desk.refuse("token:script")
    desk.refuse("token:anna")
    assert [entry.actor for entry in desk.journal()] == ["token:script"] * BURST + ["token:anna"]
    desk.clock.advance(1)
    desk.refuse("token:script")
    assert desk.journal()[-1].data["unsaid"] == 100 - BURST
    desk.clock.advance(60)
    desk.refuse("token:script")
    assert "unsaid" not in desk.journal()[-1].data


def test_what_is_known_of_callers_is_bounded(desk: Desk) -> None:
    for number in range(MOST_KNOWN + 50):
        desk.refuse(f"token:{number}")
    assert len(desk.refusals._told) == MOST_KNOWN
