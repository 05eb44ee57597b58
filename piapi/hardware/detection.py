"""Why no camera is found: what is missing, and what to type. The looking is apart from the words."""

from __future__ import annotations

import errno
import importlib.util
import os
import pwd
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from piapi.errors import CameraTimeout, CameraUnavailable

_SYSTEM_PACKAGES = Path("/usr/lib/python3/dist-packages")
_MODEL = Path("/proc/device-tree/model")

CHECK_CABLE = (
    "Check the ribbon cable at both ends (power off first), and that `rpicam-hello --list-cameras` shows the camera."
)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What can be seen without opening a camera."""

    is_pi: bool
    devices: bool
    """Whether there is any /dev/video* or /dev/media*."""
    may_use_devices: bool
    """Whether this user may open them (on Raspberry Pi OS they belong to the group `video`)."""
    has_picamera2: bool
    """Whether this Python finds picamera2."""
    installed_by_apt: bool
    """Whether the system's Python has it."""
    user: str = "pi"


def look(
    exists: Callable[[Path], bool] = Path.exists,
    accessible: Callable[[Path], bool] = lambda path: os.access(path, os.R_OK | os.W_OK),
    importable: Callable[[str], bool] = lambda name: importlib.util.find_spec(name) is not None,
    devices: Callable[[], Iterable[Path]] = lambda: [*Path("/dev").glob("video*"), *Path("/dev").glob("media*")],
) -> Surroundings:
    """Look around on this machine."""
    nodes = list(devices())
    return Surroundings(
        is_pi=exists(_MODEL) and "Raspberry Pi" in _MODEL.read_text(encoding="utf-8", errors="replace"),
        devices=bool(nodes),
        may_use_devices=all(accessible(node) for node in nodes),
        has_picamera2=importable("picamera2"),
        installed_by_apt=exists(_SYSTEM_PACKAGES / "picamera2"),
        user=_user(),
    )


def explain_absence(seen: Surroundings | None = None) -> str:
    """Words that help, when no real camera was found."""
    seen = seen or look()
    if seen.devices and not seen.may_use_devices:
        return f"No camera was found. {no_permission(seen.user)}"
    if not seen.is_pi:
        return (
            "No camera was found. Plug in a USB camera, or set `backend` and `source` of the camera in piapi.toml "
            "(a network camera or a film with `av`, a drawn scene with `simulated`)."
        )
    if not seen.has_picamera2:
        return f"No camera was found. {no_picamera2(seen)}"
    return (
        f"No camera was found. {CHECK_CABLE} /boot/firmware/config.txt needs camera_auto_detect=1 or the overlay of "
        "this camera, and no start_x=1 (the old camera system)."
    )


def no_picamera2(seen: Surroundings | None = None) -> str:
    """Words that help, when this Python has no picamera2."""
    seen = seen or look()
    if seen.installed_by_apt:
        return (
            f"picamera2 is installed, but this Python ({sys.prefix}) does not see it: make its environment anew "
            "with `python3 -m venv --system-site-packages`, by the system's own Python."
        )
    return "picamera2 is missing: `sudo apt install python3-picamera2`."


def no_permission(user: str | None = None) -> str:
    """Words that help, when the devices may not be opened."""
    user = user or _user()
    return (
        f"The user {user} may not use cameras: `sudo usermod -aG video {user}`, then log in again "
        "(in a systemd unit: SupplementaryGroups=video)."
    )


def explain_import(error: Exception, seen: Surroundings | None = None) -> str:
    """Words that help, when `import picamera2` failed with this error."""
    missing = getattr(error, "name", None) or ""
    if missing == "picamera2":
        return no_picamera2(seen)
    if missing.startswith("libcamera"):
        return (
            "picamera2 is here, but libcamera is not, or not for this Python: pip has no libcamera. Remove pip's "
            "picamera2, `sudo apt install python3-picamera2`, and use the system's Python with --system-site-packages."
        )
    if isinstance(error, ValueError):  # "numpy.dtype size changed": built against another NumPy
        return (
            f"picamera2 does not fit the NumPy of this Python ({error}): `pip uninstall numpy simplejpeg` in the "
            "virtual environment, so that those of apt are used."
        )
    return f"picamera2 cannot be loaded ({error}): `sudo apt install --reinstall python3-picamera2`."


def explain_failure(error: BaseException) -> str:
    """Words that help, when picamera2 or libcamera failed with this error. What matters may stand in its cause."""
    said = ": ".join(dict.fromkeys(str(cause).rstrip(".") for cause in _causes(error)))
    if "busy" in said.lower():
        return (
            "The camera is in use by another program (rpicam-hello, motion, a second piapi …): end that one. "
            "`fuser -v /dev/media* /dev/video*` shows which."
        )
    if any(isinstance(cause, PermissionError) for cause in _causes(error)):
        return no_permission()
    if is_short_of_memory(error):
        return (
            f"There is too little contiguous memory for this camera ({said}): set a smaller `width` and `height`, or "
            "give more to CMA (dtoverlay=vc4-kms-v3d,cma-256 in /boot/firmware/config.txt)."
        )
    return f"The camera failed ({said}). {CHECK_CABLE}"


def legacy_failure(error: Exception) -> CameraTimeout | CameraUnavailable:
    """The same for picamera, whose words are those of MMAL."""
    if "Timed out" in str(error):
        return CameraTimeout("The camera took no picture in time.")
    if isinstance(error, ImportError):
        return CameraUnavailable(f"picamera is for old systems with the legacy camera, and is missing here ({error}).")
    if "Out of resources" in str(error):
        return CameraUnavailable("The camera is in use by another program: end that one (raspistill, motion, …).")
    return CameraUnavailable(f"The camera failed ({error}). Check its cable, and that raspi-config has enabled it.")


def is_short_of_memory(error: BaseException) -> bool:
    """Whether it was for want of contiguous memory: the DMA heap's ENOMEM, or libcamera's words for it."""
    words = ("cannot allocate memory", "failed to allocate")
    return any(
        getattr(cause, "errno", None) == errno.ENOMEM or any(word in str(cause).lower() for word in words)
        for cause in _causes(error)
    )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # a number without a name, as in a container
        return str(os.geteuid())
