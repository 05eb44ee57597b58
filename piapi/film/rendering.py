"""A film that is made in one go from a list of JPEGs: frame by frame, so that memory does not grow with it."""

from __future__ import annotations

import hashlib
import os
from array import array
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from zoneinfo import ZoneInfo

from piapi.errors import DamagedPicture, NoFilm
from piapi.film import flicker, mp4, nal, stamp
from piapi.film.encoder import set_colours
from piapi.film.job import RenderJob, listed
from piapi.film.pictures import Decoder
from piapi.film.rates import exact_rate
from piapi.storage.files import PART, sync_folder

if TYPE_CHECKING:
    import av

_CODECS = {"h264": "libx264", "hevc": "libx265"}
_PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow")
_CRF = {"h264": "21", "hevc": "24"}

#: Pictures that the encoder looks ahead, whatever the preset: at 1080p each is 6 MB of memory.
_LOOK_AHEAD = "5"

#: Seconds of film after which decoding can begin anew.
_KEY_EVERY_S = 4

_CHUNK = 60  # samples
_READ = 1 << 20


@dataclass(frozen=True, slots=True)
class Rendered:
    """A film that is whole and durable."""

    frames: int
    skipped: int
    """Frames whose JPEG is missing or damaged."""
    size_bytes: int
    sha256: str


def render(job: RenderJob, progress: Callable[[int, int, int], None]) -> Rendered:
    """Make the film of a job; `progress` is told frames done, skipped, and of how many.

    Raises NoFilm when no frame can be decoded, ValueError for a job that is none, and OSError; nothing is left then.
    """
    output = Path(job.output)
    part = output.with_name(output.name + PART)
    try:
        with part.open("w+b") as file:
            frames, skipped = _render(job, file, progress)
            file.flush()
            os.fsync(file.fileno())
            file.seek(0)
            sha256 = hashlib.sha256()
            while data := file.read(_READ):
                sha256.update(data)
            size = file.tell()
        part.rename(output)
        sync_folder(output.parent)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise
    return Rendered(frames, skipped, size, sha256.hexdigest())


def _render(job: RenderJob, file: BinaryIO, progress: Callable[[int, int, int], None]) -> tuple[int, int]:
    luminances = array(
        "d", (float("nan") if f.luminance is None else f.luminance for f in listed(Path(job.frames), job.every_nth))
    )
    gains = flicker.gains(luminances) if job.deflicker else None
    total, done, skipped = len(luminances), 0, 0
    film: _Film | None = None
    for picture in _pictures(job, gains):
        if picture is None:
            skipped += 1
        else:
            film = film or _Film(file, job, picture.width, picture.height, total)
            film.add(picture)
            done += 1
        progress(done, skipped, total)
    if film is None:
        raise NoFilm("None of the frames can be read.")
    film.finish()
    return done, skipped


def _pictures(job: RenderJob, gains: array[float] | None) -> Iterator[av.VideoFrame | None]:
    """Each as it is to be encoded; None for one that is missing or damaged."""
    zone = ZoneInfo(job.zone) if job.zone else None
    decoder = Decoder()
    size: tuple[int, int] | None = None
    for number, frame in enumerate(listed(Path(job.frames), job.every_nth)):
        try:
            picture = decoder.picture(Path(frame.path).read_bytes(), size, job.width)
        except (DamagedPicture, FileNotFoundError):
            yield None
            continue
        size = picture.width, picture.height
        if gains is not None:
            flicker.apply(gains[number], picture)
        if job.timestamp:
            stamp.draw(picture, frame.captured_at, zone)
        yield picture


class _Film:
    """An MP4 file that is being written: room for its head, samples, and then the head."""

    def __init__(self, file: BinaryIO, job: RenderJob, width: int, height: int, frames: int) -> None:
        self._file, self._hevc, self._size = file, job.codec == "hevc", (width, height)
        self._rate = exact_rate(job.fps)
        self._encoder = _opened(job, width, height, self._rate)
        self._sets: tuple[bytes, ...] = ()
        self._sizes, self._keys, self._reordered, self._place = array("I"), array("I"), array("i"), 0
        self._own_sets = False
        self._room = mp4.room_for(frames, _CHUNK)
        file.seek(self._room)

    def add(self, picture: av.VideoFrame) -> None:
        """The next picture."""
        from av.video.frame import PictureType

        picture.pts, picture.time_base = self._place, 1 / self._rate
        picture.pict_type = PictureType.NONE  # a JPEG comes as a key frame, and each would be one in the film
        self._place += 1
        self._write(self._encoder.encode(picture))

    def finish(self) -> None:
        """Write what the encoder still holds, and the head."""
        self._write(self._encoder.encode(None))
        entry = nal.hevc_entry if self._hevc else nal.avc_entry
        starts = range(0, len(self._sizes), _CHUNK)
        chunk_sizes = array("Q", (sum(self._sizes[start : start + _CHUNK]) for start in starts))
        chunks = array("I", (min(_CHUNK, len(self._sizes) - start) for start in starts))
        reordered = self._reordered if any(self._reordered) else array("i")
        track = mp4.Track(
            entry(self._sets, *self._size),
            *self._size,
            self._rate,
            self._sizes,
            self._keys,
            chunks,
            chunk_sizes,
            reordered,
        )
        self._file.seek(0)
        self._file.write(mp4.head(track, room=self._room))

    def _write(self, packets: list[Any]) -> None:
        for packet in packets:
            coded = nal.split(bytes(packet), hevc=self._hevc)
            self._sets = self._sets or coded.sets
            self._file.write(coded.sample)
            self._reordered.append(packet.pts - len(self._sizes))
            self._sizes.append(len(coded.sample))
            if packet.is_keyframe:
                self._keys.append(len(self._sizes))


def _opened(job: RenderJob, width: int, height: int, rate: Fraction) -> Any:
    import av

    if job.preset not in _PRESETS:
        raise ValueError(f"there is no preset {job.preset}; there are {', '.join(_PRESETS)}")
    context: Any = av.CodecContext.create(_CODECS[job.codec], "w")
    context.width, context.height, context.pix_fmt = width, height, "yuv420p"
    context.time_base, context.framerate = 1 / rate, rate
    context.thread_count = job.threads or max(1, (os.cpu_count() or 1) - 1)
    context.gop_size = max(1, min(250, round(_KEY_EVERY_S * rate)))
    set_colours(context)
    context.options = {"preset": job.preset, "crf": _CRF[job.codec]}
    if job.codec == "hevc":
        own = ["log-level=none", "open-gop=0", "repeat-headers=1", "frame-threads=1", f"rc-lookahead={_LOOK_AHEAD}"]
        context.options |= {"x265-params": ":".join([*own, f"pools={context.thread_count}"])}
    else:
        context.options |= {"rc-lookahead": _LOOK_AHEAD}
    context.open()
    return context
