"""Time-lapses of the guest: begun, read, and removed again whatever happens."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.lab.conftest import Pi, eventually


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
        rows: list[Any] = []
        path = self.links["frames"] + "?limit=200"
        while path:
            page = self.pi.get(path)
            rows += page["items"]
            path = page["links"].get("next")
        rows.sort(key=lambda row: row["index"])
        assert [row["index"] for row in rows] == list(range(len(rows)))
        assert all((row["status"] == "missed") == (row["cause"] is not None) for row in rows)
        return rows

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
