"""From a JPEG to a picture that can be encoded: decoded by FFmpeg, in tv range, of the film's size.

Nothing here needs NumPy: planes are reached through the buffer protocol.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from typing import TYPE_CHECKING, Any

from piapi.errors import DamagedPicture

if TYPE_CHECKING:
    import av
    from av.video.reformatter import VideoReformatter

#: Markers (ITU-T T.81, table B.1). Within a scan 0xff is followed by 0, so neither can be mistaken.
_START_OF_IMAGE, _START_OF_SCAN, _END_OF_IMAGE = b"\xff\xd8", b"\xff\xda", b"\xff\xd9"

#: Luma and chroma of black in tv range.
_BLACK = (16, 128, 128)

_of_thread = threading.local()

#: FFmpeg's decoder can leave out all but each block's mean: 2 to this power is what a side is divided by.
_EIGHTH = "3"


class Decoder:
    """Turns JPEGs into pictures of YCbCr 4:2:0 in tv range. One thread at a time."""

    def __init__(self) -> None:
        self._jpegs = _jpeg_decoder()
        self._converter: VideoReformatter = _new_converter()

    def picture(self, jpeg: bytes, size: tuple[int, int] | None = None, width: int = 0) -> av.VideoFrame:
        """The picture at `size`, scaled and with black around it where its shape is another one; without `size`, at
        its own, or at this width, made even.

        Raises DamagedPicture when the JPEG is cut off or cannot be decoded; the next one may be whole.
        """
        decoded = _decoded(self._jpegs, jpeg)
        across, down = size or even_size(decoded.width, decoded.height, width)
        if (decoded.width & ~1, decoded.height & ~1) == (across, down):
            scaled = decoded.width, decoded.height  # an odd row or column is cut off, so that nothing is blurred
        elif size is None:
            scaled = across, down
        else:
            scaled = _within(decoded.width, decoded.height, across, down)
        converted = self._converter.reformat(
            decoded, *scaled, "yuv420p", src_color_range="JPEG", dst_color_range="MPEG", **_one_thread()
        )
        return converted if scaled == (across, down) else _placed(converted, across, down)


def even_size(width: int, height: int, wanted_width: int = 0) -> tuple[int, int]:
    """The size of a film of such pictures: H.264 in 4:2:0 has even sides alone."""
    if wanted_width:
        width, height = wanted_width, round(height * wanted_width / width)
    return max(2, width & ~1), max(2, height & ~1)


def luminance(jpeg: bytes) -> float:
    """Mean luma of a picture, 0 (black) to 1 (white): from an eighth of its width and height, so it costs little.

    Raises DamagedPicture.
    """
    return mean_luma(_decoded(_eighth_decoder(), jpeg))


def mean_luma(picture: av.VideoFrame) -> float:
    """The mean of the first plane as it stands, 0 to 1 of what eight bits hold."""
    plane = picture.planes[0]
    across, stride = plane.width, plane.line_size
    data = memoryview(plane)
    total = sum(sum(data[row * stride : row * stride + across]) for row in range(plane.height))
    return total / (255 * across * plane.height)


def _decoded(decoder: Any, jpeg: bytes) -> av.VideoFrame:
    import av

    if not jpeg.startswith(_START_OF_IMAGE) or jpeg.rfind(_END_OF_IMAGE) < jpeg.rfind(_START_OF_SCAN):
        raise DamagedPicture("This is no JPEG, or one that is cut off.")
    try:
        pictures = decoder.decode(av.Packet(jpeg))
    except (av.FFmpegError, ValueError) as error:
        with contextlib.suppress(av.FFmpegError):
            decoder.flush_buffers()
        raise DamagedPicture(f"This JPEG cannot be decoded: {error}.") from None
    if len(pictures) != 1:
        raise DamagedPicture("There is no picture in this JPEG.")
    return pictures[0]  # type: ignore[no-any-return]


def _jpeg_decoder(**options: str) -> Any:
    import av

    decoder = av.CodecContext.create("mjpeg", "r")
    decoder.thread_count = 1  # with more, it keeps pictures back
    decoder.options = options
    return decoder


def _eighth_decoder() -> Any:
    """The one of this thread: to open one takes longer than to decode a small picture."""
    if not hasattr(_of_thread, "eighth"):
        _of_thread.eighth = _jpeg_decoder(lowres=_EIGHTH)
    return _of_thread.eighth


def _new_converter() -> VideoReformatter:
    from av.video.reformatter import VideoReformatter

    return VideoReformatter()


@functools.cache
def _one_thread() -> dict[str, Any]:
    """PyAV before 17 knows no threads here, and uses one."""
    import av

    return {"threads": 1} if int(av.__version__.split(".")[0]) >= 17 else {}


def _within(width: int, height: int, across: int, down: int) -> tuple[int, int]:
    """The largest even size of this shape that fits."""
    factor = min(across / width, down / height)
    return even_size(min(across, round(width * factor)), min(down, round(height * factor)))


def _placed(picture: av.VideoFrame, across: int, down: int) -> av.VideoFrame:
    """The picture in the middle of a black one of this size; less the last row or column that is one too many."""
    import av

    framed = av.VideoFrame(across, down, "yuv420p")
    left, top = (max(0, (across - picture.width) // 4 * 2), max(0, (down - picture.height) // 4 * 2))
    for number, black in enumerate(_BLACK):
        source, target = picture.planes[number], framed.planes[number]
        halved = number > 0
        target.update(bytes((black,)) * target.buffer_size)
        width, rows = min(source.width, target.width), min(source.height, target.height)
        have, room = memoryview(source), memoryview(target)
        for row in range(rows):
            at = (row + (top >> halved)) * target.line_size + (left >> halved)
            room[at : at + width] = have[row * source.line_size : row * source.line_size + width]
    return framed
