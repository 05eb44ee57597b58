"""All checks, in their order: what the others stand on comes first, what needs a person last."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from piapi.selftest.cameras import cameras
from piapi.selftest.configuration import configuration
from piapi.selftest.disk import disk
from piapi.selftest.doors import doors
from piapi.selftest.guard import guard, persistence
from piapi.selftest.machine import board, clock, power, versions
from piapi.selftest.permissions import permissions
from piapi.selftest.pins import pins
from piapi.selftest.redaction import Redaction
from piapi.selftest.results import Finding, Result, failed
from piapi.selftest.site import Site, Unanswered
from piapi.selftest.units import units

Check = Callable[[Site], Iterator[Result]]

CHECKLIST: Sequence[tuple[str, Check]] = (
    ("Versions", versions),
    ("Machine", board),
    ("Power", power),
    ("Configuration", configuration),
    ("systemd", units),
    ("Permissions", permissions),
    ("Data folder", disk),
    ("Clock", clock),
    ("Guard", persistence),
    ("Guard", guard),
    ("Cameras", cameras),
    ("Pins", pins),
    ("Doors", doors),
)


def examine(site: Site, checklist: Sequence[tuple[str, Check]] = CHECKLIST) -> Iterator[Finding]:
    """All that the checks find, as they find it, and nothing private in it. One check that breaks stops no other."""
    redaction = Redaction(site.settings)
    for heading, check in checklist:
        for result in _whole(heading, check, site):
            yield Finding(heading, redaction.of(result))


def _whole(heading: str, check: Check, site: Site) -> Iterator[Result]:
    try:
        yield from check(site)
    except Unanswered as error:
        yield failed(heading, f"the service did not answer: {error}", "`journalctl -u piapi`")
    except Exception as error:  # noqa: BLE001 — a check that breaks is a finding
        yield failed(heading, f"the check itself failed: {type(error).__name__}: {error}", "report it, please")
