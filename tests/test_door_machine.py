"""The rules of a door, one scenario each. Times are seconds that pass only when a test says so."""

from __future__ import annotations

from typing import Any

import pytest

from piapi.errors import CommandExpired, Conflict, DoorFault, Locked, PiApiError, Quarantined
from piapi.hardware.simulated_door import DoorPosition, SimulatedDoor
from piapi.services.doors.states import (
    EVIDENCE_MOST,
    LATE_S,
    DoorChanged,
    DoorRules,
    FailedClosesChanged,
    LeftOpen,
    MovedUnasked,
    Operation,
    OperationChanged,
    Press,
    Remembered,
    Warn,
)
from tests.garage import PERSON, Garage

TRAVEL_S = 10.0


def rules(**changes: Any) -> DoorRules:
    """A door with both sensors."""
    known: dict[str, Any] = {"closed_sensor": True, "open_sensor": True, "travel_s": TRAVEL_S} | changes
    return DoorRules("garage", **known)


def garage(*, closed: bool = True, open: bool = False, **changes: Any) -> Garage:
    """A door that rests, and whose sensors a test moves."""
    return Garage(rules(**changes), closed=closed, open=open)


def with_door(position: float = 0.0, **changes: Any) -> Garage:
    """A door that a simulated opener moves; it takes 6 s of the 10 allowed."""
    made = rules(**changes)
    found = DoorPosition(position, last_motion=1 if position else -1, at=100.0)
    return Garage(made, SimulatedDoor(0.6 * TRAVEL_S, made.while_moving, at=100.0, kept=found))


# Going where it is told -----------------------------------------------------------------------------------------------


def test_an_open_presses_once_and_succeeds_when_the_sensor_says_so() -> None:
    door = with_door()
    operation = door.move("open")
    assert operation is not None and operation.state == "moving"
    door.run(3)
    assert (door.state, door.basis) == ("opening", "inferred")
    door.run(5)
    assert (door.state, door.basis) == ("open", "sensor")
    ended = door.now(operation)
    assert (ended.state, ended.presses) == ("succeeded", 1)
    assert [(change.sensor, change.active) for change in ended.evidence] == [("closed", False), ("open", True)]
    assert ended.requested_by == PERSON and ended.ended_at is not None and ended.pressed_at == ended.requested_at


def test_a_fact_is_put_out_before_the_press_that_it_tells_of() -> None:
    door = garage()
    door.move("open")
    last_fact, press = door.outputs[-2:]
    assert isinstance(press, Press) and isinstance(last_fact, OperationChanged)
    assert last_fact.operation.presses == 1


@pytest.mark.parametrize("target", ["open", "closed"])
def test_a_door_that_is_there_by_its_sensor_does_not_move(target: Any) -> None:
    door = garage(closed=target == "closed", open=target == "open")
    assert door.move(target) is None
    assert door.outputs == []


def test_the_same_target_again_is_the_same_operation() -> None:
    door = with_door()
    first = door.move("open")
    door.run(0.05)
    again = door.move("open")
    door.run(3)
    third = door.move("open")
    assert first is not None and again is not None and third is not None
    assert first.id == again.id == third.id
    assert len(door.presses) == 1


def test_a_door_that_just_arrives_is_there() -> None:
    door = garage()
    door.sees()
    door.run(5)
    door.sees(open=True)
    assert door.move("open") is None


def test_a_door_that_is_pressed_open_is_not_called_closed_before_it_leaves() -> None:
    door = garage()
    first = door.move("open")
    door.run(0.2)
    assert door.state == "closed"
    second = door.move("closed")
    assert second is not None and second.is_running
    assert door.now(first).state == "superseded"
    assert len(door.presses) == 1


def test_a_door_without_sensors_has_no_target() -> None:
    door = garage(closed_sensor=False, open_sensor=False)
    assert (door.state, door.basis) == ("unknown", "none")
    for target in ("open", "closed"):
        with pytest.raises(Conflict, match="no sensor"):
            door.move(target)  # type: ignore[arg-type]
    operation = door.toggle()
    door.run(TRAVEL_S)
    assert door.now(operation).state == "succeeded"
    assert len(door.presses) == 1 and door.state == "unknown"


