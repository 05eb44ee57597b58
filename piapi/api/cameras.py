"""Cameras: what they are, what is set on them, snapshots, live view, and taking photos."""

from __future__ import annotations

from typing import Any

from flask import Response, make_response
from flask.views import MethodView
from marshmallow import Schema, ValidationError, fields, validate, validates_schema

from piapi.api.auth import caller, on_camera, requires
from piapi.api.blueprint import Blueprint
from piapi.api.collections import Page, PageQuery, collection_of, decode_cursor
from piapi.api.controls import ControlField
from piapi.api.fields import Boolean, Integer, Number, QueryInteger, QueryNumber, Text, between, links
from piapi.api.idempotency import id_in, made_at, once
from piapi.api.live import MEDIA_TYPE, stream_response
from piapi.api.photos import PhotoPage, PhotoSchema, list_photos, path_of, photo_document, with_etag
from piapi.api.services import services
from piapi.clock import format_time
from piapi.errors import CameraBusy, CameraTimeout, CameraUnavailable, Invalid, StorageFull, TooManyViewers
from piapi.models import Photo, PhotoFilter
from piapi.services.cameras import CameraService, CameraState
from piapi.services.photos import PhotoRequest

blp = Blueprint("cameras", __name__, description="Cameras, live view and taking photos")

LARGEST_SIDE = 16384
JPEG = ("image/jpeg",)


class ControlSchema(Schema):
    """One control of a camera."""

    min = Number(allow_none=True, required=True)
    max = Number(allow_none=True, required=True)
    choices = fields.List(fields.String(), allow_none=True, required=True)
    default = fields.Raw(allow_none=True, required=True)
    value = fields.Raw(allow_none=True, required=True)


class CameraSchema(Schema):
    """A camera."""

    id = fields.String(required=True, metadata={"example": "front"})
    backend = fields.String(required=True, metadata={"example": "picamera2"})
    model = fields.String(required=True, allow_none=True, metadata={"example": "imx708"})
    emulated = Boolean(required=True)
    state = fields.String(required=True, validate=validate.OneOf(["ready", "streaming", "unavailable"]))
    detail = fields.String(required=True, allow_none=True, metadata={"description": "Why it is unavailable."})
    resolutions = fields.List(
        fields.List(Integer(), metadata={"description": "Width and height in pixels."}),
        required=True,
        metadata={"example": [[4608, 2592], [2304, 1296]]},
    )
    rotation = Integer(required=True, validate=validate.OneOf([0, 90, 180, 270]))
    controls = fields.Dict(fields.String(), fields.Nested(ControlSchema), required=True)
    viewers = Integer(required=True)
    links = links("self", "snapshot", "stream", "photos", "timelapses")


CameraPage = collection_of(CameraSchema, "CameraPage")


class CameraChangeSchema(Schema):
    """What can be set on a camera. What is not named stays as it is."""

    rotation = Integer(validate=validate.OneOf([0, 90, 180, 270], error="must be 0, 90, 180 or 270"))
    controls = fields.Dict(
        Text(least=1, most=40),
        ControlField(allow_none=True),
        metadata={"description": "By name; null sets the default again.", "example": {"brightness": 0.2}},
    )

    @validates_schema
    def _not_empty(self, data: dict[str, Any], **_: Any) -> None:
        if not data:
            raise ValidationError("nothing to change: name rotation, controls or both")


class SnapshotQuery(Schema):
    """How a snapshot is wanted."""

    max_age_s = QueryNumber(
        validate=between(0, 3600),
        metadata={"description": "An older frame will do, up to this age in seconds.", "example": 1},
    )
    width = QueryInteger(validate=between(1, LARGEST_SIDE), metadata={"description": "In pixels.", "example": 640})
    quality = QueryInteger(validate=between(1, 100), metadata={"example": 80})


class StreamQuery(Schema):
    """How a live view is wanted."""

    fps = QueryNumber(
        load_default=30.0, validate=between(0.1, 120), metadata={"description": "Frames per second, at most."}
    )
    width = QueryInteger(
        validate=between(1, LARGEST_SIDE),
        metadata={"description": "Rounded up to one of three sizes: the camera's own, half of it, a quarter."},
    )


class PhotoRequestSchema(Schema):
    """How a photo is wanted. Everything has a default."""

    width = Integer(validate=between(1, LARGEST_SIDE), metadata={"example": 1920, "description": "In pixels."})
    height = Integer(validate=between(1, LARGEST_SIDE), metadata={"example": 1080, "description": "In pixels."})
    quality = Integer(
        validate=between(1, 100),
        metadata={"example": 90, "description": "Of a JPEG. Unless given: as it came from the camera, or 85."},
    )
    format = fields.String(
        load_default="jpeg",
        validate=validate.OneOf(["jpeg", "png", "dng"], error="must be jpeg, png or dng"),
    )
    controls = fields.Dict(
        Text(least=1, most=40),
        ControlField(),
        load_default=dict,
        metadata={"description": "For this photo alone.", "example": {"brightness": 0.2}},
    )
    label = Text(most=100, load_default=None, allow_none=True, metadata={"example": "tomatoes"})


