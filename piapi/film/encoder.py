"""H.264 as a film grows: each picture costs one encode, and comes out as it goes in.

The hardware of a Pi is used where it really works, which only a try can tell; x264 otherwise.
"""

from __future__ import annotations

import functools
import io
import logging
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from piapi.film import mp4, nal

if TYPE_CHECKING:
    import av

_log = logging.getLogger(__name__)

HARDWARE, SOFTWARE = "h264_v4l2m2m", "libx264"

#: For x264. Superfast: a Zero 2 W takes some 0.5 s for a picture of 1080p. No look-ahead, so that none is held back.
_X264 = {"preset": "superfast", "tune": "zerolatency", "crf": "22", "forced-idr": "1", "bf": "0"}

#: Bits a pixel for hardware, which knows no constant quality.
_HARDWARE_BITS = 0.15

#: Sizes at which the hardware was chosen and then failed, in this process.
_given_up: set[tuple[int, int]] = set()

_TV_RANGE = 1
_TRY_SIZE = 4  # pictures that have to come through


class Encoder:
    """One H.264 stream. Not for more than one thread at a time."""

    def __init__(self, width: int, height: int, rate: Fraction, gop: int) -> None:
        self.name = SOFTWARE if (width, height) in _given_up else choose(width, height)
        self._context = _opened(self.name, width, height, rate, gop)
        self._tags = _tagging(self.name)
        self._place = 0
        self._held = 0

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
        tagged = [out for packet in packets for out in self._tags.filter(packet)] if self._tags else packets
        self._held -= len(tagged)
        return [nal.split(bytes(packet)) for packet in tagged]


@functools.cache
def choose(width: int, height: int) -> str:
    """The encoder for this size: hardware when it opens and pictures come through it. Tried once in a process."""
    import av

    try:
        context = _opened(HARDWARE, width, height, Fraction(30), 30)
        black = av.VideoFrame(width, height, "yuv420p")
        packets = []
        for place in range(_TRY_SIZE):
            black.pts, black.time_base = place, context.time_base
            packets += context.encode(black)
        packets += context.encode(None)
        if sum(bool(nal.split(bytes(packet)).sample) for packet in packets) == _TRY_SIZE:
            _log.info("Films of %d × %d are encoded by hardware.", width, height)
            return HARDWARE
    except (av.FFmpegError, ValueError, OSError) as error:
        _log.debug("No hardware encodes %d × %d: %s", width, height, error)
    return SOFTWARE


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
