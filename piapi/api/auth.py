"""Who asks, and whether they may: the decorators above a view say what it needs.

Bearer, or Basic with a user's name and password, or with user `token` and a token (for players and cameras that know
only Basic), or the cookie of a session that either of the two began; or nothing at all on the local socket, to root and
the service's own user. Every view has one of these decorators; a test walks the URL map and holds it.
"""

from __future__ import annotations

import functools
import hmac
import os
import re
from collections.abc import Callable
from copy import deepcopy
from typing import Any, ParamSpec, TypeVar

from flask import g, request
from flask_httpauth import HTTPBasicAuth, HTTPTokenAuth, MultiAuth
from werkzeug.datastructures import MIMEAccept
from werkzeug.http import parse_accept_header

from piapi.api.browsers import COOKIE, CSRF_HEADER, is_from_elsewhere
from piapi.api.problems import NotAcceptable
from piapi.api.services import services
from piapi.errors import AccessError, Fault, Forbidden, Invalid, Unauthenticated
from piapi.models import ROLES, Caller
from piapi.server.connection import USER
from piapi.services.access import SUBJECT
from piapi.services.users import RESERVED

P = ParamSpec("P")
R = TypeVar("R")

_bearer = HTTPTokenAuth(scheme="Bearer", realm="piapi")
_basic = HTTPBasicAuth(realm="piapi")
_auth = MultiAuth(_bearer, _basic)

MEDIA_TYPES = {"jpeg": "image/jpeg", "png": "image/png", "dng": "image/x-adobe-dng"}
"""Of a photo, by its format."""

_FINDERS: dict[str, Callable[[str], Any]] = {
    "token": lambda id: services().access.token(id),
    "user": lambda name: services().users.user(name),
    "pairing": lambda id: services().pairings.pairing(id),
}
"""By the last part of a path."""

_CONSOLE = Caller("console", "console", ROLES["admin"], kind="console")

_PASSED_ON = re.compile(r"Forwarded|Via|X-Forwarded-.*|X-Real-Ip")
"""Names of headers that a proxy adds, as WSGI tells them."""

SAFE_METHODS = frozenset({"GET", "HEAD"})


@_bearer.verify_token
def _verify_token(token: str) -> Caller | None:
    return services().access.authenticate(token) if token else None


@_basic.verify_password
def _verify_password(username: str, password: str) -> Caller | None:
    if not username or not password:
        return None
    if username == RESERVED:
        caller = services().access.authenticate(password)
    else:
        caller = services().users.authenticate(username, password, client_address())
    if caller and request.method not in SAFE_METHODS:
        _refuse_other_sites()  # browsers send a Basic password again by themselves
    return caller


@_bearer.error_handler
@_basic.error_handler
def _refuse(status: int) -> None:
    given = request.authorization
    if given is not None and (given.token or (given.username == RESERVED and given.password)):
        note_wrong_token()
    raise Unauthenticated(
        "A token is needed: `Authorization: Bearer <token>`, or Basic with user `token` and the token as password; "
        "or a user's name and password. A browser gives the same two to POST /api/v1/session."
    )


def note_wrong_token() -> None:
    """In the journal: one was presented that opens nothing."""
    services().events.count("auth.failed", SUBJECT, actor=f"address:{request.remote_addr}")


def caller() -> Caller:
    """Who asks. Only in views that have one of the decorators below."""
    known: Caller = g.caller
    return known


def requires(
    scope: str | None,
    produces: tuple[str, ...] = ("application/json",),
    finds: str | None = None,
    any_query: bool = False,
) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """The view needs a caller with `scope`; None: any caller. With `finds="token"` (user, pairing) it gets that of its
    path. `any_query`: its query is for the scripts of the page that it answers with."""

    def decorate(view: Callable[..., R]) -> Callable[..., R]:
        def admit(kwargs: dict[str, Any]) -> None:
            if scope is not None:
                check_scope(scope)
            check_acceptable(produces)
            if finds is not None:
                _, name = kwargs.popitem()  # the one part of the path that has a name
                kwargs[finds] = _FINDERS[finds](name)

        return guarded(view, admit, scope, is_about_one=finds is not None, any_query=any_query)

    return decorate


def on_camera(
    verb: str, produces: tuple[str, ...] = ("application/json",)
) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """The view is about the camera `id` of its path, gets it as `camera`, and needs `camera:{id}:<verb>`."""

    def decorate(view: Callable[..., R]) -> Callable[..., R]:
        def admit(kwargs: dict[str, Any]) -> None:
            name = kwargs.pop("id")
            check_scope(f"camera:{name}:{verb}")
            check_acceptable(produces)
            kwargs["camera"] = services().cameras.get(name)

        return guarded(view, admit, f"camera:{{id}}:{verb}", is_about_one=True)

    return decorate


def on_photo(
    verb: str, produces: tuple[str, ...] = ("application/json",), even_missing: bool = False
) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """The view is about the photo `id` of its path, gets it as `photo`, and needs `camera:<its camera>:<verb>`.

    `even_missing`: also about one whose file has gone.
    """

    def decorate(view: Callable[..., R]) -> Callable[..., R]:
        def admit(kwargs: dict[str, Any]) -> None:
            if not may_any("camera", verb):
                raise Forbidden(f"camera:*:{verb}")
            photo = services().photos.get(kwargs.pop("id"), even_missing)
            check_scope(f"camera:{photo.camera}:{verb}")
            check_acceptable(tuple(MEDIA_TYPES[photo.format] if kind == "image/*" else kind for kind in produces))
            kwargs["photo"] = photo

        return guarded(view, admit, f"camera:{{camera}}:{verb}", is_about_one=True)

    return decorate


