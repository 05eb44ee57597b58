"""Pictures that can be told apart, and a film that has to show them all: each once, in order."""

from __future__ import annotations

import io
from array import array
from collections.abc import Mapping
from pathlib import Path

import av

from piapi.film.pictures import luminance
from piapi.hardware.base import ControlValue
from piapi.services.capture_queue import Taken
from piapi.timelapse import Row, Timelapse
from tests.fakes import FakeClock
from tests.lapse import Bench, TickCamera, jpeg
from tests.test_film import data_of

STEP = 9
"""What the greys of two slides differ by, at least, of 255."""

SLIDES = [jpeg(grey=grey) for grey in range(20, 240, STEP)]


class Slides(TickCamera):
    """Each picture is of another grey than those before it."""

    def take_tick(self, width: int, height: int, controls: Mapping[str, ControlValue], begin_at: float = 0.0) -> Taken:
        self.data = SLIDES[self.taken % len(SLIDES)]
        return super().take_tick(width, height, controls, begin_at)


def slides(folder: Path) -> Bench:
    """A bench with such a camera."""
    clock = FakeClock()
    return Bench(folder / "data", clock, cam=Slides(clock, takes_s=0.05))


def assert_whole(bench: Bench, made: Timelapse, ticks: int) -> list[Row]:
    """It has ended, every tick is accounted for, and each captured frame is once in the film, in order.

    Gives the ledger."""
    assert bench.get(made).state == "finished"
    rows = bench.ledger(made)
    assert [row.index for row in rows] == list(range(ticks))
    assert all((row.status == "missed") == (row.cause is not None) for row in rows)
    captured = [row for row in rows if row.status == "captured"]
    assert bench.film_ticks(made) == [row.index for row in captured]
    assert_shown(bench, made, captured)
    return rows


def assert_shown(bench: Bench, made: Timelapse, captured: list[Row]) -> None:
    """The film shows just these, as each file is bright."""
    job = bench.store.get(made.id)
    assert job is not None
    shown = lumas(data_of(bench.lapses.film(made.id)))
    assert len(shown) == len(captured)
    for luma, row in zip(shown, captured, strict=True):
        expected = row.luminance
        if expected is None:  # adopted after a crash
            expected = luminance(bench.store.read_frame(job, row.index))
        assert abs(luma - expected) < STEP / 255 / 2, f"another picture stands at tick {row.index}"


def lumas(film: bytes) -> array[float]:
    """Of each picture of an MP4, decoded, in its corner; 0 to 1."""
    with av.open(io.BytesIO(film)) as container:
        return array("d", ((memoryview(frame.planes[0])[0] - 16) / 219 for frame in container.decode(video=0)))
