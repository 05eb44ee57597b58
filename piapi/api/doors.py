"""Doors: where they are, moving them, and what became of it."""

from __future__ import annotations

from typing import Any

from flask import Response, make_response
from flask.views import MethodView
from marshmallow import Schema, fields, validate

from piapi.api.actuators import on_door, on_operation
from piapi.api.auth import caller, check_scope, requires
from piapi.api.blueprint import Blueprint
from piapi.api.collections import Page, PageQuery, collection_of, decode_cursor
from piapi.api.conditional import etag_of, not_modified, require_match
from piapi.api.fields import Boolean, Integer, Text, Time, links
from piapi.api.idempotency import id_in, made_at, once
from piapi.api.services import services
from piapi.api.waiting import may_wait, preferred_wait_s
from piapi.clock import format_time
from piapi.errors import CommandExpired, Conflict, LineBusy, Locked, PreconditionFailed, Quarantined, TooManyRequests
from piapi.models import DoorOperation
from piapi.services.doors.door import Door
from piapi.services.doors.pictures import label_of
from piapi.services.doors.view import DoorView

blp = Blueprint("doors", __name__, description="Doors, and operations of them")

OPERATIONS = "/api/v1/operations"
STATES = ("open", "closed", "opening", "closing", "stopped", "unknown", "fault")
OPERATION_STATES = (
    "warning", "moving", "succeeded", "failed", "timed_out", "superseded", "cancelled", "unknown",
)  # fmt: skip
TARGETS = ("open", "closed")
VERBS = {"open": "open", "closed": "close"}
"""Of the scope that a target needs."""

_TIME = {"format": "date-time"}


class SensorsSchema(Schema):
    """Whether each sensor is active; null where there is none, or nobody knows."""

    closed = Boolean(required=True, allow_none=True)
    open = Boolean(required=True, allow_none=True)


class DoorSchema(Schema):
    """A door."""

    name = fields.String(required=True, metadata={"example": "garage"})
    state = fields.String(required=True, validate=validate.OneOf(STATES))
    basis = fields.String(
        required=True,
        validate=validate.OneOf(["sensor", "inferred", "none"]),
        metadata={"description": "Why it is said to be in this state."},
    )
    since = fields.String(required=True, metadata=_TIME)
    sensors = fields.Nested(SensorsSchema, required=True)
    target = fields.String(required=True, allow_none=True, validate=validate.OneOf([*TARGETS, None]))
    locked = Boolean(required=True)
    lock_reason = fields.String(required=True, allow_none=True)
    operation = fields.String(required=True, allow_none=True, metadata={"description": "The running or last one."})
    detail = fields.String(required=True, allow_none=True, metadata={"description": "Why it takes no command now."})
    emulated = Boolean(required=True)
    links = links("self", "target", "toggles", "lock", "events", optional=("operation",))


class TargetSchema(Schema):
    """Where a door is to be."""

    target = fields.String(required=True, validate=validate.OneOf(TARGETS))
    expires_at = Time(metadata={"description": "From then on the command is not carried out."})


class ToggleSchema(Schema):
    """One press."""

    expires_at = Time(metadata={"description": "From then on the command is not carried out."})


class LockSchema(Schema):
    """Whether a door takes commands."""

    locked = Boolean(required=True)
    reason = Text(most=200, allow_none=True, metadata={"example": "The spring is broken."})


class EvidenceSchema(Schema):
    """A sensor went on or off."""

    at = fields.String(required=True, metadata=_TIME)
    sensor = fields.String(required=True, validate=validate.OneOf(TARGETS))
    active = Boolean(required=True)


