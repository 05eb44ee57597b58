"""`Idempotency-Key`: a request that is sent again because its answer was lost is answered again, and not done again."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import hmac
import json
import re
import sqlite3
from collections.abc import Callable
from copy import deepcopy
from typing import Any

from flask import Response, current_app, g, request

from piapi.api.auth import caller
from piapi.api.problems import BadRequest
from piapi.api.services import services
from piapi.errors import KeyInFlight, KeyRequired, KeyReused, TooManyRequests
from piapi.storage.database import Along
from piapi.storage.idempotency import Answer, RequestName

HEADER = "Idempotency-Key"
REPLAYED = "Idempotency-Replayed"

_KEY = re.compile(r"[!-~]{1,255}")

#: What is given again of an answer, beside status and body. The rest is the same for every answer.
_HEADERS = ("Content-Type", "Location", "ETag", "Cache-Control")


def once(
    rebuild: Callable[[str], Response], *, required: bool = False, secret: tuple[str, ...] = ()
) -> Callable[[Callable[..., Response]], Callable[..., Response]]:
    """The view is done once for a key. Stands between `@blp.arguments` and `@blp.response`.

    The view gives `made_at(location)` to the transaction in which it makes something. `rebuild` answers from that
    location when a crash kept the answer from being stored. `required`: without a key nothing is done. `secret`:
    members of the answer that are shown once, and neither stored nor shown again.
    """

    def decorate(view: Callable[..., Response]) -> Callable[..., Response]:
        @functools.wraps(view)
        def wrapper(*args: Any, **kwargs: Any) -> Response:
            key = _key_of_request(required)
            if key is None:
                return view(*args, **kwargs)
            name = RequestName(caller().identity, request.method, request.path, hashlib.sha256(key).digest())
            found = services().keys.claim(name, _digest(key))
            if found.answer is not None:
                return _again(found.answer)
            if found.location is not None:
                answer = _answer_of(rebuild(found.location), secret)
                services().keys.keep(found.seq, answer)
                return _again(answer)
            return _do(found.seq, functools.partial(view, *args, **kwargs), secret)

        wrapper._apidoc = deepcopy(getattr(view, "_apidoc", {}))  # type: ignore[attr-defined]
        wrapper._apidoc["key"] = "required" if required else "optional"  # type: ignore[attr-defined]
        return wrapper

    return decorate


def made_at(location: str) -> Along:
    """For the transaction in which a view makes (or intends) something: ties it to the key of the request, if any."""
    seq = g.get("key")
    return _nothing if seq is None else services().keys.tie(seq, location)


def id_in(location: str) -> str:
    """The last part of a path."""
    return location.rpartition("/")[2]


def describe(doc: dict[str, Any], info: dict[str, Any], **_: Any) -> dict[str, Any]:
    """What the OpenAPI document says of a view with `once`."""
    if "key" in info:
        doc.setdefault("parameters", []).append(_PARAMETER | {"required": info["key"] == "required"})
        kinds = [KeyInFlight, KeyReused, TooManyRequests, *([KeyRequired] if info["key"] == "required" else [])]
        info["raises"] = [*info.get("raises", []), *kinds]
        for status, response in doc["responses"].items():
            if str(status).startswith("2"):
                response.setdefault("headers", {})[REPLAYED] = _REPLAYED
    return doc


_PARAMETER: dict[str, Any] = {
    "name": HEADER,
    "in": "header",
    "description": "A string of your own. The same key and body within 24 h: the first answer again, nothing is done.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
}
_REPLAYED = {"description": "This is the answer to an earlier request.", "schema": {"type": "string", "enum": ["true"]}}


def _nothing(connection: sqlite3.Connection) -> None:
    """There is no key."""


def _key_of_request(required: bool) -> bytes | None:
    key = request.headers.get(HEADER)
    if key is None:
        if required:
            raise KeyRequired(
                f"This moves something: send {HEADER} with a string of your own, and the same in a retry."
            )
        return None
    if not _KEY.fullmatch(key):
        raise BadRequest(f"{HEADER} has to be 1 to 255 visible ASCII characters, without blanks.")
    return key.encode("ascii")


def _digest(key: bytes) -> bytes:
    """Of the query and the body, however that is spelled. By the client's key, which is stored nowhere: a plain hash
    of a body with a password in it could be guessed from the database."""
    data = request.get_data(cache=True)
    with contextlib.suppress(ValueError, RecursionError):  # a view that takes no body may get any
        data = json.dumps(json.loads(data or b"{}"), sort_keys=True, separators=(",", ":")).encode()
    return hmac.digest(key, request.query_string + b"\0" + data, "sha256")


def _do(seq: int, view: Callable[[], Response], secret: tuple[str, ...]) -> Response:
    answer = None
    g.key = seq
    try:
        response = view()
        if response.status_code < 400:
            answer = _answer_of(response, secret)
        return response
    finally:
        if answer is not None:
            services().keys.keep(seq, answer)
        else:
            services().keys.release(seq)


def _answer_of(response: Response, secret: tuple[str, ...]) -> Answer:
    headers = {name: response.headers[name] for name in _HEADERS if name in response.headers}
    body = response.get_data()
    if secret:
        document = {name: value for name, value in json.loads(body).items() if name not in secret}
        body = current_app.json.dumps(document).encode()
    return Answer(response.status_code, headers, body)


def _again(answer: Answer) -> Response:
    response = Response(answer.body, answer.status)
    response.headers.update(answer.headers)
    response.headers[REPLAYED] = "true"
    return response
