"""The simulated door behaves as doors and openers do, and is found where it was after a restart."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from piapi.hardware.simulated_door import HAND_S, IMPULSE_S, SENSOR_REACH, DoorPosition, SimulatedDoor
from piapi.hardware.wired_door import Wire, WiredDoor

TRAVEL_S = 6.0


def press(door: SimulatedDoor, at: float, for_s: float = 0.5) -> None:
    door.relay(True, at)
    door.relay(False, at + for_s)


def closed_door(kind: str = "refuse") -> SimulatedDoor:
    return SimulatedDoor(TRAVEL_S, kind, at=0.0)  # type: ignore[arg-type]


def open_door(kind: str = "refuse") -> SimulatedDoor:
    kept = DoorPosition(position=1.0, last_motion=1)
    return SimulatedDoor(TRAVEL_S, kind, at=0.0, kept=kept)  # type: ignore[arg-type]


# The opener -----------------------------------------------------------------------------------------------------------


def test_a_press_opens_a_closed_door_in_its_travel_time() -> None:
    door = closed_door()
    assert door.sensors() == (True, False)
    press(door, 1)
    door.advance(1 + IMPULSE_S + TRAVEL_S / 2)
    assert door.position == pytest.approx(0.5)
    assert door.sensors() == (False, False)
    door.advance(1 + IMPULSE_S + TRAVEL_S)
    assert (door.position, door.motion) == (1.0, 0)
    assert door.sensors() == (False, True)
    assert door.next_change() is None


def test_a_press_closes_an_open_door() -> None:
    door = open_door()
    press(door, 1)
    door.advance(10)
    assert door.position == 0.0 and door.sensors() == (True, False)


def test_a_contact_that_is_too_short_is_no_press() -> None:
    door = closed_door()
    press(door, 1, for_s=IMPULSE_S - 0.001)
    door.advance(10)
    assert door.position == 0.0


def test_a_contact_that_stays_is_one_press() -> None:
    door = closed_door()
    door.relay(True, 1)
    door.relay(True, 3)
    door.advance(60)
    assert door.position == 1.0
    door.relay(False, 61)
    press(door, 62)
    door.advance(70)
    assert door.position == 0.0


@pytest.mark.parametrize("kind", ["refuse", "stop"])
def test_a_press_while_it_moves_stops_it_and_the_next_runs_it_back(kind: str) -> None:
    door = closed_door(kind)
    press(door, 0)
    press(door, 3)
    door.advance(20)
    assert door.position == pytest.approx(0.5) and door.motion == 0
    press(door, 20)
    door.advance(21)
    assert door.motion == -1


def test_a_press_while_it_moves_reverses_an_opener_that_reverses() -> None:
    door = closed_door("reverse")
    press(door, 0)
    press(door, 3)
    door.advance(3.1)
    assert door.motion == -1
    door.advance(20)
    assert door.position == 0.0


def test_sensors_are_active_near_the_ends_alone() -> None:
    door = closed_door()
    press(door, 0, for_s=IMPULSE_S)
    leaves = IMPULSE_S + SENSOR_REACH * TRAVEL_S
    door.advance(leaves - 0.01)
    assert door.sensors() == (True, False)
    door.advance(leaves + 0.01)
    assert door.sensors() == (False, False)
    arrives = IMPULSE_S + (1 - SENSOR_REACH) * TRAVEL_S
    door.advance(arrives - 0.01)
    assert door.sensors() == (False, False)
    door.advance(arrives + 0.01)
    assert door.sensors() == (False, True) and door.motion == 1


# What goes wrong ------------------------------------------------------------------------------------------------------


def test_an_obstacle_reverses_a_door_that_closes() -> None:
    door = open_door()
    door.obstacle = 0.4
    press(door, 0)
    door.advance(IMPULSE_S + 0.6 * TRAVEL_S + 0.1)
    assert door.motion == 1 and door.position > 0.4
    door.advance(60)
    assert door.position == 1.0


def test_an_obstacle_on_the_floor_opens_it_again_before_it_is_closed() -> None:
    door = open_door()
    door.obstacle = 0.0
    press(door, 0)
    door.advance(60)
    assert door.position == 1.0


def test_an_obstacle_does_not_hinder_opening() -> None:
    door = closed_door()
    door.obstacle = 0.4
    press(door, 0)
    door.advance(60)
    assert door.position == 1.0


def test_a_stuck_door_stays_until_it_comes_free_and_is_pressed_again() -> None:
    door = closed_door()
    door.stick(True, 0)
    press(door, 1)
    door.push(1.0, 5)
    door.advance(60)
    assert door.position == 0.0 and door.sensors() == (True, False)
    door.stick(False, 60)
    door.advance(70)
    assert door.position == 0.0
    press(door, 70)
    door.advance(80)
    assert door.position == 1.0


def test_a_power_cut_leaves_it_where_it_is_and_presses_do_nothing() -> None:
    door = closed_door()
    press(door, 0)
    door.power(False, 3)
    press(door, 4)
    door.advance(60)
    assert 0.4 < door.position < 0.6
    door.power(True, 60)
    door.advance(120)
    assert 0.4 < door.position < 0.6 and door.motion == 0


def test_a_hand_moves_it_anywhere_with_power_or_without() -> None:
    door = closed_door()
    door.power(False, 0)
    door.push(0.5, 1)
    door.advance(1 + HAND_S / 4)
    assert door.position == pytest.approx(0.25) and door.motion == 1
    door.advance(10)
    assert door.position == 0.5 and door.motion == 0
    door.push(0.0, 10)
    door.advance(20)
    assert door.sensors() == (True, False)


def test_a_bouncing_contact_changes_several_times_and_settles() -> None:
    door = closed_door()
    door.bounce_s = 0.2
    press(door, 0, for_s=IMPULSE_S)
    seen = [door.sensors()[0]]
    while (change := door.next_change()) is not None and change < 3:
        door.advance(change)
        if door.sensors()[0] != seen[-1]:
            seen.append(door.sensors()[0])
    assert seen == [True, False, True, False, True, False, True, False]
    door.advance(3)
    assert door.sensors() == (False, False)


# Found where it was ---------------------------------------------------------------------------------------------------


def test_it_has_moved_on_while_nobody_looked() -> None:
    door = closed_door()
    press(door, 0)
    door.advance(2)
    kept = DoorPosition.of(door.kept.as_dict())
    again = SimulatedDoor(TRAVEL_S, at=3.0 + IMPULSE_S, kept=kept)
    assert again.position == pytest.approx(0.5) and again.motion == 1
    again.advance(60)
    assert again.position == 1.0


def test_after_another_boot_it_rests_where_it_was() -> None:
    kept = DoorPosition(position=0.5, motion=1, last_motion=1, at=1000.0)
    door = SimulatedDoor(TRAVEL_S, at=20.0, kept=kept)
    door.advance(60)
    assert (door.position, door.motion) == (0.5, 0)


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"position": 2.0, "motion": 0, "last_motion": 1, "at": 0.0},
        {"position": math.nan, "motion": 0, "last_motion": 1, "at": 0.0},
        {"position": 0.5, "motion": 3, "last_motion": 1, "at": 0.0},
        {"position": 0.5, "motion": 0, "last_motion": 0, "at": 0.0},
        {"position": 0.5, "motion": 0, "last_motion": 1, "at": math.inf},
    ],
)
def test_what_was_kept_is_checked(wrong: dict[str, float]) -> None:
    with pytest.raises((KeyError, ValueError)):
        DoorPosition.of(wrong)


DEEDS = st.lists(
    st.tuples(
        st.sampled_from(["press", "tip", "push", "stick", "free", "cut", "back", "obstacle", "wait"]),
        st.floats(0.001, 8),
        st.floats(0, 1),
    ),
    max_size=12,
)


@settings(deadline=None, database=None, max_examples=300)
@given(deeds=DEEDS, kind=st.sampled_from(["stop", "reverse"]), bounce_s=st.sampled_from([0.0, 0.3]))
@example(deeds=[("push", 0.0625, 1e-300)], kind="stop", bounce_s=0.0)
@example(deeds=[("press", 1, 0), ("obstacle", 6, 1), ("press", 1, 0)], kind="stop", bounce_s=0.0)
def test_in_small_steps_it_goes_where_it_goes_in_large_ones(
    deeds: list[tuple[str, float, float]], kind: str, bounce_s: float
) -> None:
    doors = (closed_door(kind), closed_door(kind))
    at = 0.0
    for deed, wait, share in deeds:
        for door in doors:
            door.bounce_s = bounce_s
            do(door, deed, share, at)
        at += wait
        doors[0].advance(at)
        for step in range(1, 41):
            doors[1].advance(at - wait + wait * step / 40)
        assert doors[0].position == pytest.approx(doors[1].position, abs=1e-6)
        assert doors[0].motion == doors[1].motion
        assert 0 <= doors[0].position <= 1
        assert not all(doors[0].sensors()) or bounce_s
    last = doors[0]
    last.advance(at + 60)
    assert last.motion == 0 and last.next_change() is None


def do(door: SimulatedDoor, deed: str, share: float, at: float) -> None:
    """One deed of the list above."""
    if deed in ("press", "tip"):
        door.relay(False, at)
        door.relay(True, at)
        if deed == "tip":
            door.relay(False, at)
    elif deed == "push":
        door.push(share, at)
    elif deed in ("stick", "free"):
        door.stick(deed == "stick", at)
    elif deed in ("cut", "back"):
        door.power(deed == "back", at)
    elif deed == "obstacle":
        door.advance(at)
        door.obstacle = share


# On a board -----------------------------------------------------------------------------------------------------------


class FakeClock:
    """A time that the test moves; whoever waits for it is woken."""

    def __init__(self) -> None:
        self.at = 0.0
        self.waiting: list[threading.Condition] = []

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.at, UTC)

    def monotonic(self) -> float:
        return self.at

    def wait(self, condition: threading.Condition, timeout: float | None) -> bool:
        self.waiting = [condition]
        return condition.wait(10)

    def go_to(self, at: float) -> None:
        self.at = at
        for condition in self.waiting:
            with condition:
                condition.notify_all()


class FakeBench:
    """The two calls of a board that a door needs."""

    def __init__(self) -> None:
        self.levels: dict[int, bool] = {}
        self.callback: Callable[[bool, float], None] | None = None
        self.changed = threading.Condition()

    def on_output(self, line: int, callback: Callable[[bool, float], None]) -> None:
        assert line == 23
        self.callback = callback

    def drive(self, line: int, level: bool) -> None:
        with self.changed:
            self.levels[line] = level
            self.changed.notify_all()

    def wait_for(self, **levels: bool) -> None:
        wanted = {int(name.removeprefix("gpio")): level for name, level in levels.items()}
        with self.changed:
            assert self.changed.wait_for(lambda: wanted.items() <= self.levels.items(), timeout=10), self.levels


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def bench() -> FakeBench:
    return FakeBench()


@pytest.fixture
def kept() -> list[DoorPosition]:
    return []


@pytest.fixture
def wired(clock: FakeClock, bench: FakeBench, kept: list[DoorPosition]) -> Iterator[WiredDoor]:
    """Everything active low, as on a usual relay module with reed contacts to ground."""
    wires = {"relay": Wire(23, True), "closed_sensor": Wire(24, True), "open_sensor": Wire(25, True)}
    door = WiredDoor(closed_door(), bench, clock, **wires, keep=kept.append)
    door.start()
    yield door
    door.close()
    door.close()


def test_a_wired_door_drives_its_sensors_before_anybody_reads_them(wired: WiredDoor, bench: FakeBench) -> None:
    assert bench.levels == {24: False, 25: True}


def test_a_wired_door_follows_its_relay(
    wired: WiredDoor, bench: FakeBench, clock: FakeClock, kept: list[DoorPosition]
) -> None:
    assert bench.callback is not None
    bench.callback(False, 1.0)
    bench.callback(True, 1.5)
    clock.go_to(2.0)
    bench.wait_for(gpio24=True, gpio25=True)
    clock.go_to(60.0)
    bench.wait_for(gpio24=True, gpio25=False)
    wired.close()
    assert [position.motion for position in kept] == [1, 0]
    assert kept[-1].position == 1.0


def test_a_wired_door_is_moved_by_hand(wired: WiredDoor, bench: FakeBench, clock: FakeClock) -> None:
    wired.act(lambda door, at: door.push(1.0, at))
    clock.go_to(10.0)
    bench.wait_for(gpio24=True, gpio25=False)


def test_a_door_may_have_no_sensor(bench: FakeBench, clock: FakeClock) -> None:
    door = WiredDoor(closed_door(), bench, clock, relay=Wire(23))
    door.start()
    door.close()
    assert bench.levels == {}
