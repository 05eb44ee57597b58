"""Where views find the services: one object that `create_app` leaves in the application."""

from __future__ import annotations

from dataclasses import dataclass, field

from flask import current_app

from piapi.clock import Clock
from piapi.services.access import Access
from piapi.services.bounds import CommandBounds
from piapi.services.cameras import Cameras
from piapi.services.doors.doors import Doors
from piapi.services.event_feed import EventFeed
from piapi.services.events import Events
from piapi.services.idempotency import Keys
from piapi.services.live import ViewerPlaces
from piapi.services.metrics import Metrics
from piapi.services.pairings import Pairings
from piapi.services.photos import Photos
from piapi.services.pins import Pins
from piapi.services.places import Places
from piapi.services.sessions import Sessions
from piapi.services.system import System
from piapi.services.timelapses.renders import Renders
from piapi.services.timelapses.timelapses import Timelapses
from piapi.services.users import Users


@dataclass(frozen=True, slots=True)
class Services:
    """All that views may call."""

    access: Access
    users: Users
    sessions: Sessions
    pairings: Pairings
    cameras: Cameras
    photos: Photos
    events: Events
    feed: EventFeed
    keys: Keys
    pins: Pins
    doors: Doors
    bounds: CommandBounds
    metrics: Metrics
    system: System
    timelapses: Timelapses
    renders: Renders
    viewers: ViewerPlaces
    clock: Clock
    emulated: bool
    archives: Places = field(default_factory=lambda: Places("archives"))
    """Of frames."""
    replays: Places = field(default_factory=lambda: Places("replays"))


def services() -> Services:
    """Those of the current application."""
    found: Services = current_app.extensions["piapi"].services
    return found
