"""Reading what a request brings: bounded, strict, and with every fault in one answer."""

from __future__ import annotations

import functools
import json
from typing import Any

import marshmallow
from flask import Request, request
from webargs.flaskparser import FlaskParser

from piapi.api.problems import MalformedJson, TooLarge, UnsupportedMediaType
from piapi.errors import Fault, Invalid
from piapi.server.bodies import OVERSIZED

#: Bytes of a JSON body, at most.
MOST_BODY = 64 * 1024


class StrictParser(FlaskParser):
    """The checks of a body in the contract's order: 413, 415, 400, 422."""

    DEFAULT_UNKNOWN_BY_LOCATION = {
        "json": marshmallow.RAISE,
    }

    def load_json(self, req: Request, schema: marshmallow.Schema) -> Any:
        """The body. None at all is the same as an empty object, so that a missing field is named."""
        if req.environ.get(OVERSIZED) or (req.content_length or 0) > MOST_BODY:
            raise TooLarge(f"The body is larger than {MOST_BODY} bytes.")
        data = req.get_data(cache=True)
        if len(data) > MOST_BODY:
            raise TooLarge(f"The body is larger than {MOST_BODY} bytes.")
        if not data:
            return {}
        if not req.is_json:
            raise UnsupportedMediaType("A body has to be application/json, and its Content-Type has to say so.")
        try:
            body = json.loads(data.decode("utf-8"), parse_constant=_refuse_constant, object_pairs_hook=_object)
        except (ValueError, RecursionError) as error:
            raise MalformedJson(f"The body is not JSON: {error}.") from None
        if not isinstance(body, dict):
            raise Invalid(Fault("", "must be an object, { … }"))
        return body

    def handle_error(
        self, error: Any, req: Request, schema: marshmallow.Schema, *, error_status_code: Any, error_headers: Any
    ) -> Any:
        """From marshmallow's nested messages to our flat list of faults."""
        faults: list[Fault] = []
        for messages in error.messages.values():
            _collect(messages, "", False, faults)
        raise Invalid(*faults) from None


def read_query(schema: marshmallow.Schema) -> dict[str, Any]:
    """The query of the request, checked. A parameter that is given twice is a fault.

    Without webargs, whose machinery a flat query does not need: live frames are asked for often.
    """
    return dict(_read_query(schema, request.query_string))


@functools.lru_cache(maxsize=128)
def _read_query(schema: marshmallow.Schema, query: bytes) -> dict[str, Any]:
    """Remembered, as a client asks for the same thing again and again."""
    given = request.args
    twice = [Fault(name, "is given twice", in_query=True) for name, values in given.lists() if len(values) > 1]
    if twice:
        raise Invalid(*twice)
    try:
        found: dict[str, Any] = schema.load(given.to_dict(), unknown=marshmallow.RAISE)
    except marshmallow.ValidationError as error:
        faults: list[Fault] = []
        _collect(error.messages, "", True, faults)
        raise Invalid(*faults) from None
    return found


def _collect(messages: Any, where: str, in_query: bool, faults: list[Fault]) -> None:
    if isinstance(messages, dict):
        for name, inner in messages.items():
            if name == "_schema":
                _collect(inner, where, in_query, faults)
            elif in_query:
                _collect(inner, str(name), in_query, faults)
            else:
                _collect(inner, f"{where}/{_escape(str(name))}", in_query, faults)
        return
    for message in messages:
        faults.append(Fault(where, _WORDS.get(message, message), in_query))


_WORDS = {
    "Unknown field.": "there is no such field",
    "Missing data for required field.": "is missing",
    "Field may not be null.": "must not be null",
    "Not a valid string.": "must be a text",
    "Not a valid mapping type.": "must be an object, { … }",
    "Not a valid list.": "must be a list, [ … ]",
}


def _escape(name: str) -> str:
    """A member name in a JSON pointer (RFC 6901)."""
    return name.replace("~", "~0").replace("/", "~1")


def _object(members: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object without a member twice: which of the two would count, no reader agrees on (RFC 8259, section 4)."""
    found = dict(members)
    if len(found) < len(members):
        raise ValueError("a member stands twice in one object")
    return found


def _refuse_constant(name: str) -> Any:
    """NaN and Infinity are no JSON, though Python's reader takes them."""
    raise ValueError(f"{name} is not a JSON value")
