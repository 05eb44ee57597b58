"""The child that renders: apart, bounded, whole or nothing."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from piapi.film.files import FilmFile
from piapi.film.job import RenderJob, frame_line
from tests.requirements import require
from tests.test_film import grey, keys_of, level_of, levels, pictures, plain

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
COMMAND = [sys.executable, "-m", "piapi.film.render"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "frames").mkdir()
    return tmp_path


def listing(folder: Path, frames: list[bytes], luminances: list[float] | None = None) -> str:
    """Frames as files, and their list."""
    path = folder / "list"
    with path.open("w") as file:
        for number, data in enumerate(frames):
            (folder / "frames" / f"{number}.jpg").write_bytes(data)
            luminance = luminances[number] if luminances else None
            file.write(frame_line(folder / "frames" / f"{number}.jpg", NOON + timedelta(minutes=number), luminance))
    return str(path)


def run(job: RenderJob, status: int = 0) -> list[dict[str, Any]]:
    done = subprocess.run(COMMAND, input=job.to_json(), capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stderr
    assert done.stderr == ""
    return [json.loads(line) for line in done.stdout.splitlines()]


def film_of(path: Path) -> FilmFile:
    data = path.read_bytes()
    return FilmFile((data,), len(data), "", 0, 0)


def probed(path: Path) -> dict[str, Any]:
    command = [require("ffprobe"), "-v", "warning", "-count_frames", "-show_streams", "-of", "json", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return dict(json.loads(done.stdout)["streams"][0])


@contextlib.contextmanager
def waiting_child(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A child that waits for its list, which is a pipe that nobody writes to."""
    os.mkfifo(folder / "list")
    with subprocess.Popen(COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdin
        assert child.stdout
        try:
            child.stdin.write(RenderJob(str(folder / "list"), str(folder / "film.mp4")).to_json())
            child.stdin.close()
            child.stdin = None
            child.stdout.readline()  # it has done what it does before all else
            yield child
        finally:
            child.kill()


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_a_film_of_every_frame_in_order(folder: Path, codec: Any) -> None:
    frames = [grey(level_of(number)) for number in range(150)]
    output = folder / "film.mp4"
    lines = run(RenderJob(listing(folder, frames), str(output), fps=29.97, codec=codec, preset="fast"))
    data = output.read_bytes()
    assert lines[-1] == {
        "frames": 150,
        "skipped": 0,
        "size_bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    assert all(set(line) == {"done", "skipped", "of"} for line in lines[:-1])
    shown = levels(film_of(output))
    assert len(shown) == 150
    assert all(abs(level - level_of(number)) <= 4 for number, level in enumerate(shown))
    found = probed(output)
    assert (found["codec_name"], int(found["nb_read_frames"])) == (codec, 150)
    assert (found["color_range"], found["color_space"], found["color_primaries"]) == ("tv", "smpte170m", "bt709")
    assert found["r_frame_rate"] == "30000/1001"
    assert float(found["start_time"]) == 0
    assert {path.name for path in folder.iterdir()} == {"frames", "list", "film.mp4"}


def test_its_memory_does_not_grow_with_the_film(folder: Path) -> None:
    listing(folder, [grey(90)])
    line = (folder / "list").read_text()

    def peak(frames: int) -> int:
        """Kilobytes (getrusage(2), ru_maxrss)."""
        (folder / "list").write_text(line * frames)
        job = RenderJob(str(folder / "list"), str(folder / "film.mp4"), deflicker=True).to_json()
        with subprocess.Popen(COMMAND, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as child:
            assert child.stdin
            child.stdin.write(job)
            child.stdin.close()
            child.stdin = None
            _, status, usage = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
        assert child.returncode == 0
        return usage.ru_maxrss

    assert peak(4000) - peak(100) < 3000


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_most_frames_are_told_by_their_difference(folder: Path, codec: Any) -> None:
    run(RenderJob(listing(folder, [grey(90)] * 150), str(folder / "film.mp4"), fps=25, codec=codec))
    assert keys_of((folder / "film.mp4").read_bytes()) == [0, 100]


def test_every_nth_and_another_size(folder: Path) -> None:
    frames = [grey(level_of(number), 160, 120) for number in range(10)]
    run(RenderJob(listing(folder, frames), str(folder / "film.mp4"), every_nth=3, width=80))
    film = film_of(folder / "film.mp4")
    assert {picture.size for picture in pictures(film)} == {(80, 60)}
    assert all(abs(got - level_of(3 * place)) <= 4 for place, got in enumerate(levels(film)))
    assert len(levels(film)) == 4


def test_missing_and_damaged_frames_are_skipped_and_counted(folder: Path) -> None:
    frames = [grey(level_of(number)) for number in range(6)]
    job = RenderJob(listing(folder, frames), str(folder / "film.mp4"))
    (folder / "frames" / "0.jpg").write_bytes(frames[0][:200])
    (folder / "frames" / "3.jpg").unlink()
    last = run(job)[-1]
    assert (last["frames"], last["skipped"]) == (4, 2)
    shown = levels(film_of(folder / "film.mp4"))
    assert all(abs(got - level_of(number)) <= 4 for got, number in zip(shown, (1, 2, 4, 5), strict=True))


def test_deflicker_evens_brightness_out(folder: Path) -> None:
    wanted = [100 + (20 if number % 2 else -20) for number in range(60)]
    frames = [grey(level) for level in wanted]
    run(RenderJob(listing(folder, frames, [level / 255 for level in wanted]), str(folder / "film.mp4"), deflicker=True))
    shown = levels(film_of(folder / "film.mp4"))
    assert max(shown) - min(shown) <= 4
    assert sum(shown) / 60 == pytest.approx(98, abs=3)


def test_timestamps_are_burnt_in(folder: Path) -> None:
    frames = [plain((128, 128, 128), 320, 240)] * 2
    run(RenderJob(listing(folder, frames), str(folder / "film.mp4"), timestamp=True, zone="Asia/Tokyo"))
    darkest, lightest = pictures(film_of(folder / "film.mp4"))[0].convert("L").getextrema()
    assert darkest < 40  # type: ignore[operator]
    assert lightest > 200  # type: ignore[operator]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"frames": "/nowhere/list"}, "No such file"),
        ({"fps": 0}, "rate"),
        ({"zone": "Mars/Olympus"}, "Mars"),
        ({"output": "/nowhere/film.mp4"}, "No such file"),
        ({"preset": "warp"}, "no preset warp"),
        ({"parent": 1}, "parent is gone"),
    ],
)
def test_what_cannot_be_done_is_said_and_leaves_nothing(folder: Path, change: dict[str, Any], said: str) -> None:
    whole = {"frames": listing(folder, [grey(9)]), "output": str(folder / "film.mp4"), **change}
    error = run(RenderJob(**whole), status=1)[-1]["error"]
    assert said in error and "/nowhere" not in error
    assert {path.name for path in folder.iterdir()} == {"frames", "list"}


def test_no_frame_no_film(folder: Path) -> None:
    for frames in ([], [b"none"]):
        assert (
            "None of the frames"
            in run(RenderJob(listing(folder, frames), str(folder / "f.mp4")), status=1)[-1]["error"]
        )


def test_nonsense_instead_of_a_job_is_an_error() -> None:
    for text in ("", "{", "[]", '{"frames": "x"}', '{"frames": "x", "output": "y", "shell": "z"}'):
        done = subprocess.run(COMMAND, input=text, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert "error" in json.loads(done.stdout.splitlines()[-1])


def test_it_steps_back_for_everybody_else(folder: Path) -> None:
    with waiting_child(folder) as child:
        assert os.getpriority(os.PRIO_PROCESS, child.pid) == 19
        assert Path(f"/proc/{child.pid}/oom_score_adj").read_text().strip() == "900"


def test_a_cancelled_one_leaves_nothing(folder: Path) -> None:
    with waiting_child(folder) as child:
        child.terminate()
        assert child.wait() == 128 + signal.SIGTERM
    assert {path.name for path in folder.iterdir()} == {"frames", "list"}


def test_it_ends_with_its_parent(folder: Path) -> None:
    os.mkfifo(folder / "list")
    job = RenderJob(str(folder / "list"), str(folder / "film.mp4")).to_json()
    parent = f"""
import subprocess, sys
child = subprocess.Popen({COMMAND!r}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
child.stdin.write({job!r}); child.stdin.close(); child.stdout.readline()
print(child.pid, flush=True)
sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as started:
        assert started.stdout
        handle = os.pidfd_open(int(started.stdout.readline()))
        started.kill()
        try:
            assert select.select([handle], [], [], 10)[0], "the child lives on"
        finally:
            os.close(handle)
