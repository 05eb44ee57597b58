"""The journal live: each reader has a place in it, the id that it has read up to, and no queue.

What is new is read from the database once and encoded once, for all readers. One who is further behind than what is
remembered reads on from the database, page by page, as fast as its client takes them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from piapi.errors import TooManyRequests
from piapi.models import Caller, Event, EventFilter
from piapi.services.events import Events, may_view

#: Entries that are remembered encoded.
RECENT = 256

#: Entries that are read at once by one who is further behind.
PAGE = 50

#: Seconds after which the database is asked even if nobody here has written: the command line writes there too.
LOOK_EVERY_S = 1.0

#: Readers at once.
MOST_READERS = 200


@dataclass(frozen=True, slots=True)
class Gap:
    """Entries that a reader asked for and that are not there: removed as too old, or of another journal."""

    first: int
    last: int


Encode = Callable[[Event | Gap], bytes]


@dataclass(frozen=True, slots=True)
class _Encoded:
    event: Event
    text: bytes


@dataclass(frozen=True, slots=True)
class _Recent:
    """All entries after one id, up to another. Never changed, only replaced."""

    after: int
    newest: int
    entries: tuple[_Encoded, ...] = ()


class EventFeed:
    """What is new in the journal, for all who read it live."""

    def __init__(self, events: Events, encode: Encode, most: int = MOST_READERS) -> None:
        self.events = events
        self.encode = encode
        self._most = most
        self._readers: tuple[Reader, ...] = ()
        self._joining = threading.Lock()
        self._reading = threading.Lock()
        self._recent: _Recent | None = None
        self._is_stale = True
        self._look_at = 0.0

    @property
    def readers(self) -> int:
        """How many read now."""
        return len(self._readers)

    def changed(self) -> None:
        """Something was committed, perhaps entries. Cheap; called by the thread that wrote."""
        self._is_stale = True
        self._wake_all()

    def join(self, caller: Caller, chosen: EventFilter, last_id: int | None = None) -> Reader:
        """A new reader, who must `leave`: from behind the entry `last_id` on; else from `chosen.since`, or from now.

        Raises TooManyRequests.
        """
        rows = self.events.rows
        _, newest = rows.bounds()
        position, gap = newest, None
        if last_id is not None:
            position = min(last_id, newest)
            gap = Gap(newest + 1, last_id) if last_id > newest else None
        if chosen.since is not None:
            first = rows.first_since(chosen.since) or newest + 1
            position = first - 1 if last_id is None else max(position, first - 1)
        reader = Reader(self, caller, chosen, position, gap)
        with self._joining:
            if len(self._readers) >= self._most:
                raise TooManyRequests(f"All {self._most} places for live readers are taken.", retry_after_s=10)
            if not self._readers:  # what was remembered for others may be long ago
                with self._reading:
                    self._recent = None
            self._readers += (reader,)
        return reader

    def recent(self, now: float) -> _Recent:
        """The latest entries: read from the database when somebody has written, or now and then. `now` in seconds of
        the clock that never jumps."""
        known = self._recent
        if known is not None and not self._is_stale and now < self._look_at:  # as nearly always, without the lock
            return known
        with self._reading:
            known, was_stale = self._recent, self._is_stale
            if known is None:
                known = self._recent = _Recent(newest := self.events.rows.bounds()[1], newest)
            elif was_stale or now >= self._look_at:
                self._is_stale, self._look_at = False, now + LOOK_EVERY_S
                before = known
                known = self._recent = self._read_on(before)
                if known is not before and not was_stale:  # another process has written: nobody was told
                    self._wake_all()
            return known

    def _read_on(self, known: _Recent) -> _Recent:
        while found := self.events.rows.after(known.newest, RECENT):
            entries = (*known.entries, *(_Encoded(event, self.encode(event)) for event in found))
            dropped = entries[:-RECENT]
            after = dropped[-1].event.id if dropped else known.after
            known = _Recent(after, found[-1].id, entries[-RECENT:])
            if len(found) < RECENT:
                break
        return known

    def _wake_all(self) -> None:
        for reader in self._readers:
            reader.wake()

    def _leave(self, reader: Reader) -> None:
        with self._joining:
            self._readers = tuple(other for other in self._readers if other is not reader)


class Reader:
    """One who reads the journal live. `next` is asked by one thread; `leave` may come from any, and more than once."""

    def __init__(self, feed: EventFeed, caller: Caller, chosen: EventFilter, position: int, gap: Gap | None) -> None:
        self.wake: Callable[[], None] = _nobody
        """Called, by any thread, when there may be something new."""
        self._feed = feed
        self._caller = caller
        self._chosen = chosen
        self._position = position
        self._gap = gap
        self._may_view: dict[str, bool] = {}

    def next(self, now: float) -> list[bytes]:
        """Entries that this reader has not had, encoded, in the order of their ids; none when there are none now."""
        recent = self._feed.recent(now)
        if self._gap is not None:
            gap, self._gap = self._gap, None
            return [self._feed.encode(gap)]
        if self._position < recent.after and (page := self._read_page()):
            return page
        if self._position >= recent.newest:
            return []
        found = []
        for entry in reversed(recent.entries):
            if entry.event.id <= self._position:
                break
            if self._wants(entry.event):
                found.append(entry.text)
        self._position = recent.newest
        found.reverse()
        return found

    def leave(self) -> None:
        """Give the place back."""
        self._feed._leave(self)

    def _read_page(self) -> list[bytes]:
        """From the database. Empty: nothing there is for this reader up to what was the newest entry just now."""
        events, found = self._feed.events, list[Event | Gap]()
        oldest, newest = events.rows.bounds()
        if self._position + 1 < oldest:
            found.append(Gap(self._position + 1, oldest - 1))
            self._position = oldest - 1
        page = events.rows.after(self._position, PAGE, self._chosen, events.visible(self._caller, self._chosen))
        # The newest was asked for before the page: none that the page may have missed is passed over.
        last = page[-1].id if page else 0
        self._position = last if len(page) == PAGE else max(newest, last)
        return [self._feed.encode(item) for item in (*found, *page)]

    def _wants(self, event: Event) -> bool:
        chosen = self._chosen
        if chosen.type not in (None, event.type) or chosen.subject not in (None, event.subject):
            return False
        if chosen.since is not None and event.at < chosen.since:
            return False
        may = self._may_view.get(event.subject)
        if may is None:
            may = self._may_view[event.subject] = may_view(self._caller, event.subject)
        return may


def _nobody() -> None:
    """Wakes nobody: a reader that is not attached yet."""