# When it does not arrive ----------------------------------------------------------------------------------------------


def test_a_door_that_does_not_move_times_out_with_what_is_known() -> None:
    door = garage()
    operation = door.move("open")
    door.run(TRAVEL_S - 0.1)
    assert door.now(operation).state == "moving"
    door.run(0.1)
    assert door.now(operation).state == "timed_out"
    assert (door.state, door.basis) == ("closed", "sensor")
    assert len(door.presses) == 1


def test_a_door_that_stays_between_the_ends_times_out_and_is_stopped() -> None:
    door = garage()
    operation = door.move("open")
    door.sees()
    door.run(TRAVEL_S)
    assert door.now(operation).state == "timed_out"
    assert (door.state, door.basis) == ("stopped", "inferred")


def test_nobody_knows_where_a_press_moves_a_door_that_stopped_for_no_known_reason() -> None:
    door = garage(while_moving="reverse")
    door.move("open")
    door.sees()
    door.run(TRAVEL_S + 2)
    door.move("open")
    assert (door.state, door.basis) == ("unknown", "none")
    door.move("closed")
    door.run(5)
    assert len(door.presses) == 2


def test_an_obstacle_makes_a_close_fail_with_evidence() -> None:
    door = with_door(1.0)
    assert door.door is not None
    door.door.obstacle = 0.4
    operation = door.move("closed")
    door.run(9)
    ended = door.now(operation)
    assert ended.state == "failed" and "is open now" in str(ended.detail)
    assert [(change.sensor, change.active) for change in ended.evidence] == [("open", False), ("open", True)]
    assert door.state == "open" and len(door.presses) == 1


def test_a_bouncing_contact_fails_nothing_and_moves_nothing() -> None:
    door = with_door()
    assert door.door is not None
    door.door.bounce_s = 0.3
    operation = door.move("open")
    door.run(12)
    assert door.now(operation).state == "succeeded"
    assert door.state == "open" and len(door.presses) == 1
    assert door.told(MovedUnasked) == []


def test_a_contact_that_never_rests_ends_the_operation_all_the_same() -> None:
    door = garage()
    operation = door.move("open")
    for _ in range(100):
        door.sees()
        door.run(0.2)
        door.sees(closed=True)
        door.run(0.2)
    ended = door.now(operation)
    assert ended.state == "timed_out"
    assert len(ended.evidence) == EVIDENCE_MOST


def test_a_relay_that_does_not_answer_fails_the_operation() -> None:
    door = garage()
    door.relay_works = False
    operation = door.move("open")
    assert door.now(operation).state == "failed"
    assert door.now(operation).detail == "The relay does not answer."
    door.run(TRAVEL_S)
    assert door.state == "closed"


def test_a_press_that_comes_too_late_is_not_made() -> None:
    door = garage(closed=False, open=True, warning_s=5)
    operation = door.move("closed")
    door.at += 5 + LATE_S + 0.1  # piapi was stopped meanwhile
    door.happen()
    assert door.now(operation).state == "timed_out"
    assert door.presses == [] and not door.warns


def test_a_slow_door_is_not_taken_to_rest_when_its_sensor_first_sees_it() -> None:
    made = rules(travel_s=100)
    door = Garage(made, SimulatedDoor(60, at=100.0))
    assert door.door is not None
    door.move("open")
    while door.state != "open":
        door.run(0.1)
    door.move("closed")
    while door.door.motion:
        assert len(door.presses) == 1
        door.run(0.1)
    door.run(5)
    assert len(door.presses) == 2


# Less than two sensors ------------------------------------------------------------------------------------------------


def test_with_a_closed_sensor_alone_open_is_inferred_a_travel_after_leaving_it() -> None:
    door = garage(open_sensor=False)
    operation = door.move("open")
    door.run(1)
    door.sees()
    assert (door.state, door.basis) == ("opening", "inferred")
    door.run(TRAVEL_S - 0.1)
    assert door.state == "opening"
    door.run(0.1)
    assert (door.state, door.basis) == ("open", "inferred")
    assert door.now(operation).state == "succeeded"


