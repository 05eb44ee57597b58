"""The state machine of a door: events with their time in, things to do and the next deadline out.

It has no threads, no clock and no hardware. Every input gives what is to be done, in that order; a refused command
raises, and has then changed nothing. Commands judge by what is known: time passes only by `advance`, which is to be
called when `deadline` has come.

    machine, outputs = DoorMachine.start(rules, remembered, at, closed=True, open=False)
    operation, outputs = machine.move("open", "op-1", at, by="token:phone")
"""

from __future__ import annotations

import math
from dataclasses import replace

from piapi.errors import CommandExpired, Conflict, DoorFault, Locked, Quarantined
from piapi.services.doors import movement
from piapi.services.doors.course import Course, Outputs
from piapi.services.doors.decisions import obstacle_to
from piapi.services.doors.knowledge import DoorState
from piapi.services.doors.movement import Whereabouts
from piapi.services.doors.states import (
    AutoCloseDue,
    DoorChanged,
    DoorRules,
    LeftOpen,
    LockChanged,
    MovedUnasked,
    Operation,
    Remembered,
    Target,
)


class DoorMachine(Course):
    """One door."""

    @classmethod
    def start(
        cls, rules: DoorRules, remembered: Remembered, at: float, *, closed: bool | None, open: bool | None
    ) -> tuple[DoorMachine, Outputs]:
        """The door as it is found: the levels of its sensors, active or not, and None for one it has not.

        An operation that was cut off is `unknown` from now on. Nothing is pressed, and commands are refused until the
        sensors have stayed as they are for `steady_s` and the shortest gap is over.
        """
        last = remembered.operation
        was_moving = last is not None and last.is_running and last.presses > 0
        door = movement.found(rules, at, closed, open, was_moving=was_moving)
        quiet = at + max(rules.steady_s, rules.press_s + rules.min_gap_s)
        state = DoorState(door, quiet, remembered.locked, remembered.lock_reason, last)
        machine = cls(rules, replace(state, failed_closes=remembered.failed_closes))
        machine._outputs.append(DoorChanged(door.state, door.basis, door.since))
        pressed = "after a press; what it did is not known" if was_moving else "before anything was pressed"
        machine._end(at, "unknown", f"piapi was interrupted {pressed}.")
        return machine, machine._finish(at)

    # What is known ----------------------------------------------------------------------------------------------------

    @property
    def deadline(self) -> float | None:
        """When to call `advance`; None when only an input can change anything."""
        state = self.state
        times = [state.quarantined_until, state.door.moving_until, state.auto_close_at, self._left_open_at]
        if state.plan is not None:
            times.append(state.plan.ends_by if state.plan.is_pressed else state.plan.look_at)
        return min((time for time in times if time is not None and time < math.inf), default=None)

    @property
    def remembered(self) -> Remembered:
        """What has to outlive this machine."""
        state = self.state
        return Remembered(self.running, state.locked, state.lock_reason, state.failed_closes)

    @property
    def _left_open_at(self) -> float | None:
        state = self.state
        if not self.rules.left_open_s or state.open_since is None or state.left_open_told:
            return None
        return state.open_since + self.rules.left_open_s

    # Commands ---------------------------------------------------------------------------------------------------------

    def move(
        self, target: Target, id: str, at: float, *, by: str, expires_at: float | None = None
    ) -> tuple[Operation | None, Outputs]:
        """Bring it to a target. Gives the operation that does so, which may be an earlier one under way to the same
        target, or None where it is there by its sensor already and nothing moves.

        `expires_at`: the command is not taken from then on. Raises Quarantined, Locked, CommandExpired, DoorFault, and
        Conflict where no sensor could tell what a press does.
        """
        self._refuse(at, expires_at)
        running, door = self.running, self.state.door
        if running is not None and running.target == target:
            return running, ()
        is_there = door.end == target and door.heading is None and not self._has_pressed
        hindrance = obstacle_to(self.rules, door, target)
        calls_off = target == "open" and running is not None and running.state == "warning"
        if is_there or (hindrance and calls_off):  # who asks for an open door does not want it closed: that at least
            self._end(at, "superseded")
            return None, self._finish(at)
        if hindrance:
            raise Conflict(hindrance)
        return self._accept(target, id, at, by)

    def toggle(self, id: str, at: float, *, by: str, expires_at: float | None = None) -> tuple[Operation, Outputs]:
        """Press the button once. It warns first unless it is certain not to close, and is not pressed if the door has
        moved meanwhile.

        Raises as `move` does; Conflict while another operation is still to press, right after a press, and while the
        door moves unless the opener allows it (`while_moving`).
        """
        self._refuse(at, expires_at)
        plan = self.state.plan
        if plan is not None and not plan.is_pressed:
            raise Conflict("Another operation is about to move this door; wait for it, or cancel it.")
        if self.state.relay_on or at < self.state.gap_until:
            raise Conflict("The button was pressed just now.")
        if not self.state.door.rests and self.rules.while_moving == "refuse":
            raise Conflict("The door moves, or may be moving, and its opener is never pressed meanwhile.")
        return self._accept(None, id, at, by)

    def auto_close(self, id: str, at: float, *, by: str) -> tuple[Operation | None, Outputs]:
        """What AutoCloseDue asks for. None where the rule does not want it any more."""
        return self.move("closed", id, at, by=by) if self._may_close_by_itself() else (None, ())

    def cancel(self, id: str, at: float) -> tuple[Operation, Outputs]:
        """Call off an operation that still warns. Raises Conflict later."""
        running = self.running
        if running is None or running.id != id:
            raise Conflict("This operation has ended.")
        if running.state != "warning":
            raise Conflict("An operation can be cancelled only while it warns.")
        self._end(at, "cancelled")
        return self.state.operation or running, self._finish(at)

    def lock(self, at: float, reason: str | None = None) -> Outputs:
        """Refuse every command from now on, and press nothing more of those accepted before."""
        if (self.state.locked, self.state.lock_reason) == (True, reason):
            return ()
        self._set(locked=True, lock_reason=reason)
        self._outputs.append(LockChanged(True, reason))
        if self.state.plan is not None and not self.state.plan.is_pressed:
            self._end(at, "failed" if self._has_pressed else "cancelled", "The door was locked.")
        return self._finish(at)

    def unlock(self, at: float) -> Outputs:
        """Take commands again."""
        if not self.state.locked:
            return ()
        self._set(locked=False, lock_reason=None)
        self._outputs.append(LockChanged(False, None))
        return self._finish(at)

    def reset_auto_close(self, at: float) -> Outputs:
        """Let it close by itself again, after too many closes that failed."""
        self._count_failed_closes(0)
        return self._finish(at)

    # What happens -----------------------------------------------------------------------------------------------------

    def sensors(self, at: float, *, closed: bool | None, open: bool | None) -> Outputs:
        """The levels of the sensors now, active or not. Both are to be read at the same time, after an edge and now and
        then without one: a lost edge of one sensor must not look like both being active."""
        before = self.state.door
        if (closed, open) == (before.closed, before.open) or self.state.quarantined_until == math.inf:
            return ()
        door = movement.seen(self.rules, before, at, closed, open)
        self._set_door(door)
        if self.state.quarantined_until is not None:
            self._set(quarantined_until=max(self.state.quarantined_until, at + self.rules.steady_s))
        elif before.rests and "fault" not in (before.state, door.state) and not self._has_pressed:
            self._outputs.append(MovedUnasked(at, door.state))
        self._add_evidence(before, at)
        if door.state == "fault":
            self._end(at, "failed", "Both sensors are active at once.")
        return self._finish(at)

    def press_done(self, at: float) -> Outputs:
        """The relay has been released. The shortest gap begins now."""
        self._set(relay_on=False, gap_until=at + self.rules.min_gap_s)
        return self._finish(at)

    def press_failed(self, at: float, detail: str) -> Outputs:
        """The relay could not be pressed, or not by the time that the press had to begin; it is released now."""
        self._set(relay_on=False, gap_until=at + self.rules.min_gap_s)
        if self._has_pressed:
            self._end(at, "failed", detail)
        return self._finish(at)

    def warning_began(self, at: float) -> Outputs:
        """Light or buzzer went on now, after what had to be written before: the time to get out of the way is whole."""
        plan = self.state.plan
        if self.running is not None and self.running.state == "warning" and plan is not None and plan.warning_until:
            late = max(0.0, at + self.rules.warning_s - plan.warning_until)
            self._set(
                plan=replace(plan, warning_until=plan.warning_until + late, press_by=plan.press_by + late, look_at=at)
            )
        return self._finish(at)

    def warning_failed(self, at: float, detail: str) -> Outputs:
        """There is nothing to warn with, so nothing is pressed."""
        if self.running is not None and self.running.state == "warning":
            self._end(at, "failed", detail)
        return self._finish(at)

    def stop(self, at: float, detail: str) -> Outputs:
        """The hardware goes away, or piapi ends: nothing is known from now on and every command is refused. To go on,
        start another machine with what this one has `remembered`."""
        self._end(at, "unknown" if self._has_pressed else "cancelled", detail)
        self._set(quarantined_until=math.inf)
        self._set_door(Whereabouts("unknown", "none", at, None, None))
        return self._finish(at)

    def advance(self, at: float) -> Outputs:
        """It is `at` now: do what has become due. Give the levels of the sensors first, so that nothing is pressed and
        nothing judged on what was true a while ago."""
        state = self.state
        if state.quarantined_until is not None and at >= state.quarantined_until:
            self._set(quarantined_until=None)
        if state.door.moving_until is not None and at >= state.door.moving_until:
            self._set_door(movement.rested(self.rules, state.door, at))
            self._judge(at)
        plan = self.state.plan
        if plan is not None and plan.is_pressed and at >= plan.ends_by:
            self._end(at, "timed_out", "The sensors did not come to rest.")
        if self._left_open_at is not None and at >= self._left_open_at and self.state.open_since is not None:
            self._outputs.append(LeftOpen(self.state.open_since))
            self._set(left_open_told=True)
        if self.state.auto_close_at is not None and at >= self.state.auto_close_at:
            self._outputs.append(AutoCloseDue())
            self._set(auto_close_at=at + self.rules.auto_close_s)
        return self._finish(at)

    def _refuse(self, at: float, expires_at: float | None) -> None:
        state, name = self.state, self.rules.name
        if state.quarantined_until is not None:
            raise Quarantined(f"The door {name} takes no command before its sensors have been steady for a while.")
        if state.locked:
            raise Locked(f"The door {name} is locked. {state.lock_reason or ''}".rstrip())
        if expires_at is not None and at >= expires_at:
            raise CommandExpired("This command came after the time at which it expires.")
        if state.door.state == "fault":
            raise DoorFault("Both sensors of this door are active at once; one of them must be wrong.")
