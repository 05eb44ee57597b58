"""A simulated GPIO board that keeps the rules of a real one, and outlives the program that drives it.

Its lines are a file (see `piapi.lines.simulated`). It refuses what hardware refuses, debounces, can lose an edge, and
can keep a history that tests assert on. Machinery and sensors of the simulation are on the other side of the lines, in
the same process: `on_output`, `drive`, `bounce`.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from piapi.clock import Clock
from piapi.errors import BoardUnavailable
from piapi.hardware.gpio import OnEdge, Pull
from piapi.hardware.gpio_claims import Claims, busy, missing, out_of_range
from piapi.lines import simulated
from piapi.lines.simulated import Lines

log = logging.getLogger(__name__)

OnOutput = Callable[[bool, float], None]
"""Told of the new level of an output, and when, in seconds of CLOCK_BOOTTIME; on the board's thread."""

_PULLS = {"none": simulated.PULL_NONE, "up": simulated.PULL_UP, "down": simulated.PULL_DOWN}


@dataclass(frozen=True, slots=True)
class Change:
    """What was done to a line, as the history has it."""

    at: float
    """Seconds of CLOCK_BOOTTIME."""
    pid: int
    what: int
    """One of CLAIMED_OUTPUT, CLAIMED_INPUT, WRITTEN, FREED, DRIVEN of `piapi.lines.simulated`."""
    line: int
    before: bool
    after: bool


def history_of(path: Path, line: int | None = None) -> list[Change]:
    """All that was done to a line, or to all; empty where no history is kept."""
    file = path.with_name(path.name + ".history")
    data = file.read_bytes() if file.exists() else b""
    whole = len(data) - len(data) % simulated.RECORD.size
    found = []
    for at_ns, pid, what, of, before, after in simulated.RECORD.iter_unpack(data[:whole]):
        if line in (None, of):
            found.append(Change(at_ns / 1e9, pid, what, of, bool(before), bool(after)))
    return found


class _Listening:
    """The claim of an input, from the side of its edges."""

    def __init__(self, debounce_s: float, on_edge: OnEdge, told: bool) -> None:
        self.debounce_s = debounce_s
        self.on_edge = on_edge
        self.told = told
        self.changes = 0
        self.loses_next = False


