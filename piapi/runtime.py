"""Everything that has a thread or an open file: started once, closed once, in the opposite order.

`create_app` starts none of it; gunicorn's hooks (gunicorn.conf.py) and tests call `start` and `close`.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from piapi.api.services import Services
from piapi.errors import PiApiError
from piapi.services.panel import Panel
from piapi.storage.database import Database

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Chore:
    """Something that is done now and then, by one thread for all of them."""

    name: str
    every_s: float
    do: Callable[[], None]
    at_close: bool = False
    """Once more at the end."""


class Runtime:
    """The running parts of one application."""

    def __init__(
        self,
        services: Services,
        database: Database,
        panel: Panel,
        prepare: Sequence[Callable[[], None]],
        chores: Sequence[Chore],
        openapi: Callable[[], dict[str, Any]],
    ) -> None:
        self.services = services
        self.openapi = openapi
        self.is_running = False
        self.checks: Sequence[Callable[[], None]] = (panel.check, services.timelapses.running.check)
        """Each raises an exception when something hangs."""
        self._database = database
        self._panel = panel
        self._prepare = prepare
        self._chores = chores
        self._stopping = threading.Condition()
        self._is_stopping = False
        self._housekeeper: threading.Thread | None = None

    def start(self) -> None:
        """Open the database, mend what a crash left, then start the cameras. Raises StorageError; then nothing runs."""
        self._database.path.parent.mkdir(parents=True, exist_ok=True)
        self._database.open()
        for prepare in self._prepare:
            prepare()
        self._panel.start()
        for camera in self.services.cameras:
            camera.start()
        self.services.timelapses.running.start()
        self.services.renders.start()
        self._housekeeper = threading.Thread(target=self._keep_house, name="housekeeper", daemon=True)
        self._housekeeper.start()
        self.is_running = True

    def interrupt(self) -> None:
        """Begin to stop: requests that wait for hardware are told at once, so that they can be answered."""
        self.is_running = False
        self._panel.interrupt()
        self.services.renders.interrupt()
        self.services.timelapses.running.interrupt()
        for camera in self.services.cameras:
            camera.interrupt()

    def close(self) -> None:
        """End it all; one part that fails stops no other. May be called twice."""
        self.interrupt()
        with self._stopping:
            self._is_stopping = True
            self._stopping.notify_all()
        parts: list[Callable[[], None]] = [self._panel.close, self.services.renders.close]
        parts.append(self.services.timelapses.running.close)
        parts += [camera.close for camera in self.services.cameras]
        if self._housekeeper is not None:
            parts += [self._housekeeper.join, *(chore.do for chore in self._chores if chore.at_close)]
        for close in (*parts, self._database.close):
            try:
                close()
            except PiApiError as error:
                log.warning("while closing: %s", error)
            except Exception:  # noqa: BLE001 — the others have to be closed all the same
                log.exception("fault while closing")
        self._housekeeper = None

    def _keep_house(self) -> None:
        clock = self.services.clock
        due = {chore: clock.monotonic() + chore.every_s for chore in self._chores}
        with self._stopping:
            while not self._is_stopping:
                clock.wait(self._stopping, max(0.0, min(due.values()) - clock.monotonic()))
                for chore in [chore for chore in self._chores if due[chore] <= clock.monotonic()]:
                    if self._is_stopping:
                        break
                    self.services.metrics.chore_lateness_s = clock.monotonic() - due[chore]
                    due[chore] = clock.monotonic() + chore.every_s
                    self._stopping.release()
                    try:
                        self._do(chore)
                    finally:
                        self._stopping.acquire()

    @staticmethod
    def _do(chore: Chore) -> None:
        try:
            chore.do()
        except PiApiError as error:
            log.warning("%s: tried again later: %s", chore.name, error)
        except Exception:  # noqa: BLE001 — the next round may do better
            log.exception("fault in keeping house: %s", chore.name)
