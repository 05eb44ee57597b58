"""The cameras, by name: what they are, what is set on them, and pictures from them."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from piapi.clock import Clock
from piapi.errors import (
    CameraBusy,
    CameraTimeout,
    CameraUnavailable,
    Fault,
    HardwareError,
    Invalid,
    NotFound,
    UnsupportedControl,
)
from piapi.hardware.base import Camera, CameraConfig, Control, ControlValue, StillRequest
from piapi.models import NOBODY, CameraSettings
from piapi.services.camera_owner import CameraOwner
from piapi.services.capture_queue import Taken
from piapi.services.events import Events
from piapi.services.live import Picture, Viewer, ViewerPlaces
from piapi.services.metrics import Metrics
from piapi.storage.cameras import CameraRows

#: Seconds that a picture may take, beside its exposure.
CAPTURE_TIMEOUT_S = 10.0

#: Seconds that a new viewer is kept waiting for a first frame before the answer is an error.
FIRST_FRAME_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class CameraState:
    """What there is to say about a camera now."""

    id: str
    backend: str
    model: str | None
    emulated: bool
    state: str
    detail: str | None
    resolutions: tuple[tuple[int, int], ...]
    rotation: int
    controls: Mapping[str, tuple[Control, ControlValue | None]]
    """Each with the value that is set, or its default."""
    viewers: int


class CameraService:
    """One camera, for those who ask."""

    def __init__(
        self,
        config: CameraConfig,
        camera: Camera,
        rows: CameraRows,
        places: ViewerPlaces,
        clock: Clock,
        events: Events,
        waiting: threading.Semaphore | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        self.name = config.name
        self._metrics = metrics or Metrics()
        self.config = config
        self._rows = rows
        self._clock = clock
        self._events = events
        self.owner = CameraOwner(config.name, camera, places, clock, waiting)
        self._settings = CameraSettings(config.rotation, {})
        self._configuring = threading.Lock()

    def start(self) -> None:
        """Begin, with what was set before."""
        self._settings = self._rows.get(self.name) or self._settings
        self.owner.configure(self._settings.rotation, self._settings.controls)
        self.owner.start()

    def interrupt(self) -> None:
        """Begin to stop: whoever waits for the camera is told."""
        self.owner.interrupt()

    def close(self) -> None:
        """Let the camera go."""
        self.owner.close()

    def is_well(self) -> bool:
        """Whether it delivers, as far as is known."""
        return self.owner.failure is None

    def state(self) -> CameraState:
        """What there is to say about it now."""
        known, failure = self.owner.capabilities, self.owner.failure
        if known is None and failure is None:
            failure = "The camera is being opened."
        viewers = self.owner.feed.viewers
        return CameraState(
            id=self.name,
            backend=self.config.backend,
            model=known.model if known else None,
            emulated=self.is_emulated,
            state="unavailable" if failure else "streaming" if viewers else "ready",
            detail=failure,
            resolutions=tuple(self._turned(*size) for size in known.resolutions) if known else (),
            rotation=self._settings.rotation,
            controls={
                name: (control, self._settings.controls.get(name, control.default))
                for name, control in (known.controls if known else {}).items()
            },
            viewers=viewers,
        )

    def configure(self, rotation: int | None, controls: Mapping[str, ControlValue | None], *, by: str = NOBODY) -> None:
        """Set what is named and leave the rest; a control that is None goes back to its default.

        Raises UnsupportedControl (and changes nothing), CameraUnavailable while nothing is known of the camera.
        """
        self._check_controls(controls)
        with self._configuring:
            before = self._settings
            merged = {name: value for name, value in {**before.controls, **controls}.items() if value is not None}
            settings = CameraSettings(before.rotation if rotation is None else rotation, merged)
            data = {"rotation": settings.rotation, "controls": settings.controls}
            told = self._events.entry("camera.configured", f"camera:{self.name}", data, actor=by)
            self._rows.put(self.name, settings, told)
            self._settings = settings
            self.owner.configure(settings.rotation, settings.controls)

    def snapshot(self, max_age_s: float | None) -> Picture:
        """A picture of live quality, exposed after this call or at most `max_age_s` seconds before it."""
        latest = self.owner.latest
        if max_age_s is not None and latest and self._clock.monotonic() - latest.exposed_at <= max_age_s:
            return latest
        return self._taken(None, self._settings.controls).picture

    def take(self, width: int, height: int, controls: Mapping[str, ControlValue], raw: bool) -> Taken:
        """A still. Width and height in pixels after rotation; 0: as configured, or in proportion to the other."""
        self._check_size(width, height)
        self._check_controls(controls)
        if raw and not self.owner.known().raw:
            raise Invalid(Fault("/format", "dng needs a sensor that gives raw pictures, and this camera has none"))
        across, down = self._turned(width, height)
        request = StillRequest(across, down, dict(controls), raw)
        return self._taken(request, {**self._settings.controls, **controls})

    def take_tick(self, width: int, height: int, controls: Mapping[str, ControlValue], begin_at: float) -> Taken:
        """A still for a time-lapse, exposed at `begin_at` or as soon after as can be, a moment of the monotonic clock.
        It takes no place among the requests that wait for cameras."""
        across, down = self._turned(width, height)
        request = StillRequest(across, down, dict(controls))
        return self._taken(request, {**self._settings.controls, **controls}, begin_at)

    def still_size(self, width: int, height: int, across: int, down: int) -> tuple[int, int]:
        """The size in pixels of the file of a picture of `across` by `down`: as asked for by `width` and `height`, in
        proportion where one side was named, else as configured."""
        most = self.configured_size()
        if most[0] <= across and most[1] <= down:  # a backend may deliver the whole sensor
            across, down = most
        if width and height:
            return width, height
        if width:
            return width, max(1, round(width * down / across))
        if height:
            return max(1, round(height * across / down)), height
        return across, down

    def faults_of_still(self, width: int, height: int, controls: Mapping[str, ControlValue]) -> list[Fault]:
        """What is wrong with a still that is asked for like this, as far as anything is known of the camera."""
        faults: list[Fault] = []
        try:
            self._check_size(width, height)
        except Invalid as error:
            faults += error.faults
        try:
            self._check_controls(controls)
        except Invalid as error:
            faults += error.faults
        return faults

    def look(self, controls: Mapping[str, ControlValue]) -> Mapping[str, ControlValue]:
        """What the camera says of its next live frame."""
        return self._taken(None, {**self._settings.controls, **controls}, 0.0).picture.metadata

    @property
    def controls(self) -> Mapping[str, Control]:
        """What can be set on it; empty before it was opened."""
        return self.owner.capabilities.controls if self.owner.capabilities else {}

    @property
    def is_emulated(self) -> bool:
        """Whether its pictures are made up, as far as is known."""
        known = self.owner.capabilities
        return known.emulated if known else self.config.backend == "simulated"

    @property
    def model(self) -> str | None:
        """What the camera says it is; None before it was opened."""
        return self.owner.capabilities.model if self.owner.capabilities else None

    def _taken(
        self, request: StillRequest | None, controls: Mapping[str, ControlValue], begin_at: float | None = None
    ) -> Taken:
        """`begin_at` None: for a request."""
        began, outcome = self._clock.monotonic(), "ok"
        timeout = self._timeout(controls)
        try:
            if begin_at is None:
                return self.owner.take(request, timeout)
            return self.owner.take_tick(request, timeout, begin_at)
        except HardwareError as error:
            outcome = type(error).__name__
            raise
        finally:
            self._metrics.capture(self.name, outcome, self._clock.monotonic() - began)

    def watch(self, width: int, fps: float) -> Viewer:
        """A viewer of the live view. Waits for its first frame, so that a camera that gives none is said to.

        Raises TooManyViewers, CameraUnavailable, CameraTimeout.
        """
        if failure := self.owner.failure:
            raise CameraUnavailable(failure)
        viewer = self.owner.feed.join(width, fps)
        try:
            with self.owner.jobs.place():
                in_time = self.owner.feed.wait_first(viewer, FIRST_FRAME_TIMEOUT_S)
        except CameraBusy:  # many come at once: the stream begins without having waited
            in_time = True
        if not in_time:
            viewer.leave()
            raise CameraTimeout("The camera delivered no frame.")
        if viewer.ended:
            viewer.leave()
            raise CameraUnavailable(self.owner.failure or "The camera has gone.")
        return viewer

    def configured_size(self) -> tuple[int, int]:
        """Width and height of photos unless asked otherwise, in pixels after rotation."""
        return self._turned(self.config.width, self.config.height)

    def check_width(self, width: int, parameter: str = "width") -> None:
        """Raise Invalid when a picture cannot be this wide."""
        most = self._largest()[0]
        if width > most:
            raise Invalid(Fault(parameter, f"must be at most {most}, what the sensor gives", in_query=True))

    def _check_size(self, width: int, height: int) -> None:
        if not (width or height):
            return
        faults = [
            Fault(f"/{name}", f"must be at most {most}, what the sensor gives")
            for name, value, most in zip(("width", "height"), (width, height), self._largest(), strict=True)
            if value > most
        ]
        if faults:
            raise Invalid(*faults)

    def _check_controls(self, controls: Mapping[str, ControlValue | None]) -> None:
        if not controls:
            return
        known = self.owner.known()
        faults: list[Fault] = []
        for name, value in controls.items():
            control = known.controls.get(name)
            if control is None:
                listed = ", ".join(known.controls) or "none"
                faults.append(Fault(f"/controls/{name}", f"this camera has no such control; it has {listed}"))
            elif value is not None:
                try:
                    control.check(name, value)
                except UnsupportedControl as error:
                    faults += error.faults
        if faults:
            raise Invalid(*faults)

    def _largest(self) -> tuple[int, int]:
        """Width and height of the sensor, after rotation."""
        return self._turned(*self.owner.known().resolutions[0])

    def _turned(self, width: int, height: int) -> tuple[int, int]:
        """From before rotation to after, or back."""
        return (height, width) if self._settings.rotation in (90, 270) else (width, height)

    @staticmethod
    def _timeout(controls: Mapping[str, ControlValue]) -> float:
        exposure = controls.get("exposure_s", 0.0)
        return CAPTURE_TIMEOUT_S + 2 * (exposure if isinstance(exposure, int | float) else 0.0)


class Cameras:
    """All of them, in the order of the configuration."""

    def __init__(self, services: Mapping[str, CameraService]) -> None:
        self._services = services

    def __iter__(self) -> Iterator[CameraService]:
        return iter(self._services.values())

    def get(self, name: str) -> CameraService:
        """Raises NotFound."""
        if service := self._services.get(name):
            return service
        raise NotFound(f"There is no camera {name}.")