class SimulatedBoard:
    """One simulated board. Several may share a file, in one process or in many, as programs share a chip."""

    emulated = True

    def __init__(self, path: Path, clock: Clock, keep_history: bool = False) -> None:
        """`keep_history`: for tests, as it grows without end."""
        self._path = path
        self._clock = clock
        self._keep_history = keep_history
        self._condition = threading.Condition()
        self._claims = Claims(frozenset(range(simulated.COUNT)))
        self._listening: dict[int, _Listening] = {}
        self._machinery: dict[int, list[OnOutput]] = {}
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._count = itertools.count()
        self._opened: Lines | None = None
        self._thread: threading.Thread | None = None

    @property
    def model(self) -> str | None:
        """It says that it is none."""
        return "Simulated board"

    @property
    def lines(self) -> frozenset[int]:
        """GPIO0 to GPIO27."""
        return self._claims.lines

    def open(self) -> None:
        """Open the file, or make it. Raises BoardUnavailable."""
        with self._condition:
            if self._opened is not None:
                return
            try:
                self._opened = Lines(str(self._path), self._keep_history)
            except OSError as error:
                raise BoardUnavailable(f"The simulated board's file cannot be used: {error}.") from None
            self._thread = threading.Thread(target=self._run, name="simulated board", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Give everything back."""
        with self._condition:
            for line in self._claims:
                self._release(line, None)
            opened, thread = self._opened, self._thread
            self._opened = self._thread = None
            self._due.clear()
            self._condition.notify_all()
        if thread is not None and thread is not threading.current_thread():
            thread.join()
        if opened is not None:
            opened.close()

    # The board's side

    def claim_output(self, line: int, level: bool) -> None:
        """Drive a line."""
        self._claim_output(line, "output", level, float(level))

    def write(self, line: int, level: bool) -> None:
        """Set an output."""
        self._write(line, "output", level, float(level))

    def read(self, line: int) -> bool:
        """The level of a claimed line."""
        with self._condition:
            self._claims.require(line)
            return self._file.level(line)

    def claim_input(self, line: int, pull: Pull, debounce_s: float, on_edge: OnEdge) -> None:
        """Listen to a line."""
        with self._condition:
            self._claims.refuse(line, "input", None)
            with busy(line):
                self._file.claim_input(line, _PULLS[pull])
            self._claims.add(line, "input", None)
            self._listening[line] = _Listening(debounce_s, on_edge, self._file.level(line))

    def claim_pwm(self, line: int, duty: float) -> None:
        """Pulses: the level of the line is high while there are any."""
        self._claim_output(line, "pwm", duty > 0, duty)

    def write_duty(self, line: int, duty: float) -> None:
        """Set the share of a line with PWM."""
        self._write(line, "pwm", duty > 0, duty)

    def claim_servo(self, line: int, position: float | None) -> None:
        """Pulses: the level of the line is high while there are any."""
        self._claim_output(line, "servo", position is not None, position)

    def write_position(self, line: int, position: float | None) -> None:
        """Set a servo."""
        self._write(line, "servo", position is not None, position)

    def release(self, line: int, level: bool | None = None) -> None:
        """Give a line back."""
        with self._condition:
            if line in self._claims:
                self._release(line, level)

    def _claim_output(self, line: int, kind: str, level: bool, value: float | None) -> None:
        with self._condition:
            self._claims.refuse(line, kind, value)
            before = self._file.level(line)
            with busy(line):
                self._file.claim_output(line, level)
            self._claims.add(line, kind, value)
            self._tell_machinery(line, before)

    def _write(self, line: int, kind: str, level: bool, value: float | None) -> None:
        with self._condition:
            claim = self._claims.require(line, kind)
            out_of_range(line, kind, value)
            claim.value = value
            self._set(line, level)

    def _set(self, line: int, level: bool) -> None:
        before = self._file.level(line)
        self._file.write(line, level)
        self._tell_machinery(line, before)

    def _release(self, line: int, level: bool | None) -> None:
        claim = self._claims.remove(line)
        if claim.is_pulsing and level is None:
            level = False
        if level is not None and claim.kind != "input":
            self._set(line, level)
        self._listening.pop(line, None)
        self._file.free(line)

    @property
    def _file(self) -> Lines:
        if self._opened is None:
            raise BoardUnavailable("The board is not open.")
        return self._opened

    # The side of machinery and sensors

    def on_output(self, line: int, callback: OnOutput) -> None:
        """Be told of every change of an output's level, once this board has been opened."""
        with self._condition:
            self._machinery.setdefault(line, []).append(callback)

    def drive(self, line: int, level: bool | None) -> None:
        """Put a level on a line from outside, as a sensor does; None lets it go to its pull.

        Seen at once by whoever reads the line; edges are told by this board alone, not by others on the same file.
        """
        with self._condition:
            missing(line, self.lines)
            before = self._file.level(line)
            self._file.drive(line, simulated.LET_GO if level is None else simulated.HIGH if level else simulated.LOW)
            self._notice(line, before)

    def bounce(self, line: int, level: bool, times: int = 5) -> None:
        """Put a level on a line as a bad contact does: there and back `times` times, then there."""
        for _ in range(times):
            self.drive(line, level)
            self.drive(line, not level)
        self.drive(line, level)

    def lose_next_edge(self, line: int) -> None:
        """The next edge of an input gets lost on its way, as in a kernel's queue that is full."""
        with self._condition:
            self._claims.require(line, "input")
            self._listening[line].loses_next = True

    def value(self, line: int) -> float | None:
        """What a claimed line was last set to: duty, position (None: slack), or 0 and 1."""
        with self._condition:
            return self._claims.require(line).value

    def history(self, line: int | None = None) -> list[Change]:
        """Every edge of a line, or of all: of whoever drove it. A claim at another level than it had is one too."""
        return [change for change in history_of(self._path, line) if change.before != change.after]

    # Edges, on a thread of their own

    def _notice(self, line: int, before: bool) -> None:
        level, listening = self._file.level(line), self._listening.get(line)
        if listening is None or level == before:
            return
        if listening.loses_next:
            listening.loses_next = False
            return
        listening.changes += 1
        at, change = self._clock.monotonic(), listening.changes
        self._at(at + listening.debounce_s, partial(self._tell, line, listening, change, level, at))

    def _tell(self, line: int, listening: _Listening, change: int, level: bool, at: float) -> None:
        if self._listening.get(line) is not listening:
            return  # released meanwhile
        if listening.debounce_s and (change != listening.changes or level == listening.told):
            return
        listening.told = level
        listening.on_edge(line, level, at)

    def _tell_machinery(self, line: int, before: bool) -> None:
        level, at = self._file.level(line), self._clock.monotonic()
        if level != before:
            for callback in self._machinery.get(line, ()):
                self._at(at, partial(callback, level, at))

    def _at(self, moment: float, call: Callable[[], None]) -> None:
        heapq.heappush(self._due, (moment, next(self._count), call))
        self._condition.notify_all()

    def _run(self) -> None:
        with self._condition:
            while self._thread is threading.current_thread():
                wait = self._due[0][0] - self._clock.monotonic() if self._due else None
                if wait is None or wait > 0:
                    self._clock.wait(self._condition, wait)
                    continue
                call = heapq.heappop(self._due)[2]
                self._condition.release()
                try:
                    call()
                except Exception:  # noqa: BLE001 — a real board's thread would end; the fault is the caller's
                    log.exception("fault in a callback of the simulated board")
                finally:
                    self._condition.acquire()
