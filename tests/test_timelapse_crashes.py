"""A month of ticks with crashes, clock jumps and full disks; and SIGKILL at any moment of a real job."""

from __future__ import annotations

import contextlib
import http.client
import json
import random
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.lapse import Bench
from tests.mishaps import FRAME, INSTANTS, Fuse, Instant
from tests.service import Service, children_of, eventually, running
from tests.slides import assert_whole, slides
from tests.test_crashes import assert_sound, kill_all, kill_worker

MONTH, INTERVAL_S = 518_400, 5.0
"""Ticks of thirty days, and seconds between two."""
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


@pytest.fixture
def chance() -> random.Random:
    return random.Random(2026)


@pytest.fixture
def fuse(monkeypatch: pytest.MonkeyPatch, chance: random.Random) -> Fuse:
    return Fuse(monkeypatch, chance)


def dies_and_starts(bench: Bench, fuse: Fuse, instant: Instant, chance: random.Random, within_s: float) -> None:
    with fuse.dies(instant):
        bench.run(within_s)
    bench.crash(off_s=chance.uniform(0, 600), reboot=instant.loses != "nothing")


def live_through(mishaps: Sequence[Instant | str], ticks: int, bench: Bench, fuse: Fuse, chance: random.Random) -> None:
    """Run for so many ticks, with one of the mishaps in each stretch of them."""
    stretch_s, began = ticks * INTERVAL_S / (len(mishaps) + 1), bench.clock.monotonic()
    for number, mishap in enumerate(mishaps, 1):
        bench.run(chance.uniform(0, stretch_s / 10))
        if isinstance(mishap, Instant):
            dies_and_starts(bench, fuse, mishap, chance, stretch_s * 0.85)
        elif mishap == "crash":
            bench.crash(off_s=chance.uniform(0, 600), reboot=chance.random() < 0.5)
        elif mishap == "jump":
            bench.clock.jump(chance.choice([-86400 * 400, 3600, 86400 * 365]))
        else:
            bench.disk.free = 0
            bench.run(chance.uniform(60, 600))
            bench.disk.free = 10**12
        bench.run(began + number * stretch_s - bench.clock.monotonic())
    bench.run(ticks * INTERVAL_S)


@pytest.mark.parametrize("instant", INSTANTS, ids=str)
def test_a_crash_at_any_instant_costs_no_frame_that_was_kept(
    instant: Instant, memory: Path, fuse: Fuse, chance: random.Random
) -> None:
    bench = slides(memory)
    made = bench.start(interval_s=INTERVAL_S, count=400)
    bench.run(chance.uniform(0, 1000))
    dies_and_starts(bench, fuse, instant, chance, 400 * INTERVAL_S)
    bench.run(400 * INTERVAL_S)
    captured = sum(row.status == "captured" for row in assert_whole(bench, made, 400))
    assert captured >= 400 - 600 / INTERVAL_S - 3
    bench.close()


def test_a_crash_while_a_crash_is_mended_loses_nothing_either(memory: Path, fuse: Fuse, chance: random.Random) -> None:
    bench = slides(memory)
    made = bench.start(interval_s=INTERVAL_S, count=100)
    bench.run(100)
    with fuse.dies(Instant("rename", FRAME, "after")):
        bench.run(100)
    for when in ("before", "within", "after"):
        with fuse.dies(Instant("save", when=when)):
            bench.crash()
    bench.crash()
    bench.run(100 * INTERVAL_S)
    assert all(row.status == "captured" for row in assert_whole(bench, made, 100))
    bench.close()


@pytest.mark.slow
def test_a_month_with_crashes_jumps_and_full_disks_loses_no_tick_silently(
    memory: Path, fuse: Fuse, chance: random.Random
) -> None:
    bench = slides(memory)
    made = bench.start(interval_s=INTERVAL_S, count=MONTH)
    mishaps = [*(INSTANTS * CRASHES)[: CRASHES - 5], *["crash"] * 5, *["jump"] * JUMPS, *["full"] * FULL]
    chance.shuffle(mishaps)
    live_through(mishaps, MONTH, bench, fuse, chance)
    rows = assert_whole(bench, made, MONTH)
    assert {row.cause for row in rows} == {None, "power", "storage"}
    assert sum(row.status == "captured" for row in rows) > MONTH * 0.98
    bench.close()


def test_hours_do_so_too(memory: Path, fuse: Fuse, chance: random.Random) -> None:
    bench = slides(memory)
    made = bench.start(interval_s=INTERVAL_S, count=9_000)
    mishaps = [*chance.sample(INSTANTS[:-2], 10), *["jump"] * JUMPS, *["full"] * FULL]
    chance.shuffle(mishaps)
    live_through(mishaps, 9_000, bench, fuse, chance)
    assert {row.cause for row in assert_whole(bench, made, 9_000)} == {None, "power", "storage"}
    bench.close()


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
        rows: list[dict[str, Any]] = []

        def is_whole() -> bool:
            """Each captured tick is in the film. One that was being taken at the end is in both a moment later."""
            status, _, film = service.call("GET", f"{url}/video.mp4", token)
            assert status == 200
            rows[:] = ledger(service, url, token)
            return frames_of(film, tmp_path) == sum(row["status"] == "captured" for row in rows)

        eventually(is_whole)
        job = get(service, url, token)
        assert [row["index"] for row in rows] == list(range(len(rows) - 1, -1, -1))
        assert {row["cause"] for row in rows} <= {None, "power", "overrun", "camera"}
        frames = [row for row in rows if row["status"] == "captured"]
        assert len(frames) == job["frames_captured"] > KILLS
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
