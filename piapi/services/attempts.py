"""Wrong passwords are slowed: after a few, each one more makes the next wait twice as long.

Three counts. An account from one address waits long; an address, whatever accounts it tries, less; an account from all
addresses together a few seconds, and an address from which it was logged in before does not wait for the others: so
nobody can lock its owner out. All of it is in memory, bounded, and forgotten in time.
"""

from __future__ import annotations

import ipaddress
import math
import threading
from collections import OrderedDict
from dataclasses import dataclass

from piapi.clock import Clock
from piapi.errors import TooManyRequests

FORGET_S = 900.0
"""After so long without a wrong one, all is as new."""

MOST_KNOWN = 2000
"""Of accounts, addresses and pairs each; the one that was longest quiet goes first."""


@dataclass(frozen=True, slots=True)
class _Failures:
    count: int
    last_at: float
    wait_until: float


class Brake:
    """Failures by key: `free` of them cost nothing, then the waits double, up to `longest_s`."""

    def __init__(self, clock: Clock, free: int, longest_s: float) -> None:
        self._clock = clock
        self._free = free
        self._longest_s = longest_s
        self._known: OrderedDict[str, _Failures] = OrderedDict()
        self._lock = threading.Lock()

    def wait_s(self, key: str) -> float:
        """Seconds until the next attempt is looked at; 0: now."""
        with self._lock:
            found = self._known.get(key)
        return max(0.0, found.wait_until - self._clock.monotonic()) if found else 0.0

    def failed(self, key: str) -> None:
        """One more."""
        now = self._clock.monotonic()
        with self._lock:
            known = self._known.pop(key, None)
            count = 1 if known is None or now - known.last_at > FORGET_S else known.count + 1
            over = min(count - self._free, 30)
            wait = min(2.0**over, self._longest_s) if over >= 0 else 0.0
            self._known[key] = _Failures(count, now, now + wait)
            while len(self._known) > MOST_KNOWN:
                self._known.popitem(last=False)

    def forget(self, key: str) -> None:
        """It was right."""
        with self._lock:
            self._known.pop(key, None)

    def check(self, key: str) -> None:
        """Raise TooManyRequests while one has to wait."""
        refuse(self.wait_s(key))

    def __len__(self) -> int:
        return len(self._known)


class Attempts:
    """Attempts at passwords."""

    def __init__(self, clock: Clock) -> None:
        self._pairs = Brake(clock, free=5, longest_s=300)
        self._addresses = Brake(clock, free=15, longest_s=60)
        self._accounts = Brake(clock, free=30, longest_s=5)
        self._welcome: OrderedDict[str, None] = OrderedDict()
        self._lock = threading.Lock()

    def check(self, account: str, address: str) -> None:
        """Raise TooManyRequests when this one is not to be looked at yet. Being refused counts for nothing."""
        pair, place = _pair(account, address), network_of(address)
        with self._lock:
            is_welcome = pair in self._welcome
        account_s = 0.0 if is_welcome else self._accounts.wait_s(_name(account))
        refuse(max(self._pairs.wait_s(pair), self._addresses.wait_s(place), account_s))

    def failed(self, account: str, address: str) -> None:
        """The password was wrong, or there is no such account."""
        self._pairs.failed(_pair(account, address))
        self._addresses.failed(network_of(address))
        self._accounts.failed(_name(account))

    def succeeded(self, account: str, address: str) -> None:
        """The password was right. An address stays slow: with an account of one's own one could free it otherwise."""
        pair = _pair(account, address)
        self._pairs.forget(pair)
        with self._lock:
            self._welcome[pair] = None
            self._welcome.move_to_end(pair)
            while len(self._welcome) > MOST_KNOWN:
                self._welcome.popitem(last=False)


def refuse(wait_s: float) -> None:
    """Raise TooManyRequests unless the wait is over."""
    if wait_s > 0:
        seconds = math.ceil(wait_s)
        raise TooManyRequests(f"Too many wrong attempts. Try again in {seconds} s.", retry_after_s=seconds)


def network_of(address: str) -> str:
    """What one client can choose from at will counts as one address: in IPv6 a /64 (RFC 4291, section 2.5.1)."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    return str(found.ipv4_mapped or ipaddress.IPv6Network((found, 64), strict=False))


def _name(account: str) -> str:
    """However it is cased, and no longer than a name can be: what is made up must not fill the memory."""
    return account[:41].lower()


def _pair(account: str, address: str) -> str:
    return f"{_name(account)}\0{network_of(address)}"
