"""What may be pressed, and how an operation has ended: judgements that change nothing."""

from __future__ import annotations

from piapi.services.doors.knowledge import Plan
from piapi.services.doors.movement import Whereabouts
from piapi.services.doors.states import DoorRules, Operation, OperationState, Target


def may_close(rules: DoorRules, door: Whereabouts) -> bool:
    """Whether a press now may make the door close. Away from the closed sensor that can seldom be ruled out."""
    if door.rests:
        return door.end != "closed"
    if rules.while_moving == "stop":
        return not door.is_surely_moving
    # One that reverses and has arrived meanwhile, unseen, goes the same way as one that has not.
    return rules.while_moving == "refuse" or not door.is_under_way or door.heading == "open"


def wants_warning(rules: DoorRules, door: Whereabouts, target: Target | None) -> bool:
    """Whether an operation warns before it presses. One that is to open a door that moves does not: it is pressed where
    that cannot close the door, or not at all (`verdict_before_press`)."""
    if not rules.warning_s:
        return False
    if target == "open":
        return door.rests and may_close(rules, door)
    return target == "closed" or may_close(rules, door)


def obstacle_to(rules: DoorRules, door: Whereabouts, target: Target) -> str | None:
    """Why the target cannot be asked for, in words; None when it can.

    Without a sensor at the target nobody could see a press move the door the other way, so it has to start at the
    other end, or to be on a way that is known.
    """
    if not rules.closed_sensor and not rules.open_sensor:
        return "This door has no sensor, so it has no target; a toggle presses its button once."
    sensor, start = (rules.open_sensor, "closed") if target == "open" else (rules.closed_sensor, "open")
    if sensor or door.end == start or door.heading:
        return None
    aim = "open" if target == "open" else "close"
    return f"This door has no {target} sensor: it can {aim} only when it is seen {start}, and it is {door.state}."


def may_press_moving(rules: DoorRules, door: Whereabouts, operation: Operation, plan: Plan) -> bool:
    """Whether this opener may be pressed although the door moves."""
    if rules.while_moving == "refuse":
        return False
    if operation.target is None:
        return True
    if plan.has_stopped or door.heading == operation.target:
        return False
    return door.is_surely_moving if rules.while_moving == "stop" else door.is_under_way


Verdict = tuple[OperationState, str | None]
"""How an operation has ended, and why, for a person."""


def verdict_before_press(rules: DoorRules, door: Whereabouts, operation: Operation, plan: Plan) -> Verdict | None:
    """How it has ended although a press would be due now; None: press."""
    target = operation.target
    if target is None:
        if (door.state, door.heading) != plan.asked_in:
            return "failed", f"The door was {plan.asked_in[0]} when this was asked for, and is {door.state} now."
        return None
    if not door.rests:
        return None
    if door.state == target:
        return "succeeded", None
    if obstacle_to(rules, door, target):
        if target == "closed":
            return "unknown", "No sensor can say whether it has closed."
        return "failed", "The door rests where no sensor sees it."
    runs_back = plan.has_stopped and door.state == "stopped" and door.last_heading == "closed"
    if rules.warning_s and plan.warning_until is None and may_close(rules, door) and not runs_back:
        return "failed", "The door rests on its way, where a press may close it; ask again, and it warns first."
    return None


def verdict_at_rest(rules: DoorRules, door: Whereabouts, operation: Operation, plan: Plan) -> Verdict:
    """How it has ended, now that its presses are made and the door rests."""
    came_back: Verdict = ("failed", f"The door moved, and is {door.state} now.")
    stayed: Verdict = ("timed_out", f"The door did not move within {rules.travel_s:g} s.")
    if operation.target is None:
        if plan.pressed_at_end is None or door.end != plan.pressed_at_end:
            return "succeeded", None
        return came_back if plan.has_moved else stayed
    if door.state == operation.target:
        return "succeeded", None
    if door.end:
        return came_back if plan.has_moved else stayed
    if operation.target == "closed" and not rules.closed_sensor:
        return "unknown", "The door has left its open end; no sensor can say whether it has closed."
    return "timed_out", f"The door is not {operation.target} after {rules.travel_s:g} s."
