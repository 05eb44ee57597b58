"""Edges of lines, told as the kernel tells of them: until one comes, nothing runs.

lgpio's own thread looks for them 2,000 times a second as long as there is an input, which keeps a Pi from its rest.
"""

from __future__ import annotations

import contextlib
import logging
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

_AT_ONCE = 256
"""As many as the kernel keeps (`piapi.lines.chip`)."""

_BATCH_S = 0.002
"""Between two looks at a line that bounces, or is wired to noise: one look at all that came, and not one at each."""

log = logging.getLogger(__name__)

_Edge = tuple[int, bool, Moved]


@dataclass
class _Line:
    debounce_ns: int
    level: bool
    """That was told last."""
    moved: Moved
    moving: tuple[int, bool] | None = None
    """The last edge, as long as the line has not been steady after it."""
    before: bool = False
    """The level from which it went when it began to move."""
    due_ns: int = 0

    def take(self, at: int, level: bool) -> Iterator[_Edge]:
        """An edge. Between two of them the line may have been steady long enough, however late both are read."""
        if not self.debounce_ns:
            yield at, level, self.moved
            return
        if self.moving and at - self.moving[0] >= self.debounce_ns:
            yield from self.settle()
        if self.moving is None:
            self.before = not level
        self.moving, self.due_ns = (at, level), time.monotonic_ns() + self.debounce_ns  # whichever the clock of `at`

    def settle(self) -> Iterator[_Edge]:
        """It has been steady. Told unless it is back where it was: by what was told, and by where it came from, as an
        edge may have been lost."""
        if self.moving:
            (at, level), self.moving = self.moving, None
            if level != self.level or level != self.before:
                self.level = level
                yield at, level, self.moved


class Edges:
    """Hears all lines on one thread. Calls may come from any thread; one that is forgotten may be told of once more."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lines: dict[int, _Line] = {}
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="edges", daemon=True)
        with contextlib.ExitStack() as opened:
            self._poll = opened.enter_context(select.epoll())
            self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            opened.callback(os.close, self._wake)
            self._poll.register(self._wake, select.EPOLLIN)
            self._thread.start()
            self._opened = opened.pop_all()

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
        if self._closing.is_set():
            return
        self._closing.set()
        os.eventfd_write(self._wake, 1)
        self._thread.join()
        self._opened.close()

    def _run(self) -> None:
        while not self._closing.is_set():
            ready = self._poll.poll(self._rest_s())
            with self._lock:
                told = [edge for descriptor, _ in ready for edge in self._read(descriptor)]
                told += self._settled()
                is_moving = any(line.moving for line in self._lines.values())
            for at, level, moved in sorted(told, key=lambda edge: edge[0]):
                try:
                    moved(level, at)
                except Exception:  # noqa: BLE001 — this is the one thread that tells of all lines
                    log.exception("fault in telling of an edge")
            if ready and is_moving:
                self._closing.wait(_BATCH_S)

    def _rest_s(self) -> float | None:
        """Until one has been steady for long enough."""
        with self._lock:
            due_ns = min((line.due_ns for line in self._lines.values() if line.moving), default=None)
        return None if due_ns is None else max(due_ns - time.monotonic_ns(), 0) / 1e9

    def _read(self, descriptor: int) -> Iterator[_Edge]:
        line = self._lines.get(descriptor)
        if line is None:  # forgotten meanwhile, or the end
            return
        try:
            data = os.read(descriptor, _AT_ONCE * EVENT.size)
        except BlockingIOError:
            return
        except OSError as error:
            log.warning("no more edges of a line: %s", error)
            data = b""
        if not data:  # the chip is gone: it would be ready for ever
            self._drop(descriptor)
        for at, kind in EVENT.iter_unpack(data):
            yield from line.take(at, kind == RISING)

    def _settled(self) -> Iterator[_Edge]:
        now = time.monotonic_ns()
        for line in self._lines.values():
            if line.due_ns <= now:
                yield from line.settle()

    def _drop(self, descriptor: int) -> None:
        with contextlib.suppress(OSError):  # it may have been dropped before
            self._poll.unregister(descriptor)
