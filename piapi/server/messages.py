"""gunicorn's request and response, unchanged in what they accept and send; only what never changes is asked once.

A request costs about 0.1 ms in all of them together, a third of it in settings looked up and addresses parsed again.
"""

from __future__ import annotations

import io
import time
from typing import TYPE_CHECKING, Any

from gunicorn import util
from gunicorn.http.errors import NoMoreData
from gunicorn.http.message import Request
from gunicorn.http.unreader import Unreader
from gunicorn.http.wsgi import Response

if TYPE_CHECKING:
    from piapi.server.connection import Connection


class BodyTooLarge(BaseException):
    """An application reads a body that is over the bound, though the environment told it so.

    No Exception, lest the application take it for a fault of its own and log it: the client's answer is 413.
    """

    def __init__(self) -> None:
        super().__init__("The body is larger than this server takes.")


class Settings:
    """gunicorn's Config, each setting asked once: a worker's settings never change."""

    def __init__(self, config: Any) -> None:
        self._config = config

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._config, name)
        setattr(self, name, value)
        return value


class BufferUnreader(Unreader):
    """Gives gunicorn's parser the bytes that are here, and never waits for more."""

    def __init__(self, data: bytes, *, oversized: bool = False) -> None:
        super().__init__()
        self._data = data
        self._oversized = oversized

    def chunk(self, size_hint: int | None = None) -> bytes:
        """All there is. Raises NoMoreData, or BodyTooLarge, after that, lest a part of a body look whole."""
        data, self._data = self._data, b""
        if not data:
            raise BodyTooLarge() if self._oversized else NoMoreData()
        return data

    def rest(self) -> bytes:
        """What was not read."""
        return bytes(self.take_buffered()) + self._data


class ClientRequest(Request):
    """A request on a connection. Raises what gunicorn's parser raises: ParseException, NoMoreData."""

    def __init__(self, settings: Settings, unreader: BufferUnreader, connection: Connection) -> None:
        self._connection = connection
        connection.requests += 1
        super().__init__(settings, unreader, connection.client, connection.requests)
        self._expected_100_continue = False  # the poller has answered that

    def _peer_trusted_for_forwarded(self) -> Any:
        trust = self._connection.trust
        if trust is None:
            trust = self._connection.trust = super()._peer_trusted_for_forwarded()
        return trust

    def read_body(self) -> io.BytesIO:
        """All of the body, which is here and within the bound. Raises what gunicorn's parser raises."""
        if getattr(self.body.reader, "length", None) == 0:
            return io.BytesIO()
        return io.BytesIO(self.body.read())


class DatedResponse(Response):
    """A response that formats the date once a second."""

    _date = (0, "")

    def default_headers(self) -> list[str]:
        """The status line, and the headers that gunicorn sends with every answer."""
        connection = "upgrade" if self.upgrade else "close" if self.should_close() else "keep-alive"
        second = int(time.time())
        if self._date[0] != second:
            DatedResponse._date = (second, f"Date: {util.http_date(second)}\r\n")
        headers = [
            f"HTTP/{self.req.version[0]}.{self.req.version[1]} {self.status}\r\n",
            f"Server: {self.version}\r\n",
            self._date[1],
            f"Connection: {connection}\r\n",
        ]
        if self.chunked:
            headers.append("Transfer-Encoding: chunked\r\n")
        return headers
