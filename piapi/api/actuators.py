"""Decorators of views about pins and doors, their pulses and operations: who may, and a note of who tried."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from flask import request

from piapi.api.auth import SAFE_METHODS, caller, check_acceptable, check_scope, guarded, may_any
from piapi.api.services import services
from piapi.errors import Forbidden

R = TypeVar("R")


def on_pin(verb: str) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """The view is about the pin `name` of its path, gets it as `pin`, and needs `pin:{name}:<verb>`."""

    def decorate(view: Callable[..., R]) -> Callable[..., R]:
        def admit(kwargs: dict[str, Any]) -> None:
            name = kwargs.pop("name")
            with _attempts_recorded("pin", name):
                check_scope(f"pin:{name}:{verb}")
            check_acceptable(("application/json",))
            kwargs["pin"] = services().pins.get(name)

        return guarded(view, admit, f"pin:{{name}}:{verb}", is_about_one=True)

    return decorate


def on_actuation(view: Callable[..., R]) -> Callable[..., R]:
    """The view is about the actuation `id` of its path, gets it as `actuation`, and needs `pin:<its pin>:view`."""

    def admit(kwargs: dict[str, Any]) -> None:
        if not may_any("pin", "view"):
            raise Forbidden("pin:*:view")
        actuation = services().pins.actuation(kwargs.pop("id"))
        check_scope(f"pin:{actuation.pin}:view")
        check_acceptable(("application/json",))
        kwargs["actuation"] = actuation

    return guarded(view, admit, "pin:{pin}:view", is_about_one=True)


def on_door(*verbs: str, every: bool = False) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """The view is about the door `name` of its path, gets it as `door`, and needs `door:{name}:<verb>`.

    Of several verbs one is enough where the body decides which, unless `every` one is needed.
    """

    def decorate(view: Callable[..., R]) -> Callable[..., R]:
        def admit(kwargs: dict[str, Any]) -> None:
            name = kwargs.pop("name")
            with _attempts_recorded("door", name):
                for choice in [(verb,) for verb in verbs] if every else [verbs]:
                    _check_any(f"door:{name}", choice)
            check_acceptable(("application/json",))
            kwargs["door"] = services().doors.get(name)

        joined = " and " if every else " or "
        return guarded(view, admit, joined.join(f"door:{{name}}:{verb}" for verb in verbs), is_about_one=True)

    return decorate


def on_operation(*verbs: str) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """The view is about the operation `id` of its path, gets it as `operation`, and needs one of the verbs for its
    door."""

    def decorate(view: Callable[..., R]) -> Callable[..., R]:
        def admit(kwargs: dict[str, Any]) -> None:
            if not any(may_any("door", verb) for verb in verbs):
                raise Forbidden(f"door:*:{verbs[0]}")
            operation = services().doors.operation(kwargs.pop("id"))
            _check_any(f"door:{operation.door}", verbs)
            check_acceptable(("application/json",))
            kwargs["operation"] = operation

        return guarded(view, admit, " or ".join(f"door:{{door}}:{verb}" for verb in verbs), is_about_one=True)

    return decorate


@contextlib.contextmanager
def _attempts_recorded(kind: str, name: str) -> Iterator[None]:
    """Who tries to move what they may not is told to the owner. Not of names that are made up: they would never end."""
    of = services().pins.refusals_of if kind == "pin" else services().doors.refusals_of
    refusals = of(name)
    if refusals is None or request.method in SAFE_METHODS:
        yield
        return
    with refusals.recorded(f"{kind}:{name}", {"asked": request.path.rpartition("/")[2]}, caller().actor):
        yield


def _check_any(subject: str, verbs: tuple[str, ...]) -> None:
    if not any(caller().may(f"{subject}:{verb}") for verb in verbs):
        raise Forbidden(f"{subject}:{verbs[0]}")
