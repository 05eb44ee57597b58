"""A door's machine in a garage of its own, with a time that only a test moves; with or without a simulated door."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

from piapi.hardware.simulated_door import SimulatedDoor
from piapi.services.doors.machine import DoorMachine
from piapi.services.doors.states import (
    AutoCloseDue,
    DoorRules,
    Operation,
    OperationChanged,
    Output,
    Press,
    Remembered,
    Target,
    Warn,
)

PERSON = "token:phone"


@dataclass(frozen=True)
class Pressed:
    """A press that was made."""

    at: float
    operation: str


class Garage:
    """Does what the machine puts out, and gives it what happens. `run` lets time pass, event by event."""

    def __init__(
        self,
        rules: DoorRules,
        door: SimulatedDoor | None = None,
        *,
        closed: bool = True,
        open: bool = False,
        remembered: Remembered | None = None,
        at: float = 100.0,
        ready: bool = True,
    ) -> None:
        self.rules, self.door, self.at = rules, door, at
        self.levels = (closed, open)
        self.presses: list[Pressed] = []
        self.outputs: list[Output] = []
        self.operations: dict[str, Operation] = {}
        self.warns = False
        self.relay_works = True
        self._release_at = math.inf
        self._ids = itertools.count(1)
        self.start(remembered or Remembered())
        if ready:
            while self.machine.state.quarantined_until is not None or not self.machine.state.door.rests:
                self.run(0.5)
            self.outputs.clear()

    # piapi starts, ends, dies -----------------------------------------------------------------------------------------

    def start(self, remembered: Remembered) -> None:
        if self.door is not None:
            self.levels = self.door.sensors()
        self._release_at = math.inf
        self.warns = False
        closed, open = self.seen()
        self.machine, outputs = DoorMachine.start(self.rules, remembered, self.at, closed=closed, open=open)
        self.take(outputs)

    def crash(self, away_s: float = 0.0) -> None:
        """piapi is killed, its relay is released, and it starts again."""
        remembered = self.machine.remembered
        if self.door is not None:
            self.door.relay(False, self.at)
            self.door.advance(self.at + away_s)
        self.at += away_s
        self.start(remembered)

    # What somebody asks -----------------------------------------------------------------------------------------------

    def move(self, target: Target, *, expires_at: float | None = None) -> Operation | None:
        name = f"op-{next(self._ids)}"
        operation, outputs = self.machine.move(target, name, self.at, by=PERSON, expires_at=expires_at)
        self.take(outputs)
        return operation

    def toggle(self) -> Operation:
        operation, outputs = self.machine.toggle(f"op-{next(self._ids)}", self.at, by=PERSON)
        self.take(outputs)
        return operation

    def cancel(self, operation: Operation) -> None:
        self.take(self.machine.cancel(operation.id, self.at)[1])

    def lock(self, reason: str | None = None) -> None:
        self.take(self.machine.lock(self.at, reason))

    def unlock(self) -> None:
        self.take(self.machine.unlock(self.at))

    # What happens -----------------------------------------------------------------------------------------------------

    def sees(self, *, closed: bool = False, open: bool = False) -> None:
        """The sensors change, where there is no simulated door to change them."""
        self.levels = (closed, open)
        self._read()

    def run(self, seconds: float) -> None:
        """Let time pass."""
        end = self.at + seconds
        while True:
            changes = [self._release_at, self.machine.deadline, self.door.next_change() if self.door else None]
            self.at = max(self.at, min(time for time in (*changes, end) if time is not None))
            self.happen()
            if self.at >= end:
                return

    def happen(self) -> None:
        """What is due now: the relay's release, the door, its sensors, and then the machine."""
        if self.at >= self._release_at:
            self._release_at = math.inf
            if self.door is not None:
                self.door.relay(False, self.at)
            self.take(self.machine.press_done(self.at))
        if self.door is not None:
            self.door.advance(self.at)
            self.levels = self.door.sensors()
        self._read()
        self.take(self.machine.advance(self.at))
        deadline = self.machine.deadline
        assert deadline is None or deadline > self.at, "a deadline that has passed would be met again and again"

    def seen(self) -> tuple[bool | None, bool | None]:
        """The levels that piapi can read: None where there is no sensor."""
        closed, open = self.levels
        return (closed if self.rules.closed_sensor else None), (open if self.rules.open_sensor else None)

    def _read(self) -> None:
        closed, open = self.seen()
        self.take(self.machine.sensors(self.at, closed=closed, open=open))

    def take(self, outputs: tuple[Output, ...]) -> None:
        for output in outputs:
            self.outputs.append(output)
            if isinstance(output, OperationChanged):
                self.operations[output.operation.id] = output.operation
            elif isinstance(output, Warn):
                self.warns = output.on
        for output in outputs:
            if isinstance(output, Press):
                self.press(output)
            elif isinstance(output, AutoCloseDue):
                self.close_by_itself()

    def press(self, press: Press) -> None:
        """The relay goes on, and off again `press_s` later."""
        if not self.relay_works:
            self.take(self.machine.press_failed(self.at, "The relay does not answer."))
            return
        self.presses.append(Pressed(self.at, press.operation))
        self._release_at = self.at + press.duration_s
        if self.door is not None:
            self.door.relay(True, self.at)

    def close_by_itself(self) -> None:
        self.take(self.machine.auto_close(f"op-{next(self._ids)}", self.at, by="nobody")[1])

    # What came of it --------------------------------------------------------------------------------------------------

    @property
    def state(self) -> str:
        return self.machine.state.door.state

    @property
    def basis(self) -> str:
        return self.machine.state.door.basis

    def now(self, operation: Operation | None) -> Operation:
        """The operation as it is by now."""
        assert operation is not None
        current = self.machine.state.operation
        return current if current is not None and current.id == operation.id else self.operations[operation.id]

    def told(self, kind: type[Output]) -> list[Output]:
        """All outputs of one kind since the beginning."""
        return [output for output in self.outputs if isinstance(output, kind)]
