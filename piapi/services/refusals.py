"""Commands that were refused stand in the journal too: somebody tried, and nothing moved."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from piapi.clock import Clock
from piapi.errors import PiApiError
from piapi.services.events import Events
from piapi.services.recorder import Recorder

#: Seconds between two entries of refused commands of one thing: they may come fast.
REFUSALS_EVERY_S = 1.0


class Refusals:
    """Writes down what was refused, though not each of many."""

    def __init__(self, events: Events, recorder: Recorder, clock: Clock) -> None:
        self._events = events
        self._recorder = recorder
        self._clock = clock
        self._next: dict[str, float] = {}

    @contextlib.contextmanager
    def recorded(self, subject: str, data: Mapping[str, Any], actor: str) -> Iterator[None]:
        """Note an error of the block as `command.refused`, and let it go on."""
        try:
            yield
        except PiApiError as error:
            now = self._clock.monotonic()
            if now >= self._next.get(subject, 0.0):
                self._next[subject] = now + REFUSALS_EVERY_S
                refused = {**data, "reason": str(error)}
                self._recorder.put(self._events.entry("command.refused", subject, refused, actor=actor))
            raise
