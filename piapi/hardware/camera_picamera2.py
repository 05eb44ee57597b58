"""The cameras of a Raspberry Pi (Camera Module 1 to 3, HQ, Global Shutter, AI) through picamera2 and libcamera.

One configuration runs all the time: `main` is the whole sensor, for stills, `lores` is the stream; so a still is one
more copy out of a running frame, and the stream goes on. Where contiguous memory (CMA) is too short for that, the
stream runs alone, and for a still the camera is switched to another mode and back, without live frames meanwhile.

Both are YCbCr 4:2:0 with full range, the planes that a JPEG has. Frames are copied here, and encoded by others.
"""

from __future__ import annotations

import concurrent.futures
import logging
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from piapi.clock import Clock
from piapi.errors import CameraTimeout, CameraUnavailable
from piapi.hardware import detection
from piapi.hardware.base import CameraConfig, Capabilities, ControlValue, Frame, Still, StillRequest, ignore
from piapi.hardware.imaging import RgbImage, YuvImage
from piapi.hardware.libcamera_controls import (
    are_shown,
    check,
    described,
    exposed_at,
    is_focused,
    is_metered,
    offered,
    values_of,
)
from piapi.hardware.picamera2_device import Device, detect, explained
from piapi.hardware.sensor_picture import FORMATS, Size, covering, cut_to_shape, cut_to_size, picture_of

__all__ = ["Picamera2Camera", "detect"]

log = logging.getLogger(__name__)

#: picamera2 keeps one, one is in our hands, and the sensor fills the others.
BUFFERS = 4

#: Seconds for the first frame after a start.
FIRST_FRAME_S = 5.0

#: Frames after a change of controls that may not show it: their requests were queued before, and what is set on a
#: sensor comes some frames later (libcamera's delayed controls).
STALE_FRAMES = BUFFERS + 3

#: Frames after a change of controls in which automatic exposure may still be looking for the right one.
METERING_FRAMES = 40

#: Seconds that a still waits for the lens to come to rest, and for automatic exposure after a change.
PATIENCE_S = 3.0

_MODELS = {
    "ov5647": "Camera Module 1",
    "imx219": "Camera Module 2",
    "imx708": "Camera Module 3",
    "imx477": "HQ Camera",
    "imx296": "Global Shutter Camera",
    "imx500": "AI Camera",
}
_USUAL_SIZES: tuple[Size, ...] = ((1920, 1080), (1280, 720), (640, 480))


@dataclass(frozen=True)
class _Negative:
    """What a DNG is made of."""

    buffer: Any
    metadata: Mapping[str, Any]
    stream: Mapping[str, Any]


