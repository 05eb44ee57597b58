"""The service as users start it: `python run.py`, with gunicorn, on a free port, in a folder of its own."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent

ADDRESS = re.compile(rb"http://127\.0\.0\.1:(\d+)/")


Answer = tuple[int, dict[str, str], bytes]
"""Status, headers (names in lower case), body."""


class Service:
    """A running service, and what it has said."""

    def __init__(self, folder: Path, process: subprocess.Popen[bytes]) -> None:
        self.folder = folder
        self.process = process
        self.port = 0
        self.said = b""
        self._address = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.said += line
            if not self.port and (match := ADDRESS.search(line)):
                self.port = int(match[1])
                self._address.set()
        self._address.set()

    def wait_for_address(self) -> None:
        assert self._address.wait(60) and self.port, self.said.decode()

    def token(self, *arguments: str) -> str:
        """A new token, by the command line beside the running service."""
        arguments = arguments or ("--role", "admin")
        done = subprocess.run(
            [BIN / "piapi", "tokens", "create", "--name", "test", *arguments],
            env=environment(self.folder),
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    def connect(self, timeout: float = 30) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)

    def call(self, method: str, path: str, token: str = "", body: Any = None) -> Answer:
        """One request on a connection of its own."""
        with contextlib.closing(self.connect()) as connection:
            return exchange(connection, method, path, token, body)

    def stop(self, sig: signal.Signals = signal.SIGTERM) -> int:
        """End it by a signal; gives the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(sig)
        code = self.process.wait(60)
        self._reader.join(30)
        if self.process.stdout:
            self.process.stdout.close()
        return code


def exchange(
    connection: http.client.HTTPConnection, method: str, path: str, token: str = "", body: Any = None, **headers: str
) -> Answer:
    """One request, with a body of JSON or none, and its answer."""
    data = None
    if token:
        headers["Authorization"] = f"Bearer {token}"
    if body is not None:
        data, headers["Content-Type"] = json.dumps(body), "application/json"
    connection.request(method, path, data, headers)
    response = connection.getresponse()
    return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()


def eventually(condition: Callable[[], bool], seconds: float = 30) -> None:
    """Wait until it is so."""
    limit, deadline = threading.Event(), time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        limit.wait(0.02)


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def environment(folder: Path, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PIAPI_")}
    return {**kept, "PIAPI_DATA": str(folder / "data"), "PIAPI_PORT": "0", **more}


@contextlib.contextmanager
def running(folder: Path, config: str | None = None, root: Path = ROOT, **environ: str) -> Iterator[Service]:
    """A service that answers, from the sources in `root`. Without a configuration it is the demonstration."""
    if config is not None:
        (folder / "piapi.toml").write_text(config, encoding="utf-8")
        environ["PIAPI_CONFIG"] = str(folder / "piapi.toml")
    process = subprocess.Popen(
        [sys.executable, root / "run.py"],
        cwd=folder,
        env=environment(folder, **environ),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    service = Service(folder, process)
    try:
        service.wait_for_address()
        yield service
    finally:
        service.stop()