def test_with_a_closed_sensor_alone_open_is_not_inferred_from_a_press_on_the_way() -> None:
    door = with_door(open_sensor=False, while_moving="stop")
    door.move("open")
    door.run(12)
    states = []
    for _ in range(3):
        door.toggle()
        door.run(2)
        states.append((door.state, door.basis))
    assert states == [("closing", "inferred"), ("stopped", "inferred"), ("opening", "inferred")]
    door.run(12)
    assert (door.state, door.basis) == ("unknown", "none")


def test_with_a_closed_sensor_alone_it_opens_only_from_closed() -> None:
    door = garage(closed=False, open_sensor=False)
    assert (door.state, door.basis) == ("unknown", "none")
    with pytest.raises(Conflict, match="no open sensor"):
        door.move("open")
    assert door.presses == []


def test_with_a_closed_sensor_alone_it_closes_from_anywhere_and_verifies() -> None:
    door = garage(closed=False, open_sensor=False)
    operation = door.move("closed")
    assert len(door.presses) == 1
    door.run(4)
    door.sees(closed=True)
    door.run(0.5)
    assert door.now(operation).state == "succeeded"


def test_with_a_closed_sensor_alone_a_close_that_fails_leaves_the_door_unknown() -> None:
    door = garage(open_sensor=False)
    door.move("open")
    door.sees()
    door.run(TRAVEL_S + 2)
    assert door.state == "open"
    operation = door.move("closed")
    assert (door.state, door.basis) == ("closing", "inferred")
    door.run(TRAVEL_S)
    assert door.now(operation).state == "timed_out"
    assert (door.state, door.basis) == ("unknown", "none")


def test_with_an_open_sensor_alone_closed_is_never_said() -> None:
    door = garage(closed=False, open=True, closed_sensor=False)
    operation = door.move("closed")
    door.run(1)
    door.sees()
    assert door.state == "closing"
    door.run(TRAVEL_S)
    assert (door.state, door.basis) == ("unknown", "none")
    assert door.now(operation).state == "unknown"
    with pytest.raises(Conflict, match="no closed sensor"):
        door.move("closed")


def test_an_open_of_a_door_that_opens_by_itself_presses_nothing() -> None:
    door = garage(open_sensor=False)
    door.sees()
    operation = door.move("open")
    door.run(TRAVEL_S + 2)
    assert door.now(operation).state == "succeeded"
    assert door.presses == []


# Both sensors at once -------------------------------------------------------------------------------------------------


def test_both_sensors_at_once_are_a_fault_and_no_command_is_taken() -> None:
    door = garage()
    door.sees(closed=True, open=True)
    assert (door.state, door.basis) == ("fault", "sensor")
    with pytest.raises(DoorFault):
        door.move("open")
    with pytest.raises(DoorFault):
        door.toggle()
    door.run(1)
    door.sees(closed=True)
    door.run(1)
    assert door.state == "closed"
    assert door.move("open") is not None


def test_a_fault_ends_what_is_under_way_and_presses_nothing_more() -> None:
    door = garage(closed=False, open=True, warning_s=5)
    operation = door.move("closed")
    door.sees(closed=True, open=True)
    assert door.now(operation).state == "failed" and not door.warns
    door.run(60)
    assert door.presses == []


def test_a_door_that_comes_out_of_a_fault_between_the_ends_is_unknown() -> None:
    door = garage()
    door.sees(closed=True, open=True)
    door.sees()
    assert (door.state, door.basis) == ("unknown", "none")
    door.run(TRAVEL_S)
    assert (door.state, door.basis) == ("stopped", "inferred")


def test_sensors_that_are_read_together_are_no_fault_when_an_edge_was_lost() -> None:
    door = garage()
    door.sees(open=True)
    assert door.state == "open"
    assert len(door.told(MovedUnasked)) == 1


# The other way while it moves -----------------------------------------------------------------------------------------


def test_refuse_never_presses_a_door_that_moves_and_turns_it_when_it_rests() -> None:
    door = with_door()
    first = door.move("open")
    door.run(2)
    second = door.move("closed")
    assert second is not None and second.id != str(first and first.id)
    assert door.now(first).state == "superseded"
    door.run(4)
    assert len(door.presses) == 1
    door.run(8)
    assert (door.now(second).state, door.now(second).presses) == ("succeeded", 1)
    assert door.state == "closed" and len(door.presses) == 2


