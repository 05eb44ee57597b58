"""The machine: how it is, and figures for those who watch many."""

from __future__ import annotations

from typing import Any

from flask import Response
from flask.views import MethodView
from marshmallow import Schema, fields

from piapi import __version__
from piapi.api.auth import requires
from piapi.api.blueprint import Blueprint
from piapi.api.fields import Boolean, Integer, Number, links
from piapi.api.services import services
from piapi.services.machine import Throttled
from piapi.services.system import Disk

TEXTS = ("text/plain", "text/plain; version=0.0.4", "application/openmetrics-text; version=1.0.0")
"""Of figures, as scrapers ask for them."""

blp = Blueprint("system", __name__, description="The machine")


class DiskSchema(Schema):
    """The disk of the data folder."""

    total_bytes = Integer(required=True)
    free_bytes = Integer(required=True)
    floor_bytes = Integer(required=True, metadata={"description": "Free space that is never used."})
    low = Boolean(required=True, metadata={"description": "Nothing is free above the floor: no photo is kept."})
    photos = Integer(required=True)
    photos_bytes = Integer(required=True)


class ThrottledSchema(Schema):
    """What the firmware holds back: under_voltage, frequency_capped, throttled, soft_temperature_limit."""

    now = fields.List(fields.String(), required=True)
    since_boot = fields.List(fields.String(), required=True)


class MemorySchema(Schema):
    """Memory of the machine."""

    total_bytes = Integer(required=True)
    available_bytes = Integer(required=True)


class SystemSchema(Schema):
    """The machine. What is not known is null."""

    version = fields.String(required=True)
    uptime_s = Number(required=True, metadata={"description": "Of piapi."})
    model = fields.String(required=True, allow_none=True, metadata={"example": "Raspberry Pi 4 Model B Rev 1.4"})
    cpu_temperature_c = Number(required=True, allow_none=True, metadata={"example": 48.3})
    throttled = fields.Nested(ThrottledSchema, required=True, allow_none=True)
    clock_synchronised = Boolean(required=True, allow_none=True)
    load_average = Number(required=True, allow_none=True, metadata={"description": "Over a minute."})
    memory = fields.Nested(MemorySchema, required=True, allow_none=True)
    disk = fields.Nested(DiskSchema, required=True, allow_none=True)
    emulated = Boolean(required=True)
    links = links("self", "metrics")


@blp.route("/system")
class SystemView(MethodView):
    @requires("system:*:view")
    @blp.response(200, SystemSchema)
    def get(self) -> dict[str, Any]:
        """Tell how the machine is."""
        system = services().system
        memory = system.memory()
        return {
            "version": __version__,
            "uptime_s": round(system.uptime_s(), 3),
            "model": system.model(),
            "cpu_temperature_c": system.cpu_temperature_c(),
            "throttled": _throttled(system.throttled()),
            "clock_synchronised": system.clock_synchronised(),
            "load_average": system.load(),
            "memory": memory and {"total_bytes": memory[0], "available_bytes": memory[1]},
            "disk": _disk(system.disk()),
            "emulated": services().emulated,
            "links": {"self": "/api/v1/system", "metrics": "/api/v1/metrics"},
        }


@blp.route("/metrics")
class MetricsView(MethodView):
    @requires("system:*:view", produces=TEXTS)
    @blp.response(200, {"type": "string"}, content_type="text/plain")
    def get(self) -> Response:
        """Fetch the figures, as Prometheus reads them."""
        from piapi.api.metrics import as_text  # with prometheus-client: 13 MB that many owners never need

        text, media_type = as_text(services())
        return Response(text, content_type=media_type, headers={"Cache-Control": "no-store"})


def _throttled(throttled: Throttled | None) -> dict[str, Any] | None:
    if throttled is None:
        return None
    return {"now": list(throttled.now), "since_boot": list(throttled.since_boot)}


def _disk(disk: Disk | None) -> dict[str, Any] | None:
    if disk is None:
        return None
    return {
        "total_bytes": disk.total_bytes,
        "free_bytes": disk.free_bytes,
        "floor_bytes": disk.floor_bytes,
        "low": disk.is_low,
        "photos": disk.photos,
        "photos_bytes": disk.photos_bytes,
    }
