"""Where a request ends, so that no thread waits for the rest of it.

This only tells when enough has come for gunicorn's parser, which alone decides what the bytes mean. Whatever looks odd
is called whole at once, and the parser refuses it; what it did not consume is where the next request begins.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

_CONTENT_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([^\r\n]*)")
_TRANSFER_ENCODING = re.compile(rb"\r\ntransfer-encoding:[^\r\n]*chunked")
_EXPECT = re.compile(rb"\r\nexpect:[ \t]*100-continue[ \t]*\r\n")
_HEX = frozenset(b"0123456789abcdef")

#: Longest line of a chunk's size with its extensions; gunicorn refuses longer ones.
_MAX_CHUNK_LINE = 8192


class Extent(Enum):
    """How much of a request has come."""

    NOTHING = "not a byte"
    PART = "a part; more is needed"
    WHOLE = "all of it, or enough to refuse it"
    OVERSIZED = "its header; the body is over the bound and is not read"
    HEAD_TOO_LARGE = "a header over the bound"


@dataclass(frozen=True, slots=True)
class RequestBounds:
    """What a request may take up, in bytes."""

    line: int = 4094
    head: int = 32 * 1024
    #: Of what the chunks hold, or the Content-Length. A little over the 64 KiB that piapi's API takes as JSON, so that
    #: the API itself answers what is just too large.
    body: int = 65 * 1024


class Incoming:
    """What a client has sent and no request has taken yet."""

    __slots__ = ("_body", "_bounds", "_chunk", "_content", "_end", "_looked", "_trailer", "buffer", "continue_due")

    def __init__(self, bounds: RequestBounds) -> None:
        self._bounds = bounds
        self.buffer = bytearray()
        self._forget()

    def _forget(self) -> None:
        self._looked = 0  # up to here nothing was found
        self._body = 0  # where the body begins
        self._end = 0  # where the body ends (of a length that is known)
        self._chunk = 0  # where the next chunk's size begins
        self._content = 0  # what the chunks up to there hold
        self._trailer = False
        self.continue_due = False

    def take(self) -> bytes:
        """Everything, for the parser."""
        data = bytes(self.buffer)
        self.buffer.clear()
        self._forget()
        return data

    def put_back(self, rest: bytes) -> None:
        """What the parser left: the next request's first bytes."""
        self.buffer[:0] = rest
        self._forget()

    def drop_body(self) -> None:
        """Throw away what has come of an oversized body: nobody is to read it, and it takes up memory."""
        del self.buffer[self._body :]

    def extent(self) -> Extent:
        """How much of the next request is here. Call it again after each piece that came."""
        if not self.buffer:
            return Extent.NOTHING
        if self._end:
            return Extent.WHOLE if len(self.buffer) >= self._end else Extent.PART
        if self._chunk:
            return self._scan_chunks()
        head = self.buffer.find(b"\r\n\r\n", max(self._looked - 3, 0), self._bounds.head + 4)
        if head >= 0:
            return self._measure_body(head + 4)
        return self._judge_unfinished_head()

    def _judge_unfinished_head(self) -> Extent:
        size, start = len(self.buffer), self._looked
        if start and self.buffer[start - 1] == 0x0D:
            start -= 1
        if size > self._bounds.head:
            return Extent.HEAD_TOO_LARGE
        # A bare LF is never the end of a line: the parser refuses it now, not after ten seconds.
        if self.buffer.count(b"\n", start) != self.buffer.count(b"\r\n", start):
            return Extent.WHOLE
        if 0 < self._bounds.line < size - 4 and self.buffer.find(b"\r\n", 2, self._bounds.line + 4) < 0:
            return Extent.WHOLE
        self._looked = size
        return Extent.PART

    def _measure_body(self, start: int) -> Extent:
        head = bytes(self.buffer[:start]).lower()
        if b"\r\ncontent-length:" not in head and b"\r\ntransfer-encoding:" not in head:
            return Extent.WHOLE
        self._body = start
        lengths = _CONTENT_LENGTH.findall(head)
        if _TRANSFER_ENCODING.search(head):
            if lengths:
                return Extent.WHOLE  # two framings: refused
            self._chunk = start
            extent = self._scan_chunks()
        elif len(lengths) != 1 or not lengths[0].strip().isdigit():
            return Extent.WHOLE
        elif len(lengths[0]) > 18 or int(lengths[0]) > self._bounds.body:
            return Extent.OVERSIZED
        else:
            self._end = start + int(lengths[0])
            extent = Extent.WHOLE if len(self.buffer) >= self._end else Extent.PART
        if extent is Extent.PART and _EXPECT.search(head):
            self.continue_due = b" http/1.1\r\n" in head[: self._bounds.line + 16]
        return extent

    def _scan_chunks(self) -> Extent:
        """Walk from chunk to chunk; each is looked at once however slowly they come."""
        while not self._trailer:
            if self._content > self._bounds.body or self._chunk > self._bounds.body + self._bounds.head:
                return Extent.OVERSIZED
            line_end = self.buffer.find(b"\r\n", self._chunk)
            if line_end < 0:
                too_long = len(self.buffer) - self._chunk > _MAX_CHUNK_LINE
                return Extent.WHOLE if too_long else self._part_or_oversized()
            size = bytes(self.buffer[self._chunk : line_end]).split(b";", 1)[0].strip(b" \t").lower()
            if not size or len(size) > 15 or not _HEX.issuperset(size):
                return Extent.WHOLE
            if length := int(size, 16):
                self._content += length
                self._chunk = line_end + 2 + length + 2
            else:
                self._chunk, self._trailer = line_end, True
        if self.buffer[self._chunk : self._chunk + 4] == b"\r\n\r\n":
            return Extent.WHOLE
        if self.buffer.find(b"\r\n\r\n", max(self._chunk, self._looked - 3)) >= 0:
            return Extent.WHOLE
        self._looked = len(self.buffer)
        return Extent.WHOLE if self._looked - self._chunk > self._bounds.head else Extent.PART

    def _part_or_oversized(self) -> Extent:
        return Extent.OVERSIZED if len(self.buffer) > self._bounds.body + self._bounds.head else Extent.PART
