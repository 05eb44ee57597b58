"""The self-test's checks of cameras, pins and doors: what they ask of the service, and of the person beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import config
from piapi.selftest.cameras import cameras
from piapi.selftest.checklist import examine
from piapi.selftest.doors import doors
from piapi.selftest.pins import ON_S, PRESS_WITHIN_S, pins
from piapi.selftest.results import Outcome, Result
from piapi.selftest.site import API, Site, Unanswered
from tests.selftest_site import FakePerson, FakeService, PatientClock, camera, door, jpeg, only, outcomes, pin, site

OK, FAILED, SKIPPED = Outcome.OK, Outcome.FAILED, Outcome.SKIPPED
EVERYTHING = config.Settings(
    cameras={"front": config.Camera()},
    pins={"lamp": config.Pin(gpio="GPIO17")},
    doors={"garage": config.Door(relay={"gpio": "GPIO23"})},
)
PULSE = ("POST", f"{API}/pins/lamp/pulses", {"duration_s": ON_S})
OFF = ("PUT", f"{API}/pins/lamp/value", {"value": False})
TOGGLE = ("POST", f"{API}/doors/garage/toggles", {})


@pytest.fixture
def service() -> FakeService:
    return FakeService()


def beside(service: FakeService, tmp_path: Path, person: FakePerson | None = None, **more: Any) -> Site:
    return site(tmp_path, service=service, person=person, **more)


# Without the service, and with one that knows other things


@pytest.mark.parametrize("check", [cameras, pins, doors])
def test_what_the_service_owns_is_skipped_without_it(tmp_path: Path, check: Any) -> None:
    result = only(check(site(tmp_path, settings=EVERYTHING, person=FakePerson())))
    assert result.outcome is SKIPPED and "systemctl start piapi" in result.remedy


@pytest.mark.parametrize("check", [cameras, pins, doors])
def test_what_is_configured_and_unknown_to_the_service_fails(tmp_path: Path, service: FakeService, check: Any) -> None:
    result = only(check(beside(service, tmp_path, settings=EVERYTHING)))
    assert result.outcome is FAILED and "restart piapi" in result.remedy


def test_a_service_that_hangs_up_fails_each_check_and_ends_none(tmp_path: Path, service: FakeService) -> None:
    def ask(method: str, path: str, body: Any = None, key: str = "") -> Any:
        raise Unanswered("piapi was cut off.")

    service.ask = ask  # type: ignore[method-assign]
    checklist = (("Cameras", cameras), ("Pins", pins), ("Doors", doors))
    found = [finding.result.outcome for finding in examine(beside(service, tmp_path), checklist)]
    assert found == [FAILED, FAILED, FAILED]


def test_one_that_the_service_does_not_answer_for_keeps_no_other_from_its_turn(
    tmp_path: Path, service: FakeService
) -> None:
    def hang_up() -> None:
        raise Unanswered("piapi was cut off.")

    service.items["doors"] = [door(), door(name="shed", links={"self": f"{API}/doors/shed"})]
    service.at[f"GET {API}/doors/garage"] = hang_up
    found = outcomes(doors(beside(service, tmp_path)))
    assert found == {"door garage": FAILED, "door shed": OK, "button of door shed": SKIPPED}


# Cameras


def test_a_camera_takes_a_picture_that_is_told(tmp_path: Path, service: FakeService) -> None:
    service.items["cameras"] = [camera()]
    result = only(cameras(beside(service, tmp_path)))
    assert result.outcome is OK and "EMULATED" not in result.detail
    for said in ("picamera2, imx708", "64×48", "brightness 50 %", "in 0.00 s"):
        assert said in result.detail
    assert service.commands() == []


def test_an_emulated_camera_says_so_loudly(tmp_path: Path, service: FakeService) -> None:
    service.items["cameras"] = [camera(emulated=True, model=None)]
    assert "model unknown, EMULATED: NOT REAL HARDWARE" in only(cameras(beside(service, tmp_path))).detail


@pytest.mark.parametrize(
    ("picture", "said"),
    [
        (jpeg(0), "all black"),
        (jpeg(128)[:40], "no picture"),
        (b"<html>", "no picture"),
        (Unanswered("The camera gave no frame within 10 s.", 504), "no frame within 10 s"),
    ],
    ids=["black", "cut off", "no picture", "timeout"],
)
def test_a_camera_without_a_picture_fails(
    tmp_path: Path, service: FakeService, picture: bytes | Exception, said: str
) -> None:
    service.items["cameras"] = [camera()]
    service.picture = picture
    result = only(cameras(beside(service, tmp_path)))
    assert result.outcome is FAILED and said in result.detail and result.remedy


def test_an_unavailable_camera_fails_with_its_reason_and_a_dark_one_does_not(
    tmp_path: Path, service: FakeService
) -> None:
    service.items["cameras"] = [camera(state="unavailable", detail="There is no camera on the connector.")]
    result = only(cameras(beside(service, tmp_path)))
    assert result.outcome is FAILED and "on the connector" in result.detail
    service.items["cameras"], service.picture = [camera()], jpeg(8)
    assert only(cameras(beside(service, tmp_path))).outcome is OK


# Outputs


def test_an_output_is_switched_for_a_second_and_the_witness_decides(tmp_path: Path, service: FakeService) -> None:
    for witnessed, outcome in ((True, OK), (False, FAILED), (None, SKIPPED)):
        service.items["pins"] = [pin()]
        service.asked.clear()
        person = FakePerson(witnessed=witnessed)
        result = only(pins(beside(service, tmp_path, person)))
        assert result.outcome is outcome and "GPIO17, pin 11" in result.detail and "on for 1.00 s" in result.detail
        assert service.commands() == [PULSE] and person.defaults == [False]
    assert len(set(service.keys)) == 3


def test_an_output_is_not_switched_for_nobody_nor_for_a_no_nor_when_it_is_on(
    tmp_path: Path, service: FakeService
) -> None:
    service.items["pins"] = [pin()]
    assert only(pins(beside(service, tmp_path, None))).outcome is SKIPPED
    assert only(pins(beside(service, tmp_path, FakePerson(agrees=False)))).outcome is SKIPPED
    service.items["pins"] = [pin(value=True)]
    assert only(pins(beside(service, tmp_path, FakePerson()))).outcome is SKIPPED
    service.items["pins"] = [pin(value=0.5, mode="pwm"), pin(value=None, mode="servo")]
    assert {result.outcome for result in pins(beside(service, tmp_path, FakePerson()))} == {SKIPPED}
    assert service.commands() == []


def test_a_line_that_the_service_does_not_have_fails(tmp_path: Path, service: FakeService) -> None:
    service.items["pins"] = [pin(value=None)]
    assert only(pins(beside(service, tmp_path))).outcome is FAILED


@pytest.mark.parametrize(
    ("refusal", "outcome"),
    [
        (Unanswered("An interlock holds it.", 409), SKIPPED),
        (Unanswered("There is no guard.", 503), FAILED),
    ],
)
def test_a_refused_pulse_says_why_and_touches_nothing_more(
    tmp_path: Path, service: FakeService, refusal: Unanswered, outcome: Outcome
) -> None:
    service.items["pins"], service.refusal = [pin()], refusal
    result = only(pins(beside(service, tmp_path, FakePerson())))
    assert result.outcome is outcome and str(refusal) in result.detail
    assert service.commands() == [PULSE]


def test_a_pulse_whose_answer_was_lost_is_ended(tmp_path: Path, service: FakeService) -> None:
    service.items["pins"], service.refusal = [pin()], Unanswered("piapi was cut off.")
    assert only(pins(beside(service, tmp_path, FakePerson()))).outcome is FAILED
    assert service.commands() == [PULSE, OFF]


@pytest.mark.parametrize("state", ["active", "unknown"])
def test_a_pulse_that_does_not_end_as_it_should_fails(tmp_path: Path, service: FakeService, state: str) -> None:
    service.items["pins"] = [pin()]
    service.actuation = {"id": "act1", "state": state, "on_s": None}
    assert only(pins(beside(service, tmp_path, FakePerson()))).outcome is FAILED
    assert (OFF in service.commands()) == (state == "active")


@pytest.mark.parametrize("at", [f"POST {API}/pins/lamp/pulses", f"GET {API}/actuations/act1"])
def test_an_interrupted_run_leaves_every_output_off(tmp_path: Path, service: FakeService, at: str) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    service.items["pins"] = [pin(), pin(name="other")]
    service.at[at] = interrupt
    with pytest.raises(KeyboardInterrupt):
        list(examine(beside(service, tmp_path, FakePerson()), (("Pins", pins),)))
    assert [item["value"] for item in service.items["pins"]] == [False, False]
    assert service.commands() == [PULSE, OFF]


def test_ctrl_c_at_a_question_ends_the_run_with_nothing_on(tmp_path: Path, service: FakeService) -> None:
    service.items["pins"] = [pin()]
    with pytest.raises(KeyboardInterrupt):
        list(pins(beside(service, tmp_path, FakePerson(agrees=KeyboardInterrupt()))))
    assert service.commands() == []


# Inputs


def button(**more: Any) -> dict[str, Any]:
    return pin(name="bell", mode="input", edges=4, **more)


def test_an_input_is_well_when_it_changes_and_fails_when_it_does_not(tmp_path: Path, service: FakeService) -> None:
    service.items["pins"] = [button()]
    clock, person = PatientClock(), FakePerson()
    began = clock.monotonic()
    result = only(pins(beside(service, tmp_path, person, clock=clock)))
    assert result.outcome is FAILED and "off all the time" in result.detail
    assert PRESS_WITHIN_S <= clock.monotonic() - began < PRESS_WITHIN_S + 1
    person.on_tell = lambda: service.items["pins"][0].update(edges=6)
    result = only(pins(beside(service, tmp_path, person)))
    assert result.outcome is OK and "2 changes" in result.detail
    assert service.commands() == []


def test_an_input_waits_for_nobody(tmp_path: Path, service: FakeService) -> None:
    service.items["pins"] = [button(emulated=True)]
    clock = PatientClock()
    began = clock.monotonic()
    result = only(pins(beside(service, tmp_path, None, clock=clock)))
    assert result.outcome is SKIPPED and "EMULATED" in result.detail
    assert only(pins(beside(service, tmp_path, FakePerson(agrees=False), clock=clock))).outcome is SKIPPED
    assert clock.monotonic() == began


# Doors


def pressed(service: FakeService, tmp_path: Path, person: FakePerson | None, **more: Any) -> Result:
    service.items["doors"] = [door(**more)]
    return list(doors(beside(service, tmp_path, person)))[1]


@pytest.mark.parametrize("typed", ["", "y", "yes", "Garage", "other", "garag"])
def test_a_door_is_not_moved_unless_its_name_is_typed(tmp_path: Path, service: FakeService, typed: str) -> None:
    person = FakePerson(agrees=True, types=typed)
    assert pressed(service, tmp_path, person).outcome is SKIPPED
    assert service.commands() == []
    assert len(person.heard) == 1 and "garage WILL MOVE" in person.heard[0]


def test_a_door_is_not_moved_for_nobody_nor_when_it_is_locked(tmp_path: Path, service: FakeService) -> None:
    assert pressed(service, tmp_path, None).outcome is SKIPPED
    assert pressed(service, tmp_path, FakePerson(types="garage"), locked=True).outcome is SKIPPED
    assert service.commands() == []


def test_a_door_that_was_named_is_pressed_once_and_the_witness_decides(tmp_path: Path, service: FakeService) -> None:
    for witnessed, outcome in ((True, OK), (False, FAILED), (None, SKIPPED)):
        service.asked.clear()
        assert pressed(service, tmp_path, FakePerson(types="garage", witnessed=witnessed)).outcome is outcome
        assert service.commands() == [TOGGLE]
    assert len(set(service.keys)) == 3


@pytest.mark.parametrize("state", ["timed_out", "failed", "unknown", "moving"])
def test_an_operation_that_does_not_succeed_fails(tmp_path: Path, service: FakeService, state: str) -> None:
    service.operation = {"id": "op1", "state": state, "detail": "It did not arrive."}
    result = pressed(service, tmp_path, FakePerson(types="garage"))
    assert result.outcome is FAILED and "piapi doors log garage" in result.remedy


def test_a_refused_press_says_why(tmp_path: Path, service: FakeService) -> None:
    service.refusal = Unanswered("Sensors are not steady yet.", 503)
    result = pressed(service, tmp_path, FakePerson(types="garage"))
    assert result.outcome is FAILED and "not steady" in result.detail and service.commands() == [TOGGLE]


def test_an_interrupted_warning_is_cancelled(tmp_path: Path, service: FakeService) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    for at in (f"POST {API}/doors/garage/toggles", f"GET {API}/operations/op1"):
        service.asked.clear()
        service.at = {at: interrupt}
        service.operation["state"] = "warning"
        with pytest.raises(KeyboardInterrupt):
            pressed(service, tmp_path, FakePerson(types="garage"))
        assert service.commands() == [TOGGLE, ("DELETE", f"{API}/operations/op1", None)]


def test_sensors_of_a_door_are_told_and_judged(tmp_path: Path, service: FakeService) -> None:
    def sensors(**more: Any) -> Result:
        service.items["doors"] = [door(**more)]
        return next(doors(beside(service, tmp_path)))

    assert sensors().outcome is OK and "closed, closed sensor on" in sensors().detail
    assert sensors(sensors={"closed": None, "open": None}, state="unknown", emulated=True).detail == (
        "unknown, no sensor tells, EMULATED: NOT REAL HARDWARE"
    )
    assert sensors(state="fault", sensors={"closed": True, "open": True}).outcome is FAILED
    assert sensors(state="unknown", detail="GPIO24 is taken.").outcome is FAILED


def test_a_door_that_has_just_started_is_waited_for(tmp_path: Path, service: FakeService) -> None:
    service.items["doors"] = [door(detail="Just started.")]
    service.at[f"GET {API}/doors/garage"] = lambda: service.items["doors"][0].update(detail=None)
    assert next(doors(beside(service, tmp_path))).outcome is OK


def test_without_a_person_nothing_at_all_is_commanded(tmp_path: Path, service: FakeService) -> None:
    service.items = {"cameras": [camera()], "pins": [pin(), button()], "doors": [door()]}
    here = beside(service, tmp_path, None)
    found = outcomes(finding.result for finding in examine(here, (("C", cameras), ("P", pins), ("D", doors))))
    assert found["camera front"] is OK and found["door garage"] is OK
    assert found["pin lamp"] is found["pin bell"] is found["button of door garage"] is SKIPPED
    assert service.commands() == []
