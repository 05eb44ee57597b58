"""Commands that were refused stand in the journal too: somebody tried, and nothing moved."""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from piapi.clock import Clock
from piapi.errors import PiApiError
from piapi.services.events import Events
from piapi.services.recorder import Recorder

#: Entries in a row about one thing and caller, and entries a second after that: refused commands may come fast.
BURST, RATE = 5, 1.0

#: Things and callers that are told apart.
MOST_KNOWN = 500


@dataclass(slots=True)
class _Told:
    level: float
    at: float
    unsaid: int = 0


class Refusals:
    """Writes down what was refused: each command, until one caller asks for more than anybody would by hand. Then some
    are counted, and the next entry says how many (`unsaid`)."""

    def __init__(self, events: Events, recorder: Recorder, clock: Clock) -> None:
        self._events = events
        self._recorder = recorder
        self._clock = clock
        self._told: OrderedDict[tuple[str, str], _Told] = OrderedDict()
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def recorded(self, subject: str, data: Mapping[str, Any], actor: str) -> Iterator[None]:
        """Note an error of the block as `command.refused`, and let it go on."""
        try:
            yield
        except PiApiError as error:
            unsaid = self._unsaid(subject, actor)
            if unsaid is not None:
                refused = {**data, "reason": str(error), **({"unsaid": unsaid} if unsaid else {})}
                self._recorder.put(self._events.entry("command.refused", subject, refused, actor=actor))
            raise

    def _unsaid(self, subject: str, actor: str) -> int | None:
        """How many were not written since the last that was; None: nor is this one."""
        with self._lock:
            now = self._clock.monotonic()
            told = self._told.setdefault((subject, actor), _Told(BURST, now))
            self._told.move_to_end((subject, actor))
            while len(self._told) > MOST_KNOWN:
                self._told.popitem(last=False)
            told.level, told.at = min(float(BURST), told.level + (now - told.at) * RATE), now
            if told.level < 1:
                told.unsaid += 1
                return None
            told.level -= 1
            unsaid, told.unsaid = told.unsaid, 0
            return unsaid
