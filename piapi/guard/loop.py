"""The guard's loop: hears clients, and releases what is left behind."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import socket

from piapi.guard.owners import Lease, Owner, now, say

TYPE_CHECKING = False  # importing typing would double the time to start
if TYPE_CHECKING:
    from typing import Any

    from piapi.lines.chip import GpioChip
    from piapi.lines.simulated import Lines

GRACE_S = 0.2
"""How long a lease may be overdue: its owner switches off at the end of it, and a busy machine is late."""

MAX_LEASE_S = 25 * 3600.0
MAX_CLIENTS = 16
MAX_MESSAGE_BYTES = 512

LINGER_S = 30.0
"""How long it waits for a client, the first or the next, before it ends."""

GIVE_UP_S = 60.0
"""A line that is busy for so long after its owner's death belongs to somebody else by now."""

_LONGEST_RETRY_S = 0.2

_OK = b'{"ok": true}\n'


class Refused(Exception):
    """A message that is not followed; the text is its answer."""


class Guard:
    """One guard over the lines of one chip."""

    def __init__(
        self, server: socket.socket, lines: GpioChip | Lines, stay: bool, linger_s: float, about: str = ""
    ) -> None:
        """`about`: which lines these are, as a client says hello to them."""
        self._server = server
        self._lines = lines
        self._about = about
        self._stay = stay
        self._linger_s = linger_s
        self._clients: set[Owner] = set()
        self._leases: dict[int, Lease] = {}
        self._alone_since = now()
        self._is_ending = False
        self._selector = selectors.DefaultSelector()
        self._selector.register(server, selectors.EVENT_READ, (self._accept, None))

    def heed_sigterm(self) -> None:
        """From now on SIGTERM means: no new leases, and the end when the last one has ended."""
        woken, waking = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

        def terminate() -> None:
            os.read(woken, 64)
            self._is_ending = True

        self._selector.register(woken, selectors.EVENT_READ, (terminate, None))
        signal.signal(signal.SIGTERM, lambda *_: None)  # heard through the pipe
        signal.set_wakeup_fd(waking)

    def serve(self) -> None:
        """Until nobody needs it any more."""
        while not self._is_over():
            self._selector.select(self._patience_s())
            # The guard itself may have been stopped, anywhere in here. So what was said until a moment is heard before
            # anything counts as overdue at that moment; the wait above may come back empty when its time is over.
            moment = now()
            for key, _ in self._selector.select(0):
                act, client = key.data
                act(client) if client else act()
            self._enforce(moment)

    def _is_over(self) -> bool:
        if self._leases:
            return False
        if self._is_ending:
            return True
        return not self._stay and not self._clients and now() >= self._alone_since + self._linger_s

    def _patience_s(self) -> float | None:
        """Seconds until something is due; None: nothing is."""
        moments = []
        for lease in self._leases.values():
            if lease.lost_at is None:
                moments.append(lease.due + GRACE_S)
            else:
                moments.append(lease.retry_at)
        if not self._leases and not self._clients and not self._stay:
            moments.append(self._alone_since + self._linger_s)
        return max(0.0, min(moments) - now()) if moments else None

    # Clients

    def _accept(self) -> None:
        try:
            connection, _ = self._server.accept()
        except OSError:
            return
        try:
            connection.setblocking(False)
            if len(self._clients) >= MAX_CLIENTS:
                raise OSError("there are too many clients")
            client = Owner(connection)
        except OSError as error:
            say(f"a client is refused: {error}")
            connection.close()
            return
        self._clients.add(client)
        self._selector.register(connection, selectors.EVENT_READ, (self._hear, client))
        self._selector.register(client.pidfd, selectors.EVENT_READ, (self._bury, client))

    def _hear(self, client: Owner) -> None:
        if client not in self._clients:
            return  # lost a moment ago, by another event of the same round
        try:
            received = client.connection.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            received = b""
        *messages, client.buffer = (client.buffer + received).split(b"\n")
        for message in messages:
            self._answer(client, message)
            if client not in self._clients:
                return
        if not received or len(client.buffer) > MAX_MESSAGE_BYTES:
            self._lose(client)

    def _bury(self, client: Owner) -> None:
        """The process has ended, with all its threads; its lines are free, and its end of the socket is closed."""
        if client.pidfd < 0:
            return  # forgotten in the same round
        client.is_gone = True
        self._selector.unregister(client.pidfd)
        self._hear(client)  # its last words may have been that all is off
        if client in self._clients:
            self._lose(client)
        for lease in self._leases_of(client):
            lease.lost_at = lease.retry_at = now()

    def _lose(self, client: Owner) -> None:
        """It has gone, or its time is over: it is ended, and what it has leased is released as soon as that is free."""
        self._disconnect(client)
        left = self._leases_of(client)
        for lease in left:
            lease.lost_at = lease.retry_at = now()
        if left:
            client.end()
        else:
            self._forget(client)

    def _leases_of(self, client: Owner) -> list[Lease]:
        return [lease for lease in self._leases.values() if lease.owner is client]

    def _disconnect(self, client: Owner) -> None:
        self._clients.discard(client)
        self._selector.unregister(client.connection)
        client.connection.close()

    def _forget(self, client: Owner) -> None:
        """Nothing of it is left."""
        if client.pidfd in self._selector.get_map():
            self._selector.unregister(client.pidfd)
        client.close()
        if not self._clients:
            self._alone_since = now()

    # Messages

    def _answer(self, client: Owner, message: bytes) -> None:
        try:
            is_bye = self._follow(client, message)
            answer = _OK
        except Refused as refusal:
            is_bye = False
            answer = json.dumps({"error": str(refusal)}).encode() + b"\n"
        with contextlib.suppress(OSError):  # it may listen no more, and yet have said before that all is off
            client.connection.send(answer)
        if is_bye:
            self._disconnect(client)
            self._forget(client)
            self._is_ending = self._is_ending or not (self._clients or self._stay)

    def _follow(self, client: Owner, message: bytes) -> bool:
        """Do what was asked. Whether it was a bye. Raises Refused."""
        try:
            said = json.loads(message) if len(message) <= MAX_MESSAGE_BYTES else None
        except (ValueError, RecursionError):
            said = None
        if not isinstance(said, dict):
            raise Refused("a message is a JSON object on a line of its own")
        do, names = said.get("do"), said.keys()
        if do == "lease" and names == {"do", "line", "inactive", "for_s"}:
            self._lease(client, self._line(said), said["inactive"], said["for_s"])
        elif do == "end" and names == {"do", "line"}:
            self._end(client, self._line(said))
        elif do == "hello" and names == {"do", "lines"}:
            if said["lines"] != self._about:
                raise Refused(f"it has the lines of {self._about}, not of {said['lines']}")
        elif do == "bye" and names == {"do"}:
            if self._leases_of(client):
                raise Refused("there are leases left")
            return True
        else:
            raise Refused("a message is hello (lines), lease (line, inactive, for_s), end (line) or bye")
        return False

    def _line(self, said: dict[str, Any]) -> int:
        line = said["line"]
        if type(line) is not int or not 0 <= line < self._lines.count:
            raise Refused("there is no such line")
        return line

    def _lease(self, client: Owner, line: int, inactive: Any, for_s: Any) -> None:
        if type(inactive) is not bool:
            raise Refused("inactive must be true or false")
        if type(for_s) not in (int, float) or not 0 < for_s <= MAX_LEASE_S:
            raise Refused(f"for_s must be above 0 and at most {MAX_LEASE_S:.0f}")
        standing = self._leases.get(line)
        if standing is None:
            if self._is_ending:
                raise Refused("the guard is ending")
        elif standing.owner is not client:
            if standing.lost_at is None:
                raise Refused("another process has leased this line")
            self._drop(standing)  # the new owner holds the line, and answers for it
        self._leases[line] = Lease(line, inactive, now() + for_s, client)

    def _end(self, client: Owner, line: int) -> None:
        standing = self._leases.get(line)
        if standing is not None and standing.owner is client:
            del self._leases[line]

    # Releasing

    def _enforce(self, moment: float) -> None:
        for lease in list(self._leases.values()):
            if lease.lost_at is None and moment >= lease.due + GRACE_S:
                self._lose(lease.owner)
                say(f"GPIO{lease.line}: process {lease.owner.pid} did not end its lease in time, and was ended")
            if lease.lost_at is not None and now() >= lease.retry_at:
                self._release(lease, lease.lost_at)

    def _release(self, lease: Lease, lost_at: float) -> None:
        try:
            self._lines.claim_output(lease.line, lease.inactive)
            self._lines.free(lease.line)
        except OSError as error:  # busy: it is dying, with a camera to close, or a child that it forked holds the line
            lost_for_s = now() - lost_at
            lease.retry_at = now() + min(_LONGEST_RETRY_S, max(0.002, lost_for_s / 10))
            if lost_for_s < GIVE_UP_S or not lease.owner.is_gone:
                return
            say(f"GPIO{lease.line}: cannot be released, given up: {error}")
        else:
            say(f"GPIO{lease.line}: released, as process {lease.owner.pid} was lost")
        self._drop(lease)

    def _drop(self, lease: Lease) -> None:
        """A lease of an owner that was lost."""
        del self._leases[lease.line]
        if not self._leases_of(lease.owner):
            self._forget(lease.owner)
