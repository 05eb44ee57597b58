"""One thread that has every client no pool thread is answering: it waits for requests, and sends what is slow to send.

A pool thread takes a connection with a whole request in it and gives it back as soon as the answer is made.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import socket
import ssl
import threading
from collections import deque
from collections.abc import Callable
from select import EPOLLIN, EPOLLONESHOT
from typing import Any

from piapi.clock import Clock, SystemClock
from piapi.server.connection import After, Bounds, Connection, Refusal, State
from piapi.server.receiving import REQUEST, Receiving
from piapi.server.streaming import Streaming

log = logging.getLogger("gunicorn.error")

_RECEIVE_SIZE = 65536


class Poller:
    """Owns the sockets. `dispatch` is called with a connection that has a whole request, to answer it elsewhere."""

    def __init__(
        self,
        dispatch: Callable[[Connection], None],
        refusal: Refusal,
        bounds: Bounds,
        *,
        tls: ssl.SSLContext | None = None,
        clock: Clock | None = None,
        on_close: Callable[[], None] = lambda: None,
    ) -> None:
        self.bounds = bounds
        self.connections: dict[int, Connection] = {}
        self.draining = False
        self.ticked_at = 0.0
        self.dispatch = dispatch
        self._first_state = State.READING if tls is None else State.SHAKING
        self.now = (clock or SystemClock()).monotonic
        self._on_close = on_close
        self._epoll = select.epoll()
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._bell_lock = threading.Lock()
        self._rung = False  # the bell was rung and not answered yet
        self._stopped = False
        self._calls: deque[Callable[[], None]] = deque()
        self._receiving = Receiving(self, refusal, tls)
        self._streaming = Streaming(self)
        self._handlers: dict[State, Callable[[Connection, int], None]] = {
            State.SHAKING: self._receiving.on_shaking,
            State.READING: self._receiving.on_request,
            State.IDLE: self._receiving.on_request,
            State.SENDING: self._on_sending,
            State.STREAMING: self._streaming.on_event,
            State.LINGERING: self._on_lingering,
            State.SERVED: lambda connection, mask: None,
            State.CLOSED: lambda connection, mask: None,
        }
        self._epoll.register(self._bell, EPOLLIN)
        self._thread = threading.Thread(target=self._run, name="poller", daemon=True)

    # Any thread

    def start(self) -> None:
        """Start the thread."""
        self.ticked_at = self.now()
        self._thread.start()

    def stop(self) -> None:
        """End the thread and every stream, and close what no pool thread has. May be called twice."""
        with self._bell_lock:
            if self._stopped:
                return
            self._stopped = True
            os.eventfd_write(self._bell, 1)
        if self._thread.ident:
            self._thread.join()
        for connection in list(self.connections.values()):
            if connection.state is State.SERVED:
                self._hang_up(connection)
            else:
                self.close(connection)

    def release(self) -> None:
        """Close the rest. Call it after `stop`, when the pool threads have ended, or will be left behind."""
        for connection in list(self.connections.values()):
            self.close(connection)
        self._epoll.close()
        os.close(self._bell)

    @property
    def is_running(self) -> bool:
        """Whether the thread is there. It ends by itself only through an error in it."""
        return self._thread.is_alive()

    def add(self, sock: socket.socket, client: Any, server: Any) -> None:
        """Take over an accepted socket."""
        sock.setblocking(False)
        is_local = sock.family == socket.AF_UNIX
        if not is_local:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        deadline = self.now() + self.bounds.request_s
        connection = Connection(sock, client, server, self.bounds.request, deadline)
        connection.state = State.READING if is_local else self._first_state  # TLS is for the network
        self.connections[connection.descriptor] = connection
        self._epoll.register(connection.descriptor, REQUEST)

    def drain(self) -> None:
        """Close what is idle, end the streams, let the rest finish. Returns at once."""
        self.call(self._drain)

    def make_room(self) -> None:
        """Close the connection that has been idle longest; where none is, the one longest at sending its request. None
        that has just begun, or of which something waits to be read: with all others served, it would be the newest."""
        self.call(self._close_oldest_idle)

    def call(self, function: Callable[[], None]) -> None:
        """Have the poller's thread call `function` soon."""
        self._calls.append(function)
        self.ring()

    def call_for(self, connection: Connection, action: Callable[[Connection], None]) -> None:
        """As `call`, for one connection, which is closed if it fails."""
        self.call(lambda: self.guard(connection, action))

    def ring(self) -> None:
        """Wake the poller's thread. Cheap when it was woken already; harmless when it has ended."""
        if not self._rung:
            self._rung = True
            with self._bell_lock:
                if not self._stopped:
                    os.eventfd_write(self._bell, 1)

    # Whoever has the connection

    def send(self, connection: Connection) -> bool:
        """Send what goes at once; the poller does the rest. False: the connection is no longer the caller's."""
        out = connection.out
        try:
            sent = connection.transport.send(out)
        except OSError as error:
            log.debug("The client of an answer is gone: %s", error)
            self.close(connection, drop_unsent=True)
            return False
        if not out.parts:
            return True
        if sent or connection.state is not State.SENDING:
            connection.expect_progress(self.now() + self.bounds.stall_s)
        connection.state = State.SENDING
        self.watch(connection, connection.transport.send_interest | EPOLLONESHOT)
        return False

    def after_sending(self, connection: Connection) -> None:
        """All of an answer is sent: go on as `connection.after` says. It is no longer the caller's."""
        self.guard(connection, self._go_on)

    def _go_on(self, connection: Connection) -> None:
        after = connection.after
        if after is After.KEEP:
            self.await_request(connection)
        elif after is After.CLOSE:
            self.linger(connection)
        elif after is After.RESUME:
            connection.state = State.SERVED
            self.dispatch(connection)
        else:
            self.call_for(connection, self._streaming.begin)

    def await_request(self, connection: Connection) -> None:
        """Wait for the next request, of which a part, or all, may be here already."""
        if connection.incoming.buffer or connection.transport.has_buffered():
            connection.state = State.SERVED
            self.call_for(connection, self._receiving.begin)
        elif self.draining:
            self.linger(connection)
        else:
            connection.deadline = self.now() + self.bounds.keepalive_s
            connection.state = State.IDLE
            self.watch(connection, REQUEST)

    def linger(self, connection: Connection) -> None:
        """Close this side. What the client still sends is read for a while: a reset would destroy the answer."""
        connection.transport.finish()
        connection.deadline = self.now() + self.bounds.linger_s
        connection.discarded = 0
        connection.state = State.LINGERING
        self.watch(connection, EPOLLIN)

    def guard(self, connection: Connection, action: Callable[..., None], *arguments: object) -> None:
        """Do something with a connection; whatever is wrong ends it alone, and a client that left is no news."""
        try:
            action(connection, *arguments)
        except OSError as error:
            log.debug("A connection is gone: %s", error)
            self.close(connection)
        except Exception:  # noqa: BLE001 - one connection's trouble must not reach the others
            log.exception("Error on a connection")
            self.close(connection)

    def watch(self, connection: Connection, interest: int) -> None:
        """Have epoll watch for `interest` on a connection."""
        try:
            self._epoll.modify(connection.descriptor, interest)
        except (OSError, ValueError):
            if not self._stopped:  # a pool thread may come back too late
                raise

    def close(self, connection: Connection, *, drop_unsent: bool = False) -> None:
        """Close now, with all that hangs on it."""
        if connection.state is State.CLOSED:
            return
        connection.state = State.CLOSED
        self._receiving.release(connection)
        if self.connections.get(connection.descriptor) is connection:
            del self.connections[connection.descriptor]
        connection.transport.close(drop_unsent=drop_unsent)
        for what, release in (
            ("stream", lambda: self._streaming.end(connection)),
            ("answer", connection.exchange.abandon if connection.exchange else None),
            ("body", connection.out.clear),
        ):
            try:
                if release is not None:
                    release()
            except Exception:  # noqa: BLE001 - foreign code; whatever it raises, the rest has to be closed too
                log.exception("Closing the %s of a connection failed", what)
        self._on_close()

    # The poller's thread

    def _run(self) -> None:
        tick_at = 0.0
        while not self._stopped:
            for descriptor, mask in self._epoll.poll(self._streaming.timeout(self.now())):
                connection = self.connections.get(descriptor)
                if connection is not None:
                    self.guard(connection, self._handlers[connection.state], mask)
                elif descriptor == self._bell:
                    self._answer_bell()
            now = self.now()
            self._streaming.feed(now)
            if now >= tick_at:
                tick_at = now + self.bounds.tick_s
                self.ticked_at = now
                self._tick(now)

    def _answer_bell(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._bell)
        self._rung = False
        for _ in range(len(self._calls)):
            try:
                self._calls.popleft()()
            except Exception:  # noqa: BLE001 - the thread that serves everybody must not end for one of them
                log.exception("A call into the poller failed")

    def _on_sending(self, connection: Connection, mask: int) -> None:
        if self.send(connection):
            self.after_sending(connection)

    def _on_lingering(self, connection: Connection, mask: int) -> None:
        data = connection.transport.receive(_RECEIVE_SIZE)
        if data is None:
            return
        connection.discarded += len(data)
        if not data or connection.discarded > self.bounds.linger_bytes:
            self.close(connection)

    def _tick(self, now: float) -> None:
        for connection in list(self.connections.values()):
            state = connection.state
            if state is State.STREAMING:
                self.guard(connection, self._streaming.check, now)
            elif state is State.IDLE and (self.draining or now >= connection.deadline):
                self._hang_up(connection)
            elif state is not State.SERVED and now >= connection.deadline:
                self.guard(connection, self._expire)

    def _expire(self, connection: Connection) -> None:
        if connection.state is State.READING and connection.incoming.buffer:
            self._receiving.refuse(connection, 408, f"The request was not complete after {self.bounds.request_s:g} s.")
        elif connection.state is State.SENDING and connection.has_progressed():
            connection.expect_progress(self.now() + self.bounds.stall_s)
        else:
            self.close(connection, drop_unsent=True)

    def _hang_up(self, connection: Connection) -> None:
        # A pool thread may be about to arm it still. Shut down, it comes up in epoll as soon as it is armed, as ended.
        with contextlib.suppress(OSError):
            connection.transport.socket.shutdown(socket.SHUT_RDWR)

    def _close_oldest_idle(self) -> None:
        just_begun = self.now() + self.bounds.request_s - self.bounds.arrival_s  # its deadline is after this
        for state in (State.IDLE, State.READING):
            waiting = [connection for connection in list(self.connections.values()) if connection.state is state]
            for connection in sorted(waiting, key=lambda connection: connection.deadline):
                if state is State.READING and connection.deadline > just_begun:
                    break
                if not connection.transport.unread():
                    self._hang_up(connection)
                    return

    def _drain(self) -> None:
        self.draining = True
        for connection in list(self.connections.values()):
            if connection.state is State.STREAMING:
                self.guard(connection, self._streaming.finish)
            elif connection.state is State.IDLE:
                self._hang_up(connection)
            elif connection.state in (State.READING, State.SHAKING) and not connection.incoming.buffer:
                self.close(connection)