def test_stop_presses_once_to_stop_and_once_to_run_back() -> None:
    door = with_door(while_moving="stop")
    door.move("open")
    door.run(3)
    second = door.move("closed")
    assert door.state == "stopped" and len(door.presses) == 2
    door.run(1.4)
    assert len(door.presses) == 2
    door.run(0.2)
    assert len(door.presses) == 3 and door.state == "closing"
    door.run(6)
    assert (door.now(second).state, door.now(second).presses) == ("succeeded", 2)


def test_reverse_presses_once() -> None:
    door = with_door(while_moving="reverse")
    door.move("open")
    door.run(3)
    second = door.move("closed")
    assert door.state == "closing" and len(door.presses) == 2
    door.run(6)
    assert (door.now(second).state, door.now(second).presses) == ("succeeded", 1)


@pytest.mark.parametrize("while_moving", ["stop", "reverse"])
def test_a_door_that_may_not_have_heard_the_press_is_not_pressed_again(while_moving: Any) -> None:
    door = garage(while_moving=while_moving)
    door.move("open")
    door.run(5)  # and it has not left its sensor
    second = door.move("closed")
    assert len(door.presses) == 1
    door.run(TRAVEL_S)
    assert door.now(second).state == "succeeded"
    assert len(door.presses) == 1


@pytest.mark.parametrize("while_moving", ["refuse", "stop", "reverse"])
def test_a_door_that_goes_there_anyway_is_not_pressed(while_moving: Any) -> None:
    door = garage(closed=False, open=True, while_moving=while_moving)
    door.sees()  # by a remote
    operation = door.move("closed")
    door.run(5)
    assert door.now(operation).state == "moving"
    door.sees(closed=True)
    door.run(0.5)
    assert (door.now(operation).state, door.now(operation).presses) == ("succeeded", 0)


def test_a_door_that_may_have_arrived_unseen_is_not_pressed_to_stop_it() -> None:
    door = with_door(while_moving="stop", open_sensor=False, warning_s=1)
    door.move("open")
    door.run(8)  # it is open by now, and no sensor can say so
    assert door.state == "opening"
    operation = door.move("closed")
    door.run(1.5)
    assert len(door.presses) == 1
    door.run(9)
    assert (door.now(operation).state, door.now(operation).presses) == ("succeeded", 1)


def test_a_toggle_of_a_door_that_may_have_arrived_unseen_warns() -> None:
    door = with_door(while_moving="stop", open_sensor=False, warning_s=1)
    door.move("open")
    door.run(8)
    assert door.toggle().state == "warning"


def test_a_long_press_ends_before_the_next_begins() -> None:
    door = with_door(while_moving="stop", press_s=2.0, min_gap_s=0.0)
    door.move("open")
    door.run(3)
    door.move("closed")
    door.run(1.9)
    assert len(door.presses) == 2
    door.run(0.2)
    assert len(door.presses) == 3


def test_a_door_that_is_stopped_once_is_not_stopped_again() -> None:
    door = garage(while_moving="stop")
    door.move("open")
    door.run(2)
    door.sees()
    operation = door.move("closed")
    assert len(door.presses) == 2
    door.sees(closed=True)
    door.sees()
    door.run(TRAVEL_S + 5)
    assert (door.now(operation).state, door.now(operation).presses) == ("timed_out", 1)
    assert len(door.presses) == 2


def test_a_contact_that_bounces_back_on_leaving_is_no_arrival() -> None:
    door = garage()
    door.move("open")
    door.run(2)
    door.sees()
    door.sees(closed=True)
    operation = door.move("closed")
    assert operation is not None and operation.is_running
    assert len(door.presses) == 1


def test_an_open_is_not_pressed_where_the_door_rests_unseen() -> None:
    door = garage(open_sensor=False)
    door.sees()
    door.run(TRAVEL_S)
    door.move("closed")
    door.run(2)
    operation = door.move("open")
    door.run(TRAVEL_S + 5)
    assert (door.now(operation).state, door.now(operation).presses) == ("failed", 0)
    assert len(door.presses) == 1 and door.state == "unknown"


