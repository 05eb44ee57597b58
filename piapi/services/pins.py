"""The pins, by name: what they are, switching them, and pulses of them."""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from piapi.clock import Clock, wall_time_of
from piapi.errors import Conflict, Fault, HardwareError, Invalid, LineBusy, NotFound, StorageError
from piapi.hardware.base import GpioBoard
from piapi.models import Actuation
from piapi.services.events import Events
from piapi.services.pin_kinds import OutputPin, Pin
from piapi.services.recorder import Recorder
from piapi.services.refusals import Refusals
from piapi.storage.actuations import ActuationRows
from piapi.storage.database import Along, Database
from piapi.storage.pins import PinRows

log = logging.getLogger(__name__)

SHORTEST_PULSE_S, LONGEST_PULSE_S = 0.01, 60.0

#: Pulses that have ended and are told of from memory.
MOST_RECENT = 100

#: Pulses that are kept on disk: about 15 MB. The journal tells of them as well.
MOST_KEPT = 100_000


class Pins:
    """All pins, and what their commands leave in the journal: the intent before, and what became of it after."""

    def __init__(
        self,
        pins: Mapping[str, Pin],
        board: GpioBoard,
        database: Database,
        events: Events,
        recorder: Recorder,
        clock: Clock,
        boot_id: str,
        random: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._pins = pins
        self._board = board
        self._database = database
        self._events = events
        self._recorder = recorder
        self._clock = clock
        self._boot_id = boot_id
        self._random = random
        self._rows = PinRows(database)
        self._actuations = ActuationRows(database)
        self._recent: dict[str, Actuation] = {}
        self._refusals = Refusals(events, recorder, clock)
        self._lock = threading.Lock()
        self._keeping = threading.Lock()
        """Held while a pin that keeps its value is switched, so that its row is never that of an earlier command."""

    @property
    def emulated(self) -> bool:
        """Whether nothing real moves."""
        return self._board.emulated

    def start(self) -> None:
        """Say what was cut off: its outcome is unknown, and it is not repeated."""
        for actuation in self._actuations.cut_off():
            log.warning("a pulse of %s was cut off; how long it was on is unknown", actuation.pin)
            data = {"actuation": actuation.id}
            self._recorder.put(self._events.entry("actuation.unknown", f"pin:{actuation.pin}", data))
        for pin in self._pins.values():
            if isinstance(pin, OutputPin) and (pin.config.min_gap_s or pin.config.interlock):
                self._note_off(pin)

    def _note_off(self, pin: OutputPin) -> None:
        """A shortest gap goes on over a restart. What was cut off counts as off since now: nobody saw it go off."""
        last = self._rows.last_change(pin.config.name)
        if last is not None:
            at, is_off = last
            pin.note_off((self._clock.now() - at).total_seconds() if is_off else 0.0)

    def fail(self, detail: str) -> None:
        """The board cannot be opened."""
        if any(pin.detail != detail for pin in self._pins.values()):
            log.warning("the pins are unavailable: %s", detail)
        for pin in self._pins.values():
            pin.detail = detail

    def claim_missing(self) -> None:
        """Take the lines that could not be taken so far. At the start, and now and then."""
        for name, pin in self._pins.items():
            if not pin.is_claimed:
                was_on = pin.keeps and self._rows.was_on(name, self._boot_id)
                try:
                    pin.claim(was_on)
                except HardwareError as error:
                    if str(error) != pin.detail:
                        log.warning("pin %s: %s", name, error)
                    pin.detail = str(error)
                    if was_on and isinstance(error, LineBusy):
                        self._keep(pin, False)  # somebody else has it: it does not go on by itself when they let go
                else:
                    pin.detail = None

    def __iter__(self) -> Iterator[Pin]:
        return iter(self._pins.values())

    def get(self, name: str) -> Pin:
        """Raises NotFound."""
        try:
            return self._pins[name]
        except KeyError:
            raise NotFound(f"There is no pin {name}.") from None

    def refusals_of(self, name: str) -> Refusals | None:
        """Where refused commands are written down; None where there is no such pin."""
        return self._refusals if name in self._pins else None

    def switch(self, pin: Pin, value: Any, actor: str, *along: Along, allow: Callable[[], None] = lambda: None) -> None:
        """Set a value. Raises Invalid, Conflict, HardwareError, StorageError, and what `allow` raises."""
        with self._refusals.recorded(f"pin:{pin.config.name}", {"value": value}, actor):
            checked = pin.check(value)
            allow()

            def intend() -> None:
                self._intend(pin, {"value": checked}, actor, *along)

            if not pin.keeps:
                pin.switch(checked, actor, intend)
                return
            with self._keeping:
                if not checked:
                    self._keep(pin, False)
                pin.switch(checked, actor, intend)
                if checked:
                    self._keep(pin, True)

    def pulse(self, pin: Pin, duration_s: float, actor: str, *along: Callable[[str], Along]) -> Actuation:
        """Switch on for a while. The intent is synced before the edge, with `along`, which gets the actuation's id.

        Raises Invalid, Conflict, HardwareError, StorageError.
        """
        with self._refusals.recorded(f"pin:{pin.config.name}", {"pulse_s": duration_s}, actor):
            if not isinstance(pin, OutputPin):
                raise Conflict(f"{pin.config.name} has mode {pin.config.mode}; only an output has pulses.")
            longest = pin.config.max_on_s or LONGEST_PULSE_S
            if not SHORTEST_PULSE_S <= duration_s <= longest:
                raise Invalid(Fault("/duration_s", f"must be from {SHORTEST_PULSE_S} to {longest:g}"))
            actuation = Actuation(
                id=self._random(8).hex(),
                pin=pin.config.name,
                state="intended",
                duration_s=duration_s,
                requested_by=actor,
                requested_at=self._clock.now(),
            )

            def intend() -> None:
                entry = self._entry(pin, "command.accepted", {"pulse_s": duration_s, "actuation": actuation.id}, actor)
                self._actuations.add(actuation, entry, *(make(actuation.id) for make in along))
                self._remember(actuation)

            try:
                pin.turn_on(duration_s, actor, intend, lambda *end: self._ended(pin, actuation, *end))
            except HardwareError:
                self._finish(replace(actuation, state="interrupted", on_s=0.0))
                raise
            with self._lock:
                if self._recent[actuation.id].state == "intended":
                    self._recent[actuation.id] = replace(actuation, state="active", started_at=pin.changed_at)
                return self._recent[actuation.id]

    def actuation(self, id: str) -> Actuation:
        """Raises NotFound."""
        with self._lock:
            found = self._recent.get(id)
        if found or (found := self._actuations.get(id)):
            return found
        raise NotFound(f"There is no actuation {id}.")

    def forget_old(self) -> None:
        """Remove the oldest pulses, where there are very many. Raises StorageError."""
        self._actuations.forget_beyond(MOST_KEPT)

    def _ended(self, pin: OutputPin, actuation: Actuation, began: float, ended: float, cause: str) -> None:
        """On any thread; must not wait."""
        pin.went_off(began, ended, cause)
        self._finish(
            replace(
                actuation,
                state="done" if cause == "time" else "interrupted",
                started_at=wall_time_of(self._clock, began),
                ended_at=wall_time_of(self._clock, ended),
                on_s=ended - began,
            )
        )

    def _finish(self, actuation: Actuation) -> None:
        self._remember(actuation)
        self._recorder.put(ActuationRows.end(actuation))

    def _remember(self, actuation: Actuation) -> None:
        """What runs, and the last that ended: their rows are written a little later."""
        with self._lock:
            self._recent[actuation.id] = actuation
            ended = [id for id, item in self._recent.items() if item.state in ("done", "interrupted")]
            for id in ended[:-MOST_RECENT]:
                del self._recent[id]

    def _keep(self, pin: Pin, is_on: bool) -> None:
        """Write down what a restart is to leave it at: off before it goes off, on after it went on. So a crash in
        between never makes a restart switch on what was off."""
        try:
            with self._database.write() as connection:
                PinRows.put(pin.config.name, is_on, self._boot_id)(connection)
        except StorageError as error:
            log.error("what %s is to be left at cannot be written down: %s", pin.config.name, error)

    # The journal

    def _intend(self, pin: Pin, data: Mapping[str, Any], actor: str, *along: Along) -> None:
        """A command that will be carried out, synced when this returns."""
        with self._database.write() as connection:
            for add in (self._entry(pin, "command.accepted", data, actor), *along):
                add(connection)

    def _entry(self, pin: Pin, type: str, data: Mapping[str, Any], actor: str) -> Along:
        return self._events.entry(type, f"pin:{pin.config.name}", data, actor=actor)
