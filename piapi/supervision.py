"""What a supervisor (systemd) is told: that requests are answered, still are, and that the end has begun.

The protocol is a datagram of lines to the socket in NOTIFY_SOCKET (sd_notify(3), sd_watchdog_enabled(3)). gunicorn says
READY=1 by itself as soon as its master listens, before anything can be answered; so the master takes the variables away
(`take_notifier`), and a thread of the worker speaks, after a request of its own has gone all the way.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from dataclasses import dataclass

from piapi.clock import Clock, SystemClock

log = logging.getLogger(__name__)

Check = Callable[[], None]
"""Returns when one thing is served in time; raises an exception whose words say what is not."""

ANSWER_WITHIN_S = 10.0
"""A request of its own that takes longer counts as not answered. Behind a full set of slow clients it takes some."""

RETRY_S = 1.0
"""Seconds from a check that failed to the next: there are many tries before the watchdog bites."""

BEAT_S = 1.0
"""Seconds between two signs of life of a worker that starts."""

_HEALTH = b"GET /api/v1/health/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Notifier:
    """The way to the supervisor, if there is one."""

    address: str | None = None
    watchdog_s: float | None = None
    """Silence for so many seconds is death; None when nobody counts them."""

    def tell(self, *lines: str) -> bool:
        """Send lines such as `READY=1` in one datagram; whether they went. From any thread, and signal handlers."""
        if self.address is None:
            return False
        address = "\0" + self.address[1:] if self.address.startswith("@") else self.address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
                channel.settimeout(1.0)
                channel.sendto("\n".join(lines).encode(), address)
        except OSError:
            return False
        return True


def take_notifier(environ: MutableMapping[str, str] = os.environ) -> Notifier:
    """The way to the supervisor, taken out of the environment: gunicorn and child processes do not find it there."""
    address = environ.pop("NOTIFY_SOCKET", None)
    microseconds = environ.pop("WATCHDOG_USEC", "")
    is_for_us = environ.pop("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    counts = microseconds.isascii() and microseconds.isdigit() and int(microseconds) > 0 and is_for_us
    return Notifier(address, int(microseconds) / 1e6 if counts else None)


def answers(address: tuple[str, int], within_s: float = ANSWER_WITHIN_S) -> Check:
    """A check by a real request to where the service listens: through accept, poller, pool and application."""
    host, port = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address[0], address[0]), address[1]  # noqa: S104

    def check() -> None:
        with socket.create_connection((host, port), timeout=within_s) as connection:
            connection.sendall(_HEALTH)
            with connection.makefile("rb") as answer:
                status = answer.readline(1000).split(b" ")
        if status[1:2] != [b"200"]:
            raise OSError(f"GET /api/v1/health/ready is answered by {b' '.join(status).decode('latin-1').strip()!r}")

    return check


class Supervision:
    """A thread that says READY=1 once every check has passed, and WATCHDOG=1 each time they pass again."""

    def __init__(self, notifier: Notifier, checks: Sequence[Check], status: str, clock: Clock | None = None) -> None:
        self._notifier = notifier
        self._checks = checks
        self._status = status
        self._clock = clock or SystemClock()
        self._stopping = threading.Condition()
        self._is_stopping = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread, where there is somebody to tell."""
        if self._notifier.address is not None:
            self._thread = threading.Thread(target=self._run, name="supervision", daemon=True)
            self._thread.start()

    def interrupt(self) -> None:
        """Say nothing more: from here on requests may go unanswered. Waits for nothing."""
        with self._stopping:
            self._is_stopping = True
            self._stopping.notify_all()

    def close(self) -> None:
        """End the thread, and a check under way with it. May be called twice."""
        self.interrupt()
        if self._thread is not None:
            self._thread.join(ANSWER_WITHIN_S)
            self._thread = None

    def _run(self) -> None:
        interval_s = self._notifier.watchdog_s / 3 if self._notifier.watchdog_s else None
        is_ready, said = False, ""
        while not self._is_stopping:
            fault = self._first_fault()
            with self._stopping:
                if self._is_stopping:
                    return
                if fault and fault != said:
                    log.warning("not served: %s", fault)
                    self._notifier.tell(f"STATUS=Not served: {fault}")
                said = fault
                signs = ("WATCHDOG=1",) if is_ready else ("READY=1", "WATCHDOG=1")
                told = not fault and self._notifier.tell(*signs, f"STATUS={self._status}")
                is_ready = is_ready or told
                if told and interval_s is None:
                    return
                self._clock.wait(self._stopping, interval_s if told else RETRY_S)

    def _first_fault(self) -> str:
        for check in self._checks:
            try:
                check()
            except Exception as error:  # noqa: BLE001 - whatever a check meets, it is what the watchdog is for
                return " ".join(str(error).split()) or type(error).__name__
        return ""


@contextlib.contextmanager
def beating(beat: Callable[[], None], clock: Clock | None = None) -> Iterator[None]:
    """Call `beat` now and then from a thread while the block runs.

    A start that mends a large folder takes longer than gunicorn lets a worker be silent; how long it may take is the
    supervisor's business (TimeoutStartSec=).
    """
    clock, ended, is_over = clock or SystemClock(), threading.Condition(), False

    def run() -> None:
        with ended:
            while not is_over:
                beat()
                clock.wait(ended, BEAT_S)

    thread = threading.Thread(target=run, name="start", daemon=True)
    thread.start()
    try:
        yield
    finally:
        with ended:
            is_over = True
            ended.notify_all()
        thread.join()
