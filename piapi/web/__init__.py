"""Pages for people, over the same API as everybody's: what a page shows, its own scripts fetch from there."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec
from urllib.parse import quote

from flask import Blueprint, Response, g, make_response, redirect, render_template, request, send_from_directory

from piapi import __version__
from piapi.api.auth import caller, open_to_all, requires
from piapi.api.problems import TITLES
from piapi.api.services import services
from piapi.errors import NotFound, Unauthenticated
from piapi.web import assets

P = ParamSpec("P")

FOLDER = assets.FOLDER

blp = Blueprint("web", __name__)

HTML = ("text/html",)
PAGE_POLICY = (
    "default-src 'none'; img-src 'self' data:; media-src 'self'; style-src 'self'; script-src 'self'; "
    "connect-src 'self'; manifest-src 'self'; worker-src 'self'; frame-ancestors 'none'; base-uri 'none'; "
    "form-action 'self'"
)
# A worker has its own policy, not that of a page: https://www.w3.org/TR/CSP3/#initialize-global-object-csp
WORKER_POLICY = "default-src 'none'; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
# Swagger UI sets styles from its scripts.
DOCS_POLICY = PAGE_POLICY.replace("style-src 'self'", "style-src 'self' 'unsafe-inline'")


def page(view: Callable[P, Response]) -> Callable[P, Response]:
    """The view is a page for somebody who is logged in; a browser that nobody is logged in with goes to the login."""
    inner = requires(None, produces=HTML, any_query=True)(view)

    @functools.wraps(inner)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> Response:
        try:
            return inner(*args, **kwargs)
        except Unauthenticated:
            if "Authorization" in request.headers or "text/html" not in request.headers.get("Accept", ""):
                raise
            return redirect(f"/login?next={quote(request.full_path.rstrip('?'))}", 303)  # type: ignore[return-value]

    return wrapper


@blp.get("/")
@page
def home() -> Response:
    """The cameras live, the doors and the pins."""
    return _page("home.html")


@blp.get("/photos")
@page
def photos() -> Response:
    """All photos."""
    return _page("photos.html")


@blp.get("/timelapses")
@page
def timelapses() -> Response:
    """All time-lapses, and the form for a new one."""
    return _page("timelapses.html")


@blp.get("/timelapses/<id>")
@page
def timelapse(id: str) -> Response:
    """One time-lapse: its progress, its film, its ticks."""
    return _page("timelapse.html", id=id)


@blp.get("/history")
@page
def history() -> Response:
    """Who did what, and when."""
    return _page("history.html")


@blp.get("/system")
@page
def system() -> Response:
    """How the machine is, and who has a key to it."""
    return _page("system.html")


@blp.get("/docs")
@page
def docs() -> Response:
    """The API's documentation, in Swagger UI."""
    return _page("docs.html", DOCS_POLICY)


@blp.get("/login")
@open_to_all
def login() -> Response:
    """Logging in with a name and a password."""
    return _page("login.html")


@blp.get("/pair")
@open_to_all
def pair() -> Response:
    """Where a pairing link leads: the code stands in the fragment, which browsers keep to themselves."""
    return _page("pair.html")


@blp.get("/problems/<slug>")
@open_to_all
def problem(slug: str) -> Response:
    """What a problem means."""
    if slug not in TITLES:
        raise NotFound("There is no such problem.")
    status, title, explanation = TITLES[slug]
    return _page("problem.html", slug=slug, status=status, title=title, explanation=explanation)


@blp.get("/manifest.webmanifest")
@open_to_all
def manifest() -> Response:
    """What a phone needs to install the page."""
    response = make_response(render_template("manifest.webmanifest", static=assets.address))
    response.content_type = "application/manifest+json"
    return response


@blp.get("/service-worker.js")
@open_to_all
def service_worker() -> Response:
    """Keeps the static files, and an honest page for when piapi cannot be reached. At the root, as its scope is its
    folder (https://www.w3.org/TR/service-workers/#path-restriction)."""
    response = make_response(render_template("service-worker.js", version=assets.digest(), static=assets.address))
    response.content_type = "text/javascript; charset=utf-8"
    response.headers["Content-Security-Policy"] = WORKER_POLICY
    response.headers["Cache-Control"] = "no-cache"
    return response


@blp.get("/offline")
@open_to_all
def offline() -> Response:
    """What the service worker shows when piapi cannot be reached."""
    return _page("offline.html")


@blp.get("/static/<path:name>")
@open_to_all
def static(name: str) -> Response:
    """Style, scripts and icons of the pages: `/static/<digest>/<name>`, or without a digest."""
    return assets.send(name)


@blp.get("/static/swagger-ui/<path:name>")
@open_to_all
def swagger_ui(name: str) -> Response:
    """The files of Swagger UI, from its package."""
    import swagger_ui_bundle

    folder = next(Path(swagger_ui_bundle.__file__).parent.glob("vendor/swagger-ui-*"))
    response = send_from_directory(folder, name, conditional=True)
    response.headers["Cache-Control"] = "public, max-age=3600"
    return response


def _page(template: str, policy: str = PAGE_POLICY, **more: object) -> Response:
    """A page; what its scripts must know of the caller is in its head."""
    known = caller() if "caller" in g else None
    session = g.get("session")
    html = render_template(
        template,
        static=assets.address,
        version=__version__,
        emulated=services().emulated,
        scopes=" ".join(known.scopes) if known else "",
        who=known.name if known else "",
        csrf_token=session.csrf_token if session else "",
        **more,
    )
    response = make_response(html)
    response.headers["Content-Security-Policy"] = policy
    response.headers["Cache-Control"] = "no-store"
    return response
