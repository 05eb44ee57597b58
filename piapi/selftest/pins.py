"""Each pin, with its witness: somebody who hears the relay, or presses the button."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from typing import Any

from piapi.selftest.owned import each
from piapi.selftest.results import Result, failed, ok, skipped
from piapi.selftest.site import API, Person, Service, Site, Unanswered, wiring_of

ON_S = 1.0
"""An output is on for so long. It is a pulse: piapi ends it, or its guard, whatever becomes of the one who asked."""

END_WITHIN_S = ON_S + 5.0
PRESS_WITHIN_S = 20.0

WIRING = "its wiring, active_low and the power of its relay: docs/wiring.md"
NOT_OURS = "another program has it, or the guard is away: `journalctl -u piapi`"

#: Answers that say: not now, for a reason of the owner's own settings.
_NOT_NOW = (409, 423, 429)


def pins(site: Site) -> Iterator[Result]:
    """Each pin."""
    return each(site, "pins", _pin)


def _pin(site: Site, service: Service, pin: dict[str, Any]) -> Iterator[Result]:
    name, where = f"pin {pin['name']}", f"{pin['mode']}, {wiring_of(pin)}"
    if pin["mode"] in ("pwm", "servo"):
        yield skipped(name, f"{where}: not tried, as a level has no end of its own", f"PUT {pin['links']['value']}")
    elif pin["value"] is None:
        yield failed(name, f"{where}: piapi does not have its line", NOT_OURS)
    elif site.person is None:
        yield skipped(name, f"{where}: {'on' if pin['value'] else 'off'}; nobody is asked")
    else:
        look_at = _output if pin["mode"] == "output" else _input
        yield look_at(site, service, site.person, pin, name, where)


def _output(site: Site, service: Service, person: Person, pin: dict[str, Any], name: str, where: str) -> Result:
    if pin["value"]:
        return skipped(name, f"{where}: on, so somebody uses it, and it is left alone", "switch it off, then again")
    if not person.agrees(f"Switch on {pin['name']} ({where}) for {ON_S:g} s?", default=False):
        return skipped(name, f"{where}: not switched on, as you said")
    try:
        on_s = pulse(site, service, pin)
    except Unanswered as error:
        if error.status in _NOT_NOW:
            return skipped(name, f"{where}: {error}")
        return failed(name, f"{where}: {error}", NOT_OURS)
    if on_s is None:
        return failed(name, f"{where}: its pulse did not end as it should", "`journalctl -u piapi`")
    found = f"{where}: on for {on_s:.2f} s"
    witnessed = person.witnessed(f"Did {pin['name']} switch on and off?")
    if witnessed is None:
        return skipped(name, f"{found}; nobody could tell whether it switched")
    return ok(name, f"{found}, and seen") if witnessed else failed(name, f"{found}, and nothing switched", WIRING)


def pulse(site: Site, service: Service, pin: dict[str, Any]) -> float | None:
    """Switch an output on for a second. Gives how long it was on; None when it did not end as it should.

    However this is left, the output is told to go off; unless the service refused it, as then what is on is another's.
    Raises Unanswered.
    """
    try:
        begun = service.ask("POST", pin["links"]["pulses"], {"duration_s": ON_S}, key=secrets.token_hex(16))
        actuation = site.until(lambda: _ended(service, begun["id"]), END_WITHIN_S)
    except BaseException as error:
        if getattr(error, "status", None) is None:
            _switch_off(service, pin)
        raise
    if actuation is None:
        _switch_off(service, pin)
    return actuation["on_s"] if actuation and actuation["state"] == "done" else None


def _ended(service: Service, actuation_id: str) -> dict[str, Any] | None:
    actuation: dict[str, Any] = service.ask("GET", f"{API}/actuations/{actuation_id}")
    return None if actuation["state"] in ("intended", "active") else actuation


def _switch_off(service: Service, pin: dict[str, Any]) -> None:
    with contextlib.suppress(Unanswered):  # its pulse ends all the same
        service.ask("PUT", pin["links"]["value"], {"value": False})


def _input(site: Site, service: Service, person: Person, pin: dict[str, Any], name: str, where: str) -> Result:
    if not person.agrees(f"Try {pin['name']} ({where})? You have {PRESS_WITHIN_S:g} s to press it.", default=True):
        return skipped(name, f"{where}: not tried, as you said")
    here = pin["links"]["self"]
    before = service.ask("GET", here)
    person.tell(f"Press {pin['name']} now (or open, close, cover what it listens to) …")
    began = site.clock.monotonic()

    def changed() -> dict[str, Any] | None:
        now: dict[str, Any] = service.ask("GET", here)
        return now if now["edges"] != before["edges"] else None

    if (seen := site.until(changed, PRESS_WITHIN_S)) is None:
        level = "on" if before["value"] else "off"
        return failed(
            name, f"{where}: {level} all the time, for {PRESS_WITHIN_S:g} s", "its wiring, pull and active_low"
        )
    return ok(name, f"{where}: {seen['edges'] - before['edges']} changes, after {site.clock.monotonic() - began:.1f} s")
