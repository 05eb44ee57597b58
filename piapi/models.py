"""What piapi keeps and passes around: frozen dataclasses that know no HTTP and no SQL."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

PhotoFormat = Literal["jpeg", "png", "dng"]

ROLES: Mapping[str, tuple[str, ...]] = {
    "viewer": ("*:*:view",),
    "operator": ("*:*:view", "camera:*:*", "pin:*:*", "door:*:*"),
    "admin": ("*:*:*",),
}
"""Names for bundles of scopes."""

VERBS: Mapping[str, tuple[str, ...]] = {
    "camera": ("view", "capture", "configure"),
    "pin": ("view", "write"),
    "door": ("view", "open", "close", "lock"),
    "system": ("view", "admin"),
}
"""What can be done to each kind of thing; a scope is `<kind>:<name>:<verb>`, with `*` for any part."""


@dataclass(frozen=True, slots=True)
class Token:
    """A key that was handed out, without its secret."""

    id: str
    name: str
    scopes: tuple[str, ...]
    role: str | None
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is asking, and what they may."""

    id: str
    """Of the token; of a user, the name."""
    name: str
    scopes: tuple[str, ...]
    kind: Literal["token", "user", "console"] = "token"
    proof: bytes = field(default=b"", repr=False)
    """The SHA-256 of what let them in, the session's cookie or the stored hash of the password; empty for a token that
    came along by itself."""

    @property
    def actor(self) -> str:
        """As the journal names who did something."""
        return CONSOLE if self.kind == "console" else f"{self.kind}:{self.name}"

    @property
    def identity(self) -> str:
        """What no other caller has: names of tokens are free to be the same."""
        return f"{self.kind}:{self.id}"

    def may(self, scope: str) -> bool:
        """Whether one of the scopes covers `kind:name:verb`."""
        kind, _, rest = scope.partition(":")
        name, _, verb = rest.rpartition(":")  # a name that somebody made up may hold a colon
        wanted = (kind, name, verb)
        return any(
            all(have in ("*", want) for have, want in zip(held.split(":"), wanted, strict=True)) for held in self.scopes
        )

    def names(self, kind: str, verb: str) -> frozenset[str] | None:
        """The names of one kind that the caller may `verb`; None means all of them."""
        parts = [scope.split(":") for scope in self.scopes]
        names = frozenset(name for of, name, can in parts if of in ("*", kind) and can in ("*", verb))
        return None if "*" in names else names


@dataclass(frozen=True, slots=True)
class User:
    """A person with a password, which is stored as a hash alone."""

    name: str
    scopes: tuple[str, ...]
    role: str | None
    created_at: datetime
    changed_at: datetime
    """When the password was set."""


@dataclass(frozen=True, slots=True)
class Session:
    """A browser in which somebody has logged in, as a user or with a token."""

    caller: Caller
    role: str | None
    expires_at: datetime
    csrf_token: str = field(repr=False)
    """What a page of ours sends along with each change; it cannot be told without the cookie."""


@dataclass(frozen=True, slots=True)
class Pairing:
    """A code with which a new device may fetch a token, once."""

    id: str
    name: str
    """Of the token."""
    scopes: tuple[str, ...]
    role: str | None
    token_expires_in_s: int | None
    """Seconds from the redemption on; None: never."""
    created_at: datetime
    expires_at: datetime
    """As a label: it ends by the clock that never jumps."""
    created_by: str


NOBODY = "nobody"
"""The actor of what happens by itself."""

CONSOLE = "console"
"""The actor of what somebody does on the machine's own command line."""


@dataclass(frozen=True, slots=True)
class Event:
    """An entry of the journal: something changed."""

    id: int
    """Rising by one or more; never used again."""
    at: datetime
    type: str
    """What happened, as `photo.captured`."""
    subject: str
    """To what, as `camera:front`: a scope without its verb. Who may view that may see this entry."""
    actor: str
    """By whom: `user:<name>`, `token:<name>`, `address:<address>`, `console` or `nobody`."""
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which entries of the journal. None: any."""

    type: str | None = None
    subject: str | None = None
    since: datetime | None = None
    """By the clock as it was when they were written."""


@dataclass(frozen=True, slots=True)
class Photo:
    """A picture in the library."""

    seq: int
    """Place in the library, rising with each photo kept; 0 before it is."""
    id: str
    camera: str
    captured_at: datetime
    width: int
    height: int
    size_bytes: int
    format: PhotoFormat
    sha256: str
    label: str | None
    pinned: bool
    metadata: Mapping[str, Any]
    emulated: bool
    is_missing: bool = False
    """Its file was not there at the last start."""


@dataclass(frozen=True, slots=True)
class PhotoFilter:
    """Which photos. None: any."""

    cameras: frozenset[str] | None = None
    since: datetime | None = None
    until: datetime | None = None
    """Not included."""
    label: str | None = None


@dataclass(frozen=True, slots=True)
class CameraSettings:
    """What an owner set on a camera over the API; kept across restarts."""

    rotation: int
    controls: Mapping[str, float | int | bool | str]


@dataclass(frozen=True, slots=True)
class Actuation:
    """A pulse of a pin: asked for, begun, ended."""

    id: str
    pin: str
    state: Literal["intended", "active", "done", "interrupted", "unknown"]
    duration_s: float
    """As it was asked for."""
    requested_by: str
    requested_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    on_s: float | None = None
    """How long it was really on, by the clock that never jumps."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """A sensor of a door went on or off while it was operated."""

    at: datetime
    sensor: Literal["closed", "open"]
    active: bool


@dataclass(frozen=True, slots=True)
class DoorOperation:
    """What was asked of a door, by whom, and what came of it."""

    id: str
    revision: int
    """Rising with each change."""
    door: str
    target: Literal["open", "closed"] | None
    """None: a toggle, which is one press and no more."""
    state: Literal["warning", "moving", "succeeded", "failed", "timed_out", "superseded", "cancelled", "unknown"]
    requested_by: str
    requested_at: datetime
    warning_ends_at: datetime | None = None
    """None where it has not warned."""
    pressed_at: datetime | None = None
    """Of the first press."""
    ended_at: datetime | None = None
    presses: int = 0
    evidence: tuple[Evidence, ...] = ()
    detail: str | None = None
    """Why it ended as it did, for a person."""
    has_pictures: bool = False

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self.ended_at is None


@dataclass(frozen=True, slots=True)
class DoorMemory:
    """What the journal says of a door at a start."""

    operation: DoorOperation | None = None
    """The last one."""
    locked: bool = False
    lock_reason: str | None = None
    failed_closes: int = 0
