"""The poller with real sockets: slow clients, idle ones, and endless answers."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from queue import SimpleQueue

import pytest

from piapi.clock import Clock
from piapi.server.bodies import FileSpan, Part, StreamEnded
from piapi.server.connection import After, Bounds, Connection
from piapi.server.outgoing import FilePart
from piapi.server.poller import Poller
from piapi.server.refusals import problem
from piapi.server.shared import MOST_KNOWN, SharedParts

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
HEAD = b"HTTP/1.1 200 OK\r\n\r\n"
PATIENT = Bounds(tick_s=0.02, check_every_s=0.1)


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

    def stream(self, stream: Parts, *, chunked: bool = False) -> None:
        """Answer from now on with this stream."""

        def answer(connection: Connection) -> None:
            connection.out.sendall(HEAD)
            connection.stream, connection.after, connection.chunked = stream, After.STREAM, chunked

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


@contextlib.contextmanager
def opened(bounds: Bounds, clock: Clock | None = None) -> Iterator[House]:
    before = len(list(Path("/proc/self/fd").iterdir()))
    house = House(bounds, clock)
    try:
        yield house
    finally:
        house.close()
    assert "poller" not in [thread.name for thread in threading.enumerate()]
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.fixture
def house(bounds: Bounds) -> Iterator[House]:
    with opened(bounds) as house:
        yield house


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def timed(clock: SetClock) -> Iterator[House]:
    """A house whose time is the clock's."""
    with opened(PATIENT, clock) as house:
        yield house


class Parts:
    """A stream that a test feeds."""

    def __init__(self, *, skips: bool, ends: bool = False) -> None:
        self.skips = skips
        self.ends = ends
        self.waiting: list[bytes | FileSpan | Exception] = []
        self.may = True
        self.closed = 0
        self.attached = threading.Event()
        self.closing = threading.Event()
        self.asked = threading.Condition()
        self.given = 0

    def attach(self, wake: Callable[[], None]) -> None:
        self.wake = wake
        self.attached.set()

    def feed(self, *parts: bytes | FileSpan | Exception) -> None:
        assert self.attached.wait(10)
        self.waiting = self.waiting + list(parts)
        self.wake()

    def next(self, now: float) -> Part | None:
        if not self.waiting:
            return None
        part = self.waiting[-1] if self.skips else self.waiting[0]
        self.waiting = [] if self.skips else self.waiting[1:]
        if isinstance(part, Exception):
            raise part
        with self.asked:
            self.given += 1
            self.asked.notify_all()
        return (part,) if isinstance(part, FileSpan) else (part[:1], part[1:])

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


def half(size: int) -> bytes:
    """A request of which `size` bytes of the body have come, and one byte is missing."""
    return b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % (size + 1) + bytes(size)


def is_told_to_come_back(answer: bytes) -> bool:
    return answer.startswith(b"HTTP/1.1 429 ") and b"Retry-After" in answer


@pytest.mark.parametrize("bounds", [Bounds(buffered_bytes=1000, tick_s=0.02)])
def test_unfinished_requests_are_bounded_together_and_who_holds_most_gives_way(house: House) -> None:
    small, large, newcomer = house.connect(), house.connect(), house.connect()
    for client, size in ((small, 100), (large, 600), (newcomer, 300)):
        client.send(half(size))
        house.settle()
    assert is_told_to_come_back(large.read_to_end())
    for client in (small, newcomer):
        client.send(b".")
        assert client.read(len(HEAD)) == HEAD
    alone = house.connect()
    alone.send(half(2000))
    assert is_told_to_come_back(alone.read_to_end())


def test_of_those_who_hold_the_same_the_oldest_gives_way() -> None:
    clock = SetClock()
    house = House(Bounds(buffered_bytes=1000, tick_s=0.02), clock)
    clients = []
    for _ in range(3):
        clients.append(house.connect())
        clients[-1].send(GET)  # the request in question is not its first
        assert clients[-1].read(len(HEAD)) == HEAD
        clients[-1].send(half(400))
        house.settle()
        clock.time += 1
    assert is_told_to_come_back(clients[0].read_to_end())
    for client in clients[1:]:
        client.send(b".")
        assert client.read(len(HEAD)) == HEAD
    house.close()


