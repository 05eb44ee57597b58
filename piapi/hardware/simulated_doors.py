"""The simulated doors behind a simulated board: one for each door that is configured. They outlive the service."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from piapi.clock import Clock
from piapi.hardware.simulated_door import TRAVEL_SHARE, DoorPosition, Kind, SimulatedDoor
from piapi.hardware.wired_door import Bench, Wire, WiredDoor

log = logging.getLogger(__name__)


class SimulatedDoors:
    """Openers, doors and sensors, wired to the lines that the configuration names."""

    def __init__(self, board: Bench, configs: Mapping[str, Any], folder: Path, clock: Clock, boot_id: str) -> None:
        """`configs`: `[doors.NAME]` by name. `folder`: where their positions are kept."""
        self._board = board
        self._configs = configs
        self._folder = folder
        self._clock = clock
        self._boot_id = boot_id
        self.doors: dict[str, WiredDoor] = {}

    def start(self) -> None:
        """Put each door where it was, and drive its sensors, once the board is open. May be called twice."""
        for name, config in self._configs.items():
            if name not in self.doors:
                self.doors[name] = self._wired(name, config)
                self.doors[name].start()

    def close(self) -> None:
        """Leave them where they are. May be called twice."""
        for door in self.doors.values():
            door.close()

    def _wired(self, name: str, config: Any) -> WiredDoor:
        kind: Kind = config.while_moving
        now = self._clock.monotonic()
        door = SimulatedDoor(TRAVEL_SHARE * config.travel_s, kind, at=now, kept=self._kept(name))
        return WiredDoor(
            door,
            self._board,
            self._clock,
            relay=_wire(config.relay),
            closed_sensor=config.closed_sensor and _wire(config.closed_sensor),
            open_sensor=config.open_sensor and _wire(config.open_sensor),
            keep=lambda position: self._keep(name, position),
        )

    def _file(self, name: str) -> Path:
        return self._folder / f"door-{name}.json"

    def _kept(self, name: str) -> DoorPosition | None:
        try:
            kept = json.loads(self._file(name).read_text(encoding="utf-8"))
            position = DoorPosition.of(kept)
            return position if kept["boot_id"] == self._boot_id else replace(position, motion=0, at=0.0)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("the simulated door %s starts closed, as its file cannot be read: %s", name, error)
            return None

    def _keep(self, name: str, position: DoorPosition) -> None:
        file, written = self._file(name), self._file(name).with_suffix(".new")
        try:
            written.write_text(json.dumps({**position.as_dict(), "boot_id": self._boot_id}), encoding="utf-8")
            written.replace(file)
        except OSError as error:
            log.warning("where the simulated door %s is cannot be kept: %s", name, error)


def _wire(table: Mapping[str, Any]) -> Wire:
    return Wire(int(table["gpio"].removeprefix("GPIO")), bool(table.get("active_low", False)))
