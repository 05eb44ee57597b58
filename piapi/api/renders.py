"""Films: the one that grows with a time-lapse, and others made from the same frames."""

from __future__ import annotations

from typing import Any, get_args

from flask import Response, make_response
from flask.views import MethodView
from marshmallow import Schema, fields, validate

from piapi.api.auth import caller
from piapi.api.blueprint import Blueprint
from piapi.api.collections import Page, PageQuery, collection_of, decode_cursor
from piapi.api.fields import Boolean, Integer, Number, between, links
from piapi.api.files import IMMUTABLE, REVALIDATED, send_file, send_joined
from piapi.api.idempotency import id_in, made_at, once
from piapi.api.jobs import on_render, on_timelapse
from piapi.api.problems import RangeNotSatisfiable
from piapi.api.services import services
from piapi.api.timelapses import path_of
from piapi.clock import format_time
from piapi.errors import Conflict, StorageFull
from piapi.server.bodies import JoinedBody, PathSpan
from piapi.timelapse import Render, RenderRequest, RenderState, Timelapse

blp = Blueprint("renders", __name__, description="Films made from the frames of time-lapses")

MP4 = "video/mp4"
BINARY = {"type": "string", "format": "binary"}

_TIME = {"format": "date-time"}
_LOCATION = {"Location": {"schema": {"type": "string", "format": "uri-reference"}}}


class RenderRequestSchema(Schema):
    """How the frames are to be filmed again. Everything has a default."""

    fps = Number(validate=between(0.1, 120), metadata={"description": "That of the time-lapse, unless given."})
    width = Integer(
        validate=between(16, 16384), metadata={"description": "In pixels; that of the frames, unless given."}
    )
    deflicker = Boolean(load_default=False, metadata={"description": "Whether differences of brightness are smoothed."})
    timestamp = Boolean(load_default=False, metadata={"description": "Whether date and time are burnt in."})
    every_nth = Integer(
        load_default=1, validate=between(1, 1_000_000), metadata={"description": "Of the frames, only each nth."}
    )
    codec = fields.String(load_default="h264", validate=validate.OneOf(["h264", "hevc"], error="must be h264 or hevc"))


class RenderSchema(Schema):
    """A film that is being made, or was."""

    id = fields.String(required=True)
    timelapse = fields.String(required=True)
    state = fields.String(required=True, validate=validate.OneOf(get_args(RenderState)))
    detail = fields.String(required=True, allow_none=True, metadata={"description": "Why it failed, or waits."})
    progress = Number(required=True, metadata={"description": "0 to 1."})
    eta_s = Number(required=True, allow_none=True, metadata={"description": "Seconds that are left, about."})
    fps = Number(required=True)
    width = Integer(required=True, allow_none=True)
    deflicker = Boolean(required=True)
    timestamp = Boolean(required=True)
    every_nth = Integer(required=True)
    codec = fields.String(required=True)
    requested_by = fields.String(required=True, metadata={"example": "token:phone"})
    created_at = fields.String(required=True, metadata=_TIME)
    ended_at = fields.String(required=True, allow_none=True, metadata=_TIME)
    size_bytes = Integer(required=True, allow_none=True)
    sha256 = fields.String(required=True, allow_none=True, metadata={"pattern": "^[0-9a-f]{64}$"})
    links = links("self", "timelapse", optional=("file",))


@blp.route("/timelapses/<id>/video.mp4")
class Film(MethodView):
    @on_timelapse("view", produces=(MP4,))
    @blp.raises(Conflict, RangeNotSatisfiable)
    @blp.response(200, BINARY, content_type=MP4)
    @blp.alt_response(206, schema=BINARY, content_type=MP4, description="A range.")
    @blp.alt_response(304, description="You have it already.")
    def get(self, timelapse: Timelapse) -> Response:
        """Fetch the film so far, with every captured frame in it. Before the first frame: 409."""
        film = services().timelapses.film(timelapse.id)
        body = JoinedBody(
            [part if isinstance(part, bytes) else PathSpan(part.path, part.offset, part.length) for part in film.parts]
        )
        name = f"{timelapse.camera}-{timelapse.id}.mp4"
        return send_joined(body, film.etag, MP4, name, REVALIDATED)


