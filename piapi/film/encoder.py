"""H.264 as a film grows: each picture costs one encode, and comes out as it goes in.

The hardware of a Pi is used where it really works, which only a try can tell; x264 otherwise.
"""

from __future__ import annotations

import functools
import io
import logging
from array import array
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from piapi.film import mp4, nal

if TYPE_CHECKING:
    import av

_log = logging.getLogger(__name__)

HARDWARE, SOFTWARE = "h264_v4l2m2m", "libx264"

#: For x264. Superfast: a Zero 2 W takes some 0.5 s for a picture of 1080p. No look-ahead, so that none is held back.
_X264 = {"preset": "superfast", "tune": "zerolatency", "crf": "22", "forced-idr": "1", "bf": "0"}

#: Bits a pixel for hardware, which knows no constant quality, and the coarsest quantizer: a Pi gives its first pictures
#: far too few bits otherwise (raspberrypi/linux, issue 4741).
_HARDWARE_BITS, _COARSEST = 0.15, 34

#: Sizes at which the hardware was chosen and then failed, in this process.
_given_up: set[tuple[int, int]] = set()

_TV_RANGE = 1
_TRY_SIZE = 4  # pictures that have to come through
_TRY_RATE = Fraction(30)
_ALIKE = 12  # levels that a pixel of them may be off, on the average


class Encoder:
    """One H.264 stream. Not for more than one thread at a time."""

    def __init__(self, width: int, height: int, rate: Fraction, gop: int, name: str | None = None) -> None:
        """`name`: HARDWARE or SOFTWARE; None: whichever works. Raises FFmpegError, ValueError."""
        self.name = name or (SOFTWARE if (width, height) in _given_up else choose(width, height))
        self._context = _opened(self.name, width, height, rate, gop)
        self._tags = _tagging(self.name)
        self._place = 0
        self._held = 0
        self._sets: tuple[bytes, ...] = ()

    @property
    def holds_back(self) -> bool:
        """Whether pictures have gone in that have not come out."""
        return self._held > 0

    def encode(self, picture: av.VideoFrame, *, key: bool) -> list[nal.Picture]:
        """What is ready, oldest first: for x264 just this picture. `key`: decoding can begin with it."""
        from av.video.frame import PictureType

        picture.pts, picture.time_base = self._place, self._context.time_base
        picture.pict_type = PictureType.I if key else PictureType.NONE
        self._place += 1
        self._held += 1
        return self._taken(self._context.encode(picture))

    def drain(self) -> list[nal.Picture]:
        """All that is held back. Nothing can be encoded afterwards."""
        return self._taken(self._context.encode(None))

    def give_up(self) -> bool:
        """After a failure: whether there is another encoder to go on with. The next one that is made will be that."""
        if self.name == SOFTWARE:
            return False
        _log.warning("The hardware that encodes films has failed; x264 goes on.")
        _given_up.add((self._context.width, self._context.height))
        return True

    def _taken(self, packets: list[Any]) -> list[nal.Picture]:
        """Pictures, of which each key has its parameter sets. Of hardware FFmpeg asks for them in a packet of their own
        (libavcodec/v4l2_m2m_enc.c), and a Pi gives them once, before its first picture."""
        pictures = []
        for packet in packets:
            for out in self._tags.filter(packet) if self._tags else (packet,):
                picture = nal.split(bytes(out))
                self._sets = picture.sets or self._sets
                if picture.sample:
                    pictures.append(replace(picture, sets=self._sets if picture.key else picture.sets))
        self._held -= len(pictures)
        return pictures


@functools.cache
def choose(width: int, height: int) -> str:
    """The encoder for this size: hardware when it opens, and pictures come through it as they are. Tried once in a
    process."""
    import av

    try:
        if _comes_through(Encoder(width, height, _TRY_RATE, 30, HARDWARE), width, height):
            _log.info("Films of %d × %d are encoded by hardware.", width, height)
            return HARDWARE
        _log.info("The hardware does not encode %d × %d as it should; x264 does.", width, height)
    except (av.FFmpegError, ValueError, OSError) as error:
        _log.debug("No hardware encodes %d × %d: %s", width, height, error)
    return SOFTWARE