class OperationSchema(Schema):
    """What was asked of a door, and what became of it."""

    id = fields.String(required=True)
    door = fields.String(required=True)
    target = fields.String(
        required=True,
        allow_none=True,
        validate=validate.OneOf([*TARGETS, None]),
        metadata={"description": "null for a toggle."},
    )
    state = fields.String(required=True, validate=validate.OneOf(OPERATION_STATES))
    detail = fields.String(required=True, allow_none=True, metadata={"description": "Why it has ended so."})
    requested_by = fields.String(required=True, metadata={"example": "token:phone"})
    requested_at = fields.String(required=True, metadata=_TIME)
    warning_ends_at = fields.String(required=True, allow_none=True, metadata=_TIME)
    pressed_at = fields.String(required=True, allow_none=True, metadata=_TIME)
    ended_at = fields.String(required=True, allow_none=True, metadata=_TIME)
    presses = Integer(required=True)
    evidence = fields.List(fields.Nested(EvidenceSchema), required=True)
    links = links("self", "door", optional=("pictures",))


LOCATION = {"Location": {"schema": {"type": "string", "format": "uri-reference"}}}


@blp.route("/doors")
class DoorList(MethodView):
    @requires(None)
    @blp.arguments(PageQuery, location="query")
    @blp.response(200, collection_of(DoorSchema, "DoorPage"))
    def get(self, query: dict[str, Any]) -> dict[str, Any]:
        """List the doors."""
        seen = [door for door in services().doors if caller().may(f"door:{door.name}:view")]
        if last := decode_cursor(query["cursor"], str):
            names = [door.name for door in seen]
            seen = seen[names.index(last[0]) + 1 :] if last[0] in names else []
        found = Page(seen, query["limit"])
        return found.document(
            [door_document(door, door.view) for door in found.items],
            (found.items[-1].name,) if found.items else None,
        )


@blp.route("/doors/<name>")
class DoorItem(MethodView):
    @on_door("view")
    @blp.response(200, DoorSchema)
    @blp.alt_response(304, description="You have it already.")
    def get(self, door: Door) -> Response:
        """Tell where a door is."""
        view = door.view
        return not_modified(etag(door, view)) or answer(door, view)


@blp.route("/doors/<name>/target")
class DoorTarget(MethodView):
    @on_door("open", "close")
    @blp.raises(Conflict, CommandExpired, PreconditionFailed, Locked, Quarantined, LineBusy, TooManyRequests)
    @blp.arguments(TargetSchema)
    @may_wait
    @blp.response(200, {"oneOf": [{"$ref": "#/components/schemas/Door"}, {"$ref": "#/components/schemas/Operation"}]})
    @blp.alt_response(202, schema=OperationSchema, headers=LOCATION, description="It is being carried out.")
    def put(self, wanted: dict[str, Any], door: Door) -> Response:
        """Open or close a door. 200 with the door: it is there already. With `Prefer: wait`, 200 with the operation."""
        target, by = wanted["target"], caller().actor
        with services().doors.refusals.recorded(f"door:{door.name}", {"target": target}, by):
            check_scope(f"door:{door.name}:{VERBS[target]}")
            with services().bounds.command(caller()):
                operation = door.move(target, by, expires_at=wanted.get("expires_at"), allow=unless_changed(door))
        return answer(door, door.view) if operation is None else outcome(operation)


@blp.route("/doors/<name>/toggles")
class DoorToggles(MethodView):
    @on_door("open", "close", every=True)
    @blp.raises(Conflict, CommandExpired, Locked, Quarantined, LineBusy, TooManyRequests)
    @blp.arguments(ToggleSchema)
    @once(lambda location: accepted(services().doors.operation(id_in(location))), required=True)
    @may_wait
    @blp.response(202, OperationSchema, headers=LOCATION)
    @blp.alt_response(200, schema=OperationSchema, description="It has ended within the time preferred.")
    def post(self, wanted: dict[str, Any], door: Door) -> Response:
        """Press the opener's button once."""
        by = caller().actor
        with (
            services().doors.refusals.recorded(f"door:{door.name}", {"toggle": True}, by),
            services().bounds.command(caller()),
        ):
            operation = door.toggle(by, lambda id: made_at(f"{OPERATIONS}/{id}"), expires_at=wanted.get("expires_at"))
        return outcome(operation)


