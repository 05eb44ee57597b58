"""Whether the wall clock is right, as far as the machine knows: a Pi has none of its own, and wakes up in the past."""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path

#: `struct timex` is 208 bytes on 64-bit machines and less on others (adjtimex(2)).
_TIMEX_BYTES = 512

#: What adjtimex(2) gives while the clock is not synchronised.
_TIME_ERROR = 5

#: systemd-timesyncd makes this file at its first synchronisation since boot.
_SYNCHRONISED = Path("/run/systemd/timesync/synchronized")


def clock_is_synchronised() -> bool | None:
    """What the kernel and systemd-timesyncd say; None when neither can be asked."""
    if _SYNCHRONISED.exists():
        return True
    asked = _ask_kernel()
    if asked is None and _SYNCHRONISED.parent.exists():  # the kernel may not be asked; systemd-timesyncd waits
        return False
    return asked


def _ask_kernel() -> bool | None:
    try:
        state = _libc().adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))  # all zero: nothing is set, only asked
    except (OSError, AttributeError):
        return None
    return None if state < 0 else state != _TIME_ERROR


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
