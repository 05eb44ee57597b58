"""Writing down what has happened already, whatever becomes of one entry."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from piapi.clock import SystemClock
from piapi.services.events import Events
from piapi.services.recorder import Recorder
from piapi.storage.database import Database


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(tmp_path / "piapi.db")
    database.open()
    yield database
    database.close()


def test_an_entry_that_cannot_be_written_costs_no_other(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    def fail(connection: sqlite3.Connection) -> None:
        raise sqlite3.DatabaseError("malformed")

    clock = SystemClock()
    recorder, events = Recorder(database, clock), Events(database, clock)
    recorder.put(events.entry("pin.changed", "pin:a"), fail, events.entry("pin.changed", "pin:b"))
    recorder.start()
    assert recorder.flush(30)
    recorder.put(events.entry("pin.changed", "pin:c"))
    recorder.close()
    assert [row["subject"] for row in database.read("SELECT subject FROM events")] == ["pin:a", "pin:b", "pin:c"]
    assert "malformed" in caplog.text
