"""Pins: what is on them, switching them, and pulses."""

from __future__ import annotations

from typing import Any

from flask import Response, make_response
from flask.views import MethodView
from marshmallow import Schema, fields, validate

from piapi.api.actuators import on_actuation, on_pin
from piapi.api.auth import caller, requires
from piapi.api.blueprint import Blueprint
from piapi.api.collections import Page, PageQuery, collection_of, decode_cursor
from piapi.api.conditional import etag_of, not_modified, require_match
from piapi.api.fields import Boolean, Integer, Number, between, links
from piapi.api.idempotency import id_in, made_at, once
from piapi.api.services import services
from piapi.clock import format_time
from piapi.errors import Conflict, LineBusy, PreconditionFailed, TooManyRequests
from piapi.models import Actuation
from piapi.services.pin_kinds import Pin
from piapi.services.pins import LONGEST_PULSE_S, SHORTEST_PULSE_S

blp = Blueprint("pins", __name__, description="GPIO pins, and pulses of them")

ACTUATIONS = "/api/v1/actuations"
STATES = ("intended", "active", "done", "interrupted", "unknown")


class ValueField(fields.Field[Any]):
    """true or false, or a number; null where nobody knows."""

    default_error_messages = {"invalid": "must be true or false, or a number"}

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> Any:
        if not isinstance(value, bool | int | float):
            raise self.make_error("invalid")
        return value


class PinSchema(Schema):
    """A pin."""

    name = fields.String(required=True, metadata={"example": "porch_light"})
    gpio = fields.String(required=True, metadata={"example": "GPIO17"})
    physical = Integer(required=True, metadata={"example": 11, "description": "Pin of the 40-pin header."})
    mode = fields.String(required=True, validate=validate.OneOf(["output", "input", "pwm", "servo"]))
    value = ValueField(required=True, allow_none=True, metadata={"example": True})
    active_low = Boolean(required=True)
    pull = fields.String(required=True, validate=validate.OneOf(["up", "down", "none"]))
    debounce_s = Number(required=True)
    edges = Integer(required=True, allow_none=True, metadata={"description": "Changes of an input since the start."})
    changed_at = fields.String(required=True, allow_none=True, metadata={"format": "date-time"})
    emulated = Boolean(required=True)
    links = links("self", "value", "pulses")


class PinValueSchema(Schema):
    """What a pin is to be."""

    value = ValueField(
        required=True,
        metadata={"example": True, "description": "A boolean for an output, 0–1 for PWM, −1–1 for a servo."},
    )


class PulseSchema(Schema):
    """How long a pin is to be on."""

    duration_s = Number(required=True, validate=between(SHORTEST_PULSE_S, LONGEST_PULSE_S), metadata={"example": 0.5})


class ActuationSchema(Schema):
    """A pulse, and what became of it."""

    id = fields.String(required=True)
    pin = fields.String(required=True)
    state = fields.String(required=True, validate=validate.OneOf(STATES))
    duration_s = Number(required=True, metadata={"description": "As it was asked for."})
    on_s = Number(required=True, allow_none=True, metadata={"description": "How long it was really on."})
    requested_by = fields.String(required=True, metadata={"example": "token:phone"})
    requested_at = fields.String(required=True, metadata={"format": "date-time"})
    started_at = fields.String(required=True, allow_none=True, metadata={"format": "date-time"})
    ended_at = fields.String(required=True, allow_none=True, metadata={"format": "date-time"})
    links = links("self", "pin")


@blp.route("/pins")
class PinList(MethodView):
    @requires(None)
    @blp.arguments(PageQuery, location="query")
    @blp.response(200, collection_of(PinSchema, "PinPage"))
    def get(self, query: dict[str, Any]) -> dict[str, Any]:
        """List the pins."""
        seen = [pin for pin in services().pins if caller().may(f"pin:{pin.config.name}:view")]
        if last := decode_cursor(query["cursor"], str):
            names = [pin.config.name for pin in seen]
            seen = seen[names.index(last[0]) + 1 :] if last[0] in names else []
        found = Page(seen, query["limit"])
        return found.document(
            [pin_document(pin) for pin in found.items], (found.items[-1].config.name,) if found.items else None
        )


