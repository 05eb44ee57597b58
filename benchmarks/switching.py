"""piapi with pins on its simulated board and its own guard, as a service has them; and a caller who switches one."""

from __future__ import annotations

import contextlib
import itertools
import json
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.lab import Lab
from benchmarks.load import Caller
from benchmarks.processes import SERVER_CORE, Missing, free_port, running, wait_for_answer
from benchmarks.servers import Server, create_token, piapi_command, piapi_environment

PIN = "relay"
OUTPUT = f'[pins.{PIN}]\ngpio = "GPIO17"\n'
"""The pin of most of these benchmarks; it is off when its owner dies, so that each time on is leased from the guard."""

TOKENS = 150
"""piapi takes 10 commands a second from one caller, so there are many."""


@contextlib.contextmanager
def piapi_with_pins(
    folder: Path,
    pins: str = OUTPUT,
    command: Sequence[str] = (),
    core: int | None = SERVER_CORE,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Server]:
    """piapi with these pins and no camera, its data in `folder`; by `make run`'s command, unless another is given."""
    configuration, port = folder / "pins.toml", free_port()
    configuration.write_text(f'[gpio]\nbackend = "simulated"\n{pins}')
    token = create_token(folder)
    found = {**piapi_environment(folder, port, None), "PIAPI_CONFIG": str(configuration), **(environment or {})}
    with running(command or piapi_command(), folder, core=core, environment=found) as process:
        wait_for_answer(process, port, "/api/v1/pins", f"Authorization: Bearer {token}\r\n")
        yield Server("piapi", process, port, token)


@contextlib.contextmanager
def folder_in_memory(name: str) -> Iterator[Path]:
    """A folder on which a sync costs nothing. Raises Missing."""
    try:
        folder = Path(tempfile.mkdtemp(prefix=f"piapi-bench-{name}-", dir="/dev/shm"))
    except OSError:
        raise Missing("a writable /dev/shm") from None
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@contextlib.contextmanager
def both_folders(lab: Lab, name: str) -> Iterator[dict[str, Path]]:
    """A folder on the disk, and one where a sync costs nothing."""
    with folder_in_memory(name) as memory:
        yield {"on disk": lab.new_folder(name), "sync for free": memory}


def request_of(server: Server, method: str, path: str, body: object, token: str = "", more: str = "") -> bytes:
    """A whole request with a JSON body; by another token than the server's, if one is named."""
    sent = json.dumps(body)
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n"
        f"Authorization: Bearer {token or server.token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(sent)}\r\n{more}\r\n"
    )
    return (head + sent).encode()


def more_tokens(server: Server, count: int = TOKENS) -> list[str]:
    """Tokens made over HTTP, each with a caller's bound of its own."""
    request = request_of(server, "POST", "/api/v1/tokens", {"name": "bench", "scopes": ["pin:*:*"]})
    with contextlib.closing(Caller(server)) as caller:
        return [json.loads(caller.exchange(request))["token"] for _ in range(count)]


@dataclass(slots=True)
class Taken:
    """How long answers took, in milliseconds."""

    on: list[float] = field(default_factory=list)
    off: list[float] = field(default_factory=list)

    @property
    def all(self) -> list[float]:
        """Whichever it was."""
        return self.on + self.off


class Switch:
    """Switches a pin on and off, one right after the other, over one kept-alive connection a turn."""

    def __init__(self, server: Server, path: str, tokens: Sequence[str] = ()) -> None:
        pairs = [
            [request_of(server, "PUT", path, {"value": on}, token) for on in (True, False)] for token in tokens or [""]
        ]
        self._server = server
        self._requests = itertools.cycle(pairs)

    def alternate(self, seconds: float) -> Taken:
        """How long each answer took."""
        with contextlib.closing(Caller(self._server, timeout_s=10)) as caller:
            taken, end = Taken(), time.perf_counter() + seconds
            while time.perf_counter() < end:
                on, off = next(self._requests)
                for request, of in ((on, taken.on), (off, taken.off)):
                    asked = time.perf_counter()
                    caller.exchange(request)
                    of.append((time.perf_counter() - asked) * 1000)
        return taken
