"""The film of a time-lapse: finished at once, rendered in little memory, and without its flicker."""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import PIL.Image

from benchmarks import frames
from benchmarks.lab import Lab
from benchmarks.load import median
from benchmarks.processes import CORES, Failed, program
from benchmarks.table import Row, compared
from piapi.film import catalogue, segments
from piapi.film.flicker import flicker_score
from piapi.film.job import RenderJob, frame_line
from piapi.film.pictures import luminance, mean_luma
from piapi.film.reading import read_film
from piapi.film.writer import SEGMENT_FRAMES, FilmWriter

SIZE = (1920, 1080)
PRESET, THREADS, FPS = "veryfast", 2, 30
NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)

_FINISHED_WITHIN_S = 1.0
_LEAST_GAIN = 10


def measure(lab: Lab) -> list[Row]:
    """On all cores: nothing else is measured meanwhile."""
    with _all_cores():
        rows = [_finished(lab, count) for count in ((100, 1000) if lab.quick else (100, 10_000))]
        return [*rows, *_rendered(lab, 120 if lab.quick else 500), _deflickered(lab, 120 if lab.quick else 300)]


def _finished(lab: Lab, count: int) -> Row:
    """From the last JPEG to a film that can be sent, beside ffmpeg, which begins when the last JPEG is there."""
    ffmpeg, jpegs = program("ffmpeg", "ffmpeg"), _jpegs(lab)
    film = _film_but_for_the_last(lab.new_folder("film"), jpegs, count)
    data = jpegs[(count - 1) % len(jpegs)].read_bytes()
    began = time.perf_counter()
    film.append(count - 1, data, NOON, False)
    film.finish()
    made = read_film(film.folder, FPS)
    ours = time.perf_counter() - began
    if made.frames != count:
        raise Failed(f"the film has {made.frames} frames, not {count}")
    folder = _numbered(lab, jpegs, count)
    its = _run(_ffmpeg(ffmpeg, folder, folder / "film.mp4", preset="ultrafast")).elapsed_s
    return compared(
        f"last frame → finished film, {count:,} frames of 1080p",
        f"{ours * 1000:.0f} ms",
        f"{its:.1f} s ffmpeg, ultrafast",
        its / ours,
        f"≥ {_LEAST_GAIN} and ≤ {_FINISHED_WITHIN_S:g} s",
        provided=ours <= _FINISHED_WITHIN_S,
    )


class _Film(FilmWriter):
    """A film whose folder is known."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, FPS)
        self.folder = folder


def _film_but_for_the_last(folder: Path, jpegs: Sequence[Path], count: int) -> _Film:
    """A film of `count` frames less one. One segment is encoded, and linked as all the others that are whole: on disk
    they are what they would be, and encoding ten thousand frames is not what is measured."""
    first = FilmWriter(folder, FPS)
    first.open()
    for index in range(SEGMENT_FRAMES):
        first.append(index, jpegs[index % len(jpegs)].read_bytes(), NOON, False)
    known, _bad = catalogue.load(folder)
    head = segments.read(segments.path_of(folder, 0))
    whole = (count - 1) // SEGMENT_FRAMES
    for ordinal in range(1, whole):
        os.link(segments.path_of(folder, 0), segments.path_of(folder, ordinal))
        known.add(ordinal, replace(head, indices=array("q", (at + ordinal * SEGMENT_FRAMES for at in head.indices))))
    known.save(folder)
    film = _Film(folder)
    film.open()
    for index in range(whole * SEGMENT_FRAMES, count - 1):
        film.append(index, jpegs[index % len(jpegs)].read_bytes(), NOON, False)
    return film


def _rendered(lab: Lab, count: int) -> list[Row]:
    """CPU and memory of the child, beside ffmpeg, in turns."""
    ffmpeg, jpegs = program("ffmpeg", "ffmpeg"), _jpegs(lab)
    folder = _numbered(lab, jpegs, count)
    job = RenderJob(_listed(folder, count), str(folder / "ours.mp4"), fps=FPS, preset=PRESET, threads=THREADS)
    peer = ["nice", "-n", "19", *_ffmpeg(ffmpeg, folder, folder / "its.mp4", preset=PRESET, threads=THREADS)]
    mine, its = [], []
    for turn in range(lab.rounds(3)):
        for ours in (turn % 2 == 0, turn % 2 == 1):
            (mine if ours else its).append(_render(job) if ours else _run(peer))
    cpu = [one.cpu_s / other.cpu_s for one, other in zip(mine, its, strict=True)]
    memory = [one.peak_mb / other.peak_mb for one, other in zip(mine, its, strict=True)]
    what = f"render of {count} frames of 1080p, {PRESET}, {THREADS} threads"
    return [
        compared(
            f"{what}: CPU",
            f"{median([one.cpu_s for one in mine]):.1f} s",
            f"{median([one.cpu_s for one in its]):.1f} s ffmpeg",
            median(cpu),
            "≤ 1.1",
        ),
        compared(
            f"{what}: peak memory",
            f"{median([one.peak_mb for one in mine]):.0f} MB",
            f"{median([one.peak_mb for one in its]):.0f} MB ffmpeg",
            median(memory),
            "≤ 0.85",
        ),
    ]


def _deflickered(lab: Lab, count: int) -> Row:
    """A day from night to noon whose exposure jumps by up to a quarter of a stop, filmed as it is and evened out."""
    folder = lab.new_folder("flicker")
    bright = PIL.Image.open(_jpegs(lab)[0]).resize((640, 360))
    chance = random.Random(7)
    seen = []
    for number in range(count):
        daylight = 0.1 + 0.9 * math.sin(math.pi / 2 * number / count)
        factor = daylight * 2 ** chance.uniform(-0.25, 0.25)
        file = io.BytesIO()
        bright.point([min(255, round(level * factor)) for level in range(256)] * 3).save(file, "JPEG", quality=85)
        (folder / f"{number:06d}.jpg").write_bytes(file.getvalue())
        seen.append(luminance(file.getvalue()))
    scores = []
    for name, deflicker in (("before.mp4", False), ("after.mp4", True)):
        job = RenderJob(_listed(folder, count, seen), str(folder / name), fps=FPS, preset=PRESET, deflicker=deflicker)
        _render(job)
        scores.append(flicker_score(_brightness(folder / name)))
    before, after = scores
    return compared(
        f"flicker of a film of {count} frames, deflickered",
        f"{after:.4f} stops",
        f"{before:.4f} stops as it was",
        before / after,
        "≥ 3",
    )


def _brightness(path: Path) -> list[float]:
    """Luma of each picture of a film, 0 (black) to 1."""
    import av

    with av.open(str(path)) as container:
        return [(mean_luma(picture) * 255 - 16) / 219 for picture in container.decode(video=0)]


@dataclass(frozen=True, slots=True)
class _Used:
    """What a program has used by its end."""

    cpu_s: float
    peak_mb: float
    elapsed_s: float


def _render(job: RenderJob) -> _Used:
    return _run([sys.executable, "-m", "piapi.film.render"], job.to_json())


_LAUNCHER = """
import json, os, sys
child = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ)
_, status, used = os.wait4(child, 0)
print(json.dumps([os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime, used.ru_maxrss / 1024]))
"""
"""The kernel counts the memory of whoever starts a program as that program's peak, so somebody small has to."""


