"""Pins below HTTP: first the intent is durable, then the line moves, and what it did is in the journal."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from piapi.errors import Conflict, Invalid, LineBusy, NotFound, StorageFull
from piapi.models import Actuation
from piapi.services.events import Events
from piapi.services.inputs import Inputs
from piapi.services.levels import Levels
from piapi.services.outputs import Outputs
from piapi.services.pin_kinds import InputPin, LevelPin, OutputPin, Pin, PinConfig
from piapi.services.pins import Pins
from piapi.services.recorder import Recorder
from piapi.services.timetable import Timetable
from piapi.storage.database import Database
from tests.fake_board import FakeBoard, FakeGuard
from tests.fakes import FakeClock

CONFIGS = (
    PinConfig("lamp", "GPIO17", "output"),
    PinConfig("heater", "GPIO5", "output", max_on_s=10.0, active_low=True),
    PinConfig("fan", "GPIO6", "output", on_exit="keep"),
    PinConfig("dimmer", "GPIO12", "pwm", max_on_s=5.0),
    PinConfig("arm", "GPIO13", "servo"),
    PinConfig("bell", "GPIO27", "input", pull="up", active_low=True),
    PinConfig("pump", "GPIO22", "output", min_gap_s=300.0),
)


class Panel:
    """Pins on a board that a test watches, over a database on disk."""

    def __init__(self, folder: Path, boot_id: str = "boot", board: FakeBoard | None = None) -> None:
        self.clock = FakeClock()
        self.board = board or FakeBoard()
        self.guard = FakeGuard(self.board)
        self.timetable = Timetable(self.clock)
        self.database = Database(folder / "piapi.db")
        self.database.open()
        self.events = Events(self.database, self.clock)
        self.recorder = Recorder(self.database, self.clock)
        self.outputs = Outputs(self.board, self.guard, self.timetable, self.clock)
        self.levels = Levels(self.board, self.guard, self.timetable, self.clock)
        self.inputs = Inputs(self.board, self.timetable, self.clock)
        self.pins = Pins(
            {config.name: self._pin(config) for config in CONFIGS},
            self.board,
            self.database,
            self.events,
            self.recorder,
            self.clock,
            boot_id,
        )
        self.recorder.start()
        self.pins.start()
        self.pins.claim_missing()

    def _pin(self, config: PinConfig) -> Pin:
        def record(type: str, data: dict[str, Any], actor: str = "nobody") -> None:
            self.recorder.put(self.events.entry(type, f"pin:{config.name}", data, actor=actor))

        if config.mode == "output":
            return OutputPin(config, self.outputs, record, self.clock)
        if config.mode == "input":
            return InputPin(config, self.inputs, record, self.timetable.at, self.clock)
        return LevelPin(config, self.levels, record, self.clock)

    def passes(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.timetable.keep_due()

    def switch(self, name: str, value: Any) -> None:
        self.pins.switch(self.pins.get(name), value, "token:test")

    def pulse(self, name: str, duration_s: float) -> Actuation:
        return self.pins.pulse(self.pins.get(name), duration_s, "token:test")

    def journal(self, name: str) -> list[tuple[str, dict[str, Any]]]:
        assert self.recorder.flush(30)
        rows = self.database.read("SELECT * FROM events WHERE subject = ? ORDER BY id", (f"pin:{name}",))
        import json

        return [(row["type"], json.loads(row["data"])) for row in rows]

    def stop(self) -> None:
        self.outputs.close()
        self.levels.close()
        self.inputs.close()
        self.crash()

    def crash(self) -> None:
        """Nothing is switched off by us."""
        self.recorder.close()
        self.database.close()


@pytest.fixture
def panel(tmp_path: Path) -> Iterator[Panel]:
    panel = Panel(tmp_path)
    yield panel
    panel.stop()


def test_nothing_moves_at_the_start(panel: Panel) -> None:
    claims = [(what, line, level) for what, line, level in panel.board.history]
    assert claims == [
        ("output", 17, False),
        ("output", 5, True),
        ("output", 6, False),
        ("pwm", 12, 0.0),
        ("servo", 13, None),
        ("input", 27, True),
        ("output", 22, False),
    ]
    assert [pin.value for pin in panel.pins] == [False, False, False, 0.0, None, False, False]


def test_the_intent_is_durable_before_the_edge(panel: Panel, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[tuple[str, dict[str, Any]]]] = []
    write = panel.board.write
    monkeypatch.setattr(
        panel.board, "write", lambda line, level: (seen.append(panel.journal("lamp")), write(line, level))
    )
    panel.switch("lamp", True)
    assert seen[0] == [("command.accepted", {"value": True})]
    assert panel.journal("lamp")[1] == ("pin.changed", {"value": True})


def test_what_cannot_be_written_down_does_not_move(panel: Panel, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise StorageFull("full")

    monkeypatch.setattr(panel.database, "write", full)
    with pytest.raises(StorageFull):
        panel.switch("lamp", True)
    with pytest.raises(StorageFull):
        panel.pulse("lamp", 1.0)
    assert panel.board.written(17) == [False]
    monkeypatch.undo()
    panel.switch("lamp", True)


def test_a_pulse_is_told_of_from_its_intent_to_its_end(panel: Panel) -> None:
    pulse = panel.pulse("lamp", 0.5)
    assert pulse.state == "active" and pulse.requested_by == "token:test"
    panel.passes(0.5)
    done = panel.pins.actuation(pulse.id)
    assert (done.state, done.on_s) == ("done", 0.5) and done.ended_at is not None
    changes = [data for type, data in panel.journal("lamp") if type == "pin.changed"]
    assert changes == [{"value": True}, {"value": False, "cause": "time", "on_s": 0.5}]
    assert panel.pins._actuations.get(pulse.id) == done, "and so it stands in the database"


def test_a_pulse_that_is_switched_off_was_interrupted(panel: Panel) -> None:
    pulse = panel.pulse("lamp", 5.0)
    with pytest.raises(Conflict, match="pulse of lamp is running"):
        panel.switch("lamp", True)
    panel.passes(1.25)
    panel.switch("lamp", False)
    ended = panel.pins.actuation(pulse.id)
    assert (ended.state, ended.on_s) == ("interrupted", 1.25)


@pytest.mark.parametrize("name", ["lamp", "heater"])
def test_what_a_pulse_will_switch_off_is_not_said_to_stay_on(panel: Panel, name: str) -> None:
    """With a longest time on or without."""
    panel.pulse(name, 1.0)
    with pytest.raises(Conflict, match="A pulse of"):
        panel.switch(name, True)
    panel.passes(1.0)
    panel.switch(name, True)
    panel.switch(name, True)  # twice is as once
    assert panel.pins.get(name).value is True


def test_going_off_waits_for_nothing_that_is_written_down(panel: Panel, monkeypatch: pytest.MonkeyPatch) -> None:
    panel.switch("lamp", True)
    panel.switch("fan", True)
    panel.switch("dimmer", 0.5)

    def full(*_: object) -> None:
        raise StorageFull("full")

    with monkeypatch.context() as patched:
        patched.setattr(panel.database, "write", full)
        for name, off in (("lamp", False), ("fan", False), ("dimmer", 0)):
            panel.switch(name, off)
            assert panel.pins.get(name).value == off
        with pytest.raises(StorageFull):
            panel.switch("arm", 0)


def test_a_pulse_that_a_crash_cut_off_is_unknown_and_is_not_repeated(tmp_path: Path) -> None:
    before = Panel(tmp_path)
    pulse = before.pulse("lamp", 5.0)
    before.crash()
    after = Panel(tmp_path)
    assert after.pins.actuation(pulse.id).state == "unknown"
    assert after.journal("lamp")[-1] == ("actuation.unknown", {"actuation": pulse.id})
    after.passes(10)
    assert after.board.written(17) == [False]
    after.stop()


@pytest.mark.parametrize(
    ("name", "duration_s", "error"),
    [("lamp", 0.001, Invalid), ("lamp", 61.0, Invalid), ("heater", 11.0, Invalid), ("bell", 1.0, Conflict)]
    + [("dimmer", 1.0, Conflict)],
)
def test_a_pulse_that_cannot_be_is_refused_and_stands_in_the_journal(
    panel: Panel, name: str, duration_s: float, error: type[Exception]
) -> None:
    for _ in range(3):
        with pytest.raises(error):
            panel.pulse(name, duration_s)
    refused = panel.journal(name)
    assert [type for type, _ in refused] == ["command.refused"] * 3
    assert refused[0][1]["pulse_s"] == duration_s and refused[0][1]["reason"]


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [("lamp", 1, Invalid), ("lamp", "on", Invalid), ("dimmer", True, Invalid), ("dimmer", 1.5, Invalid)]
    + [("dimmer", -0.1, Invalid), ("arm", -1.1, Invalid), ("bell", True, Conflict)],
)
def test_a_value_of_the_wrong_kind_is_refused(panel: Panel, name: str, value: Any, error: type[Exception]) -> None:
    before = list(panel.board.history)
    with pytest.raises(error):
        panel.switch(name, value)
    assert panel.board.history == before


def test_the_longest_time_on_ends_what_somebody_forgot(panel: Panel) -> None:
    panel.switch("heater", True)
    panel.passes(4)
    panel.switch("heater", True)  # on already: its time is not begun anew
    panel.passes(6)
    assert panel.pins.get("heater").value is False and panel.board.levels[5] is True
    panel.switch("dimmer", 0.5)
    panel.passes(3)
    panel.switch("dimmer", 0.7)
    panel.passes(2)
    assert panel.pins.get("dimmer").value == 0.0 and panel.board.levels[12] == 0.0
    assert panel.journal("dimmer")[-1] == ("pin.changed", {"value": 0.0, "cause": "limit"})


def test_a_pin_that_keeps_its_value_is_claimed_at_it_within_one_boot_alone(tmp_path: Path) -> None:
    first = Panel(tmp_path)
    first.switch("fan", True)
    first.switch("lamp", True)
    first.stop()
    assert first.board.levels[6] is True and first.board.levels[17] is False
    second = Panel(tmp_path)
    assert second.pins.get("fan").value is True and second.board.written(6) == [True]
    second.stop()
    rebooted = Panel(tmp_path, boot_id="another")
    assert rebooted.pins.get("fan").value is False and rebooted.board.written(6) == [False]
    rebooted.stop()


@pytest.mark.parametrize("wanted", [True, False])
def test_a_crash_in_the_middle_of_a_command_lets_no_restart_switch_on_what_was_off(
    tmp_path: Path, wanted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pin keeps its value; piapi dies right at the edge: before it went on, or just after it went off."""
    first = Panel(tmp_path)
    if not wanted:
        first.switch("fan", True)
    write = first.board.write

    def die(line: int, level: bool) -> None:
        if not wanted:
            write(line, level)
        raise SystemExit

    monkeypatch.setattr(first.board, "write", die)
    with pytest.raises(SystemExit):
        first.switch("fan", wanted)
    assert first.board.levels[6] is False
    first.crash()
    second = Panel(tmp_path)
    assert second.board.written(6) == [False]
    second.stop()


