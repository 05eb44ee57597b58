"""The kinds of pins: outputs, PWM and servos, inputs. Each tells its value, and takes one where it can."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from piapi.clock import Clock, wall_time_of
from piapi.errors import Conflict, Fault, Invalid
from piapi.hardware.base import Pull
from piapi.models import NOBODY
from piapi.services.edge_entries import EdgeEntries, Later, Record
from piapi.services.inputs import Change, InputRules, Inputs
from piapi.services.levels import Levels
from piapi.services.outputs import OutputRules, Outputs
from piapi.wiring import PHYSICAL, number_of

Value = bool | float


@dataclass(frozen=True, slots=True)
class PinConfig:
    """A pin, as it is configured."""

    name: str
    gpio: str
    mode: str
    active_low: bool = False
    max_on_s: float = 0.0
    on_exit: str = "off"
    min_gap_s: float = 0.0
    interlock: str | None = None
    dead_time_s: float = 0.0
    pull: Pull = "none"
    debounce_s: float = 0.0

    @property
    def line(self) -> int:
        """Broadcom's number."""
        return number_of(self.gpio)

    @property
    def physical(self) -> int:
        """Pin of the header."""
        return PHYSICAL[self.line]


class Pin(ABC):
    """What all pins have."""

    def __init__(self, config: PinConfig, record: Record, clock: Clock) -> None:
        self.config = config
        self.changed_at: datetime | None = None
        self.detail: str | None = None
        """Why its line could not be taken."""
        self._record = record
        self._clock = clock

    @property
    @abstractmethod
    def is_claimed(self) -> bool:
        """Whether the line is ours."""

    @property
    @abstractmethod
    def value(self) -> Value | None:
        """What is on the line; None: nobody knows, or nothing is driven."""

    @property
    def edges(self) -> int | None:
        """Changes of an input since the start."""
        return None

    @property
    def keeps(self) -> bool:
        """Whether a stop leaves it as it is."""
        return self.config.on_exit == "keep"

    @abstractmethod
    def claim(self, was_on: bool) -> None:
        """Take the line. Raises HardwareError."""

    @abstractmethod
    def check(self, value: Any) -> Value:
        """The value asked for, as this pin takes it. Raises Invalid; Conflict where it takes none."""

    @abstractmethod
    def switch(self, value: Any, actor: str, intend: Callable[[], None]) -> None:
        """Bring it to a checked value. `intend` writes the intent down durably, before anything goes on.

        Raises Conflict, HardwareError.
        """


class OutputPin(Pin):
    """A pin that is on or off."""

    def __init__(self, config: PinConfig, outputs: Outputs, record: Record, clock: Clock) -> None:
        super().__init__(config, record, clock)
        self._outputs = outputs
        self._off_by = NOBODY
        self.output = outputs.add(
            config.name,
            OutputRules(
                line=config.line,
                active_low=config.active_low,
                max_on_s=config.max_on_s,
                min_gap_s=config.min_gap_s,
                interlock=config.interlock,
                dead_time_s=config.dead_time_s,
                off_at_death=config.on_exit == "off",
            ),
        )

    @property
    def is_claimed(self) -> bool:
        """Whether the line is ours."""
        return self.output.is_claimed

    @property
    def value(self) -> bool | None:
        """On or off."""
        return self.output.is_on if self.output.is_claimed else None

    def claim(self, was_on: bool) -> None:
        """Take the line. Raises HardwareError."""
        self._outputs.claim(self.output, on=was_on)

    def note_off(self, ago_s: float) -> None:
        """It went off so many seconds ago, before this process began."""
        self._outputs.note_off(self.output, ago_s)

    def check(self, value: Any) -> bool:
        """The value asked for. Raises Invalid."""
        if not isinstance(value, bool):
            raise Invalid(Fault("/value", "must be true or false"))
        return value

    def switch(self, value: bool, actor: str, intend: Callable[[], None]) -> None:
        """On: `intend` is called before, and writes it down durably. Off: at once. Raises Conflict, HardwareError."""
        if not value:
            self._off_by = actor
            self._outputs.turn_off(self.output)
        elif not self.output.is_on:
            self.turn_on(None, actor, intend, self._ended)
        elif self.output.is_pulse:
            raise Conflict(f"A pulse of {self.config.name} is running; switch it off, or wait for its end.")

    def turn_on(
        self, for_s: float | None, actor: str, intend: Callable[[], None], on_end: Callable[[float, float, str], None]
    ) -> float:
        """First the intent is durable, then the line moves. Gives the moment."""
        self._outputs.take(self.output)
        try:
            intend()
        except BaseException:
            self._outputs.give_up(self.output)
            raise
        began = self._outputs.turn_on(self.output, for_s, on_end)
        self.changed_at = self._clock.now()
        self._record("pin.changed", {"value": True}, actor=actor)
        return began

    def _ended(self, began: float, ended: float, cause: str) -> None:
        self.went_off(began, ended, cause)

    def went_off(self, began: float, ended: float, cause: str) -> None:
        """Note that it is off. On any thread; must not wait."""
        self.changed_at = wall_time_of(self._clock, ended)
        actor = self._off_by if cause == "off" else NOBODY
        self._record("pin.changed", {"value": False, "cause": cause, "on_s": round(ended - began, 6)}, actor=actor)


