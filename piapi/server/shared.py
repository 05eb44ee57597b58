"""Parts of streams that many readers get at once: each is written once, into memory that the kernel sends from.

Otherwise the kernel copies each part for each reader. What it sends from a memfd it does not copy: sockets refer to its
pages until the client has acknowledged them. So a part's memory is never written again; the next part gets new memory.
"""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable, Hashable, Sequence

from piapi.server.outgoing import FilePart, Outgoing, Transport

log = logging.getLogger("gunicorn.error")

#: A buffer that is smaller is copied faster than shared.
LEAST_BYTES = 32 * 1024

#: What all readers take of one part together before it is shared. Making and closing a memfd takes about as long as the
#: copies of so much: of 20 readers of a part of 50 KB, or of 4 of one of 270 KB.
WORTH_BYTES = 1024 * 1024

#: Parts known at once: the newest of each size of each camera. What is beyond is copied.
MOST_KNOWN = 16

#: Seconds after which a part that nobody asks for is forgotten.
KEEP_S = 0.5


class SharedPart:
    """A whole part in memory of its own. Closed as soon as nobody holds it. Raises OSError when there is no room."""

    __slots__ = ("_holders", "descriptor", "head", "size")

    def __init__(self, head: bytes, rest: Sequence[bytes]) -> None:
        self.head = head
        self.size = len(head) + sum(map(len, rest))
        self._holders = 1
        self.descriptor = os.memfd_create("part", os.MFD_CLOEXEC)
        try:
            if os.writev(self.descriptor, [head, *rest]) != self.size:
                raise OSError(errno.ENOSPC, "No memory for a part that is shared")
        except OSError:
            os.close(self.descriptor)
            raise

    def hold(self) -> Callable[[], None]:
        """One more holds it, and gets what to call, once, to let go."""
        self._holders += 1
        return self.release

    def release(self) -> None:
        """One of the holders lets go."""
        self._holders -= 1
        if not self._holders:
            os.close(self.descriptor)

    def send(self, head: bytes, transport: Transport, out: Outgoing) -> None:
        """Send it, after `head` instead of its own, on a connection for which nothing waits. What does not go at once
        is put into `out`. Raises OSError when the client is gone."""
        position = 0
        if head == self.head:
            position = transport.send_file(self.descriptor, 0, self.size)
            if position == self.size:
                return
        else:
            out.sendall(head)
            position = len(self.head)
        out.add_file(FilePart(self.descriptor, position, self.size - position, self.hold()))


class _Known:
    """A part that somebody was given: how many were, and the memory that it is in, if they are many."""

    __slots__ = ("asked_at", "body", "readers", "refused", "shared", "tail")

    def __init__(self, body: bytes, tail: Sequence[bytes]) -> None:
        self.body = body  # held, so that no other has its id
        self.tail = tail
        self.readers = 0
        self.asked_at = 0.0
        self.shared: SharedPart | None = None
        self.refused = False

    def share(self, head: bytes) -> None:
        """Put it into memory that is shared, unless there was no room for it."""
        if not self.refused:
            try:
                self.shared = SharedPart(head, (self.body, *self.tail))
            except OSError as error:
                log.debug("A part of a stream cannot be shared and is copied: %s", error)
                self.refused = True

    def drop(self) -> None:
        """Let go of the memory; readers remember the rest."""
        self.body, self.tail = b"", ()
        if self.shared is not None:
            self.shared.release()
            self.shared = None


class SharedParts:
    """The parts of the present, recognised by the identity of their large buffer. Used by one thread at a time."""

    def __init__(self) -> None:
        self._known: dict[int, _Known] = {}
        self._had: dict[Hashable, _Known] = {}  # what each reader was given last

    def find(self, reader: Hashable, part: Sequence[bytes], now: float) -> tuple[SharedPart, bytes] | None:
        """The part in memory that is shared, and this reader's own head of it; None when copying it is as good."""
        index = next((index for index, data in enumerate(part) if len(data) >= LEAST_BYTES), -1)
        if index < 0:
            return None
        body, tail = part[index], part[index + 1 :]
        known, last = self._known.get(id(body)), self._had.get(reader)
        if known is None:
            if last is not None:
                self._drop(last)  # nobody is given it any more
            if len(self._known) >= MOST_KNOWN:
                return None
            known = self._known[id(body)] = _Known(body, tail)
        elif known.tail != tail:
            return None
        self._had[reader] = known
        known.readers += 1
        known.asked_at = now
        # Who had the part before this one will come for this one too.
        readers = known.readers if last is None else max(known.readers, last.readers)
        head = part[0] if index == 1 else b"".join(part[:index])
        if known.shared is None and readers * len(body) >= WORTH_BYTES:
            known.share(head)
        return None if known.shared is None else (known.shared, head)

    def forget(self, reader: Hashable) -> None:
        """A reader has gone. With the last of them goes everything."""
        if self._had.pop(reader, None) is not None and not self._had:
            for known in list(self._known.values()):
                self._drop(known)

    def forget_old(self, now: float) -> None:
        """Let go of what nobody has asked for lately."""
        for known in list(self._known.values()):
            if now - known.asked_at >= KEEP_S:
                self._drop(known)

    def _drop(self, known: _Known) -> None:
        if self._known.get(id(known.body)) is known:
            del self._known[id(known.body)]
        known.drop()
