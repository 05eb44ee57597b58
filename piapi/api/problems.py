"""The only place that knows which error is which HTTP status (RFC 9457, problem details for HTTP APIs)."""

from __future__ import annotations

import json
import logging
from typing import Any
from urllib.parse import quote

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

from piapi import errors
from piapi.api.browsers import may_ask_for_password
from piapi.api.estimates import estimate_document
from piapi.logs import request_id

log = logging.getLogger(__name__)

PROBLEM_JSON = "application/problem+json"


class BadRequest(errors.PiApiError):
    """A request that breaks a rule of HTTP or of this API, before it comes to its content."""


class MalformedJson(errors.PiApiError):
    """A body that is not JSON."""


class NotAcceptable(errors.PiApiError):
    """The Accept header names nothing that there is."""


class TooLarge(errors.PiApiError):
    """A body over the bound."""


class UnsupportedMediaType(errors.PiApiError):
    """A body that does not say it is JSON."""


class RangeNotSatisfiable(errors.PiApiError):
    """A Range that begins beyond the end. `size` is the length of what there is, in bytes."""

    def __init__(self, size: int) -> None:
        super().__init__(f"The range begins beyond the end; there are {size} bytes.")
        self.size = size


PROBLEMS: dict[type[errors.PiApiError], tuple[int, str]] = {
    BadRequest: (400, "bad-request"),
    errors.ForeignHost: (400, "bad-request"),
    MalformedJson: (400, "malformed-json"),
    errors.Unauthenticated: (401, "unauthenticated"),
    errors.WrongPassword: (401, "unauthenticated"),
    errors.Forbidden: (403, "forbidden"),
    errors.NotFound: (404, "not-found"),
    NotAcceptable: (406, "not-acceptable"),
    errors.Conflict: (409, "conflict"),
    errors.NoFilm: (409, "conflict"),
    errors.DoorFault: (409, "conflict"),
    errors.CommandExpired: (409, "command-expired"),
    errors.CameraBusy: (409, "camera-busy"),
    errors.KeyInFlight: (409, "idempotency-in-flight"),
    errors.PreconditionFailed: (412, "precondition-failed"),
    TooLarge: (413, "too-large"),
    UnsupportedMediaType: (415, "unsupported-media-type"),
    RangeNotSatisfiable: (416, "range-not-satisfiable"),
    errors.Invalid: (422, "invalid"),
    errors.UnsupportedControl: (422, "invalid"),
    errors.KeyReused: (422, "idempotency-key-reused"),
    errors.Locked: (423, "locked"),
    errors.KeyRequired: (428, "idempotency-key-required"),
    errors.IdempotencyError: (409, "conflict"),
    errors.TooManyRequests: (429, "too-many-requests"),
    errors.TooManyViewers: (503, "hardware-unavailable"),
    errors.CameraUnavailable: (503, "hardware-unavailable"),
    errors.DamagedPicture: (503, "hardware-unavailable"),
    errors.BoardUnavailable: (503, "hardware-unavailable"),
    errors.LineBusy: (503, "hardware-unavailable"),
    errors.LineRefused: (503, "hardware-unavailable"),
    errors.RenderFailed: (500, "internal-error"),
    errors.GuardUnavailable: (503, "hardware-unavailable"),
    errors.StorageBusy: (503, "hardware-unavailable"),
    errors.Quarantined: (503, "quarantined"),
    errors.HardwareError: (503, "hardware-unavailable"),
    errors.CameraTimeout: (504, "hardware-timeout"),
    errors.StorageFull: (507, "insufficient-storage"),
    errors.DoesNotFit: (507, "insufficient-storage"),
    errors.AccessError: (403, "forbidden"),
    errors.ConfigurationError: (500, "internal-error"),
    errors.DatabaseUnusable: (500, "internal-error"),
    errors.NotABackup: (500, "internal-error"),
    errors.DataDiskMissing: (500, "internal-error"),
    errors.DataFolderInUse: (500, "internal-error"),
    errors.StorageError: (500, "internal-error"),
    errors.PiApiError: (500, "internal-error"),
}

