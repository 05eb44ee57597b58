"""Jobs on their grid: what is due, what is missed and why, what a crash, a pause and a full disk leave."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from piapi.errors import CameraUnavailable, Conflict, DoesNotFit, Invalid, NoFilm, StorageFull
from piapi.film.flicker import flicker_score
from piapi.models import EventFilter
from piapi.services.timelapses.room import FIRST_FRAME_BYTES
from piapi.storage import timelapses
from piapi.storage.timelapse_rows import missed_row
from piapi.timelapse import Film, Plan, Timelapse, Video, Window
from tests.lapse import Bench, TickCamera
from tests.lapse import bench as opened


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with opened(tmp_path / "data") as made:
        yield made


def statuses(bench: Bench, made) -> list[str]:
    return [row.cause or "ok" for row in bench.ledger(made)]


def test_every_tick_is_captured_and_the_job_ends_with_its_film(bench: Bench) -> None:
    made = bench.start(count=4)
    bench.run(16)
    job = bench.get(made)
    assert (job.state, job.frames_captured, job.frames_missed, job.frames_total) == ("finished", 4, 0, 4)
    rows = bench.ledger(made)
    assert [row.index for row in rows] == [0, 1, 2, 3]
    assert [row.due_at - rows[0].due_at for row in rows] == [timedelta(seconds=5 * n) for n in range(4)]
    assert bench.lapses.film(made.id).frames == 4
    assert bench.film_ticks(made) == [0, 1, 2, 3]


def test_ticks_do_not_drift_however_long_a_picture_takes(bench: Bench) -> None:
    bench.camera.takes_s = 0.9
    made = bench.start(interval_s=1.0, count=50)
    bench.run(60)
    assert statuses(bench, made) == ["ok"] * 50
    rows = bench.ledger(made)
    assert rows[-1].due_at - rows[0].due_at == timedelta(seconds=49)


@pytest.mark.parametrize("takes_s", [0.01, 0.995])
def test_every_picture_begins_at_its_moment_and_not_before(bench: Bench, takes_s: float) -> None:
    bench.camera.takes_s = takes_s  # the longer one ends when the next tick could have been handed out already
    made = bench.start(interval_s=1.0, count=20)
    began = bench.get(made).started_at
    bench.run(30)
    rows = bench.ledger(made)
    assert began is not None
    ends = [(row.captured_at - began).total_seconds() for row in rows if row.captured_at]
    assert [round(end_s - takes_s, 3) for end_s in ends] == list(range(20))
    assert {row.lateness_ms for row in rows} == {0.0}


def test_a_picture_that_takes_longer_than_the_interval_costs_ticks_and_delays_none(bench: Bench) -> None:
    bench.camera.takes_s = 2.5
    made = bench.start(interval_s=1.0, count=9)
    bench.run(20)
    assert statuses(bench, made) == ["ok", "overrun", "overrun"] * 3
    assert bench.get(made).state == "finished"


def missed(bench: Bench) -> list[dict[str, Any]]:
    """What the journal has of misses."""
    return [entry.data for entry in bench.events.rows.page(EventFilter("timelapse.missed"), 200, None, None)[::-1]]


def test_the_journal_sums_misses_up_by_the_minute_and_leaves_none_out(bench: Bench) -> None:
    made = bench.start(count=100)
    bench.camera.fails = CameraUnavailable("unplugged")
    bench.run(100)
    assert [told["count"] for told in missed(bench)] == [1, 12]
    bench.crash()
    bench.run(100)
    bench.camera.fails = None
    bench.run(300)
    assert bench.get(made).state == "finished"
    told = missed(bench)
    assert sum(each["count"] for each in told) == bench.get(made).frames_missed == 40
    assert all(sum(each["causes"].values()) == each["count"] for each in told)
    assert all(before["last"] < after["first"] for before, after in itertools.pairwise(told))
    assert {cause for each in told for cause in each["causes"]} == {"camera", "power"}


def test_misses_of_the_last_minute_are_told_at_the_end(bench: Bench) -> None:
    made = bench.start(count=6)
    bench.camera.fails = CameraUnavailable("unplugged")
    bench.run(60)
    assert bench.get(made).state == "finished"
    assert [told["count"] for told in missed(bench)] == [1, 4]


def test_what_the_journal_could_not_take_is_told_later(bench: Bench) -> None:
    made = bench.start(count=6)
    bench.camera.fails = CameraUnavailable("unplugged")
    save = bench.store.save

    def refuse(*_: Any, **__: Any) -> None:
        raise StorageFull("full")

    bench.store.save = refuse  # type: ignore[method-assign]
    bench.run(10)
    bench.store.save = save  # type: ignore[method-assign]
    bench.run(50)
    assert bench.get(made).frames_missed == 5
    assert sum(told["count"] for told in missed(bench)) == 5


def test_how_large_the_film_is_is_known_over_a_restart_and_by_a_list(bench: Bench) -> None:
    made = bench.start(count=70)
    assert bench.get(made).film is not None
    bench.run(400)
    film = bench.lapses.film(made.id)
    wanted = Film(70, 70 / 30, film.size_bytes)
    assert bench.get(made).film == wanted
    bench.crash()
    for path in bench.store.film_folder(made.id).iterdir():
        path.unlink()  # nobody reads it for that
    assert [job.film for job in bench.lapses.page(None, 5, None)] == [bench.get(made).film] == [wanted]


def test_flicker_is_that_of_all_frames_over_a_restart(bench: Bench) -> None:
    made = bench.start(count=40)
    assert bench.get(made).flicker == 0
    levels = [0.2, 0.4]
    bench.measure = lambda jpeg: levels[bench.camera.taken % 2]
    bench.run(100)
    bench.crash()
    bench.run(100)
    rows = bench.ledger(made)
    assert bench.get(made).flicker == pytest.approx(flicker_score(row.luminance for row in rows), abs=1e-6)
    assert bench.get(made).flicker > 0.3


def test_a_camera_that_fails_costs_its_ticks_and_no_other(bench: Bench) -> None:
    made = bench.start(count=6)
    bench.camera.fails = CameraUnavailable("unplugged")
    bench.run(10)
    bench.camera.fails = None
    bench.run(20)
    assert statuses(bench, made) == ["ok", "camera", "camera", "ok", "ok", "ok"]


def test_one_fault_does_not_end_the_series(bench: Bench) -> None:
    made = bench.start(count=3)
    bench.camera.fails = ZeroDivisionError("a bug in a driver")
    bench.run(5)
    bench.camera.fails = None
    bench.run(10)
    assert statuses(bench, made) == ["ok", "camera", "ok"]


def test_what_was_due_while_it_was_off_is_missed_by_power_and_the_grid_goes_on(bench: Bench) -> None:
    made = bench.start(count=10)
    bench.run(7)  # ticks 0 and 1
    bench.crash(off_s=11)  # at 18 s: 2 and 3 were due
    bench.run(40)
    assert statuses(bench, made) == ["ok", "ok", "power", "power"] + ["ok"] * 6
    rows = bench.ledger(made)
    assert rows[-1].due_at - rows[0].due_at == timedelta(seconds=45)
    assert bench.film_ticks(made) == [0, 1, 4, 5, 6, 7, 8, 9]


def test_it_goes_on_by_the_wall_clock_after_a_reboot(bench: Bench) -> None:
    made = bench.start(count=10)
    bench.run(7)
    bench.clock._monotonic = 3.0  # the machine has just started
    bench.crash(off_s=11, reboot=True)
    bench.run(40)
    assert statuses(bench, made) == ["ok", "ok", "power", "power"] + ["ok"] * 6
    assert bench.ledger(made)[4].due_at - bench.ledger(made)[0].due_at == timedelta(seconds=20)


def test_ticks_before_the_first_frame_after_a_restart_are_lost_to_power(bench: Bench) -> None:
    made = bench.start(count=6)
    bench.camera.fails = CameraUnavailable("is being opened")
    bench.crash()
    bench.run(11)
    bench.camera.fails = None
    bench.run(20)
    assert statuses(bench, made) == ["ok", "power", "power", "ok", "ok", "ok"]


@pytest.mark.parametrize("limit", [1, 7, 200])
def test_a_page_of_the_ledger_makes_no_more_misses_than_it_has_rows(
    bench: Bench, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = bench.start(count=300)
    for off_s in (0, 25, 300, 5, 60) * 3:
        bench.run(12)
        bench.crash(off_s)
    bench.run(1500)
    whole = bench.ledger(made)
    assert [row.index for row in whole] == list(range(300))
    assert 100 < statuses(bench, made).count("power") < 250
    missed: list[int] = []
    monkeypatch.setattr(
        timelapses, "missed_row", lambda job, miss, tick: missed.append(tick) or missed_row(job, miss, tick)
    )
    for before in range(1, 301):
        missed.clear()
        assert bench.lapses.rows(made.id, limit, before) == whole[max(0, before - limit) : before][::-1]
        assert len(missed) <= limit


def test_a_frame_whose_row_was_lost_is_in_the_ledger_again(bench: Bench) -> None:
    made = bench.start(count=5)
    bench.run(6)
    job = bench.store.get(made.id)
    assert job is not None
    bench.store.write_frame(job, 2, bench.camera.data)  # killed before its row
    bench.crash(off_s=6)
    bench.run(20)
    assert statuses(bench, made) == ["ok"] * 5
    assert bench.film_ticks(made) == [0, 1, 2, 3, 4]


def test_a_job_whose_time_went_by_while_it_was_off_has_ended(bench: Bench) -> None:
    made = bench.start(count=5)
    bench.crash(off_s=3600)
    bench.run(1)
    assert bench.get(made).state == "finished"
    assert statuses(bench, made) == ["ok"] + ["power"] * 4
    assert bench.lapses.film(made.id).frames == 1


def test_a_pause_of_its_owner_is_no_miss(bench: Bench) -> None:
    made = bench.start(count=5)
    bench.lapses.change(made.id, {"state": "paused"}, by="token:me")
    bench.run(12)
    assert bench.get(made).state == "paused"
    assert bench.get(made).next_frame_at is None
    bench.crash(off_s=5)
    bench.run(5)
    assert bench.get(made).state == "paused"
    bench.lapses.change(made.id, {"state": "running"}, by="token:me")
    bench.run(60)
    rows = bench.ledger(made)
    assert [row.index for row in rows] == [0, 5, 6, 7, 8]
    assert all(row.status == "captured" for row in rows)
    assert bench.get(made).state == "finished"


def test_without_space_it_pauses_says_why_and_goes_on_by_itself(bench: Bench) -> None:
    made = bench.start(count=8)
    bench.disk.free = 0
    bench.run(12)
    job = bench.get(made)
    assert job.state == "paused"
    assert "full" in (job.state_reason or "")
    bench.crash(off_s=5)
    bench.run(3)
    bench.disk.free = 10**12
    bench.run(60)
    assert bench.get(made).state == "finished"
    assert statuses(bench, made) == ["ok", "storage", "storage", "power", "storage", "ok", "ok", "ok"] or statuses(
        bench, made
    )[:3] == ["ok", "storage", "storage"]


def test_a_window_captures_inside_only_and_says_so_outside(bench: Bench) -> None:
    made = bench.start(interval_s=600, count=20, window=Window("12:00", "13:00"))  # it is 12:00
    bench.run(3600)
    job = bench.get(made)
    assert job.state == "waiting"
    assert "window" in (job.state_reason or "")
    assert job.frames_captured == 6
    bench.run(4 * 86400)
    assert bench.get(made).state == "finished"
    assert {row.due_at.hour for row in bench.ledger(made)} == {12}
    assert statuses(bench, made) == ["ok"] * 20


def test_off_over_several_windows_only_what_was_due_is_missed(bench: Bench) -> None:
    made = bench.start(interval_s=600, count=30, window=Window("12:00", "13:00"))
    bench.run(1200)
    bench.crash(off_s=2 * 86400, reboot=True)
    bench.run(5 * 86400)
    causes = statuses(bench, made)
    assert len(causes) == 30
    assert causes.count("power") == 12  # three of the first day, six of the second, three of the third
    assert {row.due_at.hour for row in bench.ledger(made)} == {12}


def test_a_job_with_a_calendar_waits_for_a_clock_that_is_right(bench: Bench) -> None:
    bench.is_believed = False
    made = bench.start(count=3, window=Window("00:00", "24:00"))
    bench.run(20)
    job = bench.get(made)
    assert (job.state, job.frames_captured) == ("waiting", 0)
    assert "clock" in (job.state_reason or "")
    bench.is_believed = True
    bench.clock.jump(3600)
    bench.run(20)
    assert bench.get(made).state == "finished"


def test_an_end_by_a_clock_that_is_wrong_is_reckoned_once_it_is_right(bench: Bench) -> None:
    bench.is_believed, bench.disk.free = False, 1_000_000
    until = bench.clock.now() + timedelta(seconds=90)
    bench.clock.jump(-365 * 86400)
    made = bench.start(until=until)
    bench.run(20)
    job = bench.get(made)
    assert (job.state, job.frames_total, job.ends_at) == ("waiting", None, None)
    bench.start(count=10)  # no space was promised for the ticks of a year
    bench.is_believed = True
    bench.clock.jump(365 * 86400)
    bench.run(10)
    assert 10 <= (bench.get(made).frames_total or 0) <= 15
    bench.run(80)
    assert bench.get(made).state == "finished"
    assert bench.clock.now() >= until


def test_a_job_whose_start_is_known_keeps_its_promise_while_the_clock_is_in_doubt(bench: Bench) -> None:
    made = bench.start(until=bench.clock.now() + timedelta(seconds=90))
    bench.run(10)
    total = bench.get(made).frames_total
    bench.is_believed, bench.disk.free = False, 1_000_000
    assert bench.lapses.change(made.id, {"name": "tomatoes"}).frames_total == total
    with pytest.raises(DoesNotFit):
        bench.lapses.change(made.id, {"until": bench.clock.now() + timedelta(days=3650)})


def test_an_end_that_is_set_by_a_clock_that_is_wrong_is_reckoned_once_it_is_right(bench: Bench) -> None:
    bench.is_believed, bench.disk.free = False, 1_000_000
    until = bench.clock.now() + timedelta(seconds=90)
    bench.clock.jump(-365 * 86400)
    made = bench.start(count=10)
    assert bench.lapses.change(made.id, {"until": until}).frames_total is None
    bench.is_believed = True
    bench.clock.jump(365 * 86400)
    bench.run(10)
    assert bench.get(made).frames_total == 18
    bench.run(90)
    assert bench.get(made).state == "finished"


def test_an_end_reckoned_by_a_clock_that_is_set_just_then_is_reckoned_again(bench: Bench) -> None:
    """Whether the clock is right is asked before it is looked at: what comes in between is found later."""
    answers = iter([False])
    bench.running.is_clock_believed = lambda: next(answers, True)
    made = bench.lapses.create(bench.camera, Plan(interval_s=5.0, until=bench.clock.now() + timedelta(seconds=90)))  # type: ignore[arg-type]
    assert bench.get(made).frames_total is None
    bench.run(10)
    assert bench.get(made).frames_total == 18


def one_that_turns_out_to_be_too_long(bench: Bench) -> Timelapse:
    """The clock is wrong when it is asked for, and is set while it waits; there are 10 MB."""
    bench.is_believed, bench.disk.free = False, 10_000_000
    until = bench.clock.now() + timedelta(days=30)
    bench.clock.jump(-365 * 86400)
    made = bench.start(until=until)
    bench.is_believed = True
    bench.clock.jump(365 * 86400)
    bench.run(12)
    return bench.get(made)


def test_one_that_turns_out_to_be_too_long_captures_while_there_is_room_and_says_so(bench: Bench) -> None:
    job = one_that_turns_out_to_be_too_long(bench)
    assert (job.state, job.frames_total) == ("running", 30 * 86400 // 5)
    assert "room" in (job.state_reason or "")
    bench.crash()
    bench.run(10)
    again = bench.get(job)
    assert (again.state_reason, again.frames_captured) == (job.state_reason, job.frames_captured + 2)


def test_one_that_turns_out_to_be_too_long_takes_nothing_that_is_promised_to_others(bench: Bench) -> None:
    job = one_that_turns_out_to_be_too_long(bench)
    other = bench.start(count=400)  # not refused for the sake of a year that does not fit
    bench.disk.free = bench.running.promises.promised_bytes() + 100_000
    bench.run(12)
    waits = bench.get(job)
    assert (waits.state, bench.get(other).state) == ("paused", "running")
    assert "promised" in (waits.state_reason or "")
    bench.disk.free = 10_000_000
    bench.run(12)
    assert bench.get(job).state == "running"
    assert {row.cause for row in bench.ledger(job) if row.status == "missed"} == {"storage"}


def test_one_for_which_there_is_room_later_has_its_promise(bench: Bench) -> None:
    job = one_that_turns_out_to_be_too_long(bench)
    bench.disk.free = 10**12
    bench.run(12)
    assert bench.get(job).state_reason is None
    bench.disk.free = 10_000_000
    with pytest.raises(DoesNotFit):
        bench.start(count=400)


def test_one_that_waits_for_others_does_not_come_and_go_with_each_of_their_frames(bench: Bench) -> None:
    job = one_that_turns_out_to_be_too_long(bench)
    bench.start(count=400)
    states = []
    for ticks in (1, 3, 1, 3, 25):
        bench.disk.free = bench.running.promises.promised_bytes() + ticks * FIRST_FRAME_BYTES
        bench.run(10)
        states.append(bench.get(job).state)
    assert states == ["paused", "paused", "paused", "paused", "running"]


def test_one_that_is_too_long_is_made_shorter_and_has_its_space_again(bench: Bench) -> None:
    job = one_that_turns_out_to_be_too_long(bench)
    with pytest.raises(DoesNotFit):
        bench.lapses.change(job.id, {"until": bench.clock.now() + timedelta(days=31)})
    bench.lapses.change(job.id, {"until": bench.clock.now() + timedelta(days=29)})
    bench.run(6)
    assert bench.get(job).state_reason is not None
    bench.lapses.change(job.id, {"count": 100})
    bench.run(6)
    assert bench.get(job).state_reason is None
    assert bench.running.promises.promised_bytes() > 0


def test_a_change_that_cannot_be_kept_leaves_promise_and_end(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    job = one_that_turns_out_to_be_too_long(bench)
    active = bench.running.get(job.id)
    assert active is not None

    def fail(by: str) -> None:
        raise StorageFull("full")

    monkeypatch.setattr(active, "changed", fail)
    with pytest.raises(StorageFull):
        bench.lapses.change(job.id, {"count": 100})
    after = bench.get(job)
    assert (after.plan, after.frames_total) == (job.plan, job.frames_total)
    assert active.job.is_unpromised


def test_within_one_boot_a_restart_waits_for_no_clock(bench: Bench) -> None:
    made = bench.start(count=5, window=Window("00:00", "24:00"))
    bench.is_believed = False
    bench.crash()
    bench.run(25)
    assert bench.get(made).state == "finished"


def test_a_clock_that_jumps_moves_no_tick(bench: Bench) -> None:
    made = bench.start(count=6)
    bench.run(6)
    bench.clock.jump(365 * 86400)
    bench.run(10)
    bench.clock.jump(-400 * 86400)
    bench.run(30)
    assert statuses(bench, made) == ["ok"] * 6
    assert bench.film_ticks(made) == list(range(6))


def test_a_plain_job_goes_on_after_a_reboot_though_nobody_knows_the_time(bench: Bench) -> None:
    bench.is_believed = False
    made = bench.start(count=5)
    bench.run(6)
    bench.clock._monotonic = 2.0
    bench.clock.jump(-3600)
    bench.crash(off_s=30, reboot=True)
    bench.run(30)
    assert bench.get(made).state == "finished"
    assert len(bench.ledger(made)) == 5


def test_once_the_clock_is_right_the_time_without_power_is_in_the_ledger(bench: Bench) -> None:
    made = bench.start(count=100)
    bench.run(6)
    bench.is_believed = False
    bench.clock._monotonic = 2.0
    bench.clock.jump(-100)  # as fake-hwclock does: it goes on from where it was
    bench.crash(off_s=100, reboot=True)
    bench.run(9)
    bench.is_believed = True
    bench.clock.jump(100)
    bench.run(10)
    causes = statuses(bench, made)
    assert causes.count("power") >= 19
    rows = bench.ledger(made)
    assert rows[-1].due_at - rows[0].due_at == timedelta(seconds=5 * rows[-1].index)


def test_jobs_that_coincide_share_a_picture(bench: Bench) -> None:
    one, other = bench.lapses.create(bench.camera, _plan(4)), bench.lapses.create(bench.camera, _plan(4))  # type: ignore[arg-type]
    bench.run(30)
    assert bench.camera.taken <= 5
    assert statuses(bench, one) == statuses(bench, other) == ["ok"] * 4


def test_a_slow_camera_delays_no_other(tmp_path: Path) -> None:
    first = Bench(tmp_path / "data")
    first.close()
    other = TickCamera(first.clock, "other")
    bench = Bench(tmp_path / "more", first.clock, other=other)
    bench.camera.fails = CameraUnavailable("gone")
    made = bench.start(count=3)
    fine = bench.lapses.create(other, _plan(3))  # type: ignore[arg-type]
    bench.run(30)
    assert statuses(bench, made) == ["camera"] * 3
    assert statuses(bench, fine) == ["ok"] * 3
    bench.close()


def test_frames_that_are_not_kept_go_once_their_part_of_the_film_is_durable(bench: Bench) -> None:
    made = bench.start(interval_s=1.0, count=70, video=Video(keep_frames=False))
    bench.run(64)
    assert [row.has_file for row in bench.ledger(made)[:60]] == [False] * 60
    assert all(row.has_file for row in bench.ledger(made)[60:])
    bench.crash()
    bench.run(10)
    assert bench.get(made).state == "finished"
    assert bench.film_ticks(made) == [row.index for row in bench.ledger(made) if row.status == "captured"]
    assert not list((bench.folder / "timelapses" / made.id / "frames").rglob("*.jpg"))


def test_the_end_can_be_moved_and_not_into_the_past(bench: Bench) -> None:
    made = bench.start(count=10)
    bench.run(16)
    with pytest.raises(Invalid):
        bench.lapses.change(made.id, {"count": 2})
    bench.lapses.change(made.id, {"count": 6, "name": "shorter"})
    bench.run(30)
    job = bench.get(made)
    assert (job.state, job.frames_captured, job.plan.name) == ("finished", 6, "shorter")
    with pytest.raises(Conflict):
        bench.lapses.change(made.id, {"count": 60})


def test_a_job_is_cancelled_with_what_it_has(bench: Bench) -> None:
    made = bench.start(count=10)
    bench.run(6)
    bench.lapses.change(made.id, {"state": "cancelled"}, by="token:me")
    bench.run(30)
    job = bench.get(made)
    assert (job.state, job.frames_captured) == ("cancelled", 2)
    assert bench.lapses.film(made.id).frames == 2


def test_removed_it_is_gone_with_all_its_files(bench: Bench) -> None:
    made = bench.start(count=10)
    bench.run(6)
    bench.lapses.remove(made.id)
    bench.run(30)
    assert not (bench.folder / "timelapses" / made.id).exists()
    assert bench.lapses.page(None, 10, None) == []


def test_what_cannot_fit_is_refused(bench: Bench) -> None:
    bench.disk.free = 1_000_000
    with pytest.raises(DoesNotFit) as refused:
        bench.start(count=1_000_000)
    assert refused.value.estimate.frames == 1_000_000
    first = bench.start(count=50)
    bench.disk.free = bench.lapses._promises.promised_bytes() + 1000  # all but this is promised
    with pytest.raises(DoesNotFit):
        bench.start(count=50)
    with pytest.raises(DoesNotFit):
        bench.lapses.change(first.id, {"count": 5000})


def test_before_the_first_frame_there_is_no_film(bench: Bench) -> None:
    bench.camera.fails = CameraUnavailable("gone")
    made = bench.start(count=3)
    with pytest.raises(NoFilm):
        bench.lapses.film(made.id)


def _plan(count: int):
    from piapi.timelapse import Plan

    return Plan(interval_s=5.0, count=count)


def test_old_ones_are_removed_and_only_those_that_have_ended(bench: Bench) -> None:
    old = bench.start(count=1)
    bench.run(10 * 86400)
    running = bench.start(interval_s=3600, count=10_000)
    bench.run(3600)
    young = bench.start(count=1)
    bench.run(10)
    bench.lapses.remove_ended_before(bench.clock.now() - timedelta(days=7))
    assert {job.id for job in bench.lapses.page(None, 10, None)} == {running.id, young.id}
    assert not bench.store.folder(old.id).exists()
