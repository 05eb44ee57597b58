"""A simulated door on a board: it listens to the relay's line and drives the sensors' lines, as a real one does.

One thread for each door drives the sensors when they change; the board's callback only hands it the edges.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from piapi.clock import Clock
from piapi.hardware.simulated_door import DoorPosition, SimulatedDoor


class Bench(Protocol):
    """What a door needs of a simulated board. Lines are Broadcom numbers, levels physical: True is high."""

    def on_output(self, line: int, callback: Callable[[bool, float], None]) -> None:
        """Call with level and time (seconds since boot) whenever the line is driven to another level."""

    def drive(self, line: int, level: bool) -> None:
        """Put a level on an input from outside."""


@dataclass(frozen=True, slots=True)
class Wire:
    """A line of the board. With `active_low`, its low level means on."""

    line: int
    active_low: bool = False


def forget(kept: DoorPosition) -> None:
    """A `keep` for a door that need not outlive its process."""


class WiredDoor:
    """One door, wired. `act` does something to it: `wired.act(lambda door, at: door.push(0.4, at))`."""

    def __init__(
        self,
        door: SimulatedDoor,
        board: Bench,
        clock: Clock,
        *,
        relay: Wire,
        closed_sensor: Wire | None = None,
        open_sensor: Wire | None = None,
        keep: Callable[[DoorPosition], None] = forget,
    ) -> None:
        """`keep` is given what to keep whenever it starts or stops moving, in the door's own thread."""
        self._door = door
        self._board = board
        self._clock = clock
        self._relay = relay
        self._wires = (closed_sensor, open_sensor)
        self._driven: list[bool | None] = [None, None]
        self._keep = keep
        self._acts: deque[tuple[Callable[[SimulatedDoor, float], None], float]] = deque()
        self._changed = threading.Condition()
        self._is_closing = False
        self._thread: threading.Thread | None = None
        board.on_output(relay.line, self._on_relay)

    def start(self) -> None:
        """Drive the sensors from now on: at once, before this returns, to where the door is."""
        self._door.advance(self._clock.monotonic())
        self._drive()
        self._thread = threading.Thread(target=self._live, name=f"door on GPIO{self._relay.line}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Leave the sensors as they are. May be called twice."""
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def act(self, act: Callable[[SimulatedDoor, float], None]) -> None:
        """Do something to the door, soon, in its own thread."""
        self._enqueue(act, self._clock.monotonic())

    def _on_relay(self, level: bool, at: float) -> None:
        active = level != self._relay.active_low
        self._enqueue(lambda door, when: door.relay(active, when), at)

    def _enqueue(self, act: Callable[[SimulatedDoor, float], None], at: float) -> None:
        with self._changed:
            self._acts.append((act, at))
            self._changed.notify_all()

    def _live(self) -> None:
        motion = 0
        while True:
            with self._changed:
                if not self._acts and not self._is_closing:
                    due = self._door.next_change()
                    self._clock.wait(self._changed, None if due is None else due - self._clock.monotonic())
                if self._is_closing:
                    break
                acts = list(self._acts)
                self._acts.clear()
            for act, at in acts:
                act(self._door, at)
            self._door.advance(self._clock.monotonic())
            self._drive()
            if self._door.motion != motion:
                motion = self._door.motion
                self._keep(self._door.kept)

    def _drive(self) -> None:
        for place, (wire, active) in enumerate(zip(self._wires, self._door.sensors(), strict=True)):
            if wire is not None and self._driven[place] != active:
                self._driven[place] = active
                self._board.drive(wire.line, active != wire.active_low)
