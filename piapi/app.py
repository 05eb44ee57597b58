"""Where the parts are joined: settings and hardware in, a Flask application out. No thread starts here."""

from __future__ import annotations

import math
import os
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from time import perf_counter
from typing import TYPE_CHECKING, Any

from flask import Flask, request

import config
from piapi import __version__, api, web
from piapi.api import event_stream
from piapi.api.proxies import behind
from piapi.api.services import Services
from piapi.clock import Clock, SystemClock, boot_id
from piapi.hardware import open_hardware
from piapi.hardware.base import Camera, CameraConfig
from piapi.logs import request_id
from piapi.runtime import Chore, Runtime
from piapi.services.access import Access
from piapi.services.attempts import Attempts
from piapi.services.camera_states import CameraStates
from piapi.services.cameras import Cameras, CameraService
from piapi.services.event_feed import EventFeed
from piapi.services.events import SUM_EVERY_S, Events
from piapi.services.idempotency import Keys
from piapi.services.journal_retention import LOOK_EVERY_S as KEEP_JOURNAL_EVERY_S
from piapi.services.journal_retention import JournalRetention
from piapi.services.live import ViewerPlaces
from piapi.services.metrics import Metrics
from piapi.services.pairings import Pairings
from piapi.services.passwords import Passwords
from piapi.services.photos import Photos
from piapi.services.recovery import Recovery
from piapi.services.retention import Retention
from piapi.services.sessions import Sessions
from piapi.services.space import Space
from piapi.services.system import System
from piapi.services.users import Users
from piapi.storage.cameras import CameraRows
from piapi.storage.database import Database
from piapi.storage.idempotency import KeyRows
from piapi.storage.inventory import Inventory
from piapi.storage.pairings import PairingRows
from piapi.storage.photos import PhotoLibrary
from piapi.storage.reserve import Reserve
from piapi.storage.sessions import SessionRows
from piapi.storage.tokens import TokenRows
from piapi.storage.users import UserRows
from piapi.timekeeping import clock_is_synchronised

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

FREE_THREADS = 3
"""Threads that are left for other requests when all that may wait for cameras do."""

NOTE_USE_EVERY_S = 60.0
"""Seconds between two times that the last use of tokens is written down: a write a request would wear out the card."""

FORGET_KEYS_EVERY_S = 600.0
"""Seconds between two times that keys of requests, sessions and pairings are looked through for old ones."""

LOOK_AT_DISK_EVERY_S = 5.0
"""Seconds; a statvfs(2) and a row of the database each time."""

KEEP_AGE_EVERY_S = 60.0
"""Seconds."""

_ROUTE = "piapi.route"
"""In the WSGI environment: the rule that matched. Flask forgets the request before its answer comes back to us."""

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
"""One that a client or a proxy may bring along."""
LOOK_AT_CAMERAS_EVERY_S = 2.0
"""Seconds between two looks whether a camera has come or gone."""

SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "Cache-Control": "private, no-cache",
}
"""Of every answer that does not say otherwise."""


