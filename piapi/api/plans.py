"""What may be asked of a time-lapse: the bodies of its POST and PATCH, every fault of them in one answer."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from marshmallow import Schema, ValidationError, fields, validate, validates_schema

from piapi.api.controls import ControlField
from piapi.api.fields import Boolean, Integer, Number, Text, Time, between
from piapi.api.services import services
from piapi.timelapse import DAYS, Plan, Video, Window

MOST_COUNT = 500_000_000
LONGEST_S = 100 * 365.25 * 86_400
LARGEST_SIDE = 16384

#: A `start_at` that is so much in the past, in seconds, is now: clocks differ, and requests take their time.
PAST_S = 60

ENDS = ("count", "duration_s", "until")

_TIME = {"type": "string", "format": "date-time"}
_EDGE = {"description": "A clock time, or sunrise, sunset, dawn, dusk, noon with or without an offset."}


def _days(days: list[str]) -> None:
    if len(set(days)) < len(days):
        raise ValidationError("must not name a day twice")


WindowSchema = Schema.from_dict(
    {
        "from": Text(least=1, most=20, required=True, metadata={**_EDGE, "example": "sunrise-00:30"}),
        "to": Text(least=1, most=20, required=True, metadata={**_EDGE, "example": "sunset+00:30"}),
        "days": fields.List(
            fields.String(validate=validate.OneOf(DAYS, error=f"must be one of {', '.join(DAYS)}")),
            load_default=list(DAYS),
            validate=[validate.Length(1, 7, error="must have 1 to 7 days"), _days],
            metadata={"description": "On which it opens; all of them unless given."},
        ),
    },
    name="Window",
)


class VideoWishSchema(Schema):
    """How the film is wanted."""

    fps = Number(load_default=30.0, validate=between(0.1, 120), metadata={"description": "Frames per second."})
    width = Integer(
        validate=between(16, LARGEST_SIDE), metadata={"description": "In pixels; that of the frames, unless given."}
    )
    timestamp = Boolean(load_default=False, metadata={"description": "Whether date and time are burnt in."})
    keep_frames = Boolean(
        load_default=True, metadata={"description": "Whether the JPEGs stay once their part of the film is durable."}
    )


class EndSchema(Schema):
    """When a time-lapse ends."""

    count = Integer(validate=between(1, MOST_COUNT), metadata={"description": "Ticks that are due.", "example": 720})
    duration_s = Number(validate=between(0.1, LONGEST_S), metadata={"description": "Seconds from the start."})
    until = Time(metadata={**_TIME, "description": "By the wall clock."})


class PlanSchema(EndSchema):
    """A time-lapse that is to be. Just one of `count`, `duration_s` and `until`."""

    name = Text(most=100, load_default=None, allow_none=True, metadata={"example": "tomatoes"})
    interval_s = Number(required=True, validate=between(0.1, 86_400), metadata={"example": 5})
    start_at = Time(metadata={**_TIME, "description": "Now, unless given."})
    window = fields.Nested(WindowSchema, metadata={"description": "Capture only inside."})
    width = Integer(validate=between(1, LARGEST_SIDE), metadata={"description": "In pixels.", "example": 1920})
    height = Integer(validate=between(1, LARGEST_SIDE), metadata={"description": "In pixels.", "example": 1080})
    quality = Integer(validate=between(1, 100), metadata={"description": "Of the JPEGs; as they come, unless given."})
    controls = fields.Dict(
        Text(least=1, most=40),
        ControlField(),
        load_default=dict,
        metadata={
            "description": "Of the stills. `exposure` may be `ramp`: from day to night in small steps.",
            "example": {"exposure": "ramp"},
        },
    )
    lock_exposure = Boolean(
        load_default=False,
        metadata={"description": "Whether exposure, gain, white balance and focus are held once they have settled."},
    )
    video = fields.Nested(VideoWishSchema, load_default=lambda: VideoWishSchema().load({}))

    @validates_schema(skip_on_field_errors=False, pass_original=True)
    def _whole(self, data: dict[str, Any], original: Any, **_: Any) -> None:
        faults: dict[str, list[str]] = _faults_of_end(data, original, required=True)
        now = services().clock.now()
        start_at = data.get("start_at")
        if start_at is not None and start_at < now - timedelta(seconds=PAST_S):
            faults.setdefault("start_at", []).append("is in the past; leave it out to start now")
        if data.get("until") is not None and data["until"] <= max(now, start_at or now):
            late = "the start" if start_at is not None and start_at > now else "now"
            faults.setdefault("until", []).append(f"must be later than {late}")
        if data.get("lock_exposure") is True and (data.get("controls") or {}).get("exposure") == "ramp":
            faults["lock_exposure"] = ["what is locked cannot ramp; choose one of the two"]
        if faults:
            raise ValidationError(faults)


class TimelapseChangeSchema(EndSchema):
    """What can change of a time-lapse. What is not named stays as it is."""

    state = fields.String(
        validate=validate.OneOf(
            ["paused", "running", "cancelled"], error="can be set to paused, running or cancelled alone"
        )
    )
    name = Text(most=100, allow_none=True)

    @validates_schema(skip_on_field_errors=False, pass_original=True)
    def _possible(self, data: dict[str, Any], original: Any, **_: Any) -> None:
        if original == {}:
            raise ValidationError(f"nothing to change: name state, name or one of {', '.join(ENDS)}")
        faults = _faults_of_end(data, original, required=False)
        if data.get("until") is not None and data["until"] <= services().clock.now():
            faults.setdefault("until", []).append("must be later than now")
        if faults:
            raise ValidationError(faults)


def _faults_of_end(data: Mapping[str, Any], original: Any, required: bool) -> dict[str, list[str]]:
    given = [name for name in ENDS if isinstance(original, dict) and name in original]
    if len(given) > 1:
        return {name: [f"only one of {', '.join(ENDS)} can be given"] for name in given}
    if required and not given:
        return {"_schema": [f"it needs an end: one of {', '.join(ENDS)}"]}
    return {}


def plan_of(wanted: Mapping[str, Any]) -> Plan:
    """What was asked for, from a body that is sound."""
    window = wanted.get("window")
    rest = {name: value for name, value in wanted.items() if name not in ("window", "video")}
    return Plan(
        **rest,
        window=window and Window(window["from"], window["to"], tuple(window["days"])),
        video=Video(**wanted["video"]),
    )
