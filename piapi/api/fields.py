"""Fields that are as strict as the contract: `"5"` is no number, `"on"` no boolean, `1` no boolean either."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from marshmallow import Schema, ValidationError, fields, validate

from piapi.clock import format_time

_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)")


_VISIBLE = r"^[^\x00-\x1f\x7f\ud800-\udfff]*$"


class Visible(validate.Regexp):
    """Text without control characters, and without halves of surrogate pairs, which are no characters at all.

    The pattern is one of ECMA-262, as the OpenAPI document has it; in Python its `$` would let a last newline pass.
    """

    def __init__(self) -> None:
        super().__init__(_VISIBLE, error="must not have control characters")

    def __call__(self, value: str) -> str:  # type: ignore[override]
        """The text. Raises ValidationError."""
        if not re.fullmatch(_VISIBLE, value):
            raise ValidationError(self._format_error(value))
        return value


class Integer(fields.Integer):
    """A JSON number without a fraction."""

    default_error_messages = {"invalid": "must be a whole number"}

    def _validated(self, value: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1:
            raise self.make_error("invalid")
        return int(value)


class Number(fields.Float):
    """A JSON number."""

    default_error_messages = {"invalid": "must be a number"}

    def _validated(self, value: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise self.make_error("invalid")
        return float(value)


class Boolean(fields.Boolean):
    """true or false."""

    default_error_messages = {"invalid": "must be true or false"}

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> Any:
        if not isinstance(value, bool):
            raise self.make_error("invalid")
        return value


class Text(fields.String):
    """A string without control characters."""

    default_error_messages = {"invalid": "must be a text"}

    def __init__(self, *, most: int, least: int = 0, **kwargs: Any) -> None:
        checks = [
            validate.Length(least, most, error="must have {min} to {max} characters"),
            Visible(),
        ]
        super().__init__(validate=checks, **kwargs)


class QueryInteger(fields.Integer):
    """A whole number as it stands in a query: digits alone."""

    default_error_messages = {"invalid": "must be a whole number"}

    def _validated(self, value: Any) -> Any:
        if not isinstance(value, str) or not re.fullmatch(r"-?[0-9]{1,15}", value):
            raise self.make_error("invalid")
        return int(value)


class QueryNumber(fields.Float):
    """A number as it stands in a query."""

    default_error_messages = {"invalid": "must be a number"}

    def _validated(self, value: Any) -> Any:
        if not isinstance(value, str) or not re.fullmatch(
            r"-?[0-9]{1,30}(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,3})?", value
        ):
            raise self.make_error("invalid")
        return float(value)


class Time(fields.Field[datetime]):
    """RFC 3339, in UTC with milliseconds on the way out, with any offset on the way in."""

    default_error_messages = {"invalid": "must be a time such as 2026-11-20T21:37:28.123Z"}

    def _serialize(self, value: Any, attr: str | None, obj: Any, **kwargs: Any) -> Any:
        return None if value is None else format_time(value)

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> Any:
        if not isinstance(value, str) or not _TIME.fullmatch(value):
            raise self.make_error("invalid")
        try:
            return datetime.fromisoformat(value.upper()).astimezone(UTC)
        except (ValueError, OverflowError):
            raise self.make_error("invalid") from None


def between(low: float, high: float) -> validate.Range:
    """A bound in words; both ends are included."""
    return validate.Range(low, high, error="must be from {min} to {max}")


def links(*names: str, optional: tuple[str, ...] = ()) -> fields.Nested:
    """The `links` of a resource: path-absolute URLs under these names."""
    return fields.Nested(_links_schema(names, optional), required=True)


@functools.cache
def _links_schema(names: tuple[str, ...], optional: tuple[str, ...]) -> type[Schema]:
    members: dict[str, Any] = {
        name: fields.String(required=name not in optional, metadata={"format": "uri-reference"})
        for name in (*names, *optional)
    }
    return Schema.from_dict(members, name="Links" + "".join(map(str.title, (*names, *optional))))
