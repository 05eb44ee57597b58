"""Giving memory back to the system after the large buffers of a camera: the C library keeps what was freed."""

from __future__ import annotations

import ctypes
import gc


def give_back() -> None:
    """Collect garbage, and have the C library return what is free (malloc_trim(3), which not every C library has)."""
    gc.collect()
    give_back_freed()


def give_back_freed() -> None:
    """Have the C library return what is free: each of its arenas, one a thread, keeps what a thread has freed."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