def test_a_close_is_not_pressed_where_the_door_rests_unseen() -> None:
    door = garage(closed=False, open=True, closed_sensor=False)
    door.sees()
    operation = door.move("closed")
    door.run(TRAVEL_S + 5)
    assert (door.now(operation).state, door.now(operation).presses) == ("unknown", 0)
    assert door.presses == []


def test_two_presses_have_the_shortest_gap_between_them() -> None:
    door = garage(open_sensor=False, travel_s=1, min_gap_s=4)
    door.move("open")
    door.run(0.2)
    door.sees()
    door.run(1.3)
    assert door.state == "open"
    door.move("closed")
    door.run(2.9)
    assert len(door.presses) == 1
    door.run(0.2)
    first, second = door.presses
    assert second.at - first.at == pytest.approx(0.5 + 4)


# Warnings -------------------------------------------------------------------------------------------------------------


def test_a_close_warns_before_it_presses() -> None:
    door = with_door(1.0, warning_s=5)
    operation = door.move("closed")
    assert operation is not None and operation.state == "warning"
    assert door.warns
    door.run(4.9)
    assert door.presses == []
    door.run(0.1)
    assert len(door.presses) == 1 and not door.warns
    assert door.now(operation).state == "moving"
    door.run(7)
    assert door.now(operation).state == "succeeded"
    assert [output.on for output in door.told(Warn) if isinstance(output, Warn)] == [True, False]


def test_an_open_of_a_closed_door_does_not_warn() -> None:
    door = garage(warning_s=5)
    door.move("open")
    assert not door.warns and len(door.presses) == 1


def test_an_open_from_between_the_ends_warns_as_a_press_may_close_it() -> None:
    door = with_door(0.5, warning_s=5)
    operation = door.move("open")
    assert operation is not None and operation.state == "warning"


def test_an_open_that_waited_and_finds_the_door_between_the_ends_is_not_pressed_unwarned() -> None:
    door = garage(closed=False, open=True, warning_s=5)
    door.sees()
    operation = door.move("open")
    assert operation is not None and operation.state == "moving"
    door.run(TRAVEL_S + 3)
    assert door.now(operation).state == "failed"
    assert door.presses == []


def test_a_warning_is_whole_also_when_the_card_was_slow_before_it_began() -> None:
    door = garage(closed=False, open=True, warning_s=5)
    door.move("closed")
    door.run(4.0)
    door.take(door.machine.warning_began(door.at))
    door.run(4.9)
    assert door.warns and door.presses == []
    door.run(0.2)
    assert not door.warns and len(door.presses) == 1


def test_a_warning_can_be_cancelled_and_nothing_later() -> None:
    door = garage(closed=False, open=True, warning_s=5)
    first = door.move("closed")
    assert first is not None
    door.run(4)
    door.cancel(first)
    assert door.now(first).state == "cancelled" and not door.warns
    with pytest.raises(Conflict):
        door.cancel(first)
    second = door.move("closed")
    assert second is not None
    door.run(5)
    with pytest.raises(Conflict, match="while it warns"):
        door.cancel(second)
    assert len(door.presses) == 1


def test_an_open_calls_off_a_close_that_warns() -> None:
    door = garage(closed=False, open=True, warning_s=5)
    close = door.move("closed")
    door.run(2)
    assert door.move("open") is None
    assert door.now(close).state == "superseded" and not door.warns
    door.run(60)
    assert door.presses == []


def test_an_open_calls_off_a_close_also_where_it_could_not_open() -> None:
    door = garage(closed=False, open_sensor=False, warning_s=5)
    close = door.move("closed")
    assert door.move("open") is None
    assert door.now(close).state == "superseded"
    door.run(60)
    assert door.presses == []


def test_a_door_that_is_closed_by_hand_during_the_warning_is_not_pressed() -> None:
    door = with_door(1.0, warning_s=5)
    assert door.door is not None
    operation = door.move("closed")
    door.run(1)
    door.door.push(0.0, door.at)
    door.run(5)
    assert (door.now(operation).state, door.now(operation).presses) == ("succeeded", 0)


