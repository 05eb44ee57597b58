"""Entity tags (RFC 9110, sections 8.8.3 and 13): 304 for what a client has already, 412 for what has changed since."""

from __future__ import annotations

import hashlib

from flask import Response, request

from piapi.errors import PreconditionFailed


def etag_of(*parts: object) -> str:
    """A strong tag over all that can change in a representation."""
    return hashlib.sha256("\0".join(map(repr, parts)).encode()).hexdigest()[:32]


def not_modified(etag: str) -> Response | None:
    """A 304 when `If-None-Match` names this tag."""
    if request.if_none_match.contains_weak(etag):
        response = Response(status=304)
        response.set_etag(etag)
        return response
    return None


def require_match(etag: str) -> None:
    """Raise PreconditionFailed when `If-Match` is there and does not name this tag."""
    if request.headers.get("If-Match") and not request.if_match.contains(etag):
        raise PreconditionFailed("It has changed since you last saw it: get it again and decide anew.")
