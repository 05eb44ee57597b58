"""The child process that makes a render: told what to do, asked how far it is, stopped, let go on, ended."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from piapi.errors import RenderFailed
from piapi.film.job import RenderJob, frame_line
from piapi.storage.files import PART, in_words
from piapi.timelapse import RenderRequest, Row

#: Seconds that a child has to end after it was told to.
PATIENCE_S = 5.0

#: Libraries are loaded from where this program is, whatever folder it was started in.
_ROOT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True, slots=True)
class Report:
    """How far it is."""

    done: int
    """Frames that are filmed, or were skipped because they are missing or damaged."""
    of: int


class Child:
    """One child. It begins at once, and ends with the thread that began it."""

    def __init__(
        self, frames: Iterable[tuple[Row, Path]], wanted: RenderRequest, output: Path, zone: str | None
    ) -> None:
        """Raises StorageError; nothing is left then."""
        self._listing = output.with_name(output.name + ".frames" + PART)
        self._part = output.with_name(output.name + PART)
        self._last: Mapping[str, Any] = {}
        self._rests = False
        self._text = b""
        try:
            output.parent.mkdir(exist_ok=True)
            with self._listing.open("w", encoding="utf-8", errors="surrogateescape") as listing:
                for row, path in frames:
                    listing.write(frame_line(path.absolute(), row.captured_at or row.due_at, row.luminance))
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "piapi.film.render"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": str(_ROOT)},
            )
        except BaseException as error:
            self._clear_away()
            if isinstance(error, OSError):
                raise in_words(error) from error
            raise
        self._input, self._said = cast("tuple[IO[bytes], IO[bytes]]", (self._process.stdin, self._process.stdout))
        self._tell(wanted, output, zone)

    def _tell(self, wanted: RenderRequest, output: Path, zone: str | None) -> None:
        """What it has to do."""
        job = RenderJob(
            frames=str(self._listing.absolute()),
            output=str(output.absolute()),
            fps=wanted.fps,
            width=wanted.width,
            codec=wanted.codec,
            every_nth=wanted.every_nth,
            deflicker=wanted.deflicker,
            timestamp=wanted.timestamp,
            zone=zone,
            parent=os.getpid(),
        )
        with contextlib.suppress(BrokenPipeError):
            self._input.write(job.to_json().encode())
        with contextlib.suppress(BrokenPipeError):
            self._input.close()

    def report(self, timeout: float) -> Report | None:
        """How far it is after at most `timeout` seconds; None: it has ended."""
        output, poll = self._said, select.poll()  # select() knows no file beyond 1,023, and lines have the last numbers
        poll.register(output, select.POLLIN)
        if not poll.poll(timeout * 1000):
            return self._report()
        data = os.read(output.fileno(), 65536)
        if not data:
            return None
        *lines, self._text = (self._text + data).split(b"\n")
        for line in lines:
            self._last = json.loads(line)
        return self._report()

    def rest(self, rests: bool) -> None:
        """Stop it where it is, or let it go on."""
        if rests != self._rests:
            self._rests = rests
            self._signal(signal.SIGSTOP if rests else signal.SIGCONT)

    def end(self) -> None:
        """Tell it to end."""
        self._signal(signal.SIGTERM)
        self._signal(signal.SIGCONT)

    def close(self) -> None:
        """See that it is gone, with all that it has left."""
        self._process.terminate()
        self._signal(signal.SIGCONT)
        try:
            self._process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._said.close()
        self._clear_away()

    def made(self) -> tuple[int, str]:
        """Size in bytes and SHA-256 of what it has made, after `close()`. Raises RenderFailed."""
        if "sha256" in self._last:
            return int(self._last["size_bytes"]), str(self._last["sha256"])
        if self._process.returncode == -signal.SIGKILL:
            raise RenderFailed("It was killed from outside: the machine may have been short of memory.")
        raise RenderFailed(str(self._last.get("error") or "It ended before its time."))

    def _clear_away(self) -> None:
        for left in (self._listing, self._part):
            with contextlib.suppress(OSError):
                left.unlink()

    def _report(self) -> Report:
        done, skipped, of = (int(self._last.get(name, 0)) for name in ("done", "skipped", "of"))
        return Report(done + skipped, of)

    def _signal(self, number: signal.Signals) -> None:
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)
