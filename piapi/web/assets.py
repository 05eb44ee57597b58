"""What the pages load: style, scripts and icons, from this package and from those of Bootstrap-Flask and Swagger UI.

Their addresses hold a digest of all of them, so that a browser keeps them for ever and yet never mixes two versions:
the scripts name each other relatively, and so stay under the digest of the page that loaded the first.
"""

from __future__ import annotations

import functools
import gzip
import hashlib
import re
from pathlib import Path

from flask import Response, request, send_from_directory
from werkzeug.exceptions import NotFound
from werkzeug.security import safe_join

from piapi.web.icons import ICONS

FOLDER = Path(__file__).parent
STATIC = FOLDER / "static"

_TEXT = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_SYMBOL = re.compile(r'<symbol [^>]*id="([^"]+)">.*?</symbol>')
_FOR_EVER = "public, max-age=31536000, immutable"


@functools.cache
def digest() -> str:
    """Of everything that the pages load; 12 hexadecimal digits."""
    found = hashlib.sha256()
    for path in sorted(STATIC.rglob("*")):
        if path.is_file():
            found.update(path.name.encode() + path.read_bytes())
    found.update(_read("bootstrap.css") + _read("icons.svg"))
    return found.hexdigest()[:12]


def address(name: str) -> str:
    """Where a page finds one of its files."""
    return f"/static/{digest()}/{name}"


def send(path: str) -> Response:
    """The file at `<digest>/<name>`, to be kept for ever, or at `<name>` as it is now; text goes out compressed where
    the browser takes that."""
    version, _, rest = path.partition("/")
    is_of_now = version == digest()
    name = rest if is_of_now else path
    kind = _TEXT.get(Path(name).suffix)
    response = _compressed(name, kind) if kind else send_from_directory(STATIC, name, conditional=True)
    response.headers["Cache-Control"] = _FOR_EVER if is_of_now else "no-cache"
    return response


def _compressed(name: str, kind: str) -> Response:
    takes = request.accept_encodings["gzip"] > 0
    body = _gzipped(name) if takes else _read(name)
    response = Response(body, content_type=f"{kind}; charset=utf-8")
    if takes:
        response.headers["Content-Encoding"] = "gzip"
    response.headers["Vary"] = "Accept-Encoding"
    response.set_etag(f"{digest()}-{'gzip' if takes else 'plain'}")
    response.make_conditional(request, accept_ranges=True, complete_length=len(body))
    return response


@functools.cache
def _gzipped(name: str) -> bytes:
    return gzip.compress(_read(name), mtime=0)


def _read(name: str) -> bytes:
    if name == "bootstrap.css":
        return (_bootstrap() / "css" / "bootstrap.min.css").read_bytes().split(b"/*# sourceMappingURL")[0]
    if name == "icons.svg":
        return _icons()
    path = safe_join(str(STATIC), name)
    if path is None or not Path(path).is_file():
        raise NotFound
    return Path(path).read_bytes()


@functools.cache
def _icons() -> bytes:
    """Those of Bootstrap's 2,000 icons that the pages show."""
    sprite = (_bootstrap() / "icons" / "bootstrap-icons.svg").read_text()
    symbols = {match[1]: match[0] for match in _SYMBOL.finditer(sprite)}
    found = [symbols[name] for name in sorted(ICONS)]
    return f'<svg xmlns="http://www.w3.org/2000/svg">{"".join(found)}</svg>'.encode()


def _bootstrap() -> Path:
    import flask_bootstrap

    return Path(flask_bootstrap.__file__).parent / "static" / "bootstrap5"
