"""EXIF for a photo (CIPA DC-008, Exif 2.32): when, what took it, how long it was exposed, which way is up."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from PIL import Image
from PIL.ExifTags import IFD, Base
from PIL.TiffImagePlugin import IFDRational

_SOI = b"\xff\xd8"
_APP1 = b"\xff\xe1"
_EXIF = b"Exif\x00\x00"


def with_exif(jpeg: bytes, captured_at: datetime, model: str | None, metadata: Mapping[str, Any]) -> bytes:
    """A JPEG with our EXIF instead of what it may have; the picture itself is not touched.

    Rotation is in the pixels already, so the orientation is always 1 (upright).
    """
    segment = _EXIF + _tags(captured_at, model, metadata)
    length = (len(segment) + 2).to_bytes(2, "big")
    return b"".join((_SOI, _APP1, length, segment, _without_exif(jpeg)))


def _tags(captured_at: datetime, model: str | None, metadata: Mapping[str, Any]) -> bytes:
    exif = Image.Exif()
    stamp = captured_at.strftime("%Y:%m:%d %H:%M:%S")
    exif[Base.Orientation] = 1
    exif[Base.Software] = "piapi"
    exif[Base.DateTime] = stamp
    if model:
        exif[Base.Model] = model
    details: dict[int, Any] = {
        Base.DateTimeOriginal: stamp,
        Base.SubsecTimeOriginal: f"{captured_at.microsecond // 1000:03d}",
        Base.OffsetTimeOriginal: "+00:00",
    }
    if exposure_s := metadata.get("exposure_s"):
        details[Base.ExposureTime] = IFDRational(round(exposure_s * 1_000_000), 1_000_000)
    if gain := metadata.get("gain"):
        details[Base.ISOSpeedRatings] = min(round(gain * 100), 65535)
    exif[IFD.Exif] = details  # as a whole: Pillow before 10 writes nothing that is put into get_ifd()
    tags: bytes = exif.tobytes()
    return tags.removeprefix(_EXIF)


def _without_exif(jpeg: bytes) -> bytes:
    """What follows SOI, less an APP1 with EXIF among the first segments (JPEG, ITU-T T.81, annex B)."""
    kept: list[bytes] = []
    at = 2
    while jpeg[at : at + 1] == b"\xff" and 0xE0 <= jpeg[at + 1] <= 0xEF:
        end = at + 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
        if jpeg[at : at + 2] != _APP1 or jpeg[at + 4 : at + 10] != _EXIF:
            kept.append(jpeg[at:end])
        at = end
    return b"".join((*kept, jpeg[at:]))
