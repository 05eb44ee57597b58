"""What hangs on the board: joined, started and closed in order. A board that cannot be opened is tried again.

Start: the guard, then the lines at rest, then commands. End: everything off that has to be, then the guard is told.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from piapi.clock import Clock
from piapi.errors import GuardUnavailable, HardwareError
from piapi.hardware.base import GpioBoard, Guard
from piapi.services.doors.doors import Doors
from piapi.services.doors.lines import DoorConfig
from piapi.services.doors.pictures import Take
from piapi.services.events import Events
from piapi.services.inputs import Inputs
from piapi.services.levels import Levels
from piapi.services.outputs import Outputs
from piapi.services.pin_kinds import InputPin, LevelPin, OutputPin, Pin, PinConfig
from piapi.services.pins import Pins
from piapi.services.recorder import Recorder
from piapi.services.timetable import Timetable
from piapi.storage.database import Database

log = logging.getLogger(__name__)

LATE_S = 15.0
"""Seconds. A card may take some for a sync; what takes longer than this hangs."""


class Leases(Guard, Protocol):
    """A guard that is connected to."""

    def open(self) -> None:
        """Raises GuardUnavailable; it is tried again all the same."""


class Machinery(Protocol):
    """What is simulated on the other side of the lines."""

    def start(self) -> None:
        """The board is open. May be called twice."""

    def close(self) -> None:
        """Stop. May be called twice."""


class Panel:
    """The board, its guard, the pins and the doors."""

    def __init__(
        self,
        board: GpioBoard,
        leases_of: Callable[[Callable[[frozenset[int]], None]], Leases],
        configs: Sequence[PinConfig],
        doors: Sequence[DoorConfig],
        database: Database,
        events: Events,
        clock: Clock,
        boot_id: str,
        take_picture: Take,
        machinery: Machinery | None = None,
    ) -> None:
        self._board = board
        self._leases = leases_of(self._on_guard_lost)
        self._events = events
        self.timetable = Timetable(clock)
        self.recorder = Recorder(database, clock)
        self.outputs = Outputs(board, self._leases, self.timetable, clock)
        self.levels = Levels(board, self._leases, self.timetable, clock)
        self.inputs = Inputs(board, self.timetable, clock)
        self._clock = clock
        pins = {config.name: self._pin(config) for config in configs}
        self.pins = Pins(pins, board, database, events, self.recorder, clock, boot_id)
        self.doors = Doors(
            doors,
            self.outputs,
            self.inputs,
            self.timetable,
            database,
            events,
            self.recorder,
            clock,
            take_picture,
            board.emulated,
        )
        self._machinery = machinery
        self._is_used = bool(configs or doors)

    @property
    def is_emulated(self) -> bool:
        """Whether there are pins or doors, and nothing real moves."""
        return self._is_used and self._board.emulated

    def start(self) -> None:
        """Take the lines, at rest. What cannot be taken now is tried again by `retry`. Raises StorageError."""
        if not self._is_used:
            return
        self.recorder.start()
        self.timetable.start()
        try:
            self._leases.open()
        except GuardUnavailable as error:
            log.error("nothing can be switched on: %s", error)
        self.pins.start()
        self.doors.start()
        self.inputs.start()
        self.retry()

    def retry(self) -> None:
        """Open the board, and take the lines that could not be taken so far. Now and then."""
        if self._is_used:
            try:
                self._board.open()
            except HardwareError as error:
                self._fail(str(error))
            except Exception as error:  # noqa: BLE001 — of a library; photos go on without pins
                log.debug("fault in opening the board", exc_info=True)
                self._fail(f"The board cannot be opened, by a fault that piapi does not know: {error!r}.")
            else:
                if self._machinery is not None:
                    self._machinery.start()
                self.pins.claim_missing()
                self.doors.claim_missing()

    def _fail(self, detail: str) -> None:
        self.pins.fail(detail)
        self.doors.fail(detail)

    def renew(self) -> None:
        """Renew the leases without an end of their own. Every hour."""
        self.outputs.renew()
        self.levels.renew()

    def check(self) -> None:
        """Raise TimeoutError where a release, or a look at a door, is far too late: something hangs."""
        late_s = max(self.timetable.lateness_s(), self.doors.lateness_s())
        if late_s > LATE_S:
            raise TimeoutError(f"pins and doors have not been served for {late_s:.0f} s")

    def forget_old(self) -> None:
        """Remove the oldest pulses and operations, where there are very many. Raises StorageError."""
        if self._is_used:
            self.pins.forget_old()
            self.doors.forget_old()

    def interrupt(self) -> None:
        """The end begins: what may not stay on goes off at once."""
        if self._is_used:
            self.outputs.interrupt()
            self.levels.interrupt()
            self.doors.interrupt()

    def close(self) -> None:
        """Everything off that has to be, and given back; one part that fails stops no other. May be called twice."""
        if not self._is_used:
            return
        parts: tuple[Any, ...] = (
            self.doors, self.outputs, self.levels, self.inputs, self.timetable, self._machinery, self._board,
            self._leases, self.recorder,
        )  # fmt: skip
        for part in parts:
            if part is self._leases and not (self.outputs.are_off and self.levels.are_off):
                log.error("what could not be switched off is left to the guard, once this process has ended")
                continue
            try:
                if part is not None:
                    part.close()
            except Exception:  # noqa: BLE001 — the others have to be closed all the same
                log.exception("fault while closing what hangs on the board")

    def _on_guard_lost(self, lines: frozenset[int]) -> None:
        self.outputs.release_all("guard")
        self.levels.release_all("guard")

    def _pin(self, config: PinConfig) -> Pin:
        def record(type: str, data: Mapping[str, Any], actor: str = "nobody") -> None:
            self.recorder.put(self._events.entry(type, f"pin:{config.name}", data, actor=actor))

        if config.mode == "output":
            return OutputPin(config, self.outputs, record, self._clock)
        if config.mode == "input":
            return InputPin(config, self.inputs, record, self.timetable.at, self._clock)
        return LevelPin(config, self.levels, record, self._clock)
