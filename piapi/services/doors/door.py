"""One door that is operated: commands come from any thread, and `look` is called when something may be due."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from piapi.clock import Clock
from piapi.errors import HardwareError, Quarantined
from piapi.models import DoorOperation
from piapi.services.doors.attached import AttachedDoor, Outputs
from piapi.services.doors.book import Book
from piapi.services.doors.lines import DoorConfig, DoorLines
from piapi.services.doors.machine import DoorMachine
from piapi.services.doors.states import Operation, Output, Target
from piapi.services.doors.view import DoorView, allow_all
from piapi.storage.database import Along

LOOK_AGAIN_S = 0.02
"""Seconds until a sensor that shows something unexpected is looked at again."""

Do = Callable[[DoorMachine, str, float], tuple[Operation | None, Outputs]]
"""A command: of the machine, an id for its operation, and now."""


class Door(AttachedDoor):
    """A door, under its lock. The machine is pure, so a command that cannot be written down has never been."""

    def __init__(
        self,
        config: DoorConfig,
        lines: DoorLines,
        book: Book,
        clock: Clock,
        wake: Callable[[], None],
        picture: Callable[[DoorOperation], None] = lambda operation: None,
        random: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        """`wake`: have `look` called soon."""
        super().__init__(config, lines, book, clock, picture, random)
        self._wake = wake

    def start(self) -> None:
        """Read what outlived the last run. Raises StorageError."""
        with self._changed:
            self._remembered = self.book.remembered()
            self._publish()

    def claim(self) -> None:
        """Take its lines, and learn where it is; nothing moves. At the start, and now and then where that failed."""
        with self._changed:
            if self._machine is not None or self._is_ending:
                return
            try:
                self._lines.claim()
                levels = self._lines.look()
            except HardwareError as error:
                self._fail(str(error))
                return
            self._ended_presses.clear()
            self._machine, outputs = DoorMachine.start(
                self.config.rules, self._remembered, self._clock.monotonic(), closed=levels.closed, open=levels.open
            )
            self._take(self._machine, outputs)
            self._publish()
        self._wake()

    def fail(self, detail: str) -> None:
        """The board cannot be opened."""
        with self._changed:
            self._lose(detail)

    def interrupt(self) -> None:
        """The end begins: nothing is pressed any more. To be called when its relay has been released."""
        with self._changed:
            self._is_ending = True
            self._lose("piapi was stopped.")
            self._changed.notify_all()

    # What is known ----------------------------------------------------------------------------------------------------

    @property
    def view(self) -> DoorView:
        """What is known now. Waits for nothing."""
        return self._view

    def add_pictures(self, id: str) -> None:
        """There is a picture of an operation."""
        with self._changed:  # what is known of the operation may change at this moment
            self.book.add_pictures(id)
            self._publish()

    def wait(self, id: str, timeout_s: float) -> None:
        """Wait until an operation has ended, or the time is over."""
        deadline = self._clock.monotonic() + timeout_s
        with self._changed:
            while self._is_under_way(id) and (left := deadline - self._clock.monotonic()) > 0:
                self._clock.wait(self._changed, left)

    def _is_under_way(self, id: str) -> bool:
        last = self.book.last
        return last is not None and last.id == id and last.is_running and not self._is_ending

    # Commands. They raise Quarantined, Locked, Conflict, HardwareError, StorageError and what `allow` raises when it is
    # shown what is known; then nothing has changed. -------------------------------------------------------------------

    def move(
        self,
        target: Target,
        by: str,
        *,
        expires_at: datetime | None = None,
        allow: Callable[[DoorView], None] = allow_all,
    ) -> DoorOperation | None:
        """Bring it to a target: the operation that does so, or None where it is there already and nothing moves."""

        def do(machine: DoorMachine, id: str, now: float) -> tuple[Operation | None, Outputs]:
            return machine.move(target, id, now, by=by, expires_at=self._moment(expires_at, now))

        return self._command(do, {"target": target}, by, allow)

    def toggle(
        self,
        by: str,
        *along: Callable[[str], Along],
        expires_at: datetime | None = None,
        allow: Callable[[DoorView], None] = allow_all,
    ) -> DoorOperation:
        """Press once. `along` is written with the intent, and gets the operation's id."""

        def do(machine: DoorMachine, id: str, now: float) -> tuple[Operation | None, Outputs]:
            return machine.toggle(id, now, by=by, expires_at=self._moment(expires_at, now))

        operation = self._command(do, {"toggle": True}, by, allow, *along)
        assert operation is not None  # noqa: S101 — as `do` always gives one
        return operation

    def cancel(self, id: str, by: str) -> DoorOperation:
        """Call off an operation that still warns. Raises Conflict later."""
        operation = self._command(lambda machine, _, now: machine.cancel(id, now), {"cancel": id}, by, allow_all)
        assert operation is not None  # noqa: S101 — as above
        return operation

    def lock(
        self, locked: bool, reason: str | None, by: str, allow: Callable[[DoorView], None] = allow_all
    ) -> DoorView:
        """Refuse every command from now on, or take them again. Also while its lines cannot be had."""
        with self._changed:
            allow(self._view)
            if self._machine is not None:
                self._write_and_do(
                    self._machine,
                    lambda machine, _, now: (None, machine.lock(now, reason) if locked else machine.unlock(now)),
                    {"locked": locked, "reason": reason},
                    by,
                )
            else:
                self.book.write(self.book.lock(locked, reason, by))
                self._remembered = replace(self._remembered, locked=locked, lock_reason=reason)
            self._publish()
            view = self._view
        self._wake()
        return view

    def _command(
        self,
        do: Do,
        data: dict[str, object],
        by: str,
        allow: Callable[[DoorView], None],
        *along: Callable[[str], Along],
    ) -> DoorOperation | None:
        with self._changed:
            machine = self._required()
            try:
                is_certain = self._see(machine)
            except HardwareError as error:
                self._lose(str(error))
                raise
            if is_certain:
                operation = self._write_and_do(machine, do, data, by, allow, *along)
        self._wake()
        if not is_certain:
            raise Quarantined(f"The sensors of the door {self.name} are changing just now; try again.")
        return self.book.find(operation.id) if operation is not None else None

    def _write_and_do(
        self,
        machine: DoorMachine,
        do: Do,
        data: dict[str, object],
        by: str,
        allow: Callable[[DoorView], None] = allow_all,
        *along: Callable[[str], Along],
    ) -> Operation | None:
        before, seen = machine.state, self._view
        try:
            operation, outputs = do(machine, self._random(8).hex(), self._clock.monotonic())
            allow(seen)
            told = self._told(machine, outputs, by)
            accepted = {**data, **({"operation": operation.id} if operation else {})}
            made = [] if operation is None else [make(operation.id) for make in along]
            self.book.write([self.book.entry("command.accepted", accepted, by), *told.entries, *made])
        except BaseException:
            machine.state = before
            raise
        self._adopt(told)
        more: list[Output] = self._perform(machine, outputs)
        self._take(machine, more)
        self._publish()
        return operation

    # What happens -----------------------------------------------------------------------------------------------------

    def look(self) -> float | None:
        """Do what is due; gives when to look again, if nothing happens before. On the thread of `Watch`."""
        with self._changed:
            machine = self._machine
            if machine is None:
                return None
            self._end_presses(machine)
            try:
                is_certain = self._see(machine)
            except HardwareError as error:
                self._lose(str(error))
                return None
            now = self._clock.monotonic()
            if not is_certain:
                return now + LOOK_AGAIN_S
            if machine.deadline is not None and machine.deadline <= now:
                self._take(machine, machine.advance(now))
                self._publish()
            return machine.deadline

    def _on_press_end(self, began: float, ended: float, cause: str) -> None:
        super()._on_press_end(began, ended, cause)
        self._wake()

    def _moment(self, at: datetime | None, now: float) -> float | None:
        """A time of the wall clock, on the one that never jumps."""
        return None if at is None else now + (at - self._clock.now()).total_seconds()
