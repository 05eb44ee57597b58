"""Frames of a time-lapse: its ledger, the pictures, all of them at once, and their replay."""

from __future__ import annotations

import re
from itertools import chain
from typing import Any

from flask import Response, make_response
from flask.views import MethodView
from marshmallow import Schema, fields, validate

from piapi.api.auth import caller
from piapi.api.blueprint import Blueprint
from piapi.api.collections import Page, PageQuery, collection_of, decode_cursor
from piapi.api.conditional import etag_of
from piapi.api.fields import Integer, Number, QueryNumber, between, links
from piapi.api.files import IMMUTABLE, REVALIDATED, send_file
from piapi.api.jobs import on_timelapse
from piapi.api.live import MEDIA_TYPE as MJPEG
from piapi.api.problems import RangeNotSatisfiable
from piapi.api.replay import Replay
from piapi.api.services import services
from piapi.api.tar import MEDIA_TYPE as TAR
from piapi.api.tar import Member, tar_response
from piapi.api.timelapses import path_of
from piapi.clock import format_time
from piapi.errors import Conflict, NotFound, TooManyRequests, TooManyViewers
from piapi.server.bodies import StreamBody
from piapi.timelapse import Row, Timelapse

blp = Blueprint("frames", __name__, description="Frames of time-lapses")

JPEG = ("image/jpeg",)
BINARY = {"type": "string", "format": "binary"}
CAUSES = ("power", "camera", "storage", "clock", "overrun")

_INDEX = re.compile(r"0|[1-9][0-9]{0,14}")
_TIME = {"format": "date-time"}


class FrameSchema(Schema):
    """A tick that was due."""

    index = Integer(
        required=True, metadata={"description": "Number of the tick, from 0; due at start + index × interval."}
    )
    due_at = fields.String(required=True, metadata=_TIME)
    captured_at = fields.String(required=True, allow_none=True, metadata=_TIME)
    lateness_ms = Number(required=True, allow_none=True)
    status = fields.String(required=True, validate=validate.OneOf(["captured", "missed"]))
    cause = fields.String(required=True, allow_none=True, validate=validate.OneOf([*CAUSES, None]))
    size_bytes = Integer(required=True, allow_none=True)
    luminance = Number(required=True, allow_none=True, metadata={"description": "Mean of the picture, 0 to 1."})
    links = links(optional=("file",))


class PreviewQuery(Schema):
    """How fast."""

    fps = QueryNumber(load_default=5.0, validate=between(0.1, 60), metadata={"description": "Frames per second."})


@blp.route("/timelapses/<id>/frames")
class FrameList(MethodView):
    @on_timelapse("view")
    @blp.arguments(PageQuery, location="query")
    @blp.response(200, collection_of(FrameSchema, "FramePage"))
    def get(self, query: dict[str, Any], timelapse: Timelapse) -> Response:
        """List every tick that was due, newest first."""
        last = decode_cursor(query["cursor"], int)
        rows = services().timelapses.rows(timelapse.id, query["limit"] + 1, last and last[0])
        found = Page(rows, query["limit"])
        return make_response(
            found.document(
                [frame_document(timelapse.id, row) for row in found.items],
                (found.items[-1].index,) if found.items else None,
            )
        )


@blp.route("/timelapses/<id>/frames/<index>/file")
class FrameFile(MethodView):
    @on_timelapse("view", produces=JPEG)
    @blp.raises(RangeNotSatisfiable)
    @blp.response(200, BINARY, content_type="image/jpeg")
    @blp.alt_response(206, schema=BINARY, content_type="image/jpeg", description="A range.")
    @blp.alt_response(304, description="You have it already.")
    def get(self, index: str, timelapse: Timelapse) -> Response:
        """Fetch a frame."""
        if not _INDEX.fullmatch(index):
            raise NotFound(f"There is no frame {index}: they are numbered from 0.")
        return _picture(timelapse, services().timelapses.row(timelapse.id, int(index)), IMMUTABLE)


