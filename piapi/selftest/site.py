"""Where the checks are made, and through whom: the machine, the service's API, a person."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from config import Settings
from piapi.clock import Clock
from piapi.services.machine import Machine

T = TypeVar("T")

API = "/api/v1"

#: Seconds between two looks at what is waited for.
LOOK_EVERY_S = 0.2

START = "`sudo systemctl start piapi` (by hand: `make run`), then `piapi selftest` again"


class Unanswered(Exception):
    """The service refused, or did not answer; says why. `status` is HTTP's, where it answered."""

    def __init__(self, reason: str, status: int | None = None) -> None:
        super().__init__(reason)
        self.status = status


class Service(Protocol):
    """The API of the running service."""

    def ask(self, method: str, path: str, body: Any = None, key: str = "") -> Any:
        """The document that is the answer. `key` is an Idempotency-Key. Raises Unanswered."""

    def fetch(self, path: str) -> bytes:
        """The bytes of a file. Raises Unanswered."""


class Person(Protocol):
    """Who stands beside the machine. Ctrl-C is a KeyboardInterrupt out of any of these."""

    def tell(self, text: str) -> None:
        """Say what comes."""

    def agrees(self, question: str, default: bool) -> bool:
        """Yes or no; `default` by the Enter key alone."""

    def witnessed(self, question: str) -> bool | None:
        """What they have seen; None when they cannot tell."""

    def names(self, question: str, name: str) -> bool:
        """Whether they type this name in answer. Anything else, Enter alone too, is a no."""


Run = Callable[[Sequence[str]], str | None]
"""Runs a command and gives what it printed; None when it cannot be run or fails."""


@dataclass(frozen=True, slots=True)
class Site:
    """Where the checks are made."""

    settings: Settings | None
    """None: they are not sound, see `faults`."""
    clock: Clock
    run: Run
    is_synchronised: Callable[[], bool | None]
    run_folder: Path | None = None
    """Where the service has its sockets; None where that is not known."""
    faults: Sequence[str] = ()
    """Of the settings."""
    hints: Sequence[str] = ()
    """Of the settings: no faults, but to be looked at."""
    service: Service | None = None
    no_service: str = "piapi does not answer."
    """Why there is no service."""
    person: Person | None = None
    """None: nobody is to be asked, and nothing may move."""
    root: Path = Path("/")
    """Where `/proc`, `/sys`, `/dev`, `/etc` and `/run` are."""
    as_owner_of: Callable[[Path], contextlib.AbstractContextManager[None]] = field(
        default=lambda folder: contextlib.nullcontext()
    )
    """Takes on the owner of a folder while a block runs, where one may."""

    @property
    def machine(self) -> Machine:
        """What the machine says of itself."""
        return Machine(self.root)

    def until(self, look: Callable[[], T | None], within_s: float) -> T | None:
        """What `look` gives, as soon as it gives something; None when the time is over."""
        pause, deadline = threading.Condition(), self.clock.monotonic() + within_s
        while (found := look()) is None and self.clock.monotonic() < deadline:
            with pause:
                self.clock.wait(pause, LOOK_EVERY_S)
        return found


def wiring_of(item: dict[str, Any]) -> str:
    """`GPIO17, pin 11`, and loudly that it is simulated where it is."""
    return f"{item['gpio']}, pin {item['physical']}{emulation_of(item)}"


def emulation_of(item: dict[str, Any]) -> str:
    """Nothing, for what is real."""
    return ", EMULATED: NOT REAL HARDWARE" if item["emulated"] else ""
