"""Where a door is, as far as can be known: from its sensors, from presses, and from time that has passed.

`closed` is said only while the closed sensor says so. `open` without an open sensor, and every direction, is inferred,
and says so (`basis`). A door counts as moving from a press, or from leaving a sensor, until it has been at a sensor for
`settle_s` or until `travel_s` is over.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from piapi.services.doors.states import Basis, DoorRules, Sensor, State, Target


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """What is known of where a door is."""

    state: State
    basis: Basis
    since: float
    """Of `state`."""
    closed: bool | None
    """Whether the closed sensor is active; None without one."""
    open: bool | None
    heading: Target | None = None
    """Where it moves to, if it moves and that is known."""
    last_heading: Target | None = None
    """Where it moved to before it stopped."""
    moving_until: float | None = None
    """By then it rests; None when it does. Also set when it may move, as far as can be told."""
    left_closed: bool = False
    """This movement began by leaving the closed sensor."""

    @property
    def rests(self) -> bool:
        """Whether it is taken to be at rest."""
        return self.moving_until is None

    @property
    def end(self) -> Sensor | None:
        """The one sensor that is active; None for none or both."""
        if bool(self.closed) == bool(self.open):
            return None
        return "closed" if self.closed else "open"

    @property
    def is_under_way(self) -> bool:
        """Whether it has been seen to leave for somewhere, and not to arrive. From a press until it leaves its sensor
        it is not: the opener may not have heard the press."""
        return self.heading is not None and self.end is None

    @property
    def is_surely_moving(self) -> bool:
        """Whether it is under way to a sensor that would see it arrive. Without one it may be there already."""
        return self.is_under_way and (self.open if self.heading == "open" else self.closed) is not None

    def _now(self, state: State, basis: Basis, at: float) -> Whereabouts:
        return replace(self, state=state, basis=basis, since=self.since if state == self.state else at)


def found(rules: DoorRules, at: float, closed: bool | None, open: bool | None, *, was_moving: bool) -> Whereabouts:
    """At a start. Away from every sensor, or when an operation was cut off (`was_moving`), it may be on its way."""
    door = Whereabouts("unknown", "none", at, closed, open)
    if closed and open:
        return door._now("fault", "sensor", at)
    if door.end:
        door = door._now(door.end, "sensor", at)
    away = door.end is None and (rules.closed_sensor or rules.open_sensor)
    return replace(door, moving_until=at + rules.travel_s) if away or was_moving else door


def seen(rules: DoorRules, door: Whereabouts, at: float, closed: bool | None, open: bool | None) -> Whereabouts:
    """The sensors are now like this, and at least one has changed."""
    after = replace(door, closed=closed, open=open, heading=None, last_heading=door.heading or door.last_heading)
    if closed and open:
        return replace(after._now("fault", "sensor", at), moving_until=None, last_heading=None)
    if after.end:
        return replace(after._now(after.end, "sensor", at), moving_until=at + rules.settle_s, left_closed=False)
    after = replace(after, moving_until=at + rules.travel_s, left_closed=door.end == "closed")
    if door.end is None:  # both were active
        return after._now("unknown", "none", at)
    return _towards(after, "open" if door.end == "closed" else "closed", at)


def pressed(rules: DoorRules, door: Whereabouts, at: float) -> Whereabouts:
    """The opener's button is pressed now. What an impulse does to a door that moves is `while_moving`."""
    after = replace(door, heading=None, left_closed=False, moving_until=at + rules.travel_s)
    if door.rests:
        return _towards(after, next_heading(door), at)
    if rules.while_moving == "stop" and door.is_surely_moving:
        after = replace(after, last_heading=door.heading, moving_until=at + rules.settle_s)
        return after._now("stopped", "inferred", at)
    turns = rules.while_moving == "reverse" and door.is_under_way
    return _towards(after, opposite(door.heading) if turns else None, at)


def rested(rules: DoorRules, door: Whereabouts, at: float) -> Whereabouts:
    """Its time to move is over."""
    after = replace(door, moving_until=None, heading=None, last_heading=door.heading or door.last_heading)
    if door.end or door.state == "stopped":
        return after
    if rules.closed_sensor and rules.open_sensor:  # nobody knows what stopped it, nor where it runs next
        return replace(after._now("stopped", "inferred", at), last_heading=None)
    if door.state == "opening" and door.left_closed and not rules.open_sensor:
        return after._now("open", "inferred", at)
    return replace(after._now("unknown", "none", at), last_heading=None)


def next_heading(door: Whereabouts) -> Target | None:
    """Where a press moves a door at rest; None when that is not known.

    After a press that stopped it on its way, an opener runs back to where it came from.
    """
    if door.state == "closed":
        return "open"
    if door.state == "open":
        return "closed"
    return opposite(door.last_heading) if door.state == "stopped" else None


def opposite(target: Target | None) -> Target | None:
    """The other end."""
    if target is None:
        return None
    return "closed" if target == "open" else "open"


def _towards(door: Whereabouts, heading: Target | None, at: float) -> Whereabouts:
    """On its way. As long as a sensor is active, the door is said to be there."""
    door = replace(door, heading=heading)
    if door.end:
        return door
    if heading is None:
        return door._now("unknown", "none", at)
    return door._now("opening" if heading == "open" else "closing", "inferred", at)
