"""Logs that the journal of systemd likes: one line a record, its level, and the request that it belongs to.

Under systemd the level is the prefix of sd-daemon(3), `<4>`, and a traceback is folded into its line; by hand there is
a time, and the traceback stands below. What a client sends can never begin a line of its own.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

#: Of the request that this thread answers; empty outside of one.
request_id: ContextVar[str] = ContextVar("request_id", default="")

_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6), (0, 7))
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class LineFormatter(logging.Formatter):
    """One record, one line."""

    def __init__(self, in_journal: bool | None = None) -> None:
        super().__init__()
        self._in_journal = goes_to_journal(os.environ) if in_journal is None else in_journal

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        id = request_id.get()
        text = escaped(record.getMessage()) + (f" [{id}]" if id else "")
        trace = self.formatException(record.exc_info) if record.exc_info else ""
        if self._in_journal:
            priority = next(number for level, number in _PRIORITIES if record.levelno >= level)
            return f"<{priority}>{text}" + "".join(f" | {escaped(line.strip())}" for line in trace.splitlines())
        head = f"{self.formatTime(record, '%Y-%m-%d %H:%M:%S')} {record.levelname.lower()}: "
        return head + text + "".join(f"\n    {escaped(line)}" for line in trace.splitlines())


def escaped(text: str) -> str:
    """Without characters that could end a line or move a terminal's cursor."""
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)


def goes_to_journal(environ: Mapping[str, str]) -> bool:
    """Whether standard error is the journal (systemd.exec(5), `JOURNAL_STREAM`)."""
    device, _, inode = environ.get("JOURNAL_STREAM", "").partition(":")
    try:
        status = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    return (device, inode) == (str(status.st_dev), str(status.st_ino))


def configuration(level: str) -> dict[str, Any]:
    """For `logging.config.dictConfig`: everything, gunicorn's too, as lines on standard error."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": "piapi.logs.LineFormatter"}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line", "stream": "ext://sys.stderr"}},
        "root": {"level": level.upper(), "handlers": ["stderr"]},
        "loggers": {
            "gunicorn.error": {"level": level.upper(), "handlers": [], "propagate": True},
            "gunicorn.access": {"level": "WARNING", "handlers": [], "propagate": False},
        },
    }
