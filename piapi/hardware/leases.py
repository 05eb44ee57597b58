"""The client of the guard: who leases an output before it is switched on. See `piapi.guard` for what the guard does."""

from __future__ import annotations

import contextlib
import json
import logging
import select
import socket
import subprocess
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from piapi.errors import GuardUnavailable
from piapi.lines.descriptors import with_last_number

log = logging.getLogger(__name__)

OnLost = Callable[[frozenset[int]], None]
"""Told of the lines that were leased when the guard went: switch them off at once. On a thread of `Leases`."""

_ANSWER_S = 1.0
"""The guard answers within a millisecond. One that has not in this time hangs, and is as good as none."""

_START_S = 5.0
_RETRY_S = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
_LOST = b""


def start_command(python: str, path: Path, *lines: str) -> list[str]:
    """How to start a guard: `lines` are its `--chip auto` or `--simulated FILE`."""
    return [python, "-P", "-m", "piapi.guard", "--socket", str(path), *lines, "--background"]


class _Connection:
    """One connection to a guard. Its end is noticed at once, by whoever runs `watch`."""

    def __init__(self, path: Path, hello: bytes) -> None:
        """Back when the guard has answered. Raises OSError, and GuardUnavailable when it has other lines."""
        self.asked_for: set[int] = set()
        """Every line that was ever asked for: the guard may have it leased, whatever was answered."""
        self._received = b""
        self._is_lost = False
        self._socket = with_last_number(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        try:
            self._socket.settimeout(_ANSWER_S)
            self._socket.connect(str(path))
            self._socket.sendall(hello)
            answer = self._socket.recv(4096)
            if not answer:
                raise ConnectionRefusedError("the guard is ending")
            if refusal := json.loads(answer).get("error"):
                raise GuardUnavailable(str(refusal))
        except ValueError:
            self._socket.close()
            raise GuardUnavailable("what answers there is no guard") from None
        except (OSError, GuardUnavailable):
            self._socket.close()
            raise

    def watch(self) -> None:
        """Back when the connection has ended. Who asks reads the answers: none has to pass through a second thread."""
        ending = select.poll()
        ending.register(self._socket, select.POLLRDHUP)
        ending.poll()
        self._is_lost = True

    def ask(self, **message: object) -> None:
        """Send a message and wait for its answer. One at a time. Raises GuardUnavailable."""
        try:
            answer = _LOST
            if not self._is_lost:  # after one answer that did not come, the next might be taken for another's
                self._socket.sendall(_message(**message))
                answer = self._answer()
        except OSError:
            self.give_up()
        if answer == _LOST:
            raise GuardUnavailable("The guard does not answer, so nothing may be switched on.")
        if refusal := json.loads(answer).get("error"):
            raise GuardUnavailable(f"The guard takes no lease: {refusal}.")

    def _answer(self) -> bytes:
        """The next one; empty when the guard has gone. Raises OSError: TimeoutError when it says nothing."""
        while b"\n" not in self._received:
            if not (received := self._socket.recv(4096)):
                return _LOST
            self._received += received
        answer, _, self._received = self._received.partition(b"\n")
        return answer

    def give_up(self) -> None:
        """Let `watch` come back."""
        self._is_lost = True
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RD)

    def leave(self) -> None:
        """Tell a guard that may hang, and will hear it later, that all lines are off; then close."""
        with contextlib.suppress(OSError):
            self._socket.setblocking(False)
            for line in self.asked_for:
                self._socket.send(_message(do="end", line=line))
            self._socket.send(_message(do="bye"))
        self.close()

    def close(self) -> None:
        """Without a word: the guard releases what is leased, and ends this process where there is something."""
        self._socket.close()


def _message(**parts: object) -> bytes:
    return json.dumps(parts).encode() + b"\n"


