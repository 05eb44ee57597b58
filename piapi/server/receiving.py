"""The poller's part that waits for requests: TLS handshakes, and bytes until a request is whole."""

from __future__ import annotations

import logging
import ssl
from select import EPOLLIN, EPOLLONESHOT, EPOLLRDHUP
from typing import TYPE_CHECKING

from piapi.server.connection import After, Connection, Refusal, State
from piapi.server.framing import Extent
from piapi.server.outgoing import TlsTransport

if TYPE_CHECKING:
    from piapi.server.poller import Poller

log = logging.getLogger("gunicorn.error")

_RECEIVE_SIZE = 65536
_TOO_MANY = "Too many requests are being received. Try again in a moment."

#: What epoll watches for while a request is awaited; whoever gets the event has the connection.
REQUEST = EPOLLIN | EPOLLRDHUP | EPOLLONESHOT


class Receiving:
    """Works on the poller's thread alone."""

    def __init__(self, poller: Poller, refusal: Refusal, tls: ssl.SSLContext | None) -> None:
        self._poller = poller
        self._bounds = poller.bounds
        self._refusal = refusal
        self._tls = tls
        self._buffered = 0

    def on_shaking(self, connection: Connection, mask: int) -> None:
        """The next step of a TLS handshake; reads the request when it is done."""
        if not isinstance(connection.transport, TlsTransport):
            assert self._tls is not None  # noqa: S101 - the state is only entered with TLS
            connection.transport = TlsTransport(connection.transport.socket, self._tls)
        interest = connection.transport.shake_hands()
        if interest:
            self._poller.watch(connection, interest | EPOLLRDHUP | EPOLLONESHOT)
        else:
            connection.state = State.READING
            self.on_request(connection, mask)

    def on_request(self, connection: Connection, mask: int) -> None:
        """More of a request has come, or the client has gone."""
        data = connection.transport.receive(_RECEIVE_SIZE)
        if data is None:
            self._poller.watch(connection, REQUEST)
        elif not data and connection.state is State.READING and connection.incoming.buffer:
            self.refuse(connection, 400, "The request ended before it was whole.")
        elif not data:
            self._poller.close(connection)
        else:
            if connection.state is State.IDLE:
                connection.state = State.READING
                connection.deadline = 0.0
            connection.incoming.buffer += data
            self.begin(connection)

    def begin(self, connection: Connection) -> None:
        """Something of a request is here, or is inside the TLS layer: hand it over, refuse it, or wait for more."""
        extent = connection.incoming.extent()
        while extent in (Extent.PART, Extent.NOTHING) and connection.transport.has_buffered():
            connection.incoming.buffer += connection.transport.receive(_RECEIVE_SIZE) or b""
            extent = connection.incoming.extent()
        if extent is Extent.WHOLE or extent is Extent.OVERSIZED:
            connection.oversized = extent is Extent.OVERSIZED
            if connection.oversized:
                connection.incoming.drop_body()
            self.release(connection)
            connection.state = State.SERVED
            self._poller.dispatch(connection)
        elif extent is Extent.HEAD_TOO_LARGE:
            self.refuse(connection, 431, f"The header is larger than {self._bounds.request.head} bytes.")
        else:
            self._await_rest(connection)

    def _await_rest(self, connection: Connection) -> None:
        if connection.state is not State.READING or not connection.deadline:
            connection.deadline = self._poller.now() + self._bounds.request_s
            connection.state = State.READING
        if not self._reserve(connection):
            return
        if connection.incoming.continue_due:
            connection.incoming.continue_due = False
            connection.out.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            connection.transport.send(connection.out)
        self._poller.watch(connection, REQUEST)

    def _reserve(self, connection: Connection) -> bool:
        """Count what has come. When all is too much, who holds most is refused; False: it was this connection.

        Not the newcomer: else few clients with large halves would keep out everybody.
        """
        grown = len(connection.incoming.buffer) - connection.reserved
        connection.reserved += grown
        self._buffered += grown
        while self._buffered > self._bounds.buffered_bytes:
            holders = list(self._poller.connections.values())
            largest = max(holders, key=lambda holder: (holder.reserved, -holder.deadline))
            self._poller.guard(largest, self.refuse, 429, _TOO_MANY)
        return connection.state is State.READING

    def release(self, connection: Connection) -> None:
        """Count the bytes of this connection's request no longer: it has been taken, or the connection is closed."""
        if connection.reserved:
            self._buffered -= connection.reserved
            connection.reserved = 0

    def refuse(self, connection: Connection, status: int, detail: str) -> None:
        """Answer a request that never came whole, and close."""
        log.debug("Request of %s refused: %s", connection.client, detail)
        self.release(connection)
        connection.incoming.take()
        connection.out.clear()
        connection.out.sendall(self._refusal(status, detail))
        connection.after = After.CLOSE
        connection.state = State.SERVED
        if self._poller.send(connection):
            self._poller.linger(connection)
