"""How a new device is asked in: the link that carries a pairing's code, and its QR code for a terminal."""

from __future__ import annotations

import io
import ipaddress
import socket
from typing import TextIO

import segno

_ELSEWHERE = ("192.0.2.1", 9)
"""Is nobody (RFC 5737). What leads there leads to other machines."""


def own_address() -> str:
    """The address that this machine has on its network, or its name where it has no route to anywhere.

    A datagram socket that is connected has an address, and has sent nothing (connect(2), ip(7)).
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(_ELSEWHERE)
        except OSError:
            return f"{socket.gethostname().split('.')[0]}.local"
        address: str = probe.getsockname()[0]
        return address


def address_of(host: str) -> str:
    """Where another device finds a service that listens on `host`; loopback stays what it is."""
    return own_address() if host in ("", "0.0.0.0", "::") else host  # noqa: S104 — a comparison


def is_loopback(host: str) -> bool:
    """Whether no other device gets there."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def link_of(address: str, port: int, code: str) -> str:
    """What the new device opens. The code stands in the fragment, which no browser sends, so no preview uses it up."""
    host = f"[{address}]" if ":" in address else address
    return f"http://{host}:{port}/pair#{code}"


def shows_qr(stream: TextIO) -> bool:
    """Whether a QR code can be seen there: on a terminal whose letters have half blocks."""
    try:
        "▀▄█".encode(stream.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return stream.isatty()


def qr_of(link: str) -> str:
    """Lines for a terminal."""
    drawn = io.StringIO()
    segno.make(link).terminal(drawn, compact=True)
    return drawn.getvalue()
