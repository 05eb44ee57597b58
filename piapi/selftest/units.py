"""The units of systemd: installed, enabled, active, watched."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from piapi.selftest.results import Result, failed, ok, skipped
from piapi.selftest.site import Site

PIAPI = "piapi.service"
GUARD = "piapi-guard.service"

_PROPERTIES = (
    "LoadState", "ActiveState", "SubState", "UnitFileState", "WatchdogUSec", "NRestarts", "Result", "User",
    "SupplementaryGroups",
)  # fmt: skip
_NO_WATCHDOG = ("", "0", "infinity")


def properties_of(site: Site, unit: str) -> Mapping[str, str] | None:
    """What systemd knows of a unit (systemctl(1), `show`); None where there is no such unit, or no systemd."""
    said = site.run(("systemctl", "show", unit, f"--property={','.join(_PROPERTIES)}"))
    if said is None:
        return None
    found = dict(line.split("=", 1) for line in said.splitlines() if "=" in line)
    return found if found.get("LoadState", "not-found") != "not-found" else None


def units(site: Site) -> Iterator[Result]:
    """piapi's unit, and that of its guard."""
    found = properties_of(site, PIAPI)
    if found is None:
        yield skipped(PIAPI, "not installed: piapi runs by hand", "`sudo systemd/install.sh` for good")
        return
    yield _active(PIAPI, found)
    yield _enabled(found)
    yield _watched(found)
    guard = properties_of(site, GUARD)
    if guard is None:
        yield failed(GUARD, "not installed", "`sudo systemd/install.sh` again, from a clone of piapi")
    elif guard["ActiveState"] == "inactive" and not needs_guard(site):
        yield skipped(GUARD, "inactive, and no output is configured that needs it")
    else:
        yield _active(GUARD, guard)


def needs_guard(site: Site) -> bool:
    """Whether anything is configured that the guard has to switch off."""
    settings = site.settings
    return settings is not None and (bool(settings.doors) or any(pin.mode != "input" for pin in settings.pins.values()))


def _active(unit: str, found: Mapping[str, str]) -> Result:
    state = f"{found.get('ActiveState')} ({found.get('SubState')})"
    name = unit.removesuffix(".service")
    if found.get("ActiveState") != "active":
        why = "" if found.get("Result", "success") == "success" else f", the last time ended by {found['Result']}"
        return failed(unit, state + why, f"`sudo systemctl start {name}`; `journalctl -u {name}` tells what it says")
    restarts = found.get("NRestarts", "0")
    if restarts != "0":
        return ok(unit, f"{state}, restarted by systemd {restarts} times", f"`journalctl -u {name}` tells why")
    return ok(unit, f"{state}, never restarted by systemd")


def _enabled(found: Mapping[str, str]) -> Result:
    state = found.get("UnitFileState") or "unknown"
    if state.startswith("enabled"):
        return ok("start at boot", state)
    return failed("start at boot", f"{state}: piapi is away after a power cut", "`sudo systemctl enable piapi`")


def _watched(found: Mapping[str, str]) -> Result:
    watchdog = found.get("WatchdogUSec", "")
    if watchdog in _NO_WATCHDOG:
        return failed("watchdog", "none: a piapi that hangs stays", "`systemctl cat piapi` shows who took WatchdogSec=")
    return ok("watchdog", f"after {watchdog} of silence")
