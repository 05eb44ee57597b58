"""The poller's part that feeds streams: to each client that can take it the next part, or the newest."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import logging
import socket
from collections import deque
from collections.abc import Callable, Sequence
from select import EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP
from typing import TYPE_CHECKING, cast

from piapi.server.bodies import FileSpan, Later, Part, Stream, StreamEnded
from piapi.server.connection import After, Connection, State
from piapi.server.outgoing import FilePart, Outgoing
from piapi.server.shared import KEEP_S, SharedParts

if TYPE_CHECKING:
    from piapi.server.poller import Poller

log = logging.getLogger("gunicorn.error")

_WATCH = EPOLLIN | EPOLLRDHUP
_NOTHING: Part | Later | None = ()
_GONE = EPOLLRDHUP | EPOLLHUP | EPOLLERR


class Streaming:
    """Works on the poller's thread alone; only the `wake` that it gives to a stream is called by others."""

    #: Seconds until a client that had too much under way is looked at again, if its stream does not call before.
    retry_s = 0.02

    def __init__(self, poller: Poller) -> None:
        self._poller = poller
        self._woken: deque[Connection] = deque()
        self.postponed: set[Connection] = set()
        self._later: list[tuple[float, int, Connection]] = []
        self._awaited: set[Connection] = set()
        self._order = itertools.count()
        self._shared = SharedParts()
        self._tidy_at = 0.0

    def begin(self, connection: Connection) -> None:
        """The header is sent: from now on the connection belongs to its stream."""
        connection.state = State.STREAMING
        connection.interest = _WATCH
        now = self._poller.now()
        connection.deadline = now + self._poller.bounds.stall_s
        connection.check_at = now + self._poller.bounds.check_every_s
        connection.incoming.take()
        connection.discarded = 0
        if self._poller.draining:
            self.finish(connection)
            if connection.stream is None:
                return
        stall_ms = int(self._poller.bounds.stall_s * 1000)
        with contextlib.suppress(OSError):  # not on a Unix socket
            # A client that vanished acknowledges nothing: the kernel then gives up as soon as we would.
            connection.transport.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, stall_ms)
        self._poller.watch(connection, _WATCH)
        assert connection.stream is not None  # noqa: S101 - After.STREAM is set together with it
        self._guard(connection, self._attach, now)
        self._wake(connection)

    def _attach(self, connection: Connection, stream: Stream, now: float) -> None:
        stream.attach(self._wake_for(connection))

    def _wake_for(self, connection: Connection) -> Callable[[], None]:
        return lambda: self._wake(connection)

    def _wake(self, connection: Connection) -> None:
        # Cleared before the stream is asked: what is there before this call is seen, whichever comes first.
        if not connection.woken:
            connection.woken = True
            self._woken.append(connection)
            self._poller.ring()

    def timeout(self, now: float) -> float:
        """Seconds until a stream is to be asked that will not call."""
        timeout = self.retry_s if self.postponed else self._poller.bounds.tick_s
        return max(min(timeout, self._later[0][0] - now), 0.0) if self._later else timeout

    def feed(self, now: float) -> None:
        """Ask the streams that called, those whose time has come, and those whose client was busy."""
        while self._later and self._later[0][0] <= now:
            connection = heapq.heappop(self._later)[2]
            self._awaited.discard(connection)
            self._wake(connection)
        if self.postponed:
            waiting, self.postponed = self.postponed, set()
            for connection in waiting:
                if not connection.woken:
                    self._pump(connection, now)
        for _ in range(len(self._woken)):
            connection = self._woken.popleft()
            connection.woken = False
            self._pump(connection, now)
        if now >= self._tidy_at:
            self._tidy_at = now + KEEP_S
            self._shared.forget_old(now)

    def _pump(self, connection: Connection, now: float) -> None:
        if connection.state is State.STREAMING and connection.stream is not None:
            self._guard(connection, self._ask, now)

    def _guard(self, connection: Connection, action: Callable[[Connection, Stream, float], None], now: float) -> None:
        """Do something with a stream; whatever is wrong with it or its client ends this connection alone."""
        stream = connection.stream
        if stream is None:
            return
        try:
            action(connection, stream, now)
        except StreamEnded:
            connection.after = After.CLOSE
            self._end_quietly(connection)
            if not connection.out.parts:
                self._poller.linger(connection)
        except OSError as error:
            log.debug("The client of a stream is gone: %s", error)
            self._poller.close(connection)
        except Exception:  # noqa: BLE001 - foreign code
            log.exception("A stream failed and is cut off")
            self._poller.close(connection, drop_unsent=True)

    def _ask(self, connection: Connection, stream: Stream, now: float) -> None:
        bounds, out = self._poller.bounds, connection.out
        if stream.skips:
            if out.parts:
                return  # asked again when it is sent
            unsent = connection.transport.unsent()
            if unsent > bounds.skip_above_bytes:
                self._postpone(connection, unsent, now)
                return
            part = stream.next(now)
            if part is None or self._is_for_later(part, connection):
                return
            frame = cast("Sequence[bytes]", part)  # one that skips gives buffers alone
            shared = self._shared.find(connection, frame, now) if connection.transport.sends_files else None
            if shared is None:
                out.extend(frame)
            else:
                connection.held = -1
                shared[0].send(shared[1], connection.transport, out)
            self._send(connection, now)
        else:
            self._pull(connection, stream, now)

    def _pull(self, connection: Connection, stream: Stream, now: float) -> None:
        """Ask while little waits, and send. What is there beyond that stays where it is until this is sent."""
        out, limit = connection.out, self._poller.bounds.ask_below_bytes
        waiting, part = out.waiting, _NOTHING
        try:
            while part is not None and waiting < limit:
                part = stream.next(now)
                if isinstance(part, Later):
                    self._is_for_later(part, connection)
                    part = None
                if part is not None:
                    waiting += _put(part, out, chunked=connection.chunked)
        except StreamEnded:
            if connection.chunked:
                out.sendall(b"0\r\n\r\n")
            raise
        finally:  # the parts before the end are sent too
            self._send(connection, now)
        if part is not None and not out.parts:
            self._wake(connection)  # the others have their turn first

    def _is_for_later(self, part: Part | Later, connection: Connection) -> bool:
        """Whether there is no part yet. Then it is asked again in time."""
        if not isinstance(part, Later):
            return False
        if connection not in self._awaited:
            self._awaited.add(connection)
            heapq.heappush(self._later, (part.at, next(self._order), connection))
        return True

    def _postpone(self, connection: Connection, unsent: int, now: float) -> None:
        """Too much is under way: skip what there is, and look again soon."""
        if unsent != connection.held:
            connection.held = unsent
            connection.deadline = now + self._poller.bounds.stall_s
        self.postponed.add(connection)

    def _send(self, connection: Connection, now: float) -> None:
        """Send what goes; watch for the moment when the rest does."""
        was_waiting = connection.interest != _WATCH
        if not connection.out.parts:
            return
        sent = connection.transport.send(connection.out)
        if not connection.out.parts:
            connection.held = -1
        elif sent or not was_waiting:
            connection.expect_progress(now + self._poller.bounds.stall_s)
        interest = _WATCH | (connection.transport.send_interest if connection.out.parts else 0)
        if interest != connection.interest:
            self._poller.watch(connection, interest)
            connection.interest = interest
        if was_waiting and not connection.out.parts:
            self._drained(connection)

    def _drained(self, connection: Connection) -> None:
        if connection.stream is None:
            self._poller.linger(connection)
        else:
            self._wake(connection)

    def on_event(self, connection: Connection, mask: int) -> None:
        """The client took something, said something, or has gone."""
        if mask & _GONE:
            self._poller.close(connection)
            return
        if mask & EPOLLIN:
            data = connection.transport.receive(65536)
            connection.discarded += len(data or b"")
            if data == b"" or connection.discarded > self._poller.bounds.chatter_bytes:
                self._poller.close(connection)
                return
        if mask & EPOLLOUT:
            self._send(connection, self._poller.now())

    def check(self, connection: Connection, now: float) -> None:
        """Now and then: may the reader still look, does the client still take anything, is there a sign of life?"""
        if now >= connection.deadline and (connection.out.parts or connection in self.postponed):
            if not connection.has_progressed():
                self._poller.close(connection, drop_unsent=True)
                return
            connection.expect_progress(now + self._poller.bounds.stall_s)
        if now >= connection.check_at:
            connection.check_at = now + self._poller.bounds.check_every_s
            self._guard(connection, self._ask_permission, now)

    def _ask_permission(self, connection: Connection, stream: Stream, now: float) -> None:
        if stream.allowed():
            self._wake(connection)
        else:
            self._poller.close(connection, drop_unsent=True)

    def finish(self, connection: Connection) -> None:
        """The server stops: end the stream, and the connection as its client expects.

        A stream with an end of its own is let finish, as other answers are.
        """
        if connection.stream is not None and connection.stream.ends:
            return
        self._end_quietly(connection)
        if connection.out.parts:
            self._poller.close(connection)
        else:
            self._poller.linger(connection)

    def _end_quietly(self, connection: Connection) -> None:
        try:
            self.end(connection)
        except Exception:  # noqa: BLE001 - foreign code
            log.exception("Closing a stream failed")

    def end(self, connection: Connection) -> None:
        """Close the stream, once."""
        stream, connection.stream = connection.stream, None
        self.postponed.discard(connection)
        self._shared.forget(connection)
        if stream is not None:
            stream.close()


def _put(part: Part, out: Outgoing, *, chunked: bool) -> int:
    """Let a part wait to be sent. Returns its size in bytes."""
    size = sum(item.length if isinstance(item, FileSpan) else len(item) for item in part)
    if chunked and size:  # an empty chunk is the end (RFC 9112, section 7.1)
        out.sendall(b"%x\r\n" % size)
    for item in part:
        if isinstance(item, FileSpan):
            out.add_file(FilePart(item.file.fileno(), item.offset, item.length, item.close))
        else:
            out.sendall(item)
    if chunked and size:
        out.sendall(b"\r\n")
    return size
