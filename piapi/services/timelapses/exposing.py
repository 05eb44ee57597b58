"""How the pictures of a job are exposed: as the camera does, held from the first frame on, or led from day to night.

What it goes on from is kept in the job's memory, so that a restart is no step in the film.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Protocol

from piapi.errors import PiApiError
from piapi.hardware.base import Control, ControlValue
from piapi.services.timelapses.active import ActiveJob
from piapi.services.timelapses.exposure import Ramp, locked_controls, settled

log = logging.getLogger(__name__)

#: Live frames that are looked at, at most, until the camera's automatic exposure has settled: some two seconds.
MOST_FRAMES = 60


class ExposedCamera(Protocol):
    """What is asked of a camera here."""

    name: str

    @property
    def controls(self) -> Mapping[str, Control]:
        """What can be set on it; empty before it was opened."""

    def look(self, controls: Mapping[str, ControlValue]) -> Mapping[str, ControlValue]:
        """The metadata of the next live frame."""


class Exposing:
    """Of all jobs."""

    def controls(self, active: ActiveJob, camera: ExposedCamera) -> Mapping[str, ControlValue]:
        """For the next picture of a job. Raises HardwareError."""
        plan = active.job.plan
        controls = dict(plan.controls)
        if controls.get("exposure") == "ramp":
            del controls["exposure"]
            return controls | self._ramp(active, camera).controls()
        if plan.lock_exposure:
            return self._held(active, camera) | controls
        return controls

    def learn(
        self, active: ActiveJob, camera: ExposedCamera, luminance: float | None, metadata: Mapping[str, Any]
    ) -> None:
        """What a picture became: the next one may be exposed otherwise."""
        if active.job.plan.controls.get("exposure") == "ramp":
            ramp = self._ramp(active, camera)
            ramp.next(luminance, metadata)
            active.job.memory["ramp"] = ramp.state()

    def _ramp(self, active: ActiveJob, camera: ExposedCamera) -> Ramp:
        interval_s, state = active.job.plan.interval_s, active.job.memory.get("ramp")
        if state is not None:
            return Ramp.from_state(camera.controls, interval_s, state)
        ramp = Ramp(camera.controls, interval_s, self._settle(camera))
        active.job.memory["ramp"] = ramp.state()
        return ramp

    def _held(self, active: ActiveJob, camera: ExposedCamera) -> dict[str, ControlValue]:
        held: dict[str, ControlValue] | None = active.job.memory.get("held")
        if held is None:
            held = locked_controls(camera.controls, self._settle(camera))
            if not held:
                log.warning("camera %s cannot be told to hold its exposure", camera.name)
            active.job.memory["held"] = held
        return held

    def _settle(self, camera: ExposedCamera) -> Mapping[str, ControlValue]:
        """The metadata of a frame after the camera's own exposure has settled, or has had its time."""
        seen: list[Mapping[str, ControlValue]] = []
        while len(seen) < MOST_FRAMES and not settled(seen):
            try:
                seen.append(camera.look({}))
            except PiApiError:
                if not seen:
                    raise
                break
        return seen[-1] if seen else {}