@blp.route("/cameras")
class CameraList(MethodView):
    @requires(None)
    @blp.arguments(PageQuery, location="query")
    @blp.response(200, CameraPage)
    def get(self, query: dict[str, Any]) -> dict[str, Any]:
        """List the cameras."""
        seen = [camera for camera in services().cameras if caller().may(f"camera:{camera.name}:view")]
        if last := decode_cursor(query["cursor"], str):
            names = [camera.name for camera in seen]
            seen = seen[names.index(last[0]) + 1 :] if last[0] in names else []
        found = Page(seen, query["limit"])
        return found.document(
            [camera_document(camera.state()) for camera in found.items],
            (found.items[-1].name,) if found.items else None,
        )


@blp.route("/cameras/<id>")
class CameraItem(MethodView):
    @on_camera("view")
    @blp.response(200, CameraSchema)
    def get(self, camera: CameraService) -> dict[str, Any]:
        """Tell what a camera is and does."""
        return camera_document(camera.state())

    @on_camera("configure")
    @blp.raises(CameraUnavailable)
    @blp.arguments(CameraChangeSchema)
    @blp.response(200, CameraSchema)
    def patch(self, changes: dict[str, Any], camera: CameraService) -> dict[str, Any]:
        """Set rotation and controls; kept across restarts."""
        camera.configure(changes.get("rotation"), changes.get("controls", {}), by=caller().actor)
        return camera_document(camera.state())


@blp.route("/cameras/<id>/snapshot")
class Snapshot(MethodView):
    @on_camera("view", produces=JPEG)
    @blp.raises(CameraUnavailable, CameraTimeout, CameraBusy)
    @blp.arguments(SnapshotQuery, location="query")
    @blp.response(200, {"type": "string", "format": "binary"}, content_type="image/jpeg")
    def get(self, query: dict[str, Any], camera: CameraService) -> Response:
        """Take a picture that is not kept."""
        width = query.get("width", 0)
        if width:
            camera.check_width(width)
        picture = camera.snapshot(query.get("max_age_s"))
        headers = {"X-Captured-At": format_time(picture.captured_at), "Cache-Control": "no-store"}
        return Response(picture.jpeg(width, query.get("quality", 0)), headers=headers, content_type="image/jpeg")


@blp.route("/cameras/<id>/stream")
class Stream(MethodView):
    @on_camera("view", produces=("multipart/x-mixed-replace", "image/jpeg"))
    @blp.raises(CameraUnavailable, CameraTimeout, TooManyViewers)
    @blp.arguments(StreamQuery, location="query")
    @blp.response(200, {"type": "string", "format": "binary"}, content_type=MEDIA_TYPE)
    def get(self, query: dict[str, Any], camera: CameraService) -> Response:
        """Watch a camera live, as MJPEG without end."""
        who, access = caller(), services().access
        scope = f"camera:{camera.name}:view"
        viewer = camera.watch(query.get("width", 0), query["fps"])
        return stream_response(viewer, lambda: camera.is_well() and access.still_allowed(who, scope))


@blp.route("/cameras/<id>/photos")
class CameraPhotos(MethodView):
    @on_camera("view")
    @blp.arguments(PageQuery, location="query")
    @blp.response(200, PhotoPage)
    def get(self, query: dict[str, Any], camera: CameraService) -> dict[str, Any]:
        """List the photos of a camera."""
        return list_photos(PhotoFilter(cameras=frozenset({camera.name})), query)

    @on_camera("capture")
    @blp.raises(CameraUnavailable, CameraTimeout, CameraBusy, StorageFull, Invalid)
    @blp.arguments(PhotoRequestSchema, required=False)
    @once(lambda location: _made(services().photos.get(id_in(location))))
    @blp.response(201, PhotoSchema, headers={"Location": {"schema": {"type": "string", "format": "uri-reference"}}})
    def post(self, wanted: dict[str, Any], camera: CameraService) -> Response:
        """Take a photo and keep it; on disk and synced before the answer."""
        request = PhotoRequest(**wanted)
        photos, by = services().photos, caller().actor
        return _made(photos.take(camera, request, lambda photo: made_at(path_of(photo)), by=by))


def _made(photo: Photo) -> Response:
    response = with_etag(photo, make_response(photo_document(photo), 201))
    response.headers["Location"] = path_of(photo)
    return response


def camera_document(state: CameraState) -> dict[str, Any]:
    """A camera, as clients see it."""
    here = f"/api/v1/cameras/{state.id}"
    return {
        "id": state.id,
        "backend": state.backend,
        "model": state.model,
        "emulated": state.emulated,
        "state": state.state,
        "detail": state.detail,
        "resolutions": [list(size) for size in state.resolutions],
        "rotation": state.rotation,
        "controls": {
            name: {
                "min": control.min,
                "max": control.max,
                "choices": control.choices and list(control.choices),
                "default": control.default,
                "value": value,
            }
            for name, (control, value) in state.controls.items()
        },
        "viewers": state.viewers,
        "links": {
            "self": here,
            "snapshot": f"{here}/snapshot",
            "stream": f"{here}/stream",
            "photos": f"{here}/photos",
            "timelapses": f"{here}/timelapses",
        },
    }
