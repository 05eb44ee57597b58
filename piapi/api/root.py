"""Where a client begins: links to everything, and whether the service is well."""

from __future__ import annotations

from typing import Any

from flask import Response, current_app, make_response
from flask.views import MethodView
from marshmallow import Schema, fields, validate

from piapi import __version__
from piapi.api.auth import open_to_all, requires
from piapi.api.blueprint import Blueprint
from piapi.api.fields import Boolean, links
from piapi.api.services import services

blp = Blueprint("service", __name__, description="The service itself")

_COLLECTIONS = ("cameras", "photos", "timelapses", "pins", "doors", "events", "tokens", "system")
LINKS = {name: f"/api/v1/{name}" for name in _COLLECTIONS} | {"openapi": "/api/v1/openapi.json"}


class RootSchema(Schema):
    """The service."""

    name = fields.String(required=True, metadata={"example": "piapi"})
    version = fields.String(required=True, metadata={"example": __version__})
    emulated = Boolean(required=True, metadata={"description": "Whether any of the hardware is simulated."})
    links = links("self", *LINKS)


class HealthSchema(Schema):
    """Whether it is well, and no more."""

    status = fields.String(required=True, validate=validate.OneOf(["ok", "unavailable"]))


@blp.route("/", strict_slashes=False)
class Root(MethodView):
    @requires(None)
    @blp.response(200, RootSchema)
    def get(self) -> dict[str, Any]:
        """Begin here: a client needs to know nothing else."""
        return {
            "name": "piapi",
            "version": __version__,
            "emulated": services().emulated,
            "links": {"self": "/api/v1/", **LINKS},
        }


@blp.route("/health/live")
class Live(MethodView):
    @open_to_all
    @blp.response(200, HealthSchema)
    def get(self) -> dict[str, str]:
        """Tell whether the process answers."""
        return {"status": "ok"}


@blp.route("/health/ready")
class Ready(MethodView):
    @open_to_all
    @blp.response(200, HealthSchema)
    @blp.alt_response(503, schema=HealthSchema, description="Not yet, or not any more.")
    def get(self) -> Response:
        """Tell whether the service serves: schema migrated, recovery done. Absent hardware is no reason not to."""
        if current_app.extensions["piapi"].is_running:
            return make_response({"status": "ok"})
        return make_response({"status": "unavailable"}, 503)


@blp.route("/openapi.json")
class OpenApi(MethodView):
    @requires(None)
    @blp.response(200, {"type": "object"})
    def get(self) -> Response:
        """Fetch this document."""
        return make_response(current_app.extensions["piapi"].openapi())
