"""Where the parts are joined: settings and hardware in, a Flask application out. No thread starts here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

from flask import Flask, Response

import config
from piapi import api, web
from piapi.api.services import Services
from piapi.clock import Clock, SystemClock
from piapi.hardware import open_hardware
from piapi.hardware.base import Camera, CameraConfig
from piapi.runtime import Runtime
from piapi.services.access import Access
from piapi.services.cameras import Cameras, CameraService
from piapi.services.live import ViewerPlaces
from piapi.services.photos import Photos
from piapi.storage.cameras import CameraRows
from piapi.storage.database import Database
from piapi.storage.photos import PhotoLibrary
from piapi.storage.tokens import TokenRows

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
    database = Database(settings.storage.path / "piapi.db")
    library = PhotoLibrary(database, settings.storage.path, settings.storage.floor_bytes)
    rows, places = CameraRows(database), ViewerPlaces(settings.server.max_viewers)
    services = Services(
        access=Access(TokenRows(database), clock),
        cameras=Cameras({item.name: CameraService(item, cameras[item.name], rows, places, clock) for item in configs}),
        photos=Photos(library),
        clock=clock,
        emulated=any(item.backend == "simulated" for item in configs),
    )
    app = Flask("piapi", root_path=str(web.FOLDER), static_folder=None, template_folder="templates")
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False  # every route denies unless it says otherwise
    app.json.sort_keys = False  # type: ignore[attr-defined]
    joined = api.register(app, settings.server.names)
    app.register_blueprint(web.blp)
    app.extensions["piapi"] = Runtime(services, database, library, lambda: api.document(joined))
    app.after_request(_secure)
    return app


def _secure(response: Response) -> Response:
    for name, value in SECURITY_HEADERS.items():
        response.headers.setdefault(name, value)
    return response
