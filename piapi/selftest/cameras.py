"""Each camera: a picture is taken, and looked at."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

from piapi.selftest.owned import each
from piapi.selftest.results import Result, failed, ok
from piapi.selftest.site import API, Service, Site, Unanswered, emulation_of

#: Mean brightness, of 255, up to which a picture shows nothing.
BLACK = 2.0


def cameras(site: Site) -> Iterator[Result]:
    """Each camera."""
    return each(site, "cameras", _camera)


def _camera(site: Site, service: Service, camera: dict[str, Any]) -> Iterator[Result]:
    yield _picture(site, service, camera)


def _picture(site: Site, service: Service, camera: dict[str, Any]) -> Result:
    name = f"camera {camera['id']}"
    what = f"{camera['backend']}, {camera['model'] or 'model unknown'}{emulation_of(camera)}"
    if camera["state"] == "unavailable":
        return failed(name, f"{what}: {camera['detail'] or 'unavailable'}", "what is said here; `journalctl -u piapi`")
    began = site.clock.monotonic()
    try:
        data = service.fetch(f"{API}/cameras/{camera['id']}/snapshot")
    except Unanswered as error:
        return failed(name, f"{what}: no picture: {error}", "its cable and its power; `journalctl -u piapi`")
    took_s = site.clock.monotonic() - began
    try:
        width, height, brightness = look_at(data)
    except (OSError, ValueError) as error:
        return failed(name, f"{what}: {len(data)} bytes that are no picture: {error}", "`journalctl -u piapi`")
    seen = (
        f"{what}: {width}×{height}, {len(data) / 1000:.0f} kB in {took_s:.2f} s, brightness {brightness / 2.55:.0f} %"
    )
    if brightness <= BLACK:
        return failed(name, f"{seen}: all black", "its lens cap, light where it looks, and its cable")
    return ok(name, seen)


def look_at(data: bytes) -> tuple[int, int, float]:
    """Width, height and mean brightness (0–255) of a JPEG. Raises OSError, ValueError where it is none."""
    from PIL import Image, ImageStat

    with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
        width, height = image.size
        image.draft("L", (width // 8, height // 8))  # decoded at an eighth: a picture of 12 MP needs little memory
        return width, height, float(ImageStat.Stat(image.convert("L")).mean[0])