@blp.route("/doors/<name>/lock")
class DoorLock(MethodView):
    @on_door("lock")
    @blp.raises(PreconditionFailed, TooManyRequests)
    @blp.arguments(LockSchema)
    @blp.response(200, DoorSchema)
    def put(self, wanted: dict[str, Any], door: Door) -> Response:
        """Lock a door against every command, or unlock it."""
        locked, by = wanted["locked"], caller().actor
        with (
            services().doors.refusals.recorded(f"door:{door.name}", {"locked": locked}, by),
            services().bounds.command(caller()),
        ):
            view = door.lock(locked, wanted.get("reason") if locked else None, by, allow=unless_changed(door))
        return answer(door, view)


@blp.route("/operations/<id>")
class OperationItem(MethodView):
    @on_operation("view")
    @blp.response(200, OperationSchema)
    def get(self, operation: DoorOperation) -> dict[str, Any]:
        """Tell what became of an operation."""
        return operation_document(operation)

    @on_operation("open", "close")
    @blp.raises(Conflict, Quarantined, LineBusy)
    @blp.response(200, OperationSchema)
    def delete(self, operation: DoorOperation) -> dict[str, Any]:
        """Cancel an operation while it still warns."""
        by = caller().actor
        with services().doors.refusals.recorded(f"door:{operation.door}", {"cancel": operation.id}, by):
            if not operation.is_running:
                raise Conflict("This operation has ended.")
            return operation_document(services().doors.get(operation.door).cancel(operation.id, by))


def unless_changed(door: Door) -> Any:
    """Refuses a command with an `If-Match` that names another state than the door's."""
    return lambda view: require_match(etag(door, view))


def outcome(operation: DoorOperation) -> Response:
    """As the caller prefers: now, or when it has ended."""
    wait_s = preferred_wait_s()
    operation = services().doors.wait(operation, wait_s)
    return accepted(operation) if operation.is_running or not wait_s else make_response(operation_document(operation))


def accepted(operation: DoorOperation) -> Response:
    """An operation that was taken."""
    response = make_response(operation_document(operation), 202)
    response.headers["Location"] = f"{OPERATIONS}/{operation.id}"
    return response


def answer(door: Door, view: DoorView) -> Response:
    """A door, with its entity tag."""
    response = make_response(door_document(door, view))
    response.set_etag(etag(door, view))
    return response


def etag(door: Door, view: DoorView) -> str:
    """Over all that can change."""
    return etag_of(door.config, view)


def door_document(door: Door, view: DoorView) -> dict[str, Any]:
    """A door, as clients see it."""
    here, operation = f"/api/v1/doors/{door.name}", view.operation
    return {
        "name": door.name,
        "state": view.state,
        "basis": view.basis,
        "since": format_time(view.since),
        "sensors": {"closed": view.closed, "open": view.open},
        "target": view.target,
        "locked": view.locked,
        "lock_reason": view.lock_reason,
        "operation": operation and operation.id,
        "detail": view.detail,
        "emulated": services().doors.emulated,
        "links": {
            "self": here,
            "target": f"{here}/target",
            "toggles": f"{here}/toggles",
            "lock": f"{here}/lock",
            "events": f"/api/v1/events?subject=door:{door.name}",
            **({"operation": f"{OPERATIONS}/{operation.id}"} if operation else {}),
        },
    }


def operation_document(operation: DoorOperation) -> dict[str, Any]:
    """An operation, as clients see it."""
    pictures = f"/api/v1/photos?label={label_of(operation.id)}"
    return {
        "id": operation.id,
        "door": operation.door,
        "target": operation.target,
        "state": operation.state,
        "detail": operation.detail,
        "requested_by": operation.requested_by,
        "requested_at": format_time(operation.requested_at),
        "warning_ends_at": operation.warning_ends_at and format_time(operation.warning_ends_at),
        "pressed_at": operation.pressed_at and format_time(operation.pressed_at),
        "ended_at": operation.ended_at and format_time(operation.ended_at),
        "presses": operation.presses,
        "evidence": [
            {"at": format_time(seen.at), "sensor": seen.sensor, "active": seen.active} for seen in operation.evidence
        ],
        "links": {
            "self": f"{OPERATIONS}/{operation.id}",
            "door": f"/api/v1/doors/{operation.door}",
            **({"pictures": pictures} if operation.has_pictures else {}),
        },
    }
