"""What holds for a door whatever happens, in whatever order: its machine and a simulated door under Hypothesis.

The promises are checked against what the test itself has seen and done, not against what the machine believes.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from piapi.errors import Conflict, Locked, Quarantined
from piapi.hardware.simulated_door import IMPULSE_S, DoorPosition, SimulatedDoor
from piapi.services.doors.states import DoorRules, Operation, OperationChanged, Press, Remembered
from tests.garage import Garage

TRAVEL_S = 8.0
RULES = st.builds(
    lambda auto_close_s, closed_sensor, warning_s, **others: DoorRules(
        "garage",
        closed_sensor=closed_sensor or bool(auto_close_s),
        warning_s=warning_s or (2.0 if auto_close_s else 0.0),
        auto_close_s=auto_close_s,
        travel_s=TRAVEL_S,
        left_open_s=30.0,
        **others,
    ),
    closed_sensor=st.booleans(),
    open_sensor=st.booleans(),
    while_moving=st.sampled_from(["refuse", "stop", "reverse"]),
    press_s=st.sampled_from([0.5, 2.0]),
    warning_s=st.sampled_from([0.0, 3.0]),
    min_gap_s=st.sampled_from([0.0, 1.0, 5.0]),
    auto_close_s=st.sampled_from([0.0, 0.0, 12.0]),
)


COMMANDS = st.sampled_from(["open", "closed", "toggle"])
WAITS = st.sampled_from([0.05, 0.6, 1.6, 3.0, 4.0, 6.0, 12.0, 30.0])


class WatchedGarage(Garage):
    """Checks each press and each state by what was really seen: levels, commands, presses and their times."""

    def __init__(self, rules: DoorRules, door: SimulatedDoor) -> None:
        self.accepted: dict[str, str | None] = {}
        self.is_locked = False
        self.last_release = -math.inf
        self.relay_is_on = False
        self.is_sound = False
        self.unwarned_at = -math.inf
        self.warned: set[str] = set()
        super().__init__(rules, door, ready=False)

    def start(self, remembered: Remembered) -> None:
        self.accepted.clear()  # from here on only new commands move anything
        self.started_at = self.steady_since = self.at
        self.was_closed_since: float | None = None
        self.may_close_by_itself = False
        self.moving_until = -math.inf
        self.relay_is_on = False
        self.warned_since: float | None = None
        self.looked = (None, None)
        super().start(remembered)
        self.look()

    def look(self) -> None:
        """What the sensors say now, and what follows for anybody who watches them."""
        seen = self.seen()
        if seen != self.looked:
            if self.at < self.steady_since + self.rules.steady_s:
                self.steady_since = self.at
            left = self.looked != (None, None) and not any(seen)
            self.moving_until = self.at + TRAVEL_S if left else -math.inf
            self.was_closed_since = self.at if seen == (True, seen[1]) and not seen[1] else None
        self.may_close_by_itself |= self.was_closed_since is not None and self.at > self.was_closed_since
        self.looked = seen

    def _read(self) -> None:
        self.look()
        super()._read()

    def take(self, outputs: Any) -> None:
        was_warning, self.warned_at = self.warns, self.warned_since
        for output in outputs:
            if isinstance(output, OperationChanged):
                self.check_end(output.operation)
        super().take(outputs)
        if self.warns != was_warning:
            self.warned_since = self.at if self.warns else None

    def accept(self, operation: Any) -> None:
        if operation is not None:
            self.accepted.setdefault(operation.id, operation.target)

    def check_end(self, operation: Operation) -> None:
        """A success is one by every sensor there is."""
        rules, (closed, open) = self.rules, self.seen()
        if operation.state == "succeeded" and operation.target == "closed":
            assert rules.closed_sensor and closed and not open
        if operation.state == "succeeded" and operation.target == "open":
            assert not closed and (open or not rules.open_sensor)
        if self.is_sound and rules.while_moving == "refuse" and rules.closed_sensor and operation.target:
            assert operation.state not in ("failed", "timed_out", "unknown"), operation.detail

    def press(self, press: Press) -> None:
        rules, (closed, open) = self.rules, self.seen()
        operation = self.operations[press.operation]
        assert operation.is_running and press.by >= self.at and press.duration_s == rules.press_s
        assert not self.is_locked, "pressed while locked"
        assert not (closed and open), "pressed in fault"
        assert self.at >= self.steady_since + rules.steady_s, "pressed in quarantine"
        assert not self.relay_is_on, "pressed while pressed"
        assert self.at >= self.last_release + rules.min_gap_s, "pressed within the shortest gap"
        made = 1 + sum(done.operation == operation.id for done in self.presses)
        allowed = 2 if rules.while_moving == "stop" and operation.target else 1
        assert made == operation.presses <= allowed, "pressed more often than one operation allows"
        if rules.while_moving == "refuse":
            assert self.at >= self.moving_until, "pressed while it moves"
        assert operation.target != "closed" or not closed, "a close that would open"
        assert operation.target != "open" or not open, "an open that would close"
        if rules.warning_s and operation.target == "closed" and made == 1:
            assert self.warned_at is not None and self.at >= self.warned_at + rules.warning_s, "closed unwarned"
        if rules.warning_s and rules.while_moving == "refuse" and not closed:
            assert self.warned_at is not None, "pressed unwarned where that may close it"
        if self.warned_at is not None:
            self.warned.add(operation.id)
        elif rules.warning_s and operation.id not in self.warned:
            self.unwarned_at = self.at
        if self.relay_works:
            self.moving_until = self.at + TRAVEL_S
            self.relay_is_on = True
        super().press(press)

    def happen(self) -> None:
        if self.relay_is_on and self.at >= self._release_at:
            self.relay_is_on = False
            self.last_release = self.at
        super().happen()
        if self.is_sound and self.door is not None and IMPULSE_S - 1e-9 <= self.at - self.unwarned_at <= 0.2:
            assert self.door.motion >= 0, "it closes unwarned"

    def crash(self, away_s: float = 0.0) -> None:
        if self.relay_is_on:
            self.last_release = self.at
        super().crash(away_s)

    def close_by_itself(self) -> None:
        assert self.may_close_by_itself, "closes by itself though it was not seen closed since the start"
        assert self.rules.auto_close_s
        super().close_by_itself()
        running = self.machine.running
        if running is not None:
            self.accept(running)


UNSOUND = precondition(lambda self: not self.is_sound)
REFUSALS = (Conflict, Locked, Quarantined)


class AnyDoor(RuleBasedStateMachine):
    """Whatever may be done to a door, and by it."""

    @initialize(rules=RULES, position=st.sampled_from([0.0, 0.5, 1.0]), is_sound=st.booleans())
    def build(self, rules: DoorRules, position: float, is_sound: bool) -> None:
        """`is_sound`: only piapi moves this door, and nothing goes wrong; then it has to do what it is told."""
        found = DoorPosition(position, last_motion=1 if position else -1, at=100.0)
        door = SimulatedDoor(0.6 * TRAVEL_S, rules.while_moving, at=100.0, kept=found)
        self.garage = WatchedGarage(rules, door)
        self.door = door
        self.is_sound = self.garage.is_sound = is_sound and position != 0.5
        self.garage.run(TRAVEL_S if position == 0.5 else rules.press_s + rules.min_gap_s + rules.steady_s)

    def command(self, give: Any, target: str | None = None) -> None:
        """Ask. A refusal changes nothing, and the same target again is the same operation."""
        running = self.garage.machine.running
        before = self.garage.machine.state
        pressed = len(self.garage.presses)
        try:
            operation = give()
            self.garage.accept(operation)
            if target and running and running.target == target:
                assert operation.id == running.id
        except REFUSALS:
            assert self.garage.machine.state == before, "a refused command changed something"
            assert len(self.garage.presses) == pressed

    # What somebody asks -----------------------------------------------------------------------------------------------

    def ask(self, what: Any) -> None:
        if what == "toggle":
            self.command(self.garage.toggle)
        else:
            self.command(lambda: self.garage.move(what), target=what)

    @rule(what=COMMANDS, wait_s=WAITS)
    def ask_once(self, what: str, wait_s: float) -> None:
        self.ask(what)
        self.garage.run(wait_s)

    @rule(what=COMMANDS, apart_s=WAITS)
    def ask_twice(self, what: str, apart_s: float) -> None:
        self.ask(what)
        self.garage.run(apart_s)
        self.ask(what)

    @rule(first=COMMANDS, apart_s=WAITS, wait_s=WAITS)
    def change_ones_mind(self, first: str, apart_s: float, wait_s: float) -> None:
        self.ask(first)
        self.garage.run(apart_s)
        self.ask("open" if first == "closed" else "closed")
        self.garage.run(wait_s)

    @rule()
    def cancel(self) -> None:
        running = self.garage.machine.running
        if running is not None:
            self.command(lambda: self.garage.cancel(running))

    @rule(for_s=WAITS, what=COMMANDS)
    def lock(self, for_s: float, what: str) -> None:
        self.garage.lock()
        self.garage.is_locked = True
        self.garage.run(for_s)
        self.ask(what)
        self.garage.is_locked = False
        self.garage.unlock()

    # What happens -----------------------------------------------------------------------------------------------------

    @rule(seconds=WAITS)
    def wait(self, seconds: float) -> None:
        self.garage.run(seconds)

    @UNSOUND
    @rule(seconds=st.sampled_from([1.0, 5.0, 60.0]))
    def hang(self, seconds: float) -> None:
        """piapi stands still: it sees and does nothing meanwhile, but its relay is released."""
        garage = self.garage
        garage.run(0)
        if garage.relay_is_on:
            garage.run(garage._release_at - garage.at)
        garage.at += seconds
        garage.happen()

    @UNSOUND
    @rule(to=st.sampled_from([0.0, 0.01, 0.3, 0.99, 1.0]), wait_s=WAITS)
    def push(self, to: float, wait_s: float) -> None:
        self.door.push(to, self.garage.at)
        self.garage.run(wait_s)

    @UNSOUND
    @rule(wait_s=WAITS)
    def remote(self, wait_s: float) -> None:
        """Somebody else's button."""
        if not self.garage.relay_is_on:
            self.door.relay(True, self.garage.at)
            self.garage.run(0.1)
            if not self.garage.relay_is_on:
                self.door.relay(False, self.garage.at)
        self.garage.run(wait_s)

    @UNSOUND
    @rule(
        mishap=st.sampled_from(["obstacle", "on the floor", "bounces", "rattles", "stuck", "no power", "no relay"]),
        what=COMMANDS,
        for_s=WAITS,
    )
    def mishap(self, mishap: str, what: str, for_s: float) -> None:
        """Something goes wrong while the door is asked to move, and is mended."""
        garage, door = self.garage, self.door
        door.advance(garage.at)
        door.obstacle = {"obstacle": 0.4, "on the floor": 0.0}.get(mishap)
        door.bounce_s = {"bounces": 0.05, "rattles": 0.9}.get(mishap, 0.0)
        garage.relay_works = mishap != "no relay"
        self.ask(what)
        garage.run(0.3)
        door.stick(mishap == "stuck", garage.at)
        door.power(mishap != "no power", garage.at)
        garage.run(for_s)
        door.stick(False, garage.at)
        door.power(True, garage.at)
        garage.relay_works = True

    @UNSOUND
    @rule(levels=st.sampled_from([(True, True), (False, False), (True, False), (False, True)]), what=COMMANDS)
    def glitch(self, levels: tuple[bool, bool], what: str) -> None:
        """The sensors say something that is not so, and somebody asks just then."""
        self.garage.sees(closed=levels[0], open=levels[1])
        self.ask(what)

    @UNSOUND
    @rule(away_s=st.sampled_from([0.0, 1.0, 30.0]), wait_s=WAITS, what=COMMANDS)
    def crash(self, away_s: float, wait_s: float, what: str) -> None:
        running = self.garage.machine.running
        self.garage.crash(away_s)
        if running is not None:
            assert self.garage.now(running).state == "unknown"
        assert self.garage.machine.running is None
        self.garage.run(wait_s)
        self.ask(what)

    # What holds -------------------------------------------------------------------------------------------------------

    @precondition(lambda self: hasattr(self, "garage"))
    @invariant()
    def closed_is_said_only_by_the_sensor(self) -> None:
        closed, open = self.garage.machine.state.door.closed, self.garage.machine.state.door.open
        assert (closed, open) == self.garage.looked
        if self.garage.state == "closed":
            assert closed and self.garage.basis == "sensor"
        if self.garage.basis == "sensor":
            assert closed or open
        assert (self.garage.state == "fault") == bool(closed and open)

    @precondition(lambda self: hasattr(self, "garage"))
    @invariant()
    def presses_belong_to_what_was_accepted(self) -> None:
        garage = self.garage
        running = garage.machine.running
        assert garage.warns == (running is not None and running.state == "warning")
        assert running is None or running.id in garage.accepted
        fresh = [press for press in garage.presses if press.at > garage.started_at]
        assert all(press.operation in garage.accepted for press in fresh)

    def teardown(self) -> None:
        """Every operation ends, and afterwards nothing is pressed any more (but by the rule that closes it)."""
        if not hasattr(self, "garage"):
            return
        garage = self.garage
        longest = garage.rules.warning_s + 3 * TRAVEL_S + 2 * (garage.rules.min_gap_s + 5)
        running = garage.machine.running
        garage.run(longest)
        if running is not None:
            assert not garage.now(running).is_running, "an operation that does not end"
        left = {found.id for found in garage.operations.values() if found.is_running}
        assert left <= ({garage.machine.running.id} if garage.machine.running else set())


def settings_for(examples: int) -> settings:
    return settings(
        max_examples=examples,
        stateful_step_count=20,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )


def test_a_door_keeps_its_promises() -> None:
    run_state_machine_as_test(AnyDoor, settings=settings_for(200))


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
def test_a_door_keeps_its_promises_whatever_happens(part: int) -> None:
    """10,000 sequences of 20 steps, in four parts that may run beside each other."""
    run_state_machine_as_test(AnyDoor, settings=settings_for(2500))
