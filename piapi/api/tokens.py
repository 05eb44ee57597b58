"""Tokens: made, listed without their secrets, revoked."""

from __future__ import annotations

from typing import Any

from flask import Response, make_response
from flask.views import MethodView
from marshmallow import Schema, ValidationError, fields, validate, validates_schema

from piapi.api.auth import caller, requires
from piapi.api.blueprint import Blueprint
from piapi.api.collections import Page, PageQuery, collection_of, decode_cursor
from piapi.api.conditional import etag_of, not_modified, require_match
from piapi.api.fields import Integer, Text, between, links
from piapi.api.idempotency import id_in, made_at, once
from piapi.api.services import services
from piapi.clock import format_time
from piapi.errors import PreconditionFailed
from piapi.models import ROLES, Token
from piapi.services.access import LONGEST_S

PATH = "/api/v1/tokens"

blp = Blueprint("tokens", __name__, description="Keys for people and programs")


class TokenSchema(Schema):
    """A token, without its secret."""

    id = fields.String(required=True, metadata={"example": "8c1f0e6a2b9d"})
    name = fields.String(required=True, metadata={"example": "kitchen tablet"})
    scopes = fields.List(fields.String(), required=True, metadata={"example": ["camera:front:view"]})
    role = fields.String(required=True, allow_none=True)
    created_at = fields.String(required=True, metadata={"format": "date-time"})
    expires_at = fields.String(required=True, allow_none=True, metadata={"format": "date-time"})
    last_used_at = fields.String(required=True, allow_none=True, metadata={"format": "date-time"})
    links = links("self")


class NewTokenSchema(TokenSchema):
    """A token with its secret, which is shown this once."""

    token = fields.String(metadata={"description": "The secret. An answer that is given again leaves it out."})


class TokenRequestSchema(Schema):
    """A name, and scopes or a role."""

    name = Text(least=1, most=100, required=True, metadata={"example": "kitchen tablet"})
    scopes = fields.List(
        Text(least=5, most=100),
        validate=validate.Length(1, 50, error="must have 1 to 50 scopes"),
        metadata={"example": ["camera:front:view"]},
    )
    role = fields.String(validate=validate.OneOf(list(ROLES), error=f"must be one of {', '.join(ROLES)}"))
    expires_in_s = Integer(validate=between(1, LONGEST_S), metadata={"description": "Seconds; never, unless given."})

    @validates_schema(skip_on_field_errors=False, pass_original=True)
    def _one_of_two(self, data: dict[str, Any], original: dict[str, Any], **_: Any) -> None:
        if ("scopes" in original) == ("role" in original):
            raise ValidationError("name either scopes or a role")


@blp.route("/tokens")
class TokenList(MethodView):
    @requires("system:*:admin")
    @blp.arguments(PageQuery, location="query")
    @blp.response(200, collection_of(TokenSchema, "TokenPage"))
    def get(self, query: dict[str, Any]) -> dict[str, Any]:
        """List the tokens, without their secrets."""
        before = decode_cursor(query["cursor"], int, str)
        access = services().access
        found = Page(access.tokens(query["limit"] + 1, before), query["limit"])
        return found.document(
            [token_document(token) for token in found.items], access.key_of(found.items[-1]) if found.items else None
        )

    @requires("system:*:admin")
    @blp.arguments(TokenRequestSchema)
    @once(lambda location: _made(services().access.token(id_in(location))), secret=("token",))
    @blp.response(201, NewTokenSchema, headers={"Location": {"schema": {"type": "string", "format": "uri-reference"}}})
    def post(self, wanted: dict[str, Any]) -> Response:
        """Make a token; its secret is in the answer, and nowhere else."""
        token, secret = services().access.create_token(
            wanted["name"],
            lambda token: made_at(path_of(token)),
            scopes=wanted.get("scopes", ()),
            role=wanted.get("role"),
            expires_in_s=wanted.get("expires_in_s"),
            by=caller().actor,
        )
        return _made(token, token=secret)


@blp.route("/tokens/<id>")
class TokenItem(MethodView):
    @requires("system:*:admin", finds="token")
    @blp.response(200, TokenSchema)
    @blp.alt_response(304, description="You have it already.")
    def get(self, token: Token) -> Response:
        """Tell what is known of a token."""
        response = not_modified(etag(token)) or make_response(token_document(token))
        response.set_etag(etag(token))
        return response

    @requires("system:*:admin", finds="token")
    @blp.raises(PreconditionFailed)
    @blp.response(204)
    def delete(self, token: Token) -> None:
        """Revoke a token; its open streams end within 5 s."""
        require_match(etag(token))
        services().access.revoke(token.id, by=caller().actor)


def _made(made: Token, **secret: str) -> Response:
    response = make_response({**token_document(made), **secret}, 201)
    response.headers["Location"] = path_of(made)
    response.headers["Cache-Control"] = "no-store"
    return response


def path_of(token: Token) -> str:
    """Where it is."""
    return f"{PATH}/{token.id}"


def token_document(token: Token) -> dict[str, Any]:
    """A token, as clients see it."""
    return {
        "id": token.id,
        "name": token.name,
        "scopes": list(token.scopes),
        "role": token.role,
        "created_at": format_time(token.created_at),
        "expires_at": token.expires_at and format_time(token.expires_at),
        "last_used_at": token.last_used_at and format_time(token.last_used_at),
        "links": {"self": path_of(token)},
    }


def etag(token: Token) -> str:
    """A token never changes; when it was last used is no part of what one might overwrite."""
    return etag_of(token.id)
