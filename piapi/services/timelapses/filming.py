"""One thread that films what is captured, for all jobs: each frame once, in order, as soon as nothing better is to do.

It reads what the ledger has and the film has not, so it holds no queue that could grow, and goes on after a crash where
the durable segments end. It is niced: a tick that is due comes first.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator
from datetime import tzinfo

from piapi.clock import Clock
from piapi.errors import DamagedPicture, NoFilm, NotFound, StorageError
from piapi.film.files import FilmFile
from piapi.film.mending import MendingWriter
from piapi.film.reading import read_film
from piapi.services.timelapses.active import ActiveJob
from piapi.services.timelapses.recovery import mend_film
from piapi.storage.ledger import Job
from piapi.storage.timelapses import TimelapseStore
from piapi.timelapse import Film, Row

log = logging.getLogger(__name__)

#: Frames that are read from the ledger at once.
PAGE = 50

#: Encoders that stay open: each holds some frames of memory. One that is opened anew begins with a whole picture.
MOST_ENCODERS = 4

#: Seconds between two tries to film where there was no room.
RETRY_S = 10.0

#: Seconds that somebody who wants the film waits for the frames that are not in it yet.
PATIENCE_S = 15.0

NICENESS = 10


class Filming:
    """The films of all jobs that grow."""

    def __init__(
        self,
        store: TimelapseStore,
        zone: tzinfo | None,
        clock: Clock,
        on_done: Callable[[ActiveJob], None],
    ) -> None:
        self._store = store
        self._zone = zone
        self._clock = clock
        self._on_done = on_done
        self._changed = threading.Condition()
        self._wanted: dict[ActiveJob, None] = {}
        """Jobs with something to film, in the order they came."""
        self._writers: dict[ActiveJob, MendingWriter] = {}
        """The one that was used last is the last."""
        self._filmed: dict[ActiveJob, int] = {}
        """The last tick that is in the film, or cannot be."""
        self._later: set[ActiveJob] = set()
        """Jobs whose film could not be written just now."""
        self._unread: dict[ActiveJob, MendingWriter] = {}
        """Films that were there before this process, and have not been read to the end."""
        self._is_stopping = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin."""
        self._thread = threading.Thread(target=self._run, name="filming", daemon=True)
        self._thread.start()

    def interrupt(self) -> None:
        """Begin to end: nobody waits for a film any more."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify_all()

    def close(self) -> None:
        """End, after the frame that is being filmed. What is not filmed is at the next start. May be called twice."""
        self.interrupt()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def look_at(self, active: ActiveJob) -> None:
        """There may be something to film."""
        with self._changed:
            self._wanted[active] = None
            self._changed.notify_all()

    def forget(self, active: ActiveJob) -> None:
        """A job is removed."""
        with self._changed:
            self._wanted.pop(active, None)
            self._writers.pop(active, None)
            self._filmed.pop(active, None)
            self._later.discard(active)
            self._unread.pop(active, None)
            self._changed.notify_all()

    def film(self, active: ActiveJob) -> FilmFile:
        """The film so far, with every frame that is captured when this is called. Raises NoFilm before the first."""
        newest = self._store.latest(active.job)
        if newest is None:
            raise NoFilm("There is no frame yet.")
        self.look_at(active)
        with self._changed:
            self._changed.wait_for(
                lambda: self._is_stopping or self._filmed.get(active, -1) >= newest.index, PATIENCE_S
            )
            writer = self._writers.get(active)
        return writer.snapshot() if writer else self.finished(active.job)

    def now(self, active: ActiveJob) -> Film | None:
        """How large the film is that is encoded so far; None where it is not open yet."""
        with self._changed:
            writer = self._writers.get(active)
        return writer.extent() if writer and writer.frames else None

    def finished(self, job: Job) -> FilmFile:
        """The film of a job that has ended."""
        return read_film(self._store.film_folder(job.id), job.plan.video.fps)

    def film_all(self) -> bool:
        """Film all that there is, on the thread that calls. False when some of it has to be tried again later."""
        is_well = True
        while (active := self._next() or self._check()) is not None:
            try:
                self._film(active)
            except StorageError as error:
                is_well = False
                log.warning("time-lapse %s: its film waits: %s", active.job.id, error)
                self._put_off(active)
            except Exception:  # noqa: BLE001 — one film must not end all others
                is_well = False
                log.exception("time-lapse %s: fault in its film", active.job.id)
                self._put_off(active)
        return is_well

    def _put_off(self, active: ActiveJob) -> None:
        """It is looked at again after a while."""
        with self._changed:
            self._later.add(active)

    def _next(self) -> ActiveJob | None:
        with self._changed:
            if self._is_stopping or not self._wanted:
                return None
            active = next(iter(self._wanted))
            del self._wanted[active]
            return active

    def _film(self, active: ActiveJob) -> None:
        job = active.job
        if active.is_removed:
            return
        with active.lock:  # before the ledger is read: what comes later asks again
            is_over = job.has_ended and active.in_flight is None
        if job.is_film_done:
            return
        writer = self._writer_of(active)
        if writer.holes:
            self._mend(active, writer)
        for row in self._unfilmed(active):
            if self._is_stopping or active.is_removed:
                return
            self._add(active, writer, row)
        if is_over:
            writer.finish()
            self._note_closed(job, writer)
            with active.lock:
                if active.is_removed:
                    return
                active.film_done(writer.extent())
            with self._changed:
                self._writers.pop(active, None)
                self._unread.pop(active, None)
                self._changed.notify_all()
            self._on_done(active)

    def _check(self) -> ActiveJob | None:
        """Read what is in the films since before this process, a segment at a time while nothing else is to do; a job
        in whose film something is damaged. Where no frames are kept there is nothing to mend it from."""
        for active, writer in list(self._unread.items()):
            while not self._is_stopping and not self._wanted and active not in self._later:
                if not writer.check():
                    self._unread.pop(active, None)
                    break
                if writer.holes:
                    return active
        return self._next()

    def _mend(self, active: ActiveJob, writer: MendingWriter) -> None:
        """What is damaged or lost in its film."""
        mend_film(active.job, self._store, writer)
        self._store.note_film(active.job, writer.closed_bytes)
        last = -1 if writer.last_index is None else writer.last_index
        with self._changed:
            self._filmed[active] = min(self._filmed[active], last)

    def _unfilmed(self, active: ActiveJob) -> Iterator[Row]:
        """What the ledger has and the film has not, in order; what comes while this is read asks again."""
        is_more = True
        while is_more:
            rows = self._store.captured(active.job, PAGE, self._filmed[active])
            yield from rows
            is_more = len(rows) == PAGE

    def _add(self, active: ActiveJob, writer: MendingWriter, row: Row) -> None:
        job = active.job
        try:
            data = self._store.read_frame(job, row.index)
            is_closed = writer.append(row.index, data, row.captured_at or row.due_at, job.plan.video.timestamp)
        except (NotFound, DamagedPicture) as error:
            log.warning("time-lapse %s: frame %d is not in the film: %s", job.id, row.index, error)
            is_closed = False
        if is_closed:
            self._note_closed(job, writer)
        with self._changed:
            self._filmed[active] = row.index
            self._changed.notify_all()

    def _note_closed(self, job: Job, writer: MendingWriter) -> None:
        """Part of the film is durable: what it takes is counted, and the JPEGs of a job that keeps none go."""
        if self._store.get(job.id) is None:  # removed while the segment was written
            self._store.remove_folder(job.id)
            return
        self._store.note_film(job, writer.closed_bytes)
        if not job.plan.video.keep_frames and writer.closed_index is not None:
            self._store.drop_files(job, writer.closed_index)

    def _writer_of(self, active: ActiveJob) -> MendingWriter:
        writer = self._writers.pop(active, None)
        if writer is None:
            video = active.job.plan.video
            writer = MendingWriter(self._store.film_folder(active.job.id), video.fps, video.width, self._zone)
            writer.open()
            last = -1 if writer.last_index is None else writer.last_index
            with self._changed:
                self._filmed[active] = last
                if active.job.plan.video.keep_frames:
                    self._unread[active] = writer
        with self._changed:
            self._writers[active] = writer
        for idle in list(self._writers.values())[:-MOST_ENCODERS]:
            idle.rest()
        return writer

    def _run(self) -> None:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
        while not self._is_stopping:
            self.film_all()
            with self._changed:
                if self._is_stopping or self._wanted:
                    continue
                if not self._clock.wait(self._changed, RETRY_S if self._later else None):
                    self._wanted.update(dict.fromkeys(self._later))
                    self._later.clear()