def test_of_two_commands_at_once_a_restart_finds_what_came_of_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    panel = Panel(tmp_path)
    off = threading.Thread(target=lambda: panel.switch("fan", False))
    keep = panel.pins._keep

    def keep_late(pin: Pin, is_on: bool) -> None:
        if is_on:
            off.start()
            off.join(0.3)  # time to come in between, if anything lets it
        keep(pin, is_on)

    monkeypatch.setattr(panel.pins, "_keep", keep_late)
    panel.switch("fan", True)
    off.join(30)
    assert panel.board.levels[6] is panel.pins._rows.was_on("fan", "boot") is False
    panel.stop()


def test_a_shortest_gap_goes_on_over_a_restart(tmp_path: Path) -> None:
    first = Panel(tmp_path)
    first.switch("pump", True)
    first.passes(10)
    first.switch("pump", False)
    first.stop()
    second = Panel(tmp_path)
    second.clock.advance(first.clock.monotonic() - second.clock.monotonic() + 40)
    second.pins.start()
    with pytest.raises(Conflict, match=r"in 260\.0 s"):
        second.switch("pump", True)
    second.stop()


def test_what_a_crash_cut_off_keeps_its_whole_shortest_gap(tmp_path: Path) -> None:
    first = Panel(tmp_path)
    first.switch("pump", True)
    first.crash()
    second = Panel(tmp_path)
    with pytest.raises(Conflict, match=r"in 300\.0 s"):
        second.switch("pump", True)
    second.passes(300)
    second.switch("pump", True)
    second.stop()


