"""EXIF for a photo (CIPA DC-008, Exif 2.32): when, what took it, how long it was exposed, which way is up.

The user's comment holds, as JSON, what the library's row says, so that the row can be made again from the file.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Mapping
from datetime import datetime
from fractions import Fraction
from typing import Any

from PIL import Image
from PIL.ExifTags import IFD, Base

from piapi.clock import format_time
from piapi.services.tiff import Value, tiff

_SOI = b"\xff\xd8"
_APP1 = b"\xff\xe1"
_EXIF = b"Exif\x00\x00"

#: Signature and header of a PNG, which come first (PNG specification, 5.2 and 11.2.2).
_PNG_HEAD = 8 + 25

#: What a user's comment in ASCII begins with (Exif 2.32, 4.6.5).
_ASCII = b"ASCII\x00\x00\x00"


def with_exif(
    data: bytes,
    captured_at: datetime,
    model: str | None,
    metadata: Mapping[str, Any],
    record: Mapping[str, Any] | None = None,
) -> bytes:
    """A JPEG or PNG with our EXIF instead of what it may have; the picture itself is not touched.

    `record`: of `record_for`. Rotation is in the pixels already, so the orientation is always 1 (upright).
    """
    tags = _tags(captured_at, model, metadata, record)
    if data.startswith(_SOI):
        return _jpeg_with(tags, data)
    chunk = b"eXIf" + tags
    whole = struct.pack(">I", len(tags)) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return b"".join((data[:_PNG_HEAD], whole, data[_PNG_HEAD:]))


def record_for(
    camera: str, captured_at: datetime, label: str | None, metadata: Mapping[str, Any], emulated: bool
) -> dict[str, Any]:
    """What a file has to say for its row to be made again from it; `record_of` gives it back."""
    return {
        "piapi": 1,
        "camera": camera,
        "captured_at": format_time(captured_at),
        "label": label,
        "metadata": dict(metadata),
        "emulated": emulated,
    }


def record_of(picture: Image.Image) -> Mapping[str, Any]:
    """What was kept in a file when it was taken; empty where nothing was, or nothing that can be read."""
    try:
        comment = picture.getexif().get_ifd(IFD.Exif).get(Base.UserComment, b"")
        record = json.loads(comment.removeprefix(_ASCII)) if isinstance(comment, bytes) and comment else {}
    except (ValueError, OSError, SyntaxError, KeyError, TypeError, struct.error):  # as Pillow says that EXIF is no good
        return {}
    return record if isinstance(record, dict) else {}


def _jpeg_with(tags: bytes, jpeg: bytes) -> bytes:
    segment = _EXIF + tags
    length = (len(segment) + 2).to_bytes(2, "big")
    return b"".join((_SOI, _APP1, length, segment, _without_exif(jpeg)))


def _tags(
    captured_at: datetime, model: str | None, metadata: Mapping[str, Any], record: Mapping[str, Any] | None
) -> bytes:
    stamp = captured_at.strftime("%Y:%m:%d %H:%M:%S")
    tags: dict[int, Value] = {Base.Orientation: 1, Base.Software: "piapi", Base.DateTime: stamp}
    if model:
        tags[Base.Model] = model
    details: dict[int, Value] = {
        Base.DateTimeOriginal: stamp,
        Base.SubsecTimeOriginal: f"{captured_at.microsecond // 1000:03d}",
        Base.OffsetTimeOriginal: "+00:00",
    }
    if exposure_s := metadata.get("exposure_s"):
        details[Base.ExposureTime] = Fraction(round(exposure_s * 1_000_000), 1_000_000)
    if gain := metadata.get("gain"):
        details[Base.ISOSpeedRatings] = min(round(gain * 100), 65535)
    if record is not None:
        details[Base.UserComment] = _ASCII + json.dumps(record, separators=(",", ":")).encode("ascii")
    return tiff(tags, IFD.Exif, details)


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
