"""Giving memory back to the system after large buffers: the C library keeps what was freed."""

from __future__ import annotations

import ctypes
import gc

_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1
"""Of mallopt(3)."""

APART_BYTES = 12 * 2**20
"""Above the buffers that come with each frame, below what a password's hash takes."""


def give_back() -> None:
    """Collect garbage, and have the C library return what is free (malloc_trim(3), which not every C library has)."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def keep_large_blocks_apart() -> None:
    """Have the C library return blocks above `APART_BYTES` when they are freed, whichever thread had them.

    Else it raises the bound itself, and then each of its arenas, one a thread, keeps a block at its end: malloc_trim
    passes over that. The other bound is twice this one, as the library would set it.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # musl's never keeps such blocks
        mallopt(_MMAP_THRESHOLD, APART_BYTES)
        mallopt(_TRIM_THRESHOLD, 2 * APART_BYTES)
