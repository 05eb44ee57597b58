"""Looking again at what looks wrong, before it is called a fault: the service goes on working meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import TypeVar

#: Seconds after which a file that is half written is being written by nobody any more.
LEFT_OVER_S = 60.0

#: How often, and after how many seconds each time, something is looked at again.
_LOOKS, _BETWEEN_S = 10, 0.2

Item = TypeVar("Item")


def pause(seconds: float) -> None:
    """Let that time pass."""
    threading.Event().wait(seconds)


def that_stay(items: Iterable[Item], is_so: Callable[[Item], bool], pause: Callable[[float], None]) -> list[Item]:
    """Those of which it is so for longer than it takes to make a file and its row, or to remove them."""
    left = list(items)
    for _ in range(_LOOKS):
        left = [item for item in left if is_so(item)]
        if not left:
            break
        pause(_BETWEEN_S)
    return left
