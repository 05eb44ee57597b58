"""All doors, by name: found, started, watched and ended together."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from functools import partial

from piapi.clock import Clock
from piapi.errors import NotFound
from piapi.models import DoorOperation
from piapi.services.doors.book import Book
from piapi.services.doors.door import Door
from piapi.services.doors.lines import DoorConfig, DoorLines
from piapi.services.doors.pictures import DoorPictures, Take
from piapi.services.doors.states import Sensor
from piapi.services.doors.watch import Watch
from piapi.services.edge_entries import EdgeEntries
from piapi.services.events import Events
from piapi.services.inputs import Change, Inputs
from piapi.services.outputs import Outputs
from piapi.services.recorder import Recorder
from piapi.services.refusals import Refusals
from piapi.services.timetable import Timetable
from piapi.storage.database import Database
from piapi.storage.doors import DoorRows

MOST_WAITING = 4
"""Requests that may wait for an operation to end: each holds a thread that a command may need."""

MOST_KEPT = 100_000
"""Operations that are kept on disk: about 50 MB. The journal tells of them as well."""


class Doors:
    """The doors of this machine."""

    def __init__(
        self,
        configs: Sequence[DoorConfig],
        outputs: Outputs,
        inputs: Inputs,
        timetable: Timetable,
        database: Database,
        events: Events,
        recorder: Recorder,
        clock: Clock,
        take_picture: Take,
        emulated: bool,
    ) -> None:
        self.emulated = emulated
        """Whether nothing real moves."""
        self.refusals = Refusals(events, recorder, clock)
        self._rows = DoorRows(database)
        self._watch = Watch(clock)
        self._pictures = DoorPictures(take_picture)
        self._waiting = threading.BoundedSemaphore(MOST_WAITING)
        self._doors: dict[str, Door] = {}
        for config in configs:
            book = Book(config.name, database, events, recorder, clock)
            entries: dict[Sensor, EdgeEntries] = {
                sensor: EdgeEntries(book.note, "door.sensor", timetable.at, sensor=sensor) for sensor in config.sensors
            }
            lines = DoorLines(config, outputs, inputs, clock, partial(self._on_edge, entries))
            picture = partial(self._picture, config.camera)
            self._doors[config.name] = Door(config, lines, book, clock, self._watch.wake, picture)

    def __iter__(self) -> Iterator[Door]:
        return iter(self._doors.values())

    def __bool__(self) -> bool:
        return bool(self._doors)

    def get(self, name: str) -> Door:
        """Raises NotFound."""
        try:
            return self._doors[name]
        except KeyError:
            raise NotFound(f"There is no door {name}.") from None

    def refusals_of(self, name: str) -> Refusals | None:
        """Where refused commands are written down; None where there is no such door."""
        return self.refusals if name in self._doors else None

    def operation(self, id: str) -> DoorOperation:
        """One of a door that is configured, now or before. Raises NotFound."""
        for door in self:
            if found := door.book.find(id):
                return found
        if kept := self._rows.get(id):
            return kept
        raise NotFound(f"There is no operation {id}.")

    def wait(self, operation: DoorOperation, timeout_s: float) -> DoorOperation:
        """Wait until it has ended, at most so many seconds. Few may wait; for others it is given as it is."""
        if timeout_s > 0 and operation.is_running and self._waiting.acquire(blocking=False):
            try:
                self.get(operation.door).wait(operation.id, timeout_s)
            finally:
                self._waiting.release()
        return self.operation(operation.id)

    def lateness_s(self) -> float:
        """How long the doors have been looked at without an end."""
        return self._watch.lateness_s()

    def start(self) -> None:
        """Begin. Nothing moves. Raises StorageError."""
        for door in self:
            door.start()
        self._pictures.start()
        self._watch.start([door.look for door in self])

    def claim_missing(self) -> None:
        """Take the lines that could not be taken so far. At the start, and now and then."""
        for door in self:
            door.claim()

    def forget_old(self) -> None:
        """Remove the oldest operations, where there are very many. Raises StorageError."""
        self._rows.forget_beyond(MOST_KEPT)

    def fail(self, detail: str) -> None:
        """The board cannot be opened."""
        for door in self:
            door.fail(detail)

    def interrupt(self) -> None:
        """The end begins: nothing is pressed any more. To be called when all relays have been released."""
        for door in self:
            door.interrupt()

    def close(self) -> None:
        """End. May be called twice."""
        self._watch.close()
        self._pictures.close()

    def _on_edge(self, entries: dict[Sensor, EdgeEntries], sensor: Sensor, change: Change) -> None:
        entries[sensor].add(change)
        self._watch.wake()

    def _picture(self, camera: str | None, operation: DoorOperation) -> None:
        if camera is not None:
            self._pictures.want(camera, operation, self._doors[operation.door].add_pictures)
