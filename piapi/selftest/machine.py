"""The machine: versions, board, power, memory, clock."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from zoneinfo import ZoneInfo

from piapi import __version__
from piapi.selftest.results import Result, failed, ok, skipped
from piapi.selftest.site import API, Site

POWER = "use the supply made for this board, and a short cable: what is written while the voltage is low may be lost"
COOLING = "give the board air or a heat sink"
SET_ZONE = "`sudo timedatectl set-timezone Europe/Berlin` (yours), or time_zone in [place]"

_MIB = 2**20


def versions(site: Site) -> Iterator[Result]:
    """Of piapi and Python, and whether the service that runs is this piapi."""
    yield ok("piapi", __version__)
    yield ok("Python", f"{platform.python_version()}, {platform.machine()}")
    if site.service is None:
        why = f"{site.no_service} Cameras, pins and doors belong to it, so they are not tried."
        yield failed("service", why, "then `piapi selftest` again")
        return
    running = site.service.ask("GET", f"{API}/system")["version"]
    if running == __version__:
        yield ok("service", "runs, and answers")
    else:
        yield failed("service", f"piapi {running} still runs", "`sudo systemctl restart piapi`")


def board(site: Site) -> Iterator[Result]:
    """What it is, and what runs on it."""
    machine = site.machine
    model = machine.model()
    yield ok("board", model) if model else skipped("board", "it does not say what it is: no Raspberry Pi?")
    yield ok("kernel", machine.kernel() or "unknown")
    yield ok("operating system", machine.operating_system() or "unknown")
    memory = machine.memory()
    if memory is None:
        yield skipped("memory", "this machine does not tell")
    else:
        yield ok("memory", f"{memory[1] // _MIB} MiB of {memory[0] // _MIB} MiB available")


def power(site: Site) -> Iterator[Result]:
    """Voltage and temperature, as `GET /system` tells them."""
    throttled, temperature = site.machine.throttled(), site.machine.cpu_temperature_c()
    heat = "" if temperature is None else f", {temperature:.1f} °C"
    if throttled is None:
        yield skipped("power", f"this machine tells nothing of its voltage{heat}")
    elif "under_voltage" in (*throttled.now, *throttled.since_boot):
        when = "now" if "under_voltage" in throttled.now else "since the last boot"
        yield failed("power", f"under-voltage {when}{heat}", POWER)
    elif throttled.now:
        yield failed("power", f"{_words(throttled.now)} now{heat}", COOLING)
    elif throttled.since_boot:
        yield ok("power", f"{_words(throttled.since_boot)} since the last boot, not now{heat}", COOLING)
    else:
        yield ok("power", f"no under-voltage and no throttling since the last boot{heat}")


def _words(names: tuple[str, ...]) -> str:
    return ", ".join(name.replace("_", " ") for name in names)


def clock(site: Site) -> Iterator[Result]:
    """Whether it is right, and where its day begins."""
    synchronised = site.is_synchronised()
    if synchronised:
        yield ok("clock", "synchronised")
    elif site.settings is not None and site.settings.clock.trust == "always":
        yield ok("clock", 'not synchronised, and trusted all the same ([clock] trust = "always")')
    elif synchronised is None:
        yield skipped("clock", "nobody here knows whether it is synchronised", "`timedatectl` tells what keeps it")
    else:
        yield failed(
            "clock",
            "not synchronised: time-lapses with a calendar wait for it",
            '`timedatectl` tells why; with a clock of its own, or no network, trust = "always" in [clock]',
        )
    yield _zone(site)


def _zone(site: Site) -> Result:
    if site.settings is not None and site.settings.place.time_zone:
        return ok("time zone", f"{site.settings.place.time_zone}, by [place]")
    localtime = site.root / "etc/localtime"
    if not localtime.is_symlink() and not localtime.exists():
        return skipped("time zone", "the machine has none set, so it is UTC", SET_ZONE)
    try:
        with localtime.open("rb") as file:
            ZoneInfo.from_file(file)
    except (OSError, ValueError) as error:
        return failed("time zone", f"/etc/localtime is none: {error}", SET_ZONE)
    name = str(localtime.readlink()).rpartition("zoneinfo/")[2] if localtime.is_symlink() else "has no name"
    return ok("time zone", f"{name}, the machine's own")
