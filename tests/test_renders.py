"""The queue of renders, with real children on real files: in order, ended, cut off, paused, and never half a file."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from piapi.errors import Conflict, NoFilm, NotFound, StorageError, StorageFull
from piapi.lines.descriptors import INPUTS, last_numbers
from piapi.models import EventFilter
from piapi.services.timelapses.renders import MOST_WAITING, Renders
from piapi.storage.renders import RenderStore
from piapi.timelapse import Render, RenderRequest, RenderState, Timelapse, Video
from tests.gates import Gate, is_stopped, renderers
from tests.lapse import Bench
from tests.service import eventually

FRAMES = 6


class Studio:
    """A time-lapse that has ended, and the queue of its renders."""

    def __init__(self, folder: Path) -> None:
        self.bench = Bench(folder)
        self.is_hot = False
        self.gates: list[Gate] = []
        self.begin()
        self.made = self.filmed()

    def begin(self) -> None:
        """A process starts."""
        bench = self.bench
        self.store = RenderStore(bench.database, bench.folder)
        self.renders = Renders(
            self.store,
            bench.lapses,
            "UTC",
            lambda wanted: bench.disk.free >= wanted,
            lambda: self.is_hot,
            bench.events,
            bench.clock,
        )
        self.renders.start()

    def restart(self) -> None:
        """The process ends in good order, and another one starts."""
        self.renders.close()
        self.bench.crash()
        self.begin()

    def filmed(self, **wanted: Any) -> Timelapse:
        """A time-lapse that has ended."""
        made = self.bench.start(interval_s=5.0, count=FRAMES, **wanted)
        self.bench.run(FRAMES * 5.0)
        return self.bench.get(made)

    def gate(self, index: int) -> Gate:
        """The frame of this tick is held back."""
        gate = Gate(self.bench.store.place(self.made.id, index))
        self.gates.append(gate)
        return gate

    def ask(self, **wanted: Any) -> Render:
        return self.renders.begin(self.made, RenderRequest(**wanted), by="token:me")

    def state(self, render: Render) -> RenderState:
        return self.renders.get(render.id).state

    def wait_for(self, render: Render, *states: RenderState) -> Render:
        eventually(lambda: self.state(render) in states)
        return self.renders.get(render.id)

    def held(self, index: int = 2) -> tuple[Render, int, Gate]:
        """A render that is being made, its child's process, and the gate where that waits."""
        gate = self.gate(index)
        render = self.ask()
        gate.wait()
        (pid,) = renderers()
        return render, pid, gate

    def files(self) -> set[str]:
        """All that there is beside frames and film."""
        folder = self.bench.store.folder(self.made.id) / "renders"
        return {path.name for path in folder.iterdir()} if folder.is_dir() else set()

    def told(self) -> list[tuple[str, str]]:
        """What the journal has of renders: id and state."""
        entries = self.bench.events.rows.page(EventFilter(type="render.state"), 200, None, None)
        return [(entry.data["id"], entry.data["state"]) for entry in entries[::-1]]

    def close(self) -> None:
        self.renders.close()
        for gate in self.gates:
            gate.close()
        self.bench.close()


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[Studio]:
    with contextlib.closing(Studio(tmp_path / "data")) as studio:
        yield studio


