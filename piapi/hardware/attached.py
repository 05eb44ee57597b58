"""Which cameras are attached, by what the kernel lists in sysfs. No device is opened, so a running service is not
disturbed, and no permission is needed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from piapi.hardware.v4l2 import NO_CAMERAS

#: Drivers of a Pi's camera connectors (CSI). Their nodes appear only once a sensor has answered.
_CONNECTORS = ("unicam", "bcm2835-unicam", "rp1-cfe")


@dataclass(frozen=True, slots=True)
class AttachedCamera:
    """A camera, and the settings that lead to it."""

    backend: str
    source: str
    model: str
    """The kernel's name for it."""


@dataclass(frozen=True, slots=True)
class _Node:
    name: str
    card: str
    driver: str
    device: Path
    index: int

    def is_like(self, other: _Node) -> bool:
        """Whether udev may call both the same: of one kind, without serial numbers, or parts of one USB device."""
        is_same_usb = self.device.parent == other.device.parent and (self.device.parent / "idVendor").exists()
        return self.card == other.card or is_same_usb


def attached_cameras(sysfs: Path = Path("/sys"), links: Path = Path("/dev/v4l")) -> list[AttachedCamera]:
    """Cameras on the connectors first, then USB cameras and whatever else is a capture node. `links`: what udev names
    them, too."""
    nodes = sorted(_nodes(sysfs), key=lambda node: int(node.name.removeprefix("video")))
    connectors = dict.fromkeys(node.device for node in nodes if node.driver in _CONNECTORS)
    found = [
        AttachedCamera("picamera2", str(number) if len(connectors) > 1 else "", "a camera on a Pi's camera connector")
        for number, _ in enumerate(connectors)
    ]
    # The second node of a USB camera has no pictures, but facts about them.
    others = [node for node in nodes if node.index == 0 and node.driver not in (*_CONNECTORS, *NO_CAMERAS)]
    names, ports = _linked(links / "by-id"), _linked(links / "by-path")
    for node in others:
        alike = [other.name for other in others if node.is_like(other)]
        # Of several that are alike udev names one alone by what it is; where they are plugged in, they differ.
        lasting = names if all(name in names for name in alike) else ports if len(alike) > 1 else {}
        found.append(AttachedCamera("av", lasting.get(node.name, f"/dev/{node.name}"), node.card))
    return found


def _linked(folder: Path) -> dict[str, str]:
    """Node → a path to it that stays: a number is given to whoever comes first, or comes back first."""
    return {link.resolve().name: str(link) for link in sorted(folder.glob("*"), reverse=True)}


def _nodes(sysfs: Path) -> Iterator[_Node]:
    for entry in (sysfs / "class/video4linux").glob("video*"):
        if re.fullmatch(r"video\d+", entry.name):
            device = (entry / "device").resolve()
            driver = (device / "driver").resolve().name if (device / "driver").exists() else ""
            index = _text(entry / "index")
            yield _Node(entry.name, _text(entry / "name"), driver, device, int(index) if index.isdigit() else 0)


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
