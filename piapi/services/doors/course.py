"""The course of a door's one operation at a time: when it presses, what it watches, how it ends."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from piapi.services.doors import movement
from piapi.services.doors.decisions import (
    may_press_moving,
    verdict_at_rest,
    verdict_before_press,
    wants_warning,
)
from piapi.services.doors.knowledge import DoorState, Plan
from piapi.services.doors.movement import Whereabouts
from piapi.services.doors.states import (
    EVIDENCE_MOST,
    FAILED_CLOSES,
    LATE_S,
    DoorChanged,
    DoorRules,
    FailedClosesChanged,
    Operation,
    OperationChanged,
    OperationState,
    Output,
    Press,
    SensorChange,
    Target,
    Warn,
)

Outputs = tuple[Output, ...]


class Course:
    """What a machine does by itself, once a command has been taken. `state` is only ever replaced."""

    def __init__(self, rules: DoorRules, state: DoorState) -> None:
        self.rules = rules
        self.state = state
        self._outputs: list[Output] = []

    @property
    def running(self) -> Operation | None:
        """The operation that has not ended."""
        last = self.state.operation
        return last if last is not None and last.is_running else None

    def _accept(self, target: Target | None, id: str, at: float, by: str) -> tuple[Operation, Outputs]:
        rules, door = self.rules, self.state.door
        self._end(at, "superseded")
        if target == "open" or (target is None and door.end == "closed"):
            self._count_failed_closes(0)
        warns = wants_warning(rules, door, target)
        warning_until = at + rules.warning_s if warns else None
        relay_ready = at + rules.press_s + rules.min_gap_s if self.state.relay_on else self.state.gap_until
        rests_by = at if door.moving_until is None else door.moving_until + rules.settle_s
        due = max(at + rules.warning_s if warns else at, relay_ready, rests_by)
        operation = Operation(id, rules.name, target, by, at, "warning" if warns else "moving")
        plan = Plan((door.state, door.heading), press_by=due + LATE_S, look_at=at, warning_until=warning_until)
        self._set(operation=operation, plan=plan)
        self._outputs.append(OperationChanged(operation))
        outputs = self._finish(at)
        return self.state.operation or operation, outputs

    def _proceed(self, at: float) -> None:
        """Press, if the running operation has a press to make and everything allows it now."""
        operation, plan, state, rules = self.running, self.state.plan, self.state, self.rules
        if operation is None or plan is None or plan.is_pressed:
            return
        if at > plan.press_by:
            self._end(at, "timed_out", "It could not be pressed in time, and was not pressed later.")
            return
        waits_until = state.gap_until if plan.warning_until is None else max(plan.warning_until, state.gap_until)
        if state.relay_on or not (state.door.rests or may_press_moving(rules, state.door, operation, plan)):
            waits_until = math.inf
        if at < waits_until:
            # an instant after press_by, so that the time is over when it is looked at
            late = math.nextafter(plan.press_by, math.inf)
            self._set(plan=replace(plan, look_at=min(waits_until, late)))
        elif verdict := verdict_before_press(rules, state.door, operation, plan):
            self._end(at, *verdict)
        else:
            self._press(at, operation, plan)

    def _press(self, at: float, operation: Operation, plan: Plan) -> None:
        door, rules = self.state.door, self.rules
        only_stops = operation.target is not None and not door.rests and rules.while_moving == "stop"
        plan = replace(plan, is_pressed=not only_stops, has_stopped=plan.has_stopped or only_stops, look_at=at)
        plan = replace(plan, pressed_at_end=door.end, has_moved=False, ends_by=at + 2 * rules.travel_s + rules.settle_s)
        if only_stops:
            again = at + max(rules.press_s + rules.min_gap_s, rules.settle_s)
            plan = replace(plan, press_by=again + rules.settle_s + LATE_S)
        first = operation.pressed_at if operation.pressed_at is not None else at
        operation = replace(operation, state="moving", presses=operation.presses + 1, pressed_at=first)
        self._set(operation=operation, plan=plan, relay_on=True)
        self._set_door(movement.pressed(rules, door, at))
        self._outputs += [OperationChanged(operation), Press(operation.id, rules.press_s, at + LATE_S)]
        if only_stops:
            self._proceed(at)

    @property
    def _has_pressed(self) -> bool:
        """Whether the running operation has pressed at least once."""
        return self.running is not None and self.running.presses > 0

    def _judge(self, at: float) -> None:
        operation, plan = self.running, self.state.plan
        if operation is not None and plan is not None and plan.is_pressed:
            self._end(at, *verdict_at_rest(self.rules, self.state.door, operation, plan))

    def _end(self, at: float, state: OperationState, detail: str | None = None) -> None:
        """End the running operation, if there is one."""
        if self.running is None:
            return
        ended = replace(self.running, state=state, ended_at=at, detail=detail)
        self._set(operation=ended, plan=None)
        self._outputs.append(OperationChanged(ended))
        if ended.target == "closed" and state in ("failed", "timed_out"):
            self._count_failed_closes(self.state.failed_closes + 1)
        elif ended.target == "closed" and state == "succeeded" and self.state.failed_closes < FAILED_CLOSES:
            self._count_failed_closes(0)

    def _count_failed_closes(self, count: int) -> None:
        if count != self.state.failed_closes:
            self._set(failed_closes=count)
            self._outputs.append(FailedClosesChanged(count))

    def _add_evidence(self, before: Whereabouts, at: float) -> None:
        operation, plan, now = self.running, self.state.plan, self.state.door
        if operation is None or plan is None:
            return
        changes = [SensorChange(at, "closed", bool(now.closed))] if now.closed != before.closed else []
        changes += [SensorChange(at, "open", bool(now.open))] if now.open != before.open else []
        evidence = (*operation.evidence, *changes)[:EVIDENCE_MOST]
        self._set(plan=replace(plan, has_moved=True), operation=replace(operation, evidence=evidence))

    def _may_close_by_itself(self) -> bool:
        state = self.state
        is_quiet = not state.locked and state.quarantined_until is None and self.running is None
        is_wanted = bool(self.rules.auto_close_s) and state.seen_closed and state.failed_closes < FAILED_CLOSES
        is_open = state.door.rests and state.door.state == "open"
        return is_quiet and is_wanted and is_open and (state.door.basis == "sensor" or self._was_opened_here())

    def _was_opened_here(self) -> bool:
        """Whether a press of ours has just made it leave its closed sensor. Without an open sensor, one that left by
        itself may have lost its magnet: then it is closed, and a press would open it with nobody there."""
        last, door = self.state.operation, self.state.door
        if last is None or not last.presses or not last.evidence or last.ended_at is None:
            return False
        seen = last.evidence[-1]
        return (seen.sensor, seen.active) == ("closed", False) and door.since <= last.ended_at

    def _keep_time_open(self, at: float) -> None:
        door = self.state.door
        is_open = door.closed is False if self.rules.closed_sensor else door.open is True
        if not is_open:
            self._set(open_since=None, left_open_told=False)
        elif self.state.open_since is None:
            self._set(open_since=at)
        if door.rests and door.end == "closed" and self.state.quarantined_until is None:
            self._set(seen_closed=True)
        if not self._may_close_by_itself():
            self._set(auto_close_at=None)
        elif self.state.auto_close_at is None:
            self._set(auto_close_at=at + self.rules.auto_close_s)

    def _set(self, **changes: Any) -> None:
        self.state = replace(self.state, **changes)

    def _set_door(self, door: Whereabouts) -> None:
        before = self.state.door
        self._set(door=door)
        if (door.state, door.basis) != (before.state, before.basis):
            self._outputs.append(DoorChanged(door.state, door.basis, door.since))

    def _finish(self, at: float) -> Outputs:
        """What follows from any change, and all there is to do."""
        self._proceed(at)
        self._keep_time_open(at)
        warns = self.running is not None and self.running.state == "warning"
        if warns != self.state.warning_on:
            self._set(warning_on=warns)
            self._outputs.append(Warn(warns))
        outputs, self._outputs = tuple(self._outputs), []
        return outputs