def _comes_through(encoder: Encoder, width: int, height: int) -> bool:
    """Whether a film can be decoded, and looks as what went in.

    A Pi takes rows of n × 64 pixels, and 1,920 at most (bcm2835-v4l2-codec.c). With others it opens all the same, and
    FFmpeg copies planes as they are (v4l2_buffers.c): the film is skewed, or cut off.
    """
    import av

    scene = _slope(width, height)
    pictures = [out for place in range(_TRY_SIZE) for out in encoder.encode(scene, key=place == 0)] + encoder.drain()
    if len(pictures) != _TRY_SIZE or not (pictures[0].key and pictures[0].sets):
        return False
    sizes = array("I", (len(picture.sample) for picture in pictures))
    keys = array("I", (place for place, picture in enumerate(pictures, 1) if picture.key))
    entry = nal.avc_entry(pictures[0].sets, width, height)
    head = mp4.head(mp4.Track(entry, width, height, _TRY_RATE, sizes, keys, [_TRY_SIZE], [sum(sizes)]))
    with av.open(io.BytesIO(head + b"".join(picture.sample for picture in pictures)), "r") as film:
        shown = list(film.decode(video=0))
    return len(shown) == _TRY_SIZE and all(
        (picture.width, picture.height) == (width, height) and _difference(picture, scene) <= _ALIKE
        for picture in shown
    )


def _slope(width: int, height: int) -> av.VideoFrame:
    """From dark at the left to light at the right, made as pictures of a film are."""
    import av

    grey = av.VideoFrame(width, height, "gray")
    plane = grey.planes[0]
    row = bytes(32 + 160 * x // width for x in range(width)).ljust(plane.line_size, b"\0")
    plane.update(row * (plane.buffer_size // plane.line_size))
    return grey.reformat(format="yuv420p")


def _difference(picture: av.VideoFrame, other: av.VideoFrame) -> float:
    """Levels by which pixels differ, on the average, from some of them."""
    one, two = (memoryview(each.planes[0]) for each in (picture, other))
    stride, stride_two = picture.planes[0].line_size, other.planes[0].line_size
    rows, columns = range(0, picture.height, 8), range(0, picture.width, 8)
    total = sum(abs(one[y * stride + x] - two[y * stride_two + x]) for y in rows for x in columns)
    return total / (len(rows) * len(columns))


def set_colours(context: Any) -> None:
    """Say in the stream what the colours mean; by default nothing would be said of them."""
    context.color_range = _TV_RANGE
    context.color_primaries, context.color_trc, context.colorspace = mp4.PRIMARIES, mp4.TRANSFER, mp4.MATRIX


def _opened(name: str, width: int, height: int, rate: Fraction, gop: int) -> Any:
    import av

    context: Any = av.CodecContext.create(name, "w")
    context.width, context.height, context.pix_fmt = width, height, "yuv420p"
    context.time_base, context.framerate = 1 / rate, rate
    context.gop_size, context.thread_count = gop, 1
    set_colours(context)
    if name == SOFTWARE:
        context.options = _X264
    else:
        context.bit_rate = int(_HARDWARE_BITS * width * height * max(rate, Fraction(1)))
        context.options = {"qmax": str(_COARSEST)}
    context.open()
    return context


def _tagging(name: str) -> Any:
    """Hardware says nothing of colours: a filter writes it into its parameter sets."""
    if name == SOFTWARE:
        return None
    return tagging_filter()


def tagging_filter() -> Any:
    """A filter that writes range, primaries, transfer and matrix into an H.264 stream."""
    import av
    from av.bitstream import BitStreamFilterContext

    colours = f"colour_primaries={mp4.PRIMARIES}:transfer_characteristics={mp4.TRANSFER}"
    what = f"h264_metadata=video_full_range_flag=0:{colours}:matrix_coefficients={mp4.MATRIX}"
    try:
        return BitStreamFilterContext(what, "h264")
    except TypeError:  # PyAV before 17 takes the codec from a stream alone
        like: Any = av.open(io.BytesIO(), "w", "h264").add_stream(SOFTWARE)
        return BitStreamFilterContext(what, like)
