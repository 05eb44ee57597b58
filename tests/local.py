"""A client of the service's local socket."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
from pathlib import Path
from typing import Any

from piapi.console import address_in


class LocalConnection(http.client.HTTPConnection):
    """HTTP to the socket in a folder."""

    def __init__(self, folder: Path, timeout: float = 30) -> None:
        super().__init__("localhost", timeout=timeout)
        self._folder = folder

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        try:
            with address_in(self._folder) as address:
                self.sock.connect(address)
        except BaseException:
            self.sock.close()
            raise


def ask(
    folder: Path, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
) -> tuple[int, Any]:
    """One request: status, and the document of the answer."""
    with contextlib.closing(LocalConnection(folder)) as connection:
        data = None if body is None else json.dumps(body)
        sent = {**({} if body is None else {"Content-Type": "application/json"}), **(headers or {})}
        connection.request(method, path, data, sent)
        response = connection.getresponse()
        text = response.read()
        return response.status, json.loads(text) if "json" in response.getheader("Content-Type", "") else text
