"""What piapi keeps of time-lapses: frozen dataclasses that know no HTTP and no SQL.

A tick n is due at start + n × interval, for ever. A tick in its window that is not skipped by a pause is due; each one
that was due is a row of the ledger, captured or missed. So `index` is the number of a tick on the grid: it has gaps
where the window was closed or the owner had paused it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

State = Literal["scheduled", "running", "waiting", "paused", "finished", "cancelled", "failed"]
Cause = Literal["power", "camera", "storage", "clock", "overrun"]
RenderState = Literal["queued", "running", "finished", "failed", "cancelled"]

ENDED: frozenset[State] = frozenset({"finished", "cancelled", "failed"})
"""States that a job never leaves."""

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


@dataclass(frozen=True, slots=True)
class Window:
    """When a job captures, in the configured place and time zone. `start` is included, `end` is not."""

    start: str
    """`07:30`, or `sunrise`, `sunset`, `dawn`, `dusk`, `noon` with an offset such as `sunrise-00:30`."""
    end: str
    """At or before `start`: on the next day."""
    days: tuple[str, ...] = DAYS
    """Of `DAYS`: those on which it opens."""


@dataclass(frozen=True, slots=True)
class Video:
    """How the film is made."""

    fps: float = 30.0
    width: int = 0
    """Pixels; 0: as the frames."""
    timestamp: bool = False
    """Whether date and time are burnt in."""
    keep_frames: bool = True
    """Whether the JPEGs stay once their part of the film is durable."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What an owner asked for. Just one of `count`, `duration_s` and `until` is not None."""

    interval_s: float
    name: str | None = None
    count: int | None = None
    """Ticks that are due."""
    duration_s: float | None = None
    """Seconds from the start."""
    until: datetime | None = None
    start_at: datetime | None = None
    window: Window | None = None
    width: int = 0
    height: int = 0
    quality: int = 0
    controls: Mapping[str, Any] = field(default_factory=dict)
    """Of the stills; `exposure` may be `ramp` here."""
    lock_exposure: bool = False
    video: Video = field(default_factory=Video)

    @property
    def has_calendar(self) -> bool:
        """Whether it hangs on what the wall clock says, and so waits for one that is right."""
        return self.window is not None or self.start_at is not None or self.until is not None


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a plan will come to."""

    frames: int
    size_bytes: int
    """Of frames and film."""
    ends_at: datetime
    video_s: float
    fits: bool
    """Whether there is room for it beside what is promised to others."""


@dataclass(frozen=True, slots=True)
class Film:
    """How large the film of a job is."""

    frames: int
    duration_s: float
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Timelapse:
    """A job, as it is now."""

    seq: int
    """Place in the order of creation."""
    id: str
    camera: str
    plan: Plan
    state: State
    state_reason: str | None
    created_by: str
    created_at: datetime
    started_at: datetime | None = None
    """When tick 0 was due, as the wall clock saw it then; None before."""
    ended_at: datetime | None = None
    frames_total: int | None = None
    """Ticks that will have been due at the end; an estimate where the end is a time. None: not known yet."""
    frames_captured: int = 0
    frames_missed: int = 0
    next_frame_at: datetime | None = None
    ends_at: datetime | None = None
    lateness_ms: Mapping[str, float] = field(default_factory=dict)
    """`p50`, `p99`, `max`; empty before the first frame."""
    film: Film | None = None
    """None: not known, before the first frame or right after a start."""
    flicker: float | None = None
    """How far frames' brightness is from that of those around them, in stops, root mean square."""
    emulated: bool = False

    @property
    def frames_due(self) -> int:
        """Ticks that have been due."""
        return self.frames_captured + self.frames_missed

    @property
    def has_ended(self) -> bool:
        """Whether it never captures again."""
        return self.state in ENDED


@dataclass(frozen=True, slots=True)
class Row:
    """One tick that was due, as the ledger has it."""

    index: int
    due_at: datetime
    status: Literal["captured", "missed"]
    cause: Cause | None = None
    """Of a miss."""
    captured_at: datetime | None = None
    lateness_ms: float | None = None
    size_bytes: int | None = None
    luminance: float | None = None
    """Mean of the picture, 0 (black) to 1."""
    has_file: bool = False
    """Whether its JPEG is kept."""
    sha256: str | None = None
    """Of its JPEG."""


@dataclass(frozen=True, slots=True)
class RenderRequest:
    """How the frames are to be filmed again."""

    fps: float = 30.0
    width: int = 0
    deflicker: bool = False
    timestamp: bool = False
    every_nth: int = 1
    codec: Literal["h264", "hevc"] = "h264"


@dataclass(frozen=True, slots=True)
class Render:
    """A film that is being made from the frames of a time-lapse."""

    seq: int
    id: str
    timelapse: str
    wanted: RenderRequest
    state: RenderState
    requested_by: str
    created_at: datetime
    progress: float = 0.0
    eta_s: float | None = None
    detail: str | None = None
    """Why it failed, or what it waits for."""
    ended_at: datetime | None = None
    size_bytes: int | None = None
    sha256: str | None = None