def _run(command: Sequence[str], told: str = "") -> _Used:
    """Run a program to its end. Raises Failed."""
    began = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _LAUNCHER, *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    ) as launcher:
        try:
            said, _nothing = launcher.communicate(told.encode())
        finally:
            if launcher.poll() is None:
                os.killpg(launcher.pid, signal.SIGKILL)
    *words, last = said.decode(errors="replace").splitlines() or [""]
    if launcher.returncode:
        raise Failed(f"{command[0]} did not start: {last}")
    status, cpu_s, peak_mb = json.loads(last)
    if status:
        raise Failed(f"{command[0]} ended with {status}: {' / '.join(words[-2:])}")
    return _Used(cpu_s, peak_mb, time.perf_counter() - began)


def _ffmpeg(ffmpeg: str, folder: Path, output: Path, *, preset: str, threads: int = 0) -> list[str]:
    """JPEGs to H.264 in tv range, moov in front, with threads of its own choice (0) or so many."""
    command = [ffmpeg, "-nostdin", "-v", "error", "-y", "-framerate", str(FPS), "-threads", str(threads)]
    command += ["-i", f"{folder}/%06d.jpg", "-vf", "scale=out_range=tv", "-pix_fmt", "yuv420p", "-c:v", "libx264"]
    command += ["-threads", str(threads), "-preset", preset, "-crf", "21", "-g", str(4 * FPS)]
    return [*command, "-movflags", "+faststart", str(output)]


def _jpegs(lab: Lab) -> list[Path]:
    folder = lab.folder / f"footage-{SIZE[0]}x{SIZE[1]}"
    return sorted(folder.iterdir()) if folder.exists() else frames.write_footage(folder, *SIZE)


def _numbered(lab: Lab, jpegs: Sequence[Path], count: int) -> Path:
    """A folder in which the footage goes on and on, as names of the same files."""
    folder = lab.new_folder("numbered")
    for number in range(count):
        os.link(jpegs[number % len(jpegs)], folder / f"{number:06d}.jpg")
    return folder


def _listed(folder: Path, count: int, luminances: Sequence[float | None] = ()) -> str:
    path = folder / "list"
    with path.open("w") as lines:
        for number in range(count):
            brightness = luminances[number] if luminances else None
            lines.write(frame_line(folder / f"{number:06d}.jpg", NOON + timedelta(minutes=number), brightness))
    return str(path)


@contextlib.contextmanager
def _all_cores() -> Iterator[None]:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, CORES)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