class Picamera2Camera:
    """One camera; see `base.Camera`. `source` is its index or model, the first one when it is empty."""

    def __init__(self, config: CameraConfig, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self._device = Device(clock)
        self._live = "lores"
        self._size: Size = (config.width, config.height)
        self._stream: dict[str, Any] = {}
        self._switches = False
        self._known = Capabilities("", emulated=False, resolutions=())
        self._held: Mapping[str, ControlValue] = {}
        self._metered_us = 0
        self._unchanged = METERING_FRAMES
        """Frames since the controls were last changed."""

    def open(self) -> Capabilities:
        """Take the camera, start it and wait for its first frame."""
        self._device.open(self._config.source)
        try:
            with explained():
                self._start()
            self.read(self._clock.monotonic() + FIRST_FRAME_S)
        except CameraTimeout:
            self.close()
            raise CameraUnavailable(f"The camera answers, but sends no pictures. {detection.CHECK_CABLE}") from None
        except CameraUnavailable:
            self.close()
            raise
        return self._known

    def configure(self, controls: Mapping[str, ControlValue]) -> None:
        """Hold these. They show some frames later, if they are others; white balance takes seconds to settle."""
        _ = self._device.camera
        check(controls, self._known.controls)
        before, self._held = self._held, dict(controls)
        values = self._values(self._held)
        # What is the same is not set: the next still would wait for frames that show what all of them show. Only that
        # the lens be moved can be asked for again.
        if self._held != before or "AfTrigger" in values:
            self._set(values)

    def read(self, deadline: float) -> Frame:
        """The next live frame."""
        with self._device.completed(deadline) as completed:
            self._unchanged += 1
            return self._frame(completed)

    def capture(self, request: StillRequest, deadline: float, on_frame: Callable[[Frame], None] = ignore) -> Still:
        """The first picture whose exposure began after this call and that shows the controls asked for.

        It is the whole sensor, cut to the proportions asked for (uncut with a DNG). While the lens moves, or exposure
        settles after a change, it is waited for, PATIENCE_S at most.
        """
        _ = self._device.camera
        check(request.controls, self._known.controls)
        values = self._values({**self._held, **request.controls})
        if self._switches:
            still, negative = self._take_switched(request, values, deadline)
        else:
            if request.controls:
                self._set(values)
            try:
                still, negative = self._take(request, values, self._clock.monotonic(), deadline, on_frame)
            finally:
                if request.controls:
                    self._set(self._values(self._held))
        return still if negative is None else replace(still, raw=self._developed(negative, deadline, on_frame))

    def close(self) -> None:
        """Let the camera go; one whose driver hangs is left behind after some seconds."""
        self._device.close()

    # Starting ---------------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        camera = self._device.camera
        of_pi = "ColorFilterArrangement" in camera.camera_properties  # by this picamera2 itself tells them from others
        whole: Size = camera.sensor_resolution if of_pi else (self._config.width, self._config.height)
        whole = whole[0] // 2 * 2, whole[1] // 2 * 2
        self._size = min(self._config.width, whole[0]), min(self._config.height, whole[1])
        self._held, self._unchanged, self._switches, self._live = {}, STALE_FRAMES, False, "main"
        common = {"buffer_count": BUFFERS, "colour_space": self._device.full_range, "display": None, "encode": None}
        if of_pi:
            self._start_sensor(whole, common)
        else:  # a webcam or a driver for tests has one stream, and no planes
            self._run(camera.create_video_configuration(main={"format": "BGR888", "size": whole}, **common))
        self._known = Capabilities(
            model=_named(str(camera.camera_properties.get("Model", "camera"))),
            emulated=False,
            resolutions=_sizes(whole, self._size),
            controls=offered(camera.camera_controls),
            raw=of_pi,
        )

    def _start_sensor(self, whole: Size, common: Mapping[str, Any]) -> None:
        camera = self._device.camera
        live = {"format": "YUV420", "size": covering(self._size, whole)}
        both = camera.create_video_configuration(main={"format": "YUV420", "size": whole}, lores=dict(live), **common)
        try:
            self._live = "lores"
            self._run(both)
        except (OSError, RuntimeError) as error:
            if not detection.is_short_of_memory(error):
                raise
            log.warning("camera %s: no memory for stills beside the stream (%s)", self._config.name, error)
            self._live, self._switches = "main", True
            self._run(camera.create_video_configuration(main=live, raw=None, **common))

    def _run(self, stream: dict[str, Any]) -> None:
        camera, self._stream = self._device.camera, stream
        camera.configure(stream)
        if (format := camera.camera_configuration()["main"]["format"]) not in FORMATS:
            raise CameraUnavailable(f"This camera sends {format}, not planes or pixels: use the backend `av` for it.")
        camera.set_controls(self._values({}))
        camera.start()

    # Taking -----------------------------------------------------------------------------------------------------------

    def _take(
        self,
        request: StillRequest,
        values: Mapping[str, Any],
        called: float,
        deadline: float,
        on_frame: Callable[[Frame], None] | None,
    ) -> tuple[Still, _Negative | None]:
        patience: float | None = None
        while True:
            with self._device.completed(deadline) as completed:
                metadata = completed.get_metadata()
                now = self._clock.monotonic()
                fits = exposed_at(metadata, now) >= called and self._shows(values, metadata)
                if fits and patience is None:
                    patience = now + PATIENCE_S
                rests = self._rests(values, metadata) or (patience is not None and now >= patience)
                self._unchanged += 1
                frame = self._frame(completed) if on_frame else None
                taken = self._still(completed, request) if fits and rests else None
            if on_frame and frame:
                on_frame(frame)
            if taken:
                return taken

    def _take_switched(
        self, request: StillRequest, values: Mapping[str, Any], deadline: float
    ) -> tuple[Still, _Negative | None]:
        camera, called = self._device.camera, self._clock.monotonic()
        still = camera.create_still_configuration(
            main={"format": "YUV420", "size": self._known.resolutions[0]},
            raw={} if request.raw else None,
            colour_space=self._device.full_range,
            controls=dict(values),
        )
        try:
            self._device.finished(camera.switch_mode(still, wait=False), deadline)
            self._unchanged = METERING_FRAMES  # the start had the controls, and drops the frames of its settling
            taken = self._take(request, values, called, deadline, None)
            back = {**self._stream, "controls": self._values(self._held)}
            self._device.finished(camera.switch_mode(back, wait=False), deadline)
        except (CameraTimeout, CameraUnavailable):
            self.close()  # it is in no mode that `read` could go on with
            raise
        return taken

    def _still(self, completed: Any, request: StillRequest) -> tuple[Still, _Negative | None]:
        metadata, negative = completed.get_metadata(), None
        picture = _picture(completed, "main")
        if request.raw and self._known.raw:
            negative = _Negative(completed.make_buffer("raw"), metadata, dict(completed.config["raw"]))
        else:
            both_named = request.width and request.height
            picture = cut_to_shape(picture, (request.width, request.height) if both_named else self._size)
        return Still(picture, exposed_at(metadata, self._clock.monotonic()), described(metadata)), negative

    def _frame(self, completed: Any) -> Frame:
        metadata = completed.get_metadata()
        self._metered_us = metadata.get("ExposureTime", self._metered_us)
        picture = cut_to_size(_picture(completed, self._live), self._size)
        return Frame(picture, exposed_at(metadata, self._clock.monotonic()), described(metadata))

    def _developed(self, negative: _Negative, deadline: float, on_frame: Callable[[Frame], None]) -> bytes:
        """The DNG. Making it takes a second and more, so the stream goes on beside it."""
        pool = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="dng")
        try:
            making = pool.submit(_dng, self._device.camera.helpers, negative)
            while not concurrent.futures.wait([making], timeout=0.005).done:
                on_frame(self.read(deadline))
            with explained():
                return making.result()
        finally:
            pool.shutdown(wait=False)

    # Controls ---------------------------------------------------------------------------------------------------------

    def _values(self, held: Mapping[str, ControlValue]) -> dict[str, Any]:
        return values_of(held, self._device.camera.camera_controls, self._metered_us, self._config.fps)

    def _shows(self, values: Mapping[str, Any], metadata: Mapping[str, Any]) -> bool:
        return self._unchanged >= STALE_FRAMES and are_shown(values, metadata)

    def _rests(self, values: Mapping[str, Any], metadata: Mapping[str, Any]) -> bool:
        metered = self._unchanged >= METERING_FRAMES or is_metered(values, metadata)
        return metered and is_focused(values, metadata)

    def _set(self, values: Mapping[str, Any]) -> None:
        """They go with the next request that is released, behind all that are queued."""
        self._device.camera.set_controls(dict(values))
        self._unchanged = 0


def _picture(completed: Any, stream: str) -> YuvImage | RgbImage:
    """A copy: the buffer goes back to the camera."""
    config = completed.config[stream]
    return picture_of(completed.make_array(stream), config["format"], config["size"])


def _dng(helpers: Any, negative: _Negative) -> bytes:
    """By way of a file: older versions of picamera2 take nothing else."""
    with tempfile.TemporaryDirectory(prefix="piapi-") as folder:
        path = Path(folder) / "raw.dng"
        helpers.save_dng(negative.buffer, negative.metadata, negative.stream, str(path))
        return path.read_bytes()


def _named(model: str) -> str:
    """`imx708_wide` and `imx708_noir` are imx708s."""
    known = _MODELS.get(model.partition("_")[0])
    return f"{known} ({model})" if known else model


def _sizes(whole: Size, configured: Size) -> tuple[Size, ...]:
    smaller = {size for size in (configured, *_USUAL_SIZES) if size[0] <= whole[0] and size[1] <= whole[1]} - {whole}
    return (whole, *sorted(smaller, key=lambda size: -size[0] * size[1]))
