"""What is particular to browsers: they send passwords and cookies by themselves, also for pages of other sites."""

from __future__ import annotations

from flask import request

COOKIE = "piapi_session"
"""256 random bits that name a session."""

CSRF_HEADER = "X-CSRF-Token"
"""Goes along with each change in a session; a page of another site cannot know it."""


def is_from_elsewhere() -> bool:
    """Whether a browser says that another site made this request (Fetch Metadata; else Origin, RFC 6454)."""
    if site := request.headers.get("Sec-Fetch-Site"):
        return site not in ("same-origin", "none")
    origin = request.headers.get("Origin")
    return origin is not None and origin.split("://", 1)[-1] != request.host


def may_ask_for_password() -> bool:
    """Whether a 401 may open a browser's dialog for a password: when somebody opens a page, and not when a page of ours
    fetches something. Over plain http browsers do not say which (Fetch Metadata); there the cookie tells."""
    if mode := request.headers.get("Sec-Fetch-Mode"):
        return mode == "navigate"
    if request.headers.get("X-Requested-With") == "XMLHttpRequest":
        return False
    return COOKIE not in request.cookies or "text/html" in request.headers.get("Accept", "")
