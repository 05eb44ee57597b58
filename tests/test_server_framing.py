"""Where a request ends."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from piapi.server.framing import Extent, Incoming, RequestBounds

BOUNDS = RequestBounds(line=200, head=1000, body=500)
GET = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"


def post(*headers: str, body: bytes = b"") -> bytes:
    return "\r\n".join(["POST /a HTTP/1.1", "Host: x", *headers, "", ""]).encode() + body


def extent_of(data: bytes) -> Extent:
    incoming = Incoming(BOUNDS)
    incoming.buffer += data
    return incoming.extent()


def first_whole(data: bytes, step: int) -> int:
    """How many bytes, given `step` at a time, make a request whole."""
    incoming = Incoming(BOUNDS)
    for start in range(0, len(data), step):
        incoming.buffer += data[start : start + step]
        if incoming.extent() is not Extent.PART:
            assert incoming.extent() is Extent.WHOLE
            return len(incoming.buffer)
    raise AssertionError("never whole")


WHOLE = [
    GET,
    b"\r\n" + GET,
    b"GET / HTTP/1.0\r\n\r\n",
    post("Content-Length: 5", body=b"hello"),
    post("content-LENGTH:0"),
    post("Content-Length: 500", body=bytes(500)),
    post("Transfer-Encoding: chunked", body=b"5\r\nhello\r\n0\r\n\r\n"),
    post("Transfer-Encoding: chunked", body=b"5;a=b\r\nhel\r\n\r\n1\r\nx\r\n00\r\nTrailer: t\r\n\r\n"),
    post("Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
]


@pytest.mark.parametrize("request_", WHOLE)
@pytest.mark.parametrize("step", [1, 3, 1000])
def test_a_request_is_whole_with_its_last_byte_and_not_before(request_: bytes, step: int) -> None:
    assert first_whole(request_, step) == min(-(-len(request_) // step) * step, len(request_))


@pytest.mark.parametrize(
    "odd",
    [
        b"GET / HTTP/1.1\nHost: x\n",
        b"G" * 300,
        post("Content-Length: five"),
        post("Content-Length: 5", "Content-Length: 6"),
        post("Content-Length: 5", "Transfer-Encoding: chunked"),
        post("Transfer-Encoding: gzip"),
        post("Transfer-Encoding: chunked", body=b"zz\r\n"),
        post("Transfer-Encoding: chunked", body=b"-5\r\n"),
        post("Transfer-Encoding: chunked", body=b"5" + b";x" * 5000),
    ],
)
def test_what_the_parser_will_refuse_is_not_waited_for(odd: bytes) -> None:
    assert extent_of(odd) is Extent.WHOLE


def test_a_body_over_the_bound_is_told_from_its_header() -> None:
    assert extent_of(post("Content-Length: 501")) is Extent.OVERSIZED
    assert extent_of(post(f"Content-Length: {'9' * 40}")) is Extent.OVERSIZED
    assert extent_of(post("Transfer-Encoding: chunked", body=b"fffff\r\n")) is Extent.OVERSIZED
    assert extent_of(post("Transfer-Encoding: chunked", body=b"1f5\r\n")) is Extent.OVERSIZED
    assert extent_of(post("Transfer-Encoding: chunked", body=b"1f4\r\n")) is Extent.PART
    assert (
        extent_of(post("Transfer-Encoding: chunked", body=b"1f4\r\n" + bytes(500) + b"\r\n1\r\n")) is Extent.OVERSIZED
    )
    assert extent_of(post("Transfer-Encoding: chunked", body=b"1\r\nx\r\n" * 300)) is Extent.OVERSIZED


def test_a_body_as_large_as_the_bound_is_received_and_no_larger_one() -> None:
    most = RequestBounds().body
    assert 65536 < most <= 65536 + 1024
    for length, extent in ((most, Extent.PART), (most + 1, Extent.OVERSIZED)):
        incoming = Incoming(RequestBounds())
        incoming.buffer += post(f"Content-Length: {length}")
        assert incoming.extent() is extent


@pytest.mark.parametrize(
    ("header", "begun"),
    [("Content-Length: 501", bytes(400)), ("Transfer-Encoding: chunked", b"3\r\nabc\r\nfffff\r\nabc")],
)
def test_what_has_come_of_an_oversized_body_is_thrown_away(header: str, begun: bytes) -> None:
    incoming = Incoming(BOUNDS)
    incoming.buffer += post(header, body=begun)
    for _ in range(2):  # asked again, it says the same
        assert incoming.extent() is Extent.OVERSIZED
    incoming.drop_body()
    assert incoming.take() == post(header)


def test_a_header_over_the_bound_is_refused_finished_or_not() -> None:
    unfinished = b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 300
    assert extent_of(unfinished) is Extent.HEAD_TOO_LARGE
    assert extent_of(unfinished + b"\r\n") is Extent.HEAD_TOO_LARGE


@pytest.mark.parametrize(
    ("request_", "due"),
    [
        (post("Expect: 100-continue", "Content-Length: 5"), True),
        (post("expect: 100-Continue", "Transfer-Encoding: chunked"), True),
        (post("Expect: 100-continue", "Content-Length: 5", body=b"hello"), False),
        (post("Expect: 100-continue", "Content-Length: 501"), False),
        (post("Expect: 100-continue", "Content-Length: 5").replace(b"HTTP/1.1", b"HTTP/1.0"), False),
    ],
)
def test_continue_is_due_only_while_a_body_within_the_bound_is_missing(request_: bytes, due: bool) -> None:
    incoming = Incoming(BOUNDS)
    incoming.buffer += request_
    incoming.extent()
    assert incoming.continue_due is due


@given(st.lists(st.sampled_from(WHOLE), min_size=1, max_size=4), st.integers(1, 60))
def test_requests_in_a_row_are_found_however_they_are_cut(requests: list[bytes], step: int) -> None:
    incoming, found, stream = Incoming(BOUNDS), [], b"".join(requests)
    for start in range(0, len(stream), step):
        incoming.buffer += stream[start : start + step]
        while incoming.extent() is Extent.WHOLE:
            data, wanted = incoming.take(), requests[len(found)]
            assert data.startswith(wanted)
            found.append(wanted)
            incoming.put_back(data[len(wanted) :])
    assert found == requests


@given(st.binary(max_size=300), st.integers(1, 40))
def test_any_bytes_are_borne(data: bytes, step: int) -> None:
    incoming = Incoming(BOUNDS)
    for start in range(0, len(data), step):
        incoming.buffer += data[start : start + step]
        assert incoming.extent() is not Extent.NOTHING
