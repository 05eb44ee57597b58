"""Time-lapses: what they come to, making them, and where they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, get_args

from flask import Response, make_response
from flask.views import MethodView
from marshmallow import Schema, fields, validate

from piapi.api.auth import caller, on_camera, requires
from piapi.api.blueprint import Blueprint
from piapi.api.collections import Page, PageQuery, collection_of, decode_cursor
from piapi.api.estimates import EstimateSchema, estimate_document
from piapi.api.fields import Boolean, Integer, Number, Text, links
from piapi.api.idempotency import id_in, made_at, once
from piapi.api.jobs import on_timelapse
from piapi.api.plans import PlanSchema, TimelapseChangeSchema, WindowSchema, plan_of
from piapi.api.services import services
from piapi.clock import format_time
from piapi.errors import Conflict, DoesNotFit, Invalid
from piapi.services.cameras import CameraService
from piapi.timelapse import Plan, State, Timelapse

blp = Blueprint("timelapses", __name__, description="Time-lapses and their films")

STATES: tuple[str, ...] = get_args(State)

_TIME = {"format": "date-time"}
_LOCATION = {"Location": {"schema": {"type": "string", "format": "uri-reference"}}}


class LatenessSchema(Schema):
    """How late exposures began, in milliseconds; null before the first frame."""

    p50 = Number(required=True, allow_none=True)
    p99 = Number(required=True, allow_none=True)
    max = Number(required=True, allow_none=True)


class FilmSchema(Schema):
    """The film so far, and how it is made."""

    frames = Integer(required=True)
    duration_s = Number(required=True)
    size_bytes = Integer(required=True, allow_none=True, metadata={"description": "null for a moment after a start."})
    flicker = Number(
        required=True,
        allow_none=True,
        metadata={
            "description": "How far a frame's brightness is from that of those around it, in stops, root mean square."
            " 0.02 is hardly seen, 0.1 is plain. null before the first frame."
        },
    )
    fps = Number(required=True)
    width = Integer(required=True, allow_none=True, metadata={"description": "null: that of the frames."})
    timestamp = Boolean(required=True)
    keep_frames = Boolean(required=True)


class TimelapseSchema(Schema):
    """A time-lapse."""

    id = fields.String(required=True, metadata={"example": "5f1d7a84c0b2e913"})
    name = fields.String(required=True, allow_none=True)
    camera = fields.String(required=True, metadata={"example": "front"})
    state = fields.String(required=True, validate=validate.OneOf(STATES))
    state_reason = fields.String(required=True, allow_none=True)
    interval_s = Number(required=True)
    count = Integer(required=True, allow_none=True)
    duration_s = Number(required=True, allow_none=True)
    until = fields.String(required=True, allow_none=True, metadata=_TIME)
    start_at = fields.String(required=True, allow_none=True, metadata=_TIME)
    window = fields.Nested(WindowSchema, required=True, allow_none=True)
    width = Integer(required=True, allow_none=True)
    height = Integer(required=True, allow_none=True)
    quality = Integer(required=True, allow_none=True)
    controls = fields.Dict(required=True)
    lock_exposure = Boolean(required=True)
    created_by = fields.String(required=True, metadata={"example": "token:phone"})
    created_at = fields.String(required=True, metadata=_TIME)
    started_at = fields.String(
        required=True, allow_none=True, metadata={**_TIME, "description": "When tick 0 was due; null before."}
    )
    ended_at = fields.String(required=True, allow_none=True, metadata=_TIME)
    frames_total = Integer(
        required=True,
        allow_none=True,
        metadata={"description": "Ticks that will have been due at the end; null while that waits for the clock."},
    )
    frames_due = Integer(required=True)
    frames_captured = Integer(required=True)
    frames_missed = Integer(required=True)
    progress = Number(required=True, metadata={"description": "0 to 1."})
    next_frame_at = fields.String(required=True, allow_none=True, metadata=_TIME)
    ends_at = fields.String(required=True, allow_none=True, metadata=_TIME)
    lateness_ms = fields.Nested(LatenessSchema, required=True)
    video = fields.Nested(FilmSchema, required=True)
    emulated = Boolean(required=True)
    links = links("self", "camera", "frames", "latest", "preview", "video", "renders")


TimelapsePage = collection_of(TimelapseSchema, "TimelapsePage")


class TimelapseQuery(PageQuery):
    """Which time-lapses, in pages."""

    camera = Text(most=40, load_default=None, metadata={"example": "front"})
    state = fields.String(
        load_default=None, validate=validate.OneOf(STATES, error=f"must be one of {', '.join(STATES)}")
    )


class CreateQuery(Schema):
    """Whether it is meant."""

    dry_run = fields.String(
        load_default="false",
        validate=validate.OneOf(["true", "false"], error="must be true or false"),
        metadata={"description": "With `true` nothing is made: the answer is what it would come to."},
    )


@blp.route("/cameras/<id>/timelapses")
class CameraTimelapses(MethodView):
    @on_camera("view")
    @blp.arguments(PageQuery, location="query")
    @blp.response(200, TimelapsePage)
    def get(self, query: dict[str, Any], camera: CameraService) -> Response:
        """List the time-lapses of a camera."""
        return list_timelapses(frozenset({camera.name}), query)

    @on_camera("capture")
    @blp.raises(Conflict, DoesNotFit, Invalid)
    @blp.arguments(CreateQuery, location="query")
    @blp.arguments(PlanSchema)
    @once(lambda location: _made(services().timelapses.get(id_in(location))))
    @blp.response(202, TimelapseSchema, headers=_LOCATION)
    @blp.alt_response(200, schema=EstimateSchema, description="What it would come to; nothing was made.")
    def post(self, query: dict[str, Any], wanted: dict[str, Any], camera: CameraService) -> Response:
        """Begin a time-lapse; on disk before the answer."""
        plan, timelapses, by = plan_of(wanted), services().timelapses, caller().actor
        if query["dry_run"] == "true":
            return make_response(estimate_document(timelapses.estimate(camera, plan)))
        return _made(timelapses.create(camera, plan, lambda made: made_at(path_of(made.id)), by=by))


@blp.route("/timelapses")
class TimelapseList(MethodView):
    @requires(None)
    @blp.arguments(TimelapseQuery, location="query")
    @blp.response(200, TimelapsePage)
    def get(self, query: dict[str, Any]) -> Response:
        """List the time-lapses of all cameras."""
        cameras = caller().names("camera", "view")
        if query["camera"] is not None:
            wanted = frozenset({query["camera"]})
            cameras = wanted if cameras is None else cameras & wanted
        return list_timelapses(cameras, query)


@blp.route("/timelapses/<id>")
class TimelapseItem(MethodView):
    @on_timelapse("view")
    @blp.response(200, TimelapseSchema)
    def get(self, timelapse: Timelapse) -> Response:
        """Tell where a time-lapse is."""
        return make_response(timelapse_document(timelapse))

    @on_timelapse("capture")
    @blp.raises(Conflict, DoesNotFit, Invalid)
    @blp.arguments(TimelapseChangeSchema)
    @blp.response(200, TimelapseSchema)
    def patch(self, changes: dict[str, Any], timelapse: Timelapse) -> Response:
        """Pause it, go on, cancel it, or set another end or name."""
        return make_response(timelapse_document(services().timelapses.change(timelapse.id, changes, by=caller().actor)))

    @on_timelapse("capture")
    @blp.response(204)
    def delete(self, timelapse: Timelapse) -> None:
        """Remove a time-lapse with frames, film and renders for good. One that runs is cancelled first."""
        services().timelapses.remove(timelapse.id, by=caller().actor)


def list_timelapses(cameras: frozenset[str] | None, query: Mapping[str, Any]) -> Response:
    """A page of the time-lapses of some cameras; None: of all."""
    last = decode_cursor(query["cursor"], int)
    state, limit = query.get("state"), query["limit"]
    found = Page(services().timelapses.page(cameras, limit + 1, last and last[0], state), limit)
    return make_response(
        found.document(
            [timelapse_document(timelapse) for timelapse in found.items],
            (found.items[-1].seq,) if found.items else None,
        )
    )


def _made(timelapse: Timelapse) -> Response:
    response = make_response(timelapse_document(timelapse), 202)
    response.headers["Location"] = path_of(timelapse.id)
    return response


def path_of(id: str) -> str:
    """Where a time-lapse is."""
    return f"/api/v1/timelapses/{id}"


def timelapse_document(timelapse: Timelapse) -> dict[str, Any]:
    """A time-lapse, as clients see it."""
    here, total = path_of(timelapse.id), timelapse.frames_total
    return {
        "id": timelapse.id,
        "name": timelapse.plan.name,
        "camera": timelapse.camera,
        "state": timelapse.state,
        "state_reason": timelapse.state_reason,
        **_plan_document(timelapse.plan),
        "created_by": timelapse.created_by,
        "created_at": format_time(timelapse.created_at),
        "started_at": timelapse.started_at and format_time(timelapse.started_at),
        "ended_at": timelapse.ended_at and format_time(timelapse.ended_at),
        "frames_total": total,
        "frames_due": timelapse.frames_due,
        "frames_captured": timelapse.frames_captured,
        "frames_missed": timelapse.frames_missed,
        "progress": 1.0 if timelapse.state == "finished" else min(1.0, timelapse.frames_due / total) if total else 0.0,
        "next_frame_at": timelapse.next_frame_at and format_time(timelapse.next_frame_at),
        "ends_at": timelapse.ends_at and format_time(timelapse.ends_at),
        "lateness_ms": {name: timelapse.lateness_ms.get(name) for name in ("p50", "p99", "max")},
        "video": _film_document(timelapse),
        "emulated": timelapse.emulated,
        "links": {
            "self": here,
            "camera": f"/api/v1/cameras/{timelapse.camera}",
            "frames": f"{here}/frames",
            "latest": f"{here}/latest",
            "preview": f"{here}/preview",
            "video": f"{here}/video.mp4",
            "renders": f"{here}/renders",
        },
    }


def _plan_document(plan: Plan) -> dict[str, Any]:
    window = plan.window
    return {
        "interval_s": plan.interval_s,
        "count": plan.count,
        "duration_s": plan.duration_s,
        "until": plan.until and format_time(plan.until),
        "start_at": plan.start_at and format_time(plan.start_at),
        "window": window and {"from": window.start, "to": window.end, "days": list(window.days)},
        "width": plan.width or None,
        "height": plan.height or None,
        "quality": plan.quality or None,
        "controls": dict(plan.controls),
        "lock_exposure": plan.lock_exposure,
    }


def _film_document(timelapse: Timelapse) -> dict[str, Any]:
    video, film = timelapse.plan.video, timelapse.film
    frames = film.frames if film else timelapse.frames_captured
    return {
        "frames": frames,
        "duration_s": film.duration_s if film else frames / video.fps,
        "size_bytes": film.size_bytes if film else None if frames else 0,
        "flicker": None if timelapse.flicker is None else round(timelapse.flicker, 4),
        **asdict(video),
        "width": video.width or None,
    }
