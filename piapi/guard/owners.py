"""Who has leased what."""

from __future__ import annotations

import errno
import os
import select
import signal
import socket
import struct
import time


def now() -> float:
    """Seconds since boot."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def say(what: str) -> None:
    """A line on standard error, if that takes it at once: nothing may hold the guard up."""
    try:
        if select.select((), (2,), (), 0)[1]:
            os.write(2, f"guard: {what}\n".encode())
    except OSError:
        pass


class Owner:
    """A process with a connection, by a handle that never means another process (pidfd_open(2))."""

    __slots__ = ("buffer", "connection", "is_ended", "is_gone", "pid", "pidfd")

    def __init__(self, connection: socket.socket) -> None:
        """Raises OSError when the process is not to be seen, or gone already."""
        self.connection = connection
        self.buffer = b""
        self.is_ended = False
        self.is_gone = False
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        (self.pid,) = struct.unpack_from("=i", credentials)
        self.pidfd = os.pidfd_open(self.pid)
        # Had it ended before that, its number might be another's by now. But then its end of the socket is closed.
        poll = select.poll()
        poll.register(connection, select.POLLRDHUP)
        if poll.poll(0):
            self.close()
            raise OSError(errno.ENOTCONN, "the client is gone")

    def end(self) -> None:
        """End the process, if it still runs. When the kernel has done so, the pidfd is readable."""
        if self.is_ended:
            return
        self.is_ended = True
        try:
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
        except ProcessLookupError:
            pass
        except OSError as error:
            self.is_gone = True  # it cannot be waited for: the line is released as soon as it is free
            say(f"process {self.pid} cannot be ended: {error}")

    def close(self) -> None:
        """Let the handle go. May be called twice."""
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1


class Lease:
    """One line that is on, or about to be."""

    __slots__ = ("due", "inactive", "line", "lost_at", "owner", "retry_at")

    def __init__(self, line: int, inactive: bool, due: float, owner: Owner) -> None:
        self.line = line
        self.inactive = inactive
        self.due = due
        self.owner = owner
        self.lost_at: float | None = None
        """When its owner was lost; None while it holds the lease."""
        self.retry_at = 0.0
