"""Films with segments that are damaged or lost: made again from the frames, each frame once and in order."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from piapi.errors import StorageFull
from piapi.film import catalogue, encoder, segments
from piapi.film.writer import SEGMENT_FRAMES
from piapi.storage.ledger import Job
from piapi.timelapse import Timelapse, Video
from tests.lapse import Bench
from tests.mishaps import SEGMENT, Fuse, Instant
from tests.slides import assert_shown, assert_whole, slides

SEGMENTS, TICKS = 4, 300
INTERVAL_S = 5.0


@pytest.fixture
def bench(memory: Path) -> Iterator[Bench]:
    made = slides(memory)
    yield made
    made.close()


@pytest.fixture
def fuse(monkeypatch: pytest.MonkeyPatch) -> Fuse:
    return Fuse(monkeypatch, random.Random(11))


def film_of(bench: Bench, made: Timelapse) -> Path:
    return bench.store.film_folder(made.id)


def filmed(bench: Bench, **video: bool) -> Timelapse:
    """A job with some closed segments and an open end."""
    made = bench.start(interval_s=INTERVAL_S, count=TICKS, video=Video(**video))
    bench.run((SEGMENTS + 0.5) * SEGMENT_FRAMES * INTERVAL_S)
    assert len(list(film_of(bench, made).glob("*.segment"))) == SEGMENTS
    return made


def job_of(bench: Bench, made: Timelapse) -> Job:
    job = bench.store.get(made.id)
    assert job is not None
    return job


def rot(path: Path) -> None:
    """One bit of a picture."""
    data = bytearray(path.read_bytes())
    data[-20] ^= 4
    path.write_bytes(data)


def rot_head(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[30] ^= 4
    path.write_bytes(data)


def tear(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def wipe(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def delete(path: Path) -> None:
    path.unlink()


DAMAGES = [rot, rot_head, tear, wipe, delete]


@pytest.mark.parametrize(
    ("ordinals", "has_index"),
    [([0], True), ([2], True), ([SEGMENTS - 1], True), ([0, 1, 3], True), ([0, 1, 3], False), ([0, 1, 2, 3], True)],
    ids=str,
)
@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_damaged_is_made_again_from_the_frames(
    bench: Bench, damage: Callable[[Path], None], ordinals: list[int], has_index: bool
) -> None:
    made = filmed(bench)
    if has_index:
        catalogue.load(film_of(bench, made))[0].save(film_of(bench, made))
    for ordinal in ordinals:
        damage(segments.path_of(film_of(bench, made), ordinal))
    bench.crash()
    bench.run(INTERVAL_S)
    so_far = [row for row in bench.ledger(made) if row.status == "captured"]
    assert bench.film_ticks(made) == [row.index for row in so_far][: SEGMENTS * SEGMENT_FRAMES]
    assert_shown(bench, made, so_far)
    bench.run(TICKS * INTERVAL_S)
    assert_whole(bench, made, TICKS)
    assert not (film_of(bench, made) / "mending").exists()


def test_what_is_whole_is_not_made_again(bench: Bench) -> None:
    made = filmed(bench)
    before = {path: path.stat().st_ino for path in film_of(bench, made).glob("*.segment")}
    delete(segments.path_of(film_of(bench, made), 2))
    bench.crash()
    bench.run(INTERVAL_S)
    after = {path: path.stat().st_ino for path in film_of(bench, made).glob("*.segment")}
    assert {path.name for path in before if before[path] != after[path]} == {"00000002.segment"}


@pytest.mark.parametrize(
    "instant",
    [Instant("sync", SEGMENT), Instant("rename", SEGMENT), Instant("rename", SEGMENT, "after"), Instant("film")],
    ids=str,
)
def test_a_crash_while_it_is_mended_is_mended_too(bench: Bench, instant: Instant, fuse: Fuse) -> None:
    made = filmed(bench)
    for ordinal in (1, 2):
        delete(segments.path_of(film_of(bench, made), ordinal))
    bench.crash()
    with fuse.dies(instant):
        bench.run(INTERVAL_S)
    bench.crash()
    bench.run(TICKS * INTERVAL_S)
    assert_whole(bench, made, TICKS)


def test_a_disk_that_is_full_leaves_the_hole_until_there_is_room(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    made = filmed(bench)
    delete(segments.path_of(film_of(bench, made), 1))
    bench.crash()

    def full(*_: object) -> None:
        raise StorageFull("The disk is full.")

    with monkeypatch.context() as short:
        short.setattr(segments, "write", full)
        bench.run(INTERVAL_S)
        assert not segments.path_of(film_of(bench, made), 1).exists()
    bench.run(TICKS * INTERVAL_S)
    assert_whole(bench, made, TICKS)


def test_a_frame_that_has_gone_is_left_out_and_said(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    made = filmed(bench)
    delete(segments.path_of(film_of(bench, made), 1))
    bench.store.remove_frame(job_of(bench, made), 70)
    bench.crash()
    bench.run(TICKS * INTERVAL_S)
    rows = [row for row in bench.ledger(made) if row.index != 70]
    assert "1 frames after tick 59 cannot be filmed again" in caplog.text
    assert bench.film_ticks(made) == [row.index for row in rows]
    assert_shown(bench, made, rows)


def test_a_damaged_segment_stays_where_its_frames_have_gone(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    made = filmed(bench)
    path = segments.path_of(film_of(bench, made), 1)
    rot(path)
    damaged = path.read_bytes()
    bench.store.remove_frame(job_of(bench, made), 70)
    bench.crash()
    bench.run(TICKS * INTERVAL_S)
    assert "1 frames after tick 59 cannot be filmed again" in caplog.text
    assert path.read_bytes() == damaged
    assert bench.film_ticks(made) == list(range(TICKS))


@pytest.mark.parametrize("damage", [tear, delete])
def test_where_no_frames_are_kept_the_others_stay_and_it_is_said(
    bench: Bench, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    made = filmed(bench, keep_frames=False)
    damage(segments.path_of(film_of(bench, made), 1))
    bench.crash()
    bench.run(TICKS * INTERVAL_S)
    left = [tick for tick in range(TICKS) if not 60 <= tick < 120]
    assert bench.film_ticks(made) == left
    assert bench.lapses.film(made.id).frames == len(left)
    assert "60 frames after tick 59 cannot be filmed again: their files have gone" in caplog.text
    assert [row.status for row in bench.ledger(made)] == ["captured"] * TICKS


def test_a_film_without_frames_is_not_read_for_what_cannot_be_mended(
    bench: Bench,
) -> None:
    made = filmed(bench, keep_frames=False)
    path = segments.path_of(film_of(bench, made), 1)
    rot(path)
    damaged = path.read_bytes()
    bench.crash()
    bench.run(TICKS * INTERVAL_S)
    assert path.read_bytes() == damaged and bench.film_ticks(made) == list(range(TICKS))


@pytest.mark.parametrize("ordinal", [0, 2])
def test_another_encoder_makes_the_film_again_from_there_on(
    bench: Bench, ordinal: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What has other parameter sets cannot stand before segments that count on the film's own."""
    made = filmed(bench)
    delete(segments.path_of(film_of(bench, made), ordinal))
    monkeypatch.setattr(encoder, "_X264", {**encoder._X264, "preset": "ultrafast"})
    bench.crash()
    bench.run(TICKS * INTERVAL_S)
    assert f"its film is made again from tick {ordinal * SEGMENT_FRAMES} on" in caplog.text
    assert_whole(bench, made, TICKS)
