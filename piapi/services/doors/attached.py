"""A door's machine, joined to its lines and to what is written down.

Everything here happens under the door's lock, which `door.Door` holds: on the thread of a request, or on that of
`Watch`.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections import deque
from collections.abc import Callable, Sequence

from piapi.clock import Clock, wall_time_of
from piapi.errors import Conflict, LineBusy, PiApiError, StorageError
from piapi.models import NOBODY, DoorOperation
from piapi.services.doors.book import Book, Told
from piapi.services.doors.lines import DoorConfig, DoorLines
from piapi.services.doors.machine import DoorMachine
from piapi.services.doors.states import AutoCloseDue, Output, Press, Remembered, Warn
from piapi.services.doors.view import DoorView

log = logging.getLogger(__name__)

Outputs = tuple[Output, ...]
OnPressEnd = Callable[[float, float, str], None]
"""`(began, ended, cause)`, as in `Outputs.turn_on`."""

QUARANTINED = "Just started: commands are taken once its sensors have been steady."


class AttachedDoor:
    """What a door does, and what it says of itself."""

    def __init__(
        self,
        config: DoorConfig,
        lines: DoorLines,
        book: Book,
        clock: Clock,
        picture: Callable[[DoorOperation], None] = lambda operation: None,
        random: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        """`picture`: one is wanted of an operation that begins, or has ended."""
        self.config = config
        self.name = config.name
        self.book = book
        self._lines = lines
        self._clock = clock
        self._picture = picture
        self._random = random
        self._changed = threading.Condition()
        self._ended_presses: deque[tuple[float, float, str]] = deque()
        self._remembered = Remembered()
        self._machine: DoorMachine | None = None
        self._detail = "The door is being looked for."
        self._is_ending = False
        self._view = DoorView("unknown", "none", clock.now(), detail=self._detail)
        self._since_of: tuple[str, float] | None = None

    def _required(self) -> DoorMachine:
        """The machine. Raises LineBusy where there is none."""
        if self._is_ending:
            raise LineBusy("The service is ending.")
        if self._machine is None:
            raise LineBusy(self._detail)
        return self._machine

    def _see(self, machine: DoorMachine) -> bool:
        """Show the machine its sensors. Whether they are certain. Raises HardwareError."""
        levels = self._lines.look()
        seen = machine.sensors(self._clock.monotonic(), closed=levels.closed, open=levels.open)
        self._take(machine, seen)
        self.book.follow(machine.running)
        self._publish()
        return levels.is_certain

    def _lose(self, detail: str) -> None:
        """The hardware goes away, or piapi ends."""
        machine, self._machine = self._machine, None
        if machine is not None:
            self._end_presses(machine)
            self._take(machine, machine.stop(self._clock.monotonic(), detail))
            self._remembered = machine.remembered
        self._fail(detail)

    def _fail(self, detail: str) -> None:
        if detail != self._detail and not self._is_ending:
            log.warning("door %s: %s", self.name, detail)
        self._detail = detail
        self._publish()

    def _end_presses(self, machine: DoorMachine) -> None:
        while self._ended_presses:
            began, ended, cause = self._ended_presses.popleft()
            now = self._clock.monotonic()
            self.book.note("door.released", {"on_s": round(ended - began, 6), "cause": cause})
            if cause == "time":
                self._take(machine, machine.press_done(now))
            else:
                self._take(machine, machine.press_failed(now, f"The press was cut short after {ended - began:.2f} s."))

    # Outputs of the machine -------------------------------------------------------------------------------------------

    def _take(self, machine: DoorMachine, outputs: Sequence[Output]) -> None:
        """Write down, then do. What cannot be written down is not pressed."""
        while outputs:
            told = self._told(machine, outputs, None)
            if any(isinstance(output, Press) for output in outputs):
                try:
                    self.book.write(told.entries)
                except StorageError as error:
                    log.error("door %s is not pressed, as that cannot be written down: %s", self.name, error)
                    self._adopt_later(told)
                    others = self._perform(machine, [item for item in outputs if not isinstance(item, Press)])
                    outputs = [*others, *machine.press_failed(self._clock.monotonic(), str(error))]
                    continue
                self._adopt(told)
            else:
                self._adopt_later(told)
            outputs = self._perform(machine, outputs)

    def _told(self, machine: DoorMachine, outputs: Sequence[Output], by: str | None) -> Told:
        plan = machine.state.plan
        return self.book.told(outputs, plan.warning_until if plan else None, by)

    def _adopt_later(self, told: Told) -> None:
        self.book.put(*told.entries)
        self._adopt(told)

    def _adopt(self, told: Told) -> None:
        for operation in told.operations:
            is_new = self.book.find(operation.id) is None
            self.book.adopt(operation)
            if is_new or (operation.presses and not operation.is_running and operation.state != "unknown"):
                self._picture(operation)

    def _perform(self, machine: DoorMachine, outputs: Sequence[Output]) -> list[Output]:
        """Do what outputs ask for; gives what comes of that."""
        more: list[Output] = []
        for output in outputs:
            if isinstance(output, Press):
                more += self._press(machine, output)
            elif isinstance(output, Warn):
                more += self._warn(machine, output.on)
            elif isinstance(output, AutoCloseDue):
                more += machine.auto_close(self._random(8).hex(), self._clock.monotonic(), by=NOBODY)[1]
        return more

    def _press(self, machine: DoorMachine, press: Press) -> Outputs:
        try:
            levels, door = self._lines.look(), machine.state.door  # the card may have taken its time
            if not levels.is_certain or (levels.closed, levels.open) != (door.closed, door.open):
                raise Conflict("Its sensors changed at that moment, and nothing was pressed.")
            if self._clock.monotonic() > press.by:
                raise Conflict("It could not be pressed in time.")
            self._lines.press(press.duration_s, self._on_press_end)
        except PiApiError as error:
            log.warning("door %s is not pressed: %s", self.name, error)
            return machine.press_failed(self._clock.monotonic(), str(error))
        self.book.note("door.pressed", {"operation": press.operation, "for_s": press.duration_s})
        return ()

    def _on_press_end(self, began: float, ended: float, cause: str) -> None:
        """The relay has been released. On any thread, and waits for nothing."""
        self._ended_presses.append((began, ended, cause))

    def _warn(self, machine: DoorMachine, on: bool) -> Outputs:
        """Without a warning nothing closes."""
        try:
            self._lines.warn(on)
        except PiApiError as error:
            log.warning("door %s cannot warn: %s", self.name, error)
            if on:
                return machine.warning_failed(self._clock.monotonic(), str(error))
            return ()
        return machine.warning_began(self._clock.monotonic()) if on else ()

    # What it says of itself -------------------------------------------------------------------------------------------

    def _publish(self) -> None:
        view = self._seen(self._machine) if self._machine else self._lost()
        if view != self._view:
            self._view = view
            self._changed.notify_all()

    def _lost(self) -> DoorView:
        since = self._view.since if self._view.state == "unknown" else self._clock.now()
        locked, reason = self._remembered.locked, self._remembered.lock_reason
        return DoorView(
            "unknown", "none", since, locked=locked, lock_reason=reason, operation=self.book.last, detail=self._detail
        )

    def _seen(self, machine: DoorMachine) -> DoorView:
        state, door, running = machine.state, machine.state.door, machine.running
        if (door.state, door.since) != self._since_of:  # not anew each time: the wall clock may be set meanwhile
            self._since_of = (door.state, door.since)
            since = wall_time_of(self._clock, door.since)
        else:
            since = self._view.since
        return DoorView(
            door.state,
            door.basis,
            since,
            closed=door.closed,
            open=door.open,
            target=running.target if running else None,
            locked=state.locked,
            lock_reason=state.lock_reason,
            operation=self.book.last,
            detail=None if state.quarantined_until is None else QUARANTINED,
        )
