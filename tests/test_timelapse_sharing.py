"""Several time-lapses, a viewer, and people who take stills, on one camera: what can be shared is, and all get theirs.

The camera's owner goes a step at a time here, on the thread of the test, so that it is known who waits when.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from piapi.hardware.base import CameraConfig, Frame, StillRequest, ignore
from piapi.hardware.base import Still as HardwareStill
from piapi.services.cameras import CameraService
from piapi.services.capture_queue import CaptureQueue, Job
from piapi.services.events import Events
from piapi.services.live import Viewer, ViewerPlaces
from piapi.storage.cameras import CameraRows
from piapi.storage.database import Database
from piapi.timelapse import Plan, Timelapse
from tests.fakes import FakeClock, ScriptedCamera
from tests.lapse import Bench, Still, jpeg

TICKS, INTERVAL_S = 12, 5.0
READ_S, CAPTURE_S = 0.02, 0.25


class OneThreadsClock(FakeClock):
    """There is one thread, so nobody notifies it: while it waits, time goes on."""

    def wait(self, condition: threading.Condition, timeout: float | None) -> bool:
        assert timeout is not None, "it would wait for ever"
        self.advance(timeout)
        return False


class Sensor(ScriptedCamera):
    """Remembers what it was asked for. A capture shows one live frame before it."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock)
        self.captured: list[StillRequest] = []
        self._jpeg = jpeg()

    def read(self, deadline: float) -> Frame:
        self.clock.advance(READ_S)
        return Frame(Still(self._jpeg), self.clock.monotonic(), {})

    def capture(
        self, request: StillRequest, deadline: float, on_frame: Callable[[Frame], None] = ignore
    ) -> HardwareStill:
        self.captured.append(request)
        on_frame(self.read(deadline))
        self.clock.advance(CAPTURE_S)
        return HardwareStill(Still(self._jpeg), self.clock.monotonic() - CAPTURE_S, {})


class Stepped(CaptureQueue):
    """Whoever adds a tick has the owner work until it is served."""

    def use(self, step: Callable[[], None]) -> None:
        self._step = step

    def add(self, job: Job, is_bounded: bool = True) -> None:
        super().add(job, is_bounded)
        while not is_bounded and not job.result.done():
            self._step()


class House:
    """One camera, and all who want something of it."""

    def __init__(self, folder: Path) -> None:
        self.clock = OneThreadsClock()
        self.sensor = Sensor(self.clock)
        self.database = Database(folder / "cameras.db")
        self.database.open()
        self.camera = CameraService(
            CameraConfig("cam", "scripted", width=64, height=48), self.sensor, CameraRows(self.database),
            ViewerPlaces(2), self.clock, Events(self.database, self.clock),
        )  # fmt: skip
        self.owner = self.camera.owner
        self.owner.jobs = self.jobs = Stepped(self.owner._changed)
        self.jobs.use(self.owner._step)
        self.owner.configure(0, {})
        self.owner._step()
        self.owner._step()
        self.bench = Bench(folder / "data", self.clock, cam=self.camera)  # type: ignore[arg-type]

    def lapse(self, **wanted: object) -> Timelapse:
        plan = Plan(**{"interval_s": INTERVAL_S, "count": TICKS, **wanted})  # type: ignore[arg-type]
        return self.bench.lapses.create(self.camera, plan)

    def ask(self, **wanted: int) -> Job:
        """Somebody takes a still."""
        now = self.clock.monotonic()
        job = Job(StillRequest(**wanted), now, now + 10)  # type: ignore[arg-type]
        self.jobs.add(job)
        return job

    def begin(self) -> None:
        """The first ticks are due."""
        self.bench.running.run_due()

    def next_tick(self) -> None:
        """Let time go by until ticks are due again, and take them."""
        before = len(self.sensor.captured)
        while len(self.sensor.captured) == before:
            due_us = self.bench.running.run_due()
            assert due_us is not None
            self.clock.advance(max(0.0, due_us / 1e6 - self.clock.monotonic()))
            self.bench.running.run_due()

    def close(self) -> None:
        self.bench.close()
        self.owner.interrupt()
        self.database.close()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    made.close()


def taken(house: House) -> list[StillRequest]:
    """Since this was asked the last time."""
    found, house.sensor.captured = house.sensor.captured, []
    return found


def test_jobs_a_viewer_and_stills_share_what_they_can_and_all_get_theirs(house: House) -> None:
    lapses = {
        "plain": house.lapse(),
        "alike": house.lapse(),
        "worse": house.lapse(quality=50),
        "dark": house.lapse(controls={"gain": 2.0}),
        "small": house.lapse(width=32),
        "slow": house.lapse(interval_s=2 * INTERVAL_S, count=TICKS // 2),
    }
    viewer = house.owner.feed.join(0, 30)
    seen, stills = 0, []
    for tick in range(TICKS):
        stills += [house.ask(width=16), house.ask(width=16), house.ask()]
        (house.next_tick if tick else house.begin)()
        assert sorted(taken(house), key=str) == sorted(
            [StillRequest(16), StillRequest(), StillRequest(controls={"gain": 2.0}), StillRequest(32)], key=str
        )
        shown = viewer.next()
        assert shown is not None and shown.sequence > seen
        seen = shown.sequence
    house.bench.run(INTERVAL_S)
    assert all(still.result.done() and still.result.result().picture for still in stills)
    for name, made in lapses.items():
        rows = house.bench.ledger(made)
        assert len(rows) == made.plan.count and {row.status for row in rows} == {"captured"}, name
        assert max(row.lateness_ms or 0 for row in rows) < 4 * (CAPTURE_S + READ_S) * 1000 + 1, name
        assert house.bench.get(made).state == "finished"
        assert house.bench.film_ticks(made) == list(range(made.plan.count or 0))
    assert shots(house, lapses["plain"]) == shots(house, lapses["alike"])
    assert shots(house, lapses["plain"])[::2] == shots(house, lapses["slow"])
    assert not set(shots(house, lapses["plain"])) & set(shots(house, lapses["dark"]))
    viewer.leave()


def shots(house: House, made: Timelapse) -> list[object]:
    """When each frame was exposed."""
    return [row.captured_at for row in house.bench.ledger(made)]


def test_a_job_whose_exposure_is_its_own_shares_no_picture(house: House) -> None:
    for own in ({"lock_exposure": True}, {"lock_exposure": True}, {}):
        house.lapse(**own)
    house.begin()
    assert len(taken(house)) == 3


def test_a_crowd_that_takes_stills_costs_no_tick(house: House) -> None:
    made = house.lapse()
    for tick in range(TICKS):
        crowd = [house.ask(width=8 + 2 * number) for number in range(16)]
        (house.next_tick if tick else house.begin)()
        assert all(still.result.done() for still in crowd)
    house.bench.run(INTERVAL_S)
    assert {row.status for row in house.bench.ledger(made)} == {"captured"}


def test_viewers_are_shown_frames_between_ticks_and_with_them(house: House) -> None:
    house.lapse(interval_s=0.5, count=200)
    viewers: list[Viewer] = [house.owner.feed.join(0, 30) for _ in range(2)]
    house.begin()
    for _ in range(20):
        for viewer in viewers:
            assert viewer.next() is not None
        house.owner._step()
        for viewer in viewers:
            assert viewer.next() is not None
        house.next_tick()
    assert len(taken(house)) == 21
    for viewer in viewers:
        viewer.leave()