# Toggles --------------------------------------------------------------------------------------------------------------


def test_a_toggle_is_one_press() -> None:
    door = with_door()
    operation = door.toggle()
    assert operation.target is None
    door.run(7)
    assert (door.now(operation).state, door.now(operation).presses) == ("succeeded", 1)
    assert door.state == "open"


def test_a_toggle_that_may_close_warns_first() -> None:
    door = garage(closed=False, open=True, warning_s=5)
    operation = door.toggle()
    assert operation.state == "warning" and door.presses == []
    door.run(5)
    assert len(door.presses) == 1


def test_a_toggle_is_not_pressed_when_the_door_has_moved_meanwhile() -> None:
    door = with_door(1.0, warning_s=5)
    assert door.door is not None
    operation = door.toggle()
    door.door.push(0.0, door.at)
    door.run(6)
    assert door.now(operation).state == "failed"
    assert door.presses == []


def test_a_toggle_that_moves_nothing_times_out() -> None:
    door = garage()
    operation = door.toggle()
    door.run(TRAVEL_S)
    assert door.now(operation).state == "timed_out"


def test_a_second_toggle_right_after_the_first_is_refused() -> None:
    door = garage(while_moving="reverse")
    door.toggle()
    door.run(0.05)
    with pytest.raises(Conflict, match="just now"):
        door.toggle()
    assert len(door.presses) == 1


def test_a_toggle_of_a_moving_door_is_refused_unless_its_opener_allows_it() -> None:
    door = with_door()
    door.toggle()
    door.run(3)
    with pytest.raises(Conflict, match="moves"):
        door.toggle()
    stops = with_door(while_moving="stop")
    first = stops.toggle()
    stops.run(3)
    second = stops.toggle()
    assert stops.now(first).state == "superseded" and stops.state == "stopped"
    stops.run(1)
    assert (stops.now(second).state, len(stops.presses)) == ("succeeded", 2)


def test_a_toggle_while_another_operation_warns_is_refused() -> None:
    door = garage(closed=False, open=True, warning_s=5)
    door.move("closed")
    with pytest.raises(Conflict, match="about to move"):
        door.toggle()


# Locked, quarantined, expired -----------------------------------------------------------------------------------------


def test_a_locked_door_takes_no_command() -> None:
    door = garage()
    door.lock("on holiday")
    for command in (lambda: door.move("open"), lambda: door.move("closed"), door.toggle):
        with pytest.raises(Locked, match="on holiday"):
            command()
    door.unlock()
    assert door.move("open") is not None


def test_a_lock_ends_a_warning_and_what_waits() -> None:
    warned = garage(closed=False, open=True, warning_s=5)
    close = warned.move("closed")
    warned.lock()
    assert warned.now(close).state == "cancelled" and not warned.warns
    waiting = with_door()
    waiting.move("open")
    waiting.run(2)
    second = waiting.move("closed")
    waiting.lock()
    assert waiting.now(second).state == "cancelled"
    for door in (warned, waiting):
        pressed = len(door.presses)
        door.unlock()
        door.run(60)
        assert len(door.presses) == pressed


def test_a_lock_keeps_a_stopped_door_from_running_back() -> None:
    door = with_door(while_moving="stop")
    door.move("open")
    door.run(3)
    second = door.move("closed")
    door.lock()
    door.run(20)
    assert (door.now(second).state, door.now(second).presses) == ("failed", 1)
    assert len(door.presses) == 2


def test_a_lock_lets_a_movement_that_began_go_on_and_be_verified() -> None:
    door = with_door()
    operation = door.move("open")
    door.run(1)
    door.lock()
    door.run(7)
    assert door.now(operation).state == "succeeded"


def test_a_lock_outlives_a_restart() -> None:
    door = garage()
    door.lock("on holiday")
    door.crash()
    door.run(60)
    with pytest.raises(Locked, match="on holiday"):
        door.move("open")