def create_app(
    settings: config.Settings, hardware: Mapping[str, Camera] | None = None, clock: Clock | None = None
) -> Flask:
    """The application. `hardware`: cameras by name, where tests bring their own."""
    clock = clock or SystemClock()
    configs = [CameraConfig(name=name, **asdict(camera)) for name, camera in settings.cameras.items()]
    cameras = hardware if hardware is not None else open_hardware(configs, clock)
    storage = settings.storage
    reserve = Reserve(storage.path)
    database = Database(storage.path / "piapi.db", make_room=reserve.give_up)
    library = PhotoLibrary(database, storage.path, storage.floor_bytes, lambda: _is_believed(settings.clock))
    events = Events(database, clock)
    recovery = Recovery(library, Inventory(database, storage.path), events, clock)
    space = Space(storage.path, storage.floor_bytes, events, reserve)
    library.on_full.append(space.refuse)
    retention = Retention(
        library, events, clock, storage.quota_bytes, storage.max_age_days, lambda: _is_believed(settings.clock)
    )
    feed = EventFeed(events, event_stream.encode)
    database.on_commit.append(feed.changed)
    keeping = JournalRetention(events.rows, clock, storage.journal_keep_days, lambda: _is_believed(settings.clock))
    rows, places = CameraRows(database), ViewerPlaces(settings.server.max_viewers)
    waiting, metrics = threading.Semaphore(settings.server.threads - FREE_THREADS), Metrics()
    users = Users(UserRows(database), Passwords(clock), Attempts(clock), events, clock)
    sessions = Sessions(SessionRows(database), users, events, clock)
    access = Access(TokenRows(database), events, clock, access_of_user=sessions.access_of)
    services = Services(
        access=access,
        users=users,
        sessions=sessions,
        pairings=Pairings(PairingRows(database), access, events, clock, boot_id()),
        cameras=Cameras(
            {
                item.name: CameraService(item, cameras[item.name], rows, places, clock, events, waiting, metrics)
                for item in configs
            }
        ),
        photos=Photos(library, events),
        events=events,
        feed=feed,
        keys=Keys(KeyRows(database), clock, boot_id()),
        metrics=metrics,
        system=System(library, storage.path, storage.floor_bytes, lambda: _is_synchronised(settings.clock), clock),
        clock=clock,
        emulated=any(item.backend == "simulated" for item in configs),
    )
    app = PiApi("piapi", root_path=str(web.FOLDER), static_folder=None, template_folder="templates")
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False  # every route denies unless it says otherwise
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.before_request(_note_route)
    joined = api.register(app, settings.server.names)
    app.register_blueprint(web.blp)
    chores = [
        Chore("the last use of tokens", NOTE_USE_EVERY_S, services.access.note_use, at_close=True),
        Chore("sessions that are over", FORGET_KEYS_EVERY_S, sessions.forget_old),
        Chore("pairings that are over", FORGET_KEYS_EVERY_S, services.pairings.forget_old),
        Chore("old keys of requests", FORGET_KEYS_EVERY_S, services.keys.forget_old),
        Chore("free space", LOOK_AT_DISK_EVERY_S, space.look),
        Chore("photos without a row", LOOK_AT_DISK_EVERY_S, recovery.adopt_more),
        Chore("the quota of photos", LOOK_AT_DISK_EVERY_S, retention.keep_quota),
        Chore("the age of photos", KEEP_AGE_EVERY_S, retention.keep_age),
        Chore("states of cameras", LOOK_AT_CAMERAS_EVERY_S, CameraStates(services.cameras, events, clock).note),
        Chore("the age of the journal", KEEP_JOURNAL_EVERY_S, keeping.keep),
        Chore("sums in the journal", SUM_EVERY_S, events.write_counts, at_close=True),
        Chore("the end in the journal", math.inf, lambda: _tell(events, "system.stopped"), at_close=True),  # the last
    ]
    about = {"version": __version__, "emulated": services.emulated}
    prepare = [library.prepare, recovery.run, reserve.keep, lambda: _tell(events, "system.started", about)]
    app.extensions["piapi"] = Runtime(services, database, prepare, chores, lambda: api.document(joined))
    app.wsgi_app = _around(behind(app.wsgi_app, settings.server.trusted_proxies), metrics)  # type: ignore[method-assign, assignment]
    return app


def _tell(events: Events, type: str, data: Mapping[str, Any] | None = None) -> None:
    """On a disk that is full, the service starts and stops all the same."""
    events.note(type, "system:service", data)


def _is_synchronised(clock: config.ClockTrust) -> bool | None:
    """Whether the wall clock is right, as far as the machine or its owner knows."""
    return True if clock.trust == "always" else clock_is_synchronised()


def _is_believed(clock: config.ClockTrust) -> bool:
    """Whether something may be removed by the wall clock."""
    return _is_synchronised(clock) is True


class PiApi(Flask):
    """Flask without asynchronous views: whether a view is one is asked several times for each request."""

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """As it is."""
        return func


def _note_route() -> None:
    if request.url_rule is not None:
        request.environ[_ROUTE] = request.url_rule.rule


def _around(application: WSGIApplication, metrics: Metrics) -> WSGIApplication:
    """What every answer has and every request leaves: security headers, a request id, its place in the figures.

    Around the application, where a header costs no more than a tuple.
    """
    always = tuple(SECURITY_HEADERS.items())

    def wrapped(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        began, answered = perf_counter(), 0
        id = environ.get("HTTP_X_REQUEST_ID", "")
        if not _REQUEST_ID.fullmatch(id):
            id = os.urandom(6).hex()
        request_id.set(id)

        def start(status: str, headers: list[tuple[str, str]], *more: Any) -> Callable[[bytes], object]:
            nonlocal answered
            answered = int(status[:3])
            said = {name for name, _ in headers}
            headers.extend(item for item in always if item[0] not in said)
            headers.append(("X-Request-Id", id))
            return start_response(status, headers, *more)

        try:
            body = application(environ, start)
        finally:
            request_id.set("")
        route = environ.get(_ROUTE)
        method = environ["REQUEST_METHOD"] if route else "any"  # a client may make up methods, too
        metrics.request(method, route or "unknown", answered, perf_counter() - began)
        return body

    return wrapped
