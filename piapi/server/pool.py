"""The threads that answer requests. A queue and no futures: nobody waits for a result here."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

log = logging.getLogger("gunicorn.error")


class ThreadPool:
    """`size` threads, and what of an executor's interface gunicorn's ThreadWorker uses."""

    def __init__(self, size: int) -> None:
        self._jobs: SimpleQueue[tuple[Callable[..., None], tuple[Any, ...]] | None] = SimpleQueue()
        # Daemons: one that hangs in a view must not keep a worker alive past its graceful timeout.
        self._threads = [threading.Thread(target=self._work, name=f"request-{n}", daemon=True) for n in range(size)]
        for thread in self._threads:
            thread.start()

    def submit(self, function: Callable[..., None], *arguments: Any) -> None:
        """Have a thread call `function`, in turn."""
        self._jobs.put((function, arguments))

    @property
    def has_waiting(self) -> bool:
        """Whether something waits for a thread."""
        return not self._jobs.empty()

    def shutdown(self, wait: bool = True, timeout: float | None = None) -> None:
        """End the threads after what was submitted before; with `wait`, join them, for `timeout` seconds at most."""
        self._jobs.put(None)
        until = None if timeout is None else time.monotonic() + timeout
        if wait:
            for thread in self._threads:
                thread.join(None if until is None else max(until - time.monotonic(), 0.0))

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            function, arguments = job
            try:
                function(*arguments)
            except Exception:  # noqa: BLE001 - the thread has to live on
                log.exception("Error in a request thread")
            del job, function, arguments  # or they would live until the next one comes
        self._jobs.put(None)
