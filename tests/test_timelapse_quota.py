"""The quota: what time-lapses take counts, who does not fit is refused, who meets it pauses, and none is removed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

import config
from piapi.errors import DoesNotFit
from piapi.models import Photo
from piapi.services.retention import Retention
from piapi.services.timelapses.room import ROOM_TICKS, WANTS_QUOTA
from piapi.storage.photos import PhotoLibrary
from piapi.storage.renders import RenderStore
from piapi.timelapse import Render, RenderRequest, Timelapse, Video
from tests.conftest import assert_problem
from tests.lapse import Bench
from tests.lapse import bench as opened
from tests.library import started

#: With how little room a job of small frames pauses.
LEAST = ROOM_TICKS * 100_000

NOW = datetime(2026, 11, 20, tzinfo=UTC)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with opened(tmp_path / "data") as made:
        yield made


def limit(bench: Bench, quota_bytes: int) -> None:
    """The owner sets a quota, and starts the service anew."""
    bench.quota_bytes = quota_bytes
    bench.crash()


def on_disk(bench: Bench, *patterns: str) -> int:
    return sum(path.stat().st_size for pattern in patterns for path in bench.folder.rglob(pattern))


def causes(bench: Bench, made: Timelapse) -> list[str]:
    return [row.cause or "ok" for row in bench.ledger(made)]


def photo(bench: Bench, id: str, size: int, pinned: bool = False) -> None:
    kept = Photo(0, id, "cam", NOW, 1, 1, size, "jpeg", "0" * 64, None, pinned, {}, True)
    library = PhotoLibrary(bench.database, bench.folder)
    library.add(kept, bytes(size))


@pytest.mark.parametrize("keeps", [True, False])
def test_frames_films_and_renders_count_byte_for_byte(bench: Bench, keeps: bool) -> None:
    assert bench.store.taken_bytes() == 0
    made = bench.start(count=130, video=Video(keep_frames=keeps))
    bench.run(5 * 70)
    assert bench.store.taken_bytes() == on_disk(bench, "*.jpg", "*.segment") > 0
    bench.crash(off_s=3)
    bench.run(5 * 70)
    assert bench.get(made).state == "finished"
    assert bench.store.taken_bytes() == on_disk(bench, "*.jpg", "*.segment")
    renders = RenderStore(bench.database, bench.folder)
    render = Render(0, "a" * 16, made.id, RenderRequest(), "finished", "x", NOW, size_bytes=1234)
    renders.add(render)
    renders.save(render)
    assert bench.store.taken_bytes() == on_disk(bench, "*.jpg", "*.segment") + 1234
    bench.lapses.remove(made.id)
    assert bench.store.taken_bytes() == 0


def test_what_cannot_fit_into_the_quota_is_refused_and_what_is_promised_counts(bench: Bench) -> None:
    limit(bench, 1_000_000)
    with pytest.raises(DoesNotFit) as refused:
        bench.start(count=100_000)
    assert refused.value.estimate.fits is False
    made = bench.start(count=500)
    assert bench.lapses.estimate(bench.camera, made.plan).fits is False  # type: ignore[arg-type]
    bench.lapses.remove(made.id)
    assert bench.lapses.estimate(bench.camera, made.plan).fits is True  # type: ignore[arg-type]


def test_a_job_that_meets_the_quota_pauses_says_why_and_goes_on_when_there_is_room(bench: Bench) -> None:
    old = bench.start(count=40)
    bench.run(250)
    taken = bench.store.taken_bytes()
    limit(bench, LEAST + 2 * taken)
    photo(bench, "b" * 16, taken + 1, pinned=True)
    made = bench.start(count=8)
    assert bench.get(made).state == "paused"
    bench.run(12)
    job = bench.get(made)
    assert (job.state, job.state_reason) == ("paused", WANTS_QUOTA)
    assert causes(bench, made) == ["storage"] * 3
    assert bench.get(old).frames_captured == 40
    bench.lapses.remove(old.id)
    bench.run(40)
    job = bench.get(made)
    assert (job.state, job.state_reason, causes(bench, made)) == ("finished", None, ["storage"] * 3 + ["ok"] * 5)


def test_each_frame_counts_at_once(bench: Bench) -> None:
    size = len(bench.camera.data) * 2  # with its EXIF a frame is larger than what the camera gives
    limit(bench, LEAST + 3 * size)
    made = bench.start(count=20)
    bench.run(100)
    found = causes(bench, made)
    captured = found.count("ok")
    assert 3 <= captured < 20 and found == ["ok"] * captured + ["storage"] * (20 - captured)
    assert bench.store.taken_bytes() <= LEAST + 4 * size


def test_photos_give_way_the_oldest_first_and_time_lapses_never(bench: Bench) -> None:
    made = bench.start(count=10)
    bench.run(60)
    taken = bench.store.taken_bytes()
    for number in range(4):
        photo(bench, f"{number:016x}", 1000, pinned=number == 1)
    library = PhotoLibrary(bench.database, bench.folder)

    def keep(quota_bytes: int) -> set[int]:
        retention = Retention(
            library, bench.events, bench.clock, quota_bytes, 0, lambda: True, bench.store.taken_bytes
        )  # fmt: skip
        retention.keep_quota()
        return {int(kept.id, 16) for kept in library.after(0, 10)}

    assert keep(taken + 4000) == {0, 1, 2, 3}
    assert keep(taken + 3500) == {1, 2, 3}
    assert keep(taken + 2000) == {1, 3}
    assert keep(1) == {1}
    assert bench.get(made).frames_captured == 10 and bench.store.taken_bytes() == taken


def test_a_dry_run_and_a_post_go_by_the_quota(settings: config.Settings) -> None:
    limited = replace(settings, storage=replace(settings.storage, quota_bytes=1_000_000))
    here, wish = "/cameras/demo/timelapses", {"interval_s": 3600, "count": 1000, "width": 640}
    with started(limited) as api:
        assert api.post(f"{here}?dry_run=true", json=wish).get_json()["fits"] is False
        figures = ("frames", "size_bytes", "ends_at", "video_s", "fits")
        assert assert_problem(api.post(here, json=wish), 507, "insufficient-storage", *figures)["fits"] is False
        assert api.post(here, json=wish | {"count": 2}).status_code == 202
