"""Controls of a camera in a body: a number, a text or a boolean, by name."""

from __future__ import annotations

from typing import Any

from marshmallow import fields


class ControlField(fields.Field[Any]):
    """The value of a control; null, where it is allowed, is its default."""

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> Any:
        if not isinstance(value, int | float | str | bool):
            raise self.make_error("invalid")
        return value

    default_error_messages = {"invalid": "must be a number, a text or a boolean"}
