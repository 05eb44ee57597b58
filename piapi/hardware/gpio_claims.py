"""What a board has claimed, and what it refuses: the same on every board."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from dataclasses import dataclass

from piapi.errors import BoardUnavailable, LineBusy, LineRefused


@dataclass(slots=True)
class Claim:
    """One line that is claimed."""

    kind: str
    """`output`, `input`, `pwm` or `servo`."""
    value: float | None
    """What it was last set to: duty, position (None: slack), or 0 and 1."""

    @property
    def is_pulsing(self) -> bool:
        """Whether its level changes by itself."""
        if self.kind == "servo":
            return self.value is not None
        return self.kind == "pwm" and self.value not in (0, 1)


class Claims:
    """The claims of one board. Not locked: the board does that."""

    def __init__(self, lines: frozenset[int]) -> None:
        self.lines = lines
        self._claims: dict[int, Claim] = {}

    def __contains__(self, line: int) -> bool:
        return line in self._claims

    def __iter__(self) -> Iterator[int]:
        return iter(list(self._claims))

    def refuse(self, line: int, kind: str, value: float | None) -> None:
        """Raise what stands against claiming it: LineRefused, LineBusy."""
        missing(line, self.lines)
        out_of_range(line, kind, value)
        if line in self._claims:
            raise LineBusy(f"GPIO{line} is claimed already, as {self._claims[line].kind}.")

    def add(self, line: int, kind: str, value: float | None) -> None:
        """It is claimed now."""
        self._claims[line] = Claim(kind, value)

    def require(self, line: int, kind: str | None = None) -> Claim:
        """The claim of this kind. Raises LineRefused."""
        missing(line, self.lines)
        claim = self._claims.get(line)
        if claim is None:
            raise LineRefused(f"GPIO{line} is not claimed.")
        if kind not in (None, claim.kind):
            raise LineRefused(f"GPIO{line} is claimed as {claim.kind}, not as {kind}.")
        return claim

    def remove(self, line: int) -> Claim:
        """It is claimed no more."""
        return self._claims.pop(line)


def out_of_range(line: int, kind: str, value: float | None) -> None:
    """Raise LineRefused for a duty or a position that there is not."""
    least = -1 if kind == "servo" else 0
    if value is not None and not least <= value <= 1:
        raise LineRefused(f"GPIO{line} as {kind} takes {least} to 1.")


def missing(line: int, lines: frozenset[int]) -> None:
    """Raise LineRefused for a line that the board does not have."""
    if line not in lines:
        raise LineRefused(f"There is no GPIO{line} on this board.")


@contextlib.contextmanager
def busy(line: int) -> Iterator[None]:
    """Give an OSError its name: LineBusy, or BoardUnavailable."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise LineBusy(taken(line)) from None
        raise BoardUnavailable(f"GPIO{line} cannot be claimed: {error}.") from None


def taken(line: int) -> str:
    """Words that help, when somebody else holds a line."""
    return (
        f"GPIO{line} is in use by another program or a driver of the kernel. `gpioinfo` shows which: end it, or take "
        "its overlay out of /boot/firmware/config.txt."
    )
