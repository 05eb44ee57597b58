"""A Picamera2 held safely: taken and let go without leaks, and never waited for without a bound.

What picamera2 (0.3.38) does that has to be known here:

- Its own thread runs jobs in order, as frames come. A job whose waiter gave up stays in the queue, stands before every
  later one (a stop, too), and in the end gets a request that nobody releases: so it is taken back.
- `stop` waits without a bound for that thread; `close` first ends the thread, and then stops the camera by itself.
- An exception in that thread's callbacks, encoders or previews ends it, with nobody told but the log; jobs then wait
  for ever. So none of these is used, and every wait has its timeout.
- What opens or closes a camera changes state that all cameras of a process share, where no lock keeps them apart: two
  camera managers at once are fatal, and an `open` during the last `close` leaves that one waiting for ever.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from types import SimpleNamespace
from typing import Any

from piapi.clock import Clock
from piapi.errors import CameraTimeout, CameraUnavailable
from piapi.hardware import detection

log = logging.getLogger(__name__)

#: Seconds for letting a camera go, also that of another thread.
CLOSE_S = 5.0

_shared = threading.Lock()


def detect() -> list[str]:
    """The indexes of the cameras found, as strings. USB cameras are left to the backend `av`."""
    try:
        library = _library()
        with _alone():
            found = library.Picamera2.global_camera_info()
    except (CameraUnavailable, OSError, RuntimeError):
        return []
    return [str(index) for index, camera in enumerate(found) if "/usb" not in camera["Id"]]


class Device:
    """One Picamera2, opened and closed as often as wanted. Its errors are CameraUnavailable and CameraTimeout."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._opened: Any = None
        self._closing: threading.Thread | None = None
        self.full_range: Any = None
        """libcamera's name for the colours of a JPEG. Others have TV range: washed out when seen as a JPEG."""

    def open(self, source: str) -> None:
        """Take the camera of this index or model, the first one for an empty name."""
        self.close()
        if self._closing is not None:
            raise CameraUnavailable("The camera's driver hangs. Check the cable; restart the machine if it stays so.")
        library = _library()
        with _alone(), explained():
            index = _index(source, library.Picamera2.global_camera_info())
            self._opened = _acquired(library, index)
        self.full_range = library.full_range

    @property
    def camera(self) -> Any:
        """The Picamera2 itself. Raises CameraUnavailable when it is not open."""
        if self._opened is None:
            raise CameraUnavailable("The camera is not open.")
        return self._opened

    @contextlib.contextmanager
    def completed(self, deadline: float) -> Iterator[Any]:
        """The next request that the camera has completed. It is given back in the end, whatever happens."""
        request = self.finished(self.camera.capture_request(wait=False), deadline)
        with explained():
            try:
                yield request
            finally:
                request.release()

    def finished(self, job: Any, deadline: float) -> Any:
        """What a job gives, by the deadline."""
        camera = self.camera
        try:
            with explained():
                return camera.wait(job, max(deadline - self._clock.monotonic(), 0.0))
        except CameraTimeout:
            camera.cancel_all_and_flush()
            with contextlib.suppress(CancelledError, TimeoutError):
                late = camera.wait(job, 0.1)  # it ended at the very last moment
                if hasattr(late, "release"):
                    late.release()
            raise

    def close(self) -> None:
        """Let the camera go. If its driver hangs it is left behind after CLOSE_S, and `open` says so."""
        camera, self._opened = self._opened, None
        if camera is not None:
            self._closing = threading.Thread(target=_let_go, args=(camera,), name="camera-close", daemon=True)
            self._closing.start()
        if self._closing is not None:
            self._closing.join(CLOSE_S)
            if not self._closing.is_alive():
                self._closing = None


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Errors of the library become ours, with words that help."""
    try:
        yield
    except TimeoutError:
        raise CameraTimeout("The camera delivered nothing in time.") from None
    except (OSError, RuntimeError, CancelledError) as error:
        raise CameraUnavailable(detection.explain_failure(error)) from error


def _library() -> Any:
    try:
        import libcamera
        import picamera2
        from picamera2.allocators import DmaAllocator
    except (ImportError, OSError, RuntimeError, ValueError) as error:  # ValueError: built against another NumPy
        raise CameraUnavailable(detection.explain_import(error)) from error
    full_range = libcamera.ColorSpace.Sycc()
    return SimpleNamespace(Picamera2=picamera2.Picamera2, DmaAllocator=DmaAllocator, full_range=full_range)


def _index(source: str, found: Sequence[Mapping[str, Any]]) -> int:
    if not found:
        raise CameraUnavailable(detection.explain_absence())
    for index, camera in enumerate(found):
        if source in ("", str(index), camera["Model"]):
            return index
    listed = ", ".join(f"{index} ({camera['Model']})" for index, camera in enumerate(found))
    raise CameraUnavailable(f"There is no camera {source}. Found: {listed}.")


def _acquired(library: Any, index: int) -> Any:
    """A Picamera2. When its constructor fails it leaves behind a pipe, and perhaps the camera taken: as this is tried
    again and again, both are let go here."""
    allocator = library.DmaAllocator()  # refused for want of rights, before the camera is taken
    camera = library.Picamera2.__new__(library.Picamera2)
    try:
        camera.__init__(index, allocator=allocator)
    except Exception:
        if getattr(camera, "is_open", False):
            camera.is_open = False
            camera.camera.release()
        os.close(camera.notifyme_w)
        raise
    return camera


def _let_go(camera: Any) -> None:
    try:
        camera.cancel_all_and_flush()
        with _alone():
            camera.close()
    except Exception:  # noqa: BLE001 — the end of a thread; the next open says whether the camera is free
        log.exception("a camera did not close well")


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    if not _shared.acquire(timeout=CLOSE_S):
        raise CameraUnavailable("Another camera's driver hangs, and holds up this one.")
    try:
        yield
    finally:
        _shared.release()
