"""Each door: what its sensors say; and its button, which is pressed only for somebody who has typed the door's name."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from typing import Any

from piapi.selftest.owned import each
from piapi.selftest.results import Result, failed, ok, skipped
from piapi.selftest.site import API, Person, Service, Site, Unanswered, emulation_of

#: Seconds in which an operation has ended: the longest warning and the longest travel that can be configured.
END_WITHIN_S = 60.0 + 600.0 + 30.0

#: A door that has just started, and is well, takes commands by then.
STEADY_WITHIN_S = 10.0

SENSORS = "its sensors, their wires and magnets: docs/wiring.md"
BUTTON = "the relay, its wires to the opener's button, and press_s: docs/wiring.md"


def doors(site: Site) -> Iterator[Result]:
    """Each door."""
    return each(site, "doors", _door)


def _door(site: Site, service: Service, door: dict[str, Any]) -> Iterator[Result]:
    door = _steady(site, service, door)
    yield _sensors(door)
    yield _button(site, service, door)


def _steady(site: Site, service: Service, door: dict[str, Any]) -> dict[str, Any]:
    """The door as it is once it takes commands: right after a start its sensors have to be steady first."""

    def ready() -> dict[str, Any] | None:
        now: dict[str, Any] = service.ask("GET", door["links"]["self"])
        return None if now["detail"] else now

    return site.until(ready, STEADY_WITHIN_S) or door


def _sensors(door: dict[str, Any]) -> Result:
    name = f"door {door['name']}"
    said = [
        f"{which} sensor {'on' if value else 'off'}" for which, value in door["sensors"].items() if value is not None
    ]
    found = f"{door['state']}, {', '.join(said) or 'no sensor tells'}{emulation_of(door)}"
    if door["detail"] or door["state"] == "fault":
        return failed(name, f"{found}: {door['detail'] or 'both sensors at once'}", f"what is said here; {SENSORS}")
    return ok(name, found)


def _button(site: Site, service: Service, door: dict[str, Any]) -> Result:
    name = f"button of door {door['name']}"
    if site.person is None:
        return skipped(name, "not pressed: nobody is asked")
    if door["locked"]:
        return skipped(name, "not pressed: the door is locked")
    question = (
        f"THE DOOR {door['name']} WILL MOVE when its button is pressed: keep everybody away from it, and watch it. "
        f"To press it once, type {door['name']}; Enter alone leaves it as it is"
    )
    if not site.person.names(question, door["name"]):
        return skipped(name, "not pressed: the door was not named")
    try:
        operation = press(site, service, door)
    except Unanswered as error:
        return failed(name, f"refused: {error}", "what is said here")
    return _witnessed(site.person, door, name, operation)


def _witnessed(person: Person, door: dict[str, Any], name: str, operation: dict[str, Any] | None) -> Result:
    if operation is None:
        return failed(name, "the operation has not ended", f"`piapi doors log {door['name']}`")
    found = operation["state"].replace("_", " ") + (f": {operation['detail']}" if operation["detail"] else "")
    moved = person.witnessed(f"Did the door {door['name']} move?")
    if moved is False:
        return failed(name, f"{found}; and the door did not move", BUTTON)
    if operation["state"] in ("failed", "timed_out", "unknown"):
        return failed(name, found, f"`piapi doors log {door['name']}`; {SENSORS}")
    if moved is None:
        return skipped(name, f"{found}; nobody could tell whether it moved")
    return ok(name, f"{found}, and seen to move")


def press(site: Site, service: Service, door: dict[str, Any]) -> dict[str, Any] | None:
    """Press the button once. Gives the operation when it has ended; None when it has not in time.

    Left in the middle, a warning is cancelled: then nothing is pressed. Raises Unanswered.
    """
    try:
        begun = service.ask("POST", door["links"]["toggles"], {}, key=secrets.token_hex(16))
        path = f"{API}/operations/{begun['id']}"

        def ended() -> dict[str, Any] | None:
            operation: dict[str, Any] = service.ask("GET", path)
            return operation if operation["state"] not in ("warning", "moving") else None

        return site.until(ended, END_WITHIN_S)
    except Unanswered:
        raise
    except BaseException:
        cancel(service, door)
        raise


def cancel(service: Service, door: dict[str, Any]) -> None:
    """End what still warns. The operation is asked of the door: its answer may be what was cut off."""
    with contextlib.suppress(Unanswered):  # it moves already, or has ended
        operation = service.ask("GET", door["links"]["self"])["operation"]
        if operation:
            service.ask("DELETE", f"{API}/operations/{operation}")