@blp.route("/pins/<name>")
class PinItem(MethodView):
    @on_pin("view")
    @blp.response(200, PinSchema)
    @blp.alt_response(304, description="You have it already.")
    def get(self, pin: Pin) -> Response:
        """Tell what is on a pin."""
        return not_modified(etag(pin)) or answer(pin)


@blp.route("/pins/<name>/value")
class PinValue(MethodView):
    @on_pin("write")
    @blp.raises(Conflict, PreconditionFailed, LineBusy, TooManyRequests)
    @blp.arguments(PinValueSchema)
    @blp.response(200, PinSchema)
    def put(self, wanted: dict[str, Any], pin: Pin) -> Response:
        """Switch a pin, or set its level."""
        with services().bounds.command(caller()):
            services().pins.switch(pin, wanted["value"], caller().actor, allow=lambda: require_match(etag(pin)))
        return answer(pin)


@blp.route("/pins/<name>/pulses")
class PinPulses(MethodView):
    @on_pin("write")
    @blp.raises(Conflict, LineBusy, TooManyRequests)
    @blp.arguments(PulseSchema)
    @once(lambda location: accepted(services().pins.actuation(id_in(location))), required=True)
    @blp.response(202, ActuationSchema, headers={"Location": {"schema": {"type": "string", "format": "uri-reference"}}})
    def post(self, wanted: dict[str, Any], pin: Pin) -> Response:
        """Switch a pin on for a while."""
        with services().bounds.command(caller()):
            actuation = services().pins.pulse(
                pin, wanted["duration_s"], caller().actor, lambda id: made_at(f"{ACTUATIONS}/{id}")
            )
        return accepted(actuation)


@blp.route("/actuations/<id>")
class ActuationItem(MethodView):
    @on_actuation
    @blp.response(200, ActuationSchema)
    def get(self, actuation: Actuation) -> dict[str, Any]:
        """Tell what became of a pulse."""
        return actuation_document(actuation)


def answer(pin: Pin) -> Response:
    """A pin, with its entity tag."""
    response = make_response(pin_document(pin))
    response.set_etag(etag(pin))
    return response


def accepted(actuation: Actuation) -> Response:
    """A pulse that has begun."""
    response = make_response(actuation_document(actuation), 202)
    response.headers["Location"] = f"{ACTUATIONS}/{actuation.id}"
    return response


def pin_document(pin: Pin) -> dict[str, Any]:
    """A pin, as clients see it."""
    here, config = f"/api/v1/pins/{pin.config.name}", pin.config
    return {
        "name": config.name,
        "gpio": config.gpio,
        "physical": config.physical,
        "mode": config.mode,
        "value": pin.value,
        "active_low": config.active_low,
        "pull": config.pull,
        "debounce_s": config.debounce_s,
        "edges": pin.edges,
        "changed_at": pin.changed_at and format_time(pin.changed_at),
        "emulated": services().pins.emulated,
        "links": {"self": here, "value": f"{here}/value", "pulses": f"{here}/pulses"},
    }


def etag(pin: Pin) -> str:
    """Over all that can change."""
    return etag_of(pin.config, pin.value, pin.edges, pin.changed_at)


def actuation_document(actuation: Actuation) -> dict[str, Any]:
    """A pulse, as clients see it."""
    return {
        "id": actuation.id,
        "pin": actuation.pin,
        "state": actuation.state,
        "duration_s": actuation.duration_s,
        "on_s": actuation.on_s,
        "requested_by": actuation.requested_by,
        "requested_at": format_time(actuation.requested_at),
        "started_at": actuation.started_at and format_time(actuation.started_at),
        "ended_at": actuation.ended_at and format_time(actuation.ended_at),
        "links": {"self": f"{ACTUATIONS}/{actuation.id}", "pin": f"/api/v1/pins/{actuation.pin}"},
    }
