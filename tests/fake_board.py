"""A board and a guard in memory, that keep a history which tests assert on."""

from __future__ import annotations

from collections.abc import Callable

from piapi.errors import HardwareError, LineBusy

Edge = Callable[[int, bool, float], None]


class FakeBoard:
    """Lines with levels. It refuses what a board refuses: a line that is not claimed, a line that is busy."""

    model: str | None = "fake"
    emulated = True

    def __init__(self) -> None:
        self.levels: dict[int, bool | float | None] = {}
        self.history: list[tuple[str, int, bool | float | None]] = []
        self.busy: set[int] = set()
        self.unreadable: set[int] = set()
        self.listeners: dict[int, Edge] = {}
        self.fail_next: HardwareError | None = None

    def open(self) -> None:
        pass

    def close(self) -> None:
        self.listeners.clear()

    def _claim(self, what: str, line: int, level: bool | float | None) -> None:
        if line in self.busy:
            raise LineBusy(f"GPIO{line} is in use by another program.")
        self.levels[line] = level
        self.history.append((what, line, level))

    def claim_output(self, line: int, level: bool) -> None:
        self._claim("output", line, level)

    def claim_pwm(self, line: int, duty: float) -> None:
        self._claim("pwm", line, duty)

    def claim_servo(self, line: int, position: float | None) -> None:
        self._claim("servo", line, position)

    def claim_input(self, line: int, pull: str, debounce_s: float, on_edge: Edge) -> None:
        self._claim("input", line, self.levels.get(line, pull == "up"))
        self.listeners[line] = on_edge

    def write(self, line: int, level: bool) -> None:
        self._write("write", line, level)

    def write_duty(self, line: int, duty: float) -> None:
        self._write("duty", line, duty)

    def write_position(self, line: int, position: float | None) -> None:
        self._write("position", line, position)

    def _write(self, what: str, line: int, level: bool | float | None) -> None:
        if self.fail_next:
            error, self.fail_next = self.fail_next, None
            raise error
        assert line in self.levels, "a line that is not claimed cannot be written"
        self.levels[line] = level
        self.history.append((what, line, level))

    def read(self, line: int) -> bool:
        if line in self.unreadable:
            raise LineBusy(f"GPIO{line} cannot be read.")
        return bool(self.levels[line])

    def release(self, line: int, level: bool | None = None) -> None:
        self.history.append(("release", line, level))

    # What a test does from outside

    def drive(self, line: int, level: bool, at: float) -> None:
        """An edge of an input."""
        self.levels[line] = level
        self.listeners[line](line, level, at)

    def written(self, line: int) -> list[bool | float | None]:
        """The levels that were written, in order, with the one it was claimed at first."""
        return [level for what, of, level in self.history if of == line and what not in ("release", "lease", "end")]


class FakeGuard:
    """Knows what is leased, and when it was asked for."""

    def __init__(self, board: FakeBoard) -> None:
        self.board = board
        self.leases: dict[int, tuple[bool, float]] = {}
        self.history: list[tuple[str, int]] = []
        self.fails = False

    def lease(self, line: int, inactive: bool, for_s: float) -> None:
        if self.fails:
            raise LineBusy("There is no guard.")
        self.history.append(("lease", line))
        self.board.history.append(("lease", line, None))
        self.leases[line] = (inactive, for_s)

    def end(self, line: int) -> None:
        self.history.append(("end", line))
        self.board.history.append(("end", line, None))
        self.leases.pop(line, None)

    def close(self) -> None:
        pass