TITLES: dict[str, tuple[int, str, str]] = {
    "bad-request": (400, "Bad request", "The request breaks a rule of HTTP, or its Host header names another machine."),
    "malformed-json": (400, "Malformed JSON", "The body is not JSON (RFC 8259) in UTF-8."),
    "unauthenticated": (
        401,
        "Not authenticated",
        "No token, password or session, or one that is wrong, expired or revoked.",
    ),
    "forbidden": (
        403,
        "Forbidden",
        "You are known, and do not have the scope that this needs; or another site's page made the request.",
    ),
    "not-found": (404, "Not found", "There is nothing here by this name."),
    "method-not-allowed": (405, "Method not allowed", "The Allow header names the methods that work here."),
    "not-acceptable": (406, "Not acceptable", "The Accept header leaves out every form that this has."),
    "conflict": (409, "Conflict", "The state of the thing forbids this now."),
    "camera-busy": (409, "Camera busy", "Too many pictures wait for this camera already."),
    "command-expired": (409, "Command expired", "The command came after its expires_at; nothing was done."),
    "idempotency-in-flight": (409, "Still running", "The first request with this Idempotency-Key is not answered yet."),
    "precondition-failed": (412, "Precondition failed", "The thing has changed since; get it again."),
    "too-large": (413, "Too large", "The body is larger than the bound, 64 KiB of JSON."),
    "unsupported-media-type": (415, "Unsupported media type", "A body has to be application/json."),
    "range-not-satisfiable": (416, "Range not satisfiable", "The Range header begins beyond the end of the file."),
    "invalid": (
        422,
        "Invalid",
        "The request is understood, and something in it is not possible; `errors` names all of it.",
    ),
    "idempotency-key-reused": (422, "Key used before", "This Idempotency-Key came with another body before."),
    "locked": (423, "Locked", "Its owner has locked it, and it takes no command until it is unlocked."),
    "idempotency-key-required": (
        428,
        "Key required",
        "What moves something needs an Idempotency-Key, kept for retries.",
    ),
    "too-many-requests": (429, "Too many requests", "Over a bound; Retry-After says when to come again."),
    "internal-error": (500, "Internal error", "A fault in piapi. The log of the service says more."),
    "hardware-unavailable": (503, "Hardware unavailable", "The hardware is absent, unplugged, or has no place free."),
    "quarantined": (503, "Quarantined", "Just started: commands are taken once the sensors have been steady."),
    "hardware-timeout": (504, "Hardware timeout", "The hardware did not answer in time."),
    "insufficient-storage": (507, "Insufficient storage", "No space is free above the floor; nothing was written."),
}
"""Status, title and explanation of each slug; the pages /problems/<slug> are made from this."""

RETRY_AFTER_S = 5
"""Of hardware that is away: it is tried again in the background."""


def problem(slug: str, detail: str, faults: tuple[errors.Fault, ...] = ()) -> Response:
    """A problem document."""
    status, title, _ = TITLES[slug]
    document: dict[str, Any] = {
        "type": f"/problems/{slug}",
        "title": title,
        "status": status,
        "detail": detail,
        "instance": quote(request.path),
    }
    if faults:
        document["errors"] = [
            {"parameter" if fault.in_query else "pointer": fault.where, "detail": fault.detail} for fault in faults
        ]
    return Response(json.dumps(document), status, content_type=PROBLEM_JSON, headers={"Cache-Control": "no-store"})


def register(app: Flask) -> None:
    """Every error of this application is a problem document from now on."""
    app.register_error_handler(errors.PiApiError, of_our_own)
    app.register_error_handler(HTTPException, of_http)
    app.register_error_handler(Exception, of_a_fault)


def of_our_own(error: errors.PiApiError) -> Response:
    """An error that piapi raised on purpose."""
    status, slug = next(PROBLEMS[cls] for cls in type(error).__mro__ if cls in PROBLEMS)
    if status == 500:
        log.error("%s: %s", type(error).__name__, error)
        return problem(slug, words_of_fault())
    response = problem(slug, str(error), error.faults if isinstance(error, errors.Invalid) else ())
    if isinstance(error, errors.TooManyRequests):
        response.headers["Retry-After"] = str(error.retry_after_s)
    elif status == 503:
        response.headers["Retry-After"] = str(RETRY_AFTER_S)
    elif isinstance(error, errors.Unauthenticated):
        response.headers.add("WWW-Authenticate", 'Bearer realm="piapi"')
        if not isinstance(error, errors.WrongPassword) and may_ask_for_password():
            response.headers.add("WWW-Authenticate", 'Basic realm="piapi", charset="UTF-8"')
    elif isinstance(error, errors.DoesNotFit):
        response.set_data(json.dumps(json.loads(response.get_data()) | estimate_document(error.estimate)))
    elif isinstance(error, RangeNotSatisfiable):
        response.headers["Content-Range"] = f"bytes */{error.size}"
    return response


_HTTP = {
    400: ("bad-request", "The request cannot be understood."),
    404: ("not-found", "There is nothing at this path; /api/v1/ has links to what there is."),
    405: ("method-not-allowed", "This method does not work here; the Allow header names those that do."),
    413: ("too-large", "The body is too large."),
    415: ("unsupported-media-type", "A body has to be application/json."),
    416: ("range-not-satisfiable", "The range begins beyond the end."),
}


def of_http(error: HTTPException) -> Response | HTTPException:
    """An error of Flask or Werkzeug."""
    if error.code is not None and 300 <= error.code < 400:
        return error
    code = error.code or 500
    slug, detail = _HTTP.get(code, _HTTP[400] if 400 <= code < 500 else ("internal-error", words_of_fault()))
    response = problem(slug, detail)
    for name, value in error.get_headers():
        if name.lower() in ("allow", "retry-after", "content-range"):
            response.headers[name] = value
    return response


def of_a_fault(error: Exception) -> Response:
    """An exception that nobody expected. What it says stays in the log."""
    log.error("fault while answering %s %s", request.method, request.path, exc_info=error)
    return problem("internal-error", words_of_fault())


def words_of_fault() -> str:
    """What a client is told of a fault of ours: where its owner finds more."""
    return f"Something went wrong in piapi; its log says what, at [{request_id.get()}]."
