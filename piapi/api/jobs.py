"""Decorators of views about time-lapses and renders: who may."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from piapi.api.auth import check_acceptable, check_scope, guarded, may_any
from piapi.api.services import services
from piapi.errors import Forbidden
from piapi.timelapse import Render, Timelapse

R = TypeVar("R")


def on_timelapse(
    verb: str, produces: tuple[str, ...] = ("application/json",)
) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """The view is about the time-lapse `id` of its path, gets it as `timelapse`, and needs `camera:<its
    camera>:<verb>`."""

    def find(id: str) -> tuple[Timelapse, str]:
        timelapse = services().timelapses.get(id)
        return timelapse, timelapse.camera

    return _about("timelapse", find, verb, produces)


def on_render(
    verb: str, produces: tuple[str, ...] = ("application/json",)
) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """The view is about the render `id` of its path, gets it as `render`, and needs `camera:<camera>:<verb>` for the
    camera of its time-lapse."""

    def find(id: str) -> tuple[Render, str]:
        render = services().renders.get(id)
        return render, services().timelapses.get(render.timelapse).camera

    return _about("render", find, verb, produces)


def _about(
    name: str, find: Callable[[str], tuple[object, str]], verb: str, produces: tuple[str, ...]
) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """`find` gives the thing of an id, and the camera whose scope it needs."""

    def decorate(view: Callable[..., R]) -> Callable[..., R]:
        def admit(kwargs: dict[str, Any]) -> None:
            _check_any(verb)
            kwargs[name], camera = find(kwargs.pop("id"))
            check_scope(f"camera:{camera}:{verb}")
            check_acceptable(produces)

        return guarded(view, admit, f"camera:{{camera}}:{verb}", is_about_one=True)

    return decorate


def _check_any(verb: str) -> None:
    if not may_any("camera", verb):
        raise Forbidden(f"camera:*:{verb}")