@blp.route("/timelapses/<id>/renders")
class RenderList(MethodView):
    @on_timelapse("view")
    @blp.arguments(PageQuery, location="query")
    @blp.response(200, collection_of(RenderSchema, "RenderPage"))
    def get(self, query: dict[str, Any], timelapse: Timelapse) -> Response:
        """List the renders of a time-lapse."""
        last = decode_cursor(query["cursor"], int)
        renders = sorted(services().renders.of(timelapse.id), key=lambda render: render.seq, reverse=True)
        found = Page([render for render in renders if last is None or render.seq < last[0]], query["limit"])
        return make_response(
            found.document(
                [render_document(render) for render in found.items], (found.items[-1].seq,) if found.items else None
            )
        )

    @on_timelapse("capture")
    @blp.raises(Conflict, StorageFull)
    @blp.arguments(RenderRequestSchema, required=False)
    @once(lambda location: _accepted(services().renders.get(id_in(location))))
    @blp.response(202, RenderSchema, headers=_LOCATION)
    def post(self, wanted: dict[str, Any], timelapse: Timelapse) -> Response:
        """Film the same frames again, in the background."""
        request = RenderRequest(**{"fps": timelapse.plan.video.fps, **wanted})
        by = caller().actor
        return _accepted(services().renders.begin(timelapse, request, lambda made: made_at(_path_of(made)), by=by))


@blp.route("/renders/<id>")
class RenderItem(MethodView):
    @on_render("view")
    @blp.response(200, RenderSchema)
    def get(self, render: Render) -> Response:
        """Tell how far a render is."""
        return make_response(render_document(render))

    @on_render("capture")
    @blp.response(200, RenderSchema)
    def delete(self, render: Render) -> Response:
        """Cancel a render. One that has ended is removed, with its file."""
        return make_response(render_document(services().renders.cancel(render.id, by=caller().actor)))


@blp.route("/renders/<id>/file")
class RenderFile(MethodView):
    @on_render("view", produces=(MP4,))
    @blp.raises(Conflict, RangeNotSatisfiable)
    @blp.response(200, BINARY, content_type=MP4)
    @blp.alt_response(206, schema=BINARY, content_type=MP4, description="A range.")
    @blp.alt_response(304, description="You have it already.")
    def get(self, render: Render) -> Response:
        """Fetch the film of a render that has finished."""
        if render.state != "finished" or render.sha256 is None:
            raise Conflict(f"This render is {render.state}; its file is there when it has finished.")
        name = f"{render.timelapse}-{render.id}.mp4"
        return send_file(services().renders.path(render), render.sha256, MP4, name, IMMUTABLE)


def _path_of(render: Render) -> str:
    return f"/api/v1/renders/{render.id}"


def _accepted(render: Render) -> Response:
    response = make_response(render_document(render), 202)
    response.headers["Location"] = _path_of(render)
    return response


def render_document(render: Render) -> dict[str, Any]:
    """A render, as clients see it."""
    here, wanted = _path_of(render), render.wanted
    return {
        "id": render.id,
        "timelapse": render.timelapse,
        "state": render.state,
        "detail": render.detail,
        "progress": render.progress,
        "eta_s": render.eta_s,
        "fps": wanted.fps,
        "width": wanted.width or None,
        "deflicker": wanted.deflicker,
        "timestamp": wanted.timestamp,
        "every_nth": wanted.every_nth,
        "codec": wanted.codec,
        "requested_by": render.requested_by,
        "created_at": format_time(render.created_at),
        "ended_at": render.ended_at and format_time(render.ended_at),
        "size_bytes": render.size_bytes,
        "sha256": render.sha256,
        "links": {
            "self": here,
            "timelapse": path_of(render.timelapse),
            **({"file": f"{here}/file"} if render.state == "finished" else {}),
        },
    }