def test_commands_wait_until_the_sensors_have_been_steady() -> None:
    door = Garage(rules(steady_s=2.0), ready=False)
    for _ in range(5):
        with pytest.raises(Quarantined):
            door.move("open")
        door.run(1.9)
        door.sees(closed=False)
        door.run(0.1)
        door.sees(closed=True)
    door.run(2)
    assert door.move("open") is not None
    assert door.told(MovedUnasked) == []


def test_a_press_before_a_crash_keeps_the_shortest_gap() -> None:
    door = garage(min_gap_s=30)
    door.move("open")
    door.crash()
    door.run(30)
    with pytest.raises(Quarantined):
        door.toggle()


def test_an_expired_command_is_not_taken() -> None:
    door = garage()
    with pytest.raises(CommandExpired):
        door.move("open", expires_at=door.at)
    assert door.presses == [] and door.outputs == []
    assert door.move("open", expires_at=door.at + 0.1) is not None


@pytest.mark.parametrize(
    "refused_by",
    [
        lambda door: door.lock(),
        lambda door: door.sees(closed=True, open=True),
        lambda door: door.move("open"),
    ],
)
def test_a_refused_command_changes_nothing(refused_by: Any) -> None:
    door = garage()
    refused_by(door)
    before = door.machine.state
    with pytest.raises(PiApiError):
        door.toggle()
    assert door.machine.state == before


# Restarts -------------------------------------------------------------------------------------------------------------


def test_what_was_cut_off_is_unknown_and_is_not_repeated() -> None:
    door = with_door()
    operation = door.move("open")
    door.run(2)
    door.crash(away_s=1)
    ended = door.now(operation)
    assert ended.state == "unknown" and "after a press" in str(ended.detail)
    door.run(60)
    assert len(door.presses) == 1
    assert door.state == "open"


def test_a_warning_that_was_cut_off_presses_nothing() -> None:
    door = garage(closed=False, open=True, warning_s=5)
    operation = door.move("closed")
    door.crash()
    assert door.now(operation).state == "unknown" and "before anything" in str(door.now(operation).detail)
    door.run(60)
    assert door.presses == [] and not door.warns


def test_a_door_found_between_the_ends_may_be_moving_and_is_not_pressed_at_once() -> None:
    door = Garage(rules(), closed=False, ready=False)
    door.run(2)
    with pytest.raises(Conflict, match="may be moving"):
        door.toggle()
    operation = door.move("closed")
    assert door.presses == []
    door.run(TRAVEL_S)
    assert len(door.presses) == 1 and door.now(operation).is_running


def test_a_door_that_was_just_pressed_before_a_crash_is_not_pressed_at_once() -> None:
    door = garage()
    door.move("open")
    door.crash()
    door.run(2)
    assert door.state == "closed"
    door.move("open")
    assert len(door.presses) == 1
    door.run(TRAVEL_S)
    assert len(door.presses) == 2


def test_a_machine_that_was_stopped_knows_nothing_and_takes_nothing() -> None:
    door = garage(left_open_s=5)
    operation = door.move("open")
    door.take(door.machine.stop(door.at, "piapi ends."))
    assert door.now(operation).state == "unknown"
    assert door.state == "unknown"
    with pytest.raises(Quarantined):
        door.move("open")
    door.sees(closed=True)
    door.run(60)
    assert door.state == "unknown" and door.told(LeftOpen) == []


# What nobody asked for ------------------------------------------------------------------------------------------------


def test_a_door_that_moves_with_nobody_asking_is_told_once() -> None:
    door = with_door()
    assert door.door is not None
    door.door.push(1.0, door.at)
    door.run(10)
    assert len(door.told(MovedUnasked)) == 1
    states = [output.state for output in door.told(DoorChanged) if isinstance(output, DoorChanged)]
    assert states == ["opening", "open"]


def test_a_door_that_was_asked_to_move_is_not_told_as_unasked() -> None:
    door = with_door(1.0, warning_s=1)
    door.move("closed")
    door.run(10)
    door.toggle()
    door.run(10)
    assert door.told(MovedUnasked) == []


