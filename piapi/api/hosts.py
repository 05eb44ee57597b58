"""The Host header, checked first of all: a page of another site must not reach piapi by a name of its own (DNS
rebinding), so only the machine's own names and addresses, and those configured, are answered."""

from __future__ import annotations

import functools
import ipaddress
import re
import socket
import time
from pathlib import Path

from flask import Flask, request

from piapi.api.proxies import RECEIVED_HOST
from piapi.errors import ForeignHost

_HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?")

#: Seconds for which the addresses of the machine, and the hosts checked, are remembered.
REMEMBER_S = 10


def guard(app: Flask, names: tuple[str, ...]) -> None:
    """Refuse every request whose Host is not one of ours, before anything else is looked at."""
    known = own_names() | {name.lower() for name in names}

    @functools.lru_cache(maxsize=64)
    def is_ours(host: str, period: int) -> bool:
        match = _HOST.fullmatch(host)
        name = match["name"].lower().rstrip(".") if match else ""
        return name in known or is_own_address(name, period)

    @app.before_request
    def check_host() -> None:
        period = int(time.monotonic() / REMEMBER_S)
        host = request.headers.get("Host", "")
        # Behind a proxy both have to be ours: not every proxy replaces the X-Forwarded-Host that a client sends.
        if not is_ours(host, period) or not is_ours(request.environ.get(RECEIVED_HOST, host), period):
            raise ForeignHost(
                "The Host header names another machine. If this is a name of this Pi, add it to [server] names."
            )


def own_names() -> frozenset[str]:
    """What the machine is called, with and without `.local` (mDNS)."""
    name = socket.gethostname().lower()
    short = name.split(".")[0]
    return frozenset({"localhost", name, short, f"{short}.local"})


def is_own_address(name: str, period: int) -> bool:
    """Whether this is the address of one of the machine's interfaces, written as a Host header has it."""
    try:
        address = ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return address.is_loopback or address in _own_addresses(period)


@functools.lru_cache(maxsize=1)
def _own_addresses(period: int) -> frozenset[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    """Addresses of all interfaces in this period, as the kernel lists them (proc_net(5): fib_trie, if_inet6)."""
    found: set[ipaddress.IPv4Address | ipaddress.IPv6Address] = set()
    lines = _lines("/proc/net/fib_trie")
    for line, below in zip(lines, lines[1:], strict=False):
        if below.strip() == "/32 host LOCAL":
            found.add(ipaddress.IPv4Address(line.split()[-1]))
    for line in _lines("/proc/net/if_inet6"):
        found.add(ipaddress.IPv6Address(int(line.split()[0], 16)))
    return frozenset(found)


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="ascii").splitlines()
    except OSError:
        return []
