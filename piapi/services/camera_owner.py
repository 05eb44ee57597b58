"""The one thread that owns a camera. Requests hand it work with a deadline, and get pictures back.

The camera runs only while somebody looks or work is due, and a short while longer. One that fails is closed, said to be
unavailable, and tried again in the background; nobody waits for it meanwhile.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator, Mapping

from piapi.clock import Clock, wall_time_of
from piapi.errors import CameraTimeout, CameraUnavailable, PiApiError
from piapi.hardware.base import Camera, Capabilities, ControlValue, Frame, Still, StillRequest
from piapi.memory import give_back
from piapi.services.capture_queue import CaptureQueue, Job, Taken
from piapi.services.live import LiveFeed, Picture, ViewerPlaces

log = logging.getLogger(__name__)

#: Seconds that a camera runs on with nothing to do: opening one takes about a second on a Pi.
LINGER_S = 10.0

#: Seconds for which a camera is still opened after a moment at which there was to be work: for who says so just then.
EXPECTED_S = 1.0

#: Seconds that a live frame may take, beside its exposure.
FRAME_TIMEOUT_S = 5.0

#: Seconds that a still may take, beside its exposure.
CAPTURE_TIMEOUT_S = 8.0

#: Seconds that opening a camera may take, and that a request waits for a first opening.
OPEN_TIMEOUT_S = 20.0
FIRST_OPEN_TIMEOUT_S = 5.0

#: Seconds between two tries to open a camera that failed: doubled each time, up to the second number.
RETRY_S = (1.0, 60.0)

#: Seconds that a driver may take to let its camera go.
CLOSE_TIMEOUT_S = 4.0

#: Seconds past its deadline after which a call into the hardware counts as hung.
HANG_S = 2.0


_STOPPING = "piapi is stopping."


class CameraOwner:
    """Runs one camera. `start` begins its thread, `close` ends it."""

    def __init__(
        self, name: str, camera: Camera, places: ViewerPlaces, clock: Clock, waiting: threading.Semaphore | None = None
    ) -> None:
        """`waiting` bounds the requests that wait for any camera at once, so that threads are left for the rest."""
        self.name = name
        self.feed = LiveFeed(places, clock.monotonic, self._wake)
        self.latest: Picture | None = None
        """The last picture, live or still, while the camera runs."""
        self._camera = camera
        self._clock = clock
        self._changed = threading.Condition()
        self.jobs = CaptureQueue(self._changed, waiting)
        self._rotation = 0
        self._controls: Mapping[str, ControlValue] = {}
        self._configured = False
        self._expected = 0.0
        self._stopping = False
        self._thread: threading.Thread | None = None
        # Written by the owner's thread alone:
        self.capabilities: Capabilities | None = None
        self._is_open = False
        self._failure: str | None = None
        self._failures = 0
        self._retry_at = 0.0
        self._busy_until = float("inf")
        self._last_needed = 0.0

    # For everybody ----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin, with a first look at the camera."""
        self._thread = threading.Thread(target=self._run, name=f"camera-{self.name}", daemon=True)
        self._thread.start()

    def interrupt(self) -> None:
        """Begin to stop: pictures that wait fail, also the one that is being taken, and streams end."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self.jobs.fail_all(CameraUnavailable(_STOPPING))
        self.feed.end()

    def close(self, timeout: float = CLOSE_TIMEOUT_S) -> None:
        """End the thread and let the camera go. May be called twice."""
        self.interrupt()
        if self._thread is not None:
            self._thread.join(timeout)
            if self._thread.is_alive():
                log.error("camera %s: its driver does not return; left behind", self.name)

    @property
    def failure(self) -> str | None:
        """Why the camera is unavailable; None when it is ready."""
        if self._clock.monotonic() > self._busy_until + HANG_S:
            return "The camera's driver does not answer. Check the cable; restart piapi if it stays so."
        return self._failure

    def wait_ready(self, timeout: float) -> bool:
        """Wait until the camera has been opened and is well; False when it was not in time."""
        with self._changed:
            return self._changed.wait_for(lambda: self.capabilities is not None and self.failure is None, timeout)

    def known(self) -> Capabilities:
        """What the camera can do; waits for a first opening that is under way. Raises CameraUnavailable."""
        with self._changed:
            self._changed.wait_for(
                lambda: self.capabilities is not None or self.failure is not None, FIRST_OPEN_TIMEOUT_S
            )
        if self.capabilities is None:
            raise CameraUnavailable(self.failure or "The camera is being opened.")
        return self.capabilities

    def configure(self, rotation: int, controls: Mapping[str, ControlValue]) -> None:
        """Hold this rotation and these controls, from the next frame on. They were checked by the caller."""
        with self._changed:
            self._rotation, self._controls, self._configured = rotation, dict(controls), False
            self.latest = None
            self._changed.notify_all()

    def take(self, request: StillRequest | None, timeout: float) -> Taken:
        """A picture whose exposure begins after this call; `request` None: of live quality and size.

        Raises CameraUnavailable, CameraBusy, and CameraTimeout when there is none within `timeout` seconds.
        """
        with self.jobs.place():
            return self._take(request, timeout)

    def take_tick(self, request: StillRequest | None, timeout: float, begin_at: float = 0.0) -> Taken:
        """The same for a thread that is nobody's request: it takes no place among these, and finds none taken. The
        exposure of a still begins at `begin_at`, on the monotonic clock, or as soon after as can be: the camera waits
        for it."""
        return self._take(request, timeout, begin_at, is_tick=True)

    def _take(
        self, request: StillRequest | None, timeout: float, begin_at: float = 0.0, is_tick: bool = False
    ) -> Taken:
        now = self._clock.monotonic()
        job = Job(request, now, now + timeout, begin_at)
        if failure := self.failure:
            raise CameraUnavailable(failure)
        self.jobs.add(job, is_bounded=not is_tick)
        if self._stopping:  # too late: nobody takes it any more
            self.jobs.fail_all(CameraUnavailable(_STOPPING))
        try:
            return job.result.result(timeout + HANG_S)
        except TimeoutError:
            raise CameraTimeout(f"The camera delivered nothing within {timeout:g} s.") from None

    @property
    def is_open(self) -> bool:
        """Whether it runs just now, and a picture can be had at once."""
        return self._is_open and self._configured and self._failure is None

    def expect(self, moment: float) -> None:
        """There will be work at this moment: it is opened now, and runs at least until then."""
        with self._changed:
            self._expected = max(self._expected, moment)
            self._changed.notify_all()

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    # The owner's thread -----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._stopping and (wait := self._idle_for()) != 0:
                    self._clock.wait(self._changed, wait)
                if self._stopping:
                    break
            try:
                self._step()
            except (CameraUnavailable, CameraTimeout) as error:
                self._fail(error)
            except Exception:  # noqa: BLE001 — a fault in a driver must not end the thread that would heal it
                log.exception("camera %s: fault in its driver", self.name)
                self._fail(CameraUnavailable("The camera's driver failed; the log says how."))
        self._close()

    def _idle_for(self) -> float | None:
        """Seconds until there is something to do; 0: now; None: until somebody comes."""
        now = self._clock.monotonic()
        if self._failure is not None:
            return max(self._retry_at - now, 0.0)
        if self.jobs or self.feed.viewers or self.capabilities is None or (self._is_open and not self._configured):
            return 0.0
        if self._is_open:
            return max(max(self._last_needed, self._expected) + LINGER_S - now, 0.0)
        return 0.0 if now <= self._expected + EXPECTED_S else None

    def _step(self) -> None:
        if not self._is_open:
            self._open()
            return
        if not self._configured:
            self._apply()
        late = CameraTimeout("The camera delivered nothing in time.")
        self.jobs.settle(self.jobs.late(self._clock.monotonic()), late)
        if (job := self.jobs.next_still()) is not None and (request := job.request) is not None:
            self._wait_until(job.begin_at)
            self._capture(request)
        elif self.jobs or self.feed.viewers:
            self._last_needed = self._clock.monotonic()
            with self._in_hardware(FRAME_TIMEOUT_S + 2 * self._exposure_s()) as deadline:
                frame = self._camera.read(deadline)
            self._live(frame)
        elif self._idle_for() == 0.0:
            self._close()

    def _open(self) -> None:
        with self._in_hardware(OPEN_TIMEOUT_S):
            self.capabilities = self._camera.open()
        self._is_open, self._configured = True, False
        self._last_needed = self._clock.monotonic()
        if self._failure is not None:
            log.info("camera %s: ready again (%s)", self.name, self.capabilities.model)
        self._failure = None
        self._wake()

    def _apply(self) -> None:
        with self._changed:
            controls, self._configured = self._controls, True
        known = self.capabilities.controls if self.capabilities else {}
        try:
            self._camera.configure({name: value for name, value in controls.items() if name in known})
        except PiApiError as error:
            if isinstance(error, CameraUnavailable | CameraTimeout):
                raise
            log.warning("camera %s: controls that were set do not fit it any more: %s", self.name, error)

    def _wait_until(self, moment: float) -> None:
        with self._changed:
            while not self._stopping and (wait := moment - self._clock.monotonic()) > 0:
                self._clock.wait(self._changed, wait)

    def _capture(self, request: StillRequest) -> None:
        """One capture for all that ask for the same; its live frames serve the others."""
        now = self._last_needed = self._clock.monotonic()
        exposure_s = self._exposure_s(request)
        asked = self.jobs.asking_for(request, now)
        served = [job for job in asked if job.deadline >= now + exposure_s]
        if len(served) < len(asked):  # they waited too long behind others, which is no fault of the camera
            late = CameraTimeout("Other pictures were taken first, and no time is left for this one.")
            self.jobs.settle([job for job in asked if job not in served], late)
        if not served:
            return
        try:
            with self._in_hardware(CAPTURE_TIMEOUT_S + 2 * exposure_s) as deadline:
                still = self._camera.capture(request, deadline, self._live)
        except (CameraUnavailable, CameraTimeout):
            raise
        except PiApiError as error:
            self.jobs.settle(served, error)
            return
        taken = Taken(self._picture(still), still.raw if isinstance(still, Still) else None)
        self._failures = 0
        self.jobs.settle(served, taken)

    def _live(self, frame: Frame) -> None:
        """A frame has come: to those who look, and to those who wait for one."""
        picture = self._picture(frame)
        self.latest = picture
        self._failures = 0
        self.jobs.settle(self.jobs.served_by_frame(frame.exposed_at), Taken(picture))
        self.feed.publish(picture)

    def _picture(self, frame: Frame) -> Picture:
        return Picture(
            frame.image.rotated(self._rotation),
            frame.exposed_at,
            wall_time_of(self._clock, frame.exposed_at),
            dict(frame.metadata),
            bool(self.capabilities and self.capabilities.emulated),
        )

    def _fail(self, error: CameraUnavailable | CameraTimeout) -> None:
        """Say so, then let all that wait know, then close: nobody who was told finds it ready, or waits for a close."""
        reason = str(error)
        if self._failure != reason:
            log.warning("camera %s: unavailable: %s", self.name, reason)
        self._failures += 1
        self._retry_at = self._clock.monotonic() + min(RETRY_S[0] * 2 ** (self._failures - 1), RETRY_S[1])
        self._failure = reason
        self._wake()
        self.jobs.fail_all(error)
        self.feed.end()
        self._close()

    def _close(self) -> None:
        self._is_open = False
        self.latest = None
        with self._in_hardware(FRAME_TIMEOUT_S):
            try:
                self._camera.close()
            except Exception:  # noqa: BLE001 — nothing depends on how it goes; the next open says whether it is well
                log.exception("camera %s: fault while closing", self.name)
        give_back()

    def _exposure_s(self, request: StillRequest | None = None) -> float:
        """What is set, by the request or in general; 0 where the camera decides."""
        exposure = {**self._controls, **(request.controls if request else {})}.get("exposure_s", 0.0)
        return exposure if isinstance(exposure, int | float) else 0.0

    @contextlib.contextmanager
    def _in_hardware(self, timeout: float) -> Iterator[float]:
        """While the thread is inside the driver, so that a hang is seen from outside. Gives until when it may be."""
        self._busy_until = deadline = self._clock.monotonic() + timeout
        try:
            yield deadline
        finally:
            self._busy_until = float("inf")
