"""The lines of one door: its relay, its sensors, and what it warns with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from piapi.clock import Clock
from piapi.services.doors.states import DoorRules, Sensor
from piapi.services.inputs import Change, Input, InputRules, Inputs
from piapi.services.outputs import OutputRules, Outputs
from piapi.wiring import number_of

DEBOUNCE_S = 0.05
"""Of a sensor, unless the owner sets another."""

CONFIRM_S = 0.04
"""A level that no edge told of is believed when it has stayed so long, beside the debounce time."""


@dataclass(frozen=True, slots=True)
class DoorConfig:
    """A door, as it is configured (`[doors.NAME]`). Durations are seconds."""

    name: str
    relay: Mapping[str, Any]
    press_s: float = 0.5
    closed_sensor: Mapping[str, Any] | None = None
    open_sensor: Mapping[str, Any] | None = None
    travel_s: float = 20.0
    while_moving: Any = "refuse"
    min_gap_s: float = 1.0
    warning: Mapping[str, Any] | None = None
    warning_s: float = 0.0
    left_open_s: float = 0.0
    auto_close_s: float = 0.0
    camera: str | None = None

    @property
    def rules(self) -> DoorRules:
        """What its machine goes by."""
        return DoorRules(
            name=self.name,
            closed_sensor=self.closed_sensor is not None,
            open_sensor=self.open_sensor is not None,
            press_s=self.press_s,
            travel_s=self.travel_s,
            while_moving=self.while_moving,
            min_gap_s=self.min_gap_s,
            warning_s=self.warning_s if self.warning else 0.0,
            left_open_s=self.left_open_s,
            auto_close_s=self.auto_close_s,
        )

    @property
    def sensors(self) -> dict[Sensor, Mapping[str, Any]]:
        """Those that it has."""
        both: dict[Sensor, Mapping[str, Any] | None] = {"closed": self.closed_sensor, "open": self.open_sensor}
        return {name: line for name, line in both.items() if line is not None}


@dataclass(frozen=True, slots=True)
class Levels:
    """The sensors at one moment: active or not, None for one that the door has not."""

    closed: bool | None
    open: bool | None
    is_certain: bool
    """False while a sensor shows something that its edges have not told of: to be looked at again soon."""


class _Sensor:
    def __init__(self, input: Input, inputs: Inputs) -> None:
        self.input = input
        self._inputs = inputs
        self._differs_since: float | None = None

    def look(self, now: float) -> tuple[bool, bool]:
        """Whether it is active, and whether that is certain. Raises HardwareError."""
        level, told = self._inputs.read(self.input), bool(self.input.is_active)
        if level is told:
            self._differs_since = None
            return told, True
        if self._differs_since is None:
            self._differs_since = now
        if now - self._differs_since < self.input.rules.debounce_s + CONFIRM_S:
            return told, False
        self._inputs.correct(self.input, level)
        return level, True


class DoorLines:
    """To be claimed, read, pressed and warned with."""

    def __init__(
        self,
        config: DoorConfig,
        outputs: Outputs,
        inputs: Inputs,
        clock: Clock,
        on_edge: Callable[[Sensor, Change], None],
    ) -> None:
        """`on_edge` is called on the timetable's thread, and must be quick."""
        self._outputs = outputs
        self._inputs = inputs
        self._clock = clock
        relay = OutputRules(**_line(config.relay), min_gap_s=config.min_gap_s)
        self._relay = outputs.add(f"the relay of {config.name}", relay)
        warning = config.warning and OutputRules(**_line(config.warning))
        self._warning = outputs.add(f"the warning of {config.name}", warning) if warning else None
        self._sensors = {
            name: _Sensor(
                inputs.add(
                    f"the {name} sensor of {config.name}",
                    InputRules(**{"debounce_s": DEBOUNCE_S, **_line(line)}),
                    lambda change, name=name: on_edge(name, change),  # type: ignore[misc]
                ),
                inputs,
            )
            for name, line in config.sensors.items()
        }

    def claim(self) -> None:
        """Take those that could not be taken so far, at rest. Raises HardwareError."""
        self._outputs.claim(self._relay)
        if self._warning is not None:
            self._outputs.claim(self._warning)
        for sensor in self._sensors.values():
            self._inputs.claim(sensor.input)

    def look(self) -> Levels:
        """Both sensors, read one right after the other. Raises HardwareError."""
        now = self._clock.monotonic()
        found = {name: sensor.look(now) for name, sensor in self._sensors.items()}
        closed, open = found.get("closed"), found.get("open")
        is_certain = all(certain for _, certain in found.values())
        return Levels(closed and closed[0], open and open[0], is_certain)

    def press(self, for_s: float, on_end: Callable[[float, float, str], None]) -> None:
        """Press the button. `on_end(began, ended, cause)` as in `Outputs.turn_on`. Raises Conflict, HardwareError."""
        self._outputs.take(self._relay)
        self._outputs.turn_on(self._relay, for_s, on_end)

    def warn(self, on: bool) -> None:
        """Switch light or buzzer. Raises HardwareError."""
        if self._warning is None or self._warning.is_on is on:
            return
        if not on:
            self._outputs.turn_off(self._warning)
            return
        self._outputs.take(self._warning)
        self._outputs.turn_on(self._warning, None, lambda *end: None)


def _line(table: Mapping[str, Any]) -> dict[str, Any]:
    return {"line": number_of(table["gpio"]), **{name: value for name, value in table.items() if name != "gpio"}}
