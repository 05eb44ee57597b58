"""The settings: `piapi check-config`."""

from __future__ import annotations

from collections.abc import Iterator

from piapi.selftest.results import Result, failed, ok
from piapi.selftest.site import Site


def configuration(site: Site) -> Iterator[Result]:
    """Whether it is sound, each fault by itself; and what is to be looked at."""
    for fault in site.faults:
        yield failed("configuration", fault, "correct it; `piapi check-config` reads it again")
    if site.settings is not None:
        yield ok("configuration", f"{site.settings.file or 'none, all defaults'}: sound")
    for hint in site.hints:
        yield ok("wiring", hint, "docs/wiring.md")
