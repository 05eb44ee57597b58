"""JSON over HTTP, version 1: a file a resource, all under /api/v1."""

from __future__ import annotations

from typing import Any

import flask_smorest
from flask import Flask

from piapi import __version__
from piapi.api import (
    cameras,
    doors,
    events,
    frames,
    hosts,
    pairings,
    photos,
    pins,
    problems,
    renders,
    root,
    session,
    system,
    timelapses,
    tokens,
    users,
)
from piapi.api.openapi import describe

PREFIX = "/api/v1"


class Api(flask_smorest.Api):
    """flask-smorest's, with our problem documents instead of its errors."""

    def _register_error_handlers(self) -> None:
        problems.register(self._app)


def register(app: Flask, host_names: tuple[str, ...]) -> Api:
    """Put the whole API into an application."""
    app.config.update(
        API_TITLE="piapi",
        API_VERSION=__version__,
        OPENAPI_VERSION="3.1.0",
        PROPAGATE_EXCEPTIONS=False,
    )
    hosts.guard(app, host_names)
    api = Api(app)
    describe(api.spec)
    media = (cameras, photos, timelapses, frames, renders)
    for module in (root, *media, pins, doors, events, tokens, system, users, session, pairings):
        api.register_blueprint(module.blp, url_prefix=PREFIX)
    return api


def document(api: Api) -> dict[str, Any]:
    """The OpenAPI document."""
    found: dict[str, Any] = api.spec.to_dict()
    return found
