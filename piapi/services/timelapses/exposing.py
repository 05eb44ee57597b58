"""How the pictures of a job are exposed: as the camera does, held from the first frame on, or moved with the light."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from piapi.hardware.base import ControlValue
from piapi.services.timelapses.active import ActiveJob
from piapi.services.timelapses.taking import TickCamera

log = logging.getLogger(__name__)

#: Live frames that are looked at, at most, until the camera's automatic exposure has settled.
MOST_FRAMES = 40


class Exposing:
    """Of all jobs; what it goes on from is kept in each job's memory."""

    def controls(self, active: ActiveJob, camera: TickCamera) -> Mapping[str, ControlValue]:
        """For the next picture."""
        return dict(active.job.plan.controls)

    def learn(self, active: ActiveJob, luminance: float | None, metadata: Mapping[str, Any]) -> None:
        """What became of it."""
