"""Users: people with a name and a password."""

from __future__ import annotations

from typing import Any

from flask import Response, make_response
from flask.views import MethodView
from marshmallow import Schema, ValidationError, fields, validate, validates_schema

from piapi.api.auth import caller, requires
from piapi.api.blueprint import Blueprint
from piapi.api.collections import Page, PageQuery, collection_of, decode_cursor
from piapi.api.conditional import etag_of, not_modified, require_match
from piapi.api.fields import Text, links
from piapi.api.idempotency import id_in, made_at, once
from piapi.api.services import services
from piapi.clock import format_time
from piapi.errors import Conflict, PreconditionFailed, TooManyRequests
from piapi.models import ROLES, User
from piapi.services.users import LONGEST, NAME, SHORTEST

blp = Blueprint("users", __name__, description="People")


def scopes_field() -> fields.List[str]:
    """Scopes in a request."""
    return fields.List(
        Text(least=5, most=100),
        validate=validate.Length(1, 50, error="must have 1 to 50 scopes"),
        metadata={"example": ["camera:front:view"]},
    )


def role_field() -> fields.String:
    """A role in a request."""
    return fields.String(validate=validate.OneOf(list(ROLES), error=f"must be one of {', '.join(ROLES)}"))


def _password(**kwargs: Any) -> Text:
    return Text(least=SHORTEST, most=LONGEST, metadata={"format": "password"}, **kwargs)


class UserSchema(Schema):
    """A person, without the password."""

    name = fields.String(required=True, metadata={"example": "anna"})
    scopes = fields.List(fields.String(), required=True, metadata={"example": ["*:*:view"]})
    role = fields.String(required=True, allow_none=True)
    created_at = fields.String(required=True, metadata={"format": "date-time"})
    password_changed_at = fields.String(required=True, metadata={"format": "date-time"})
    links = links("self")


class UserRequestSchema(Schema):
    """A name, a password, and scopes or a role."""

    name = fields.String(
        required=True,
        validate=validate.Regexp(f"^{NAME}$", error="is 1 to 40 letters, digits, _ . and -, and begins with a letter"),
        metadata={"example": "anna"},
    )
    password = _password(required=True)
    scopes = scopes_field()
    role = role_field()

    @validates_schema(skip_on_field_errors=False, pass_original=True)
    def _one_of_two(self, data: dict[str, Any], original: dict[str, Any], **_: Any) -> None:
        if ("scopes" in original) == ("role" in original):
            raise ValidationError("name either scopes or a role")


class UserPatchSchema(Schema):
    """A password, and scopes or a role: what is to change."""

    password = _password()
    scopes = scopes_field()
    role = role_field()

    @validates_schema(skip_on_field_errors=False, pass_original=True)
    def _something(self, data: dict[str, Any], original: dict[str, Any], **_: Any) -> None:
        if "scopes" in original and "role" in original:
            raise ValidationError("name either scopes or a role")
        if not original:
            raise ValidationError("name something to change")


@blp.route("/users")
class UserList(MethodView):
    @requires("system:*:admin")
    @blp.arguments(PageQuery, location="query")
    @blp.response(200, collection_of(UserSchema, "UserPage"))
    def get(self, query: dict[str, Any]) -> dict[str, Any]:
        """List the users."""
        users = services().users
        found = Page(users.users(query["limit"] + 1, decode_cursor(query["cursor"], int, str)), query["limit"])
        return found.document(
            [user_document(user) for user in found.items], users.key_of(found.items[-1]) if found.items else None
        )

    @requires("system:*:admin")
    @blp.arguments(UserRequestSchema)
    @once(lambda location: _made(services().users.user(id_in(location))))
    @blp.raises(Conflict, TooManyRequests)
    @blp.response(201, UserSchema, headers={"Location": {"schema": {"type": "string", "format": "uri-reference"}}})
    def post(self, wanted: dict[str, Any]) -> Response:
        """Make a user."""
        name, password = wanted.pop("name"), wanted.pop("password")
        tie = lambda user: made_at(path_of(user))  # noqa: E731
        return _made(services().users.create(name, password, tie, **wanted, by=caller().actor))


@blp.route("/users/<name>")
class UserItem(MethodView):
    @requires("system:*:admin", finds="user")
    @blp.response(200, UserSchema)
    @blp.alt_response(304, description="You have it already.")
    def get(self, user: User) -> Response:
        """Tell what is known of a user."""
        response = not_modified(etag(user)) or make_response(user_document(user))
        response.set_etag(etag(user))
        return response

    @requires("system:*:admin", finds="user")
    @blp.arguments(UserPatchSchema)
    @blp.raises(PreconditionFailed, TooManyRequests)
    @blp.response(200, UserSchema)
    def patch(self, changes: dict[str, Any], user: User) -> Response:
        """Set another password, role or scopes. A new password logs the user out everywhere within 5 s."""
        require_match(etag(user))
        changed = services().users.change(user.name, **changes, by=caller().actor)
        response = make_response(user_document(changed))
        response.set_etag(etag(changed))
        return response

    @requires("system:*:admin", finds="user")
    @blp.raises(PreconditionFailed)
    @blp.response(204)
    def delete(self, user: User) -> None:
        """Remove a user; sessions and open streams end within 5 s."""
        require_match(etag(user))
        services().users.remove(user.name, by=caller().actor)


def _made(made: User) -> Response:
    response = make_response(user_document(made), 201)
    response.headers["Location"] = path_of(made)
    response.set_etag(etag(made))
    return response


def path_of(user: User) -> str:
    """Where it is."""
    return f"/api/v1/users/{user.name}"


def user_document(user: User) -> dict[str, Any]:
    """A user, as clients see it."""
    return {
        "name": user.name,
        "scopes": list(user.scopes),
        "role": user.role,
        "created_at": format_time(user.created_at),
        "password_changed_at": format_time(user.changed_at),
        "links": {"self": path_of(user)},
    }


def etag(user: User) -> str:
    """Changes with all that can change."""
    return etag_of(user.name, user.scopes, user.role, user.created_at, user.changed_at)
