"""The film of a time-lapse against its ledger: each segment whole, and each captured frame in it once, in order."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from piapi.film import segments
from piapi.film.segments import Head, NotWhole
from piapi.storage.ledger import Job
from piapi.storage.timelapses import TimelapseStore
from piapi.timelapse import Row

_AT_ONCE = 1000


def faults_of_film(store: TimelapseStore, job: Job, fast: bool) -> Iterator[str]:
    """A line for each fault; `fast` looks at the heads of segments alone. While the job runs, what is not in a closed
    segment yet is in the open one, in memory."""
    ledger, film, last = _Ledger(store, job), _Film(store.film_folder(job.id), fast), -1
    for name, found in film:
        if isinstance(found, str):
            yield f"film/{name}: {found}"
            continue
        for tick in found.indices:
            if tick <= last:
                yield f"film/{name}: the frame of tick {tick} is in the film again, or out of order"
                continue
            last = tick
            yield from _missing(ledger.skip_to(tick))
            if (row := ledger.row) is not None and row.index == tick:
                ledger.advance()
            else:
                yield f"film/{name}: has a frame of tick {tick}, which was not captured"
    yield from _missing(row for row in ledger.rest() if job.is_film_done or not row.has_file)


def _missing(rows: Iterator[Row]) -> Iterator[str]:
    """A line for all that follow each other."""
    first: Row | None = None
    last: Row | None = None
    for last in rows:
        first = first or last
    if first is not None and last is not None:
        which = f"frame {first.index} is" if first is last else f"the captured frames {first.index} to {last.index} are"
        yield f"{which} not in the film"


class _Film:
    """Its segments, in order, also those that are closed while it is read: a head, or what is wrong with it."""

    def __init__(self, folder: Path, fast: bool) -> None:
        self._folder = folder
        self._fast = fast

    def __iter__(self) -> Iterator[tuple[str, Head | str]]:
        first: Head | None = None
        after = -1
        while ordinals := self._after(after):
            for ordinal in ordinals:
                path = segments.path_of(self._folder, ordinal)
                try:
                    head = segments.read(path, check_data=not self._fast)
                    first = first or head
                    if (head.sets, head.width, head.height) != (first.sets, first.width, first.height):
                        raise NotWhole("it belongs to another film")
                    yield path.name, head
                except NotWhole as fault:
                    yield path.name, str(fault)
            after = ordinals[-1]

    def _after(self, ordinal: int) -> list[int]:
        names = [path.stem for path in self._folder.glob(f"*{segments.SUFFIX}") if path.stem.isdecimal()]
        return sorted(number for number in map(int, names) if number > ordinal)


class _Ledger:
    """The captured ticks, in order; asked again at their end, as long as there are more."""

    def __init__(self, store: TimelapseStore, job: Job) -> None:
        self._store = store
        self._job = job
        self._page: list[Row] = []
        self._after = -1

    @property
    def row(self) -> Row | None:
        """The one that is next."""
        if not self._page:
            self._page = self._store.captured(self._job, _AT_ONCE, self._after)[::-1]
        return self._page[-1] if self._page else None

    def advance(self) -> None:
        """On to the one after it."""
        self._after = self._page.pop().index

    def skip_to(self, tick: int) -> Iterator[Row]:
        """Those before a tick."""
        while (row := self.row) is not None and row.index < tick:
            yield row
            self.advance()

    def rest(self) -> Iterator[Row]:
        """All that are left."""
        return self.skip_to(2**62)
