"""Something that happens every so often, as scripts do it: by APScheduler, or by a sleep between two.

`ticking.py apscheduler|sleep INTERVAL_S COUNT` says of each tick how late it was, in seconds; nothing is done in one.
"""

import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta


def apscheduler(interval_s: float, count: int) -> Iterator[float]:
    """An interval trigger in a background scheduler, with what is set by default."""
    from apscheduler.schedulers.background import BackgroundScheduler

    begins = datetime.now(UTC) + timedelta(seconds=1)
    ends = begins + timedelta(seconds=interval_s * (count - 0.5))
    moments: list[float] = []
    scheduler = BackgroundScheduler(timezone=UTC)
    scheduler.add_job(
        lambda: moments.append(time.time()), "interval", seconds=interval_s, start_date=begins, end_date=ends
    )
    scheduler.start()
    threading.Event().wait((ends - datetime.now(UTC)).total_seconds() + 1)
    scheduler.shutdown()
    for moment in moments:  # one that was left out is not counted against it
        yield (moment - begins.timestamp()) % interval_s


def sleep(interval_s: float, count: int) -> Iterator[float]:
    """A loop that sleeps."""
    moments = []
    for _ in range(count):
        moments.append(time.monotonic())
        time.sleep(interval_s)
    for number, moment in enumerate(moments):
        yield moment - moments[0] - number * interval_s


way = {"apscheduler": apscheduler, "sleep": sleep}[sys.argv[1]]
sys.stdout.writelines(f"{late_s:.6f}\n" for late_s in way(float(sys.argv[2]), int(sys.argv[3])))
