"""Days of ticks with crashes, clock jumps and full disks; and SIGKILL at any moment of a real job."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from piapi.film.files import FilmFile
from piapi.timelapse import Row
from tests.lapse import Bench
from tests.service import Service, children_of, eventually, running
from tests.test_crashes import assert_sound, kill_all, kill_worker

TICKS, INTERVAL_S = 103_680, 5.0
"""Six days. A month of 518,400 takes some twelve minutes."""
CRASHES, JUMPS, FULL = 50, 3, 2
KILLS = 100

CAMERA = """
[storage]
floor_bytes = 0
[cameras.front]
backend = "simulated"
width = 160
height = 120
"""


class Crash(BaseException):
    """The process dies here."""


def crash_at_next_row(bench: Bench) -> None:
    """Between a frame's file and its row."""

    def die(*_: Any, **__: Any) -> None:
        raise Crash

    bench.store.save = die  # type: ignore[method-assign]


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder on tmpfs, where there is one."""
    shm = Path("/dev/shm")  # noqa: S108 — a folder of its own in it
    with tempfile.TemporaryDirectory(dir=shm if os.access(shm, os.W_OK) else None) as folder:
        yield Path(folder)


def days(ticks: int, crashes: int, folder: Path) -> tuple[list[Row], list[int], FilmFile, Bench]:
    chance = random.Random(2026)
    bench = Bench(folder / "data")
    bench.measure = lambda jpeg: 0.5
    bench.camera.takes_s = 0.05
    made = bench.start(interval_s=INTERVAL_S, count=ticks)
    happenings = ["crash", "crash row", "crash reboot"] * (crashes // 3) + ["crash"] * (crashes % 3)
    happenings += ["jump"] * JUMPS + ["full"] * FULL
    chance.shuffle(happenings)
    each_s = ticks * INTERVAL_S / (len(happenings) + 1)
    for happening in happenings:
        bench.run(each_s - 700 + chance.uniform(0, 5))
        if happening.startswith("crash"):
            if happening == "crash row":
                crash_at_next_row(bench)
                with pytest.raises(Crash):
                    bench.run(60)
            bench.crash(off_s=chance.uniform(0, 600), reboot=happening == "crash reboot")
        elif happening == "jump":
            bench.clock.jump(chance.choice([-86400 * 400, 3600, 86400 * 365]))
        else:
            bench.disk.free = 0
            bench.run(chance.uniform(60, 600))
            bench.disk.free = 10**12
    bench.run(ticks * INTERVAL_S)
    assert bench.get(made).state == "finished"
    film = bench.lapses.film(made.id)
    return bench.ledger(made), bench.film_ticks(made), film, bench


@pytest.mark.slow
def test_days_with_crashes_jumps_and_full_disks_lose_no_tick_silently(memory: Path) -> None:
    rows, filmed, film, bench = days(TICKS, CRASHES, memory)
    bench.close()
    assert [row.index for row in rows] == list(range(TICKS))
    captured = [row.index for row in rows if row.status == "captured"]
    assert filmed == captured and film.frames == len(captured)
    assert {row.cause for row in rows} == {None, "power", "storage"}
    assert len(captured) > TICKS * 0.9


def test_hours_do_so_too(memory: Path) -> None:
    rows, filmed, film, bench = days(9_000, 10, memory)
    bench.close()
    assert [row.index for row in rows] == list(range(9_000))
    assert filmed == [row.index for row in rows if row.status == "captured"]
    assert film.frames == len(filmed)


def get(service: Service, path: str, token: str) -> Any:
    status, _, body = service.call("GET", path, token)
    assert status == 200, body
    return json.loads(body)


@pytest.mark.slow
def test_a_real_job_outlives_a_hundred_kills(tmp_path: Path) -> None:
    chance, port, kills_of_all = random.Random(11), "0", 10
    with contextlib.ExitStack() as services:

        def start() -> Service:
            return services.enter_context(running(tmp_path, CAMERA, PIAPI_PORT=port))

        service = start()
        port, token = str(service.port), service.token()
        status, headers, body = service.call(
            "POST", "/api/v1/cameras/front/timelapses", token, {"interval_s": 0.1, "duration_s": 100_000}
        )
        assert status == 202, body
        url = headers["location"]

        def captured() -> int:
            with contextlib.suppress(OSError, http.client.HTTPException, AssertionError):
                return int(get(service, url, token)["frames_captured"])
            return 0

        for number in range(KILLS):
            eventually(lambda: captured() > 0)
            before = captured()
            eventually(lambda before=before: captured() > before)  # type: ignore[misc]
            with contextlib.suppress(AssertionError):
                eventually(lambda: False, chance.uniform(0, 0.2))
            if number % (KILLS // kills_of_all) == 5:
                kill_all(service)
                service = start()
            else:
                kill_worker(service)
        before = captured()
        eventually(lambda: captured() > before)
        status, _, body = service.call("PATCH", url, token, {"state": "cancelled"})
        assert status == 200, body
        job = get(service, url, token)
        rows = list(ledger(service, url, token))
        assert [row["index"] for row in rows] == list(range(len(rows) - 1, -1, -1))
        assert {row["cause"] for row in rows} <= {None, "power", "overrun", "camera"}
        frames = [row for row in rows if row["status"] == "captured"]
        assert len(frames) == job["frames_captured"] > KILLS
        status, _, film = service.call("GET", f"{url}/video.mp4", token)
        assert status == 200
        assert frames_of(film, tmp_path) == len(frames)
        assert children_of(service.process.pid)
        assert service.stop() == 0
        assert_sound(tmp_path)


def ledger(service: Service, url: str, token: str) -> Iterator[dict[str, Any]]:
    link: str | None = f"{url}/frames?limit=200"
    while link:
        page = get(service, link, token)
        yield from page["items"]
        link = page["links"].get("next")


def frames_of(film: bytes, folder: Path) -> int:
    """By ffprobe, which decodes each."""
    path = folder / "film.mp4"
    path.write_bytes(film)
    done = subprocess.run(
        ["ffprobe", "-v", "warning", "-count_frames", "-select_streams", "v", "-show_entries",
         "stream=nb_read_frames", "-of", "csv=p=0", path],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stderr == ""
    return int(done.stdout.strip().strip(","))
