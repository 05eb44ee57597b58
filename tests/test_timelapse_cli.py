"""piapi timelapse, beside a running service and without one."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from piapi.cli import main
from piapi.cli.durations import Moment, Seconds, in_short, local_time, size_in_words
from tests.local import ask
from tests.service import BIN, Service, environment, eventually, running

CONFIG = """
[storage]
floor_bytes = 0
[cameras.front]
backend = "simulated"
width = 320
height = 240
"""
SHORT = ("--every", "0.2s", "--count", "5", "--width", "160")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running(tmp_path_factory.mktemp("timelapses"), CONFIG) as service:
        yield service


def piapi(service: Service, *arguments: str) -> Result:
    data = str(service.folder / "data")
    variables = {"PIAPI_DATA": data, "PIAPI_CONFIG": None, "RUNTIME_DIRECTORY": None}
    return CliRunner().invoke(main, ["timelapse", *arguments], env=variables)


def start(service: Service, *arguments: str) -> str:
    """An id, and nothing else."""
    done = piapi(service, "start", "front", *arguments)
    assert done.exit_code == 0, done.output
    assert done.stdout.count("\n") == 1
    return done.stdout.strip()


def get(service: Service, id: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(piapi(service, "show", id, "--json").stdout)
    return found


@pytest.fixture(scope="module")
def finished(service: Service) -> str:
    id = start(service, *SHORT, "--name", "peas")
    eventually(lambda: get(service, id)["state"] == "finished")
    return id


# Beginning and steering


def test_one_is_begun_with_all_that_was_asked_for(service: Service) -> None:
    arguments = ["--every", "1h", "--for", "30d", "--between", "07:30", "18:00", "--days", "sat,sun", "--ramp"]
    id = start(service, *arguments, "--fps", "25", "--timestamp", "--film-only", "--name", "garden", "--quality", "70")
    made = get(service, id)
    assert (made["interval_s"], made["duration_s"], made["count"]) == (3600, 30 * 86_400, None)
    assert made["window"] == {"from": "07:30", "to": "18:00", "days": ["sat", "sun"]}
    assert (made["controls"], made["name"], made["quality"]) == ({"exposure": "ramp"}, "garden", 70)
    assert (made["video"]["fps"], made["video"]["timestamp"], made["video"]["keep_frames"]) == (25, True, False)
    assert made["created_by"] == "console"


def test_a_dry_run_says_what_it_would_come_to_and_makes_nothing(service: Service) -> None:
    before = len(json.loads(piapi(service, "list", "--json").stdout))
    done = piapi(service, "start", "front", "--every", "5", "--for", "2h", "--dry-run")
    assert done.exit_code == 0 and "1440 frames until" in done.stdout and "a film of 48 s" in done.stdout
    assert len(json.loads(piapi(service, "list", "--json").stdout)) == before


def test_one_is_listed_paused_resumed_and_cancelled(service: Service) -> None:
    id = start(service, "--every", "1h", "--count", "10")
    for command, state in (("pause", "paused"), ("resume", "running"), ("cancel", "cancelled")):
        done = piapi(service, command, id)
        assert done.exit_code == 0 and f"  {state} " in done.stdout, done.output
        (line,) = [line for line in piapi(service, "list").stdout.splitlines() if line.startswith(id)]
        assert state in line and "front" in line
    again = piapi(service, "pause", id)
    assert again.exit_code == 1 and "cancelled" in again.stderr
    assert piapi(service, "list", "--camera", "none").stdout == ""
    assert json.loads(piapi(service, "list", "--camera", "none", "--json").stdout) == []


def test_one_is_shown_and_followed_to_its_end(service: Service) -> None:
    id = start(service, "--every", "0.2", "--count", "4", "--name", "beans")
    done = piapi(service, "show", id, "--follow")
    assert done.exit_code == 0, done.output
    for words in ("name       beans", "front (emulated)", "every      0.2 s", "finished: "):
        assert words in done.stdout
    done = piapi(service, "show", id)
    assert "front (emulated)" in done.stdout and "late by" in done.stdout and "film       " in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said", "code"),
    [
        (("start", "front", "--every", "5s"), "one of --count, --for and --until", 2),
        (("start", "front", "--every", "5s", "--count", "1", "--for", "1h"), "one of --count, --for and --until", 2),
        (("start", "front", "--every", "soon", "--count", "1"), "no duration", 2),
        (("start", "front", "--every", "5s", "--until", "soon"), "no time", 2),
        (("start", "front", "--every", "5s", "--count", "1", "--days", "mon"), "--between", 2),
        (("start", "front", "--count", "5"), "--every", 2),
        (("start", "front", "--every", "0", "--count", "1"), "interval_s: must be from 0.1 to 86400", 1),
        (("start", "front", "--every", "5s", "--count", "0"), "count: must be from", 1),
        (("start", "front", "--every", "5s", "--until", "2020-01-01"), "until: must be later than now", 1),
        (("start", "none", "--every", "5s", "--count", "1"), "none", 1),
        (("start", "../x", "--every", "5s", "--count", "1"), "", 1),
        (("start", "front", "--every", "0.1", "--count", "500000000"), "It would take", 1),
        (("show", "0000"), "no time-lapse 0000", 1),
        (("pause", "../../photos"), "is no id", 2),
        (("export", "0000", "somewhere"), "no time-lapse 0000", 1),
    ],
    ids=str,
)
def test_a_wrong_call_says_what_is_wrong(service: Service, arguments: tuple[str, ...], said: str, code: int) -> None:
    done = piapi(service, *arguments)
    assert done.exit_code == code and said in done.stderr, done.output
    assert "Traceback" not in done.output


def test_without_a_service_it_says_so(tmp_path: Path) -> None:
    variables = {"PIAPI_DATA": str(tmp_path), "PIAPI_CONFIG": None, "RUNTIME_DIRECTORY": None}
    done = CliRunner().invoke(main, ["timelapse", "list"], env=variables)
    assert done.exit_code == 1 and "No piapi is running here" in done.stderr


# Export


def check(folder: Path) -> list[str]:
    """By the program that everybody has. Gives the names."""
    done = subprocess.run(["sha256sum", "--strict", "-c", "SHA256SUMS"], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return [line.partition(":")[0] for line in done.stdout.splitlines()]


def test_a_folder_has_frames_film_and_a_manifest_that_is_true(service: Service, finished: str, tmp_path: Path) -> None:
    target = tmp_path / "peas"
    done = piapi(service, "export", finished, str(target))
    assert done.exit_code == 0, done.output
    made = get(service, finished)
    names = check(target)
    assert len([name for name in names if name.startswith("frames/")]) == made["frames_captured"]
    assert names == sorted(names, key=lambda name: (name != "timelapse.json", name == "film.mp4", name))
    assert {path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file()} == {
        *names, "SHA256SUMS",
    }  # fmt: skip
    _, rows = ask(service.folder / "data" / "run", "GET", made["links"]["frames"])
    for row in rows["items"]:
        taken = datetime.fromisoformat(row["captured_at"]).timestamp()
        assert (target / f"frames/{row['index']:09d}.jpg").stat().st_mtime == pytest.approx(taken, abs=0.001)
    assert (target / "film.mp4").stat().st_size == made["video"]["size_bytes"]
    assert json.loads((target / "timelapse.json").read_text())["id"] == finished
    again = piapi(service, "export", finished, str(target))
    assert again.exit_code == 1 and "has all of an export already" in again.stderr


def test_an_export_that_was_cut_off_goes_on_with_what_is_missing(
    service: Service, finished: str, tmp_path: Path
) -> None:
    target = tmp_path / "peas"
    assert piapi(service, "export", finished, str(target)).exit_code == 0
    frames = sorted((target / "frames").iterdir())
    kept = frames[0].stat()
    (target / "SHA256SUMS").unlink()
    (target / "film.mp4").unlink()
    frames[1].rename(frames[1].with_suffix(".jpg.part"))
    done = piapi(service, "export", finished, str(target))
    assert done.exit_code == 0, done.output
    check(target)
    assert frames[0].stat().st_ino == kept.st_ino and frames[1].exists()


def test_nothing_of_others_is_overwritten(service: Service, finished: str, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "film.mp4").write_text("mine")
    (tmp_path / "mine.tar").write_text("mine")
    for name, said in (("mine", "holds no export"), ("mine.tar", "is there already")):
        done = piapi(service, "export", finished, str(tmp_path / name))
        assert done.exit_code == 1 and said in done.stderr
    assert (tmp_path / "mine" / "film.mp4").read_text() == (tmp_path / "mine.tar").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "mine.tar"]
    other = tmp_path / "other"
    assert piapi(service, "export", finished, str(other)).exit_code == 0
    (other / "SHA256SUMS").unlink()
    frame = sorted((other / "frames").iterdir())[0]
    frame.write_text("changed")
    done = piapi(service, "export", finished, str(other))
    assert done.exit_code == 1 and "another content" in done.stderr and frame.read_text() == "changed"


def test_a_tar_is_the_same_in_a_file_and_on_standard_output(service: Service, finished: str, tmp_path: Path) -> None:
    assert piapi(service, "export", finished, str(tmp_path / "peas.tar")).exit_code == 0
    variables = environment(service.folder)
    done = subprocess.run(
        [BIN / "piapi", "timelapse", "export", finished, "-"], env=variables, cwd=tmp_path, capture_output=True
    )
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout == (tmp_path / "peas.tar").read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["peas.tar"]
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        names = archive.getnames()
        archive.extractall(tmp_path, filter="data")
    assert names[0] == f"front-{finished}/timelapse.json" and names[-1] == f"front-{finished}/SHA256SUMS"
    assert check(tmp_path / f"front-{finished}") == [name.partition("/")[2] for name in names[:-1]]
    film = (tmp_path / f"front-{finished}" / "film.mp4").read_bytes()
    _, there = ask(service.folder / "data" / "run", "GET", f"/api/v1/timelapses/{finished}/video.mp4")
    assert hashlib.sha256(film).digest() == hashlib.sha256(there).digest()


def test_one_without_a_frame_is_exported_as_it_is(service: Service, tmp_path: Path) -> None:
    id = start(service, "--every", "5s", "--count", "3", "--start-at", "2099-01-01T00:00")
    assert piapi(service, "export", id, str(tmp_path / "empty")).exit_code == 0
    assert check(tmp_path / "empty") == ["timelapse.json"]


# Words


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5", 5),
        ("5s", 5),
        ("0.5", 0.5),
        ("500ms", 0.5),
        ("2h", 7200),
        ("1h30m", 5400),
        ("30d", 2_592_000),
        ("1w", 604_800),
    ],
)
def test_durations_are_read(text: str, seconds: float) -> None:
    assert Seconds().convert(text, None, None) == seconds


@pytest.mark.parametrize("text", ["", "s", "5x", "-5s", "5 s", "1h30", "1e3", "٣s"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(Exception, match="no duration"):
        Seconds().convert(text, None, None)


def test_durations_sizes_and_times_are_written_for_people() -> None:
    assert [in_short(value) for value in (0, 0.5, 5, 90, 150, 7200, 7500, 90_061, 2_592_000)] == [
        "0 s", "0.5 s", "5 s", "90 s", "2 min 30 s", "2 h", "2 h 5 min", "1 d 1 h", "30 d",
    ]  # fmt: skip
    assert [size_in_words(value) for value in (0, 812, 1500, 12_300_000_000, 4e15)] == [
        "0 B", "812 B", "1.5 kB", "12.3 GB", "4e+03 TB",
    ]  # fmt: skip
    assert local_time(None) == "–" and local_time("2026-11-20T21:37:28.123Z").endswith(":37:28")
    assert Moment().convert("2026-11-20T21:37:28+01:00", None, None) == "2026-11-20T20:37:28.000Z"
