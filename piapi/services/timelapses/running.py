"""The jobs that run, and the threads that work for them: one keeps time, one for each camera captures, one films."""

from __future__ import annotations

import logging
from collections.abc import Callable

from piapi.clock import Clock
from piapi.services.cameras import Cameras, CameraService
from piapi.services.events import Events
from piapi.services.timelapses.active import ActiveJob
from piapi.services.timelapses.course import Course
from piapi.services.timelapses.filming import Filming
from piapi.services.timelapses.promises import Promises
from piapi.services.timelapses.recovery import mend
from piapi.services.timelapses.scheduler import Scheduler
from piapi.services.timelapses.taking import Taker
from piapi.services.timelapses.ticks import Tick
from piapi.services.timelapses.window import Calendar, Place
from piapi.storage.ledger import Job
from piapi.storage.timelapses import TimelapseStore
from piapi.timelapse import Plan

log = logging.getLogger(__name__)

MakeTaker = Callable[[CameraService, Callable[[ActiveJob], None]], Taker]


class Running:
    """Those that have not ended, or whose film is not closed."""

    def __init__(
        self,
        store: TimelapseStore,
        cameras: Cameras,
        make_taker: MakeTaker,
        events: Events,
        place: Place,
        clock: Clock,
        boot_id: str,
        is_clock_believed: Callable[[], bool],
        free_bytes: Callable[[], int],
    ) -> None:
        """`free_bytes`: what time-lapses may take."""
        self._store = store
        self._cameras = cameras
        self._events = events
        self._place = place
        self._clock = clock
        self._boot_id = boot_id
        self.is_clock_believed = is_clock_believed
        self._active: dict[str, ActiveJob] = {}
        self._takers = {camera.name: make_taker(camera, self._tick_is_over) for camera in cameras}
        self.scheduler = Scheduler(clock, self._give, self._expect)
        self.promises = Promises(store, free_bytes, lambda: [active.job for active in self.active()])
        self.filming = Filming(store, place.zone, clock, self._film_is_done)

    def active(self) -> list[ActiveJob]:
        """All of them."""
        return list(self._active.values())

    def get(self, id: str) -> ActiveJob | None:
        """One of them; None when it has ended, or its camera is not in the settings."""
        return self._active.get(id)

    def forget(self, id: str) -> None:
        """It is removed, or was never kept: nothing works for it any more."""
        active = self._active.pop(id, None)
        if active is not None:
            with active.lock:
                active.is_removed = True
            self.scheduler.forget(active)
            self.filming.forget(active)

    def start(self) -> None:
        """Go on with all that have not ended: find what was lost meanwhile, mend, and keep time again."""
        self.resume()
        for taker in self._takers.values():
            taker.start()
        self.filming.start()
        self.scheduler.start()

    def resume(self) -> None:
        """Find those that have not ended, and mend what a crash left of them."""
        self._store.clear_left_over()
        for job in self._store.unfinished():
            if job.camera not in self._takers:
                log.warning("time-lapse %s rests: there is no camera %s in the settings", job.id, job.camera)
                continue
            active = self.activate(job, is_recovering=True)
            mend(active, self._store)
            self.filming.look_at(active)
            self.scheduler.poke(active)

    def run_due(self) -> int | None:
        """All that is due now, on the thread that calls: capture it, and film it. Gives the moment of the next, in
        microseconds of CLOCK_BOOTTIME."""
        next_us = self.scheduler.run_due()
        for taker in self._takers.values():
            taker.take_all()
        self.filming.film_all()
        return next_us

    def interrupt(self) -> None:
        """Begin to stop."""
        self.filming.interrupt()
        for taker in self._takers.values():
            taker.interrupt()

    def close(self) -> None:
        """End; every job goes on at the next start. May be called twice."""
        self.interrupt()
        self.scheduler.close()
        for taker in self._takers.values():
            taker.close()
        self.filming.close()

    def check(self) -> None:
        """Raise TimeoutError when time is not kept any more."""
        self.scheduler.check()

    def activate(self, job: Job, is_recovering: bool = False) -> ActiveJob:
        """Take a job up. It is asked what is to be done when somebody says `poke`."""
        course = Course(job, calendar_of(job.plan, self._place), self._clock, self._boot_id, self.is_clock_believed)
        owner = self._cameras.get(job.camera).owner
        is_ready, free_for = lambda: owner.is_open, self.promises.free_for
        active = ActiveJob(course, self._store, self._events, is_ready, free_for, self._has_ended, is_recovering)
        self._active[job.id] = active
        return active

    def _give(self, tick: Tick) -> None:
        self._takers[tick.active.job.camera].give(tick)

    def _expect(self, active: ActiveJob, moment: float) -> None:
        self._cameras.get(active.job.camera).owner.expect(moment)

    def _tick_is_over(self, active: ActiveJob) -> None:
        self.scheduler.poke(active)
        self.filming.look_at(active)

    def _has_ended(self, active: ActiveJob) -> None:
        self.scheduler.forget(active)
        self.filming.look_at(active)

    def _film_is_done(self, active: ActiveJob) -> None:
        self._active.pop(active.job.id, None)


def calendar_of(plan: Plan, place: Place) -> Calendar | None:
    """When a plan captures; None: always."""
    return Calendar(plan.window, place) if plan.window else None
