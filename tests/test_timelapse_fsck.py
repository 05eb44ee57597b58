"""piapi fsck on time-lapses: sound is said of what is sound, running or ended, and each fault is a line."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import config
from piapi.clock import SystemClock
from piapi.film import segments
from piapi.services.inspection import Inspection
from piapi.storage.renders import RenderStore
from piapi.timelapse import Render, RenderRequest, Timelapse, Video, Window
from tests.fakes import FakeClock
from tests.lapse import Bench
from tests.lapse import bench as opened
from tests.library import piapi, started
from tests.service import eventually
from tests.test_timelapses_api import get, start


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with opened(tmp_path / "data") as made:
        yield made


def faults(bench: Bench, fast: bool = False, meanwhile: Callable[[], object] = lambda: None) -> list[str]:
    """What is found while `meanwhile` happens between two looks."""
    inspection = Inspection(bench.database, bench.folder, SystemClock(), lambda _: meanwhile())
    return list(inspection.faults(fast))


def fault(bench: Bench, made: Timelapse, fast: bool = False) -> str:
    """The only one there is."""
    (line,) = faults(bench, fast)
    head = f"time-lapse {made.id}: "
    assert line.startswith(head)
    return line.removeprefix(head)


def finished(bench: Bench, count: int = 130, **wanted: object) -> Timelapse:
    made = bench.start(count=count, **wanted)
    bench.run(5.0 * count)
    assert bench.get(made).state == "finished"
    return made


def change(bench: Bench, sql: str, *values: object) -> None:
    with bench.database.write() as connection:
        assert connection.execute(sql, values).rowcount == 1


def damage(path: Path, at: int = -100) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 0xFF
    path.write_bytes(bytes(data))


def rendered(bench: Bench, made: Timelapse, state: str = "finished", id: str = "a" * 16) -> Path:
    renders, now = RenderStore(bench.database, bench.folder), bench.clock.now()
    render = Render(0, id, made.id, RenderRequest(), "queued", "x", now)
    renders.add(render)
    path = renders.path(render)
    path.write_bytes(b"film" * 100)
    ended = Render(
        0, id, made.id, RenderRequest(), state, "x", now, ended_at=now, size_bytes=400,  # type: ignore[arg-type]
        sha256=hashlib.sha256(b"film" * 100).hexdigest(),
    )  # fmt: skip
    renders.save(ended)
    return path


# Sound ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keeps", [True, False])
def test_at_each_moment_of_its_life_it_is_sound(bench: Bench, keeps: bool) -> None:
    made = bench.start(count=140, video=Video(keep_frames=keeps))
    assert faults(bench) == []
    for step in range(12):
        bench.run(58)
        if step % 3 == 0:
            bench.crash(off_s=7, reboot=step % 2 == 0)
        assert faults(bench) == faults(bench, fast=True) == []
    bench.run(100)
    assert bench.get(made).state == "finished"
    rendered(bench, made)
    assert faults(bench) == []


def test_pauses_windows_cancels_and_full_disks_are_no_faults(bench: Bench) -> None:
    paused, day = bench.start(count=40), bench.start(count=40, window=Window("00:00", "12:00"))
    cancelled, short = bench.start(duration_s=4000), bench.start(interval_s=7, count=50)
    for _ in range(3):
        bench.run(21)
        bench.lapses.change(paused.id, {"state": "paused"})
        bench.disk.free = 0
        bench.run(23)
        assert faults(bench) == []
        bench.lapses.change(paused.id, {"state": "running"})
        bench.disk.free = 10**12
        assert faults(bench) == []
    bench.lapses.change(cancelled.id, {"state": "cancelled"})
    bench.crash(off_s=3600, reboot=True)
    bench.run(86_400)
    assert {bench.get(made).state for made in (paused, day, short)} == {"finished"}
    assert faults(bench) == []


def test_what_is_looked_at_is_counted(settings: config.Settings) -> None:
    with started(settings) as api:
        made = start(api, interval_s=0.1, count=3, width=64)
        eventually(lambda: get(api, made)["state"] == "finished")
        done = piapi(settings.storage.path, "fsck")
    assert (done.exit_code, done.stdout) == (0, ""), done.output
    captured = get_captured(settings, made["id"])
    assert f"{captured} frames of 1 time-lapses, no faults" in done.stderr


def get_captured(settings: config.Settings, id: str) -> int:
    return len(list((settings.storage.path / "timelapses" / id).rglob("*.jpg")))


# Faults ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("harm", "said", "is_hash"),
    [
        (damage, "frame 3: its file is not what was written: another hash", True),
        (lambda path: path.write_bytes(b"short"), r"frame 3: its file has 5 bytes instead of \d+", False),
        (Path.unlink, "frame 3: its file has gone", False),
        (lambda path: path.with_name("000000999.jpg").write_bytes(b"x"), "frames/000000/000000999.jpg: has no", False),
    ],
    ids=["hash", "size", "gone", "stray"],
)
def test_a_frame_is_what_its_row_says(bench: Bench, harm: Callable[[Path], object], said: str, is_hash: bool) -> None:
    made = finished(bench, 10)
    harm(bench.store.place(made.id, 3))
    assert re.match(said, fault(bench, made))
    if is_hash:
        assert faults(bench, fast=True) == []
    else:
        assert re.match(said, fault(bench, made, fast=True))


def segment(bench: Bench, made: Timelapse, ordinal: int) -> Path:
    return segments.path_of(bench.store.film_folder(made.id), ordinal)


def test_a_damaged_segment_is_found_and_so_is_what_the_film_lacks(bench: Bench) -> None:
    made = finished(bench)
    damage(segment(bench, made, 1))
    assert faults(bench, fast=True) == []
    damaged, lacks = faults(bench)
    assert damaged.endswith("film/00000001.segment: its samples are damaged")
    assert lacks.endswith("the captured frames 60 to 119 are not in the film")
    segment(bench, made, 1).unlink()
    assert fault(bench, made, fast=True) == "the captured frames 60 to 119 are not in the film"


def test_a_film_that_ends_too_early_is_found(bench: Bench) -> None:
    made = finished(bench)
    segment(bench, made, 2).unlink()
    assert fault(bench, made) == "the captured frames 120 to 129 are not in the film"


def test_frames_that_are_in_the_film_twice_are_found(bench: Bench) -> None:
    made = finished(bench, 70)
    segment(bench, made, 1).write_bytes(segment(bench, made, 0).read_bytes())
    found = faults(bench)
    assert len(found) == 61
    assert "the frame of tick 0 is in the film again, or out of order" in found[0]
    assert "the captured frames 60 to 69 are not in the film" in found[-1]


def test_a_film_of_frames_that_the_ledger_lacks_is_found(bench: Bench) -> None:
    made = finished(bench, 10)
    change(bench, "DELETE FROM frames WHERE tick = 4")
    found = [line.partition(": ")[2] for line in faults(bench)]
    assert "its figures are not those of its ledger" in found
    assert "1 ticks are neither captured nor missed" in found
    assert "film/00000000.segment: has a frame of tick 4, which was not captured" in found
    assert any(line.startswith("frames/000000/000000004.jpg: has no row") for line in found)
    assert made.id in faults(bench)[0]


def test_a_frame_of_which_nothing_is_left_is_found_while_the_job_runs(bench: Bench) -> None:
    made = bench.start(count=100)
    bench.run(50)
    bench.store.place(made.id, 5).unlink()
    change(bench, "UPDATE frames SET has_file = 0 WHERE tick = 5")
    assert fault(bench, made) == "frame 5 is not in the film"


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (["UPDATE misses SET first = first - 1, last = last - 1"], "tick 2 is in its ledger twice"),
        (["UPDATE misses SET last = last + 1"], "its figures are not those of its ledger"),
        (["UPDATE timelapses SET kept_bytes = kept_bytes + 1"], "its figures are not those of its ledger"),
        (["DELETE FROM misses", "UPDATE timelapses SET missed = 0"], "2 ticks are neither captured nor missed"),
        (["DELETE FROM misses", "UPDATE timelapses SET missed = 0"], "8 of 10 ticks are in its ledger"),
    ],
)
def test_each_tick_is_captured_or_missed_and_once(bench: Bench, harm: list[str], said: str) -> None:
    made = bench.start(count=10)
    bench.run(11)
    bench.crash(off_s=10)
    bench.run(60)
    assert [row.cause for row in bench.ledger(made)].count("power") == 2 and faults(bench) == []
    for sql in harm:
        change(bench, sql)
    assert any(line.endswith(said) for line in faults(bench)), faults(bench)


def test_renders_are_what_their_rows_say(bench: Bench) -> None:
    made = finished(bench, 5)
    path = rendered(bench, made)
    damage(path)
    assert fault(bench, made) == f"render {'a' * 16}: its file is not what was written: another hash"
    assert faults(bench, fast=True) == []
    path.unlink()
    assert "its file has gone" in fault(bench, made)
    change(bench, "UPDATE renders SET state = 'running'")
    assert faults(bench) == []
    path.write_bytes(b"half")
    assert faults(bench) == []
    change(bench, "UPDATE renders SET state = 'failed'")
    assert fault(bench, made) == f"renders/{path.name}: belongs to no render; move it away"
    change(bench, "UPDATE renders SET timelapse = 'none'")
    assert any("belongs to no time-lapse that is there" in line for line in faults(bench))


# Left over ------------------------------------------------------------------------------------------------------------


def aged(bench: Bench) -> list[str]:
    """What is found a while later."""
    later = FakeClock()
    later.jump(SystemClock().now().timestamp() - later.now().timestamp() + 61)
    return list(Inspection(bench.database, bench.folder, later, lambda _: None).faults())


def test_a_start_clears_away_what_is_left_over_and_fsck_agrees(bench: Bench) -> None:
    made = finished(bench, 5)
    folder = bench.store.folder(made.id)
    left = [
        folder / "film" / "00000009.segment.part", folder / "renders" / "abc.mp4.part",
        folder.with_name("0123456789abcdef.removed") / "frames" / "x.jpg",
        folder.with_name("0123456789abcdef.restoring") / "frames" / "x.jpg",
    ]  # fmt: skip
    for path in left:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half")
    assert faults(bench) == [], "it may be in the making"
    assert ["left over" in line for line in aged(bench)] == [True] * 4
    bench.crash()
    assert aged(bench) == [] and not any(path.exists() for path in left)


def test_a_render_in_the_making_is_not_left_over(bench: Bench) -> None:
    made = finished(bench, 5)
    part = rendered(bench, made, "running").with_suffix(".mp4.part")
    part.write_bytes(b"half")
    assert aged(bench) == []


def test_the_folder_of_a_time_lapse_that_the_database_does_not_know_is_set_aside(bench: Bench) -> None:
    kept, gone = finished(bench, 5), finished(bench, 5)
    frame = bench.store.place(gone.id, 2).read_bytes()
    for table in ("frames", "misses"):
        with bench.database.write() as connection:
            connection.execute(f"DELETE FROM {table} WHERE timelapse = 2")
    change(bench, "DELETE FROM timelapses WHERE id = ?", gone.id)
    assert faults(bench) == [f"timelapses/{gone.id}: has no row; the next start sets it aside"]
    bench.crash()
    assert faults(bench) == []
    aside = bench.folder / "set-aside" / gone.id / "frames" / "000000" / "000000002.jpg"
    assert aside.read_bytes() == frame
    assert bench.get(kept).frames_captured == 5


def test_frames_whose_rows_say_that_they_went_go_at_the_next_start(bench: Bench) -> None:
    made = bench.start(count=100, video=Video(keep_frames=False))
    bench.run(400)
    stray = bench.store.place(made.id, 7)
    assert not stray.exists()
    stray.write_bytes(b"cut off before it went")
    assert "000000007.jpg: has no row" in fault(bench, made)
    bench.crash()
    assert faults(bench) == [] and not stray.exists()


def test_mend_accepts_frames_that_have_gone(bench: Bench) -> None:
    made = finished(bench, 70)
    bench.store.place(made.id, 3).unlink()
    assert "frame 3: its file has gone" in fault(bench, made)
    taken = bench.store.taken_bytes()
    done = piapi(bench.folder, "fsck", "--mend")
    assert (done.exit_code, done.stdout) == (0, ""), done.output
    assert bench.store.taken_bytes() < taken
    assert [row.index for row in bench.ledger(made) if not row.has_file] == [3]


# Beside a running service ---------------------------------------------------------------------------------------------


def test_a_frame_whose_row_comes_a_moment_later_is_no_fault(bench: Bench) -> None:
    made = bench.start(count=100)
    bench.run(50)
    row = bench.ledger(made)[-1]
    place = bench.store.place(made.id, row.index + 1)
    place.write_bytes(b"jpeg")
    assert re.search(r"has no row; the next start adopts it", fault(bench, made))

    def take() -> None:
        place.unlink(missing_ok=True)
        bench.run(5)

    assert faults(bench, meanwhile=take) == []


def test_what_is_removed_meanwhile_is_no_fault(bench: Bench) -> None:
    made = finished(bench, 130)
    inspection = Inspection(bench.database, bench.folder, SystemClock(), lambda _: None)
    (bench.store.place(made.id, 0)).unlink()
    found = inspection.faults()
    bench.lapses.remove(made.id)
    assert list(found) == []


def test_beside_a_service_that_captures_films_and_removes_nothing_is_found(settings: config.Settings) -> None:
    with started(settings) as api:
        first = start(api, interval_s=0.1, count=400, width=64, video={"keep_frames": False})
        second = start(api, interval_s=0.1, count=400, width=64)
        for round in range(8):
            done = piapi(settings.storage.path, "fsck")
            assert (done.exit_code, done.stdout) == (0, ""), done.output
            made = start(api, interval_s=0.1, count=100, width=64)
            if round == 4:
                api.delete(second["links"]["self"])
            api.delete(made["links"]["self"])
        eventually(lambda: get(api, first)["frames_due"] > 70)
        assert piapi(settings.storage.path, "fsck").exit_code == 0
