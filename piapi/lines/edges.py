"""Edges of lines, told as the kernel tells of them: until one comes, nothing runs.

lgpio's own thread looks for them 2,000 times a second as long as there is an input, which keeps a Pi from its rest.
"""

from __future__ import annotations

import contextlib
import os
import select
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

Moved = Callable[[bool, int], None]
"""Told of a line's new level, and when it last moved before it was steady, in ns of CLOCK_MONOTONIC. On the one thread
for all lines: it must only enqueue."""

EVENT = struct.Struct("=QI36x")
"""A `struct gpio_v2_line_event` of linux/gpio.h: time, and RISING or not."""

RISING = 1

_AT_ONCE = 64


@dataclass
class _Line:
    debounce_ns: int
    level: bool
    moved: Moved
    moving: tuple[bool, int] | None = None
    due_ns: int = 0


class Edges:
    """Hears all lines on one thread. Calls may come from any thread; one that is forgotten may be told of once more."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lines: dict[int, _Line] = {}
        self._poll = select.epoll()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._poll.register(self._wake, select.EPOLLIN)
        self._is_closing = False
        self._thread = threading.Thread(target=self._run, name="edges", daemon=True)
        self._thread.start()

    def listen(self, descriptor: int, level: bool, debounce_ns: int, moved: Moved) -> None:
        """`descriptor`: of a line that was claimed as an input with its edges, and is at this level now."""
        os.set_blocking(descriptor, False)
        with self._lock:
            self._lines[descriptor] = _Line(debounce_ns, level, moved)
            self._poll.register(descriptor, select.EPOLLIN)

    def forget(self, descriptor: int) -> None:
        """Before it is closed. One that nobody listens to: nothing."""
        with self._lock:
            if self._lines.pop(descriptor, None):
                self._drop(descriptor)

    def close(self) -> None:
        """Hear nothing more. May be called twice."""
        if self._is_closing:
            return
        self._is_closing = True
        os.eventfd_write(self._wake, 1)
        self._thread.join()
        self._poll.close()
        os.close(self._wake)

    def _run(self) -> None:
        while not self._is_closing:
            ready = self._poll.poll(self._rest_s())
            with self._lock:
                told = [edge for descriptor, _ in ready for edge in self._read(descriptor)]
                told += self._settled()
            for at, level, moved in sorted(told, key=lambda edge: edge[0]):
                moved(level, at)

    def _rest_s(self) -> float | None:
        """Until one has been steady for long enough."""
        with self._lock:
            due_ns = min((line.due_ns for line in self._lines.values() if line.moving), default=None)
        return None if due_ns is None else max(due_ns - time.monotonic_ns(), 0) / 1e9

    def _read(self, descriptor: int) -> Iterator[tuple[int, bool, Moved]]:
        line = self._lines.get(descriptor)
        if line is None:  # forgotten meanwhile, or the end
            return
        try:
            data = os.read(descriptor, _AT_ONCE * EVENT.size)
        except BlockingIOError:
            return
        except OSError:  # the chip is gone: it would be ready for ever
            data = b""
        if not data:
            self._drop(descriptor)
        for at, kind in EVENT.iter_unpack(data):
            level = kind == RISING
            if not line.debounce_ns:
                yield at, level, line.moved
            else:  # by our own clock, whichever that of the event is
                line.moving, line.due_ns = (level, at), time.monotonic_ns() + line.debounce_ns

    def _settled(self) -> Iterator[tuple[int, bool, Moved]]:
        now = time.monotonic_ns()
        for line in self._lines.values():
            if line.moving and line.due_ns <= now:
                (level, at), line.moving = line.moving, None
                if level != line.level:
                    line.level = level
                    yield at, level, line.moved

    def _drop(self, descriptor: int) -> None:
        with contextlib.suppress(OSError):  # it may have been dropped before
            self._poll.unregister(descriptor)