def test_a_door_left_open_is_told_once_and_again_after_it_was_closed() -> None:
    door = garage(left_open_s=60)
    door.sees()
    door.run(59)
    assert door.told(LeftOpen) == []
    door.run(600)
    assert len(door.told(LeftOpen)) == 1
    door.sees(closed=True)
    door.run(600)
    door.sees()
    door.run(61)
    assert len(door.told(LeftOpen)) == 2


# Closing by itself ----------------------------------------------------------------------------------------------------

AUTO: dict[str, Any] = {"auto_close_s": 30.0, "warning_s": 5.0}


def test_it_closes_by_itself_after_a_warning() -> None:
    door = with_door(**AUTO)
    door.move("open")
    door.run(36)
    assert len(door.presses) == 1
    door.run(1)
    assert door.warns
    door.run(15)
    assert door.state == "closed" and len(door.presses) == 2
    door.run(600)
    assert len(door.presses) == 2


def test_it_never_closes_by_itself_unless_it_was_asked_to() -> None:
    door = with_door(warning_s=5)
    door.move("open")
    door.run(86_400)
    assert len(door.presses) == 1


@pytest.mark.parametrize("wrong", [{"closed_sensor": False}, {"warning_s": 0.0}])
def test_closing_by_itself_wants_a_closed_sensor_and_a_warning(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="closes by itself only with"):
        rules(**(AUTO | wrong))


def test_a_lost_magnet_does_not_open_a_closed_door() -> None:
    """With the closed sensor alone, a door that left it by itself may still be closed, and a press would open it."""
    door = Garage(rules(open_sensor=False, **AUTO))
    door.sees(closed=False)
    door.run(86_400)
    assert door.state == "open" and door.basis == "inferred" and door.presses == []


def test_with_the_closed_sensor_alone_it_closes_what_was_opened_here() -> None:
    door = Garage(rules(open_sensor=False, **AUTO), SimulatedDoor(TRAVEL_S, at=100.0))
    door.move("open")
    door.run(20)
    assert door.state == "open" and door.basis == "inferred"
    door.run(60)
    assert door.state == "closed" and len(door.presses) == 2


def test_a_door_found_open_at_a_start_does_not_close_by_itself() -> None:
    door = with_door(**AUTO)
    door.move("open")
    door.run(20)
    door.crash()
    door.run(86_400)
    assert len(door.presses) == 1 and door.state == "open"


def test_a_locked_door_does_not_close_by_itself() -> None:
    door = with_door(**AUTO)
    door.move("open")
    door.run(10)
    door.lock()
    door.run(600)
    assert len(door.presses) == 1
    door.unlock()
    door.run(60)
    assert door.state == "closed"


def open_with_an_obstacle() -> Garage:
    door = with_door(**AUTO)
    assert door.door is not None
    door.move("open")
    door.run(8)
    door.door.obstacle = 0.5
    return door


def test_after_two_failed_closes_it_closes_no_more_by_itself() -> None:
    door = open_with_an_obstacle()
    door.run(86_400)
    assert len(door.presses) == 3
    counts = [output.count for output in door.told(FailedClosesChanged) if isinstance(output, FailedClosesChanged)]
    assert counts == [1, 2]
    door.crash()
    assert door.machine.state.failed_closes == 2


def test_an_open_by_command_or_the_console_lets_it_close_by_itself_again() -> None:
    for by_console in (True, False):
        door = open_with_an_obstacle()
        door.run(600)
        assert door.door is not None
        door.door.obstacle = None
        if by_console:
            door.take(door.machine.reset_auto_close(door.at))
        else:
            door.move("closed")
            door.run(30)
            door.move("open")
        door.run(86_400)
        assert door.state == "closed"


def test_what_is_remembered_is_what_a_restart_needs() -> None:
    door = garage(closed=False, open=True, warning_s=5)
    operation = door.move("closed")
    assert door.machine.remembered == Remembered(operation=operation)
    door.lock("night")
    assert door.machine.remembered == Remembered(locked=True, lock_reason="night")


def test_an_operation_that_ended_before_a_restart_stays_as_it_ended() -> None:
    ended = Operation("op-0", "garage", "open", PERSON, 1.0, state="succeeded")
    door = Garage(rules(), remembered=Remembered(operation=ended))
    assert door.operations == {} and door.now(ended) == ended
