"""Whether the service's user may open the devices that are configured."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from config import Settings
from piapi.selftest.results import Result, failed, ok, skipped
from piapi.selftest.site import Site
from piapi.selftest.units import PIAPI, properties_of


@dataclass(frozen=True, slots=True)
class User:
    """A user with all groups that a process of theirs has."""

    name: str
    uid: int
    gids: frozenset[int]


@dataclass(frozen=True, slots=True)
class Kind:
    """Devices of one kind."""

    pattern: str
    """Below /dev."""
    group: str
    """Whose they are on Raspberry Pi OS."""
    is_needed: Callable[[Settings], bool]
    absent: str = ""
    """What helps where there are none; empty: there need not be any."""


def _needs_lines(settings: Settings) -> bool:
    return settings.gpio.backend == "lgpio" and bool(settings.pins or settings.doors)


def _needs_libcamera(settings: Settings) -> bool:
    return any(camera.backend in ("auto", "picamera2") for camera in settings.cameras.values())


def _needs_video(settings: Settings) -> bool:
    webcams = (camera.source for camera in settings.cameras.values() if camera.backend == "av")
    return _needs_libcamera(settings) or any(not source or source.startswith("/dev/") for source in webcams)


KINDS = (
    Kind("gpiochip*", "gpio", _needs_lines, "this kernel has no GPIO chip: is it a Raspberry Pi?"),
    Kind("video*", "video", _needs_video, "no camera is seen: its cable, then `rpicam-hello --list-cameras`"),
    Kind("media*", "video", _needs_libcamera),
    Kind("dma_heap/*", "video", _needs_libcamera),
)


def permissions(site: Site) -> Iterator[Result]:
    """Each kind of device, for the user that the service runs as."""
    user = service_user(site)
    for kind in KINDS:
        name = f"/dev/{kind.pattern}"
        devices = sorted((site.root / "dev").glob(kind.pattern))
        if site.settings is None or not kind.is_needed(site.settings):
            yield skipped(name, "nothing is configured that needs them")
        elif not devices:
            yield failed(name, "there are none", kind.absent) if kind.absent else skipped(name, "there are none")
        elif shut := [device for device in devices if not may_open(device, user)]:
            yield failed(
                name,
                f"{user.name} may not open {', '.join(f'/dev/{_below(device, site)}' for device in shut)}",
                f"`sudo usermod -aG {kind.group} {user.name}`, then log in anew and restart piapi",
            )
        else:
            yield ok(name, f"{user.name} may open {'it' if len(devices) == 1 else f'all {len(devices)}'}")


def _below(device: Path, site: Site) -> Path:
    return device.relative_to(site.root / "dev")


def service_user(site: Site) -> User:
    """Of the unit, where it is installed; else the owner of the data; else who asks."""
    unit = properties_of(site, PIAPI) or {}
    if name := unit.get("User"):
        try:
            return _user(pwd.getpwnam(name), unit.get("SupplementaryGroups", "").split())
        except KeyError:
            pass
    folder = site.settings.storage.path if site.settings else None
    try:
        uid = folder.stat().st_uid if folder else os.geteuid()
    except OSError:
        uid = os.geteuid()
    try:
        return _user(pwd.getpwuid(uid), ())
    except KeyError:  # a container has users without a name
        return User(str(uid), uid, frozenset(os.getgroups()))


def _user(entry: pwd.struct_passwd, groups: Iterable[str]) -> User:
    gids = {*os.getgrouplist(entry.pw_name, entry.pw_gid)}
    for group in groups:
        try:
            gids.add(grp.getgrnam(group).gr_gid)
        except KeyError:
            continue
    return User(entry.pw_name, entry.pw_uid, frozenset(gids))


def may_open(device: Path, user: User) -> bool:
    """Whether this user may read and write it, by its permissions (path_resolution(7)). No device is opened."""
    if user.uid == os.geteuid():
        return os.access(device, os.R_OK | os.W_OK)
    found = device.stat()
    if user.uid == 0:
        return True
    if found.st_uid == user.uid:
        wanted = stat.S_IRUSR | stat.S_IWUSR
    elif found.st_gid in user.gids:
        wanted = stat.S_IRGRP | stat.S_IWGRP
    else:
        wanted = stat.S_IROTH | stat.S_IWOTH
    return found.st_mode & wanted == wanted
