"""The owner's thread: one thread touches the camera, pictures are fresh, failures heal, nobody waits for ever."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event, get_ident

import pytest

from piapi.errors import CameraBusy, CameraTimeout, CameraUnavailable
from piapi.hardware.base import StillRequest
from piapi.services import camera_owner, capture_queue
from piapi.services.camera_owner import LINGER_S, CameraOwner
from piapi.services.live import ViewerPlaces
from tests.fakes import FakeClock, ScriptedCamera


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def camera(clock: FakeClock) -> ScriptedCamera:
    return ScriptedCamera(clock)


@pytest.fixture
def owner(camera: ScriptedCamera, clock: FakeClock) -> Iterator[CameraOwner]:
    owner = CameraOwner("test", camera, ViewerPlaces(2), clock)
    owner.start()
    yield owner
    if camera.block:
        camera.block.set()
    owner.close()
    assert owner._thread is not None and not owner._thread.is_alive()


def test_a_picture_is_exposed_after_it_was_asked_for(owner: CameraOwner, clock: FakeClock) -> None:
    for request in (None, StillRequest()):
        asked = clock.monotonic()
        taken = owner.take(request, 5)
        assert taken.picture.exposed_at > asked
        assert taken.picture.captured_at <= clock.now()


def test_one_thread_alone_touches_the_camera(owner: CameraOwner, camera: ScriptedCamera) -> None:
    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(lambda _: owner.take(StillRequest(), 5), range(8)))
    assert len(taken) == 8
    assert len(camera.threads) == 1 and get_ident() not in camera.threads


def test_equal_wishes_share_one_exposure_and_others_do_not(owner: CameraOwner, camera: ScriptedCamera) -> None:
    owner.take(None, 5)
    camera.block, gate = Event(), camera.block
    assert gate is None
    with ThreadPoolExecutor(6) as pool:
        first = pool.submit(owner.take, StillRequest(width=1), 5)
        wait_until(owner, lambda: "capture" in camera.calls)
        rest = [pool.submit(owner.take, StillRequest(width=2), 5) for _ in range(4)]
        wait_until(owner, lambda: len(owner.jobs) == 5)
        camera.block.set()
        assert first.result(10).picture is not rest[0].result(10).picture
        assert len({id(one.result(10).picture) for one in rest}) == 1
    assert camera.calls.count("capture") == 2


def test_the_exposure_of_a_tick_waits_for_its_moment(
    owner: CameraOwner, camera: ScriptedCamera, clock: FakeClock
) -> None:
    owner.take(None, 5)
    begin_at = clock.monotonic() + 1
    with ThreadPoolExecutor(2) as pool:
        tick = pool.submit(owner.take_tick, StillRequest(), 5, begin_at)
        wait_until(owner, lambda: len(owner.jobs) == 1)
        later = pool.submit(owner.take_tick, StillRequest(), 5, begin_at + 1)
        wait_until(owner, lambda: len(owner.jobs) == 2)
        clock.advance(0.5)
        owner._wake()
        assert not tick.done() and "capture" not in camera.calls
        clock.advance(0.5)
        owner._wake()
        assert begin_at < tick.result(10).picture.exposed_at < begin_at + 1
        assert not later.done(), "one whose moment has not come does not share the exposure"
        clock.advance(1)
        owner._wake()
        assert later.result(10).picture.exposed_at > begin_at + 1


def test_a_tick_that_waits_for_its_moment_does_not_keep_a_stop_waiting(owner: CameraOwner, clock: FakeClock) -> None:
    owner.take(None, 5)
    with ThreadPoolExecutor(1) as pool:
        tick = pool.submit(owner.take_tick, StillRequest(), 5, clock.monotonic() + 1)
        wait_until(owner, lambda: len(owner.jobs) == 1)
        owner.close()
        with pytest.raises(CameraUnavailable):
            tick.result(10)


def test_the_camera_runs_only_while_it_is_needed_and_a_little_longer(
    owner: CameraOwner, camera: ScriptedCamera, clock: FakeClock
) -> None:
    owner.take(None, 5)
    assert camera.calls.count("close") == 0 and owner.latest is not None
    clock.advance(LINGER_S + 1)
    owner._wake()
    wait_until(owner, lambda: "close" in camera.calls)
    assert owner.latest is None and owner.failure is None
    owner.take(None, 5)
    assert camera.calls.count("open") == 2


def test_a_viewer_keeps_it_running_and_is_shown_each_new_frame(owner: CameraOwner) -> None:
    viewer = owner.feed.join(0, 30)
    assert owner.feed.wait_first(viewer, 10)
    frame = viewer.next()
    assert frame is not None and frame.jpeg.startswith(b"jpeg 640")
    viewer.leave()
    viewer.leave()
    assert owner.feed.viewers == 0


def test_controls_are_set_before_the_next_picture(owner: CameraOwner, camera: ScriptedCamera) -> None:
    owner.take(None, 5)
    owner.configure(90, {"gain": 4.0, "gone_since": 1})
    taken = owner.take(None, 5)
    assert camera.controls == {"gain": 4.0}
    assert (taken.picture.image.width, taken.picture.image.height) == (480, 640)


def test_a_camera_that_fails_is_closed_said_so_and_tried_again(
    owner: CameraOwner, camera: ScriptedCamera, clock: FakeClock
) -> None:
    owner.take(None, 5)
    camera.fail_next = CameraUnavailable("the cable is loose")
    with pytest.raises(CameraUnavailable, match="cable"):
        owner.take(StillRequest(), 5)
    assert owner.failure == "the cable is loose"
    with pytest.raises(CameraUnavailable):
        owner.take(StillRequest(), 5)
    wait_until(owner, lambda: camera.calls[-1] == "close")
    camera.fail_next = None
    clock.advance(2)
    owner._wake()
    assert owner.wait_ready(10)
    owner.take(None, 5)


def test_tries_become_rarer_up_to_a_minute(camera: ScriptedCamera, clock: FakeClock) -> None:
    camera.fail_open = CameraUnavailable("absent")
    owner = CameraOwner("test", camera, ViewerPlaces(2), clock)
    waits = []
    for _ in range(9):
        owner._fail(CameraUnavailable("absent"))
        waits.append(owner._retry_at - clock.monotonic())
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_a_fault_in_a_driver_does_not_end_the_thread(
    owner: CameraOwner, camera: ScriptedCamera, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    owner.take(None, 5)
    camera.fail_next = ZeroDivisionError("a bug")
    with pytest.raises(CameraUnavailable):
        owner.take(StillRequest(), 5)
    assert "a bug" in caplog.text
    camera.fail_next = None
    clock.advance(2)
    owner._wake()
    assert owner.wait_ready(10)


def test_a_timeout_reopens_the_camera(owner: CameraOwner, camera: ScriptedCamera) -> None:
    owner.take(None, 5)
    camera.fail_next = CameraTimeout("no frame")
    with pytest.raises(CameraTimeout):
        owner.take(StillRequest(), 5)
    wait_until(owner, lambda: "close" in camera.calls)


def test_a_driver_that_never_returns_is_seen_from_outside(
    owner: CameraOwner, camera: ScriptedCamera, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(camera_owner, "HANG_S", 0.05)
    owner.take(None, 5)
    camera.block = Event()
    with pytest.raises(CameraTimeout):
        owner.take(StillRequest(), 0.05)
    clock.advance(30)
    assert owner.failure is not None and "does not answer" in owner.failure
    with pytest.raises(CameraUnavailable):
        owner.take(None, 5)


def test_time_spent_waiting_behind_others_is_no_fault_of_the_camera(
    owner: CameraOwner, camera: ScriptedCamera, clock: FakeClock
) -> None:
    owner.take(None, 5)
    camera.block = Event()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(owner.take, StillRequest(width=1), 5)
        wait_until(owner, lambda: "capture" in camera.calls)
        second = pool.submit(owner.take, StillRequest(width=2, controls={"exposure_s": 4.0}), 5)
        wait_until(owner, lambda: len(owner.jobs) == 2)
        clock.advance(3)
        camera.block.set()
        assert first.result(10)
        assert isinstance(second.exception(10), CameraTimeout)
    assert owner.failure is None and owner._is_open
    assert owner.take(StillRequest(), 5)


def test_only_so_many_may_wait(owner: CameraOwner, camera: ScriptedCamera) -> None:
    owner.take(None, 5)
    camera.block = Event()
    with ThreadPoolExecutor(20) as pool:
        waiting = [pool.submit(owner.take, StillRequest(), 5) for _ in range(capture_queue.MOST_WAITING)]
        wait_until(owner, lambda: len(owner.jobs) == capture_queue.MOST_WAITING)
        with pytest.raises(CameraBusy):
            owner.take(StillRequest(), 5)
        tick = pool.submit(owner.take_tick, StillRequest(), 5)
        wait_until(owner, lambda: tick.done() or len(owner.jobs) > capture_queue.MOST_WAITING)
        camera.block.set()
        assert all(one.result(10) for one in [*waiting, tick])


def test_pictures_that_wait_fail_when_the_service_stops(camera: ScriptedCamera, clock: FakeClock) -> None:
    owner = CameraOwner("test", camera, ViewerPlaces(2), clock)
    owner.start()
    owner.take(None, 5)
    camera.block = Event()
    viewer = owner.feed.join(0, 30)
    with ThreadPoolExecutor(2) as pool:
        waiting = pool.submit(owner.take, StillRequest(), 5)
        wait_until(owner, lambda: len(owner.jobs) == 1)
        closed = pool.submit(owner.close)
        wait_until(owner, lambda: owner._stopping)
        camera.block.set()
        closed.result(10)
        outcome = waiting.exception(10)
    assert outcome is None or isinstance(outcome, CameraUnavailable)
    assert viewer.ended
    owner.close()


def wait_until(owner: CameraOwner, condition: Callable[[], bool]) -> None:
    """Wait for the owner's thread to bring something about."""
    limit = Event()
    for _ in range(2000):
        if condition():
            return
        limit.wait(0.005)
    raise AssertionError("it did not come about")


def test_a_camera_that_has_work_just_now_is_opened(clock: FakeClock, camera: ScriptedCamera) -> None:
    owner = CameraOwner("front", camera, ViewerPlaces(3), clock)
    owner.start()
    assert owner.wait_ready(5)
    owner._is_open = False  # as after it was idle for a while
    owner.expect(clock.monotonic() - 0.001)
    assert owner._idle_for() == 0.0
    owner.close()
