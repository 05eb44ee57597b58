"""The GPIO board by the name of its backend, and the leases that go with it. A new board is a file, named here."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from piapi.clock import Clock
from piapi.hardware.gpio import GpioBoard
from piapi.hardware.leases import Leases, OnLost, start_command

if TYPE_CHECKING:
    from piapi.hardware.simulated_doors import SimulatedDoors

_LINES = "gpio.simulated"
_SOCKET = "guard.sock"
_REMEDY = (
    " `systemctl status piapi-guard` tells why, and `sudo systemctl restart piapi-guard` starts it again; where it has "
    "the lines of another chip, `sudo /opt/piapi/current/systemd/install.sh --settings` gives it those of piapi.toml."
)


def board_of(backend: str, chip: int | None, folder: Path, clock: Clock) -> GpioBoard:
    """The board of `[gpio]`, not yet opened. `folder` is the runtime folder."""
    if backend == "simulated":
        from piapi.hardware.gpio_simulated import SimulatedBoard

        return SimulatedBoard(folder / _LINES, clock)
    from piapi.hardware.gpio_lgpio import LgpioBoard

    return LgpioBoard(chip, folder, clock)


def leases_of(backend: str, chip: int | None, folder: Path, on_lost: OnLost, standing: str = "") -> Leases:
    """Leases at the guard of that board, not yet opened. `standing`: the socket of the one that others have started for
    real lines. Else it is the one that runs, or one that is started."""
    if backend == "simulated":
        kind, name = "simulated", str(folder / _LINES)
    else:
        kind, name = "chip", "auto" if chip is None else str(chip)
    lines = f"{kind} {name}"
    if standing and kind == "chip":
        return Leases(Path(standing), None, on_lost, lines=lines, remedy=_REMEDY)
    start = start_command(sys.executable, folder / _SOCKET, f"--{kind}", name)
    return Leases(folder / _SOCKET, start, on_lost, lines=lines)


def machinery_of(
    board: GpioBoard, doors: Mapping[str, Any], folder: Path, clock: Clock, boot_id: str
) -> SimulatedDoors | None:
    """What is simulated on the other side of a simulated board's lines; None for any other board."""
    if not doors or not board.emulated:
        return None
    from piapi.hardware.gpio_simulated import SimulatedBoard
    from piapi.hardware.simulated_doors import SimulatedDoors

    return SimulatedDoors(board, doors, folder, clock, boot_id) if isinstance(board, SimulatedBoard) else None
