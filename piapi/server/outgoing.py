"""What waits to be sent on one connection, and the two ways to send it: plain, and through TLS."""

from __future__ import annotations

import array
import contextlib
import fcntl
import logging
import os
import socket
import ssl
import struct
import termios
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from select import EPOLLIN, EPOLLOUT
from socket import socket as Socket

log = logging.getLogger("gunicorn.error")

#: Most bytes sent on one connection before the others have their turn.
TURN_BYTES = 1024 * 1024

_FILE_PIECE = 512 * 1024
_TLS_PIECE = 64 * 1024
_BUFFERS_AT_ONCE = 64


class FilePart:
    """Bytes of a file that wait to be sent. `close` is called when they are sent, or never will be."""

    __slots__ = ("_close", "_descriptor", "left", "position")

    def __init__(self, descriptor: int, position: int, length: int, close: Callable[[], None]) -> None:
        self._descriptor = descriptor
        self._close = close
        self.position = position
        self.left = length

    def fileno(self) -> int:
        """Its descriptor. Raises OSError where it can be opened only now, and cannot."""
        return self._descriptor

    def close(self) -> None:
        """The bytes are sent, or never will be."""
        self._close()

    def advance(self, count: int) -> None:
        """`count` bytes are gone. Raises OSError when the file ended before its announced length."""
        if not count:
            raise OSError("The file is shorter than the length that was announced.")
        self.position += count
        self.left -= count


class PathPart(FilePart):
    """As a FilePart, of a file that is opened when its turn comes: thousands may wait, and take no descriptors."""

    __slots__ = ("_path",)

    def __init__(self, path: Path, position: int, length: int) -> None:
        super().__init__(-1, position, length, lambda: None)
        self._path = path

    def fileno(self) -> int:
        """Opens the file the first time."""
        if self._descriptor < 0:
            try:
                self._descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            except OSError as error:
                log.warning("An answer is cut off: %s", error)
                raise
        return self._descriptor

    def close(self) -> None:
        """Close the file, if it was opened."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class Outgoing:
    """A queue of buffers and files. To gunicorn's Response it is the socket: it gathers what is written."""

    __slots__ = ("parts", "size")

    def __init__(self) -> None:
        self.parts: deque[bytes | memoryview | FilePart] = deque()
        self.size = 0  # bytes in memory; files do not count

    def sendall(self, data: bytes) -> None:
        """Take a buffer. Never blocks, never copies."""
        if data:
            self.parts.append(data)
            self.size += len(data)

    def send(self, data: bytes) -> int:
        """As `sendall`: all of it is taken."""
        self.sendall(data)
        return len(data)

    def extend(self, buffers: Iterable[bytes]) -> None:
        """Take several buffers."""
        for data in buffers:
            self.sendall(data)

    def add_file(self, part: FilePart) -> None:
        """Take a part of a file."""
        self.parts.append(part)

    @property
    def waiting(self) -> int:
        """Bytes that wait, those in files too."""
        if not self.parts:
            return 0
        return self.size + sum(part.left for part in self.parts if isinstance(part, FilePart))

    def clear(self) -> None:
        """Throw away what is left, and close its files."""
        parts, self.parts, self.size = self.parts, deque(), 0
        for part in parts:
            if isinstance(part, FilePart):
                part.close()

    def front(self) -> list[bytes | memoryview]:
        """The buffers before the first file."""
        buffers: list[bytes | memoryview] = []
        for part in self.parts:
            if isinstance(part, FilePart) or len(buffers) == _BUFFERS_AT_ONCE:
                break
            buffers.append(part)
        return buffers

    def join_front(self, limit: int) -> bytes | memoryview:
        """Make the buffers at the front one, of at least `limit` bytes if so many are there, and give it."""
        first = self.parts.popleft()
        assert not isinstance(first, FilePart)  # noqa: S101 - the caller has looked
        if len(first) < limit and self.parts and not isinstance(self.parts[0], FilePart):
            joined = bytearray(first)
            while self.parts and len(joined) < limit and not isinstance(self.parts[0], FilePart):
                joined += self.parts.popleft()  # type: ignore[arg-type]
            first = memoryview(joined)
        self.parts.appendleft(first)
        return first

    def sent(self, count: int) -> None:
        """The first `count` bytes, all of them in buffers, are gone."""
        self.size -= count
        while count:
            first = self.parts.popleft()
            assert not isinstance(first, FilePart)  # noqa: S101
            if len(first) > count:
                self.parts.appendleft(memoryview(first)[count:])
                return
            count -= len(first)


