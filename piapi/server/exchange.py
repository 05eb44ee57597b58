"""One request and its answer: gunicorn's parser and Response, on bytes that are here already and into a queue."""

from __future__ import annotations

import contextlib
import io
import os
from datetime import datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from gunicorn import util
from gunicorn.http import wsgi

from piapi.server.bodies import OVERSIZED, FileBody, JoinedBody, StreamBody
from piapi.server.connection import USER, After, Connection
from piapi.server.messages import BufferUnreader, ClientRequest, DatedResponse
from piapi.server.outgoing import FilePart, PathPart

if TYPE_CHECKING:
    from piapi.server.worker import Worker

#: So much of an answer may wait in memory while more of it could be made.
HIGH_WATER = 256 * 1024


class ClientGone(Exception):
    """The client left while its answer was being made."""


class Exchange:
    """The request that is here whole on a connection, and its answer as it is made."""

    def __init__(self, worker: Worker, connection: Connection) -> None:
        self._worker = worker
        self._connection = connection
        self._unreader = BufferUnreader(connection.incoming.take(), oversized=connection.oversized)
        self._started_at = datetime.now()  # noqa: DTZ005 - as gunicorn's access log has it
        self.request: Any = None
        self._response: Any = None
        self._environ: dict[str, Any] = {}
        self._body: Any = None
        self._pieces: Any = None
        self.committed = False  # some of the answer has been sent: it cannot become another one
        self.finished = False

    def advance(self) -> None:
        """Make the answer, or as much of it as may wait in memory; `connection.after` says what follows."""
        if self._response is None:
            self._begin()
        if self._pieces is not None and not self._gather():
            self._connection.after = After.RESUME
            return
        self.finished = True

    def _begin(self) -> None:
        worker, connection = self._worker, self._connection
        request = self.request = ClientRequest(worker.settings, self._unreader, connection)
        worker.settings.pre_request(worker, request)
        response, environ = wsgi.create(
            request, connection.out, connection.client, connection.server, worker.settings, DatedResponse
        )
        self._response, self._environ = response, environ
        environ["wsgi.multithread"] = True
        if connection.user is not None:
            environ[USER] = connection.user
        if connection.oversized:
            environ[OVERSIZED] = True
        else:  # now, so that nothing is done for a request whose body turns out to be none
            environ["wsgi.input"] = request.read_body()
        if worker.is_last_request() or connection.oversized or not worker.settings.keepalive:
            response.force_close()
        body = self._body = worker.wsgi(environ, response.start_response)
        if isinstance(body, StreamBody):
            self._hand_over(body)
        elif isinstance(body, FileBody):
            self._send_file(body.file.fileno(), body.offset, body.length)
        elif isinstance(body, JoinedBody):
            self._send_joined(body)
        elif not (isinstance(body, wsgi.FileWrapper) and self._send_wrapped(body)):
            self._pieces = iter(body)

    def _gather(self) -> bool:
        """Collect the answer. False when enough waits and there is more."""
        response, connection = self._response, self._connection
        for piece in self._pieces:
            response.write(piece)
            if response.sent == response.response_length:
                continue  # the end comes next: header and body go out together
            self.committed = True
            try:
                connection.transport.send(connection.out)  # no piece may wait for the next one (PEP 3333)
            except OSError as error:
                raise ClientGone(str(error)) from error
            if connection.out.size > HIGH_WATER:
                return False
        response.close()
        announced = 0 if response._omits_body else response.response_length or 0
        if response.sent < announced:
            response.force_close()  # the client is to notice
        self._end_of_answer()
        return True

    def _end_of_answer(self) -> None:
        connection = self._connection
        if self._response.should_close():
            connection.after = After.CLOSE
            return
        connection.after = After.KEEP
        if rest := self._unreader.rest():
            connection.incoming.put_back(rest)

    def _hand_over(self, body: StreamBody) -> None:
        response, connection = self._response, self._connection
        # Without a length, the end of the connection is the end of the body; in chunks an early one is noticed.
        response.chunked = response.chunked and body.ends
        response.force_close()
        response.send_headers()
        connection.after = After.CLOSE
        if not response._omits_body:
            connection.stream, connection.chunked = body.take(), response.chunked
            connection.after = After.STREAM

    def _send_wrapped(self, body: Any) -> bool:
        """Send a file given through `wsgi.file_wrapper`, if it is a real one."""
        if not self._response.can_sendfile() or not util.has_fileno(body.filelike):
            return False
        try:
            descriptor = body.filelike.fileno()
            offset = os.lseek(descriptor, 0, os.SEEK_CUR)
            length = os.fstat(descriptor).st_size - offset
        except (OSError, io.UnsupportedOperation):
            return False
        self._send_file(descriptor, offset, length)
        return True

    def _send_file(self, descriptor: int, offset: int, length: int) -> None:
        if sent := self._announce(length):
            close = getattr(self._body, "close", lambda: None)
            self._connection.out.add_file(FilePart(descriptor, offset, sent, close))
            self._body = None
        self._end_of_answer()

    def _send_joined(self, body: JoinedBody) -> None:
        sent, out = self._announce(body.length), self._connection.out
        for part in (body if sent == body.length else body.cut(0, sent)).parts:
            if isinstance(part, bytes):
                out.sendall(part)
            else:
                out.add_file(PathPart(part.path, part.offset, part.length))
        self._end_of_answer()

    def _announce(self, length: int) -> int:
        """Send the header of an answer whose body is `length` bytes; gives how many of them are to be sent."""
        response = self._response
        if not response._omits_body:
            if response.response_length is None:
                response.response_length, response.chunked = length, False
                response.headers.append(("Content-Length", str(length)))
            if length < response.response_length:
                response.force_close()  # less than was announced, and the client is to notice
            response.sent = min(length, response.response_length)
        response.send_headers()
        return int(response.sent)

    def refuse(self, status: int) -> None:
        """The answer is another one than the application's; the log says so."""
        self.finished = True
        if self._response is not None:
            self._response.status = f"{status} {HTTPStatus(status).phrase}"
            self._response.sent = 0

    def close(self) -> None:
        """The answer is made, or will not be: one line in the log, and the application may clean up."""
        worker, response = self._worker, self._response
        if response is not None and response.status is not None:
            elapsed = datetime.now() - self._started_at  # noqa: DTZ005
            worker.log.access(response, self.request, self._environ, elapsed)
        body, self._body = self._body, None
        try:
            if hasattr(body, "close"):
                body.close()
            if self.request is not None:
                worker.settings.post_request(worker, self.request, self._environ, response)
        except Exception:  # noqa: BLE001 - the application's, and the answer is made
            worker.log.exception("Error after a request")

    def abandon(self) -> None:
        """The client has gone before the answer was made."""
        with contextlib.suppress(RuntimeError):
            self._worker.tpool.submit(self.close)
