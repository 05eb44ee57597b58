"""A viewer on a slow link: how old are the frames when they have arrived, and do others suffer?"""

from __future__ import annotations

import time
from dataclasses import dataclass

from benchmarks.lab import Lab
from benchmarks.load import Watched, median, viewers
from benchmarks.processes import Missing
from benchmarks.servers import piapi, ustreamer
from benchmarks.streaming import ENOUGH, Starter
from benchmarks.table import Row, within
from benchmarks.tools import FPS, Webcam

BYTES_PER_S = 400_000
OTHERS = 9


@dataclass(frozen=True, slots=True)
class Seen:
    """What the slow viewer saw, and the others."""

    slow: Watched
    others: list[Watched]
    seconds: float

    @property
    def age_s(self) -> str:
        """Age of the slow viewer's frames."""
        return f"{median([float(age) for age in self.slow.ages_us]) / 1e6:.2f} s (at most {self.oldest_s:.2f} s)"

    @property
    def oldest_s(self) -> float:
        return max(self.slow.ages_us) / 1e6

    @property
    def others_text(self) -> str:
        return f"{sum(viewer.lost for viewer in self.others)}, {self.others_fps:.1f} fps each"

    @property
    def others_fps(self) -> float:
        """Of the one who got fewest."""
        return min(viewer.frames for viewer in self.others) / self.seconds


def measure(lab: Lab) -> list[Row]:
    """One server after the other."""
    with lab.webcam() as camera:
        ours = _watch(lab, camera, piapi)
        try:
            peer = _watch(lab, camera, ustreamer)
            peer_age, peer_others = f"{peer.age_s} ustreamer", f"{peer.others_text} ustreamer"
        except Missing as missing:
            peer_age = peer_others = f"ustreamer not measured: {missing}"
    unhurt = not any(viewer.lost for viewer in ours.others) and ours.others_fps >= ENOUGH * FPS
    what = f"one viewer at {BYTES_PER_S // 1000} KB/s, 640×480: age of its frames"
    others = f"the {OTHERS} others meanwhile: frames lost"
    return [
        Row(what, ours.age_s, peer_age, None, "≤ 0.5 s", within(ours.oldest_s, "≤ 0.5 s")),
        Row(others, ours.others_text, peer_others, None, "none", unhurt),
    ]


def _watch(lab: Lab, camera: Webcam, start: Starter) -> Seen:
    with (
        start(lab, camera) as server,
        viewers(lab, server, 1 + OTHERS, throttled=1, bytes_per_s=BYTES_PER_S) as watching,
    ):
        time.sleep(lab.take(5, 2))  # until the buffers on the way are as full as they get
        watching.start()
        time.sleep(lab.take(15, 4))
        slow, *others = watching.stop()
    return Seen(slow, others, watching.seconds)
