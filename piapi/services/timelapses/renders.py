"""Renders: the frames of a time-lapse filmed again, one at a time, by a niced child process that can be cancelled.

A render is a row from the moment it is asked for. What a crash cut off is begun anew at the next start: its file has
its name only when it is whole.
"""

from __future__ import annotations

import contextlib
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
from piapi.services.timelapses.rendering import PATIENCE_S, Child
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
FAULT = "A fault in piapi; the log says more."

#: States of one that is still to be made.
_OPEN: tuple[RenderState, ...] = ("queued", "running")


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
        """Go on with those that wait, begin anew what was cut off, and clear away what that has left."""
        self._store.clear_left_over()
        self._queue = self._store.queue_anew()
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
        if not timelapse.frames_captured:
            raise NoFilm("There is no frame yet of which a film could be.")
        if not timelapse.plan.video.keep_frames or next(self._timelapses.frames(timelapse.id), None) is None:
            raise Conflict("This time-lapse keeps no frames; its film is all there is.")
        if not self._has_room(timelapse.film.size_bytes if timelapse.film else 0):
            raise StorageFull("There is no room for another film of this length.")
        render = Render(0, self._random(8).hex(), timelapse.id, wanted, "queued", by, self._clock.now())
        with self._changed:
            if len(self._queue) >= MOST_WAITING:
                raise Conflict(f"{MOST_WAITING} renders wait already.")
            self._store.add(render, self._entry(render, timelapse.camera, by), *(of(render) for of in along))
            self._queue.append(render)
            self._changed.notify_all()
        return self.get(render.id)

    def get(self, id: str) -> Render:
        """Raises NotFound."""
        kept = self._store.get(id)
        if kept is None:
            raise NotFound(f"There is no render {id}.")
        return self._as_it_is(kept)

    def of(self, timelapse: str) -> list[Render]:
        """Those of one time-lapse, newest first."""
        return [self._as_it_is(render) for render in self._store.of(timelapse)]

    def _as_it_is(self, kept: Render) -> Render:
        """With how far it is, which is not written down."""
        with self._changed:
            running = self._running
        if running is not None and running.id == kept.id and kept.state in _OPEN:
            return replace(running, seq=kept.seq)
        return kept

    def path(self, render: Render) -> Path:
        """Its file. Raises Conflict before it is finished."""
        if render.state != "finished":
            raise Conflict(f"This render is {render.state}.")
        return self._store.path(render)

    def cancel(self, id: str, *, by: str = NOBODY) -> Render:
        """End one that waits or runs; of one that has ended, remove row and file. Raises NotFound."""
        with self._changed:
            render = self.get(id)
            if render.state in _OPEN:
                self._queue = [queued for queued in self._queue if queued.id != id]
                self._end(render, "cancelled", None, by)
                if self._running is not None and self._running.id == id and self._child is not None:
                    self._child.end()
                return self.get(id)
        camera = self._timelapses.get(render.timelapse).camera
        data = {"id": render.id, "timelapse": render.timelapse}
        self._store.remove(render, self._events.entry("render.removed", f"camera:{camera}", data, actor=by))
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
                self._give_up(render, FAULT)
            with self._changed:
                self._running = self._child = None
                self._changed.notify_all()

    def _make(self, render: Render) -> None:
        with self._changed:  # who cancels it comes before, or finds it running
            if not self._is_wanted(render):
                return
            self._store.save(render)
        path = self._store.path(render)
        child = Child(self._timelapses.frames(render.timelapse), render.wanted, path, self._zone)
        try:
            self._watch(render, child)
        finally:
            child.close()
        with self._changed:
            if not self._is_wanted(render):
                path.unlink(missing_ok=True)
                return
            size_bytes, sha256 = child.made()
            self._end(replace(render, size_bytes=size_bytes, sha256=sha256), "finished", None)

    def _watch(self, render: Render, child: Child) -> None:
        """Until the child has ended. Raises StorageFull where the disk gets short meanwhile."""
        with self._changed:
            self._child = child
        worked_s, looked, is_hot = 0.0, self._clock.monotonic(), False
        while (report := child.report(LOOK_EVERY_S)) is not None:
            now = self._clock.monotonic()
            worked_s += 0.0 if is_hot else now - looked
            looked, is_hot = now, self._is_hot()
            if not self._has_room(0):
                raise StorageFull("The disk is full down to its floor ([storage] floor_bytes).")
            with self._changed:
                if not self._is_wanted(render):
                    child.end()
                    continue
                child.rest(is_hot)
                eta_s = worked_s / report.done * (report.of - report.done) if report.done and not is_hot else None
                progress = report.done / report.of if report.of else 0.0
                self._running = replace(render, progress=progress, eta_s=eta_s, detail=HOT if is_hot else None)

    def _is_wanted(self, render: Render) -> bool:
        kept = self._store.get(render.id)
        return not self._is_stopping and kept is not None and kept.state in _OPEN

    def _give_up(self, render: Render, why: str) -> None:
        """It failed, and nothing of it is left. What cannot even be written down is begun anew at the next start."""
        with contextlib.suppress(OSError):
            self._store.path(render).unlink()
        try:
            with self._changed:
                if self._is_wanted(render):
                    log.warning("render %s of time-lapse %s failed: %s", render.id, render.timelapse, why)
                    self._end(render, "failed", why)
        except PiApiError as error:
            log.warning("that render %s failed (%s) cannot be written down: %s", render.id, why, error)

    def _end(self, render: Render, state: RenderState, detail: str | None, by: str = NOBODY) -> None:
        ended = replace(render, state=state, detail=detail, ended_at=self._clock.now())
        camera = self._timelapses.get(render.timelapse).camera
        self._store.end(ended, self._entry(ended, camera, by))

    def _remove_all(self, timelapse: str) -> None:
        """The time-lapse is removed: nothing of it is rendered any more, and nobody writes into its folder."""
        for render in self._store.of(timelapse):
            if render.state in _OPEN:
                self.cancel(render.id)
        with self._changed:
            self._changed.wait_for(
                lambda: self._running is None or self._running.timelapse != timelapse, LOOK_EVERY_S + PATIENCE_S
            )

    def _entry(self, render: Render, camera: str, by: str) -> Along:
        data = {"id": render.id, "timelapse": render.timelapse, "state": render.state, "detail": render.detail}
        return self._events.entry("render.state", f"camera:{camera}", data, actor=by)
