"""A simulated door with its opener: pure, a function of time and of what is done to it.

One button moves it, as on real openers: a press at rest starts it, away from an end against the way it last ran; a
press while it moves stops or reverses it, as its kind says. Things go wrong on purpose: an obstacle, a door that is
stuck, contacts that bounce, somebody who moves it by hand, a power cut. `wired_door.py` joins it to a board.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal

Kind = Literal["refuse", "stop", "reverse"]
"""What a press does to it while it moves; `refuse` is a way to treat an opener, and that opener stops."""

TRAVEL_SHARE = 0.6
"""A door that is configured with `travel_s` takes this share of it from end to end."""

HAND_S = 2.0
"""Seconds that a person takes to move it from end to end."""

IMPULSE_S = 0.05
"""Openers take a contact of their button for a press when it lasts at least this long, in seconds."""

SENSOR_REACH = 0.03
"""A sensor is active within this share of the way from its end: the magnet of a reed contact reaches some cm."""

BOUNCES = 3
"""How often a bouncing contact opens again before it stays."""

_PAST = 1e-9
"""So far beyond a sensor's edge the door stands when it has just passed it."""


@dataclass(frozen=True, slots=True)
class DoorPosition:
    """What has to be kept to find the door where it was. `at`: seconds since boot."""

    position: float = 0.0
    """0 closed, 1 open."""
    motion: int = 0
    """1 opening, −1 closing, 0 at rest."""
    last_motion: int = -1
    """The way it last ran."""
    at: float = 0.0

    def as_dict(self) -> dict[str, float]:
        """Plain values, for a file."""
        return asdict(self)

    @classmethod
    def of(cls, kept: Mapping[str, float]) -> DoorPosition:
        """From what `as_dict` gave. Raises KeyError, TypeError or ValueError for anything else."""
        position, at = float(kept["position"]), float(kept["at"])
        motion, last = int(kept["motion"]), int(kept["last_motion"])
        if not (0 <= position <= 1 and motion in (-1, 0, 1) and last in (-1, 1) and math.isfinite(at)):
            raise ValueError("this is no door's position")
        return cls(position, motion, last, at)


