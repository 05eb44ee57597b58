"""A period in which a time-lapse runs, photos are taken, the door moves and pins are switched, all at once."""

from __future__ import annotations

import contextlib
import http.client
import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any

from tests.lab.acknowledged import (
    ENDED,
    Command,
    Entry,
    Frames,
    Period,
    Photo,
    Removed,
    Removing,
    Told,
    all_of,
    frames_captured,
    frames_of,
)
from tests.lab.conftest import Pi, eventually
from tests.lab.guest import pause
from tests.lab.opener import opener
from tests.service import Answer

SYNCHRONISED = Path("/run/systemd/timesync/synchronized")
TRAVEL_S = 1.0
INTERVAL_S = 2.0
PAUSE_S = 1.0
"""Between two requests of one client. The guest is slow, and one that is kept busy all the time is taken to hang."""

LEAST_PHOTOS, MOST_LATE_S = 8, 180.0
REMOVED_EVERY = 4
LONG = 1000
"""Ticks, of a time-lapse that would go on for half an hour."""

LATER = (409, 429, 503, 504)
"""It is busy just now."""


class Work:
    """Clients of one piapi. Each notes what it was told, and only then how long the disk's log is."""

    def __init__(self, pi: Pi, seconds: float) -> None:
        self._pi = pi
        self._until = time.monotonic() + seconds
        self._noting = threading.Lock()
        self.told: list[Told] = []
        self.lapses: list[str] = []

    def repeat(self, act: Callable[[int], None]) -> None:
        """Until it is over. A request that gets no answer was told nothing."""
        for number in count():
            if self.is_over():
                return
            with contextlib.suppress(OSError, http.client.HTTPException):
                act(number)
            pause(PAUSE_S)

    def is_over(self) -> bool:
        """When its time has passed; on a machine that is busy, when enough was told, within a few times as long."""
        late_s = time.monotonic() - self._until
        with self._noting:
            photos = sum(isinstance(told, Photo) for told in self.told)
        return late_s > 0 and (photos >= LEAST_PHOTOS or late_s > MOST_LATE_S)

    def note(self, kind: type[Told], *what: Any) -> None:
        """It was told just now."""
        with self._noting:
            self.told.append(kind(self._pi.disk.position(), *what))

    def command(self, method: str, path: str, body: dict[str, Any], *, keyed: bool = False) -> Answer | None:
        """The answer, unless it was refused for now."""
        key = secrets.token_hex(8) if keyed else None
        answer = self._pi.call(method, path, body, **({"Idempotency-Key": key} if key else {}))
        status, headers, said = answer
        if status in LATER:
            return None
        assert status in (200, 201, 202), said
        self.note(Command, method, path, body, key, status, headers.get("location"))
        return answer

    def begin(self, frames: int) -> None:
        """A time-lapse."""
        plan = {"interval_s": INTERVAL_S, "count": frames}
        answer = self.command("POST", "cameras/yard/timelapses", plan, keyed=True)
        assert answer, "the camera takes no time-lapse"
        self.lapses.append(answer[1]["location"])

    # What its clients do, again and again

    def photograph(self, number: int) -> None:
        if answer := self.command("POST", "cameras/yard/photos", {}, keyed=bool(number % 2)):
            photo = json.loads(answer[2])
            self.note(Photo, photo["id"], photo["sha256"])
            if number % REMOVED_EVERY == 1:
                self.note(Removing, photo["id"])
                status, _, said = self._pi.call("DELETE", f"photos/{photo['id']}")
                assert status == 204 or status in LATER, said
                if status == 204:
                    self.note(Removed, photo["id"])

    def switch(self, number: int) -> None:
        for pin in ("porch", "fan"):
            if self.command("PUT", f"pins/{pin}/value", {"value": False}):
                self.command("PUT", f"pins/{pin}/value", {"value": True})
        self.command("POST", "pins/lamp/pulses", {"duration_s": 0.2}, keyed=True)

    def move(self, number: int) -> None:
        """The door, by targets and by presses in turn."""
        if number % 2:
            answer = self.command("POST", "doors/garage/toggles", {}, keyed=True)
        else:
            target = "open" if self._pi.get("doors/garage")["state"] == "closed" else "closed"
            answer = self.command("PUT", "doors/garage/target", {"target": target})
        if answer and (made := answer[1].get("location")):
            eventually(lambda: self._pi.get(made)["state"] in ENDED, "the operation ends")

    def look(self, number: int) -> None:
        for lapse in self.lapses:
            self.note(Frames, lapse, frames_captured(self._pi, lapse))
        self.note(Entry, self._pi.get("events?limit=1")["items"][0]["id"])


def assert_of_all_kinds(told: Sequence[Told]) -> None:
    """Else all that was refused for now would be kept for nothing."""
    commands = [one for one in told if isinstance(one, Command)]
    assert any("/operations/" in (command.location or "") for command in commands), "the door was never moved"
    assert any("/actuations/" in (command.location or "") for command in commands), "no pin was ever pulsed"
    assert any(command.pin for command in commands), "no pin was ever switched on"
    assert any(isinstance(one, Removed) for one in told), "no photo was ever removed"


@contextlib.contextmanager
def clock_is_right(pi: Pi) -> Iterator[None]:
    """As systemd-timesyncd says it on a Pi with a network: time-lapses find their grid again after a boot."""
    pi.guest.run(f"mkdir -p {SYNCHRONISED.parent} && touch {SYNCHRONISED}")
    try:
        yield
    finally:
        pi.guest.run(f"rm -r {SYNCHRONISED.parent}")


def worked(pi: Pi, seconds: float) -> Period:
    """What was told in a period of so many seconds. One time-lapse ends within it, and one would go on after it."""
    eventually(lambda: pi.get("cameras/yard")["state"] == "ready", "the camera is ready")
    first = pi.get("events?limit=1")["items"][0]
    work = Work(pi, seconds)
    with opener(pi, TRAVEL_S), ThreadPoolExecutor() as clients:
        for frames in (LONG, round(seconds / INTERVAL_S / 2)):
            work.begin(frames)
        for client in [
            clients.submit(work.repeat, act) for act in (work.photograph, work.switch, work.move, work.look)
        ]:
            client.result()
    for pin in ("porch", "fan"):
        pi.ask("PUT", f"pins/{pin}/value", {"value": False})
    assert_of_all_kinds(work.told)
    journal = [entry for entry in all_of(pi, f"events?since={first['at']}") if entry["id"] > first["id"]]
    kept = {lapse: frames_of(pi, lapse) for lapse in work.lapses}
    for lapse in work.lapses:
        pi.ask("DELETE", lapse, expected=204)
    return Period(work.told, kept, journal)
