"""What is written down of one door: its operations, its state, and who did what.

Before a press the intent is on disk (`write`); what has happened already is written by the recorder (`put`), so that a
slow card holds nothing up.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from piapi.clock import Clock, format_time, wall_time_of
from piapi.models import NOBODY, DoorMemory, DoorOperation, Evidence
from piapi.services.doors.states import (
    FAILED_CLOSES,
    DoorChanged,
    FailedClosesChanged,
    LeftOpen,
    LockChanged,
    MovedUnasked,
    Operation,
    OperationChanged,
    Output,
    Remembered,
    SensorChange,
)
from piapi.services.events import Events
from piapi.services.recorder import Recorder
from piapi.storage.database import Along, Database
from piapi.storage.doors import DoorRows

MOST_RECENT = 20
"""Operations that are told of from memory."""


@dataclass(frozen=True, slots=True)
class Told:
    """Some outputs of a machine, as they are to be written."""

    entries: tuple[Along, ...]
    operations: tuple[DoorOperation, ...]
    """Those that changed, as they are now."""


class Book:
    """Of one door."""

    def __init__(self, door: str, database: Database, events: Events, recorder: Recorder, clock: Clock) -> None:
        self.subject = f"door:{door}"
        self._recent: OrderedDict[str, DoorOperation] = OrderedDict()
        self._door = door
        self._rows = DoorRows(database)
        self._database = database
        self._events = events
        self._recorder = recorder
        self._clock = clock

    def remembered(self) -> Remembered:
        """What outlived the last run. Raises StorageError."""
        self._rows.end_all_but_last(self._door, self._clock.now())
        kept: DoorMemory = self._rows.remembered(self._door)
        if kept.operation is not None:
            self.adopt(kept.operation)
        cut_off = _cut_off(kept.operation) if kept.operation and kept.operation.is_running else None
        return Remembered(cut_off, kept.locked, kept.lock_reason, kept.failed_closes)

    def entry(self, type: str, data: Mapping[str, Any], actor: str = NOBODY) -> Along:
        """An entry of the journal."""
        return self._events.entry(type, self.subject, data, actor=actor)

    def write(self, entries: Iterable[Along]) -> None:
        """Synced when this returns. Raises StorageError."""
        with self._database.write() as connection:
            for add in entries:
                add(connection)

    def put(self, *entries: Along) -> None:
        """Written soon."""
        self._recorder.put(*entries)

    def note(self, type: str, data: Mapping[str, Any], actor: str = NOBODY) -> None:
        """An entry of the journal, written soon."""
        self.put(self.entry(type, data, actor))

    def told(self, outputs: Iterable[Output], warning_until: float | None, actor: str | None) -> Told:
        """What outputs say. `actor`: who has asked for all of it; None: nobody did just now."""
        entries: list[Along] = []
        operations: dict[str, DoorOperation] = {}
        last = self.last
        for output in outputs:
            if isinstance(output, OperationChanged):
                last = self._now(last, output.operation, warning_until)
                operations[last.id] = last
            elif isinstance(output, DoorChanged):
                entries.append(self.entry("door.state", {"state": output.state, "basis": output.basis}))
            elif isinstance(output, MovedUnasked):
                entries.append(self.entry("door.moved_unasked", {"state": output.state}))
            elif isinstance(output, LeftOpen):
                since = format_time(wall_time_of(self._clock, output.since))
                entries.append(self.entry("door.left_open", {"since": since}))
            elif isinstance(output, LockChanged):
                entries += self.lock(output.locked, output.reason, actor or NOBODY)
            elif isinstance(output, FailedClosesChanged):
                entries += self._failed_closes(output.count)
        for operation in operations.values():
            entries += [DoorRows.put(operation), self.entry("operation.state", _summary(operation), actor or NOBODY)]
        return Told(tuple(entries), tuple(operations.values()))

    @property
    def last(self) -> DoorOperation | None:
        """The last operation, which may be running."""
        return next(reversed(self._recent.values()), None)

    def find(self, id: str) -> DoorOperation | None:
        """One of the last; their rows may be written a little later."""
        return self._recent.get(id)

    def adopt(self, operation: DoorOperation) -> None:
        """It is so."""
        self._recent[operation.id] = operation
        while len(self._recent) > MOST_RECENT:
            self._recent.popitem(last=False)

    def follow(self, running: Operation | None) -> None:
        """Take in what its sensors have told since it last changed; that is written with its next change."""
        if running is not None and (known := self.find(running.id)) is not None:
            self.adopt(replace(known, evidence=self._evidence(known, running.evidence)))

    def add_pictures(self, id: str) -> None:
        """There is a picture of an operation."""
        self.put(DoorRows.add_pictures(id))
        if (known := self.find(id)) is not None:
            self._recent[id] = replace(known, has_pictures=True)

    def lock(self, locked: bool, reason: str | None, by: str) -> list[Along]:
        """That it was locked, or unlocked."""
        entry = self.entry("door.lock", {"locked": locked, "reason": reason}, by)
        return [DoorRows.lock(self._door, locked, reason), entry]

    def _now(self, known: DoorOperation | None, operation: Operation, warning_until: float | None) -> DoorOperation:
        if known is None or known.id != operation.id:
            known = DoorOperation(
                id=operation.id,
                revision=0,
                door=operation.door,
                target=operation.target,
                state=operation.state,
                requested_by=operation.requested_by,
                requested_at=self._wall(operation.requested_at),
            )
        warns = operation.state == "warning" and known.warning_ends_at is None and warning_until is not None
        return replace(
            known,
            revision=known.revision + 1,
            state=operation.state,
            warning_ends_at=self._wall(warning_until or 0.0) if warns else known.warning_ends_at,
            pressed_at=known.pressed_at or (operation.pressed_at and self._wall(operation.pressed_at)) or None,
            ended_at=known.ended_at if operation.ended_at is None else self._wall(operation.ended_at),
            presses=operation.presses,
            evidence=self._evidence(known, operation.evidence),
            detail=operation.detail,
        )

    def _evidence(self, known: DoorOperation, changes: tuple[SensorChange, ...]) -> tuple[Evidence, ...]:
        new = (Evidence(self._wall(seen.at), seen.sensor, seen.active) for seen in changes[len(known.evidence) :])
        return (*known.evidence, *new)

    def _failed_closes(self, count: int) -> list[Along]:
        entries = [DoorRows.count_failed_closes(self._door, count)]
        if count == FAILED_CLOSES:
            entries.append(self.entry("door.auto_close_suspended", {"failed_closes": count}))
        return entries

    def _wall(self, moment: float) -> datetime:
        return wall_time_of(self._clock, moment)


def _summary(operation: DoorOperation) -> dict[str, Any]:
    return {
        "id": operation.id,
        "target": operation.target,
        "state": operation.state,
        "presses": operation.presses,
        "requested_by": operation.requested_by,
        **({"detail": operation.detail} if operation.detail else {}),
    }


def _cut_off(operation: DoorOperation) -> Operation:
    """As a machine knows it. Its times are of another run, and nothing is reckoned from them."""
    return Operation(
        id=operation.id,
        door=operation.door,
        target=operation.target,
        requested_by=operation.requested_by,
        requested_at=0.0,
        state="moving" if operation.presses else "warning",
        presses=operation.presses,
        evidence=tuple(SensorChange(0.0, seen.sensor, seen.active) for seen in operation.evidence),
    )
