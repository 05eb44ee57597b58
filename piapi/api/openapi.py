"""What the OpenAPI document says beside the routes: who may call, and what an error looks like."""

from __future__ import annotations

from typing import Any

import apispec
from apispec.ext.marshmallow import OpenAPIConverter

from piapi.api.browsers import COOKIE, CSRF_HEADER
from piapi.api.fields import Time

DESCRIPTION = """The REST API of piapi: a Raspberry Pi's camera, pins and doors over HTTP.

Begin at `/api/v1/` and follow `links`. Every error is a problem document (RFC 9457) whose `type` is a page that
explains it. Each operation names the scope it needs as `x-scope`; `{id}` stands for the name in the path and `{camera}`
for the camera of the photo."""

SESSION = f"From `POST /api/v1/session`. Each change needs the header `{CSRF_HEADER}` with the `csrf_token` of that."

PROBLEM: dict[str, Any] = {
    "type": "object",
    "description": "A problem document (RFC 9457).",
    "required": ["type", "title", "status", "detail", "instance"],
    "properties": {
        "type": {"type": "string", "format": "uri-reference", "examples": ["/problems/invalid"]},
        "title": {"type": "string", "examples": ["Invalid"]},
        "status": {"type": "integer", "examples": [422]},
        "detail": {"type": "string", "examples": ["/width: must be from 1 to 16384"]},
        "instance": {"type": "string", "format": "uri-reference"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["detail"],
                "properties": {
                    "pointer": {"type": "string", "description": "JSON pointer into the body (RFC 6901)."},
                    "parameter": {"type": "string", "description": "Of the query."},
                    "detail": {"type": "string"},
                },
            },
        },
    },
}


def describe(spec: apispec.APISpec) -> None:
    """Fill in what no route says."""
    spec.options["info"] = {"description": DESCRIPTION, "license": {"name": "MIT", "identifier": "MIT"}}
    spec.options["servers"] = [{"url": "/"}]
    spec.options["security"] = [{"bearer": []}, {"basic": []}, {"session": []}]
    spec.components.security_scheme(
        "bearer", {"type": "http", "scheme": "bearer", "description": "A token, from `piapi tokens create`."}
    )
    spec.components.security_scheme(
        "basic",
        {"type": "http", "scheme": "basic", "description": "User `token` and a token; or a user's name and password."},
    )
    spec.components.security_scheme(
        "session", {"type": "apiKey", "in": "cookie", "name": COOKIE, "description": SESSION}
    )
    spec.components.schema("Problem", PROBLEM)
    for plugin in spec.plugins:
        converter = getattr(plugin, "converter", None)
        if isinstance(converter, OpenAPIConverter):
            converter.field_mapping[Time] = ("string", "date-time")
