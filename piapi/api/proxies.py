"""Proxies in front of piapi: what they say of a client is believed from those that are configured, and nobody else."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

RECEIVED_HOST = "piapi.received_host"
"""In the WSGI environment: the Host header as the proxy sent it, where X-Forwarded-Host has taken its place."""


def behind(application: WSGIApplication, trusted: Sequence[str]) -> WSGIApplication:
    """The application as its clients see it, through proxies at these addresses or networks.

    Werkzeug's ProxyFix counts proxies and believes any peer; here the peer has to be one of them, and the client is
    the first in X-Forwarded-For, from the right, that is not: what stands left of it anybody can have written.
    """
    if not trusted:
        return application
    networks = [ipaddress.ip_network(item) for item in trusted]

    def is_trusted(address: Address | None) -> bool:
        return address is not None and any(address in network for network in networks)

    def wrapped(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        address = _address(environ.get("REMOTE_ADDR", ""))
        if is_trusted(address):
            for item in reversed(environ.get("HTTP_X_FORWARDED_FOR", "").split(",")):
                told = _address(item)
                if told is None:
                    break
                environ["REMOTE_ADDR"] = str(told)
                if not is_trusted(told):
                    break
            if (scheme := _last(environ, "HTTP_X_FORWARDED_PROTO").lower()) in ("http", "https"):
                environ["wsgi.url_scheme"] = scheme
            if host := _last(environ, "HTTP_X_FORWARDED_HOST"):
                environ[RECEIVED_HOST] = environ.get("HTTP_HOST", "")
                environ["HTTP_HOST"] = host
        return application(environ, start_response)

    return wrapped


def _last(environ: WSGIEnvironment, name: str) -> str:
    """The value that the nearest proxy has added."""
    value: str = environ.get(name, "")
    return value.rpartition(",")[2].strip()


def _address(text: str) -> Address | None:
    """`192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]:80`; None for what is no address."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
