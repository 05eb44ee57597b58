"""A client of the service's local socket."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

from piapi.cli.local import LocalConnection


def ask(
    folder: Path, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
) -> tuple[int, Any]:
    """One request: status, and the document of the answer."""
    with contextlib.closing(LocalConnection(folder)) as connection:
        data = None if body is None else json.dumps(body)
        sent = {**({} if body is None else {"Content-Type": "application/json"}), **(headers or {})}
        connection.request(method, path, data, sent)
        response = connection.getresponse()
        text = response.read()
        return response.status, json.loads(text) if "json" in response.getheader("Content-Type", "") else text
