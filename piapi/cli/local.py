"""The running service, asked through its local socket: the same API, with no token (`piapi.console`)."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import click

import config
from piapi.cli.data import in_words
from piapi.console import address_in, run_folder

API = "/api/v1"

#: Seconds of silence after which the service is given up: a film of many frames takes a while to be put together.
PATIENCE_S = 60


class LocalConnection(http.client.HTTPConnection):
    """HTTP to the socket in a folder."""

    def __init__(self, folder: Path, timeout: float = PATIENCE_S) -> None:
        super().__init__("localhost", timeout=timeout)
        self._folder = folder

    def connect(self) -> None:
        """Open it. Raises OSError."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        try:
            with address_in(self._folder) as address:
                self.sock.connect(address)
        except BaseException:
            self.sock.close()
            raise


class LocalService:
    """The service of one data folder. Every fault ends the command with its sentence."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._connection = LocalConnection(folder)

    def close(self) -> None:
        """Let go."""
        self._connection.close()

    def ask(self, method: str, path: str, body: Any = None, key: str = "") -> Any:
        """The document that is the answer; None where there is none. `key` is an Idempotency-Key."""
        with self.answer(method, path, body, key) as response:
            data = self._read(response)
        return json.loads(data) if data else None

    def fetch(self, path: str) -> bytes:
        """The bytes of what is no document."""
        with self.answer("GET", path) as response:
            return self._read(response)

    def items(self, path: str, query: Mapping[str, Any] | None = None) -> Iterator[dict[str, Any]]:
        """All of a collection, page by page."""
        following = f"{path}?{urlencode({'limit': 200, **(query or {})})}"
        while following:
            page = self.ask("GET", following)
            yield from page["items"]
            following = page["links"].get("next")

    @contextlib.contextmanager
    def answer(self, method: str, path: str, body: Any = None, key: str = "") -> Iterator[http.client.HTTPResponse]:
        """An answer that went well, to be read within the block."""
        data = None if body is None else json.dumps(body).encode()
        headers = {} if data is None else {"Content-Type": "application/json"}
        if key:
            headers["Idempotency-Key"] = key
        try:
            response = self._send(method, path, data, headers)
        except BaseException:
            self._connection.close()  # an answer may still come, and be taken for that of the next request
            raise
        try:
            if response.status >= 400:
                raise Refused(response.status, self._read(response))
            yield response
        finally:
            if not response.isclosed():  # half read: what follows on this connection would be the rest of it
                self._connection.close()

    def _send(self, method: str, path: str, data: bytes | None, headers: dict[str, str]) -> http.client.HTTPResponse:
        try:
            try:
                self._connection.request(method, path, data, headers)
                return self._connection.getresponse()
            except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
                if method != "GET":
                    raise
                self._connection.close()  # the service had closed an idle connection
                self._connection.request(method, path, data, headers)
                return self._connection.getresponse()
        except PermissionError as error:
            raise click.ClickException(
                "piapi runs as another user: use sudo, or be that user (its socket lets nobody else in)."
            ) from error
        except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError) as error:
            raise click.ClickException(
                f"No piapi is running here (there is no socket in {self._folder}). Start it first: "
                "`sudo systemctl start piapi`, or `make run`."
            ) from error
        except (OSError, http.client.HTTPException) as error:
            raise click.ClickException(f"piapi did not answer: {error or type(error).__name__}.") from error

    @staticmethod
    def _read(response: http.client.HTTPResponse) -> bytes:
        try:
            return response.read()
        except (OSError, http.client.HTTPException) as error:
            raise click.ClickException(f"piapi was cut off: {error}.") from error


class Refused(click.ClickException):
    """What the service says no to, in its own words. `status` is HTTP's."""

    def __init__(self, status: int, data: bytes) -> None:
        try:
            document = json.loads(data)
        except ValueError:
            document = {}
        faults = [f"{fault.get('pointer', fault.get('parameter'))}: {fault['detail']}"
                  for fault in document.get("errors", ())]  # fmt: skip
        super().__init__("\n".join(fault.lstrip("/: ") for fault in faults) or document.get("detail", f"HTTP {status}"))
        self.status = status


@contextlib.contextmanager
def local_service() -> Iterator[LocalService]:
    """The service of the data folder that the settings name."""
    with in_words():
        folder = run_folder(config.load().storage.path)
    service = LocalService(folder)
    try:
        yield service
    finally:
        service.close()


def path_of(id: str) -> str:
    """Where the time-lapse with this id is."""
    if not id.isalnum() or not id.isascii():
        raise click.UsageError(f"{id} is no id; piapi timelapse list has them")
    return f"{API}/timelapses/{id}"