def test_a_render_is_made_also_while_all_low_file_numbers_are_taken(studio: Studio) -> None:
    """Lines are claimed meanwhile; what is opened then has a number that select(2) does not know."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (2512, hard))
    try:
        with last_numbers(INPUTS):
            made = studio.wait_for(studio.ask(), "finished", "failed")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert made.state == "finished"


def test_one_at_a_time_in_the_order_they_came(studio: Studio) -> None:
    first, _, gate = studio.held()
    second, third = studio.ask(every_nth=2), studio.ask(codec="hevc")
    assert [studio.state(render) for render in (first, second, third)] == ["running", "queued", "queued"]
    assert len(renderers()) == 1
    gate.open()
    for render in (first, second, third):
        made = studio.wait_for(render, "finished", "failed")
        assert (made.state, made.progress, made.eta_s) == ("finished", 1.0, None)
        assert studio.renders.path(made).stat().st_size == made.size_bytes
    ended = [id for id, state in studio.told() if state == "finished"]
    assert ended == [first.id, second.id, third.id]
    assert studio.files() == {f"{id}.mp4" for id in ended}
    assert renderers() == []


def test_it_tells_how_far_it_is_and_what_is_left(studio: Studio) -> None:
    render, _, gate = studio.held(1)
    eventually(lambda: studio.renders.get(render.id).progress == 1 / FRAMES)
    studio.bench.clock.advance(10)
    eventually(lambda: studio.renders.get(render.id).eta_s == pytest.approx(10 * (FRAMES - 1)))
    studio.is_hot = True
    eventually(lambda: studio.renders.get(render.id).eta_s is None)
    studio.bench.clock.advance(1000)
    studio.is_hot = False
    eventually(lambda: studio.renders.get(render.id).eta_s == pytest.approx(10 * (FRAMES - 1)))
    gate.open()
    studio.wait_for(render, "finished")


def test_frames_that_are_gone_count_as_done(studio: Studio) -> None:
    studio.bench.store.place(studio.made.id, 0).unlink()
    render, _, _ = studio.held(2)
    eventually(lambda: studio.renders.get(render.id).progress > 0)
    assert studio.renders.get(render.id).progress == 1 / FRAMES


def test_it_steps_back_for_everybody_else(studio: Studio) -> None:
    _, pid, _ = studio.held()
    assert os.getpriority(os.PRIO_PROCESS, pid) == 19


def test_one_that_waits_is_cancelled_and_never_begun(studio: Studio) -> None:
    first, _, gate = studio.held()
    second, third = studio.ask(), studio.ask()
    assert studio.renders.cancel(second.id).state == "cancelled"
    gate.open()
    studio.wait_for(third, "finished")
    assert studio.state(second) == "cancelled"
    assert studio.files() == {f"{first.id}.mp4", f"{third.id}.mp4"}
    assert (second.id, "running") not in studio.told()


def test_one_that_runs_is_cancelled_with_its_child_and_half_its_file(studio: Studio) -> None:
    render, pid, _ = studio.held()
    assert studio.renders.cancel(render.id, by="token:you").state == "cancelled"
    eventually(lambda: not Path(f"/proc/{pid}").exists() and studio.files() == set())
    assert studio.state(render) == "cancelled"
    with pytest.raises(Conflict):
        studio.renders.path(studio.renders.get(render.id))


def test_one_that_is_cancelled_as_it_begins_stays_cancelled(studio: Studio) -> None:
    """Between the look whether it is wanted still, and what is written of its beginning, nobody can come."""
    save = studio.store.save
    came = threading.Event()

    def come() -> None:
        if studio.renders._changed.acquire(blocking=False):
            studio.renders.cancel(render.id)
            studio.renders._changed.release()
        came.set()
        studio.renders.cancel(render.id)

    def save_while_somebody_comes(begun: Render, *along: Any) -> None:
        if begun.state == "running" and not came.is_set():
            threads.append(threading.Thread(target=come))
            threads[0].start()
            assert came.wait(30)
        save(begun, *along)

    threads: list[threading.Thread] = []
    _, _, gate = studio.held()
    render = studio.ask()
    studio.store.save = save_while_somebody_comes  # type: ignore[method-assign]
    gate.open()
    assert came.wait(30)
    threads[0].join()
    eventually(lambda: renderers() == [])
    assert studio.state(render) == "cancelled"
    assert studio.told()[-1] == (render.id, "cancelled")


def test_one_that_has_ended_is_removed_with_its_file(studio: Studio) -> None:
    render = studio.ask()
    studio.wait_for(render, "finished")
    studio.renders.cancel(render.id)
    assert studio.files() == set()
    with pytest.raises(NotFound):
        studio.renders.get(render.id)


def test_a_child_that_is_killed_is_a_render_that_failed(studio: Studio) -> None:
    render, pid, gate = studio.held()
    os.kill(pid, signal.SIGKILL)
    made = studio.wait_for(render, "failed")
    assert made.detail is not None and "memory" in made.detail
    assert studio.files() == set()
    gate.open()
    after = studio.ask()
    assert studio.wait_for(after, "finished", "failed").state == "finished"


def test_frames_that_nobody_can_read_are_a_render_that_failed(studio: Studio) -> None:
    for index in range(FRAMES):
        studio.bench.store.place(studio.made.id, index).write_bytes(b"none")
    made = studio.wait_for(studio.ask(), "failed")
    assert made.detail == "None of the frames can be read."
    assert studio.files() == set()


def test_what_failed_tells_no_path(studio: Studio) -> None:
    folder = studio.bench.store.folder(studio.made.id) / "renders"
    folder.rmdir()
    folder.write_bytes(b"no folder")
    made = studio.wait_for(studio.ask(), "failed")
    assert made.detail is not None and "data folder cannot be written" in made.detail
    assert str(studio.bench.folder) not in made.detail


def test_it_stands_still_while_the_machine_is_too_hot(studio: Studio) -> None:
    render, pid, gate = studio.held()
    studio.is_hot = True
    eventually(lambda: is_stopped(pid))
    found = studio.renders.get(render.id)
    assert (found.state, found.eta_s) == ("running", None) and found.detail and "hot" in found.detail
    gate.open()
    assert is_stopped(pid)
    studio.is_hot = False
    made = studio.wait_for(render, "finished", "failed")
    assert (made.state, made.detail) == ("finished", None)


def test_one_that_stands_still_can_be_cancelled(studio: Studio) -> None:
    render, pid, _ = studio.held()
    studio.is_hot = True
    eventually(lambda: is_stopped(pid))
    studio.renders.cancel(render.id)
    eventually(lambda: not Path(f"/proc/{pid}").exists() and studio.files() == set())


def test_without_room_it_is_refused(studio: Studio) -> None:
    studio.bench.disk.free = 100
    with pytest.raises(StorageFull):
        studio.ask()
    assert studio.renders.of(studio.made.id) == []


def test_a_disk_that_gets_short_meanwhile_ends_it(studio: Studio) -> None:
    render, pid, gate = studio.held()
    studio.bench.disk.free = -1
    made = studio.wait_for(render, "failed")
    assert made.detail is not None and "disk" in made.detail
    assert not Path(f"/proc/{pid}").exists() and studio.files() == set()
    studio.bench.disk.free = 10**12
    gate.open()
    assert studio.wait_for(studio.ask(), "finished", "failed").state == "finished"


def test_one_whose_end_cannot_be_written_down_stops_no_other(studio: Studio) -> None:
    end, refused = studio.store.end, []

    def refuse(render: Render, *along: Any) -> None:
        if not refused or refused[0] == render.id:
            refused.append(render.id)
            raise StorageError("no")
        end(render, *along)

    studio.store.end = refuse  # type: ignore[method-assign]
    first, second = studio.ask(), studio.ask()
    assert studio.wait_for(second, "finished", "failed").state == "finished"
    assert studio.files() == {f"{second.id}.mp4"}
    studio.store.end = end  # type: ignore[method-assign]
    studio.restart()
    assert studio.wait_for(first, "finished", "failed").state == "finished"


def test_a_time_lapse_that_is_removed_takes_its_renders_along(studio: Studio) -> None:
    running, pid, _ = studio.held()
    waiting = studio.ask()
    studio.bench.lapses.remove(studio.made.id)
    assert not Path(f"/proc/{pid}").exists()
    assert not studio.bench.store.folder(studio.made.id).exists()
    for render in (running, waiting):
        with pytest.raises(NotFound):
            studio.renders.get(render.id)
    studio.made = studio.filmed()
    assert studio.wait_for(studio.ask(), "finished", "failed").state == "finished"


def test_one_that_is_asked_for_as_its_time_lapse_goes_stops_no_other(studio: Studio) -> None:
    room = studio.renders._has_room
    gone = studio.made

    def remove(wanted: int) -> bool:
        studio.renders._has_room = room
        studio.bench.lapses.remove(gone.id)
        return True

    studio.renders._has_room = remove
    with pytest.raises(NotFound):
        studio.ask()
    studio.made = studio.filmed()
    assert studio.wait_for(studio.ask(), "finished", "failed").state == "finished"
    assert not studio.bench.store.folder(gone.id).exists()
    assert studio.renders.of(gone.id) == []


def test_without_frames_there_is_nothing_to_render(studio: Studio) -> None:
    studio.made = studio.bench.start(start_at=studio.bench.clock.now().replace(year=2030), count=1)
    with pytest.raises(NoFilm):
        studio.ask()


def test_a_film_that_is_all_there_is_cannot_be_made_anew(studio: Studio) -> None:
    """Not even from the last frames, which go when their part of the film is durable."""
    made = studio.bench.start(interval_s=5.0, count=1000, video=Video(keep_frames=False))
    studio.bench.run(70 * 5.0)
    studio.made = studio.bench.get(made)
    with pytest.raises(Conflict):
        studio.ask()


def test_only_so_many_wait(studio: Studio) -> None:
    studio.held()
    for _ in range(MOST_WAITING):
        studio.ask()
    with pytest.raises(Conflict):
        studio.ask()


def test_what_an_end_cuts_off_is_begun_anew(studio: Studio) -> None:
    render, pid, gate = studio.held()
    second = studio.ask()
    studio.renders.close()
    assert not Path(f"/proc/{pid}").exists() and studio.files() == set()
    studio.bench.crash()
    gate.open()
    again = studio.gate(2)
    studio.begin()
    again.wait()
    assert [studio.state(each) for each in (render, second)] == ["running", "queued"]
    again.open()
    for each in (render, second):
        assert studio.wait_for(each, "finished", "failed").state == "finished"


def test_what_a_crash_left_is_cleared_away(studio: Studio) -> None:
    kept, gone = studio.ask(), studio.ask()
    studio.wait_for(gone, "finished")
    folder = studio.renders.path(studio.renders.get(kept.id)).parent
    studio.renders.close()
    with studio.bench.database.write() as connection:  # its film had its name already, and its row nothing of that
        connection.execute("UPDATE renders SET state = 'cancelled' WHERE id = ?", (gone.id,))
    for name in ("tmp1234.part", "0123456789abcdef.mp4.part", "0123456789abcdef.mp4"):
        (folder / name).write_bytes(b"remains")
    studio.restart()
    assert studio.files() == {f"{kept.id}.mp4"}
