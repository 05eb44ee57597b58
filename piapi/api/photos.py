"""Photos: the library, the files, and thumbnails."""

from __future__ import annotations

from typing import Any

from flask import Response, make_response, request
from flask.views import MethodView
from marshmallow import Schema, ValidationError, fields, validate, validates_schema

from piapi.api.auth import MEDIA_TYPES, caller, on_photo, requires
from piapi.api.blueprint import Blueprint
from piapi.api.collections import Page, PageQuery, collection_of, decode_cursor
from piapi.api.conditional import etag_of, not_modified, require_match
from piapi.api.fields import Boolean, Integer, QueryInteger, Text, Time, between, links
from piapi.api.files import IMMUTABLE, send_file
from piapi.api.problems import RangeNotSatisfiable
from piapi.api.services import services
from piapi.api.tar import MEDIA_TYPE as TAR
from piapi.api.tar import Member, tar_response
from piapi.clock import format_time
from piapi.errors import PreconditionFailed, TooManyRequests
from piapi.models import Photo, PhotoFilter
from piapi.services.thumbnails import THUMBNAIL_WIDTHS, kept_width
from piapi.storage.photos import ENDINGS, key_of

blp = Blueprint("photos", __name__, description="The photo library")


class PhotoSchema(Schema):
    """A photo in the library."""

    id = fields.String(required=True, metadata={"example": "5f1d7a84c0b2e913"})
    camera = fields.String(required=True, metadata={"example": "front"})
    captured_at = fields.String(
        required=True,
        metadata={"format": "date-time", "example": "2026-11-20T21:37:28.123Z", "description": "When exposure began."},
    )
    width = Integer(required=True)
    height = Integer(required=True)
    size_bytes = Integer(required=True)
    format = fields.String(required=True, validate=validate.OneOf(list(MEDIA_TYPES)))
    sha256 = fields.String(required=True, metadata={"pattern": "^[0-9a-f]{64}$"})
    label = fields.String(required=True, allow_none=True)
    pinned = Boolean(required=True, metadata={"description": "A pinned photo is never removed by retention."})
    metadata = fields.Dict(required=True, metadata={"description": "What the camera says: exposure_s, gain, …"})
    emulated = Boolean(required=True)
    links = links("self", "file", "thumbnail", "camera")


PhotoPage = collection_of(PhotoSchema, "PhotoPage")


class PhotoSelection(Schema):
    """Which photos."""

    camera = Text(most=40, load_default=None, metadata={"example": "front"})
    since = Time(load_default=None, metadata={"type": "string", "format": "date-time", "description": "Included."})
    until = Time(load_default=None, metadata={"type": "string", "format": "date-time", "description": "Not included."})
    label = Text(most=100, load_default=None)


class PhotoQuery(PageQuery, PhotoSelection):
    """Which photos, in pages."""


class ThumbnailQuery(Schema):
    """How large a thumbnail."""

    width = QueryInteger(
        load_default=320,
        validate=between(1, 16384),
        metadata={"description": f"Rounded up to one of {', '.join(map(str, THUMBNAIL_WIDTHS))}."},
    )


class PhotoChangeSchema(Schema):
    """What can change of a photo. What is not named stays as it is."""

    label = Text(most=100, allow_none=True, metadata={"example": "tomatoes"})
    pinned = Boolean()

    @validates_schema
    def _not_empty(self, data: dict[str, Any], **_: Any) -> None:
        if not data:
            raise ValidationError("nothing to change: name label, pinned or both")


@blp.route("/photos")
class PhotoList(MethodView):
    @requires(None)
    @blp.arguments(PhotoQuery, location="query")
    @blp.response(200, PhotoPage)
    def get(self, query: dict[str, Any]) -> dict[str, Any]:
        """List the photos of all cameras."""
        return list_photos(selected(query), query)


@blp.route("/photos.tar")
class PhotoArchive(MethodView):
    @requires(None, produces=(TAR,))
    @blp.raises(TooManyRequests)
    @blp.arguments(PhotoSelection, location="query")
    @blp.response(200, {"type": "string", "format": "binary"}, content_type=TAR)
    def get(self, query: dict[str, Any]) -> Response:
        """Fetch the same photos as one tar stream, newest first."""
        who, access = caller(), services().access
        archive = services().photos.archive(selected(query))
        members = (Member(archive_name(photo), photo.captured_at, path) for photo, path in archive)
        return tar_response("photos.tar", members, lambda: access.current(who) == who, archive.close)


