"""gunicorn's threaded worker, with clients that no thread waits for.

The main thread accepts, and tells the arbiter that all is well. A poller (`poller.py`) has every connection on which
nothing is being answered: it reads requests whole and sends what clients are slow to take. Pool threads run the
application, and nothing else. gunicorn's parser and Response do what they always do, HTTP/1 only.
"""

from __future__ import annotations

import errno
import os
import selectors
import socket
import time
from dataclasses import replace
from typing import Any

from gunicorn import sock
from gunicorn.workers.gthread import ThreadWorker

from piapi.clock import SystemClock
from piapi.server.connection import After, Bounds, Connection
from piapi.server.exchange import ClientGone, Exchange
from piapi.server.framing import Extent
from piapi.server.messages import BodyTooLarge, Settings
from piapi.server.poller import Poller
from piapi.server.pool import ThreadPool
from piapi.server.refusals import problem, status_of

#: Accepting needs a descriptor or memory that is not to be had; try again a little later.
_SHORTAGES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
#: Of graceful_timeout; the rest is for letting go of everything before the arbiter kills.
_SHARE_FOR_CLIENTS = 0.8
_NO_CLIENT = (errno.EAGAIN, errno.EWOULDBLOCK, errno.ECONNABORTED, errno.EPROTO)


class Worker(ThreadWorker):
    """`worker_class = "piapi.server.worker.Worker"`. Uses threads, worker_connections, keepalive, graceful_timeout."""

    bounds = Bounds()
    #: Without a sign of life from the poller for so long, the arbiter is not told that all is well.
    poller_silence_s = 10.0

    alive: bool
    ppid: int
    wire: Poller
    tpool: ThreadPool

    @classmethod
    def check_config(cls, cfg: Any, log: Any) -> None:
        """Say what this worker does not do."""
        if "h2" in getattr(cfg, "http_protocols", ()):
            log.warning("This worker speaks HTTP/1 only.")

    def get_thread_pool(self) -> ThreadPool:
        """Start the pool's threads."""
        return ThreadPool(self.cfg.threads)

    # The main thread

    def run(self) -> None:
        """Accept until told to stop; then let what runs finish."""
        self.settings = Settings(self.cfg)
        self._names: dict[socket.socket, Any] = {listener: listener.getsockname() for listener in self.sockets}
        self._accept_at = 0.0
        self._parent = -1
        self.wire = Poller(
            self._dispatch,
            lambda status, detail: problem(status, detail),
            self._bounds(),
            tls=sock.ssl_context(self.cfg) if self.cfg.is_ssl else None,
            on_close=self._on_close,
        )
        self.poller.register(self.method_queue.fileno(), 1, self.method_queue.run_callbacks)
        self._watch_parent()
        self.wire.start()
        finished = False
        try:
            self._accept_until_stopped()
            finished = self._finish_gracefully()
        finally:
            self._stop(patience_s=1.0 if finished else 0.2)

    def _bounds(self) -> Bounds:
        request = replace(self.bounds.request, line=self.cfg.limit_request_line)
        return replace(self.bounds, request=request, keepalive_s=self.cfg.keepalive)

    def _accept_until_stopped(self) -> None:
        while self.alive and self.is_parent_alive():
            if not self.wire.is_running:
                self.log.critical("The poller has ended. So does this worker, and another takes its place.")
                return
            self._notify_if_served()
            self._set_accepting()
            self.wait_for_and_dispatch_events(timeout=1.0)

    def _watch_parent(self) -> None:
        """Notice the death of the arbiter when it happens. Nobody restarts this worker then, or tells it to end."""
        try:
            self._parent = os.pidfd_open(self.ppid)
        except OSError as error:  # a kernel before 5.3, or it is dead already: the loop asks about once a second
            self.log.debug("The arbiter cannot be watched: %s", error)
            return
        self.poller.register(self._parent, selectors.EVENT_READ, self._on_parent_gone)

    def _on_parent_gone(self, parent: int) -> None:
        self.log.error("The arbiter is gone. So this worker lets go of what it has, and ends.")
        self.poller.unregister(parent)  # it stays readable
        self.alive = False

    def _notify_if_served(self) -> None:
        if SystemClock().monotonic() - self.wire.ticked_at < self.poller_silence_s:
            self.notify()
        else:
            self.log.error("The poller has not answered for %g s.", self.poller_silence_s)

    def _set_accepting(self) -> None:
        full = len(self.wire.connections) >= self.worker_connections
        self.set_accept_enabled(not full and time.monotonic() >= self._accept_at)
        if full:  # after that: who closes looks whether this thread has to be told
            self.wire.make_room()

    def accept(self, listener: socket.socket) -> None:
        """Accept all who wait, as far as there is room."""
        while len(self.wire.connections) < self.worker_connections:
            try:
                client, address = listener.accept()
            except OSError as error:
                if error.errno in _SHORTAGES:
                    self.log.warning("Cannot accept a connection: %s", error)
                    self.wire.make_room()
                    self._accept_at = time.monotonic() + 0.5
                    self.set_accept_enabled(False)
                elif error.errno not in _NO_CLIENT:
                    raise
                return
            try:
                self.wire.add(client, address, self._names[listener])
            except OSError as error:
                self.log.debug("A client is gone: %s", error)
                client.close()
        self._set_accepting()

    def _on_close(self) -> None:
        # Any thread. The main one sleeps unless it waits for room, or for the last to go.
        if not self._accepting:
            self.method_queue.defer(lambda: None)

    def before_draining(self) -> None:
        """Called once when this worker begins to end gracefully, before it waits for the requests that run.

        For an application that lets long requests end early: replace it on the worker, in gunicorn's
        post_worker_init. The main thread calls it, outside any signal handler. Its time counts towards
        graceful_timeout; an exception is logged, and the drain goes on. Not called on SIGINT and SIGQUIT.
        """

    def _finish_gracefully(self) -> bool:
        """Whether everything ended in time."""
        # The arbiter kills after the same time, counted from a little earlier.
        deadline = time.monotonic() + self.cfg.graceful_timeout * _SHARE_FOR_CLIENTS
        self.set_accept_enabled(False)
        try:
            self.before_draining()
        except Exception:  # noqa: BLE001 - foreign code; the clients are still to be served
            self.log.exception("Error before draining")
        self.wire.drain()
        while self.wire.connections:
            left = deadline - time.monotonic()
            if left <= 0:
                self.log.warning("%d connections are cut off.", len(self.wire.connections))
                return False
            self.notify()
            self.wait_for_and_dispatch_events(timeout=min(left, 1.0))
        return True

    def _stop(self, *, patience_s: float) -> None:
        self.wire.stop()
        self.tpool.shutdown(timeout=patience_s)
        self.wire.release()
        self.poller.close()
        if self._parent >= 0:
            os.close(self._parent)
        self.method_queue.close()
        for listener in self.sockets:
            listener.close()

    # Pool threads

    def _dispatch(self, connection: Connection) -> None:
        self.tpool.submit(self._serve, connection)

    def _serve(self, connection: Connection) -> None:
        """Answer the request that is on a connection, and the next ones if they are there and nobody else waits."""
        while True:
            exchange = connection.exchange
            if exchange is None:
                exchange = connection.exchange = Exchange(self, connection)
            try:
                exchange.advance()
            except ClientGone as gone:
                self.log.debug("The client of an answer is gone: %s", gone)
                self._cut_off(connection, exchange)
                return
            except (Exception, SystemExit, BodyTooLarge) as error:  # noqa: BLE001 - the application's
                if not self._refuse(connection, exchange, error):
                    return
            finished = exchange.finished
            if finished:
                connection.exchange = None
            sent = self.wire.send(connection)
            if finished:
                exchange.close()
            if not sent:
                return
            if connection.after is not After.KEEP or not self._has_next(connection):
                self.wire.after_sending(connection)
                return

    def _has_next(self, connection: Connection) -> bool:
        if self.tpool.has_waiting or self.wire.draining:
            return False
        incoming = connection.incoming
        if not incoming.buffer:
            try:
                data = connection.transport.receive(65536)
            except OSError:
                data = b""
            if data is None:
                return False
            if not data:
                connection.after = After.CLOSE
                return False
            incoming.buffer += data
        connection.oversized = False
        return incoming.extent() is Extent.WHOLE

    def _refuse(self, connection: Connection, exchange: Exchange, error: BaseException) -> bool:
        """Make a problem of what went wrong. False when the answer was half sent already, and was cut off."""
        if exchange.committed:
            fault = error if status_of(error) == 500 else None
            self.log.error("Error while an answer was being sent: %s", error, exc_info=fault)
            self._cut_off(connection, exchange)
            return False
        connection.out.clear()
        connection.after = After.CLOSE
        exchange.refuse(status_of(error))
        self.handle_error(exchange.request, connection.out, connection.client, error)
        return True

    def _cut_off(self, connection: Connection, exchange: Exchange) -> None:
        connection.exchange = None
        exchange.close()
        self.wire.close(connection, drop_unsent=True)

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """Log it, and answer with a problem."""
        status = status_of(exc)
        target = f"{req.method} {req.path}" if req is not None and req.path else "what was no request"
        if status == 500:
            self.log.error("Error while answering %s", target, exc_info=exc)
            detail = "Something went wrong here. The server's log says what."
        else:
            address = addr[0] if addr and not isinstance(addr, (str, bytes)) else "a Unix socket"
            self.log.warning("Invalid request from %s: %s", address, exc)
            detail = str(exc)
        instance = req.path if req is not None and req.path else "/"
        client.sendall(problem(status, detail, instance, with_body=req is None or req.method != "HEAD"))

    def is_last_request(self) -> bool:
        """Count a request; whether the connection is to close after it, because the worker ends."""
        self.nr += 1
        if self.nr >= self.max_requests and self.alive:
            self.log.info("Autorestarting worker after current request.")
            self.alive = False
            self.method_queue.defer(lambda: None)
        return not self.alive

    # Signals

    def handle_quit(self, sig: int, frame: Any) -> None:
        """SIGQUIT, SIGINT: end now. `run` closes everything on its way out."""
        self.alive = False
        self.cfg.worker_int(self)
        raise SystemExit(0)
