"""What a report may not tell: secrets, addresses of cameras, and where the owner lives.

It is made to be attached to a bug report that all the world can read, and so is what stands on the terminal.
"""

from __future__ import annotations

import re
from dataclasses import replace
from urllib.parse import unquote, urlsplit

from config import Settings
from piapi.selftest.results import Result

HIDDEN = "…"

#: A shorter user name or password is left alone where it stands without its address: it may be a part of any word.
_SHORTEST = 4

#: Of settings whose values are private: a fault names the value it complains about.
_PRIVATE_SETTING = re.compile(r"(?m)^(.*\b(?:source|latitude|longitude)\b).*$")

_ADDRESS = re.compile(r"\b([a-z][a-z0-9+.-]*://)[^\s'\"]+(?:(['\"])|)", re.IGNORECASE)

#: Tokens, pairing codes, session cookies, keys: nothing that a check has to say is as long without a blank or a slash.
_SECRET = re.compile(r"(?<![\w-])[A-Za-z0-9_-]{32,}(?![\w-])")


class Redaction:
    """Takes out of texts what may not be told."""

    def __init__(self, settings: Settings | None) -> None:
        """`settings`: whose secrets are known; None where they cannot be read."""
        known = sorted(_private(settings) if settings else (), key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, known))) if known else None

    def of(self, result: Result) -> Result:
        """The same result, fit to be shown to anybody."""
        return replace(result, detail=self.text(result.detail), remedy=self.text(result.remedy))

    def text(self, text: str) -> str:
        """The same text, fit to be shown to anybody."""
        text = _PRIVATE_SETTING.sub(rf"\1: is not right (`piapi check-config` shows it; hidden here: {HIDDEN})", text)
        if self._known is not None:
            text = self._known.sub(HIDDEN, text)
        return _SECRET.sub(HIDDEN, _ADDRESS.sub(rf"\1{HIDDEN}\2", text))


def _private(settings: Settings) -> set[str]:
    found = {str(value) for value in (settings.place.latitude, settings.place.longitude) if value is not None}
    for camera in settings.cameras.values():
        if "://" in camera.source:
            found.add(camera.source)
            found |= {part for part in _credentials(camera.source) if len(part) >= _SHORTEST}
    return found


def _credentials(address: str) -> set[str]:
    """User, password and host, as they stand in the address and as they are meant."""
    try:
        parts = urlsplit(address)
        given = {parts.username or "", parts.password or "", parts.hostname or "", parts.query}
    except ValueError:
        given = {address.partition("://")[2].rpartition("@")[0]}
    return given | {unquote(part) for part in given}
