"""Decorators of views about time-lapses and renders: who may."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from piapi.api.auth import check_acceptable, check_scope, guarded, may_any
from piapi.api.services import services
from piapi.errors import Forbidden

R = TypeVar("R")


def on_timelapse(
    verb: str, produces: tuple[str, ...] = ("application/json",)
) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """The view is about the time-lapse `id` of its path, gets it as `timelapse`, and needs `camera:<its
    camera>:<verb>`."""

    def decorate(view: Callable[..., R]) -> Callable[..., R]:
        def admit(kwargs: dict[str, Any]) -> None:
            _check_any(verb)
            timelapse = services().timelapses.get(kwargs.pop("id"))
            check_scope(f"camera:{timelapse.camera}:{verb}")
            check_acceptable(produces)
            kwargs["timelapse"] = timelapse

        return guarded(view, admit, f"camera:{{camera}}:{verb}", is_about_one=True)

    return decorate


def on_render(
    verb: str, produces: tuple[str, ...] = ("application/json",)
) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """The view is about the render `id` of its path, gets it as `render`, and needs `camera:<camera>:<verb>` for the
    camera of its time-lapse."""

    def decorate(view: Callable[..., R]) -> Callable[..., R]:
        def admit(kwargs: dict[str, Any]) -> None:
            _check_any(verb)
            render = services().renders.get(kwargs.pop("id"))
            check_scope(f"camera:{services().timelapses.get(render.timelapse).camera}:{verb}")
            check_acceptable(produces)
            kwargs["render"] = render

        return guarded(view, admit, f"camera:{{camera}}:{verb}", is_about_one=True)

    return decorate


def _check_any(verb: str) -> None:
    if not may_any("camera", verb):
        raise Forbidden(f"camera:*:{verb}")
