"""Rows of time-lapses, and what they stand for."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from piapi.storage.database import from_millis, to_millis
from piapi.storage.ledger import Job
from piapi.timelapse import Plan, Row, Video, Window


def frame_values(job: int, frame: Row) -> tuple[Any, ...]:
    """A captured tick, as a row of `frames`."""
    captured_at = frame.captured_at or frame.due_at
    return (
        job,
        frame.index,
        to_millis(frame.due_at),
        to_millis(captured_at),
        round((frame.lateness_ms or 0.0) * 1000),
        frame.size_bytes or 0,
        frame.luminance,
        int(frame.has_file),
        None if frame.sha256 is None else bytes.fromhex(frame.sha256),
    )


def row_of(row: sqlite3.Row) -> Row:
    """A row of `frames`."""
    return Row(
        index=row["tick"],
        due_at=from_millis(row["due_at"]),
        status="captured",
        captured_at=from_millis(row["captured_at"]),
        lateness_ms=row["lateness_us"] / 1000,
        size_bytes=row["size_bytes"],
        luminance=row["luminance"],
        has_file=bool(row["has_file"]),
        sha256=None if row["sha256"] is None else row["sha256"].hex(),
    )


def missed_row(job: Job, miss: sqlite3.Row, tick: int) -> Row:
    """One tick of a run of misses."""
    since = timedelta(microseconds=(tick - miss["first"]) * job.interval_us)
    return Row(index=tick, due_at=from_millis(miss["due_at"]) + since, status="missed", cause=miss["cause"])


def columns_of(job: Job) -> dict[str, Any]:
    """What changes of a job."""
    return {
        "plan": plan_to_json(job.plan),
        "state": job.state,
        "state_reason": job.state_reason,
        "started_at": _millis(job.started_at),
        "ended_at": _millis(job.ended_at),
        "is_emulated": int(job.is_emulated),
        "boot_id": job.boot_id,
        "boot_us": job.boot_us,
        "anchor_us": job.anchor_us,
        "is_anchored": int(job.is_anchored),
        "settled": job.settled,
        "captured": job.captured,
        "missed": job.missed,
        "bytes": job.bytes,
        "lateness": json.dumps(job.lateness.counts, separators=(",", ":")),
        "memory": json.dumps(job.memory, separators=(",", ":")),
        "is_film_done": int(job.is_film_done),
    }


def job_of(row: sqlite3.Row) -> Job:
    """A row of `timelapses`."""
    job = Job(
        id=row["id"],
        camera=row["camera"],
        plan=plan_from_json(row["plan"]),
        created_by=row["created_by"],
        created_at=from_millis(row["created_at"]),
        seq=row["seq"],
        state=row["state"],
        state_reason=row["state_reason"],
    )
    job.started_at, job.ended_at = _time(row["started_at"]), _time(row["ended_at"])
    job.boot_id, job.boot_us, job.anchor_us = row["boot_id"], row["boot_us"], row["anchor_us"]
    job.settled, job.captured, job.missed, job.bytes = row["settled"], row["captured"], row["missed"], row["bytes"]
    job.is_anchored, job.is_film_done = bool(row["is_anchored"]), bool(row["is_film_done"])
    job.is_emulated = bool(row["is_emulated"])
    job.lateness.counts = {int(step): count for step, count in json.loads(row["lateness"]).items()}
    job.memory = json.loads(row["memory"])
    return job


_last: dict[str, tuple[Plan, str]] = {}
"""The plan that was written last: with each tick it is the same one again."""


def plan_to_json(plan: Plan) -> str:
    """A plan as text."""
    if (last := _last.get("plan")) is not None and last[0] is plan:
        return last[1]
    values = asdict(plan)
    for name in ("until", "start_at"):
        values[name] = values[name] and values[name].astimezone(UTC).isoformat()
    text = json.dumps(values, separators=(",", ":"))
    _last["plan"] = plan, text
    return text


def plan_from_json(text: str) -> Plan:
    """The plan in a text."""
    values = json.loads(text)
    for name in ("until", "start_at"):
        values[name] = values[name] and datetime.fromisoformat(values[name])
    if window := values["window"]:
        values["window"] = Window(window["start"], window["end"], tuple(window["days"]))
    values["video"] = Video(**values["video"])
    return Plan(**values)


def _millis(moment: datetime | None) -> int | None:
    return None if moment is None else to_millis(moment)


def _time(millis: int | None) -> datetime | None:
    return None if millis is None else from_millis(millis)
