"""Pictures of a door before and after an operation. They have a thread of their own, so that no press waits for one."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable

from piapi.errors import PiApiError
from piapi.models import DoorOperation

log = logging.getLogger(__name__)

Take = Callable[[str, str, str], None]
"""`(camera, label, actor)`: take a photo, and keep it. May take its time."""

MOST_WAITING = 8
"""Pictures that may wait for a slow camera; the oldest are left out."""


def label_of(operation: str) -> str:
    """What the pictures of an operation are labelled with."""
    return f"operation-{operation}"


class DoorPictures:
    """Takes them, one after the other."""

    def __init__(self, take: Take) -> None:
        self._take = take
        self._waiting: deque[tuple[str, DoorOperation, Callable[[str], None]]] = deque(maxlen=MOST_WAITING)
        self._changed = threading.Condition()
        self._is_closed = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin."""
        self._thread = threading.Thread(target=self._run, name="pictures of doors", daemon=True)
        self._thread.start()

    def want(self, camera: str, operation: DoorOperation, on_taken: Callable[[str], None]) -> None:
        """A picture, soon. `on_taken` is told the operation's id, on this thread. Never waits."""
        with self._changed:
            self._waiting.append((camera, operation, on_taken))
            self._changed.notify_all()

    def close(self) -> None:
        """End; a camera that is waited for has to be interrupted before. May be called twice."""
        with self._changed:
            self._is_closed = True
            self._waiting.clear()
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        while True:
            with self._changed:
                while not (self._waiting or self._is_closed):
                    self._changed.wait()
                if self._is_closed:
                    return
                camera, operation, on_taken = self._waiting.popleft()
            try:
                self._take(camera, label_of(operation.id), operation.requested_by)
            except PiApiError as error:
                log.warning("no picture of door %s: %s", operation.door, error)
            except Exception:  # noqa: BLE001 — the next one may do better
                log.exception("fault while taking a picture of door %s", operation.door)
            else:
                on_taken(operation.id)
