"""Snapshots a second, beside a bare Flask view that returns the same bytes."""

from __future__ import annotations

import time

from benchmarks.lab import Lab
from benchmarks.load import Caller, median, requests_per_second
from benchmarks.servers import CAMERA, bare_flask, piapi
from benchmarks.table import Row, compared

CONNECTIONS = 16
_OURS = f"/api/v1/cameras/{CAMERA}/snapshot?max_age_s=1"


def measure(lab: Lab) -> list[Row]:
    """In turns, so that whatever else the machine does hits both."""
    with lab.webcam() as camera, piapi(lab, camera) as ours:
        caller = Caller(ours)
        jpeg = lab.new_folder("snapshot") / "snapshot.jpg"
        jpeg.write_bytes(body := caller.get(_OURS))
        caller.close()
        with bare_flask(lab, jpeg) as peer:
            seconds, rates = lab.take(4, 2), []
            for _ in range(lab.rounds(5)):
                rates.append(
                    (
                        requests_per_second(ours, _OURS, seconds, CONNECTIONS),
                        requests_per_second(peer, "/snapshot", seconds, CONNECTIONS),
                    )
                )
                time.sleep(0.2)
    our_rate, peer_rate = (median([pair[side] for pair in rates]) for side in (0, 1))
    return [
        compared(
            f"snapshot, max_age_s=1, {len(body) / 1000:.0f} KB: requests/s",
            f"{our_rate:,.0f}",
            f"{peer_rate:,.0f} bare Flask view",
            median([mine / its for mine, its in rates]),
            "≥ 0.8",
        )
    ]
