"""Files over HTTP: entity tags, ranges (RFC 9110, section 14), and bodies that the server sends without a thread."""

from __future__ import annotations

from pathlib import Path

from flask import Response, request

from piapi.api.conditional import not_modified
from piapi.api.problems import RangeNotSatisfiable
from piapi.errors import NotFound
from piapi.server.bodies import FileBody, JoinedBody

IMMUTABLE = "private, max-age=31536000, immutable"
REVALIDATED = "private, no-cache"


def send_file(path: Path, etag: str, media_type: str, name: str, cache: str = IMMUTABLE) -> Response:
    """A file that never changes: whole, or the one range that was asked for. Raises RangeNotSatisfiable, NotFound.

    With another `cache` than IMMUTABLE the same path may be another file later.
    """
    if (unchanged := not_modified(etag)) is not None:
        unchanged.headers["Cache-Control"] = cache
        return unchanged
    try:
        file = path.open("rb")
    except FileNotFoundError:
        raise NotFound("The file has gone.") from None
    try:
        size = path.stat().st_size
        span = _range(etag, size)
        start, stop = span or (0, size)
        response = Response(FileBody(file, start, stop - start), content_type=media_type, direct_passthrough=True)
    except BaseException:
        file.close()
        raise
    return _described(response, span, size, etag, name, cache)


def send_joined(body: JoinedBody, etag: str, media_type: str, name: str, cache: str) -> Response:
    """What is joined from parts, whole, or the one range that was asked for. Raises RangeNotSatisfiable."""
    if (unchanged := not_modified(etag)) is not None:
        unchanged.headers["Cache-Control"] = cache
        return unchanged
    span, size = _range(etag, body.length), body.length
    response = Response(body.cut(*span) if span else body, content_type=media_type, direct_passthrough=True)
    return _described(response, span, size, etag, name, cache)


def _described(
    response: Response, span: tuple[int, int] | None, size: int, etag: str, name: str, cache: str
) -> Response:
    start, stop = span or (0, size)
    response.content_length = stop - start
    response.set_etag(etag)
    response.headers["Accept-Ranges"] = "bytes"
    response.headers["Cache-Control"] = cache
    response.headers["Content-Disposition"] = f'inline; filename="{name}"'
    if span is not None:
        response.status_code = 206
        response.headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
    return response


def _range(etag: str, size: int) -> tuple[int, int] | None:
    """The bytes asked for, from and up to; None for all: no range, more than one, another unit, another version."""
    wanted = request.range
    if wanted is None or wanted.units != "bytes" or len(wanted.ranges) != 1 or request.method != "GET":
        return None
    if (held := request.headers.get("If-Range")) and held != f'"{etag}"':
        return None
    start, stop = wanted.ranges[0]
    if start < 0 and size:
        return max(size + start, 0), size
    if start >= size:
        raise RangeNotSatisfiable(size)
    return start, min(stop or size, size)
