"""`python -m piapi.film.render`: the child that makes a film, apart from the service and out of everybody's way.

It reads a `RenderJob` as JSON from its standard input, and writes lines of JSON: `{"done", "skipped", "of"}` while it
works, at the end `{"frames", "skipped", "size_bytes", "sha256"}`, or `{"error"}` (a sentence for
a client, without a path) and status 1. SIGTERM cancels it, and
SIGSTOP has it wait. It ends with its parent (PR_SET_PDEATHSIG, prctl(2)): with the thread that started it, so that has
to live as long.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import sys
import time
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfoNotFoundError

from piapi.errors import PiApiError
from piapi.film.job import RenderJob
from piapi.film.rendering import render
from piapi.storage.files import in_words

_PR_SET_PDEATHSIG = 1
_PROGRESS_EVERY_S = 0.5

#: Where memory runs out, this goes before the service does (proc(5), oom_score_adj).
_FIRST_TO_GO = "900"


def main() -> int:
    """0 when the film is made."""
    _step_back()
    _say(done=0, skipped=0, of=0)
    try:
        job = RenderJob(**json.loads(sys.stdin.read()))
        if job.parent is not None and os.getppid() != job.parent:
            raise ValueError("the parent is gone")
        rendered = render(job, _Progress())
    except OSError as error:
        return _failed(in_words(error))
    except (PiApiError, ValueError, ZoneInfoNotFoundError) as error:
        return _failed(error)
    except Exception:  # noqa: BLE001 - whatever it is, the parent has to be told
        traceback.print_exc()
        return _failed("A fault in piapi; the log says more.")
    _say(**asdict(rendered))
    return 0


def _failed(why: object) -> int:
    _say(error=str(why))
    return 1


class _Progress:
    """Says how far it is, and not too often."""

    def __init__(self) -> None:
        self._next = 0.0

    def __call__(self, done: int, skipped: int, of: int) -> None:
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _PROGRESS_EVERY_S
            _say(done=done, skipped=skipped, of=of)


def _step_back() -> None:
    """Last for the processor, first to go when memory runs out, and never without its parent."""
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    os.nice(19)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_FIRST_TO_GO)


def _say(**what: Any) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
