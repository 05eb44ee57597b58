"""Renders: the frames of a time-lapse filmed again, one at a time, by a niced child process that can be cancelled.

A render is a row from the moment it is asked for. What a crash cut off is begun anew at the next start: its file has
its name only when it is whole.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from piapi.clock import Clock
from piapi.errors import Conflict, NoFilm, NotFound, PiApiError, StorageFull
from piapi.models import NOBODY
from piapi.services.events import Events
from piapi.services.timelapses.rendering import Child
from piapi.services.timelapses.timelapses import Timelapses
from piapi.storage.database import Along
from piapi.storage.renders import RenderStore
from piapi.timelapse import Render, RenderRequest, RenderState, Timelapse

log = logging.getLogger(__name__)

#: Renders that may wait.
MOST_WAITING = 16

#: Seconds between two looks at a child: whether it is to end, and whether the machine is too hot.
LOOK_EVERY_S = 1.0

HOT = "The Raspberry Pi is too hot and throttles; it goes on by itself."


class Renders:
    """All of them."""

    def __init__(
        self,
        store: RenderStore,
        timelapses: Timelapses,
        zone: str | None,
        has_room: Callable[[int], bool],
        is_hot: Callable[[], bool],
        events: Events,
        clock: Clock,
        random: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._store = store
        self._timelapses = timelapses
        self._zone = zone
        self._has_room = has_room
        self._is_hot = is_hot
        self._events = events
        self._clock = clock
        self._random = random
        self._changed = threading.Condition()
        self._queue: list[Render] = []
        self._running: Render | None = None
        self._child: Child | None = None
        self._is_stopping = False
        self._thread: threading.Thread | None = None
        timelapses.before_remove.append(self._remove_all)

    def start(self) -> None:
        """Go on with those that wait, and begin anew what was cut off."""
        self._queue = [replace(render, state="queued") for render in self._store.waiting()]
        self._thread = threading.Thread(target=self._run, name="renders", daemon=True)
        self._thread.start()

    def interrupt(self) -> None:
        """Begin to end: what runs is stopped, and is begun anew at the next start."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify_all()
            if self._child is not None:
                self._child.end()

    def close(self) -> None:
        """End. May be called twice."""
        self.interrupt()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    # Asking -----------------------------------------------------------------------------------------------------------

    def begin(
        self, timelapse: Timelapse, wanted: RenderRequest, *along: Callable[[Render], Along], by: str = NOBODY
    ) -> Render:
        """Ask for one. Raises NoFilm without a frame, Conflict when too many wait, StorageFull."""
        film = self._timelapses.film_so_far(timelapse.id)
        if not timelapse.frames_captured or film is None:
            raise NoFilm("There is no frame yet of which a film could be.")
        if next(self._timelapses.frames(timelapse.id), None) is None:
            raise Conflict("This time-lapse keeps no frames; its film is all there is.")
        if not self._has_room(film.size_bytes):
            raise StorageFull("There is no room for another film of this length.")
        with self._changed:
            if len(self._queue) >= MOST_WAITING:
                raise Conflict(f"{MOST_WAITING} renders wait already.")
        render = Render(0, self._random(8).hex(), timelapse.id, wanted, "queued", by, self._clock.now())
        self._store.add(render, self._entry(render, timelapse.camera, by), *(of(render) for of in along))
        with self._changed:
            self._queue.append(render)
            self._changed.notify_all()
        return self.get(render.id)

    def get(self, id: str) -> Render:
        """Raises NotFound."""
        kept = self._store.get(id)
        if kept is None:
            raise NotFound(f"There is no render {id}.")
        with self._changed:
            running = self._running
        if running is not None and running.id == id and kept.state in ("queued", "running"):
            return replace(running, seq=kept.seq)
        return kept

    def of(self, timelapse: str) -> list[Render]:
        """Those of one time-lapse, newest first."""
        return [self.get(render.id) for render in self._store.of(timelapse)]

    def path(self, render: Render) -> Path:
        """Its file. Raises Conflict before it is finished."""
        if render.state != "finished":
            raise Conflict(f"This render is {render.state}.")
        return self._store.path(render)

    def cancel(self, id: str, *, by: str = NOBODY) -> Render:
        """End one that waits or runs; of one that has ended, remove the file."""
        render = self.get(id)
        with self._changed:
            if render.state in ("queued", "running"):
                self._queue = [queued for queued in self._queue if queued.id != id]
                self._end(render, "cancelled", None, by)
                if self._running is not None and self._running.id == id and self._child is not None:
                    self._child.end()
                return self.get(id)
        self._store.remove(render)
        return render

    # The thread -------------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._is_stopping and not self._queue:
                    self._clock.wait(self._changed, None)
                if self._is_stopping:
                    return
                render = self._running = replace(self._queue.pop(0), state="running")
            try:
                self._make(render)
            except PiApiError as error:
                self._give_up(render, str(error))
            except Exception:  # noqa: BLE001 — one render must not end all others
                log.exception("render %s: fault", render.id)
                self._give_up(render, "A fault in piapi; the log says more.")
            with self._changed:
                self._running = self._child = None

    def _make(self, render: Render) -> None:
        path = self._store.path(render)
        with self._changed:
            if not self._is_wanted(render):
                return
        self._store.save(render)
        child = Child(self._timelapses.frames(render.timelapse), render.wanted, path, self._zone)
        with self._changed:
            self._child = child
        began = self._clock.monotonic()
        try:
            while (report := child.report(LOOK_EVERY_S)) is not None:
                with self._changed:
                    if not self._is_wanted(render):
                        child.end()
                    is_hot = self._is_hot()
                    child.rest(is_hot)
                    took = self._clock.monotonic() - began
                    eta_s = took / report.done * (report.of - report.done) if report.done and not is_hot else None
                    progress = report.done / report.of if report.of else 0.0
                    self._running = replace(render, progress=progress, eta_s=eta_s, detail=HOT if is_hot else None)
        finally:
            child.close()
        with self._changed:
            if not self._is_wanted(render):
                path.unlink(missing_ok=True)
                return
            size_bytes, sha256 = child.made()
            self._end(replace(render, size_bytes=size_bytes, sha256=sha256), "finished", None)

    def _is_wanted(self, render: Render) -> bool:
        return not self._is_stopping and self._state_of(render) in ("queued", "running")

    def _state_of(self, render: Render) -> RenderState | None:
        kept = self._store.get(render.id)
        return kept.state if kept else None

    def _give_up(self, render: Render, why: str) -> None:
        with self._changed:
            if self._is_wanted(render):
                log.warning("render %s of time-lapse %s failed: %s", render.id, render.timelapse, why)
                self._end(render, "failed", why)

    def _end(self, render: Render, state: RenderState, detail: str | None, by: str = NOBODY) -> None:
        ended = replace(render, state=state, detail=detail, ended_at=self._clock.now())
        camera = self._timelapses.get(render.timelapse).camera
        self._store.save(ended, self._entry(ended, camera, by))

    def _remove_all(self, timelapse: str) -> None:
        """The time-lapse is removed: nothing of it is rendered any more."""
        for render in self._store.of(timelapse):
            if render.state in ("queued", "running"):
                self.cancel(render.id)

    def _entry(self, render: Render, camera: str, by: str) -> Along:
        data = {"id": render.id, "timelapse": render.timelapse, "state": render.state, "detail": render.detail}
        return self._events.entry("render.state", f"camera:{camera}", data, actor=by)
