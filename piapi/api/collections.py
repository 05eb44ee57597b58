"""Collections: newest first, paged by key with an opaque cursor, so that any page costs what the first one costs."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar
from urllib.parse import urlencode

from flask import request
from marshmallow import Schema, fields

from piapi.api.fields import QueryInteger, Text, between, links
from piapi.errors import Fault, Invalid

T = TypeVar("T")


class PageQuery(Schema):
    """What every collection takes."""

    limit = QueryInteger(
        load_default=50, validate=between(1, 200), metadata={"description": "Most items of one page.", "example": 50}
    )
    cursor = Text(most=200, load_default=None, metadata={"description": "From `links.next`; where to go on."})


def collection_of(item: type[Schema], name: str) -> type[Schema]:
    """The schema of a collection."""
    members: dict[str, Any] = {
        "items": fields.List(fields.Nested(item), required=True),
        "links": links("self", optional=("next",)),
    }
    return Schema.from_dict(members, name=name)


class Page(Generic[T]):
    """One page: up to `limit` items, and whether there are more. Ask the store for `limit + 1`."""

    def __init__(self, found: Sequence[T], limit: int) -> None:
        self.items = found[:limit]
        self.has_more = len(found) > limit

    def document(self, items: Sequence[Any], last_key: Sequence[int | str] | None) -> dict[str, Any]:
        """The collection, with a link to the next page where there is one."""
        document: dict[str, Any] = {"items": items, "links": {"self": _here({})}}
        if self.has_more and last_key is not None:
            document["links"]["next"] = _here({"cursor": encode_cursor(last_key)})
        return document


def encode_cursor(key: Sequence[int | str]) -> str:
    """A key, as text that fits a URL."""
    return base64.urlsafe_b64encode(json.dumps(key, separators=(",", ":")).encode()).rstrip(b"=").decode()


def decode_cursor(cursor: str | None, *kinds: type) -> Any:
    """The key in a cursor, as a tuple of these types; None for none. Raises Invalid for one that we did not make."""
    if cursor is None:
        return None
    try:
        data = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        key = json.loads(data)
    except (binascii.Error, ValueError, RecursionError):
        key = None
    if not isinstance(key, list) or [type(part) for part in key] != list(kinds) or not _fit(key):
        raise Invalid(Fault("cursor", "is not one that came from links.next", in_query=True))
    return tuple(key)


def _fit(key: list[Any]) -> bool:
    """Whether the numbers fit the database, and the texts are text."""
    return all(abs(part) < 2**63 if isinstance(part, int) else part.isprintable() for part in key)


def _here(changed: Mapping[str, str]) -> str:
    query = {**request.args.to_dict(), **changed}
    return request.path + (f"?{urlencode(query)}" if query else "")
