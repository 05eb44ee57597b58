"""One client's connection, and the bounds that hold for all of them."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

from piapi.console import user_at
from piapi.server.bodies import CHECK_EVERY_S, Stream
from piapi.server.framing import Incoming, RequestBounds
from piapi.server.outgoing import Outgoing, Transport

if TYPE_CHECKING:
    from piapi.server.exchange import Exchange


#: In the WSGI environment: the user at the other end of a local socket, as a number. Not there for one of the network.
USER = "piapi.user"


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one client may take of this server: seconds and bytes."""

    request: RequestBounds = field(default_factory=RequestBounds)
    #: From accept, or a request's first byte, to the whole request; a TLS handshake too.
    request_s: float = 10.0
    #: For so long after that beginning a connection gives way to no other: the rest of its request is on its way.
    arrival_s: float = 1.0
    keepalive_s: float = 5.0
    #: Without a single byte taken by the client while some wait for it.
    stall_s: float = 30.0
    #: How long, and for how many bytes, a closed connection is still read, so that the answer is not lost to a reset.
    linger_s: float = 3.0
    linger_bytes: int = 16 * 1024 * 1024
    #: Unfinished requests, all connections together. Above it, who holds most of them is refused, not who comes.
    buffered_bytes: int = 16 * 1024 * 1024
    #: A skipping stream is asked for a part only while the kernel holds at most so much for its client.
    skip_above_bytes: int = 16 * 1024
    #: A stream that skips nothing is asked for a part while less than so much waits here for its client.
    ask_below_bytes: int = 64 * 1024
    #: What the client of a stream may say meanwhile; it is not read as a request.
    chatter_bytes: int = 64 * 1024
    check_every_s: float = CHECK_EVERY_S
    tick_s: float = 0.5


class State(Enum):
    """Who has a connection, and for what. All but SERVED are the poller's."""

    SHAKING = "TLS handshake"
    READING = "reading a request"
    IDLE = "between two requests"
    SERVED = "a pool thread has it"
    SENDING = "the client has not taken all of the answer"
    STREAMING = "an answer that is asked for part by part"
    LINGERING = "answered and closed on this side; what still comes is thrown away"
    CLOSED = "gone"


class After(Enum):
    """What follows when all of an answer is sent."""

    KEEP = "the next request"
    CLOSE = "the end"
    RESUME = "the rest of this answer, which is not made yet"
    STREAM = "the stream"


class Connection:
    """A client's socket with what came in and what is to go out.

    Either the poller or one pool thread has it, never both; so it needs no lock. A pool thread gives it back by setting
    `state` and `deadline` and then arming it in epoll, and does not touch it afterwards.
    """

    __slots__ = (
        "after",
        "check_at",
        "chunked",
        "client",
        "deadline",
        "descriptor",
        "discarded",
        "exchange",
        "held",
        "incoming",
        "interest",
        "out",
        "oversized",
        "requests",
        "reserved",
        "server",
        "state",
        "stream",
        "transport",
        "trust",
        "user",
        "woken",
    )

    def __init__(self, sock: socket.socket, client: Any, server: Any, bounds: RequestBounds, deadline: float) -> None:
        self.transport = Transport(sock)
        self.user = user_at(sock)
        self.descriptor = sock.fileno()
        self.client = client
        self.server = server
        self.incoming = Incoming(bounds)
        self.out = Outgoing()
        self.state = State.READING
        self.after = After.CLOSE
        self.deadline = deadline
        self.exchange: Exchange | None = None
        self.stream: Stream | None = None
        self.requests = 0
        self.trust: Any = None  # what gunicorn lets this client's proxy headers say
        self.reserved = 0  # bytes of Bounds.buffered_bytes that the unfinished request takes
        self.oversized = False
        self.discarded = 0
        self.held = 0  # bytes the kernel had for the client when `deadline` was set
        self.check_at = 0.0
        self.chunked = False  # how a stream is sent: so that its end is told from its being cut off
        self.interest = 0  # what epoll watches, while streaming
        self.woken = False

    def expect_progress(self, deadline: float) -> None:
        """The client has to take something by `deadline`."""
        self.held = self.transport.unsent()
        self.deadline = deadline

    def has_progressed(self) -> bool:
        """Whether the client has taken something since, though too little for the kernel to ask for more."""
        return self.transport.unsent() < self.held


#: Makes the bytes of a problem answer: status, detail.
Refusal = Callable[[int, str], bytes]
