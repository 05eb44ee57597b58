"""Directories of tags as TIFF 6.0 has them, which is how EXIF is written (Exif 2.32, 4.5); little-endian.

Pillow writes them too, in five times the time, and a time-lapse writes one with each tick, on a processor that is slow.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from fractions import Fraction

Value = str | bytes | int | Fraction
"""As ASCII, UNDEFINED, SHORT (0 to 65,535) and RATIONAL (0 and above)."""

Field = tuple[int, int, bytes]
"""Type, count, and the bytes of a value."""

_HEAD = struct.pack("<2sHI", b"II", 42, 8)
_ENTRY = struct.Struct("<HHI4s")
_COUNT = struct.Struct("<H")
_OFFSET = struct.Struct("<I")

#: Types (TIFF 6.0, section 2).
_ASCII, _SHORT, _LONG, _RATIONAL, _UNDEFINED = 2, 3, 4, 5, 7

#: What fits into an entry stands there, and else behind the directory.
_INLINE = 4

_LARGEST = (1 << 32) - 1


def tiff(tags: Mapping[int, Value], pointer: int, more: Mapping[int, Value]) -> bytes:
    """A file with one directory of `tags`, in which tag `pointer` leads to a second one, `more`."""
    fields = {tag: _field(value) for tag, value in tags.items()}
    end = len(_HEAD) + _size(fields) + _ENTRY.size
    fields[pointer] = (_LONG, 1, _OFFSET.pack(end))
    second = {tag: _field(value) for tag, value in more.items()}
    return b"".join((_HEAD, _directory(fields, len(_HEAD)), _directory(second, end)))


def _field(value: Value) -> Field:
    match value:
        case str():
            text = value.encode("ascii", "replace") + b"\0"
            return _ASCII, len(text), text
        case bytes():
            return _UNDEFINED, len(value), value
        case int():
            return _SHORT, 1, struct.pack("<H", value)
        case Fraction():
            return _RATIONAL, 1, struct.pack("<II", min(value.numerator, _LARGEST), value.denominator)


def _size(fields: Mapping[int, Field]) -> int:
    """Bytes of a directory, with what does not fit into its entries."""
    behind = sum(len(data) + len(data) % 2 for _kind, _count, data in fields.values() if len(data) > _INLINE)
    return _COUNT.size + len(fields) * _ENTRY.size + _OFFSET.size + behind


def _directory(fields: Mapping[int, Field], at: int) -> bytes:
    """The last one of its chain, as it stands at this offset: entries by tag, then what does not fit into them."""
    behind = at + _COUNT.size + len(fields) * _ENTRY.size + _OFFSET.size
    entries, values = [_COUNT.pack(len(fields))], []
    for tag, (kind, count, data) in sorted(fields.items()):
        if len(data) > _INLINE:
            values.append(data + bytes(len(data) % 2))  # an offset is even
            data, behind = _OFFSET.pack(behind), behind + len(values[-1])
        entries.append(_ENTRY.pack(tag, kind, count, data))
    return b"".join((*entries, bytes(_OFFSET.size), *values))
