"""A Pi without a clock of its own wakes up in the past and is set when the network comes: nothing is lost or rushed."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from piapi.clock import format_time
from tests.lab.conftest import DATA_MOUNT, Pi, eventually
from tests.lab.lapses import Lapse, lapse

YEAR_S = 365 * 86400
INTERVAL_S = 3
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
PREPARED_S = 60
"""Until four time-lapses are made and the clock is set, on a guest that is busy."""

TIMESYNC = "/run/systemd/timesync"
"""Where systemd-timesyncd says that it has set the clock."""


@pytest.fixture
def behind(pi: Pi) -> Iterator[None]:
    """The clock is a year behind and waits for the network, and piapi starts."""
    pi.guest.run(f"mkdir -p {TIMESYNC}")
    pi.guest.set_clock(time.time() - YEAR_S)
    try:
        pi.guest.run("systemctl restart piapi")
        yield
    finally:
        pi.guest.set_clock(time.time())
        pi.guest.run(f"rm -r {TIMESYNC}")


def synchronise(pi: Pi) -> None:
    """As systemd-timesyncd does it: a step, then the word."""
    pi.guest.set_clock(time.time())
    pi.guest.run(f"touch {TIMESYNC}/synchronized")


def in_s(seconds: float) -> str:
    """A time from now, by the clock that is right."""
    return format_time(datetime.now(UTC) + timedelta(seconds=seconds))


def opening() -> datetime:
    """The next full minute for which there is time."""
    return (datetime.now(UTC) + timedelta(seconds=PREPARED_S) + MINUTE).replace(second=0, microsecond=0)


def captured(job: Lapse) -> list[Any]:
    """Rows of its first frames, in their order. Outside a window there are none, and numbers go on."""
    rows = job.pi.get(f"{job.links['frames']}?limit=200")["items"]
    return sorted((row for row in rows if row["status"] == "captured"), key=lambda row: row["index"])


def seconds_from_now(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp() - time.time()


def uptime_s(pi: Pi) -> float:
    return float(pi.guest.run("cut -d' ' -f1 /proc/uptime"))


def take(pi: Pi) -> Any:
    return pi.ask("POST", "cameras/webcam/photos", {}, expected=201)


def assert_kept(pi: Pi, link: str, sha256: str) -> None:
    status, _, data = pi.call("GET", link)
    assert status == 200, data
    assert hashlib.sha256(data).hexdigest() == sha256


def test_no_picture_is_lost_and_no_tick_is_hurried_by_a_step_of_a_year(pi: Pi, behind: None) -> None:
    with lapse(pi, "webcam", interval_s=INTERVAL_S, count=500) as running:
        photos = [take(pi), take(pi)]
        running.wait_for_frames(3)
        kept = running.frames()
        running.wait_for_frames(1)  # so that none is due by now which is counted later
        began, due = uptime_s(pi), running.now()["frames_due"]
        synchronise(pi)
        photos += [take(pi), take(pi)]
        running.wait_for_frames(4)
        due = running.now()["frames_due"] - due
        elapsed = uptime_s(pi) - began
        print(f"{due} ticks of {INTERVAL_S} s in {elapsed:.1f} s by CLOCK_BOOTTIME, over a step of a year")  # noqa: T201
        assert elapsed / INTERVAL_S - 3 <= due <= elapsed / INTERVAL_S + 1

        ledger = running.ledger()
        assert -60 < seconds_from_now(ledger[-1]["due_at"]) < 1
        captured = [row for row in ledger if row["status"] == "captured"]
        files = pi.guest.run(f"find {DATA_MOUNT}/timelapses/{running.id}/frames -name '*.jpg'").split()
        assert len(captured) <= len(files) <= len(captured) + 1  # one may be under way
        for link, sha256 in kept.items():
            assert_kept(pi, link, sha256)

    assert len({photo["id"] for photo in photos}) == 4
    for photo in photos:
        assert_kept(pi, photo["links"]["file"], photo["sha256"])
    listed = [photo["id"] for photo in pi.get(f"photos?since={in_s(-600)}")["items"]]
    assert listed[:2] == [photos[3]["id"], photos[2]["id"]]
    assert photos[0]["id"] not in listed


def test_what_has_a_calendar_waits_for_the_clock_and_is_then_right(pi: Pi, behind: None) -> None:
    plan = {"interval_s": INTERVAL_S}
    opens = opening()
    with (
        lapse(
            pi, "webcam", **plan, count=500, window={"from": f"{opens:%H:%M}", "to": f"{opens + HOUR:%H:%M}"}
        ) as windowed,
        lapse(pi, "webcam", **plan, count=500, start_at=format_time(opens)) as later,
        lapse(pi, "webcam", **plan, count=3, start_at=in_s(600 - YEAR_S)) as over,
        lapse(pi, "webcam", **plan, until=in_s(1800)) as ending,
    ):
        jobs = (windowed, later, over, ending)
        for job in jobs:
            eventually(lambda job=job: job.now()["state"] == "waiting", "it waits")  # type: ignore[misc]
            assert "waits for the clock" in job.now()["state_reason"]
        began = uptime_s(pi)
        synchronise(pi)
        ending.wait_for_frames(1)
        ledger = ending.ledger()
        assert len(ledger) <= (uptime_s(pi) - began) / INTERVAL_S + 1
        assert "clock" not in [row["cause"] for row in ledger]
        total = eventually(lambda: ending.now()["frames_total"], "what it comes to is known")
        assert abs(total - 1800 / INTERVAL_S) < 100
        assert [row["cause"] for row in over.ledger()] == ["clock"] * 3
        over.wait_for_state("finished")
        for job in (windowed, later):
            assert (job.ledger(), job.now()["state"]) == ([], "waiting" if job is windowed else "scheduled")
        assert opens > datetime.now(UTC), "the guest was too slow"
        for job in (windowed, later):
            rows = eventually(lambda job=job: captured(job), "it begins", 240)  # type: ignore[misc]
            first, late_s = rows[0], (datetime.fromisoformat(rows[0]["due_at"]) - opens).total_seconds()
            print(f"due {late_s:.1f} s after its time, captured {first['lateness_ms']:.0f} ms later")  # noqa: T201
            assert -0.002 < late_s < 3 * INTERVAL_S  # times are told in whole milliseconds
            assert 0 <= first["lateness_ms"] < 2000
