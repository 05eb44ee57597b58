"""The ribbon-cable camera of an old system (Raspbian Buster, or Bullseye's legacy stack, 32 bit) through picamera 1.13.

The stream is the GPU's MJPEG from the video port, passed on as it comes. A still no larger than the stream is a frame
of it; a larger one comes from the still port, for which the stream pauses about a second.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from piapi.clock import Clock
from piapi.errors import CameraTimeout, CameraUnavailable
from piapi.hardware import detection
from piapi.hardware.base import CameraConfig, Capabilities, Control, ControlValue, Frame, Still, StillRequest, ignore
from piapi.hardware.jpeg_image import JpegImage
from piapi.hardware.libcamera_controls import check
from piapi.hardware.mjpeg_frames import MjpegFrames
from piapi.hardware.sizes import target_size

_ERRORS = (ImportError, OSError, RuntimeError)
_FIRST_FRAME_S = 5.0
_SETTLING_FRAMES = 5  # until a change of controls shows
_SCALES = {"brightness": (50, 0), "contrast": (0, -100), "saturation": (0, -100), "sharpness": (0, -100)}
_LIGHTS = ("auto", "daylight", "cloudy", "shade", "tungsten", "fluorescent", "incandescent")
_BALANCE = Control("auto", choices=(*_LIGHTS, "manual"))
_COLOUR_GAIN = Control(None, 0.1, 8.0)
_EXPOSURE = Control("auto", choices=("auto", "manual"))


def detect() -> list[str]:
    """The numbers of the cameras found, as strings. Off a Pi the import raises OSError (there is no libbcm_host)."""
    try:
        from picamera import mmal, mmalobj

        with mmalobj.MMALCameraInfo() as info:
            return [str(n) for n in range(info.control.params[mmal.MMAL_PARAMETER_CAMERA_INFO].num_cameras)]
    except Exception:  # noqa: BLE001 — those of _ERRORS, and picamera's own, which is none of them
        return []


class PicameraCamera:
    """One camera; see `base.Camera`. `source` is its number, the first one when it is empty."""

    def __init__(self, config: CameraConfig, clock: Clock) -> None:
        self._config, self._clock = config, clock
        self._camera: Any = None
        self._errors: tuple[type[Exception], ...] = _ERRORS
        self._size = config.width, config.height
        self._held: Mapping[str, ControlValue] = {}
        self._controls = {name: Control(default, least, 100) for name, (default, least) in _SCALES.items()}
        shutter = Control(None, 1e-5, 1 / config.fps)  # the stream's rate bounds it
        self._controls |= {"exposure": _EXPOSURE, "exposure_s": shutter, "white_balance": _BALANCE}
        self._controls |= {"red_gain": _COLOUR_GAIN, "blue_gain": _COLOUR_GAIN}

    def open(self) -> Capabilities:
        """Take the camera, and wait for the first frame of its stream."""
        self.close()
        with self._explained():
            import picamera

            self._errors = (picamera.PiCameraError, *_ERRORS)
            unslotted = type("UnslottedPiCamera", (picamera.PiCamera,), {})  # so that it can have a timeout of its own
            self._camera = unslotted(int(self._config.source or 0), clock_mode="raw", framerate=self._config.fps)
            whole: tuple[int, int] = tuple(self._camera.MAX_RESOLUTION)
            self._size = min(self._config.width, whole[0]), min(self._config.height, whole[1])
            self._held = {}
            self._stream()
            try:
                self.read(self._clock.monotonic() + _FIRST_FRAME_S)
            except CameraTimeout:
                raise OSError("it sends no pictures") from None
            return Capabilities(self._camera.revision, False, tuple(dict.fromkeys((whole, self._size))), self._controls)

    def configure(self, controls: Mapping[str, ControlValue]) -> None:
        """Hold these; they show some frames later."""
        check(controls, self._controls)
        self._set(controls)
        self._held = dict(controls)

    def read(self, deadline: float) -> Frame:
        """The next live frame."""
        with self._explained():
            camera = self._opened()
            data, received = self._frames.next(deadline, lambda: camera.wait_recording(0))
            metadata = self._metadata()
        return Frame(JpegImage(data), received - float(metadata["exposure_s"]), metadata)

    def capture(self, request: StillRequest, deadline: float, on_frame: Callable[[Frame], None] = ignore) -> Still:
        """A picture of the stream, or one as large as asked for from the still port."""
        check(request.controls, self._controls)
        called, settling = self._clock.monotonic(), _SETTLING_FRAMES if request.controls else 0
        size = target_size(*self._size, request.width, request.height)
        streamed = size[0] <= self._size[0] and size[1] <= self._size[1]
        self._set({**self._held, **request.controls})
        try:
            while settling > 0 or streamed:
                frame, settling = self.read(deadline), settling - 1
                on_frame(frame)
                if streamed and settling < 0 and frame.exposed_at >= called:
                    return Still(frame.image, frame.exposed_at, frame.metadata)
            return self._from_still_port(size, deadline)
        finally:
            if request.controls and self._camera is not None:
                self._set(self._held)

    def close(self) -> None:
        """Let the camera go."""
        camera, self._camera = self._camera, None
        for _ in range(2 if camera is not None else 0):  # the first may do no more than raise what ended the stream
            with contextlib.suppress(*self._errors):
                camera.close()

    def _stream(self) -> None:
        camera = self._camera
        self._frames = MjpegFrames(self._clock, lambda: camera.frame, camera.timestamp)
        camera.resolution = self._size
        camera.start_recording(self._frames, format="mjpeg", quality=85)

    def _from_still_port(self, size: tuple[int, int], deadline: float) -> Still:
        picture, began = io.BytesIO(), self._clock.monotonic()
        with self._explained():
            self._camera.stop_recording()
            self._camera.resolution = tuple(map(min, size, self._camera.MAX_RESOLUTION))
            self._camera.CAPTURE_TIMEOUT = max(deadline - began, 0.001)
            self._camera.capture(picture, "jpeg", use_video_port=False, quality=95)
            self._stream()
            return Still(JpegImage(picture.getvalue()), began, self._metadata())

    def _metadata(self) -> dict[str, ControlValue]:
        camera = self._camera
        red, blue = (round(float(gain), 3) for gain in camera.awb_gains)
        gain = round(float(camera.analog_gain) * float(camera.digital_gain), 3)
        return {"exposure_s": camera.exposure_speed / 1e6, "gain": gain, "red_gain": red, "blue_gain": blue}

    def _opened(self) -> Any:
        if self._camera is None:
            raise CameraUnavailable("The camera is not open.")
        return self._camera

    def _set(self, held: Mapping[str, ControlValue]) -> None:
        with self._explained():
            camera = self._opened()
            for name, (default, _) in _SCALES.items():
                setattr(camera, name, round(float(held.get(name, default))))
            self._set_white_balance(held)
            manual = held.get("exposure", "manual" if "exposure_s" in held else "auto") == "manual"
            wanted = round(float(held["exposure_s"]) * 1e6) if "exposure_s" in held else camera.exposure_speed
            camera.shutter_speed = wanted if manual else 0
            # Off holds the gains, which else make up for a shutter time; before they have settled they may be 0: black.
            has_gains = camera.analog_gain >= 1 and camera.digital_gain >= 1
            camera.exposure_mode = "off" if manual and has_gains else "auto"

    def _set_white_balance(self, held: Mapping[str, ControlValue]) -> None:
        camera, gains = self._camera, {"red_gain", "blue_gain"} & set(held)
        choice = str(held.get("white_balance", "manual" if gains else "auto"))
        now = camera.awb_gains
        camera.awb_mode = {"manual": "off", "daylight": "sunlight"}.get(choice, choice)
        if choice == "manual":
            named = float(held.get("red_gain", 1.0)), float(held.get("blue_gain", 1.0))
            camera.awb_gains = named if gains else now

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except self._errors as error:
            self.close()
            raise detection.legacy_failure(error) from error
