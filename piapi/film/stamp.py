"""Date and time in a corner of a picture: light on a dark ground, so that it can be read on whatever is filmed.

Characters are drawn once for each size; then a picture costs some slices.
"""

from __future__ import annotations

import functools
from datetime import datetime, tzinfo
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import av

    Glyphs = dict[str, tuple[bytes, ...]]

_CHARACTERS = "0123456789-: "
_BLACK, _WHITE, _GREY = 16, 235, 128

#: Height of a line of text: this part of the picture's, and no less than these pixels.
_PART, _LEAST = 28, 11


def draw(picture: av.VideoFrame, moment: datetime, zone: tzinfo | None = None) -> None:
    """Put `moment` into the lower left corner of a yuv420p picture in tv range. No zone: local time."""
    local = moment.astimezone(zone)
    date, time = f"{local:%Y-%m-%d}", f"{local:%H:%M:%S}"
    glyphs = _glyphs(max(_LEAST, picture.height // _PART) & ~1)
    wide = sum(len(glyphs[character][0]) for character in f"{date} {time}  ") <= picture.width
    rows = _rows(glyphs, [f" {date} {time} "] if wide else [date, time])
    width = min(len(rows[0]), picture.width) & ~1
    top = max(0, picture.height - len(rows) - (picture.height // _PART & ~1 if wide else 0)) & ~1
    left = min(picture.height // _PART, (picture.width - width) // 2) & ~1
    _paste(picture, 0, left, top, [row[:width] for row in rows[: picture.height - top]])
    grey = [bytes((_GREY,)) * (width // 2)] * (min(len(rows), picture.height - top) // 2)
    for plane in (1, 2):
        _paste(picture, plane, left // 2, top // 2, grey)


def _paste(picture: av.VideoFrame, plane: int, left: int, top: int, rows: list[bytes]) -> None:
    target = picture.planes[plane]
    room, stride = memoryview(target), target.line_size
    for down, row in enumerate(rows):
        at = (top + down) * stride + left
        room[at : at + len(row)] = row


def _rows(glyphs: Glyphs, lines: list[str]) -> list[bytes]:
    height = len(glyphs[" "])
    rows = [b"".join(glyphs[character][row] for character in line) for line in lines for row in range(height)]
    widest = max(map(len, rows))
    return [row.ljust(widest, bytes((_BLACK,))) for row in rows]


@functools.lru_cache(maxsize=8)
def _glyphs(height: int) -> Glyphs:
    """Each character as rows of luma. All digits are as wide, so that nothing jumps from picture to picture."""
    import PIL.Image
    import PIL.ImageDraw
    import PIL.ImageFont

    try:
        font = PIL.ImageFont.load_default(height * 0.8)
    except (TypeError, ImportError, OSError):  # Pillow before 10.1, or without FreeType: one size, enlarged
        font = PIL.ImageFont.load_default()
    boxes = [font.getbbox(character) for character in _CHARACTERS]
    widest, down = max(round(box[2]) for box in boxes), max(round(box[3]) for box in boxes)
    above = min(round(box[1]) for box in boxes if box[3] > box[1])
    glyphs = {}
    for character in _CHARACTERS:
        across = widest if character.isdigit() else max(widest // 2, round(font.getlength(character)))
        drawn = PIL.Image.new("L", (across, down - above + 2), 0)
        PIL.ImageDraw.Draw(drawn).text((0, 1 - above), character, fill=255, font=font)
        width = max(2, round(drawn.width * height / drawn.height))
        sized = drawn if drawn.height == height else drawn.resize((width, height))
        levels = sized.point([_BLACK + level * (_WHITE - _BLACK) // 255 for level in range(256)]).tobytes()
        glyphs[character] = tuple(levels[row * width : (row + 1) * width] for row in range(height))
    return glyphs
