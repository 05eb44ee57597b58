"""What is around every view: the kind of Flask application, and what every answer has and every request leaves."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from time import perf_counter
from typing import TYPE_CHECKING, Any

from flask import Flask, request

from piapi.logs import request_id
from piapi.services.metrics import Metrics

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

_ROUTE = "piapi.route"
"""In the WSGI environment: the rule that matched. Flask forgets the request before its answer comes back to us."""

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
"""One that a client or a proxy may bring along."""
SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "Cache-Control": "private, no-cache",
}
"""Of every answer that does not say otherwise."""


class PiApi(Flask):
    """Flask without asynchronous views: whether a view is one is asked several times for each request."""

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """As it is."""
        return func


def note_route() -> None:
    """For `before_request`: leaves the rule that matched where `around` finds it."""
    if request.url_rule is not None:
        request.environ[_ROUTE] = request.url_rule.rule


def around(application: WSGIApplication, metrics: Metrics) -> WSGIApplication:
    """What every answer has and every request leaves: security headers, a request id, its place in the figures.

    Around the application, where a header costs no more than a tuple.
    """
    always = tuple(SECURITY_HEADERS.items())

    def wrapped(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        began, answered = perf_counter(), 0
        id = environ.get("HTTP_X_REQUEST_ID", "")
        if not _REQUEST_ID.fullmatch(id):
            id = os.urandom(6).hex()
        request_id.set(id)

        def start(status: str, headers: list[tuple[str, str]], *more: Any) -> Callable[[bytes], object]:
            nonlocal answered
            answered = int(status[:3])
            said = {name for name, _ in headers}
            headers.extend(item for item in always if item[0] not in said)
            headers.append(("X-Request-Id", id))
            return start_response(status, headers, *more)

        try:
            body = application(environ, start)
        finally:
            request_id.set("")
        route = environ.get(_ROUTE)
        method = environ["REQUEST_METHOD"] if route else "any"  # a client may make up methods, too
        metrics.request(method, route or "unknown", answered, perf_counter() - began)
        return body

    return wrapped
