"""The power goes at any write to the data disk: all that was acknowledged by then is there, and nothing moves."""

from __future__ import annotations

import random
import secrets
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.lab.acknowledged import all_of, assert_kept, frames_captured
from tests.lab.conftest import Pi, eventually
from tests.lab.lapses import assert_up_to_date
from tests.lab.recovered import Recording, look_at_all
from tests.lab.swapped import other_boots, started_on
from tests.lab.tracing import DRIVES, Trace, traced
from tests.lab.work import clock_is_right, worked
from tests.lab.writes import Cut, CutDisks, writes_of

SECONDS, CUTS, BOOTS = 40.0, 500, 5
FEW_SECONDS, FEW_CUTS = 30.0, 12
PORCH = 17
NEWEST = 20
"""Commands that are asked for again in the guest, which takes its time."""


@dataclass(frozen=True)
class Recorded:
    """A period of work, and at which writes it may be cut off."""

    recording: Recording
    during: range

    def cuts(self, count: int) -> list[Cut]:
        """So many, at as many different writes as there are."""
        seed = secrets.randbits(32)
        chance = random.Random(seed)
        numbers = chance.sample(self.during, min(count, len(self.during)))
        numbers += chance.choices(self.during, k=count - len(numbers))
        print(f"{count} cuts at {len(set(numbers))} of {len(self.during)} writes, seed {seed}")  # noqa: T201
        return sorted(Cut(number, chance.getrandbits(32)) for number in numbers)


def recorded(pi: Pi, seconds: float) -> Recorded:
    """What it says in so many seconds."""
    began = pi.disk.position()
    with clock_is_right(pi):
        period = worked(pi, seconds)
    ended = max(told.at for told in period.told)
    writes = list(writes_of(pi.disk.log))
    during = [number for number, write in enumerate(writes) if began <= write.begins_at <= ended]
    flushes = sum(writes[number].is_flush for number in during)
    frames = [len(frames) for frames in period.frames.values()]
    print(f"{len(during)} writes, {flushes} of them flushes; told: {dict(period.counts())}; frames: {frames}")  # noqa: T201
    return Recorded(Recording(pi.disk.start, pi.disk.log, period, pi.token, writes), range(during[0], during[-1] + 1))


def assert_all_kept(recording: Recording, cuts: Sequence[Cut]) -> None:
    began = time.monotonic()
    seen = list(look_at_all(recording, cuts))
    took = time.monotonic() - began
    checked = sum((one.checked for one in seen), Counter[str]())
    print(f"{len(seen)} cuts in {took:.0f} s, {took / len(seen):.2f} s each; held against {dict(checked)}")  # noqa: T201
    faults = [one for one in seen if one.fault]
    assert not faults, f"{len(faults)} of {len(seen)} cuts; the first: {faults[0].cut}\n{faults[0].fault}"
    assert sorted(one.cut for one in seen) == cuts
    assert all(checked[kind] > len(cuts) for kind in ("Photo", "Frames", "Entry", "Command"))


@pytest.fixture(scope="module")
def work(pi: Pi, is_smoke: bool) -> Recorded:
    return recorded(pi, FEW_SECONDS if is_smoke else SECONDS)


@pytest.fixture
def lines(pi: Pi) -> Iterator[Trace]:
    """What is done to the lines while other boots may be."""
    with clock_is_right(pi), other_boots(pi), traced(pi.guest, DRIVES) as trace:
        yield trace


def test_a_pi_that_boots_after_a_power_cut_goes_on_and_moves_nothing(
    pi: Pi, work: Recorded, lines: Trace, tmp_path: Path
) -> None:
    """The guest's own kernel replays the journal of the disk, and its systemd starts piapi."""
    record, disk = work.recording, tmp_path / "disk"
    lapse = next(iter(record.period.frames))
    disks = CutDisks(record.start, record.log, tmp_path / "base", record.writes)
    for cut in Recorded(record, work.during[len(work.during) // BOOTS :]).cuts(BOOTS):
        told = record.told_by(cut).newest(NEWEST)
        disks.make(cut, disk)
        lines.begin_anew()
        with started_on(pi, disk):
            eventually(pi.answers, "piapi answers")
            captured = frames_captured(pi, lapse)
            assert_kept(pi, told)
            eventually(lambda captured=captured: frames_captured(pi, lapse) > captured, "the time-lapse goes on")
            assert_up_to_date(all_of(pi, f"{lapse}/frames"))
            assert {level for levels in lines.levels_driven().values() for level in levels} == {0}
            pi.ask("PUT", "pins/porch/value", {"value": True})
            assert lines.levels_driven()[PORCH][-1] == 1, "this would not have seen it"
            print(f"write {cut.writes - work.during[0]}: {dict(told.counts())}; {pi.guest.run('piapi fsck').strip()}")  # noqa: T201


@pytest.mark.smoke
def test_what_was_acknowledged_outlives_power_cuts(work: Recorded, is_smoke: bool) -> None:
    assert_all_kept(work.recording, work.cuts(FEW_CUTS if is_smoke else CUTS))
