"""Where the parts are joined: settings and hardware in, a Flask application out. No thread starts here."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any

from flask import Flask

import config
from piapi import __version__, api, web
from piapi.api import event_stream
from piapi.api.proxies import behind
from piapi.api.services import Services
from piapi.api.wsgi import PiApi, around, note_route
from piapi.clock import Clock, SystemClock, boot_id
from piapi.console import run_folder
from piapi.hardware import boards, open_hardware
from piapi.hardware.base import Camera, CameraConfig, GpioBoard
from piapi.runtime import Chore, Runtime
from piapi.services.access import Access
from piapi.services.attempts import Attempts
from piapi.services.bounds import CommandBounds
from piapi.services.camera_states import CameraStates
from piapi.services.cameras import Cameras, CameraService
from piapi.services.doors.lines import DoorConfig
from piapi.services.doors.pictures import Take
from piapi.services.event_feed import EventFeed
from piapi.services.events import SUM_EVERY_S, Events
from piapi.services.idempotency import Keys
from piapi.services.journal_retention import LOOK_EVERY_S as KEEP_JOURNAL_EVERY_S
from piapi.services.journal_retention import JournalRetention
from piapi.services.live import ViewerPlaces
from piapi.services.metrics import Metrics
from piapi.services.outputs import RENEW_EVERY_S
from piapi.services.pairings import Pairings
from piapi.services.panel import Panel
from piapi.services.passwords import Passwords
from piapi.services.photos import PhotoRequest, Photos
from piapi.services.pin_kinds import PinConfig
from piapi.services.recovery import Recovery
from piapi.services.retention import Retention
from piapi.services.sessions import Sessions
from piapi.services.space import Space
from piapi.services.system import System
from piapi.services.timelapses import joined as timelapses
from piapi.services.users import Users
from piapi.storage.cameras import CameraRows
from piapi.storage.database import Database
from piapi.storage.idempotency import KeyRows
from piapi.storage.inventory import Inventory
from piapi.storage.pairings import PairingRows
from piapi.storage.photos import PhotoLibrary
from piapi.storage.reserve import Reserve
from piapi.storage.sessions import SessionRows
from piapi.storage.timelapses import TimelapseStore
from piapi.storage.tokens import TokenRows
from piapi.storage.users import UserRows
from piapi.timekeeping import clock_is_synchronised

FREE_THREADS = 3
"""Threads that are left for other requests when all that may wait for cameras do."""

NOTE_USE_EVERY_S = 60.0
"""Seconds between two times that the last use of tokens is written down: a write a request would wear out the card."""

FORGET_EVERY_S = 600.0
"""Seconds between two times that keys of requests, sessions and pairings are looked through for old ones."""

LOOK_AT_DISK_EVERY_S = 5.0
"""Seconds; a statvfs(2) and a row of the database each time."""

KEEP_AGE_EVERY_S = 60.0
"""Seconds."""

RECKON_EVERY_S = 2.0
"""Seconds between two looks for time-lapses whose extent is known only now that the clock is."""

TAKE_LINES_EVERY_S = 5.0
"""Seconds between two tries to take the lines that another program has."""

LOOK_AT_CAMERAS_EVERY_S = 2.0
"""Seconds between two looks whether a camera has come or gone."""


def create_app(
    settings: config.Settings,
    hardware: Mapping[str, Camera] | None = None,
    clock: Clock | None = None,
    board: GpioBoard | None = None,
) -> Flask:
    """The application. `hardware`: cameras by name, and `board`, where tests bring their own."""
    clock = clock or SystemClock()
    configs = [CameraConfig(name=name, **asdict(camera)) for name, camera in settings.cameras.items()]
    cameras = hardware if hardware is not None else open_hardware(configs, clock)
    app = PiApi("piapi", root_path=str(web.FOLDER), static_folder=None, template_folder="templates")
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False  # every route denies unless it says otherwise
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.before_request(note_route)
    joined = api.register(app, settings.server.names)
    app.register_blueprint(web.blp)
    runtime = _join(settings, configs, cameras, board, clock, lambda: api.document(joined))
    app.extensions["piapi"] = runtime
    inner = behind(app.wsgi_app, settings.server.trusted_proxies)
    app.wsgi_app = around(inner, runtime.services.metrics)  # type: ignore[method-assign, assignment]
    return app


def _join(
    settings: config.Settings,
    configs: Sequence[CameraConfig],
    hardware: Mapping[str, Camera],
    board: GpioBoard | None,
    clock: Clock,
    openapi: Callable[[], dict[str, Any]],
) -> Runtime:
    """The services on what they stand on, and what is to be done at the start and now and then."""
    storage = Storage(settings, clock)
    folder = run_folder(settings.storage.path)

    def take_picture(camera: str, label: str, by: str) -> None:
        services.photos.take(services.cameras.get(camera), PhotoRequest(label=label), by=by)

    panel = _panel(settings, board, folder, storage, clock, take_picture)
    services = _services(settings, configs, hardware, storage, panel, clock)
    about = {"version": __version__, "emulated": services.emulated}
    prepare = [
        *storage.prepare,
        lambda: folder.mkdir(0o700, exist_ok=True),
        lambda: _tell(storage.events, "system.started", about),
    ]
    chores = [
        Chore("the last use of tokens", NOTE_USE_EVERY_S, services.access.note_use, at_close=True),
        Chore("sessions that are over", FORGET_EVERY_S, services.sessions.forget_old),
        Chore("pairings that are over", FORGET_EVERY_S, services.pairings.forget_old),
        Chore("old keys of requests", FORGET_EVERY_S, services.keys.forget_old),
        Chore("states of cameras", LOOK_AT_CAMERAS_EVERY_S, CameraStates(services.cameras, storage.events, clock).note),
        Chore("lines that could not be taken", TAKE_LINES_EVERY_S, panel.retry),
        Chore("leases without an end", RENEW_EVERY_S, panel.renew),
        Chore("old pulses and operations", FORGET_EVERY_S, panel.forget_old),
        Chore("what time-lapses come to", RECKON_EVERY_S, services.timelapses.reckon),
        Chore("the age of time-lapses", KEEP_AGE_EVERY_S, lambda: _keep_age(services, settings, storage)),
        *storage.chores,
        Chore("the end in the journal", math.inf, lambda: _tell(storage.events, "system.stopped"), at_close=True),
    ]
    return Runtime(services, storage.database, panel, prepare, chores, openapi)


def _services(
    settings: config.Settings,
    configs: Sequence[CameraConfig],
    hardware: Mapping[str, Camera],
    storage: Storage,
    panel: Panel,
    clock: Clock,
) -> Services:
    database, events, metrics = storage.database, storage.events, Metrics()
    rows, places = CameraRows(database), ViewerPlaces(settings.server.max_viewers)
    waiting = threading.Semaphore(settings.server.threads - FREE_THREADS)
    users = Users(UserRows(database), Passwords(clock), Attempts(clock), events, clock)
    system = System(
        storage.library, settings.storage.path, settings.storage.floor_bytes, storage.is_synchronised, clock
    )
    by_name = Cameras(
        {
            item.name: CameraService(item, hardware[item.name], rows, places, clock, events, waiting, metrics)
            for item in configs
        }
    )
    lapses = timelapses.timelapses(
        by_name, storage, settings.storage.path, settings.storage.floor_bytes, settings.place, clock, boot_id()
    )
    sessions = Sessions(SessionRows(database), users, events, clock)
    access = Access(TokenRows(database), events, clock, access_by_proof=sessions.access_of)
    feed = EventFeed(events, event_stream.encode)
    database.on_commit.append(feed.changed)
    return Services(
        access=access,
        users=users,
        sessions=sessions,
        pairings=Pairings(PairingRows(database), access, events, clock, boot_id()),
        cameras=by_name,
        photos=Photos(storage.library, events),
        events=events,
        feed=feed,
        keys=Keys(KeyRows(database), clock, boot_id()),
        pins=panel.pins,
        doors=panel.doors,
        bounds=CommandBounds(clock),
        metrics=metrics,
        system=system,
        timelapses=lapses,
        renders=timelapses.renders(lapses, storage, database, settings.storage.path, settings.place, system, clock),
        viewers=places,
        clock=clock,
        emulated=any(item.backend == "simulated" for item in configs) or panel.is_emulated,
    )


def _panel(
    settings: config.Settings,
    board: GpioBoard | None,
    folder: Path,
    storage: Storage,
    clock: Clock,
    take_picture: Take,
) -> Panel:
    backend, chip = settings.gpio.backend, settings.gpio.chip
    board = board or boards.board_of(backend, chip, folder, clock)
    return Panel(
        board,
        lambda on_lost: boards.leases_of(backend, chip, folder, on_lost, os.environ.get(config.GUARD, "")),
        [PinConfig(name=name, **asdict(pin)) for name, pin in settings.pins.items()],
        [DoorConfig(name=name, **asdict(door)) for name, door in settings.doors.items()],
        storage.database,
        storage.events,
        clock,
        boot_id(),
        take_picture,
        boards.machinery_of(board, settings.doors, folder, clock, boot_id()),
    )


class Storage:
    """What is kept, and what keeps it in order."""

    def __init__(self, settings: config.Settings, clock: Clock) -> None:
        self._trust = settings.clock.trust
        path, floor_bytes = settings.storage.path, settings.storage.floor_bytes
        reserve = Reserve(path)
        self.database = Database(path / "piapi.db", make_room=reserve.give_up, is_service=True)
        self.library = PhotoLibrary(self.database, path, floor_bytes, self.is_believed)
        self.events = Events(self.database, clock)
        space = Space(path, floor_bytes, self.events, reserve)
        self.library.on_full.append(space.refuse)
        recovery = Recovery(self.library, Inventory(self.database, path), self.events, clock)
        quota_bytes, max_age_days = settings.storage.quota_bytes, settings.storage.max_age_days
        self.timelapses = TimelapseStore(self.database, path, floor_bytes, quota_bytes)
        retention = Retention(
            self.library,
            self.events,
            clock,
            quota_bytes,
            max_age_days,
            self.is_believed,
            self.timelapses.taken_bytes,
        )
        keeping = JournalRetention(self.events.rows, clock, settings.storage.journal_keep_days, self.is_believed)
        self._space = space
        self.prepare: list[Callable[[], None]] = [
            self.library.prepare,
            self.timelapses.prepare,
            recovery.run,
            reserve.keep,
            self.database.keep_room,
        ]
        self.chores = [
            Chore("free space", LOOK_AT_DISK_EVERY_S, space.look),
            Chore("room for the database", LOOK_AT_DISK_EVERY_S, self.database.keep_room),
            Chore("photos without a row", LOOK_AT_DISK_EVERY_S, recovery.adopt_more),
            Chore("the quota of photos", LOOK_AT_DISK_EVERY_S, retention.keep_quota),
            Chore("the age of photos", KEEP_AGE_EVERY_S, retention.keep_age),
            Chore("the age of the journal", KEEP_JOURNAL_EVERY_S, keeping.keep),
            Chore("sums in the journal", SUM_EVERY_S, self.events.write_counts, at_close=True),
        ]

    def on_full(self, wanted_bytes: int, /) -> None:
        """So much found no space."""
        self._space.refuse(wanted_bytes)

    def is_synchronised(self) -> bool | None:
        """Whether the wall clock is right, as far as the machine or its owner knows."""
        return True if self._trust == "always" else clock_is_synchronised()

    def is_believed(self) -> bool:
        """Whether something may be removed by the wall clock."""
        return self.is_synchronised() is True


def _keep_age(services: Services, settings: config.Settings, storage: Storage) -> None:
    """Remove what is older than its owner wants, by a clock that is believed alone."""
    if (days := settings.storage.max_age_days) and storage.is_believed():
        services.timelapses.remove_ended_before(services.clock.now() - timedelta(days=days))


def _tell(events: Events, type: str, data: Mapping[str, Any] | None = None) -> None:
    """On a disk that is full, the service starts and stops all the same."""
    events.note(type, "system:service", data)
