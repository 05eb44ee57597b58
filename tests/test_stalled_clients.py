"""Clients that stall, by the hundred, against the whole service: commands are answered, and nothing is left of them."""

from __future__ import annotations

import contextlib
import json
import resource
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service import Service, children_of, eventually, running

CAMERA = """
[storage]
floor_bytes = 0
[cameras.front]
backend = "simulated"
width = 1280
height = 720
"""
MANY = 100
MOST = 1000
"""Connections that the service keeps."""
LISTENERS = 2
"""For the network, and for the machine's own command line."""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))  # this side needs as many
    with running(tmp_path_factory.mktemp("stalled"), CAMERA) as service:
        yield service
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture(scope="module")
def token(service: Service) -> str:
    return service.token()


@pytest.fixture(scope="module")
def photo(service: Service, token: str) -> str:
    """The path of a large photo."""
    wanted = {"format": "png", "width": 3840, "height": 2160}
    status, _, body = service.call("POST", "/api/v1/cameras/front/photos", token, wanted)
    photo = json.loads(body)
    assert status == 201 and photo["size_bytes"] > 1_000_000
    path: str = photo["links"]["file"]
    return path


def connect(service: Service, receive_buffer: int = 0) -> socket.socket:
    sock = socket.socket()
    if receive_buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    sock.settimeout(30)
    sock.connect(("127.0.0.1", service.port))
    return sock


def held(service: Service) -> int:
    """Sockets and photos that the worker has open. Its connections to the database are as many as its threads."""
    (worker,) = children_of(service.process.pid)
    names = []
    for descriptor in Path(f"/proc/{worker}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            names.append(str(descriptor.readlink()))
    return sum(name.startswith("socket:") or "/photos/" in name for name in names)


def wait_until_all_are_gone(service: Service) -> None:
    eventually(lambda: held(service) == LISTENERS)


def assert_commands_are_answered(service: Service, token: str) -> None:
    began = time.monotonic()
    for _ in range(5):
        assert service.call("POST", "/api/v1/cameras/front/photos", token, {"width": 64})[0] == 201
        assert service.call("GET", "/api/v1/cameras", token)[0] == 200
    assert time.monotonic() - began < 5


def test_half_sent_headers_keep_no_command_waiting(service: Service, token: str, photo: str) -> None:
    wait_until_all_are_gone(service)
    with contextlib.ExitStack() as open_ones:
        stalled = [open_ones.enter_context(connect(service)) for _ in range(MANY)]
        for sock in stalled:
            sock.sendall(b"GET /api/v1/ HTTP/1.1\r\nHost: localhost\r\nX-")
        eventually(lambda: held(service) >= LISTENERS + MANY)
        for sock in stalled:
            sock.sendall(b"a")  # and so on, a byte now and then
        assert_commands_are_answered(service, token)
    wait_until_all_are_gone(service)


def test_unread_downloads_keep_no_command_waiting(service: Service, token: str, photo: str) -> None:
    wait_until_all_are_gone(service)
    request = f"GET {photo} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
    with contextlib.ExitStack() as open_ones:
        for _ in range(MANY):
            sock = open_ones.enter_context(connect(service, receive_buffer=4096))
            sock.sendall(request * 6)  # the kernel may take the first few
            assert sock.recv(15) == b"HTTP/1.1 200 OK"
        eventually(lambda: held(service) >= LISTENERS + 2 * MANY)  # each with a file that waits
        assert_commands_are_answered(service, token)
    wait_until_all_are_gone(service)


def test_connections_are_bounded_and_the_oldest_idle_one_gives_way(service: Service, token: str, photo: str) -> None:
    wait_until_all_are_gone(service)
    request = b"GET /api/v1/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with contextlib.ExitStack() as open_ones:
        idle = []
        for _ in range(MOST + 50):
            idle.append(open_ones.enter_context(connect(service)))
            idle[-1].sendall(request)
            assert idle[-1].recv(65536).startswith(b"HTTP/1.1 200 OK")
        assert held(service) <= LISTENERS + MOST + 10
        for sock in idle[:40]:  # two neighbours may have become idle in the other order
            assert sock.recv(65536) == b""
        idle[-1].sendall(request)
        assert idle[-1].recv(65536).startswith(b"HTTP/1.1 200 OK")
        assert_commands_are_answered(service, token)
    wait_until_all_are_gone(service)


def test_half_sent_requests_on_every_connection_give_way_to_a_whole_one(
    service: Service, token: str, photo: str
) -> None:
    wait_until_all_are_gone(service)
    with contextlib.ExitStack() as open_ones:
        for _ in range(MOST):
            open_ones.enter_context(connect(service)).sendall(b"GET / HTTP/1.1\r\n")
        assert_commands_are_answered(service, token)
    wait_until_all_are_gone(service)


def test_a_low_bound_on_descriptors_is_raised(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(1024, hard), hard))  # as a shell has it
    try:
        with running(tmp_path, CAMERA) as service:
            assert resource.prlimit(service.process.pid, resource.RLIMIT_NOFILE)[0] >= min(2 * MOST, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