def open_to_all(view: Callable[P, R]) -> Callable[P, R]:
    """The view answers anybody. The list of these is in API.md, and in a test."""
    view._is_open_to_all = True  # type: ignore[attr-defined]
    return view


def open_to_own_pages(view: Callable[P, R]) -> Callable[P, R]:
    """As `open_to_all`, except to what a browser does for a page of another site: it could log its visitors in."""
    check_query = _query_check(view)

    @functools.wraps(view)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        _refuse_other_sites()
        check_acceptable(("application/json",))
        check_query()
        return view(*args, **kwargs)

    return open_to_all(wrapper)


def client_address() -> str:
    """From where the request comes; through a trusted proxy, from where it came to that."""
    return request.remote_addr or "local"


def check_scope(scope: str) -> None:
    """Raise Forbidden unless the caller has it."""
    if not caller().may(scope):
        raise Forbidden(scope)


def check_acceptable(produces: tuple[str, ...]) -> None:
    """Raise NotAcceptable unless one of the media types is welcome."""
    if not _is_welcome(request.headers.get("Accept", ""), produces):
        raise NotAcceptable(f"This is to be had as {' or '.join(produces)}, which the Accept header leaves out.")


@functools.lru_cache(maxsize=128)
def _is_welcome(accept: str, produces: tuple[str, ...]) -> bool:
    """Remembered, as a client sends the same header each time, and reading it takes longer than a look-up."""
    accepted = parse_accept_header(accept, MIMEAccept)
    return not accepted or any(accepted[kind] > 0 for kind in produces)


def _authenticate() -> None:
    """Bearer is looked at first, as nearly all requests have it: MultiAuth makes its decorators anew for each one."""
    kind, _, token = request.headers.get("Authorization", "").partition(" ")
    known = services().access.authenticate(token.strip()) if kind.lower() == "bearer" else None
    if known is not None:
        g.caller = known
    elif USER in request.environ and _is_at_the_console():
        g.caller = _CONSOLE
    elif COOKIE in request.cookies and "Authorization" not in request.headers:
        _authenticate_by_session(request.cookies[COOKIE])
    else:
        _authenticate_otherwise()


def _is_at_the_console() -> bool:
    """Whether root, or the service's own user, asks by itself: not with other credentials, nor for somebody else, as
    a proxy of the same user would."""
    is_owner = request.environ[USER] in (0, os.geteuid())
    is_passed_on = any(_PASSED_ON.fullmatch(name) for name, _ in request.headers)
    return is_owner and not is_passed_on and "Authorization" not in request.headers


def _authenticate_by_session(cookie: str) -> None:
    session = services().sessions.find(cookie)
    if session is None:
        _refuse(401)
        return
    if request.method not in SAFE_METHODS:
        _refuse_other_sites()
        sent = request.headers.get(CSRF_HEADER, "")
        if not hmac.compare_digest(sent.encode(), session.csrf_token.encode()):
            raise AccessError(f"In a session a change needs the header {CSRF_HEADER}; GET /api/v1/session tells it.")
    services().access.note_session(session.caller)
    g.session, g.caller = session, session.caller


def _refuse_other_sites() -> None:
    if is_from_elsewhere():
        raise AccessError("Another site made this request in your name; only piapi's own pages may.")


@_auth.login_required
def _authenticate_otherwise() -> None:
    g.caller = _auth.current_user()


def _query_check(view: Callable[..., Any], any_query: bool = False) -> Callable[[], None]:
    """A view without a query schema takes no parameter at all: one that is mistyped must not be passed over."""
    parameters = getattr(view, "_apidoc", {}).get("arguments", {}).get("parameters", [])
    if any_query or any(parameter["in"] == "query" for parameter in parameters):
        return lambda: None

    def check() -> None:
        if request.args:
            raise Invalid(*(Fault(name, "there is no such parameter", in_query=True) for name in request.args))

    return check


def may_any(kind: str, verb: str) -> bool:
    """Whether the caller may do this with any thing of the kind."""
    return caller().names(kind, verb) != frozenset()


def guarded(
    view: Callable[..., R],
    admit: Callable[[dict[str, Any]], None],
    scope: str | None,
    is_about_one: bool,
    any_query: bool = False,
) -> Callable[..., R]:
    """The view behind its checks, in the contract's order. `admit` raises, or puts what the view is about in place of
    the path's `id`. What the view needs is left where the OpenAPI document finds it (flask-smorest's `_apidoc`)."""
    check_query = _query_check(view, any_query)

    @functools.wraps(view)
    def wrapper(*args: Any, **kwargs: Any) -> R:
        _authenticate()
        admit(kwargs)
        check_query()
        return view(*args, **kwargs)

    wrapper._apidoc = deepcopy(getattr(wrapper, "_apidoc", {}))  # type: ignore[attr-defined]
    wrapper._apidoc |= {"scope": scope or "any", "is_about_one": is_about_one}  # type: ignore[attr-defined]
    return wrapper