def test_a_pin_that_keeps_its_value_does_not_go_on_when_another_program_lets_go_of_its_line(tmp_path: Path) -> None:
    first = Panel(tmp_path)
    first.switch("fan", True)
    first.stop()
    board = FakeBoard()
    board.busy = {6}
    second = Panel(tmp_path, board=board)
    board.busy = set()
    second.pins.claim_missing()
    assert board.written(6) == [False]
    second.stop()


def test_a_line_that_another_program_has_is_unavailable_until_it_is_given_back(tmp_path: Path) -> None:
    board = FakeBoard()
    board.busy = {17}
    panel = Panel(tmp_path, board=board)
    lamp = panel.pins.get("lamp")
    assert lamp.value is None and lamp.detail is not None
    with pytest.raises(LineBusy):
        panel.switch("lamp", True)
    board.busy = set()
    panel.pins.claim_missing()
    panel.switch("lamp", True)
    assert lamp.value is True and lamp.detail is None
    panel.stop()


def test_an_input_tells_each_change_and_sums_up_a_bouncing_switch(panel: Panel) -> None:
    bell, at = panel.pins.get("bell"), panel.clock.monotonic()
    panel.board.drive(27, False, at)
    panel.passes(0)
    assert bell.value is True and bell.edges == 1
    for number in range(9):
        panel.board.drive(27, number % 2 == 0, at + 0.01 * number)
    panel.passes(0.1)
    assert bell.edges == 10
    panel.passes(1.0)
    assert panel.journal("bell") == [("pin.changed", {"value": True}), ("pin.changed", {"value": False, "edges": 9})]


