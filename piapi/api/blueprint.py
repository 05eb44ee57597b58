"""flask-smorest's Blueprint with our strict parser, and with what the decorators above a view say in its document."""

from __future__ import annotations

import functools
from collections.abc import Callable
from copy import deepcopy
from typing import Any, TypeVar

import flask_smorest
from marshmallow import Schema

from piapi import errors
from piapi.api import idempotency, problems, waiting
from piapi.api.parser import StrictParser, read_query

R = TypeVar("R")

_BODY = (problems.MalformedJson, problems.TooLarge, problems.UnsupportedMediaType, errors.Invalid)
_ALWAYS = (problems.BadRequest, errors.Unauthenticated, errors.Forbidden, problems.NotAcceptable)


class Blueprint(flask_smorest.Blueprint):
    """Routes of one resource."""

    ARGUMENTS_PARSER = StrictParser()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._prepare_doc_cbks.extend([idempotency.describe, waiting.describe, _describe_access])

    def arguments(self, schema: type[Schema], *, location: str = "json", **kwargs: Any) -> Any:
        """As flask-smorest's, with one instance of the schema, and with a short way for the query."""
        instance = schema()
        documented = super().arguments(instance, location=location, **kwargs)
        if location != "query":
            return documented

        def decorate(view: Callable[..., R]) -> Callable[..., R]:
            @functools.wraps(view)
            def wrapper(*args: Any, **kwargs: Any) -> R:
                return view(*args, read_query(instance), **kwargs)

            wrapper._apidoc = documented(view)._apidoc  # type: ignore[attr-defined]
            return wrapper

        return decorate

    @staticmethod
    def raises(*kinds: type[errors.PiApiError]) -> Callable[[Callable[..., R]], Callable[..., R]]:
        """Say in the document which errors, beside those that its other decorators imply, a view may answer with."""

        def decorate(view: Callable[..., R]) -> Callable[..., R]:
            view._apidoc = deepcopy(getattr(view, "_apidoc", {}))  # type: ignore[attr-defined]
            view._apidoc.setdefault("raises", []).extend(kinds)  # type: ignore[attr-defined]
            return view

        return decorate


def _describe_access(doc: dict[str, Any], info: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Scope, security and problems of an operation, from `_apidoc`."""
    responses = doc.setdefault("responses", {})
    responses.pop("default", None)
    responses.pop("422", None)
    scope = info.get("scope")
    kinds: list[type[errors.PiApiError]] = [problems.BadRequest]
    if scope is None:
        doc["security"] = []
    else:
        kinds += _ALWAYS
        doc["x-scope"] = scope
    if info.get("is_about_one"):
        kinds.append(errors.NotFound)
    parameters = doc.get("parameters", [])
    if "requestBody" in doc:
        kinds += _BODY
    elif any(isinstance(item, dict) and item.get("in") == "query" for item in parameters) or _has_query(info):
        kinds.append(errors.Invalid)
    kinds += info.get("raises", [])
    for status, slugs in sorted(_by_status(kinds).items()):
        responses.setdefault(str(status), _response(slugs))
    return doc


def _has_query(info: dict[str, Any]) -> bool:
    return any(
        isinstance(item, dict) and item.get("in") == "query" for item in info.get("arguments", {}).get("parameters", [])
    )


def _by_status(kinds: list[type[errors.PiApiError]]) -> dict[int, set[str]]:
    found: dict[int, set[str]] = {}
    for kind in kinds:
        status, slug = problems.PROBLEMS[kind]
        found.setdefault(status, set()).add(slug)
    return found


def _response(slugs: set[str]) -> dict[str, Any]:
    told = "; ".join(f"`{slug}`: {problems.TITLES[slug][2]}" for slug in sorted(slugs))
    return {
        "description": told,
        "content": {problems.PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
