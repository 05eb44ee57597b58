"""The poller with real sockets: slow clients, idle ones, and endless answers."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from queue import SimpleQueue

import pytest

from piapi.clock import Clock
from piapi.server.bodies import StreamEnded
from piapi.server.connection import After, Bounds, Connection
from piapi.server.outgoing import FilePart
from piapi.server.poller import Poller
from piapi.server.refusals import problem

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
HEAD = b"HTTP/1.1 200 OK\r\n\r\n"
PATIENT = Bounds(tick_s=0.02, check_every_s=0.1)


class Client:
    """The far end of a connection to the poller."""

    def __init__(self, near: socket.socket) -> None:
        self.socket = near
        self.socket.settimeout(10)

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def read(self, size: int) -> bytes:
        data = b""
        while len(data) < size and (piece := self.socket.recv(size - len(data))):
            data += piece
        return data

    def read_to_end(self) -> bytes:
        data = bytearray()
        with contextlib.suppress(ConnectionResetError):
            while piece := self.socket.recv(65536):
                data += piece
        return bytes(data)


class House:
    """A poller, and what becomes of the requests that it finds whole."""

    def __init__(self, bounds: Bounds, clock: Clock | None = None) -> None:
        self.requests: SimpleQueue[bytes] = SimpleQueue()
        self.answer: Callable[[Connection], None] = self.say_ok
        self.clients: list[Client] = []
        self.gone = threading.Condition()
        self.poller = Poller(self._serve, problem, bounds, clock=clock, on_close=self._closed)
        self.poller.start()

    def _serve(self, connection: Connection) -> None:
        self.requests.put(connection.incoming.take())
        connection.after = After.KEEP
        self.answer(connection)
        if self.poller.send(connection):
            self.poller.after_sending(connection)

    def _closed(self) -> None:
        with self.gone:
            self.gone.notify_all()

    @staticmethod
    def say_ok(connection: Connection) -> None:
        connection.out.sendall(HEAD)

    def stream(self, stream: Parts) -> None:
        """Answer from now on with this stream."""

        def answer(connection: Connection) -> None:
            connection.out.sendall(HEAD)
            connection.stream, connection.after = stream, After.STREAM

        self.answer = answer

    def connect(self, *, receive_buffer: int = 0) -> Client:
        with socket.socket() as listener:
            if receive_buffer:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, receive_buffer)
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            near = socket.socket()
            if receive_buffer:
                near.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            near.connect(listener.getsockname())
            far, address = listener.accept()
        self.clients.append(Client(near))
        self.poller.add(far, address, ("127.0.0.1", 0))
        return self.clients[-1]

    def settle(self) -> None:
        """Wait until the poller has done what there was to do, and looked at its deadlines."""
        for _ in range(2):
            self.poller.call((done := threading.Event()).set)
            assert done.wait(10)

    def wait_until_gone(self) -> None:
        with self.gone:
            assert self.gone.wait_for(lambda: not self.poller.connections, 10)

    def close(self) -> None:
        self.poller.stop()
        self.poller.release()
        for client in self.clients:
            client.socket.close()


@pytest.fixture
def bounds() -> Bounds:
    return PATIENT


@pytest.fixture
def house(bounds: Bounds) -> Iterator[House]:
    before = len(list(Path("/proc/self/fd").iterdir()))
    house = House(bounds)
    yield house
    house.close()
    assert "poller" not in [thread.name for thread in threading.enumerate()]
    assert len(list(Path("/proc/self/fd").iterdir())) == before


class Parts:
    """A stream that a test feeds."""

    def __init__(self, *, skips: bool) -> None:
        self.skips = skips
        self.waiting: list[bytes | Exception] = []
        self.may = True
        self.closed = 0
        self.attached = threading.Event()
        self.closing = threading.Event()
        self.asked = threading.Condition()
        self.given = 0

    def attach(self, wake: Callable[[], None]) -> None:
        self.wake = wake
        self.attached.set()

    def feed(self, *parts: bytes | Exception) -> None:
        assert self.attached.wait(10)
        self.waiting = self.waiting + list(parts)
        self.wake()

    def next(self, now: float) -> Sequence[bytes] | None:
        if not self.waiting:
            return None
        part = self.waiting[-1] if self.skips else self.waiting[0]
        self.waiting = [] if self.skips else self.waiting[1:]
        if isinstance(part, Exception):
            raise part
        with self.asked:
            self.given += 1
            self.asked.notify_all()
        return (part[:1], part[1:])

    def allowed(self) -> bool:
        return self.may

    def close(self) -> None:
        self.closed += 1
        self.closing.set()


# Requests


def test_a_request_in_pieces_reaches_nobody_before_it_is_whole(house: House) -> None:
    client = house.connect()
    for byte in GET[:-1]:
        client.send(bytes([byte]))
    other = house.connect()
    other.send(GET)
    assert other.read(len(HEAD)) == HEAD
    client.send(GET[-1:])
    assert client.read(len(HEAD)) == HEAD
    assert (house.requests.get(), house.requests.get(), house.requests.empty()) == (GET, GET, True)


@pytest.mark.parametrize("bounds", [Bounds(request_s=0.1, tick_s=0.02, linger_s=0.2)])
def test_half_a_request_is_refused_in_time_and_silence_is_closed(house: House) -> None:
    silent, slow = house.connect(), house.connect()
    slow.send(GET[:-1])
    assert silent.read_to_end() == b""
    answer = slow.read_to_end()
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"application/problem+json" in answer
    house.wait_until_gone()


def test_a_header_over_the_bound_is_refused(house: House) -> None:
    client = house.connect()
    client.send(GET[:-2] + b"A: b\r\n" * 6000)
    assert client.read_to_end().startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize("bounds", [Bounds(buffered_bytes=1000, tick_s=0.02)])
def test_unfinished_requests_are_bounded_together(house: House) -> None:
    first, second = house.connect(), house.connect()
    head = b"POST / HTTP/1.1\r\nContent-Length: 600\r\n\r\n"
    first.send(head + bytes(500))
    house.settle()
    second.send(head + bytes(599))
    answers = second.read_to_end()
    assert answers.startswith(b"HTTP/1.1 429 ")
    assert b"Retry-After" in answers
    first.send(bytes(100))
    assert first.read(len(HEAD)) == HEAD


@pytest.mark.parametrize("bounds", [Bounds(keepalive_s=0.1, tick_s=0.02)])
def test_an_idle_connection_is_closed_after_its_time(house: House) -> None:
    client = house.connect()
    client.send(GET)
    assert client.read_to_end() == HEAD


def test_the_longest_idle_gives_way(house: House) -> None:
    oldest, newest = house.connect(), house.connect()
    for client in (oldest, newest):
        client.send(GET)
        assert client.read(len(HEAD)) == HEAD
    house.poller.make_room()
    assert oldest.read_to_end() == b""
    newest.send(GET)
    assert newest.read(len(HEAD)) == HEAD


def test_a_client_that_says_no_more_still_gets_its_answer(house: House) -> None:
    client = house.connect()
    client.send(GET)
    client.socket.shutdown(socket.SHUT_WR)
    assert client.read_to_end() == HEAD


# Files


def send_file(house: House, path: Path, size: int) -> list[int]:
    closed: list[int] = []
    file = path.open("rb")

    def close() -> None:
        closed.append(1)
        file.close()

    def answer(connection: Connection) -> None:
        connection.out.sendall(HEAD)
        connection.out.add_file(FilePart(file.fileno(), 0, size, close))
        connection.after = After.CLOSE

    house.answer = answer
    return closed


def test_a_file_is_sent_whole_and_closed(house: House, tmp_path: Path) -> None:
    content = os.urandom(3_000_000)
    (tmp_path / "film").write_bytes(content)
    closed = send_file(house, tmp_path / "film", len(content))
    client = house.connect()
    client.send(GET)
    assert client.read_to_end() == HEAD + content
    assert closed == [1]


@pytest.mark.parametrize("bounds", [Bounds(stall_s=0.2, tick_s=0.02)])
def test_a_download_that_nobody_reads_is_closed_and_so_is_its_file(house: House, tmp_path: Path) -> None:
    (tmp_path / "film").touch()
    os.truncate(tmp_path / "film", 50_000_000)
    closed = send_file(house, tmp_path / "film", 50_000_000)
    client = house.connect()
    client.send(GET)
    house.wait_until_gone()
    assert closed == [1]
    assert len(client.read_to_end()) < 50_000_000


class SetClock:
    """Time as the test says."""

    def __init__(self) -> None:
        self.time = 1000.0

    def now(self) -> datetime:
        raise NotImplementedError

    def monotonic(self) -> float:
        return self.time

    def wait(self, condition: threading.Condition, timeout: float | None) -> bool:
        raise NotImplementedError


def test_a_download_goes_on_as_long_as_anything_is_taken(tmp_path: Path) -> None:
    (tmp_path / "film").touch()
    os.truncate(tmp_path / "film", 50_000_000)
    clock = SetClock()
    house = House(PATIENT, clock)
    closed = send_file(house, tmp_path / "film", 50_000_000)
    client = house.connect(receive_buffer=8192)
    client.send(GET)
    for _ in range(5):
        client.read(50_000)  # more than this end's kernel holds, and too little for the other's to ask for more
        clock.time += 20
        house.settle()
        assert not closed
    clock.time += 31
    house.settle()
    clock.time += 31
    house.wait_until_gone()
    assert closed == [1]
    house.close()


# Streams


def test_a_fast_viewer_sees_each_part_and_a_slow_one_skips(house: House) -> None:
    fast, slow = Parts(skips=True), Parts(skips=True)
    house.stream(slow)
    slow_client = house.connect(receive_buffer=8192)
    slow_client.send(GET)
    assert slow.attached.wait(10)
    house.stream(fast)
    fast_client = house.connect()
    fast_client.send(GET)
    assert fast_client.read(len(HEAD)) == HEAD
    for number in range(40):
        part = b"%03d" % number + bytes(30_000)
        slow.feed(part)
        fast.feed(part)
        assert fast_client.read(len(part)) == part
    assert fast.given == 40
    assert slow.given < 10
    # Once it reads again, what it gets after the little that was under way is the newest.
    last = b"end" + bytes(30_000)
    slow.feed(last)
    seen = b""
    while not seen.endswith(last):
        assert (piece := slow_client.socket.recv(65536))
        seen = seen + piece
    assert len(seen) < 10 * len(last)


def test_a_stream_that_skips_nothing_loses_nothing(house: House) -> None:
    stream = Parts(skips=False)
    house.stream(stream)
    client = house.connect(receive_buffer=8192)
    client.send(GET)
    parts = [b"event %04d" % number + bytes(990) for number in range(500)]
    for part in parts:
        stream.feed(part)
    stream.feed(StreamEnded())
    assert client.read_to_end() == HEAD + b"".join(parts)
    assert stream.closing.wait(10)
    assert stream.closed == 1


def test_a_backlog_over_the_bound_ends_the_stream(house: House) -> None:
    stream = Parts(skips=False)
    house.stream(stream)
    client = house.connect(receive_buffer=8192)
    client.send(GET)
    stream.feed(*[bytes(100_000)] * 200)
    assert stream.closing.wait(10)
    assert len(client.read_to_end()) < 8_000_000


@pytest.mark.parametrize("skips", [True, False])
def test_a_reader_who_may_no_longer_look_is_cut_off(house: House, skips: bool) -> None:
    stream = Parts(skips=skips)
    house.stream(stream)
    client = house.connect()
    client.send(GET)
    stream.feed(b"part")
    assert client.read(len(HEAD) + 4) == HEAD + b"part"
    stream.may = False
    assert client.read_to_end() == b""
    assert stream.closing.wait(10)
    assert stream.closed == 1


@pytest.mark.parametrize("gone", ["closed", "half closed"])
def test_a_client_that_goes_ends_its_stream_at_once(house: House, gone: str) -> None:
    stream = Parts(skips=True)
    house.stream(stream)
    client = house.connect()
    client.send(GET)
    assert stream.attached.wait(10)
    assert client.read(len(HEAD)) == HEAD
    if gone == "closed":
        client.socket.close()
    else:
        client.socket.shutdown(socket.SHUT_WR)
    assert stream.closing.wait(10)
    house.wait_until_gone()
    assert stream.closed == 1
    stream.wake()  # harmless


def test_what_a_viewer_says_is_ignored_and_bounded(house: House) -> None:
    stream = Parts(skips=True)
    house.stream(stream)
    client = house.connect()
    client.send(GET + GET)
    stream.feed(b"part")
    assert client.read(len(HEAD) + 4) == HEAD + b"part"
    assert house.requests.get() == GET + GET
    with pytest.raises(OSError):  # noqa: PT011 - a reset or a broken pipe
        for _ in range(100):
            client.send(bytes(65536))
    assert stream.closing.wait(10)


@pytest.mark.parametrize("method", ["attach", "next", "allowed", "close"])
def test_a_stream_that_raises_ends_alone_and_is_logged(
    house: House, method: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    good, bad = Parts(skips=True), Parts(skips=True)
    failed = threading.Event()

    def fail(*arguments: object) -> None:
        failed.set()
        raise RuntimeError("this stream is broken")

    monkeypatch.setattr(bad, method, fail)
    house.stream(good)
    client = house.connect()
    client.send(GET)
    assert client.read(len(HEAD)) == HEAD
    house.stream(bad)
    with caplog.at_level(logging.ERROR, "gunicorn.error"):
        other = house.connect()
        other.send(GET)
        if method == "close":
            assert other.read(len(HEAD)) == HEAD
            other.socket.close()
        else:
            assert other.read_to_end() == HEAD
        assert failed.wait(10)
    good.feed(b"part")
    assert client.read(4) == b"part"
    assert good.closed == 0
    house.settle()
    assert "this stream is broken" in caplog.text
    assert bad.closed == (0 if method == "close" else 1)


def test_draining_ends_streams_and_idle_clients_and_lets_an_answer_finish(house: House, tmp_path: Path) -> None:
    (tmp_path / "film").touch()
    os.truncate(tmp_path / "film", 20_000_000)
    idle = house.connect()
    idle.send(GET)
    assert idle.read(len(HEAD)) == HEAD
    stream = Parts(skips=True)
    house.stream(stream)
    viewer = house.connect()
    viewer.send(GET)
    assert viewer.read(len(HEAD)) == HEAD
    send_file(house, tmp_path / "film", 20_000_000)
    downloader = house.connect()
    downloader.send(GET)
    assert downloader.read(len(HEAD)) == HEAD
    house.poller.drain()
    assert (idle.read_to_end(), viewer.read_to_end()) == (b"", b"")
    assert stream.closing.wait(10)
    assert len(downloader.read_to_end()) == 20_000_000
    for client in (idle, viewer, downloader):
        client.socket.close()
    house.wait_until_gone()


def test_stopping_closes_all_that_is_open(house: House) -> None:
    stream = Parts(skips=True)
    house.stream(stream)
    viewer = house.connect()
    viewer.send(GET)
    assert stream.attached.wait(10)
    house.poller.stop()
    house.poller.stop()
    assert viewer.read_to_end() == HEAD
    assert stream.closed == 1
    stream.wake()
