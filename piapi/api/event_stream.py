"""The journal live, as server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from flask import Response, request

from piapi.api.problems import BadRequest
from piapi.clock import format_time
from piapi.models import Event
from piapi.server.bodies import Part, StreamBody
from piapi.services.event_feed import Gap, Reader

MEDIA_TYPE = "text/event-stream"

COMMENT_EVERY_S = 12.5
"""Seconds between two comments, promised every 15: the server asks for one every 2.5 s at the latest."""

_RETRY = b"retry: 3000\n\n"
_COMMENT = b":\n\n"

_LINKS = {
    "photo.captured": {"photo": "/api/v1/photos/{id}"},
    "photo.changed": {"photo": "/api/v1/photos/{id}"},
    "photo.recovered": {"photo": "/api/v1/photos/{id}"},
    "token.created": {"token": "/api/v1/tokens/{id}"},
}
"""What the entries of a type lead to, from the id that is in their data."""


class EventStream:
    """A reader's place in the journal. What the server's poller asks (`piapi.server.bodies.Stream`)."""

    skips = False
    ends = False

    def __init__(self, reader: Reader, allowed: Callable[[], bool]) -> None:
        self._reader = reader
        self._begun = False
        self._comment_at = 0.0
        self.allowed = allowed

    def attach(self, wake: Callable[[], None]) -> None:
        """From now on each new entry wakes the poller."""
        self._reader.wake = wake

    def next(self, now: float) -> Part | None:
        """The next entries, or a comment when it is time for one."""
        if not self._begun:
            self._begun, self._comment_at = True, now + COMMENT_EVERY_S
            return (_RETRY,)
        if now >= self._comment_at:
            self._comment_at = now + COMMENT_EVERY_S
            return (_COMMENT,)
        return self._reader.next(now) or None

    def close(self) -> None:
        """Give the reader's place back."""
        self._reader.leave()


def encode(item: Event | Gap) -> bytes:
    """An entry, or that some are not to be had, as a server-sent event. A gap has no id: it is no place to resume."""
    if isinstance(item, Gap):
        return b"event: gap\ndata: %s\n\n" % _json({"from": item.first, "to": item.last})
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (item.id, item.type.encode(), _json(event_document(item)))


def event_document(event: Event) -> dict[str, Any]:
    """An entry, as clients see it."""
    links = {name: path.format(**event.data) for name, path in _LINKS.get(event.type, {}).items()}
    return {
        "id": event.id,
        "at": format_time(event.at),
        "type": event.type,
        "subject": event.subject,
        "actor": event.actor,
        "data": {**event.data, "links": links} if links else event.data,
    }


def last_event_id() -> int | None:
    """Where a client wants to go on. Raises BadRequest for what can be no id of ours."""
    given = request.headers.get("Last-Event-ID")
    if given is None:
        return None
    if not re.fullmatch(r"[0-9]{1,15}", given):
        raise BadRequest("Last-Event-ID must be the id of an entry, as it came from this stream.")
    return int(given)


def stream_response(reader: Reader, allowed: Callable[[], bool]) -> Response:
    """The answer to a reader. No thread is held while it lasts."""
    response = Response(StreamBody(EventStream(reader, allowed)), direct_passthrough=True, content_type=MEDIA_TYPE)
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Accel-Buffering"] = "no"  # proxies like nginx would keep entries back
    return response


def _json(document: dict[str, Any]) -> bytes:
    """On one line, as an event's data has to be."""
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