@blp.route("/photos/<id>")
class PhotoItem(MethodView):
    @on_photo("view", produces=("application/json", "image/*"))
    @blp.response(200, PhotoSchema)
    @blp.alt_response(304, description="You have it already.")
    def get(self, photo: Photo) -> Response:
        """Tell what is known of a photo; with `Accept: image/*`, the image."""
        if _wants_image(photo):
            response = photo_file(photo)
        else:
            response = not_modified(etag(photo)) or with_etag(photo, make_response(photo_document(photo)))
        response.vary.add("Accept")
        return response

    @on_photo("capture")
    @blp.raises(PreconditionFailed)
    @blp.arguments(PhotoChangeSchema)
    @blp.response(200, PhotoSchema)
    def patch(self, changes: dict[str, Any], photo: Photo) -> Response:
        """Set label or pin."""
        changed = services().photos.change(photo.id, changes, require_unchanged, by=caller().actor)
        return with_etag(changed, make_response(photo_document(changed)))

    @on_photo("capture", even_missing=True)
    @blp.raises(PreconditionFailed)
    @blp.response(204)
    def delete(self, photo: Photo) -> None:
        """Remove a photo for good."""
        services().photos.remove(photo.id, require_unchanged, by=caller().actor)


@blp.route("/photos/<id>/file")
class PhotoFile(MethodView):
    @on_photo("view", produces=("image/*",))
    @blp.raises(RangeNotSatisfiable)
    @blp.response(200, {"type": "string", "format": "binary"}, content_type="image/*")
    @blp.alt_response(
        206, schema={"type": "string", "format": "binary"}, content_type="image/*", description="A range."
    )
    @blp.alt_response(304, description="You have it already.")
    def get(self, photo: Photo) -> Response:
        """Fetch the bytes of a photo; ranges and entity tag."""
        return photo_file(photo)


@blp.route("/photos/<id>/thumbnail")
class PhotoThumbnail(MethodView):
    @on_photo("view", produces=("image/jpeg",))
    @blp.raises(TooManyRequests)
    @blp.arguments(ThumbnailQuery, location="query")
    @blp.response(200, {"type": "string", "format": "binary"}, content_type="image/jpeg")
    @blp.alt_response(304, description="You have it already.")
    def get(self, query: dict[str, Any], photo: Photo) -> Response:
        """Fetch a small JPEG of a photo."""
        tag = etag_of(photo.sha256, kept_width(query["width"]))
        if (response := not_modified(tag)) is None:
            response = make_response(services().photos.thumbnail(photo, query["width"]))
            response.content_type = "image/jpeg"
            response.set_etag(tag)
        response.headers["Cache-Control"] = IMMUTABLE
        return response


def selected(query: dict[str, Any]) -> PhotoFilter:
    """What was asked for, as far as the caller may view it."""
    cameras = caller().names("camera", "view")
    if wanted := query["camera"]:
        cameras = frozenset({wanted}) if cameras is None else cameras & {wanted}
    return PhotoFilter(cameras, query["since"], query["until"], query["label"])


def list_photos(chosen: PhotoFilter, query: dict[str, Any]) -> dict[str, Any]:
    """A page of photos."""
    before = decode_cursor(query["cursor"], int, int)
    found = Page(services().photos.page(chosen, query["limit"] + 1, before), query["limit"])
    return found.document(
        [photo_document(photo) for photo in found.items], key_of(found.items[-1]) if found.items else None
    )


def photo_file(photo: Photo) -> Response:
    """Its bytes."""
    name = f"{photo.camera}-{photo.captured_at:%Y%m%d-%H%M%S}-{photo.id}.{ENDINGS[photo.format]}"
    return send_file(services().photos.file(photo), photo.sha256, MEDIA_TYPES[photo.format], name)


def archive_name(photo: Photo) -> str:
    """Of its file among others, in the order of time; without colons, which not every file system takes."""
    return f"{format_time(photo.captured_at).replace(':', '')}-{photo.camera}-{photo.id}.{ENDINGS[photo.format]}"


def path_of(photo: Photo) -> str:
    """Where it is."""
    return f"/api/v1/photos/{photo.id}"


def photo_document(photo: Photo) -> dict[str, Any]:
    """A photo, as clients see it."""
    here = path_of(photo)
    return {
        "id": photo.id,
        "camera": photo.camera,
        "captured_at": format_time(photo.captured_at),
        "width": photo.width,
        "height": photo.height,
        "size_bytes": photo.size_bytes,
        "format": photo.format,
        "sha256": photo.sha256,
        "label": photo.label,
        "pinned": photo.pinned,
        "metadata": photo.metadata,
        "emulated": photo.emulated,
        "links": {
            "self": here,
            "file": f"{here}/file",
            "thumbnail": f"{here}/thumbnail",
            "camera": f"/api/v1/cameras/{photo.camera}",
        },
    }


def etag(photo: Photo) -> str:
    """Over what can change; the rest hangs on the id."""
    return etag_of(photo.id, photo.label, photo.pinned)


def require_unchanged(photo: Photo) -> None:
    """Raise PreconditionFailed when `If-Match` names another version than this one."""
    require_match(etag(photo))


def with_etag(photo: Photo, response: Response) -> Response:
    """The response, tagged."""
    response.set_etag(etag(photo))
    return response


def _wants_image(photo: Photo) -> bool:
    """Whether the client would rather have the image than its description."""
    offers = ["application/json", MEDIA_TYPES[photo.format]]
    return request.accept_mimetypes.best_match(offers) == MEDIA_TYPES[photo.format]
