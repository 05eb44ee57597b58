"""How many long answers of one kind may be on their way at once: each reads the disk as fast as its client takes it."""

from __future__ import annotations

import threading
from collections.abc import Callable

from piapi.errors import TooManyRequests

#: Of one kind, at once.
MOST = 4


class Places:
    """A few places. `what` is said to who finds none: "archives", "replays"."""

    def __init__(self, what: str, most: int = MOST) -> None:
        self._what = what
        self._most = most
        self._free = most
        self._lock = threading.Lock()

    def take(self) -> Callable[[], None]:
        """A place; to be called when it is given back. Raises TooManyRequests."""
        with self._lock:
            if not self._free:
                raise TooManyRequests(f"{self._most} {self._what} are being sent already.", retry_after_s=30)
            self._free -= 1
        return self._give_back

    def _give_back(self) -> None:
        with self._lock:
            self._free += 1
