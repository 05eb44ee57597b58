"""Time-lapses of the guest: begun, read, and removed again whatever happens."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tests.lab.acknowledged import all_of, get, sha256
from tests.lab.conftest import Pi, eventually

NEWEST_S = 30
"""Seconds in which a tick is captured, and its row read, on a guest that is busy."""


def assert_up_to_date(ledger: Sequence[Any]) -> None:
    """Of rows that leave out no tick: the newest was due just now, as its number says."""
    age_s = time.time() - datetime.fromisoformat(ledger[-1]["due_at"]).timestamp()
    assert -1 < age_s < NEWEST_S, f"the newest row is of {age_s:.0f} s ago"


@dataclass(frozen=True)
class Lapse:
    """One of them."""

    pi: Pi
    id: str
    links: dict[str, str]

    def now(self) -> Any:
        return self.pi.get(self.links["self"])

    def ledger(self) -> list[Any]:
        """All rows, in the order of their ticks: each has one, and each that was missed says why."""
        rows = sorted(all_of(self.pi, self.links["frames"]), key=lambda row: row["index"])
        assert [row["index"] for row in rows] == list(range(len(rows)))
        assert all((row["status"] == "missed") == (row["cause"] is not None) for row in rows)
        return rows

    def frames(self) -> dict[str, str]:
        """The SHA-256 of each frame's file, by its link."""
        kept = [row["links"]["file"] for row in self.ledger() if row["status"] == "captured"]
        return {link: sha256(get(self.pi, link)) for link in kept}

    def assert_whole(self, kept: dict[str, str]) -> None:
        """These frames are as they were, and all that was due since has its row: its newest is of just now."""
        found = self.frames()
        assert kept and found.items() >= kept.items()
        assert_up_to_date(self.ledger())

    def wait_for_frames(self, count: int) -> None:
        """So many more than there are."""
        wanted = self.now()["frames_captured"] + count
        eventually(lambda: self.now()["frames_captured"] >= wanted, f"{count} more frames")

    def wait_for_state(self, state: str) -> Any:
        """As it is once it is in that state."""
        return eventually(lambda: (found := self.now())["state"] == state and found, f"the time-lapse is {state}")


def wait_until_ready(pi: Pi, camera: str) -> None:
    eventually(lambda: pi.get(f"cameras/{camera}")["state"] != "unavailable", f"{camera} is ready", 120)


@contextlib.contextmanager
def lapse(pi: Pi, camera: str, **plan: Any) -> Iterator[Lapse]:
    wait_until_ready(pi, camera)
    made = pi.ask("POST", f"cameras/{camera}/timelapses", plan, expected=202)
    try:
        yield Lapse(pi, made["id"], made["links"])
    finally:
        pi.ask("DELETE", made["links"]["self"], expected=204)
