"""The worker in a real gunicorn, with real clients."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import select
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest
import trustme

ROOT = Path(__file__).parent.parent
SIZE = 50_000_000
HELLO = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


class Server:
    """A gunicorn with one worker of two threads on a port of its own."""

    def __init__(self, folder: Path, worker: str, *options: str) -> None:
        self.report = folder / "report"
        file = folder / "film"
        file.touch()
        os.truncate(file, SIZE)
        command = [sys.executable, "-m", "gunicorn", "-c", "python:tests.server_app", "-b", "127.0.0.1:0"]
        environment = {**os.environ, "PIAPI_TEST_FILE": str(file), "PIAPI_TEST_REPORT": str(self.report)}
        self.process = subprocess.Popen(
            [*command, "-k", f"tests.server_app.{worker}", *options],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines: list[str] = []
        self._news = threading.Condition()
        assert self.process.stdout is not None
        self._reader = threading.Thread(target=self._read_log, args=(self.process.stdout,))
        self._reader.start()
        self.port = int(self.wait_for(r"Listening at: https?://127\.0\.0\.1:(\d+)")[1])
        self.wait_for("Booting worker")

    def _read_log(self, stream: IO[str]) -> None:
        for line in stream:
            with self._news:
                self.lines.append(line)
                self._news.notify_all()

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Wait until the log says `pattern`."""
        with self._news:
            found = self._news.wait_for(lambda: re.search(pattern, "".join(self.lines)), 20)
        assert found, "".join(self.lines)
        return found

    @property
    def log(self) -> str:
        return "".join(self.lines)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def stop(self, sign: signal.Signals = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(sign)
        code = self.process.wait(20)
        self._reader.join()
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code


def request(path: str, *headers: str, method: str = "GET", body: bytes = b"") -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: x", *headers, "", ""]).encode() + body


def read_to_end(sock: socket.socket) -> bytes:
    data = bytearray()
    while piece := sock.recv(1 << 20):
        data += piece
    return bytes(data)


def read_answer(sock: socket.socket, *, with_body: bool = True) -> tuple[int, dict[str, str], bytes]:
    """One answer with a Content-Length, and not a byte more."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        piece = sock.recv(1)
        assert piece, head
        head += piece
    first, *lines = head.decode().split("\r\n")[:-2]
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    body = bytearray()
    size = int(headers.get("content-length", 0)) if with_body else 0
    while len(body) < size and (piece := sock.recv(size - len(body))):
        body += piece
    return int(first.split()[1]), headers, bytes(body)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("impatient"), "ImpatientWorker")
    yield server
    assert server.stop() == 0


@pytest.fixture
def client(server: Server) -> Iterator[socket.socket]:
    with server.connect() as sock:
        yield sock


def is_problem(answer: tuple[int, dict[str, str], bytes], status: int, slug: str) -> bool:
    document = json.loads(answer[2])
    assert set(document) == {"type", "title", "status", "detail", "instance"}
    assert answer[1]["connection"] == "close"
    assert "Traceback" not in document["detail"]
    return (answer[0], document["status"], document["type"], answer[1]["content-type"]) == (
        status,
        status,
        f"/problems/{slug}",
        "application/problem+json",
    )


# HTTP


def test_requests_follow_each_other_on_one_connection(client: socket.socket) -> None:
    for _ in range(3):
        client.sendall(HELLO)
        status, headers, body = read_answer(client)
        assert (status, headers["connection"], body) == (200, "keep-alive", b"hello\n")


def test_pipelined_requests_are_answered_in_order(client: socket.socket) -> None:
    posts = [request("/echo", f"Content-Length: {n}", method="POST", body=bytes([n]) * n) for n in range(1, 60)]
    client.sendall(b"".join(posts) + HELLO[:20])
    assert [read_answer(client)[2] for _ in posts] == [bytes([n]) * n for n in range(1, 60)]
    client.sendall(HELLO[20:])
    assert read_answer(client)[2] == b"hello\n"


def test_a_body_that_the_application_ignores_is_not_the_next_request(client: socket.socket) -> None:
    client.sendall(request("/", "Content-Length: 60", method="POST", body=HELLO.ljust(60)) + HELLO)
    assert read_answer(client)[2] == b"hello\n"
    assert read_answer(client)[2] == b"hello\n"
    client.sendall(HELLO)
    assert read_answer(client)[0] == 200


def test_http_1_0_and_connection_close_end_the_connection(server: Server) -> None:
    for line in (b"GET / HTTP/1.0\r\n\r\n", request("/", "Connection: close")):
        with server.connect() as client:
            client.sendall(line)
            assert b"Connection: close" in (answer := read_to_end(client))
            assert answer.endswith(b"\r\n\r\nhello\n")


def test_head_and_204_have_no_body(client: socket.socket) -> None:
    client.sendall(request("/file", method="HEAD") + request("/empty") + request("/stream", method="HEAD"))
    assert read_answer(client, with_body=False)[1]["content-length"] == str(SIZE)
    assert read_answer(client)[0] == 204
    status, headers, _ = read_answer(client)
    assert (status, headers["connection"]) == (200, "close")
    assert read_to_end(client) == b""


def test_a_body_in_chunks_is_read_whole(client: socket.socket) -> None:
    client.sendall(request("/echo", "Transfer-Encoding: chunked", method="POST") + b"5\r\nhello\r\n")
    client.sendall(b"6;x=y\r\n world\r\n0\r\n\r\n" + HELLO)
    assert read_answer(client)[2] == b"hello world"
    assert read_answer(client)[2] == b"hello\n"


def test_continue_is_said_once_and_before_the_body(client: socket.socket) -> None:
    client.sendall(request("/echo", "Content-Length: 5", "Expect: 100-continue", method="POST"))
    assert client.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.sendall(b"hello")
    assert read_answer(client)[::2] == (200, b"hello")


@pytest.mark.parametrize("length", [5_000_000, 66_561])
def test_no_continue_for_a_body_over_the_bound(client: socket.socket, length: int) -> None:
    client.sendall(request("/bounded", f"Content-Length: {length}", "Expect: 100-continue", method="POST"))
    status, headers, _ = read_answer(client)
    assert (status, headers["connection"]) == (413, "close")


OVERSIZED = pytest.mark.parametrize(
    ("header", "body"),
    [
        ("Content-Length: 5000000", bytes(5_000_000)),
        ("Content-Length: 70000", bytes(70_000)),
        ("Transfer-Encoding: chunked", b"1e8480\r\n" + bytes(2_000_000) + b"\r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked", (b"2710\r\n" + bytes(10_000) + b"\r\n") * 200 + b"0\r\n\r\n"),
    ],
    ids=["known", "hardly", "one chunk", "many chunks"],
)


@OVERSIZED
def test_who_sends_too_much_without_asking_can_read_the_answer(client: socket.socket, header: str, body: bytes) -> None:
    client.sendall(request("/bounded", header, method="POST", body=body))
    assert read_answer(client)[::2] == (413, b"too large")
    assert read_to_end(client) == b""


@OVERSIZED
@pytest.mark.parametrize("path", ["/echo", "/careful"])
def test_an_application_that_reads_what_is_over_the_bound_answers_413_and_is_no_news(
    server: Server, client: socket.socket, path: str, header: str, body: bytes
) -> None:
    before = len(server.lines)
    client.sendall(request(path, header, method="POST", body=body))
    answer = read_answer(client)
    assert is_problem(answer, 413, "too-large")
    assert json.loads(answer[2])["title"] == "Too large"
    assert read_to_end(client) == b""
    server.wait_for(rf'"POST {path} HTTP/1.1" 413')
    assert "Traceback" not in "".join(server.lines[before:])


def test_an_answer_begun_before_an_oversized_body_is_read_is_cut_off(server: Server, client: socket.socket) -> None:
    before = len(server.lines)
    client.sendall(request("/echoing", "Content-Length: 5000000", method="POST") + bytes(100))
    data = b""
    with contextlib.suppress(ConnectionResetError):
        data = read_to_end(client)
    assert not data.endswith(b"0\r\n\r\n")
    server.wait_for("Error while an answer was being sent: The body is larger")
    assert "Traceback" not in "".join(server.lines[before:])


def test_a_client_that_leaves_instead_of_continuing_is_no_news(server: Server) -> None:
    before = len(server.lines)
    for _ in range(20):
        with server.connect() as client:
            client.sendall(HELLO + request("/echo", "Content-Length: 5", "Expect: 100-continue", method="POST"))
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with server.connect() as client:
        client.sendall(request("/empty?settled", "Connection: close"))
        read_to_end(client)
    server.wait_for(r'"GET /empty\?settled')
    assert "Traceback" not in "".join(server.lines[before:])


# Joined files, and streams that keep time


def joined(count: int) -> bytes:
    """What `/joined` sends; the file is all zeros."""
    return b"".join(b"%06d\n" % number + bytes(9) for number in range(count))


@pytest.mark.parametrize("count", [0, 1, 10_000])
def test_a_body_joined_from_files_is_sent_whole_and_the_connection_goes_on(client: socket.socket, count: int) -> None:
    client.sendall(request(f"/joined?{count}") + request(f"/joined?{count}", method="HEAD") + HELLO)
    status, headers, body = read_answer(client)
    assert (status, headers["connection"], body) == (200, "keep-alive", joined(count))
    assert read_answer(client, with_body=False)[1]["content-length"] == str(len(joined(count)))
    assert read_answer(client)[2] == b"hello\n"


def test_ten_thousand_files_that_wait_to_be_sent_take_no_descriptors(server: Server) -> None:
    (worker,) = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
    with server.connect() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.sendall(request("/joined?400000"))
        assert slow.recv(15).startswith(b"HTTP/1.1 200")
        with server.connect() as other:
            other.sendall(HELLO)
            assert read_answer(other)[2] == b"hello\n"
        links = []
        for entry in Path(f"/proc/{worker}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                links.append(str(entry.readlink()))
        assert sum(link.endswith("/film") for link in links) <= 2


def test_a_joined_file_that_has_gone_cuts_the_answer_off(server: Server, client: socket.socket) -> None:
    client.sendall(request("/gone?3"))
    head, data = b"", b""
    with contextlib.suppress(ConnectionResetError):
        data = read_to_end(client)
    head, _, body = data.partition(b"\r\n\r\n")
    assert len(body) < len(joined(3)) + 9
    server.wait_for("An answer is cut off: .*No such file")


def test_a_stream_that_keeps_time_is_asked_without_a_call(client: socket.socket) -> None:
    began = time.monotonic()
    client.sendall(request("/paced?6"))
    answer = read_to_end(client)
    assert answer.count(b"tick\n") == 6 and answer.endswith(b"0\r\n\r\n")
    assert 0.25 <= time.monotonic() - began < 5


# What is refused


@pytest.mark.parametrize(
    ("nonsense", "status"),
    [
        (b"GET /\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n", 400),
        (b"GET / HTTP/3.7\r\n\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (request("/", "Content-Length: five"), 400),
        (request("/", "Content-Length: 5", "Transfer-Encoding: chunked"), 400),
        (request("/", "No colon"), 400),
        (request("/echo", "Transfer-Encoding: chunked", method="POST", body=b"zz\r\n"), 400),
        (request("/" + "a" * 5000), 414),
        (request("/", "Expect: a miracle"), 417),
        (request("/", *["A: b"] * 200), 431),
        (request("/", *["A: " + "b" * 1000] * 40), 431),
        (request("/", "Transfer-Encoding: secret"), 501),
    ],
)
def test_what_is_no_request_gets_a_problem(client: socket.socket, nonsense: bytes, status: int) -> None:
    client.sendall(nonsense)
    assert is_problem(read_answer(client), status, "bad-request")
    assert read_to_end(client) == b""


@pytest.mark.parametrize("path", ["/", "/echo", "/careful", "/echoing", "/stream"])
@pytest.mark.parametrize(
    "body",
    [
        b"zz\r\nhello\r\n0\r\n\r\n",
        b"-5\r\nhello\r\n0\r\n\r\n",
        b"5\r\nhello5\r\nhello\r\n0\r\n\r\n\r\n\r\n",
        b"5;\x01\r\nhello\r\n0\r\n\r\n",
        b"0\r\nno trailer\r\n\r\n",
        b"\r\n\r\n",
    ],
    ids=["no number", "negative", "no end of a chunk", "bad extension", "bad trailer", "nothing"],
)
def test_a_malformed_body_is_a_problem_whether_it_is_read_or_not(
    server: Server, client: socket.socket, path: str, body: bytes
) -> None:
    before = len(server.lines)
    client.sendall(request(path, "Transfer-Encoding: chunked", method="POST", body=body))
    assert is_problem(read_answer(client), 400, "bad-request")
    assert read_to_end(client) == b""
    assert "Traceback" not in "".join(server.lines[before:])


@pytest.mark.parametrize(
    "begun",
    [
        request("/", "Content-Length: 10", method="POST", body=b"hello"),
        request("/echo", "Content-Length: 10", method="POST"),
        request("/", "Transfer-Encoding: chunked", method="POST", body=b"a\r\nhello"),
        request("/echo", "Transfer-Encoding: chunked", method="POST", body=b"5\r\nhello\r\n"),
        request("/careful", "Transfer-Encoding: chunked", method="POST", body=b"5\r\nhello\r\n0\r\n"),
        HELLO[:-2],
    ],
    ids=["length", "no body", "in a chunk", "between chunks", "before the end", "header"],
)
def test_a_request_that_ends_early_is_a_problem_at_once(server: Server, client: socket.socket, begun: bytes) -> None:
    before = len(server.lines)
    client.sendall(HELLO + begun)
    client.shutdown(socket.SHUT_WR)
    assert read_answer(client)[0] == 200
    answer = read_answer(client)
    assert is_problem(answer, 400, "bad-request")
    assert json.loads(answer[2])["detail"] == "The request ended before it was whole."
    assert read_to_end(client) == b""
    assert "Traceback" not in "".join(server.lines[before:])


def test_an_exception_of_the_application_is_a_problem_that_tells_nothing(server: Server, client: socket.socket) -> None:
    client.sendall(request("/boom"))
    answer = read_answer(client)
    assert is_problem(answer, 500, "internal-error")
    assert json.loads(answer[2])["instance"] == "/boom"
    assert b"secret" not in answer[2]
    server.wait_for("a secret of the house")


def test_an_answer_that_fails_half_way_is_cut_off(server: Server, client: socket.socket) -> None:
    client.sendall(request("/failing"))
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := client.recv(65536):
            data += piece
    assert b"0\r\n\r\n" not in data
    server.wait_for("Error while an answer was being sent")


# What takes no thread: there are two


def test_unfinished_requests_take_no_thread_and_are_refused_in_time(server: Server) -> None:
    slow = [server.connect() for _ in range(8)]
    for number, sock in enumerate(slow):
        half = request("/echo", "Content-Length: 50", method="POST", body=b"half")
        sock.sendall(HELLO[:-2] if number % 2 else half)
    with server.connect() as client:
        client.sendall(HELLO)
        assert read_answer(client)[0] == 200
    for sock in slow:
        assert is_problem(read_answer(sock), 408, "bad-request")
        sock.close()


@pytest.mark.parametrize("path", ["/file", "/wrapped", f"/pieces?{SIZE // 65536}"])
def test_unread_downloads_take_no_thread_and_are_closed(server: Server, path: str) -> None:
    slow = [server.connect() for _ in range(4)]
    for sock in slow:
        sock.sendall(request(path))
    with server.connect() as client:
        client.sendall(HELLO)
        assert read_answer(client)[0] == 200
    for sock in slow:
        assert sock.recv(15) == b"HTTP/1.1 200 OK"
        watch = select.poll()
        watch.register(sock, 0)  # for nothing but the reset
        assert watch.poll(10_000)  # POLLERR, POLLHUP or both: the kernel sets one after the other
        sock.close()


@pytest.mark.parametrize("path", ["/file", "/wrapped"])
def test_files_arrive_whole(client: socket.socket, path: str) -> None:
    client.sendall(request(path, "Connection: close"))
    head, body = read_to_end(client).split(b"\r\n\r\n", 1)
    assert head.startswith(b"HTTP/1.1 200 OK")
    assert len(body) == SIZE


def test_a_long_answer_in_pieces_arrives_whole(client: socket.socket) -> None:
    client.sendall(request("/pieces?200").replace(b"HTTP/1.1", b"HTTP/1.0"))
    body = read_to_end(client).split(b"\r\n\r\n", 1)[1]
    assert body == b"".join(b"%07d\n" % number * 8192 for number in range(200))


def test_viewers_take_no_thread_and_leave_no_stream_open(server: Server) -> None:
    viewers = [server.connect() for _ in range(8)]
    for sock in viewers:
        sock.sendall(request("/stream"))
    for sock in viewers:
        status, headers, _ = read_answer(sock)
        assert (status, headers["connection"]) == (200, "close")
        assert "transfer-encoding" not in headers
        assert sock.recv(5) == b"part\n"
    with server.connect() as client:
        client.sendall(HELLO)
        assert read_answer(client)[0] == 200
        for sock in viewers:
            sock.close()
        opened, closed = -1, -2
        while opened != closed:
            client.sendall(request("/counts"))
            opened, closed = json.loads(read_answer(client)[2])
    server.wait_for(r'"GET /stream HTTP/1.1" 200')


def archive_of(sock: socket.socket, path: str) -> tuple[http.client.HTTPResponse, int]:
    """The answer to a request for an archive, and how long it was; raises when it was cut off in the middle."""
    sock.sendall(request(path))
    response = http.client.HTTPResponse(sock)
    response.begin()
    size = 0
    while piece := response.read(1 << 20):
        size += len(piece)
    return response, size


def test_a_stream_with_an_end_goes_in_chunks_and_looks_whole_only_when_it_is(server: Server) -> None:
    with server.connect() as client:
        response, size = archive_of(client, "/archive?2")
        assert response.headers["Transfer-Encoding"] == "chunked"
        assert size == 2 * (SIZE + 6)
    with server.connect() as client, pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
        archive_of(client, "/broken?1")
    with server.connect() as client:
        client.sendall(request("/archive?1", "Connection: close").replace(b"HTTP/1.1", b"HTTP/1.0"))
        head, body = read_to_end(client).split(b"\r\n\r\n", 1)
        assert b"Transfer-Encoding" not in head
        assert len(body) == SIZE + 6
    with server.connect() as client:
        client.sendall(request("/archive?1", method="HEAD"))
        assert read_to_end(client).endswith(b"\r\n\r\n")


# TLS


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def tls_server(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("tls")
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_pem.write_to_path(folder / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    options = ("--certfile", str(folder / "cert.pem"), "--keyfile", str(folder / "key.pem"))
    server = Server(folder, "ImpatientWorker", *options)
    yield server
    assert server.stop() == 0


@pytest.fixture
def tls_client(tls_server: Server, authority: trustme.CA) -> Iterator[ssl.SSLSocket]:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    with context.wrap_socket(tls_server.connect(), server_hostname="127.0.0.1") as sock:
        yield sock


def test_requests_files_and_streams_work_over_tls(tls_client: ssl.SSLSocket) -> None:
    body = os.urandom(60_000)
    tls_client.sendall(request("/echo", f"Content-Length: {len(body)}", method="POST", body=body) + HELLO)
    assert read_answer(tls_client)[2] == body
    assert read_answer(tls_client)[2] == b"hello\n"
    for path in ("/file", "/wrapped"):
        tls_client.sendall(request(path))
        assert len(read_answer(tls_client)[2]) == SIZE
    tls_client.sendall(request("/stream"))
    assert read_answer(tls_client)[0] == 200
    assert tls_client.recv(5) == b"part\n"


def test_an_archive_of_files_works_over_tls(tls_client: ssl.SSLSocket) -> None:
    assert archive_of(tls_client, "/archive?1")[1] == SIZE + 6


def test_the_end_of_an_answer_is_told_inside_tls(tls_client: ssl.SSLSocket) -> None:
    tls_client.sendall(request("/pieces?20").replace(b"HTTP/1.1", b"HTTP/1.0"))
    # A ragged end would raise SSLEOFError here.
    assert len(read_to_end(tls_client).split(b"\r\n\r\n", 1)[1]) == 20 * 65536


def test_an_unread_download_over_tls_takes_no_thread(tls_server: Server, authority: trustme.CA) -> None:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    slow = [context.wrap_socket(tls_server.connect(), server_hostname="127.0.0.1") for _ in range(4)]
    for sock in slow:
        sock.sendall(request("/file"))
    with context.wrap_socket(tls_server.connect(), server_hostname="127.0.0.1") as client:
        client.sendall(HELLO)
        assert read_answer(client)[0] == 200
    for sock in slow:
        sock.close()


def test_who_does_not_shake_hands_is_closed_in_time(tls_server: Server) -> None:
    with tls_server.connect() as silent, tls_server.connect() as plain:
        plain.sendall(HELLO)
        for sock in (plain, silent):
            try:
                data = sock.recv(65536)
            except ConnectionResetError:
                data = b""
            assert b"HTTP" not in data


# The end


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_everything_and_leaves_nothing(tmp_path: Path, sign: signal.Signals) -> None:
    server = Server(tmp_path, "PatientWorker")
    idle, viewer, half, unread = (server.connect() for _ in range(4))
    idle.sendall(HELLO)
    viewer.sendall(request("/stream"))
    half.sendall(HELLO[:-2])
    unread.sendall(request("/file"))
    assert read_answer(idle)[0] == 200
    assert read_answer(viewer)[0] == 200
    assert unread.recv(15) == b"HTTP/1.1 200 OK"
    server.process.send_signal(sign)
    if sign is signal.SIGTERM:  # what was begun is finished
        assert read_to_end(idle) == b""
        read_to_end(viewer)
        half.sendall(HELLO[-2:])
        assert read_answer(half)[1]["connection"] == "close"
        assert len(read_to_end(unread)) > SIZE
    for sock in (idle, viewer, half, unread):
        sock.close()
    assert server.stop(sign) == 0
    assert "Traceback" not in server.log
    assert not re.search(r"\[(ERROR|CRITICAL)\]", server.log), server.log
    assert json.loads(server.report.read_text()) == {"threads": [], "descriptors": [], "streams": 0}


def test_what_waits_is_told_of_the_drain_once_in_the_main_thread(tmp_path: Path) -> None:
    server = Server(tmp_path, "PatientWorker")
    with server.connect() as waiting:
        waiting.sendall(request("/wait"))
        with server.connect() as client:  # with only this one idle, the other is being answered
            client.sendall(HELLO)
            assert read_answer(client)[0] == 200
        server.process.send_signal(signal.SIGTERM)
        assert read_answer(waiting)[2] == b"interrupted"
    assert server.stop() == 0
    assert re.findall("Draining begins in .*", server.log) == ["Draining begins in MainThread, signal handler: False"]


def test_a_failure_before_the_drain_is_logged_and_does_not_stop_it(tmp_path: Path) -> None:
    server = Server(tmp_path, "StumblingWorker")
    with server.connect() as half:
        half.sendall(HELLO[:-2])
        with server.connect() as client:
            client.sendall(HELLO)
            assert read_answer(client)[0] == 200
        server.process.send_signal(signal.SIGTERM)
        server.wait_for("could not interrupt anything")
        half.sendall(HELLO[-2:])
        assert read_answer(half)[2] == b"hello\n"
    assert server.stop() == 0
    assert json.loads(server.report.read_text()) == {"threads": [], "descriptors": [], "streams": 0}


def test_a_client_that_will_not_end_is_cut_off_after_the_graceful_timeout(tmp_path: Path) -> None:
    server = Server(tmp_path, "PatientWorker", "--graceful-timeout", "1")
    with server.connect() as unread:
        unread.sendall(request("/file"))
        assert unread.recv(15) == b"HTTP/1.1 200 OK"
        assert server.stop() == 0
    assert "1 connections are cut off" in server.log
    assert json.loads(server.report.read_text()) == {"threads": [], "descriptors": [], "streams": 0}


def test_when_full_the_longest_idle_connection_gives_way(tmp_path: Path) -> None:
    server = Server(tmp_path, "PatientWorker", "--worker-connections", "4")
    clients = []
    for _ in range(10):
        clients.append(server.connect())
        clients[-1].sendall(HELLO)
        assert read_answer(clients[-1])[0] == 200
    assert read_to_end(clients[0]) == b""
    for sock in clients:
        sock.close()
    assert server.stop() == 0


@pytest.mark.parametrize("serves", [False, True], ids=["at the start", "serving"])
def test_the_worker_ends_when_its_master_is_gone(tmp_path: Path, serves: bool) -> None:
    server = Server(tmp_path, "PatientWorker")
    if serves:
        with server.connect() as client:
            client.sendall(HELLO)
            assert read_answer(client)[0] == 200
    server.process.kill()
    # The log's pipe ends when the worker, who has its other end too, has ended.
    server._reader.join(20)
    assert not server._reader.is_alive()
    server.stop()
    # Told of it, or asked after it at that very moment.
    assert re.search("The arbiter is gone|Parent changed", server.log), server.log


def test_a_worker_is_replaced_after_its_number_of_requests(tmp_path: Path) -> None:
    server = Server(tmp_path, "PatientWorker", "--max-requests", "3")
    for _ in range(3):
        with server.connect() as client:
            client.sendall(HELLO)
            assert read_answer(client)[0] == 200
    server.wait_for(r"(?s)Autorestarting.*Booting worker")
    with server.connect() as client:  # gunicorn loses a signal that comes before the new worker listens for any
        client.sendall(HELLO)
        assert read_answer(client)[0] == 200
    assert server.stop() == 0
