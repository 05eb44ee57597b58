"""piapi backup and restore with time-lapses: whole and consistent while they run, and they go on from where it was."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from piapi.clock import SystemClock
from piapi.errors import PiApiError
from piapi.services.inspection import Inspection
from piapi.services.timelapses.backup import TimelapseFiles
from piapi.storage import restore as restoring
from piapi.storage.backup import write_backup
from piapi.storage.database import Database
from piapi.storage.restore import Restored, restore_backup
from piapi.timelapse import Timelapse, Video
from tests.lapse import Bench
from tests.lapse import bench as opened
from tests.test_timelapse_fsck import finished, rendered, segment


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with opened(tmp_path / "data") as made:
        yield made


def backed_up(bench: Bench, files: TimelapseFiles | None = None) -> io.BytesIO:
    archive = io.BytesIO()
    write_backup(
        archive, bench.database, None, True, "1", bench.clock.now(), files or TimelapseFiles(bench.folder)
    )  # fmt: skip
    assert not list((bench.folder / "incoming").iterdir())
    return archive


def restored(archive: io.BytesIO, folder: Path) -> Restored:
    return restore_backup(archive, folder, 0, SystemClock().now())


def on(bench: Bench, folder: Path) -> Bench:
    """Another Pi, on which piapi is started."""
    new = Bench.__new__(Bench)
    new.__dict__.update(bench.__dict__)
    new.folder, new.boot_id = folder, "another"
    new.begin()
    return new


def faults(bench: Bench) -> list[str]:
    return list(Inspection(bench.database, bench.folder, SystemClock(), lambda _: None).faults())


def sound(folder: Path) -> bool:
    """Right after a restore, before any start."""
    database = Database(folder / "piapi.db")
    database.open()
    try:
        found = list(Inspection(database, folder, SystemClock(), lambda _: None).faults())
        assert found == []
    finally:
        database.close()
    return True


def tree(folder: Path) -> dict[str, bytes]:
    """All files of time-lapses."""
    files = (path for path in folder.glob("timelapses/**/*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


class Meanwhile(TimelapseFiles):
    """Something happens between the copy of the database and the rest."""

    def __init__(self, bench: Bench, happens: Callable[[], object]) -> None:
        super().__init__(bench.folder)
        self.happens = happens
        self.copies = 0

    def stage(self, copy: Path) -> bool:
        self.copies += 1
        if self.copies == 1:
            self.happens()
        return super().stage(copy)


# There and back -------------------------------------------------------------------------------------------------------


def test_frames_film_and_renders_are_back_byte_for_byte(bench: Bench, tmp_path: Path) -> None:
    made = finished(bench, 70)
    finished(bench, 70, video=Video(keep_frames=False))
    rendered(bench, made)
    new = tmp_path / "new"
    done = restored(backed_up(bench), new)
    assert tree(new) == tree(bench.folder) and sound(new)
    assert done.timelapses.put_back == len(tree(new)) > 70
    assert (done.timelapses.damaged, done.timelapses.gone) == (0, 0)
    pi = on(bench, new)
    assert pi.lapses.film(made.id).etag == bench.lapses.film(made.id).etag
    assert pi.ledger(made) == bench.ledger(made)
    pi.close()


@pytest.mark.parametrize("keeps", [True, False])
@pytest.mark.parametrize("captured", [1, 30, 59, 60, 61, 125])
def test_a_job_that_runs_meanwhile_is_restored_as_it_was_and_goes_on(
    bench: Bench, tmp_path: Path, keeps: bool, captured: int
) -> None:
    made = bench.start(count=400, video=Video(keep_frames=keeps))
    bench.run(5 * captured - 4)
    files = Meanwhile(bench, lambda: bench.run(5 * 63))  # at least one segment is closed
    archive = backed_up(bench, files)
    new = tmp_path / "new"
    restored(archive, new)
    assert sound(new)
    pi = on(bench, new)
    before = pi.get(made)
    assert before.state == "running"
    pi.run(60)
    assert faults(pi) == []
    causes = [row.cause for row in pi.ledger(made)]
    assert causes[:captured] == [None] * captured
    assert "power" in causes or not keeps, "of one that keeps no frames the database was copied anew"
    pi.run(5 * 400)
    assert pi.get(made).state == "finished" and faults(pi) == []
    assert pi.film_ticks(made) == [row.index for row in pi.ledger(made) if row.status == "captured"]
    pi.close()


def test_the_database_is_copied_anew_when_frames_have_gone_that_it_knows(bench: Bench) -> None:
    bench.start(count=400, video=Video(keep_frames=False))
    bench.run(5 * 50)
    files = Meanwhile(bench, lambda: bench.run(5 * 63))
    backed_up(bench, files)
    assert files.copies == 2


def test_a_job_whose_time_has_gone_by_is_ended_on_the_new_machine(bench: Bench, tmp_path: Path) -> None:
    made = bench.start(count=20)
    bench.run(40)
    archive = backed_up(bench)
    bench.clock.advance(86_400)
    restored(archive, tmp_path / "new")
    pi = on(bench, tmp_path / "new")
    pi.run(5)
    job = pi.get(made)
    assert (job.state, job.frames_captured, job.frames_missed) == ("finished", 9, 11)
    assert faults(pi) == []
    pi.close()


# Over what is there ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keeps", [True, False])
def test_an_older_backup_over_a_job_that_went_on_loses_nothing(bench: Bench, keeps: bool) -> None:
    made = bench.start(count=400, video=Video(keep_frames=keeps))
    bench.run(5 * 100)
    archive = backed_up(bench)
    bench.run(5 * 100)
    newer = bench.start(count=10)
    bench.run(100)
    filmed = bench.film_ticks(made)
    bench.database.close()
    restored(archive, bench.folder)
    bench.begin()
    assert set(filmed) <= {row.index for row in bench.ledger(made) if row.status == "captured"}
    bench.run(30)
    assert faults(bench) == []
    assert (bench.folder / "set-aside" / newer.id / "frames" / "000000" / "000000003.jpg").exists()


def test_what_is_there_with_other_bytes_is_left_and_what_is_lacking_is_put_back(bench: Bench) -> None:
    made = finished(bench, 70)
    archive = backed_up(bench)
    other, gone = bench.store.place(made.id, 3), segment(bench, made, 0)
    data = gone.read_bytes()
    other.write_bytes(b"other")
    gone.unlink()
    bench.database.close()
    done = restored(archive, bench.folder).timelapses
    assert (done.put_back, done.different) == (1, 1) and done.there_already == len(tree(bench.folder)) - 2
    assert other.read_bytes() == b"other" and gone.read_bytes() == data


def test_a_frame_that_is_damaged_in_the_backup_and_one_that_is_not_in_it_are_said(bench: Bench, tmp_path: Path) -> None:
    made = finished(bench, 5)
    place = bench.store.place(made.id, 3)
    place.write_bytes(bytes(place.stat().st_size))
    bench.store.place(made.id, 4).unlink()
    done = restored(backed_up(bench), tmp_path / "new").timelapses
    assert (done.damaged, done.gone) == (1, 1)


# Refused, or cut off --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["move_in", "put_back", "count_gone"])
def test_a_restore_that_fails_leaves_what_was_there(bench: Bench, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    old = finished(bench, 5)
    archive = backed_up(bench)
    bench.lapses.remove(old.id)
    kept = finished(bench, 5)
    before = tree(bench.folder)
    whole = getattr(restoring.TimelapseFiles, where)

    def fails(*arguments: object) -> None:
        whole(*arguments)
        raise OSError(28, "No space left on device")

    bench.database.close()
    monkeypatch.setattr(restoring.TimelapseFiles, where, fails)
    with pytest.raises(PiApiError):
        restored(archive, bench.folder)
    assert tree(bench.folder) == before
    bench.begin()
    assert bench.get(kept).frames_captured == 5 and faults(bench) == []


def test_a_restore_that_was_killed_is_cleared_away_by_a_start_or_by_the_next(bench: Bench, tmp_path: Path) -> None:
    made = finished(bench, 5)
    archive = backed_up(bench)
    half = tmp_path / "new" / "timelapses" / f"{made.id}.restoring" / "frames" / "000000" / "000000001.jpg"
    half.parent.mkdir(parents=True)
    half.write_bytes(b"half")
    restored(archive, tmp_path / "new")
    assert tree(tmp_path / "new") == tree(bench.folder)


@pytest.mark.parametrize(
    "name",
    [
        "timelapses/{id}/frames/000000/000000005.jpg",
        "timelapses/0000000000000000/frames/000000/000000000.jpg",
        "timelapses/0000000000000000/film/00000000.segment",
        "timelapses/{id}/renders/0000000000000000.mp4",
        "timelapses/{id}/../{id}/film/index",
        "timelapses/{id}/film/evil",
        "timelapses/{id}/frames/000009/000000000.jpg/../x",
    ],
)
def test_files_that_its_database_does_not_know_are_refused(bench: Bench, tmp_path: Path, name: str) -> None:
    made = finished(bench, 5)
    changed = io.BytesIO()
    with tarfile.open(fileobj=backed_up_at_its_start(bench)) as source, tarfile.open(fileobj=changed, mode="w") as tar:
        for member in source:
            if member.name == "end":
                evil = tarfile.TarInfo(name.format(id=made.id))
                evil.size = 4
                tar.addfile(evil, io.BytesIO(b"evil"))
            tar.addfile(member, source.extractfile(member))
    with pytest.raises(PiApiError, match="does not know|does not belong"):
        restored(changed, tmp_path / "new")
    assert not (tmp_path / "new" / "piapi.db").exists() and not list((tmp_path / "new").rglob("*evil*"))


def backed_up_at_its_start(bench: Bench) -> io.BytesIO:
    archive = backed_up(bench)
    archive.seek(0)
    return archive


def test_a_backup_counts_what_is_not_there(bench: Bench) -> None:
    made: Timelapse = finished(bench, 5)
    bench.store.place(made.id, 4).unlink()
    written = write_backup(
        io.BytesIO(), bench.database, None, True, "1", bench.clock.now(), TimelapseFiles(bench.folder)
    )  # fmt: skip
    assert (written.others, written.others_gone) == (6, 1)
