"""The session of a browser: logging in, as a user or with a token, and out."""

from __future__ import annotations

import math
from typing import Any

from flask import Response, g, make_response, request
from flask.views import MethodView
from marshmallow import Schema, fields, validate

from piapi.api.auth import client_address, note_wrong_token, open_to_own_pages, requires
from piapi.api.blueprint import Blueprint
from piapi.api.browsers import COOKIE, CSRF_HEADER
from piapi.api.fields import Text, links
from piapi.api.services import services
from piapi.api.tokens import PATH as TOKENS
from piapi.clock import format_time
from piapi.errors import AccessError, NotFound, TooManyRequests, WrongPassword
from piapi.models import Session
from piapi.services.users import RESERVED

blp = Blueprint("session", __name__, description="Logging in and out")

PATH = "/api/v1/session"


class SessionSchema(Schema):
    """Who is logged in."""

    user = fields.String(required=True, metadata={"description": "Of a token, its name.", "example": "anna"})
    kind = fields.String(required=True, validate=validate.OneOf(["user", "token"]))
    scopes = fields.List(fields.String(), required=True, metadata={"example": ["*:*:view"]})
    role = fields.String(required=True, allow_none=True)
    csrf_token = fields.String(required=True, metadata={"description": f"Sent as {CSRF_HEADER} with each change."})
    expires_at = fields.String(required=True, metadata={"format": "date-time"})
    links = links("self", optional=("token",))


class LoginSchema(Schema):
    """A user's name and password; or `token`, and a token as password."""

    username = Text(least=1, most=100, required=True, metadata={"example": "anna"})
    password = Text(least=1, most=200, required=True, metadata={"format": "password"})


class LogoutQuery(Schema):
    """Where to log out."""

    everywhere = fields.String(
        load_default="false",
        validate=validate.OneOf(["true", "false"], error="must be true or false"),
        metadata={"description": "In all browsers of this user, or with this token."},
    )


@blp.route("/session")
class SessionItem(MethodView):
    @open_to_own_pages
    @blp.arguments(LoginSchema)
    @blp.raises(AccessError, WrongPassword, TooManyRequests)
    @blp.response(201, SessionSchema, headers={"Set-Cookie": {"schema": {"type": "string"}}})
    def post(self, given: dict[str, Any]) -> Response:
        """Log in. The answer sets a cookie; an Idempotency-Key is not looked at, as nobody is known yet.

        A session of a user lasts 30 days. One of a token ends with the token, or after 400 days.
        """
        session, cookie = _log_in(given["username"], given["password"])
        response = make_response(session_document(session), 201)
        response.headers["Location"] = PATH
        response.headers["Cache-Control"] = "no-store"
        lasts = session.expires_at - services().clock.now()
        _set_cookie(response, cookie, math.ceil(lasts.total_seconds()))
        return response

    @requires(None)
    @blp.raises(NotFound)
    @blp.response(200, SessionSchema)
    def get(self) -> Response:
        """Tell who is logged in."""
        response = make_response(session_document(_current()))
        response.headers["Cache-Control"] = "no-store"
        return response

    @requires(None)
    @blp.arguments(LogoutQuery, location="query")
    @blp.raises(NotFound)
    @blp.response(204)
    def delete(self, query: dict[str, Any]) -> Response:
        """Log out; open streams end within 5 s."""
        sessions = services().sessions
        (sessions.end_all if query["everywhere"] == "true" else sessions.end)(_current())
        response = Response(status=204)
        _set_cookie(response, "", 0)
        return response


def _log_in(name: str, password: str) -> tuple[Session, str]:
    """A new session, and its cookie. A token has nothing that could be guessed, so wrong ones are not slowed."""
    sessions = services().sessions
    if name != RESERVED:
        if found := sessions.log_in(name, password, client_address()):
            return found
        raise WrongPassword("There is no user with this name and this password.")
    token = services().access.authenticate(password)
    if token and (found := sessions.log_in_with_token(token, client_address())):
        return found
    note_wrong_token()
    raise WrongPassword("This token is wrong, revoked or expired.")


def _current() -> Session:
    session: Session | None = g.get("session")
    if session is None:
        raise NotFound("There is no session: a token or a password let this request in, and there is nothing to end.")
    return session


def _set_cookie(response: Response, value: str, age_s: int) -> None:
    response.set_cookie(
        COOKIE, value, max_age=age_s, path="/", httponly=True, samesite="Strict", secure=request.is_secure
    )


def session_document(session: Session) -> dict[str, Any]:
    """A session, as its browser sees it."""
    return {
        "user": session.caller.name,
        "kind": session.caller.kind,
        "scopes": list(session.caller.scopes),
        "role": session.role,
        "csrf_token": session.csrf_token,
        "expires_at": format_time(session.expires_at),
        "links": {
            "self": PATH,
            **({"token": f"{TOKENS}/{session.caller.id}"} if session.caller.kind == "token" else {}),
        },
    }