def test_an_edge_that_was_lost_is_corrected_and_recorded(panel: Panel) -> None:
    panel.inputs.start()
    panel.board.levels[27] = False  # nobody told
    panel.passes(3.1)
    assert panel.pins.get("bell").value is False, "once may be an edge that is under way"
    panel.passes(3.1)
    assert panel.pins.get("bell").value is True
    assert panel.journal("bell") == [("pin.changed", {"value": True, "corrected": True})]


def test_a_fault_in_one_input_does_not_end_the_reading_back_of_levels(
    panel: Panel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bell: Any = panel.pins.get("bell")

    def fail(*_: object) -> None:
        raise RuntimeError("a fault")

    panel.inputs.start()
    with monkeypatch.context() as patch:
        patch.setattr(bell.input, "compare", fail)
        panel.passes(3.1)
    panel.board.levels[27] = False
    panel.passes(3.1)
    panel.passes(3.1)
    assert bell.value is True and "a fault" in caplog.text


def test_one_level_that_cannot_be_switched_off_keeps_no_other_on(panel: Panel) -> None:
    panel.switch("dimmer", 0.5)
    panel.switch("arm", 0.5)
    panel.board.fail_next = LineBusy("gone")
    panel.levels.release_all("guard")
    assert panel.board.levels[12] == 0.5 and not panel.levels.are_off
    assert panel.board.levels[13] is None and set(panel.guard.leases) == {12}
    panel.levels.release_all("guard")
    assert panel.board.levels[12] == 0.0 and panel.levels.are_off


def test_a_level_that_cannot_be_set_is_off_and_its_lease_has_ended(panel: Panel) -> None:
    panel.board.fail_next = LineBusy("gone")
    with pytest.raises(LineBusy):
        panel.switch("dimmer", 0.5)
    assert panel.board.levels[12] == 0.0 and panel.guard.leases == {}


def test_a_servo_is_slack_again_at_the_end(panel: Panel) -> None:
    panel.switch("arm", 0.0)
    assert panel.pins.get("arm").value == 0.0 and 13 in panel.guard.leases
    panel.levels.close()
    assert panel.board.written(13) == [None, 0.0, None] and 13 not in panel.guard.leases


def test_an_unknown_pin_is_not_found(panel: Panel) -> None:
    with pytest.raises(NotFound):
        panel.pins.get("oven")
    with pytest.raises(NotFound):
        panel.pins.actuation("0" * 16)


def test_an_input_that_cannot_be_read_is_not_said_to_be_as_it_was(panel: Panel) -> None:
    panel.inputs.start()
    assert panel.pins.get("bell").value is False
    panel.board.unreadable.add(27)
    panel.passes(3.1)
    assert panel.pins.get("bell").value is None
    panel.board.unreadable.clear()
    panel.passes(3.1)
    panel.passes(3.1)
    assert panel.pins.get("bell").value is False


def test_an_input_that_cannot_be_read_at_the_start_is_claimed_again(tmp_path: Path) -> None:
    board = FakeBoard()
    board.unreadable.add(27)
    panel = Panel(tmp_path, board=board)
    assert panel.pins.get("bell").value is None and panel.pins.get("bell").detail == "GPIO27 cannot be read."
    board.unreadable.clear()
    panel.pins.claim_missing()
    assert panel.pins.get("bell").value is False and panel.pins.get("bell").detail is None
    panel.stop()
