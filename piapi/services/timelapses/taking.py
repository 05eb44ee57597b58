"""Captures what is due on one camera: picture, file, row. Ticks that wait when a capture begins, and want the same
picture, share it."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable, Mapping
from typing import Protocol

from piapi.clock import Clock
from piapi.errors import HardwareError, NotFound, PiApiError, StorageError
from piapi.hardware.base import ControlValue
from piapi.services.capture_queue import Taken
from piapi.services.exif import record_for, with_exif
from piapi.services.timelapses.active import ActiveJob
from piapi.services.timelapses.course import SECOND_US
from piapi.services.timelapses.exposing import ExposedCamera, Exposing
from piapi.services.timelapses.ticks import Tick
from piapi.storage.timelapses import TimelapseStore
from piapi.timelapse import Cause, Row

log = logging.getLogger(__name__)


class TickCamera(ExposedCamera, Protocol):
    """What is asked of a camera here; `services.cameras.CameraService` is one."""

    def take_tick(self, width: int, height: int, controls: Mapping[str, ControlValue], begin_at: float) -> Taken:
        """A still whose exposure begins after this call, and not before `begin_at`, a moment of the monotonic clock.
        Raises HardwareError, Invalid."""

    def still_size(self, width: int, height: int, across: int, down: int) -> tuple[int, int]:
        """The size of the file of a picture of `across` by `down` pixels, when `width` and `height` were wished."""

    @property
    def model(self) -> str | None:
        """What it says it is."""


class Taker:
    """A thread for one camera."""

    def __init__(
        self,
        camera: TickCamera,
        store: TimelapseStore,
        exposing: Exposing,
        measure: Callable[[bytes], float],
        clock: Clock,
        on_done: Callable[[ActiveJob], None],
        on_full: Callable[[int], None],
    ) -> None:
        """`measure` gives the luminance of a JPEG; `on_done` hears of each tick that is over, however it went."""
        self._camera = camera
        self._store = store
        self._exposing = exposing
        self._measure = measure
        self._clock = clock
        self._on_done = on_done
        self._on_full = on_full
        self._changed = threading.Condition()
        self._ticks: list[Tick] = []
        self._is_stopping = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin."""
        self._thread = threading.Thread(target=self._run, name=f"ticks-{self._camera.name}", daemon=True)
        self._thread.start()

    def interrupt(self) -> None:
        """Begin to end: what waits is not taken any more."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify_all()

    def close(self, timeout: float = 5.0) -> None:
        """End, after the frame that is being kept. May be called twice."""
        self.interrupt()
        if self._thread is not None:
            self._thread.join(timeout)

    def give(self, tick: Tick) -> None:
        """One is due, now or in a moment."""
        with self._changed:
            self._ticks.append(tick)
            self._changed.notify_all()

    def take_all(self) -> None:
        """Take all that waits, on the thread that calls."""
        while ticks := self._next():
            self._take(ticks)

    def _run(self) -> None:
        while not self._is_stopping:
            self.take_all()
            with self._changed:
                if not self._is_stopping and not self._ticks:
                    self._clock.wait(self._changed, None)

    def _next(self) -> list[Tick]:
        """The first of those that wait, with all that want the same picture."""
        with self._changed:
            waiting = [] if self._is_stopping else self._ticks
            if not waiting:
                return []
            alike = [tick for tick in waiting if _wish(tick) == _wish(waiting[0])]
            self._ticks = [tick for tick in waiting if tick not in alike]
            return alike

    def _take(self, ticks: list[Tick]) -> None:
        plan = ticks[0].active.job.plan
        try:
            controls = self._exposing.controls(ticks[0].active, self._camera)
            begin_at = max(tick.due_us for tick in ticks) / SECOND_US
            taken = self._camera.take_tick(plan.width, plan.height, controls, begin_at)
        except Exception as error:  # noqa: BLE001 — whatever it was, the series goes on with the next tick
            if not isinstance(error, PiApiError):
                log.exception("camera %s: fault while capturing a tick", self._camera.name)
            if not self._is_stopping:
                log.warning("camera %s: a tick is lost: %s", self._camera.name, error)
                for tick in ticks:
                    self._lose(tick, "camera")
            return
        for tick in ticks:
            self._keep(tick, taken)

    def _keep(self, tick: Tick, taken: Taken) -> None:
        active, job = tick.active, tick.active.job
        picture, plan = taken.picture, job.plan
        try:
            image = picture.image
            width, height = self._camera.still_size(plan.width, plan.height, image.width, image.height)
            data = image.encode("jpeg", width=width, height=height, quality=plan.quality)
            record = record_for(self._camera.name, picture.captured_at, plan.name, picture.metadata, picture.emulated)
            data = with_exif(data, picture.captured_at, self._camera.model, picture.metadata, record)
            luminance = round(self._measure(data), 4)
        except (ValueError, HardwareError) as error:
            log.warning("camera %s: a tick is lost, its picture is damaged: %s", self._camera.name, error)
            self._lose(tick, "camera")
            return
        late_us = max(0, round(picture.exposed_at * SECOND_US) - tick.due_us)
        frame = Row(
            index=tick.index,
            due_at=job.wall_time(tick.index),
            status="captured",
            captured_at=picture.captured_at,
            lateness_ms=late_us / 1000,
            size_bytes=len(data),
            luminance=luminance,
            has_file=True,
            sha256=hashlib.sha256(data).hexdigest(),
        )
        try:
            self._exposing.learn(active, self._camera, luminance, picture.metadata)
            self._store.write_frame(job, tick.index, data)
            active.keep(frame, picture.emulated)
        except NotFound:  # removed meanwhile
            self._store.remove_frame(job, tick.index)
        except StorageError as error:
            log.warning("time-lapse %s: a tick is lost: %s", job.id, error)
            self._store.remove_frame(job, tick.index)
            self._on_full(len(data))
            self._lose(tick, "storage")
            return
        self._on_done(active)

    def _lose(self, tick: Tick, cause: Cause) -> None:
        tick.active.lose(tick, cause)
        self._on_done(tick.active)


def _wish(tick: Tick) -> tuple[object, ...]:
    """What two ticks have in common when one picture does for both. A job whose exposure is its own shares none."""
    plan = tick.active.job.plan
    is_own = plan.lock_exposure or plan.controls.get("exposure") == "ramp"
    return plan.width, plan.height, sorted(plan.controls.items(), key=str), tick.active if is_own else None
