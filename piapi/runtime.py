"""Everything that has a thread or an open file: started once, closed once, in the opposite order.

`create_app` starts none of it; gunicorn's hooks (gunicorn.conf.py) and tests call `start` and `close`.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

from piapi.api.services import Services
from piapi.errors import PiApiError
from piapi.storage.database import Database
from piapi.storage.photos import PhotoLibrary

log = logging.getLogger(__name__)

#: Seconds between two times that the last use of tokens is written down.
NOTE_USE_EVERY_S = 60.0


class Runtime:
    """The running parts of one application."""

    def __init__(
        self, services: Services, database: Database, library: PhotoLibrary, openapi: Callable[[], dict[str, Any]]
    ) -> None:
        self.services = services
        self.openapi = openapi
        self.is_running = False
        self._database = database
        self._library = library
        self._stopping = threading.Condition()
        self._is_stopping = False
        self._housekeeper: threading.Thread | None = None

    def start(self) -> None:
        """Open the database, then the cameras. Raises StorageError, and then nothing runs."""
        self._database.path.parent.mkdir(parents=True, exist_ok=True)
        self._database.open()
        self._library.prepare()
        for camera in self.services.cameras:
            camera.start()
        self._housekeeper = threading.Thread(target=self._keep_house, name="housekeeper", daemon=True)
        self._housekeeper.start()
        self.is_running = True

    def interrupt(self) -> None:
        """Begin to stop: requests that wait for hardware are told at once, so that they can be answered."""
        self.is_running = False
        for camera in self.services.cameras:
            camera.interrupt()

    def close(self) -> None:
        """End it all; one part that fails stops no other. May be called twice."""
        self.interrupt()
        with self._stopping:
            self._is_stopping = True
            self._stopping.notify_all()
        parts: list[Callable[[], None]] = [camera.close for camera in self.services.cameras]
        if self._housekeeper is not None:
            parts += [self._housekeeper.join, self.services.access.note_use]
        for close in (*parts, self._database.close):
            try:
                close()
            except Exception:  # noqa: BLE001 — the others have to be closed all the same
                log.exception("fault while closing")
        self._housekeeper = None

    def _keep_house(self) -> None:
        with self._stopping:
            while not self._is_stopping:
                self.services.clock.wait(self._stopping, NOTE_USE_EVERY_S)
                try:
                    self.services.access.note_use()
                except PiApiError as error:
                    log.warning("the last use of tokens is written down later: %s", error)
                except Exception:  # noqa: BLE001 — the next round may do better
                    log.exception("fault in keeping house")
