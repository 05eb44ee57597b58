"""The journal: what changed, when and by whom, in pages or live."""

from __future__ import annotations

from typing import Any

from flask import Response, make_response, request
from flask.views import MethodView
from marshmallow import Schema, fields

from piapi.api.auth import caller, requires
from piapi.api.blueprint import Blueprint
from piapi.api.collections import Page, PageQuery, collection_of, decode_cursor
from piapi.api.event_stream import MEDIA_TYPE, event_document, last_event_id, stream_response
from piapi.api.fields import Integer, Text, Time
from piapi.api.services import services
from piapi.errors import Fault, Invalid, TooManyRequests
from piapi.models import EventFilter

blp = Blueprint("events", __name__, description="The journal of what has changed")


class EventSchema(Schema):
    """An entry of the journal."""

    id = Integer(required=True, metadata={"description": "Rising; never used again.", "example": 4711})
    at = fields.String(required=True, metadata={"format": "date-time", "example": "2026-11-20T21:37:28.123Z"})
    type = fields.String(required=True, metadata={"example": "photo.captured"})
    subject = fields.String(
        required=True, metadata={"description": "A scope without its verb.", "example": "camera:front"}
    )
    actor = fields.String(
        required=True,
        metadata={"description": "A user, token or address, `console` or `nobody`.", "example": "token:kitchen tablet"},
    )
    data = fields.Dict(required=True, metadata={"description": "What there is to say, by type; `links` to it."})


class EventQuery(PageQuery):
    """Which entries."""

    type = Text(most=100, load_default=None, metadata={"example": "photo.captured"})
    subject = Text(most=100, load_default=None, metadata={"example": "camera:front"})
    since = Time(load_default=None, metadata={"type": "string", "format": "date-time", "description": "Included."})


@blp.route("/events")
class EventList(MethodView):
    @requires(None, produces=("application/json", MEDIA_TYPE))
    @blp.raises(TooManyRequests)
    @blp.arguments(EventQuery, location="query")
    @blp.response(200, collection_of(EventSchema, "EventPage"))
    @blp.alt_response(200, schema={"type": "string"}, content_type=MEDIA_TYPE, description="Live, or a page.")
    def get(self, query: dict[str, Any]) -> Response:
        """List the journal; with `Accept: text/event-stream`, follow it live.

        Live, `Last-Event-ID` goes on behind that entry; where entries asked for are no longer there, an event `gap`
        says so first. Without it the stream begins with `since`, or now.
        """
        chosen = EventFilter(query["type"], query["subject"], query["since"])
        wanted = request.accept_mimetypes.best_match(["application/json", MEDIA_TYPE])
        response = follow(chosen, query) if wanted == MEDIA_TYPE else make_response(list_events(chosen, query))
        response.vary.add("Accept")
        return response


def list_events(chosen: EventFilter, query: dict[str, Any]) -> dict[str, Any]:
    """A page of the journal."""
    before = decode_cursor(query["cursor"], int)
    events = services().events.page(caller(), chosen, query["limit"] + 1, before and before[0])
    found = Page(events, query["limit"])
    return found.document(
        [event_document(event) for event in found.items], (found.items[-1].id,) if found.items else None
    )


def follow(chosen: EventFilter, query: dict[str, Any]) -> Response:
    """The journal from now on, or from where the client was. It ends when the caller may see more, or less."""
    if query["cursor"] is not None:
        raise Invalid(Fault("cursor", "is of a page; a live stream goes on by Last-Event-ID", in_query=True))
    who, access = caller(), services().access
    reader = services().feed.join(who, chosen, last_event_id())
    return stream_response(reader, lambda: access.current(who) == who)
