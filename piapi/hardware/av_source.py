"""Reading pictures through FFmpeg (PyAV): opening, telling what went wrong in words that help, and turning what comes
into images.

PyAV costs 20 MB, so it is imported when the first source is opened.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from piapi.errors import CameraUnavailable
from piapi.hardware import v4l2
from piapi.hardware.base import Image
from piapi.hardware.jpeg_image import JpegImage
from piapi.hardware.mjpeg import whole_jpeg

if TYPE_CHECKING:
    from piapi.hardware.imaging import Pixels

#: An `av.VideoFrame` as it was decoded, or a whole JPEG as it came.
Picture = Any | bytes
Size = tuple[int, int]

_HD_HEIGHT = 720  # pictures at least this high that do not name their matrix have BT.709, smaller ones BT.601
_BT709, _UNSPECIFIED = 1, 2  # AVColorSpace (ITU-T H.273, table 4)
_FULL_RANGE = 2  # AVColorRange


@dataclass(frozen=True, slots=True)
class Arrival:
    """One picture and its moments, in seconds of the monotonic clock."""

    picture: Picture
    exposed_at: float
    since: float
    """No part of it was exposed, or sent where the exposure is not known, before this."""


def load_av() -> Any:
    """The PyAV package. Its log goes nowhere: PyAV hands each line of it to Python while FFmpeg holds locks of its own,
    which has hung programs with threads. What goes wrong is known from the errors."""
    try:
        av = importlib.import_module("av")
    except ImportError as error:
        raise CameraUnavailable(f"PyAV cannot be loaded ({error}): pip install av") from None
    av.logging.set_level(None)
    return av


@contextlib.contextmanager
def opened(url: str, name: str, *, timeouts: tuple[float, float] | None = None, **options: Any) -> Iterator[Any]:
    """An opened container with at least one video stream, closed in the end. `timeouts`: seconds for opening and for
    each packet. Raises CameraUnavailable, which speaks of `name` and never of the URL, where a password may be."""
    av, failure = load_av(), ""
    try:
        container = av.open(url, mode="r", timeout=timeouts, **options)
    except (av.error.FFmpegError, OSError, ValueError) as error:
        failure = explain(error, name)
    if failure:  # raised out here, so that no chain of exceptions leads back to the URL
        raise CameraUnavailable(failure)
    with container:
        if not container.streams.video:
            raise CameraUnavailable(f"{name} has no pictures in it.")
        yield container


def pictures(container: Any, name: str) -> Iterator[tuple[Picture, float | None]]:
    """Each whole picture with its timestamp in seconds, to the end. JPEGs are not decoded; what is torn is left out.
    Raises CameraUnavailable."""
    av, failure = load_av(), ""
    stream = container.streams.video[0]
    stream.codec_context.thread_count = 1  # more threads would each hold a frame back
    try:
        for packet in container.demux(stream):
            yield from _whole(packet, stream.codec_context.name == "mjpeg", av.error.FFmpegError)
    except (av.error.FFmpegError, OSError) as error:
        failure = explain(error, name)
    if failure:
        raise CameraUnavailable(failure)


def _whole(packet: Any, jpeg: bool, decoding_error: type[Exception]) -> Iterator[tuple[Picture, float | None]]:
    if packet.is_corrupt:
        return
    if jpeg:
        if (data := whole_jpeg(bytes(packet))) is not None:
            yield data, None if packet.pts is None else float(packet.pts * packet.time_base)
        return
    frames: list[Any] = []
    with contextlib.suppress(decoding_error):  # a live stream is joined in its middle, before a key frame
        frames = packet.decode()
    yield from ((frame, frame.time) for frame in frames if not frame.is_corrupt)


def size_of(picture: Picture) -> Size:
    """Width and height, in pixels."""
    if isinstance(picture, bytes):
        image = JpegImage(picture)
        return image.width, image.height
    return picture.width, picture.height


class Converter:
    """Turns pictures into images. It keeps what FFmpeg's scaler has set up, so each camera has its own."""

    def __init__(self) -> None:
        self._av = load_av()
        self._reformatter = self._av.video.reformatter.VideoReformatter()

    def image(self, picture: Picture, limit: Size | None) -> Image | None:
        """In its own size, or scaled down to fit into `limit` (width, height). A JPEG that fits stays as it came. None
        for a JPEG that looked whole and cannot be decoded."""
        if isinstance(picture, bytes):
            try:
                size = size_of(picture)
                if limit is None or fitting(size, limit) == size:
                    return JpegImage(picture)
                decoder = self._av.CodecContext.create("mjpeg", "r")
                picture = decoder.decode(self._av.Packet(picture))[0]
            except (OSError, ValueError, IndexError):
                return None
        from piapi.hardware.imaging import YuvImage  # with numpy, which JPEGs that are passed on do not need

        frame = self.full_range(picture, limit)
        return YuvImage(*(_pixels(plane) for plane in frame.planes))

    def full_range(self, frame: Any, limit: Size | None = None) -> Any:
        """The frame as JPEG has colours: 4:2:0, full range, BT.601."""
        colours = self._av.video.reformatter
        size = (frame.width, frame.height)
        width, height = size if limit is None else fitting(size, limit)
        full = frame.color_range == _FULL_RANGE or frame.format.name.startswith("yuvj") or frame.format.is_rgb
        matrix = frame.colorspace
        if matrix == _UNSPECIFIED:
            matrix = _BT709 if frame.height >= _HD_HEIGHT else colours.Colorspace.ITU601
        return self._reformatter.reformat(
            frame,
            width,
            height,
            "yuvj420p",
            src_colorspace=int(matrix),
            dst_colorspace=colours.Colorspace.ITU601,
            src_color_range=colours.ColorRange.JPEG if full else colours.ColorRange.MPEG,
            dst_color_range=colours.ColorRange.JPEG,
        )