@blp.route("/timelapses/<id>/latest")
class Latest(MethodView):
    @on_timelapse("view", produces=JPEG)
    @blp.raises(Conflict, RangeNotSatisfiable)
    @blp.response(200, BINARY, content_type="image/jpeg")
    @blp.alt_response(206, schema=BINARY, content_type="image/jpeg", description="A range.")
    @blp.alt_response(304, description="You have it already.")
    def get(self, timelapse: Timelapse) -> Response:
        """Fetch the newest frame."""
        row = services().timelapses.latest(timelapse.id)
        if row is None:
            raise Conflict("There is no frame yet.")
        return _picture(timelapse, row, REVALIDATED)


@blp.route("/timelapses/<id>/frames.tar")
class FrameArchive(MethodView):
    @on_timelapse("view", produces=(TAR,))
    @blp.raises(TooManyRequests)
    @blp.response(200, BINARY, content_type=TAR)
    def get(self, timelapse: Timelapse) -> Response:
        """Fetch all frames as one tar stream, oldest first."""
        who, access = caller(), services().access
        give_back = services().archives.take()
        members = (
            Member(f"{row.index:09d}.jpg", row.captured_at or row.due_at, path)
            for row, path in services().timelapses.frames(timelapse.id)
        )
        scope = f"camera:{timelapse.camera}:view"
        return tar_response(
            f"{timelapse.camera}-{timelapse.id}.tar", members, lambda: access.still_allowed(who, scope), give_back
        )


@blp.route("/timelapses/<id>/preview")
class Preview(MethodView):
    @on_timelapse("view", produces=("multipart/x-mixed-replace", "image/jpeg"))
    @blp.raises(Conflict, TooManyRequests, TooManyViewers)
    @blp.arguments(PreviewQuery, location="query")
    @blp.response(200, BINARY, content_type=MJPEG)
    def get(self, query: dict[str, Any], timelapse: Timelapse) -> Response:
        """Watch the frames so far, as MJPEG up to the last one."""
        frames = iter(services().timelapses.frames(timelapse.id))
        first = next(frames, None)
        if first is None:
            raise Conflict("No frame is kept as a picture, yet or any more; the film may have it.")
        who, access, viewers = caller(), services().access, services().viewers
        scope = f"camera:{timelapse.camera}:view"
        viewers.take()
        try:
            give_back = services().replays.take()
        except BaseException:
            viewers.give_back()
            raise

        def leave() -> None:
            give_back()
            viewers.give_back()

        replay = Replay(chain([first], frames), query["fps"], lambda: access.still_allowed(who, scope), leave)
        response = Response(StreamBody(replay), content_type=MJPEG, direct_passthrough=True)
        response.headers["Cache-Control"] = "no-store"
        return response


def _picture(timelapse: Timelapse, row: Row, cache: str) -> Response:
    path = services().timelapses.frame_path(timelapse.id, row.index)
    tag = row.sha256 or etag_of(timelapse.id, row.index, row.captured_at)  # nothing is ever written over a frame
    response = send_file(path, tag, "image/jpeg", f"{timelapse.camera}-{timelapse.id}-{row.index:09d}.jpg", cache)
    if row.captured_at is not None:
        response.headers["X-Captured-At"] = format_time(row.captured_at)
    return response


def frame_document(timelapse: str, row: Row) -> dict[str, Any]:
    """A row of the ledger, as clients see it."""
    return {
        "index": row.index,
        "due_at": format_time(row.due_at),
        "captured_at": row.captured_at and format_time(row.captured_at),
        "lateness_ms": row.lateness_ms,
        "status": row.status,
        "cause": row.cause,
        "size_bytes": row.size_bytes,
        "luminance": row.luminance,
        "links": {"file": f"{path_of(timelapse)}/frames/{row.index}/file"} if row.has_file else {},
    }