class Leases:
    """Leases of this process, by one connection that is made again when it is lost. Calls may come from any thread.

    To be opened by the process that drives the lines, not by one that forks it: the guard ends whoever has connected.
    """

    def __init__(
        self,
        path: Path,
        start: Sequence[str] | None = None,
        on_lost: OnLost = lambda lines: None,
        *,
        lines: str = "",
        remedy: str = "",
    ) -> None:
        """`path` is the guard's socket; `start` a command that is back when a guard is there (None: it is started by
        others); `on_lost` is told when the guard has gone while lines were leased. `lines` are those that the guard has
        to have, such as `chip auto`, if that matters. `remedy`: what to do when there is none."""
        self._path = path
        # The first message. There is no lease yet, so the second of them only asks for an answer.
        self._hello = _message(do="hello", lines=lines) if lines else _message(do="end", line=0)
        self._remedy = remedy
        self._start = start
        self._on_lost = on_lost
        self._asking = threading.Lock()
        self._state = threading.Condition()
        self._connection: _Connection | None = None
        self._leased: set[int] = set()
        self._is_open = False
        self._fault: str | None = None
        self._thread: threading.Thread | None = None

    def open(self) -> None:
        """Connect, and start a guard where none answers. Raises GuardUnavailable; it is tried again all the same."""
        with self._state:
            if not self._is_open:
                self._is_open, self._fault = True, None
                self._thread = threading.Thread(target=self._run, name="guard leases", daemon=True)
                self._thread.start()
            self._state.wait_for(lambda: self._connection or self._fault, 2 * _START_S)
            if self._connection is None:
                raise GuardUnavailable(self._fault or "The guard does not answer.")

    def lease(self, line: int, inactive: bool, for_s: float) -> None:
        """Lease a line, or renew it; never takes longer than a second."""
        with self._asking:
            with self._state:
                connection = self._connection
            if connection is None:
                raise GuardUnavailable(self._fault or "There is no guard, so nothing may be switched on.")
            connection.asked_for.add(line)
            connection.ask(do="lease", line=line, inactive=inactive, for_s=for_s)
            with self._state:
                if self._connection is not connection:
                    raise GuardUnavailable("The guard has just gone, so nothing may be switched on.")
                self._leased.add(line)

    def end(self, line: int) -> None:
        """End the lease of a line."""
        with self._asking:
            with self._state:
                connection = self._connection
                if connection is None or line not in self._leased:
                    return
                self._leased.discard(line)
            try:
                connection.ask(do="end", line=line)
            except GuardUnavailable as error:
                log.warning("GPIO%d is off, and the guard is not told: %s", line, error)

    def close(self) -> None:
        """End all leases and say goodbye."""
        with self._state:
            leased = list(self._leased)
        for line in leased:
            self.end(line)
        with self._asking:
            with self._state:
                self._is_open = False
                connection, thread, self._thread = self._connection, self._thread, None
                self._state.notify_all()
            if connection is not None:
                with contextlib.suppress(GuardUnavailable):
                    connection.ask(do="bye")
                connection.give_up()
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _run(self) -> None:
        tries = 0
        while self._is_open:
            try:
                connection = self._connect()
            except (OSError, GuardUnavailable) as error:
                self._wait(f"No guard can be reached, so nothing may be switched on: {error}.{self._remedy}", tries)
                tries += 1
                continue
            tries = 0
            with self._state:
                if self._fault is not None:
                    log.warning("The guard answers: what was refused can be switched on.")
                self._connection, self._fault = connection, None
                self._state.notify_all()
            connection.watch()
            self._lose(connection)

    def _connect(self) -> _Connection:
        with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
            return _Connection(self._path, self._hello)
        if self._start is None:
            raise GuardUnavailable(f"nobody answers at {self._path}")
        try:
            # Its words go to this process's standard error, and it stays in the session, out of reach of a Ctrl-C.
            subprocess.run(  # noqa: S603
                self._start,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                timeout=_START_S,
                check=True,
                process_group=0,
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise GuardUnavailable(f"it cannot be started: {error}") from None
        return _Connection(self._path, self._hello)

    def _wait(self, fault: str, tries: int) -> None:
        with self._state:
            # One that is just ending leaves its socket behind for a moment; that is no fault yet.
            if tries >= 2:
                if self._fault is None:
                    log.error(fault)
                self._fault = fault
                self._state.notify_all()
            self._state.wait_for(lambda: not self._is_open, _RETRY_S[min(tries, len(_RETRY_S) - 1)])

    def _lose(self, connection: _Connection) -> None:
        with self._state:
            lines = frozenset(self._leased)
            self._leased.clear()
            self._connection = None
        if lines:
            log.error("the guard has gone; switched off: %s", ", ".join(f"GPIO{line}" for line in sorted(lines)))
            try:
                self._on_lost(lines)
            except Exception:  # noqa: BLE001 — whatever it was, the lines may be on
                log.exception("fault while switching off what the guard has left")
                connection.close()
                return
        connection.leave()
