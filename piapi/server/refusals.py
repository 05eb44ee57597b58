"""Answers to what is no request, and to requests that failed: always a problem (RFC 9457), never HTML."""

from __future__ import annotations

import json
from http import HTTPStatus

from gunicorn import util
from gunicorn.http import errors

from piapi.server.messages import BodyTooLarge

#: Parse errors with a status of their own, as gunicorn gives them; all others are 400.
_STATUSES: dict[type[BaseException], int] = {
    BodyTooLarge: 413,
    errors.LimitRequestLine: 414,
    errors.LimitRequestHeaders: 431,
    errors.ExpectationFailed: 417,
    errors.UnsupportedTransferCoding: 501,
    errors.ConfigurationProblem: 500,
    errors.ForbiddenProxyRequest: 403,
    # The application's header, not the client's.
    errors.InvalidResponseHeader: 500,
    errors.InvalidResponseHeaderName: 500,
}

_LONGEST_DETAIL = 200


def status_of(error: BaseException) -> int:
    """The status for what was raised while a request was read or answered."""
    for kind, status in _STATUSES.items():
        if isinstance(error, kind):
            return status
    return 400 if isinstance(error, (errors.ParseException, errors.NoMoreData)) else 500


def problem(status: int, detail: str, instance: str = "/", *, with_body: bool = True) -> bytes:
    """A whole HTTP/1.1 answer after which the connection is closed."""
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        slug, title = "too-many-requests", "Too many requests"
    elif status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        slug, title = "too-large", "Too large"
    elif status == HTTPStatus.INTERNAL_SERVER_ERROR:
        slug, title = "internal-error", "Internal error"
    else:
        slug, title = "bad-request", "Bad request"
    document = {
        "type": f"/problems/{slug}",
        "title": title,
        "status": status,
        "detail": detail[:_LONGEST_DETAIL],
        "instance": instance,
    }
    body = json.dumps(document).encode()
    head = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n"
        f"Date: {util.http_date()}\r\n"
        "Connection: close\r\n"
        "Content-Type: application/problem+json\r\n"
        f"Content-Length: {len(body)}\r\n"
        "Cache-Control: no-store\r\n"
        "X-Content-Type-Options: nosniff\r\n"
    )
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        head += "Retry-After: 1\r\n"
    return f"{head}\r\n".encode() + (body if with_body else b"")
