"""`Prefer: wait=N` (RFC 7240, section 4.3): how long a client would wait for a command to be carried out."""

from __future__ import annotations

import re
from collections.abc import Callable
from copy import deepcopy
from typing import Any, TypeVar

from flask import request

R = TypeVar("R")

LONGEST_WAIT_S = 30

_WAIT = re.compile(r"(?:^|[,;])\s*wait\s*=\s*\"?([0-9]{1,9})\"?\s*(?=$|[,;])", re.IGNORECASE)

_PARAMETER: dict[str, Any] = {
    "name": "Prefer",
    "in": "header",
    "description": f"`wait=N`: answer when it has ended, at most N seconds later (and at most {LONGEST_WAIT_S}).",
    "schema": {"type": "string"},
}


def may_wait(view: Callable[..., R]) -> Callable[..., R]:
    """Say in the document that a view heeds `Prefer: wait`."""
    view._apidoc = deepcopy(getattr(view, "_apidoc", {})) | {"may_wait": True}  # type: ignore[attr-defined]
    return view


def describe(doc: dict[str, Any], info: dict[str, Any], **_: Any) -> dict[str, Any]:
    """What the OpenAPI document says of a view with `may_wait`."""
    if info.get("may_wait"):
        doc.setdefault("parameters", []).append(_PARAMETER)
    return doc


def preferred_wait_s() -> int:
    """Seconds; 0 without the preference. One that is not understood is passed over, as the RFC wants it."""
    found = _WAIT.search(request.headers.get("Prefer", ""))
    return min(int(found[1]), LONGEST_WAIT_S) if found else 0
