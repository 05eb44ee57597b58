"""The child process that makes a render: told what to do, asked how far it is, stopped, let go on, ended."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from piapi.errors import RenderFailed
from piapi.film.job import RenderJob, frame_line
from piapi.timelapse import RenderRequest, Row

#: Seconds that a child has to end after it was told to.
PATIENCE_S = 5.0

#: Libraries are loaded from where this program is, whatever folder it was started in.
_ROOT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True, slots=True)
class Report:
    """How far it is."""

    done: int
    of: int


class Child:
    """One child. It begins at once, and ends with the thread that began it."""

    def __init__(
        self, frames: Iterable[tuple[Row, Path]], wanted: RenderRequest, output: Path, zone: str | None
    ) -> None:
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", suffix=".part", dir=output.parent, delete=False) as listing:
            self._listing = Path(listing.name)
            for row, path in frames:
                listing.write(frame_line(path.absolute(), row.captured_at or row.due_at, row.luminance))
        job = RenderJob(
            frames=str(self._listing),
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
        self._output = output
        self._last: Mapping[str, Any] = {}
        self._rests = False
        self._text = b""
        self._process = subprocess.Popen(  # noqa: S603 — this program, and nothing from outside in the command line
            [sys.executable, "-P", "-m", "piapi.film.render"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(_ROOT)},
        )
        self._input, self._said = cast("tuple[IO[bytes], IO[bytes]]", (self._process.stdin, self._process.stdout))
        with contextlib.suppress(BrokenPipeError):
            self._input.write(job.to_json().encode())
            self._input.close()

    def report(self, timeout: float) -> Report | None:
        """How far it is after at most `timeout` seconds; None: it has ended."""
        output = self._said
        if not select.select([output], [], [], timeout)[0]:
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
        for left in (self._listing, self._output.with_name(self._output.name + ".part")):
            left.unlink(missing_ok=True)

    def made(self) -> tuple[int, str]:
        """Size in bytes and SHA-256 of what it has made. Raises RenderFailed."""
        if "sha256" not in self._last:
            raise RenderFailed(str(self._last.get("error") or "It ended before its time."))
        return int(self._last["size_bytes"]), str(self._last["sha256"])

    def _report(self) -> Report:
        return Report(int(self._last.get("done", 0)), int(self._last.get("of", 0)))

    def _signal(self, number: signal.Signals) -> None:
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)