@pytest.mark.parametrize("bounds", [Bounds(buffered_bytes=100 * len(half(1000)), tick_s=0.02)])
def test_many_who_hold_all_that_there_is_keep_nobody_out(house: House) -> None:
    holders = [house.connect() for _ in range(100)]
    for holder in holders:
        holder.send(half(1000))
    house.settle()
    for _ in range(20):
        client = house.connect()
        request = half(2)
        client.send(request[:-2])
        house.settle()
        client.send(request[-2:] + b".")
        assert client.read(len(HEAD)) == HEAD


def test_a_trickled_body_in_chunks_has_no_more_time_than_any_other() -> None:
    clock = SetClock()
    house = House(PATIENT, clock)
    client = house.connect()
    client.send(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(9):
        client.send(b"3e8\r\n" + bytes(1000) + b"\r\n")
        house.settle()
        clock.time += 1
        house.settle()
        assert house.poller.connections
    clock.time += 1.1
    assert client.read_to_end().startswith(b"HTTP/1.1 408 ")
    assert house.requests.empty()
    house.settle()  # it lingers, from now on
    clock.time += house.poller.bounds.linger_s
    house.wait_until_gone()
    house.close()


def test_a_trickled_body_in_chunks_is_handed_over_without_it_when_it_has_become_too_large(house: House) -> None:
    client = house.connect()
    head = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    client.send(head)
    for _ in range(66):
        house.settle()
        assert house.requests.empty()
        client.send(b"3e8\r\n" + bytes(1000) + b"\r\n")
    client.send(b"3e8\r\n")
    assert house.requests.get(timeout=10) == head


@pytest.mark.parametrize("bounds", [Bounds(request_s=60, tick_s=0.02)])
def test_a_client_that_leaves_before_it_is_told_to_continue_is_closed_at_once_and_is_no_news(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    client = house.connect()

    def answer_and_lose(connection: Connection) -> None:
        connection.incoming.put_back(b"POST / HTTP/1.1\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.socket.close()  # a reset

    house.answer = answer_and_lose
    with caplog.at_level(logging.INFO, "gunicorn.error"):
        client.send(GET)
        house.wait_until_gone()
    assert not caplog.records


@pytest.mark.parametrize("error", [OSError("gone"), RuntimeError("a mistake")])
def test_what_fails_after_an_answer_ends_that_connection_alone(
    house: House, error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> bool:
        raise error

    taken: SimpleQueue[Connection] = SimpleQueue()
    house.poller.dispatch = taken.put  # as a pool thread does, it answers on a thread of its own
    bad, good = house.connect(), house.connect()
    bad.send(GET)
    connection = taken.get(timeout=10)
    connection.incoming.take()
    connection.after = After.KEEP
    monkeypatch.setattr(connection.transport, "has_buffered", fail)
    house.poller.after_sending(connection)
    assert bad.read_to_end() == b""
    house.poller.dispatch = house._serve
    good.send(GET)
    assert good.read(len(HEAD)) == HEAD
    assert ("a mistake" in caplog.text) is isinstance(error, RuntimeError)


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


def test_where_none_is_idle_the_longest_unfinished_request_gives_way(timed: House, clock: SetClock) -> None:
    silent, halves = timed.connect(), []
    for _ in range(3):
        clock.time += 1
        halves.append(timed.connect())
        halves[-1].send(GET[:-1])
        timed.settle()
    for client in (silent, halves[0]):
        timed.poller.make_room()
        assert client.read_to_end() == b""
        timed.settle()  # or the next one might be this one again
    for client in halves[1:]:
        client.send(GET[-1:])
        assert client.read(len(HEAD)) == HEAD


def test_one_that_has_just_come_gives_way_to_nobody(timed: House, clock: SetClock) -> None:
    """Where all others are being served it is the only one that could."""
    newest = timed.connect()
    clock.time += PATIENT.arrival_s / 2
    timed.poller.make_room()
    timed.settle()
    newest.send(GET)
    assert newest.read(len(HEAD)) == HEAD


@pytest.mark.parametrize("is_new", [True, False], ids=["first request", "next request"])
def test_one_whose_request_waits_to_be_read_gives_way_to_nobody(timed: House, clock: SetClock, is_new: bool) -> None:
    client = timed.connect()
    if not is_new:
        client.send(GET)
        assert client.read(len(HEAD)) == HEAD
        timed.settle()
    clock.time += PATIENT.arrival_s
    busy, free = threading.Event(), threading.Event()
    timed.poller.call(lambda: (busy.set(), free.wait(10)))
    assert busy.wait(10)
    timed.poller.make_room()
    client.send(GET)
    free.set()
    assert client.read(len(HEAD)) == HEAD


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


def connection_of(house: House) -> Connection:
    (connection,) = house.poller.connections.values()
    return connection


def test_a_slow_reader_of_a_stream_that_skips_nothing_lags_and_holds_little(house: House) -> None:
    stream = Parts(skips=False)
    house.stream(stream)
    client = house.connect(receive_buffer=8192)
    client.send(GET)
    assert client.read(len(HEAD)) == HEAD
    parts = [bytes([number % 256]) * 20_000 for number in range(500)]
    for part in parts:
        stream.feed(part)
    house.settle()
    connection = connection_of(house)
    assert connection.out.size <= house.poller.bounds.ask_below_bytes + len(parts[0])
    assert stream.given < 400
    seen = bytearray()
    while len(seen) < 10_000_000 and (piece := client.socket.recv(65536)):
        seen += piece
        assert connection.out.size <= house.poller.bounds.ask_below_bytes + len(parts[0])
    assert bytes(seen) == b"".join(parts)
    assert stream.closed == 0


def test_a_reader_who_takes_nothing_is_cut_off_after_the_time_and_not_before() -> None:
    clock = SetClock()
    house = House(PATIENT, clock)
    stream = Parts(skips=False)
    house.stream(stream)
    client = house.connect(receive_buffer=8192)
    client.send(GET)
    stream.feed(*[bytes(20_000)] * 500)
    for _ in range(3):
        client.read(60_000)
        clock.time += 20
        house.settle()
        assert not stream.closed
    clock.time += 31
    house.settle()
    clock.time += 31
    house.wait_until_gone()
    assert stream.closed == 1
    house.close()


def spans_of(path: Path, count: int) -> list[FileSpan]:
    return [FileSpan(path.open("rb"), 1, path.stat().st_size - 1) for _ in range(count)]


def test_parts_of_files_are_sent_in_their_place_and_closed(house: House, tmp_path: Path) -> None:
    content = os.urandom(300_000)
    (tmp_path / "picture").write_bytes(content)
    stream = Parts(skips=False)
    house.stream(stream)
    client = house.connect(receive_buffer=8192)
    client.send(GET)
    spans = spans_of(tmp_path / "picture", 20)
    stream.feed(*[item for span in spans for item in (b"head", span, b"tail")], StreamEnded())
    assert client.read_to_end() == HEAD + (b"head" + content[1:] + b"tail") * 20
    assert all(span.file.closed for span in spans)


@pytest.mark.parametrize("end", ["client", "revoked", "failure", "stop"])
def test_a_reader_that_goes_in_the_middle_of_files_leaves_none_open(house: House, end: str, tmp_path: Path) -> None:
    (tmp_path / "film").touch()
    os.truncate(tmp_path / "film", 5_000_000)
    stream = Parts(skips=False)
    house.stream(stream)
    client = house.connect(receive_buffer=8192)
    client.send(GET)
    spans = spans_of(tmp_path / "film", 3)
    stream.feed(*spans, RuntimeError("broken"))
    client.read(20_000)
    house.settle()
    if end == "client":
        client.socket.close()
    elif end == "revoked":
        stream.may = False
    elif end == "failure":
        assert len(client.read_to_end()) <= 15_000_000
    else:
        house.poller.stop()
    assert stream.closing.wait(10)
    house.wait_until_gone()
    asked = 3 - len([part for part in stream.waiting if isinstance(part, FileSpan)])
    assert [span.file.closed for span in spans] == [True] * asked + [False] * (3 - asked)
    for span in spans:
        span.close()


def test_a_fast_reader_of_much_leaves_the_others_their_turn(house: House, tmp_path: Path) -> None:
    (tmp_path / "film").touch()
    os.truncate(tmp_path / "film", 50_000_000)
    stream = Parts(skips=False)
    house.stream(stream)
    client = house.connect()
    client.send(GET)
    reader = threading.Thread(target=client.read_to_end)
    reader.start()
    stream.feed(*spans_of(tmp_path / "film", 10), StreamEnded())
    house.answer = house.say_ok
    other = house.connect()
    for _ in range(5):
        other.send(GET)
        assert other.read(len(HEAD)) == HEAD
    reader.join(30)
    assert not reader.is_alive()


def test_in_chunks_the_end_is_told_from_being_cut_off(house: House, tmp_path: Path) -> None:
    (tmp_path / "picture").write_bytes(b"0123456789")
    for parts, end in (([StreamEnded()], b"0\r\n\r\n"), ([RuntimeError("broken")], b"")):
        stream = Parts(skips=False, ends=True)
        house.stream(stream, chunked=True)
        client = house.connect()
        client.send(GET)
        stream.feed(b"head", b"", *spans_of(tmp_path / "picture", 1))
        expected = HEAD + b"4\r\nhead\r\n9\r\n123456789\r\n"
        assert client.read(len(expected)) == expected
        stream.feed(*parts)
        assert client.read_to_end() == end
        assert stream.closing.wait(10)


def test_draining_lets_a_stream_with_an_end_finish(house: House) -> None:
    stream = Parts(skips=False, ends=True)
    house.stream(stream, chunked=True)
    client = house.connect()
    client.send(GET)
    assert client.read(len(HEAD)) == HEAD
    house.poller.drain()
    house.settle()
    stream.feed(b"part", StreamEnded())
    assert client.read_to_end() == b"4\r\npart\r\n0\r\n\r\n"
    assert stream.closed == 1


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


# Parts that many get


class Frames(Parts):
    """A reader's place in a stream whose parts are the same objects for all: head, frame and tail."""

    tail = b"\r\n--frame\r\n"

    def __init__(self, first: bytes = b"") -> None:
        super().__init__(skips=True)
        self.first = first

    def next(self, now: float) -> Part | None:
        part = super().next(now)
        if part is None:
            return None
        first, self.first = self.first, b""
        frame = self.latest
        return (first + b"%d\r\n" % len(frame), frame, self.tail)

    def feed(self, *parts: bytes | FileSpan | Exception) -> None:
        assert isinstance(parts[-1], bytes)
        self.latest = parts[-1]
        super().feed(*parts)


def whole(frame: bytes, first: bytes = b"") -> bytes:
    return first + b"%d\r\n" % len(frame) + frame + Frames.tail


def join(house: House, frames: Frames, *, receive_buffer: int = 0) -> Client:
    house.stream(frames)
    client = house.connect(receive_buffer=receive_buffer)
    client.send(GET)
    assert client.read(len(HEAD)) == HEAD
    return client


def memory_files() -> int:
    """How many memfds this process has open."""
    found = 0
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found += str(entry.readlink()).startswith("/memfd:part")
    return found


def test_many_viewers_get_identical_bytes_of_shared_parts(house: House) -> None:
    places = [Frames(first=b"--frame\r\n") for _ in range(6)]
    clients = [join(house, place) for place in places]
    for number in range(10):
        frame = os.urandom(300_000 + number)
        for place in places:
            place.feed(frame)
        expected = whole(frame, b"" if number else b"--frame\r\n")
        for client in clients:
            assert client.read(len(expected)) == expected
        assert memory_files() == 1
    for client in clients:
        client.socket.close()
    house.wait_until_gone()
    house.settle()
    assert memory_files() == 0


def test_a_part_for_a_single_viewer_is_not_shared(house: House) -> None:
    place = Frames()
    client = join(house, place)
    for _ in range(5):
        frame = os.urandom(300_000)
        place.feed(frame)
        assert client.read(len(whole(frame))) == whole(frame)
        assert memory_files() == 0


def test_frames_never_mix_for_viewers_at_any_pace(house: House) -> None:
    slow = [Frames() for _ in range(3)]
    slow_clients = [join(house, place, receive_buffer=8192) for place in slow]
    fast = [Frames() for _ in range(4)]
    fast_clients = [join(house, place) for place in fast]
    frames = [bytes([number]) * 300_000 for number in range(1, 21)]
    for frame in frames:
        for place in slow + fast:
            place.feed(frame)
        for client in fast_clients:
            assert client.read(len(whole(frame))) == whole(frame)
    # Each slow one has a part under way, some of them in memory that the present no longer needs.
    for place, client in zip(slow, slow_clients, strict=True):
        seen = bytearray()
        while not seen.endswith(whole(frames[-1])):
            assert (piece := client.socket.recv(65536))
            seen += piece
        got = seen.split(b"300000\r\n")
        assert got[0] == b""
        assert all(part in [frame + Frames.tail for frame in frames] for part in got[1:])
        assert len(got) - 1 == place.given < 10
    house.settle()
    assert memory_files() <= 1


@pytest.mark.parametrize("end", ["client", "revoked", "failure", "stop", "drain"])
def test_a_viewer_that_goes_in_the_middle_of_a_part_leaves_no_descriptor(house: House, end: str) -> None:
    places = [Frames() for _ in range(5)]
    clients = [join(house, place, receive_buffer=8192) for place in places]
    frame = os.urandom(2_000_000)
    for place in places:
        place.feed(frame)
    for client in clients:
        client.read(50_000)
    house.settle()
    assert memory_files() == 1
    for place, client in zip(places, clients, strict=True):
        if end == "client":
            client.socket.close()
        elif end == "revoked":
            place.may = False
        elif end == "failure":
            place.allowed = None  # type: ignore[assignment, method-assign]
    if end == "stop":
        house.poller.stop()
    elif end == "drain":
        house.poller.drain()
    house.wait_until_gone()
    if end != "stop":
        house.settle()
    assert memory_files() == 0


def test_what_no_one_asks_for_any_more_is_forgotten() -> None:
    shared = SharedParts()
    frame, other = bytes(600_000), bytes(600_001)
    assert shared.find("first", (b"head", frame, b"tail"), 1.0) is None
    found = shared.find("second", (b"other head", frame, b"tail"), 1.1)
    assert found is not None
    assert found[1] == b"other head"
    assert found[0].head == b"other head"
    assert shared.find("third", (b"head", frame, b"another tail"), 1.1) is None
    shared.forget_old(1.2)
    assert memory_files() == 1
    shared.forget_old(2.0)
    assert memory_files() == 0
    # Who shared a part shares the next one from its first reader on.
    assert shared.find("first", (b"head", other, b"tail"), 2.0) is not None
    shared.forget("first")
    assert memory_files() == 1
    shared.forget("second")
    assert memory_files() == 0


def test_parts_are_copied_when_there_is_no_memory_to_share(monkeypatch: pytest.MonkeyPatch) -> None:
    shared = SharedParts()
    frame = bytes(600_000)
    monkeypatch.setattr(os, "writev", lambda descriptor, buffers: 1)
    for reader in range(4):
        assert shared.find(reader, (b"head", frame), 1.0) is None
    assert memory_files() == 0


def test_parts_of_too_many_streams_are_copied() -> None:
    shared = SharedParts()
    frames = [bytes(1_100_000) for _ in range(MOST_KNOWN + 1)]
    found = [shared.find(number, (frame,), 1.0) for number, frame in enumerate(frames)]
    assert found[-1] is None
    assert memory_files() == MOST_KNOWN
    for number in range(len(frames)):
        shared.forget(number)
    assert memory_files() == 0
