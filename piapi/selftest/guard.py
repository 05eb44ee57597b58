"""What releases a relay when piapi dies: the guard, as the kernel of a Pi may keep driving the line."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

from config import Settings
from piapi.selftest.results import Result, failed, ok, skipped
from piapi.selftest.site import Site
from piapi.selftest.units import needs_guard

STANDING = "run/piapi-guard/guard.sock"
"""The socket of the unit (systemd/piapi-guard.service)."""

#: Seconds; piapi gives it up after one, too.
ANSWER_WITHIN_S = 1.0

#: Kernel modules of the GPIO controllers of Pis, which have this parameter since 2024.
_MODULES = ("pinctrl_bcm2835", "pinctrl_rp1")
_PARAMETER = "persist_gpio_outputs"

_RESTART = "`sudo systemctl restart piapi-guard` (by hand: restart piapi); `journalctl -u piapi-guard` tells why"

Greet = Callable[[Path, str], None]
"""Says hello to the guard at a socket, as one of these lines. Raises OSError."""


def persistence(site: Site) -> Iterator[Result]:
    """Whether the kernel goes on driving the lines of a process that has died."""
    found = [module for module in _MODULES if _parameter(site.root, module).exists()]
    if not found:
        yield skipped(
            "lines of the dead", "this kernel does not tell whether it keeps driving them; the guard releases them"
        )
    for module in found:
        name = f"{module}.{_PARAMETER}"
        value = _parameter(site.root, module).read_text(encoding="ascii", errors="replace").strip()
        if value in ("Y", "1"):
            yield ok(
                "lines of the dead", f"{name} is {value}: the kernel keeps driving them, and the guard releases them"
            )
        elif kept := _kept(site.settings):
            yield failed(
                "lines of the dead",
                f'{name} is {value}: the kernel lets go of them, and {kept} (on_exit = "keep") goes off with piapi',
                f'{name}=Y in /boot/firmware/cmdline.txt and no strict_gpiod in config.txt; or on_exit = "off"',
            )
        else:
            yield ok("lines of the dead", f"{name} is {value}: the kernel lets go of them, and their pulls decide")


def guard(site: Site) -> Iterator[Result]:
    """Whether the guard is there, and has the lines that are configured."""
    yield guard_at(site, greet)


def guard_at(site: Site, greet: Greet) -> Result:
    """The same, with a way to the guard."""
    if site.settings is None or site.run_folder is None or not needs_guard(site):
        return skipped("guard", "no output is configured that needs it")
    try:
        if site.service is None and not (site.root / STANDING).exists():
            return skipped("guard", "by hand it runs as long as piapi does, which does not run")
        path, lines = _place(site, site.settings, site.run_folder)
        greet(path, lines)
    except PermissionError:
        return skipped("guard", "it hears its own user and root alone", "`sudo piapi selftest`")
    except (OSError, ValueError) as error:
        return failed("guard", f"it does not answer, so nothing can be switched on: {error}", _RESTART)
    simulated = site.settings.gpio.backend == "simulated"
    return ok("guard", "answers, for simulated lines" if simulated else f"answers, for {lines}")


def greet(path: Path, lines: str) -> None:
    """Say hello and goodbye; it leases nothing. Raises OSError, with the guard's words where it refuses."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)  # the path itself may be too long
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(ANSWER_WITHIN_S)
            connection.connect(f"/proc/self/fd/{folder}/{path.name}")
            with connection.makefile("rwb") as stream:
                for message in ({"do": "hello", "lines": lines}, {"do": "bye"}):
                    stream.write(json.dumps(message).encode() + b"\n")
                    stream.flush()
                    answer = json.loads(stream.readline(4096) or b'{"error": "it hung up"}')
                    if refusal := answer.get("error"):
                        raise OSError(refusal)
    finally:
        os.close(folder)


def _place(site: Site, settings: Settings, run_folder: Path) -> tuple[Path, str]:
    """Its socket, and the lines it should have (piapi/hardware/boards.py)."""
    if settings.gpio.backend == "simulated":
        return run_folder / "guard.sock", f"simulated {run_folder / 'gpio.simulated'}"
    standing = site.root / STANDING
    chip = "auto" if settings.gpio.chip is None else str(settings.gpio.chip)
    return standing if standing.exists() else run_folder / "guard.sock", f"chip {chip}"


def _parameter(root: Path, module: str) -> Path:
    return root / "sys/module" / module / "parameters" / _PARAMETER


def _kept(settings: Settings | None) -> str:
    """Pins that are to stay on without piapi; empty where there are none."""
    pins = settings.pins if settings else {}
    return ", ".join(name for name, pin in pins.items() if pin.on_exit == "keep")
