"""Sizes of pictures, in pixels: what to scale to, and which part to show."""

from __future__ import annotations


def target_size(width: int, height: int, to_width: int, to_height: int) -> tuple[int, int]:
    """The size to scale to: as it is for 0 × 0, in proportion where one of the two is 0."""
    if to_width and not to_height:
        return to_width, max(1, round(height * to_width / width))
    if to_height and not to_width:
        return max(1, round(width * to_height / height)), to_height
    return (to_width, to_height) if to_width else (width, height)


def part_to_show(width: int, height: int, to_width: int, to_height: int) -> tuple[int, int, int, int]:
    """x, y, width and height of the middle that has the shape asked for: a picture is cut, never squeezed."""
    if not (to_width and to_height):
        return 0, 0, width, height
    across = min(width, max(1, round(height * to_width / to_height)))
    down = min(height, max(1, round(width * to_height / to_width)))
    return (width - across) // 2, (height - down) // 2, across, down
