"""Asking the kernel about capture devices: which there are, their names and sizes, who holds them.

Frames themselves are read by FFmpeg (`av_source.py`). Layouts and numbers are those of linux/videodev2.h.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CAPTURE = 1  # V4L2_BUF_TYPE_VIDEO_CAPTURE
_QUERYCAP = 0x80685600
_ENUM_FMT = 0xC0405602
_STREAMOFF = 0x40045613
_ENUM_FRAMESIZES = 0xC02C564A

_CAP_VIDEO_CAPTURE = 0x00000001
_CAP_VIDEO_M2M = 0x00004000 | 0x00008000
_CAP_DEVICE_CAPS = 0x80000000

#: Nodes of the Pi's own codecs, ISPs and CSI receivers, which deliver no pictures to whoever merely opens them.
#: (drivers/media/platform and drivers/staging of the Raspberry Pi kernel.)
NO_CAMERAS = ("bcm2835-codec", "bcm2835-isp", "rpi-hevc-dec", "rpivid", "pispbe", "rp1-cfe", "unicam")

_JPEG_FORMATS = (b"MJPG", b"JPEG")


@dataclass(frozen=True, slots=True)
class Device:
    """What a node says of itself."""

    driver: str
    card: str
    captures: bool


@contextlib.contextmanager
def opened(path: str) -> Iterator[int]:
    """A descriptor for asking and setting; frames may be streamed through another one meanwhile. Raises OSError."""
    fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def ioctl(fd: int, request: int, layout: str, *values: int | bytes) -> tuple[int | bytes, ...]:
    """One ioctl over a packed structure: what the kernel has written into it. Raises OSError."""
    buffer = bytearray(struct.pack(layout, *values))
    fcntl.ioctl(fd, request, buffer)
    return struct.unpack(layout, buffer)


def query(path: str) -> Device:
    """Name, driver and kind of a node. Raises OSError, ENOTTY where it is no V4L2 device."""
    with opened(path) as fd:
        answer = ioctl(fd, _QUERYCAP, "=16s32s32sIII12x", b"", b"", b"", 0, 0, 0)
    driver, card, _bus, _version, all_nodes, this_node = answer
    assert isinstance(all_nodes, int) and isinstance(this_node, int)  # noqa: S101 — tells the type checker
    caps = this_node if all_nodes & _CAP_DEVICE_CAPS else all_nodes
    name = _text(driver)
    captures = bool(caps & _CAP_VIDEO_CAPTURE) and not caps & _CAP_VIDEO_M2M and name not in NO_CAMERAS
    return Device(name, _text(card), captures)


def detect() -> list[str]:
    """Paths of the cameras found, `/dev/video0` first. A node that this user may not open is not among them."""
    found = []
    for node in Path("/dev").glob("video*"):
        if re.fullmatch(r"video\d+", node.name):
            with contextlib.suppress(OSError):
                if query(str(node)).captures:
                    found.append(str(node))
    return sorted(found, key=lambda path: int(path.removeprefix("/dev/video")))


def formats(fd: int) -> list[bytes]:
    """The pixel formats offered, as four characters each; none where the driver does not list them."""
    found: list[bytes] = []
    with contextlib.suppress(OSError):  # EINVAL ends the list
        while len(found) < 64:
            answer = ioctl(fd, _ENUM_FMT, "=III32s4s16x", len(found), CAPTURE, 0, b"", b"")
            assert isinstance(answer[4], bytes)  # noqa: S101
            found.append(answer[4])
    return found


def gives_jpeg(fd: int) -> bool:
    """Whether the camera compresses by itself. One that lists nothing may be asked."""
    offered = formats(fd)
    return not offered or any(name in offered for name in _JPEG_FORMATS)


def sizes(fd: int) -> list[tuple[int, int]]:
    """Width and height in pixels of the frames offered, JPEG ones where there are such. Steps are not spelled out."""
    offered = formats(fd)
    chosen = next((name for name in (*_JPEG_FORMATS, *offered) if name in offered), None)
    found: list[tuple[int, int]] = []
    with contextlib.suppress(OSError):
        while chosen and len(found) < 64:
            answer = ioctl(fd, _ENUM_FRAMESIZES, "=I4sIII24x", len(found), chosen, 0, 0, 0)
            _index, _format, kind, width, height = answer
            if kind != 1 or not isinstance(width, int) or not isinstance(height, int):
                break
            found.append((width, height))
    return found


def stop_streaming(path: str) -> None:
    """End a wait for a frame that does not come: the thread in it gets an error and can close the device.

    FFmpeg waits in VIDIOC_DQBUF without a limit and does not give its descriptor away, so it is found by its path.
    """
    target = Path(path).resolve()
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            if entry.readlink() == target:
                fcntl.ioctl(int(entry.name), _STREAMOFF, struct.pack("=i", CAPTURE))


def holders(path: str) -> list[str]:
    """Programs that have the device open, as `name (process id)`; those of other users only when run by root."""
    target, found = Path(path).resolve(), set()
    for process in Path("/proc").glob("[0-9]*"):
        if process.name == str(os.getpid()):
            continue
        with contextlib.suppress(OSError):
            if any(entry.readlink() == target for entry in process.glob("fd/*")):
                found.add(f"{(process / 'comm').read_text().strip()} ({process.name})")
    return sorted(found)


def _text(field: int | bytes) -> str:
    assert isinstance(field, bytes)  # noqa: S101
    return field.split(b"\0", 1)[0].decode("utf-8", "replace").strip()
