"""Pairings: a code from an admin, with which a new device fetches a token of its own."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import segno
from flask import Response, make_response, request
from flask.views import MethodView
from marshmallow import Schema, fields

from piapi import invitation
from piapi.api.auth import caller, client_address, open_to_own_pages, requires
from piapi.api.blueprint import Blueprint
from piapi.api.collections import Page, PageQuery, collection_of, decode_cursor
from piapi.api.fields import Text, links
from piapi.api.idempotency import id_in, made_at, once
from piapi.api.services import services
from piapi.api.tokens import NewTokenSchema, TokenRequestSchema, path_of, token_document
from piapi.clock import format_time
from piapi.errors import AccessError, NotFound, TooManyRequests
from piapi.models import Pairing

blp = Blueprint("pairings", __name__, description="Tokens for new devices")

_LOCATION = {"Location": {"schema": {"type": "string", "format": "uri-reference"}}}


class PairingSchema(Schema):
    """A pairing that is open, without its code."""

    id = fields.String(required=True, metadata={"example": "8c1f0e6a2b9d"})
    name = fields.String(required=True, metadata={"description": "Of the token.", "example": "kitchen tablet"})
    scopes = fields.List(fields.String(), required=True, metadata={"example": ["camera:front:view"]})
    role = fields.String(required=True, allow_none=True)
    token_expires_in_s = fields.Integer(
        required=True, allow_none=True, metadata={"description": "Seconds that the token will be good for."}
    )
    created_at = fields.String(required=True, metadata={"format": "date-time"})
    expires_at = fields.String(required=True, metadata={"format": "date-time"})
    created_by = fields.String(required=True, metadata={"example": "user:anna"})
    links = links("self")


class NewPairingSchema(PairingSchema):
    """A pairing with its code, which is shown this once."""

    code = fields.String(metadata={"description": "An answer that is given again leaves it out."})
    page = fields.String(
        metadata={"format": "uri-reference", "description": "For the new device; the code stands in the fragment."}
    )
    link = fields.String(
        allow_none=True,
        metadata={
            "format": "uri",
            "description": "The page at the host that was asked, or, where that is this machine's own loopback, at its "
            "address in the network; null where piapi listens on loopback alone, so that no other device gets there.",
        },
    )
    qr = fields.String(
        allow_none=True,
        metadata={"format": "uri", "description": "A QR code of the link: an SVG as a data URI. Null as that is."},
    )


class RedemptionSchema(Schema):
    """A code."""

    code = Text(least=1, most=100, required=True, metadata={"example": "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"})


@blp.route("/pairings")
class PairingList(MethodView):
    @requires("system:*:admin")
    @blp.arguments(PageQuery, location="query")
    @blp.response(200, collection_of(PairingSchema, "PairingPage"))
    def get(self, query: dict[str, Any]) -> dict[str, Any]:
        """List the pairings that are open, without their codes."""
        pairings = services().pairings
        found = Page(pairings.pairings(query["limit"] + 1, decode_cursor(query["cursor"], int, str)), query["limit"])
        return found.document(
            [pairing_document(item) for item in found.items], pairings.key_of(found.items[-1]) if found.items else None
        )

    @requires("system:*:admin")
    @blp.arguments(TokenRequestSchema)
    @once(lambda location: _made(services().pairings.pairing(id_in(location))), secret=("code", "page", "link", "qr"))
    @blp.raises(TooManyRequests)
    @blp.response(201, NewPairingSchema, headers=_LOCATION)
    def post(self, wanted: dict[str, Any]) -> Response:
        """Open a pairing for a token; its code is in the answer, and good for one use within five minutes."""
        name = wanted.pop("name")
        pairing, code = services().pairings.create(name, _tie, **wanted, by=caller().actor)
        link = _link_of(code)
        qr = segno.make(link).svg_data_uri(scale=4) if link else None
        return _made(pairing, code=code, page=f"/pair#{code}", link=link, qr=qr)


@blp.route("/pairings/<id>")
class PairingItem(MethodView):
    @requires("system:*:admin", finds="pairing")
    @blp.response(200, PairingSchema)
    def get(self, pairing: Pairing) -> dict[str, Any]:
        """Tell what is known of a pairing."""
        return pairing_document(pairing)

    @requires("system:*:admin", finds="pairing")
    @blp.response(204)
    def delete(self, pairing: Pairing) -> None:
        """Close a pairing."""
        services().pairings.remove(pairing.id, by=caller().actor)


@blp.route("/pair")
class Redemption(MethodView):
    @open_to_own_pages
    @blp.arguments(RedemptionSchema)
    @blp.raises(AccessError, NotFound, TooManyRequests)
    @blp.response(201, NewTokenSchema, headers=_LOCATION)
    def post(self, given: dict[str, Any]) -> Response:
        """Redeem a code for a token. An Idempotency-Key is not looked at, as nobody is known yet."""
        token, secret = services().pairings.redeem(given["code"], client_address())
        response = make_response({**token_document(token), "token": secret}, 201)
        response.headers["Location"] = path_of(token)
        response.headers["Cache-Control"] = "no-store"
        return response


def _link_of(code: str) -> str | None:
    """What another device opens; None where it gets to no address of this service."""
    if not invitation.is_loopback(urlsplit(request.host_url).hostname or ""):
        return f"{request.host_url}pair#{code}"
    listens_on = request.environ["SERVER_NAME"]  # the server's own socket, whatever the client called it
    if invitation.is_loopback(listens_on):
        return None
    return invitation.link_of(invitation.address_of(listens_on), int(request.environ["SERVER_PORT"]), code)


def _tie(pairing: Pairing) -> Any:
    return made_at(f"/api/v1/pairings/{pairing.id}")


def _made(pairing: Pairing, **secret: str | None) -> Response:
    document = pairing_document(pairing)
    response = make_response({**document, **secret}, 201)
    response.headers["Location"] = document["links"]["self"]
    response.headers["Cache-Control"] = "no-store"
    return response


def pairing_document(pairing: Pairing) -> dict[str, Any]:
    """A pairing, as clients see it."""
    return {
        "id": pairing.id,
        "name": pairing.name,
        "scopes": list(pairing.scopes),
        "role": pairing.role,
        "token_expires_in_s": pairing.token_expires_in_s,
        "created_at": format_time(pairing.created_at),
        "expires_at": format_time(pairing.expires_at),
        "created_by": pairing.created_by,
        "links": {"self": f"/api/v1/pairings/{pairing.id}"},
    }
