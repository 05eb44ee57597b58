"""Bodies as plain WSGI iterables, for servers that know nothing of them."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
from flask import Flask, Response

from piapi.server.bodies import FileBody, FileSpan, JoinedBody, Later, Part, PathSpan, StreamBody, StreamEnded


class Script:
    """A stream that gives its parts, each once it was called for, and ends."""

    skips = False

    def __init__(self, *parts: bytes | FileSpan | Later, permits: int = 1000, ends: bool = False) -> None:
        self._parts = list(parts)
        self._permits = permits
        self.ends = ends
        self.closed = 0
        self.wake: Callable[[], None] = lambda: None

    def attach(self, wake: Callable[[], None]) -> None:
        self.wake = wake

    def next(self, now: float) -> Part | Later | None:
        if not self._parts:
            raise StreamEnded
        part = self._parts.pop(0)
        if isinstance(part, Later):
            return part
        if part:
            return (part, b"|")
        threading.Timer(0.01, self.wake).start()
        return None

    def allowed(self) -> bool:
        self._permits -= 1
        return self._permits >= 0

    def close(self) -> None:
        self.closed += 1


class Advancing:
    """A clock on which every look is three seconds later."""

    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> datetime:
        raise NotImplementedError

    def monotonic(self) -> float:
        self.time += 3
        return self.time

    def wait(self, condition: threading.Condition, timeout: float | None) -> bool:
        return condition.wait(10)


def test_a_stream_is_iterated_until_its_end_and_closed_once() -> None:
    stream = Script(b"a", b"", b"b")
    body = StreamBody(stream)
    assert list(body) == [b"a|", b"b|"]
    body.close()
    assert stream.closed == 1


def test_iterating_ends_when_the_reader_may_no_longer_look() -> None:
    stream = Script(*[b"x"] * 100, permits=2)
    assert len(list(StreamBody(stream, Advancing()))) == 2
    assert stream.closed == 1


def test_what_has_an_end_does_not_look_whole_when_its_reader_may_no_longer_look() -> None:
    stream = Script(*[b"x"] * 100, permits=2, ends=True)
    body = StreamBody(stream, Advancing())
    assert body.ends
    with pytest.raises(ConnectionAbortedError):
        list(body)
    assert stream.closed == 1


def test_parts_of_files_are_read_and_closed_when_all_is_read_or_nobody_reads_on(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"0123456789")
    files = [(tmp_path / "file").open("rb") for _ in range(3)]
    spans = [FileSpan(file, 2, 5) for file in files]
    assert b"".join(StreamBody(Script(b"a", spans[0], b"b"))) == b"a|23456|b|"
    assert [file.closed for file in files] == [True, False, False]
    body = StreamBody(Script(spans[1], spans[2]))
    pieces = iter(body)
    assert next(pieces) == b"23456"
    body.close()
    assert [file.closed for file in files] == [True, True, False]
    files[2].close()


def test_who_takes_the_stream_closes_it() -> None:
    stream = Script()
    body = StreamBody(stream)
    assert body.take() is stream
    body.close()
    assert stream.closed == 0
    with pytest.raises(ValueError, match="handed over"):
        body.take()


def test_flask_sends_bodies_and_closes_them_for_head_too(tmp_path: Path) -> None:
    app = Flask(__name__)
    streams: list[Script] = []
    (tmp_path / "file").write_bytes(b"0123456789")

    @app.get("/stream")
    def stream() -> Response:
        streams.append(Script(b"a", b"b"))
        return Response(StreamBody(streams[-1]), direct_passthrough=True)

    @app.get("/file")
    def file() -> Response:
        body = FileBody((tmp_path / "file").open("rb"), 2, 5)
        return Response(body, headers={"Content-Length": "5"}, direct_passthrough=True)

    client = app.test_client()
    with client.get("/stream") as answer:
        assert answer.data == b"a|b|"
    with client.head("/stream") as answer:
        assert answer.data == b""
    with client.get("/file") as answer:
        assert answer.data == b"23456"
    assert [stream.closed for stream in streams] == [1, 1]


def test_a_file_that_is_too_short_is_not_passed_off_as_whole(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"0123")
    body = FileBody((tmp_path / "file").open("rb"), 0, 5)
    with pytest.raises(OSError, match="shorter"):
        list(body)
    body.close()
    assert body.file.closed


class Recording(Advancing):
    """Remembers for how long it was waited, and does not wait."""

    def __init__(self) -> None:
        super().__init__()
        self.waited: list[float] = []

    def wait(self, condition: threading.Condition, timeout: float | None) -> bool:
        assert timeout is not None
        self.waited.append(timeout)
        return False


def test_a_stream_that_keeps_time_is_asked_again_when_it_said() -> None:
    clock = Recording()
    assert b"".join(StreamBody(Script(b"a", Later(6.5), b"b"), clock)) == b"a|b|"
    assert clock.waited == [0.5]


def open_files(folder: Path) -> int:
    found = 0
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found += str(entry.readlink()).startswith(str(folder))
    return found


def joined(folder: Path) -> JoinedBody:
    (folder / "one").write_bytes(b"0123456789")
    (folder / "two").write_bytes(b"abcdefghij")
    return JoinedBody([b"<", PathSpan(folder / "one", 2, 5), b"", PathSpan(folder / "two", 0, 10), b">"])


def test_a_joined_body_is_its_parts_in_order_with_one_file_open_at_a_time(tmp_path: Path) -> None:
    body = joined(tmp_path)
    assert body.length == 17
    seen = []
    for piece in body:
        assert open_files(tmp_path) <= 1
        seen.append(piece)
    assert b"".join(seen) == b"<23456abcdefghij>"
    assert open_files(tmp_path) == 0


def test_any_range_of_a_joined_body_is_that_of_the_whole(tmp_path: Path) -> None:
    body = joined(tmp_path)
    whole = b"".join(body)
    for start in range(len(whole) + 1):
        for stop in range(start, len(whole) + 1):
            part = body.cut(start, stop)
            assert (part.length, b"".join(part)) == (stop - start, whole[start:stop])


def test_a_joined_body_that_nobody_reads_to_its_end_leaves_nothing_open(tmp_path: Path) -> None:
    app = Flask(__name__)

    @app.get("/")
    def film() -> Response:
        return Response(joined(tmp_path), headers={"Content-Length": "17"}, direct_passthrough=True)

    client = app.test_client()
    with client.get("/") as answer:
        assert answer.data == b"<23456abcdefghij>"
    with client.head("/") as answer:
        assert (answer.data, answer.content_length) == (b"", 17)
    answer = client.get("/", buffered=False)
    pieces = answer.iter_encoded()
    assert next(pieces) + next(pieces) == b"<23456"
    assert open_files(tmp_path) == 1
    answer.close()
    assert open_files(tmp_path) == 0


def test_a_joined_body_of_which_a_file_has_gone_or_shrunk_is_not_passed_off_as_whole(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        list(JoinedBody([b"a", PathSpan(tmp_path / "none", 0, 1)]))
    (tmp_path / "short").write_bytes(b"01")
    with pytest.raises(OSError, match="shorter"):
        list(JoinedBody([b"a", PathSpan(tmp_path / "short", 0, 3)]))