class SimulatedDoor:
    """The door. Times are seconds and only go forward; an `at` before the latest one counts as that."""

    def __init__(self, travel_s: float, kind: Kind = "refuse", *, at: float, kept: DoorPosition | None = None) -> None:
        """`travel_s`: seconds from end to end. `kept`: how it was; it has moved on since, but in an earlier boot (`at`
        before then) it was a power cut, and it rests where it was."""
        kept = kept or DoorPosition(at=at)
        self.travel_s = travel_s
        self.bounce_s = 0.0
        """How long a contact bounces after each change."""
        self.obstacle: float | None = None
        """A position that it cannot pass while it closes: it reverses there."""
        self._kind = kind
        self._position = kept.position
        self._motion = kept.motion if kept.at <= at else 0
        self._last_motion = kept.last_motion
        self._at = min(kept.at, at)
        self._hand_to: float | None = None
        self._has_power = True
        self._is_stuck = False
        self._is_contact_closed = False
        self._contact_since: float | None = None  # until it is heard as a press
        self._near = {"closed": self._position < SENSOR_REACH, "open": self._position > 1 - SENSOR_REACH}
        self._changed = {"closed": -math.inf, "open": -math.inf}
        self.advance(at)

    # What can be seen -------------------------------------------------------------------------------------------------

    @property
    def position(self) -> float:
        """0 closed, 1 open; at the time of the last call."""
        return self._position

    @property
    def motion(self) -> int:
        """1 opening, −1 closing, 0 at rest, whoever moves it."""
        if self._hand_to is not None:
            return 1 if self._hand_to > self._position else -1
        return self._motion

    @property
    def kept(self) -> DoorPosition:
        """What to keep."""
        return DoorPosition(self._position, self._motion, self._last_motion, self._at)

    def sensors(self) -> tuple[bool, bool]:
        """Whether the closed and the open sensor are active, bounces included."""
        return self._contact("closed"), self._contact("open")

    def next_change(self) -> float | None:
        """When something changes next by itself; None when only from outside."""
        times = [self._at + self._way_to(self._next_stop()) / self._speed] if self.motion else []
        if self._contact_since is not None:
            times.append(self._contact_since + IMPULSE_S)
        for changed in self._changed.values():
            if self._at < changed + self.bounce_s:
                times.append(changed + (self._bounce(changed) + 1) * self.bounce_s / (2 * BOUNCES))
        return min((max(time, self._at + _PAST) for time in times), default=None)

    # What is done to it -----------------------------------------------------------------------------------------------

    def advance(self, at: float) -> None:
        """Time passes."""
        self._arrive()  # at an obstacle that was put where it is, for one
        while (change := self.next_change()) is not None and change <= at:
            self._step(change)
        self._step(max(at, self._at))

    def relay(self, active: bool, at: float) -> None:
        """The contact across the opener's button closes or opens."""
        self.advance(at)
        if active and not self._is_contact_closed:
            self._contact_since = self._at
        elif not active:
            self._contact_since = None
        self._is_contact_closed = active

    def push(self, to: float, at: float) -> None:
        """Somebody moves it by hand to a position from 0 to 1; its opener lets go of it."""
        self.advance(at)
        self._motion = 0
        self._hand_to = None if self._is_stuck or self._way_to(to) <= 4 * _PAST else to

    def stick(self, is_stuck: bool, at: float) -> None:
        """It does not move, whatever pulls; or does again."""
        self.advance(at)
        self._is_stuck = is_stuck
        if is_stuck:
            self._motion, self._hand_to = 0, None

    def power(self, on: bool, at: float) -> None:
        """The opener's power goes, and it stops where it is; or comes back, and it stays there."""
        self.advance(at)
        self._has_power = on
        if not on:
            self._motion = 0

    # Inside -----------------------------------------------------------------------------------------------------------

    @property
    def _speed(self) -> float:
        """Share of the way in a second."""
        return 1 / (HAND_S if self._hand_to is not None else self.travel_s)

    def _step(self, at: float) -> None:
        """Go on to `at`, with nothing happening before it."""
        if self.motion:
            way, stop = self.motion * (at - self._at) * self._speed, self._next_stop()
            self._position = stop if self._way_to(stop) <= abs(way) + _PAST else self._position + way
        self._at = at
        self._arrive()
        self._note_contacts()
        if self._contact_since is not None and at >= self._contact_since + IMPULSE_S:
            self._contact_since = None
            self._impulse()
            self._arrive()

    def _next_stop(self) -> float:
        """The next position at which something happens, the way it moves now."""
        goal = self._hand_to if self._hand_to is not None else (1.0 if self._motion > 0 else 0.0)
        edges = [SENSOR_REACH, 1 - SENSOR_REACH, goal]
        if self._meets_obstacle():
            edges.append(self.obstacle or 0.0)
        ahead = [edge for edge in edges if (edge - self._position) * self.motion > _PAST]
        return min(ahead, key=self._way_to, default=goal)

    def _way_to(self, position: float) -> float:
        return abs(position - self._position)

    def _meets_obstacle(self) -> bool:
        closes = self._motion < 0 and self._hand_to is None
        return closes and self.obstacle is not None and self.obstacle <= self._position + _PAST

    def _arrive(self) -> None:
        if self._position in (SENSOR_REACH, 1 - SENSOR_REACH):
            self._position += self.motion * 2 * _PAST
        if self._hand_to is not None and self._way_to(self._hand_to) <= 4 * _PAST:
            self._position, self._hand_to = self._hand_to, None
        if self._meets_obstacle() and self._way_to(self.obstacle or 0.0) <= _PAST:
            self._run(1)
        if self._motion and self._position == (1.0 if self._motion > 0 else 0.0):
            self._motion = 0

    def _run(self, motion: int) -> None:
        self._motion = self._last_motion = motion
        if self._is_stuck:
            self._motion = 0

    def _impulse(self) -> None:
        if not self._has_power:
            return
        self._hand_to = None
        if self._motion and self._kind != "reverse":
            self._motion = 0
        elif self._position in (0.0, 1.0):
            self._run(1 if self._position == 0.0 else -1)
        else:
            self._run(-self._last_motion)

    def _note_contacts(self) -> None:
        for name, now in (("closed", self._position < SENSOR_REACH), ("open", self._position > 1 - SENSOR_REACH)):
            if self._near[name] != now:
                self._near[name] = now
                self._changed[name] = self._at

    def _bounce(self, changed: float) -> int:
        """How many half-bounces have passed since a contact changed."""
        share = (self._at - changed) / self.bounce_s if self.bounce_s else 1.0
        return math.floor(share * 2 * BOUNCES + _PAST) if share < 1 else 2 * BOUNCES

    def _contact(self, name: str) -> bool:
        return self._near[name] != (self._bounce(self._changed[name]) % 2 == 1)
