"""Time-lapses, for those who ask: begun, looked at, changed, ended, removed. They run by themselves from then on."""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from piapi.clock import Clock
from piapi.errors import Conflict, Fault, Invalid, NoFilm, NotFound
from piapi.film.files import FilmFile
from piapi.film.flicker import score_of
from piapi.models import NOBODY
from piapi.services.cameras import CameraService
from piapi.services.events import Events
from piapi.services.timelapses.active import ActiveJob
from piapi.services.timelapses.promises import extent_of, with_end
from piapi.services.timelapses.running import Running, calendar_of
from piapi.services.timelapses.window import Place, check_window
from piapi.storage.database import Along
from piapi.storage.ledger import Job
from piapi.storage.timelapses import TimelapseStore
from piapi.timelapse import Estimate, Film, Plan, Row, State, Timelapse

log = logging.getLogger(__name__)

#: Jobs that may run at once, over all cameras.
MOST_ACTIVE = 32

#: Old ones that are removed in one turn of the housekeeper, who has other things to do.
AT_ONCE = 3


class Timelapses:
    """All of them."""

    def __init__(
        self,
        store: TimelapseStore,
        running: Running,
        events: Events,
        place: Place,
        clock: Clock,
        random: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._store = store
        self.running = running
        self._promises = running.promises
        self._events = events
        self._place = place
        self._clock = clock
        self._random = random
        self._changing = threading.Lock()
        self.before_remove: list[Callable[[str], None]] = []
        """Called with the id of one that is removed, while its files are still there."""

    # Asking -----------------------------------------------------------------------------------------------------------

    def get(self, id: str) -> Timelapse:
        """Raises NotFound."""
        return self._view(self._job(id))

    def page(
        self, cameras: frozenset[str] | None, limit: int, before: int | None, state: State | None = None
    ) -> list[Timelapse]:
        """Newest first; of these cameras, or of all, and in this state, or in any."""
        return [self._view(self._known(job)) for job in self._store.page(cameras, limit, before, state)]

    def rows(self, id: str, limit: int, before: int | None) -> list[Row]:
        """The ledger below the tick `before`, newest first."""
        return self._store.rows(self._job(id), limit, before)

    def row(self, id: str, index: int) -> Row:
        """One row of the ledger. Raises NotFound."""
        if (row := self._store.row(self._job(id), index)) is None:
            raise NotFound(f"No tick {index} has been due.")
        return row

    def latest(self, id: str) -> Row | None:
        """The newest tick that was captured."""
        return self._store.latest(self._job(id))

    def frame_path(self, id: str, index: int) -> Path:
        """The file of a frame. Raises NotFound."""
        row = self.row(id, index)
        if not row.has_file:
            why = "was missed" if row.status == "missed" else "is in the film alone"
            raise NotFound(f"There is no file of tick {index}: it {why}.")
        return self._store.place(id, index)

    def frames(self, id: str) -> Iterator[tuple[Row, Path]]:
        """Captured ticks that have their file, in order."""
        return self._store.frames(self._job(id))

    def film(self, id: str) -> FilmFile:
        """The film so far, with every captured frame. Raises NoFilm before the first."""
        job = self._job(id)
        if not job.captured:
            raise NoFilm("There is no frame yet of which a film could be.")
        active = self.running.get(id)
        return self.running.filming.film(active) if active else self.running.filming.finished(job)

    # Doing ------------------------------------------------------------------------------------------------------------

    def estimate(self, camera: CameraService, plan: Plan) -> Estimate:
        """What a plan would come to. Raises Invalid."""
        return self._estimate(camera, plan, is_known=self._has_known_extent(plan))

    def _estimate(self, camera: CameraService, plan: Plan, *, is_known: bool) -> Estimate:
        """`is_known` is asked before the clock is looked at, which may be set in between."""
        self._check(camera, plan)
        start = max(plan.start_at or self._clock.now(), self._clock.now())
        width, height = camera.configured_size()
        across, down = camera.still_size(plan.width, plan.height, width, height)
        estimate = self._promises.estimate(camera.name, across * down, plan, start, calendar_of(plan, self._place))
        if not estimate.frames:
            raise Invalid(Fault("/window" if plan.window else "", "no tick would ever be due"))
        return estimate if is_known else replace(estimate, fits=True)

    def create(
        self, camera: CameraService, plan: Plan, *along: Callable[[Timelapse], Along], by: str = NOBODY
    ) -> Timelapse:
        """Begin one: it is on disk when this returns, with what `along` make of it. Raises Invalid, DoesNotFit."""
        with self._changing:
            is_known = self._has_known_extent(plan)
            estimate = self._estimate(camera, plan, is_known=is_known)
            if sum(not active.job.has_ended for active in self.running.active()) >= MOST_ACTIVE:
                raise Conflict(f"{MOST_ACTIVE} time-lapses run at once already. End one of them first.")
            self._promises.require(estimate)
            job = Job(self._random(8).hex(), camera.name, plan, by, self._clock.now())
            job.is_emulated = camera.is_emulated
            job.state = "scheduled" if plan.start_at and plan.start_at > job.created_at else "running"
            job.memory |= {
                "frames_total": estimate.frames if is_known else None,
                "frame_bytes": estimate.size_bytes / estimate.frames,
            }
            self._store.make_folders(job.id)
            active = self.running.activate(job)
            try:
                told = active.account.entry(
                    "timelapse.created", {"interval_s": plan.interval_s, "state": job.state}, by
                )
                made = [of(self._view(job)) for of in along]
                self._store.add(job, told, *made)
            except BaseException:
                self.running.forget(job.id)
                raise
        self.running.scheduler.poke(active)
        return self._view(job)

    def change(self, id: str, changes: Mapping[str, Any], *, by: str = NOBODY) -> Timelapse:
        """Set `state` (`paused`, `running`, `cancelled`), `name`, or another end. Raises Conflict when it has ended,
        Invalid, DoesNotFit."""
        with self._changing:
            job = self._job(id)
            if job.has_ended:
                raise Conflict(f"This time-lapse is {job.state}; it can be looked at, or removed.")
            active = self.running.get(id)
            if active is None:
                raise Conflict(f"There is no camera {job.camera} in the settings any more; it can only be removed.")
            if set(changes) - {"state"}:
                self._replan(active, with_end(job.plan, dict(changes)), by)
            match changes.get("state"):
                case "paused":
                    active.pause(by)
                case "running":
                    active.go_on(by)
                case "cancelled":
                    active.cancel(by)
        self.running.scheduler.poke(active)
        return self._view(job)

    def remove(self, id: str, *, by: str = NOBODY, cause: str | None = None) -> None:
        """End it, and remove it and all its files for good. Raises NotFound."""
        with self._changing:
            job = self._job(id)
            for tell in self.before_remove:
                tell(id)
            self.running.forget(id)
            data = {"id": id, "name": job.plan.name, **({"cause": cause} if cause else {})}
            self._store.remove(job, self._events.entry("timelapse.removed", f"camera:{job.camera}", data, actor=by))

    def remove_ended_before(self, moment: datetime) -> None:
        """Remove some of those that ended before `moment`, the oldest first: what the owner wants no longer."""
        for job in self._store.ended_before(moment, AT_ONCE):
            log.info("removed time-lapse %s by age", job.id)
            self.remove(job.id, cause="age")

    # Within -----------------------------------------------------------------------------------------------------------

    def _job(self, id: str) -> Job:
        if active := self.running.get(id):
            return active.job
        if job := self._store.get(id):
            return job
        raise NotFound(f"There is no time-lapse {id}.")

    def _known(self, job: Job) -> Job:
        return active.job if (active := self.running.get(job.id)) else job

    def _check(self, camera: CameraService, plan: Plan) -> None:
        faults: list[Fault] = []
        now = self._clock.now()
        if plan.window:
            faults += check_window(plan.window, self._place, now)
        if plan.until is not None and plan.until <= max(now, plan.start_at or now):
            faults.append(Fault("/until", "is in the past, or before the start"))
        controls = {name: value for name, value in plan.controls.items() if (name, value) != ("exposure", "ramp")}
        faults += camera.faults_of_still(plan.width, plan.height, controls)
        if faults:
            raise Invalid(*faults)

    def _replan(self, active: ActiveJob, plan: Plan, by: str) -> None:
        job, before = active.job, active.job.plan
        with active.lock:
            start, now = job.started_at or plan.start_at or self._clock.now(), self._clock.now()
            if plan.until is not None and plan.until != before.until and plan.until <= now:
                raise Invalid(Fault("/until", "is in the past"))
            if plan.count is not None and plan.count < active.course.due:
                raise Invalid(Fault("/count", f"{active.course.due} ticks have been due already"))
            lasts = plan.duration_s if plan.duration_s != before.duration_s else None
            if lasts is not None and start + timedelta(seconds=lasts) <= now:
                raise Invalid(Fault("/duration_s", "it has been running for longer already"))
            frames, is_promised = job.memory.get("frames_total"), not job.is_unpromised
            if replace(plan, name=None) != replace(before, name=None):
                frames, is_promised = None, True
                if job.is_anchored or self._has_known_extent(plan):
                    frames, ends_at = extent_of(plan, start, calendar_of(plan, self._place))
                    is_promised = self._promises.require_change(job, plan, frames, ends_at)
            kept = {name: job.memory.get(name) for name in ("frames_total", "unpromised")}
            job.plan = plan
            job.memory |= {"frames_total": frames, "unpromised": not is_promised}
            try:
                active.changed(by)
            except BaseException:
                job.plan = before
                job.memory |= kept
                raise

    def reckon(self) -> None:
        """Find out how many frames those will have that end by a clock which was not known when they were asked for.
        One for which there is no room runs without a promise until there is, and leaves to others what they were
        promised."""
        for active in self.running.active():
            job, plan = active.job, active.job.plan
            frames, was_unpromised = job.memory.get("frames_total"), job.is_unpromised
            if job.has_ended or not job.is_anchored or (frames is not None and not was_unpromised):
                continue
            if frames is None:
                frames, _ = extent_of(plan, job.wall_time(0), active.course.calendar)
            with self._changing, active.lock:
                if job.plan is not plan or job.has_ended or active.is_removed:
                    continue  # changed meanwhile: the next turn
                fits = self._promises.has_room_for(job, frames)
                job.memory |= {"frames_total": frames, "unpromised": not fits}
            if not fits and not was_unpromised:
                log.warning("time-lapse %s: there is not room for all its %d frames", job.id, frames)

    def _has_known_extent(self, plan: Plan) -> bool:
        """False where it ends by a wall clock that may be years behind: no space is promised to it before it runs."""
        return plan.until is None or self.running.is_clock_believed()

    def _view(self, job: Job) -> Timelapse:
        active = self.running.get(job.id)
        total = job.memory.get("frames_total")
        ends_at: datetime | None = job.ended_at
        if not job.has_ended and isinstance(total, int) and total > job.due:
            start = job.started_at or job.plan.start_at or job.created_at
            ends_at = self._end_of(job, start)
        return Timelapse(
            seq=job.seq,
            id=job.id,
            camera=job.camera,
            plan=job.plan,
            state=job.state,
            state_reason=job.state_reason,
            created_by=job.created_by,
            created_at=job.created_at,
            started_at=job.started_at,
            ended_at=job.ended_at,
            frames_total=job.due if job.state == "finished" else total,
            frames_captured=job.captured,
            frames_missed=job.missed,
            next_frame_at=active.next_frame_at() if active else None,
            ends_at=ends_at,
            lateness_ms=job.lateness.figures(),
            film=self._extent_of(job, active),
            flicker=score_of(job.memory.get("flicker")),
            emulated=job.is_emulated,
        )

    def _extent_of(self, job: Job, active: ActiveJob | None) -> Film | None:
        """How large its film is. It is read from the disk only where nobody has remembered it."""
        if active is not None:
            return self.running.filming.now(active)
        if (kept := job.memory.get("film")) is not None:
            return Film(**kept)
        try:
            film = self.running.filming.finished(job)
        except NoFilm:
            return None
        return Film(film.frames, film.duration_s, film.size_bytes)

    def _end_of(self, job: Job, start: datetime) -> datetime | None:
        """The last tick by what is known now: a pause moves the end of a count."""
        if job.plan.count is None:
            return extent_of(job.plan, start, calendar_of(job.plan, self._place))[1]
        active = self.running.get(job.id)
        following = active.next_frame_at() if active else None
        if following is None:
            return None
        rest = replace(job.plan, count=max(1, job.plan.count - job.due))
        return extent_of(rest, following, calendar_of(job.plan, self._place))[1]