def fitting(size: Size, limit: Size) -> Size:
    """The largest size of the same shape inside `limit`, even in both directions once it is scaled; never enlarged."""
    scale = min(limit[0] / size[0], limit[1] / size[1])
    if scale >= 1:
        return size
    width, height = (max(2, int(side * scale + 1e-6) // 2 * 2) for side in size)
    return width, height


def _pixels(plane: Any) -> Pixels:
    """A plane without the padding at the end of its lines. The view keeps the frame's memory alive."""
    import numpy as np

    lines = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
    return lines[: plane.height, : plane.width]


def shown(url: str) -> str:
    """An address fit for logs and error messages: without user and password, and without the query, where many cameras
    take them."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


_WORDS = {
    errno.ECONNREFUSED: "{name} refuses the connection: is the camera on, and are address and port right?",
    errno.EHOSTUNREACH: "{name} cannot be reached: is the camera on, and in this network?",
    errno.ENETUNREACH: "{name} cannot be reached: is this machine in a network?",
    errno.ECONNRESET: "{name} has broken the connection off.",
    errno.EPIPE: "{name} has broken the connection off.",
    errno.ENOENT: "There is no {name}.",
    errno.EACCES: "{name} may not be read by this user.",
    errno.ENODEV: "{name} has been unplugged, or is no camera.",
    errno.EBUSY: "{name} is in use by another program.",
    errno.ETIMEDOUT: "{name} does not answer.",
    errno.EIO: "{name} could not be read: the connection broke off, or its name is not known in this network.",
}

_WORDS_BY_CLASS = {
    "HTTPUnauthorizedError": "{name} answers 401: check user and password in the address.",
    "HTTPForbiddenError": "{name} answers 403: this user may not see the pictures.",
    "HTTPNotFoundError": "{name} answers 404: check the path in the address.",
    "HTTPServerError": "{name} answers with an error of its own (5xx).",
    "ExitError": "{name} sent nothing in time.",
    "InvalidDataError": "{name} is no picture, film or stream that FFmpeg can read.",
    "ProtocolNotFoundError": "FFmpeg here cannot read {name}: it lacks the protocol.",
    "DecoderNotFoundError": "FFmpeg here cannot decode {name}.",
}


def explain(error: Exception, name: str) -> str:
    """What went wrong, and what would help, of an error of PyAV or the system. Never the error's own text: it has the
    whole address in it."""
    number = getattr(error, "errno", None) or 0
    words = _WORDS_BY_CLASS.get(type(error).__name__) or _WORDS.get(number) or "{name} could not be read ({kind})."
    if name.startswith("/dev/") and number == errno.EACCES:
        words = "{name} may not be opened by this user: sudo usermod -aG video USER, then start piapi again."
    if name.startswith("/dev/") and number == errno.EBUSY and (programs := v4l2.holders(name)):
        words = "{name} is in use by " + ", ".join(programs) + "."
    return words.format(name=name, kind=getattr(error, "strerror", None) or type(error).__name__)
