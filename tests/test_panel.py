"""What hangs on the board, started and ended as one."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from piapi.clock import SystemClock
from piapi.errors import LineBusy
from piapi.services.events import Events
from piapi.services.panel import Panel
from piapi.services.pin_kinds import PinConfig
from piapi.storage.database import Database
from tests.fake_board import FakeBoard, FakeGuard

OnLost = Callable[[frozenset[int]], None]

CONFIGS = (
    PinConfig("heater", "GPIO17", "output"),
    PinConfig("lamp", "GPIO6", "output", on_exit="keep"),
    PinConfig("fan", "GPIO12", "pwm"),
)


class Leases(FakeGuard):
    """A guard that is connected to."""

    is_closed = False
    on_lost: OnLost

    def open(self) -> None:
        pass

    def close(self) -> None:
        self.is_closed = True

    def of(self, on_lost: OnLost) -> Leases:
        self.on_lost = on_lost
        return self


@pytest.fixture
def board() -> FakeBoard:
    return FakeBoard()


@pytest.fixture
def leases(board: FakeBoard) -> Leases:
    return Leases(board)


@contextlib.contextmanager
def started(board: FakeBoard, leases: Leases, tmp_path: Path) -> Iterator[Panel]:
    database, clock = Database(tmp_path / "piapi.db"), SystemClock()
    database.open()
    panel = Panel(board, leases.of, CONFIGS, (), database, Events(database, clock), clock, "boot", lambda *_: None)
    panel.start()
    yield panel
    panel.close()
    database.close()


@pytest.fixture
def panel(board: FakeBoard, leases: Leases, tmp_path: Path) -> Iterator[Panel]:
    with started(board, leases, tmp_path) as panel:
        yield panel


def switch_on(panel: Panel) -> None:
    for name, value in (("heater", True), ("lamp", True), ("fan", 0.5)):
        panel.pins.switch(panel.pins.get(name), value, "token:test")


def test_the_end_of_the_guard_switches_off_what_it_answered_for(panel: Panel, board: FakeBoard, leases: Leases) -> None:
    switch_on(panel)
    leases.on_lost(frozenset({17, 12}))
    assert board.levels == {17: False, 6: True, 12: 0.0}


def test_at_the_end_everything_is_off_and_the_guard_hears_it(panel: Panel, board: FakeBoard, leases: Leases) -> None:
    switch_on(panel)
    panel.close()
    assert board.levels == {17: False, 6: True, 12: 0.0} and leases.is_closed


@pytest.mark.parametrize(("name", "line", "value"), [("heater", 17, True), ("fan", 12, 0.5)])
def test_what_cannot_be_switched_off_at_the_end_is_left_to_the_guard(
    panel: Panel, board: FakeBoard, leases: Leases, name: str, line: int, value: bool | float
) -> None:
    panel.pins.switch(panel.pins.get(name), value, "token:test")
    board.fail_next = LineBusy("gone")
    panel.close()
    assert line in leases.leases and not leases.is_closed


def test_a_fault_of_a_library_leaves_the_pins_unavailable_and_the_service_alive(
    board: FakeBoard, leases: Leases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fault() -> None:
        raise RuntimeError("a revision that nobody knows")

    with monkeypatch.context() as patch:
        patch.setattr(board, "open", fault)
        with started(board, leases, tmp_path) as panel:
            heater = panel.pins.get("heater")
            assert "a revision that nobody knows" in (heater.detail or "")
            assert not heater.is_claimed
            patch.undo()
            panel.retry()
            assert heater.is_claimed
            assert heater.detail is None
