"""Footage for the cameras: JPEGs of a window that moves over two real photographs, so that each frame differs."""

from __future__ import annotations

import io
import math
import warnings
from pathlib import Path

import numpy as np
from PIL import Image

FRAMES = 60
QUALITY = 80

_STAMP = b"piapi n=%010u us=%016u" % (0, 0)
"""A comment that v4l2_shim.c overwrites with the frame's number and time, and viewers.c reads. Its length is fixed."""


def write_footage(folder: Path, width: int, height: int) -> list[Path]:
    """Write a round trip of `FRAMES` frames of this size; their paths, in order."""
    folder.mkdir()
    canvas = _canvas()
    paths = []
    for index in range(FRAMES):
        turn = 2 * math.pi * index / FRAMES
        left = round((canvas.width - width) * (1 + math.cos(turn)) / 2)
        top = round((canvas.height - height) * (1 + math.sin(turn)) / 2)
        path = folder / f"{index:04d}.jpg"
        path.write_bytes(_stamped(_jpeg(canvas.crop((left, top, left + width, top + height)))))
        paths.append(path)
    return paths


def _canvas() -> Image.Image:
    """Both photographs of scikit-learn side by side and mirrored, at twice their size: as large, once compressed, as
    frames of a webcam are (about 50 KB at 640×480, 270 KB at 1920×1080)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from sklearn.datasets import load_sample_images  # type: ignore[import-untyped]

        pair = np.hstack(load_sample_images().images)
    row = np.hstack([pair, pair[:, ::-1]])
    block = Image.fromarray(np.vstack([row, row[::-1]]))
    return block.resize((2 * block.width, 2 * block.height), Image.Resampling.BICUBIC)


def _jpeg(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=QUALITY)
    return file.getvalue()


def _stamped(jpeg: bytes) -> bytes:
    """With a comment segment right after the start-of-image marker."""
    return jpeg[:2] + b"\xff\xfe" + (len(_STAMP) + 2).to_bytes(2, "big") + _STAMP + jpeg[2:]
