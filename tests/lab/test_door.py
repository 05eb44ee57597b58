"""A garage door: relay and both sensors on the kernel's lines, and a script in the guest that plays the opener."""

from __future__ import annotations

import pytest

from tests.lab.conftest import Pi, eventually
from tests.lab.opener import opener, presses

TRAVEL_S = 6


@pytest.mark.smoke
def test_the_door_opens_and_closes_by_its_sensors(pi: Pi) -> None:
    with opener(pi, TRAVEL_S):
        for target in ("open", "closed"):
            status, headers, said = pi.call("PUT", "doors/garage/target", {"target": target})
            assert status == 202, said
            operation = headers["location"]
            eventually(lambda operation=operation: pi.get(operation)["state"] == "succeeded", f"the door is {target}")  # type: ignore[misc]
            door = pi.get("doors/garage")
            assert (door["state"], door["basis"]) == (target, "sensor")
            assert pi.get(operation)["presses"]
        assert presses(pi) == 2
