"""Pages for people: a first look at the cameras, the API's documentation, and what each problem means."""

from __future__ import annotations

from pathlib import Path

from flask import Blueprint, Response, make_response, render_template, send_from_directory

from piapi import __version__
from piapi.api.auth import caller, open_to_all, requires
from piapi.api.problems import TITLES
from piapi.api.services import services
from piapi.errors import NotFound

FOLDER = Path(__file__).parent

blp = Blueprint("web", __name__)

HTML = ("text/html",)
PAGE_POLICY = (
    "default-src 'none'; img-src 'self' data:; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)
# Swagger UI sets styles from its scripts.
DOCS_POLICY = PAGE_POLICY.replace("style-src 'self'", "style-src 'self' 'unsafe-inline'")


@blp.get("/")
@requires(None, produces=HTML)
def home() -> Response:
    """The cameras, live."""
    seen = [camera.state() for camera in services().cameras if caller().may(f"camera:{camera.name}:view")]
    return _page(render_template("home.html", cameras=seen, emulated=services().emulated, version=__version__))


@blp.get("/docs")
@requires(None, produces=HTML)
def docs() -> Response:
    """The API's documentation, in Swagger UI."""
    return _page(render_template("docs.html"), DOCS_POLICY)


@blp.get("/problems/<slug>")
@open_to_all
def problem(slug: str) -> Response:
    """What a problem means."""
    if slug not in TITLES:
        raise NotFound("There is no such problem.")
    status, title, explanation = TITLES[slug]
    return _page(render_template("problem.html", slug=slug, status=status, title=title, explanation=explanation))


@blp.get("/static/<path:name>")
@open_to_all
def static(name: str) -> Response:
    """Style and scripts of the pages."""
    return _static(FOLDER / "static", name)


@blp.get("/static/swagger-ui/<path:name>")
@open_to_all
def swagger_ui(name: str) -> Response:
    """The files of Swagger UI, from its package."""
    import swagger_ui_bundle

    folder = next(Path(swagger_ui_bundle.__file__).parent.glob("vendor/swagger-ui-*"))
    return _static(folder, name)


def _page(html: str, policy: str = PAGE_POLICY) -> Response:
    response = make_response(html)
    response.headers["Content-Security-Policy"] = policy
    return response


def _static(folder: Path, name: str) -> Response:
    response = send_from_directory(folder, name, conditional=True)
    response.headers["Cache-Control"] = "public, max-age=3600"
    return response