class LevelPin(Pin):
    """A pin with PWM, or a servo."""

    def __init__(self, config: PinConfig, levels: Levels, record: Record, clock: Clock) -> None:
        super().__init__(config, record, clock)
        self._levels = levels
        self.level = levels.add(config.name, config.mode, config.line, config.active_low, config.max_on_s, self._ended)

    @property
    def is_claimed(self) -> bool:
        """Whether the line is ours."""
        return self.level.is_claimed

    @property
    def value(self) -> float | None:
        """0–1 for PWM, −1–1 for a servo; None: not driven."""
        return self.level.value

    def claim(self, was_on: bool) -> None:
        """Take the line. Raises HardwareError."""
        self._levels.claim(self.level)

    def check(self, value: Any) -> float:
        """The value asked for. Raises Invalid."""
        low = 0 if self.config.mode == "pwm" else -1
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= 1:
            raise Invalid(Fault("/value", f"must be a number from {low} to 1"))
        return float(value)

    def switch(self, value: float, actor: str, intend: Callable[[], None]) -> None:
        """Drive it; `intend` is called before, unless it goes off, which waits for nothing. Raises HardwareError."""
        if value != self.level.value:
            if value or self.config.mode == "servo":  # whose 0 is its middle
                intend()
            self._levels.drive(self.level, value)
            self.changed_at = self._clock.now()
            self._record("pin.changed", {"value": value}, actor=actor)

    def _ended(self, cause: str) -> None:
        self.changed_at = self._clock.now()
        self._record("pin.changed", {"value": 0.0, "cause": cause})


class InputPin(Pin):
    """A pin that is listened to."""

    def __init__(
        self,
        config: PinConfig,
        inputs: Inputs,
        record: Record,
        later: Later,
        clock: Clock,
    ) -> None:
        super().__init__(config, record, clock)
        self._inputs = inputs
        self._entries = EdgeEntries(record, "pin.changed", later)
        self.input = inputs.add(
            config.name, InputRules(config.line, config.pull, config.active_low, config.debounce_s), self._changed
        )

    @property
    def is_claimed(self) -> bool:
        """Whether the line is ours."""
        return self.input.is_claimed

    @property
    def value(self) -> bool | None:
        """Active or not."""
        return self.input.is_active if self.input.is_claimed else None

    @property
    def edges(self) -> int:
        """Changes since the start."""
        return self.input.edges

    def claim(self, was_on: bool) -> None:
        """Take the line. Raises HardwareError."""
        self._inputs.claim(self.input)
        self.changed_at = self.changed_at or self._clock.now()

    def check(self, value: Any) -> bool:
        """An input takes no value. Raises Conflict."""
        raise Conflict(f"{self.config.name} is an input: it says what it sees, and cannot be set.")

    def switch(self, value: bool, actor: str, intend: Callable[[], None]) -> None:
        """Never."""
        self.check(value)

    def _changed(self, change: Change) -> None:
        self.changed_at = wall_time_of(self._clock, change.at)
        self._entries.add(change)
