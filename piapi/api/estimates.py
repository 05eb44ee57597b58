"""What a plan for a time-lapse will come to, as clients see it: the answer to a dry run, and part of a refusal."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, fields

from piapi.api.fields import Boolean, Integer, Number
from piapi.clock import format_time
from piapi.timelapse import Estimate


class EstimateSchema(Schema):
    """What a plan will come to."""

    frames = Integer(required=True, metadata={"description": "Ticks that will be due."})
    size_bytes = Integer(required=True, metadata={"description": "Of frames and film."})
    ends_at = fields.String(required=True, metadata={"format": "date-time"})
    video_s = Number(required=True, metadata={"description": "Length of the film, in seconds."})
    fits = Boolean(required=True, metadata={"description": "Whether there is room beside what others are promised."})


def estimate_document(estimate: Estimate) -> dict[str, Any]:
    """An estimate, as clients see it."""
    return {
        "frames": estimate.frames,
        "size_bytes": estimate.size_bytes,
        "ends_at": format_time(estimate.ends_at),
        "video_s": estimate.video_s,
        "fits": estimate.fits,
    }