class Transport:
    """A plain, non-blocking socket."""

    #: What epoll has to watch so that a blocked send (or handshake) can go on.
    send_interest = EPOLLOUT

    #: Whether the kernel can send a file here by itself, without a copy.
    sends_files = True

    def __init__(self, sock: Socket) -> None:
        self.socket = sock

    def receive(self, size: int) -> bytes | None:
        """What is there, b"" at the end, or None when there is nothing yet."""
        try:
            return self.socket.recv(size)
        except BlockingIOError:
            return None

    def has_buffered(self) -> bool:
        """Whether bytes wait here that epoll does not know of."""
        return False

    def send(self, out: Outgoing) -> int:
        """Send what goes without waiting, a turn's worth at most. Returns the bytes that went."""
        total = 0
        while out.parts and total < TURN_BYTES:
            first = out.parts[0]
            try:
                sent = self._send_file(out, first) if isinstance(first, FilePart) else self._send_buffers(out)
            except BlockingIOError:
                break
            if sent < 0:
                return total - sent
            total += sent
        return total

    def _send_buffers(self, out: Outgoing) -> int:
        """Bytes sent; negative when not all went, so that another try would only be refused."""
        parts = out.parts
        if len(parts) == 1:
            buffers, more = list(parts), 0
            sent = self.socket.send(parts[0])  # type: ignore[arg-type]
        else:
            buffers = out.front()  # type: ignore[assignment]
            more = socket.MSG_MORE if len(buffers) < len(parts) else 0
            sent = self.socket.sendmsg(buffers, (), more)  # type: ignore[arg-type]
        if sent == out.size and not more:
            parts.clear()
            out.size = 0
            return sent
        whole = sum(map(len, buffers)) == sent  # type: ignore[arg-type]
        out.sent(sent)
        return sent if whole else -sent

    def _send_file(self, out: Outgoing, part: FilePart) -> int:
        if part.left:
            count = min(part.left, _FILE_PIECE)
            part.advance(sent := os.sendfile(self.socket.fileno(), part.fileno(), part.position, count))
        else:
            sent = 0
        if not part.left:
            out.parts.popleft()
            part.close()
        return sent

    def send_file(self, descriptor: int, position: int, count: int) -> int:
        """Send a file's bytes, without waiting, when nothing is queued. Returns how many went."""
        try:
            return os.sendfile(self.socket.fileno(), descriptor, position, count)
        except BlockingIOError:
            return 0

    def unsent(self) -> int:
        """Bytes handed to the kernel that the client has not acknowledged (SIOCOUTQ, tcp(7))."""
        return self._asked(termios.TIOCOUTQ)

    def unread(self) -> int:
        """Bytes that the kernel has of the client (SIOCINQ, tcp(7))."""
        return self._asked(termios.FIONREAD)

    def _asked(self, request: int) -> int:
        count = array.array("i", [0])
        fcntl.ioctl(self.socket.fileno(), request, count)
        return count[0]

    def finish(self) -> None:
        """Say that no more will be sent."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)

    def close(self, *, drop_unsent: bool = False) -> None:
        """Close. With `drop_unsent` what the kernel still holds is thrown away and the client sees a reset."""
        with contextlib.suppress(OSError):
            if drop_unsent and self.unsent():
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


class TlsTransport(Transport):
    """TLS over a non-blocking socket. Raises ssl.SSLError, an OSError, where the client breaks the protocol."""

    socket: ssl.SSLSocket
    sends_files = False

    def __init__(self, sock: Socket, context: ssl.SSLContext) -> None:
        wrapped = context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        super().__init__(wrapped)

    def shake_hands(self) -> int:
        """One step of the handshake: 0 when it is done, else what epoll has to watch for the next."""
        try:
            self.socket.do_handshake()
        except ssl.SSLWantReadError:
            return EPOLLIN
        except ssl.SSLWantWriteError:
            return EPOLLOUT
        return 0

    def receive(self, size: int) -> bytes | None:
        """As with a plain socket. A ragged end is an end."""
        try:
            return self.socket.recv(size)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError):
            return None
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return b""

    def has_buffered(self) -> bool:
        """Whether decrypted bytes wait inside the TLS layer."""
        return self.socket.pending() > 0

    def send(self, out: Outgoing) -> int:
        """As with a plain socket. A record that was refused is offered again with the same beginning, as TLS wants."""
        total = 0
        self.send_interest = EPOLLOUT
        while out.parts and total < TURN_BYTES:
            first = out.parts[0]
            if isinstance(first, FilePart):
                self._read_piece(out, first)
                continue
            try:
                sent = self.socket.send(out.join_front(_TLS_PIECE))
            except ssl.SSLWantWriteError:
                break
            except ssl.SSLWantReadError:
                self.send_interest = EPOLLIN
                break
            out.sent(sent)
            total += sent
        return total

    def _read_piece(self, out: Outgoing, part: FilePart) -> None:
        if not part.left:
            out.parts.popleft()
            part.close()
            return
        piece = os.pread(part.fileno(), min(part.left, _TLS_PIECE), part.position)
        part.advance(len(piece))
        out.parts.appendleft(piece)
        out.size += len(piece)

    def finish(self) -> None:
        """Say so inside TLS first (close_notify), so that the client knows that nothing was cut off."""
        with contextlib.suppress(OSError, ValueError):
            self.socket.unwrap()
        super().finish()
