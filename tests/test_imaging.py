"""Pictures in memory: turned, scaled and encoded, with simplejpeg and with Pillow alone."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import PIL.Image
import pytest

from piapi.hardware import imaging
from piapi.hardware.base import Image
from piapi.hardware.imaging import RgbImage, YuvImage
from piapi.hardware.jpeg_image import JpegImage
from piapi.hardware.sizes import target_size

RED, GREEN, BLUE, YELLOW = (220, 30, 30), (30, 180, 40), (30, 40, 210), (230, 210, 40)
CORNERS = (RED, GREEN, BLUE, YELLOW)
"""Upper left, upper right, lower left, lower right."""


@pytest.fixture(params=["simplejpeg", "Pillow alone"], autouse=True)
def _codec(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    if request.param == "simplejpeg":
        pytest.importorskip("simplejpeg")
    else:
        monkeypatch.setattr(imaging, "simplejpeg", None)
    yield


def quarters(width: int, height: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Four colours, each in its corner."""
    pixels = np.empty((height, width, 3), np.uint8)
    middle = height // 2 // 2 * 2, width // 2 // 2 * 2
    pixels[: middle[0], : middle[1]], pixels[: middle[0], middle[1] :] = RED, GREEN
    pixels[middle[0] :, : middle[1]], pixels[middle[0] :, middle[1] :] = BLUE, YELLOW
    return pixels


def jpeg_of(pixels: np.ndarray[Any, np.dtype[np.uint8]], mode: str = "RGB", **options: Any) -> bytes:
    file = io.BytesIO()
    PIL.Image.fromarray(pixels).convert(mode).save(file, "JPEG", **({"quality": 92} | options))
    return file.getvalue()


def rgb_image(width: int, height: int) -> Image:
    return RgbImage(quarters(width, height))


def yuv_image(width: int, height: int) -> Image:
    planes = PIL.Image.fromarray(quarters(width, height)).convert("YCbCr").split()
    y, u, v = (np.asarray(plane if number == 0 else plane.reduce(2)) for number, plane in enumerate(planes))
    assert u.shape == ((height + 1) // 2, (width + 1) // 2)
    return YuvImage(y, u, v)


def jpeg_image(width: int, height: int) -> Image:
    return JpegImage(jpeg_of(quarters(width, height)))


KINDS = pytest.mark.parametrize("make", [rgb_image, yuv_image, jpeg_image])


def opened(data: bytes, format: str) -> PIL.Image.Image:
    picture = PIL.Image.open(io.BytesIO(data))
    assert picture.format == format
    picture.load()
    return picture.convert("RGB")


def assert_corners(data: bytes, format: str, size: tuple[int, int], colours: tuple[Any, ...] = CORNERS) -> None:
    picture = opened(data, format)
    assert picture.size == size
    width, height = size
    places = [(x, y) for y in (height // 5, height - 1 - height // 5) for x in (width // 5, width - 1 - width // 5)]
    found = [picture.getpixel(place) for place in places]
    off = np.abs(np.subtract(found, colours)).max()
    assert off <= 8, f"expected {colours}, found {found}"


@KINDS
@pytest.mark.parametrize("size", [(64, 48), (641, 481), (480, 641), (63, 1)])
def test_a_picture_is_encoded_in_its_colours(make: Callable[[int, int], Image], size: tuple[int, int]) -> None:
    image = make(*size)
    assert (image.width, image.height) == size
    if size[1] == 1:
        assert opened(image.encode("jpeg"), "JPEG").size == opened(image.encode("png"), "PNG").size == size
        return
    assert_corners(image.encode("jpeg"), "JPEG", size)
    assert_corners(image.encode("png"), "PNG", size)


@KINDS
def test_rotation_is_clockwise(make: Callable[[int, int], Image]) -> None:
    image = make(641, 481)
    turned = {90: (BLUE, RED, YELLOW, GREEN), 180: (YELLOW, BLUE, GREEN, RED), 270: (GREEN, YELLOW, RED, BLUE)}
    for degrees, colours in turned.items():
        rotated = image.rotated(degrees)
        size = (641, 481) if degrees == 180 else (481, 641)
        assert (rotated.width, rotated.height) == size
        assert_corners(rotated.encode("jpeg"), "JPEG", size, colours)
        assert_corners(rotated.encode("png"), "PNG", size, colours)
    assert_corners(image.rotated(90).rotated(270).encode("jpeg"), "JPEG", (641, 481))
    assert image.rotated(0).encode("jpeg") == image.encode("jpeg")


@KINDS
@pytest.mark.parametrize("size", [(640, 480), (641, 481)])
def test_a_picture_is_scaled_to_what_is_asked(make: Callable[[int, int], Image], size: tuple[int, int]) -> None:
    image = make(*size)
    for asked, got in (({"width": 320}, (320, 240)), ({"height": 120}, (160, 120)), ({"width": 800}, (800, 600)),
                       ({"width": 201, "height": 101}, (201, 101))):  # fmt: skip
        assert_corners(image.encode("jpeg", **asked), "JPEG", got)
        assert_corners(image.encode("png", **asked), "PNG", got)
    colours = (BLUE, RED, YELLOW, GREEN)
    assert_corners(image.rotated(90).encode("jpeg", width=120, height=160), "JPEG", (120, 160), colours)


@KINDS
def test_quality_counts(make: Callable[[int, int], Image]) -> None:
    image = make(320, 240)
    sizes = [len(image.encode("jpeg", quality=quality)) for quality in (1, 30, 75, 100)]
    assert sizes == sorted(sizes) and sizes[0] < sizes[-1]


def test_a_jpeg_is_passed_on_as_it_came() -> None:
    data = jpeg_of(quarters(320, 240), comment=b"as the camera made it")
    image = JpegImage(data)
    assert image.encode("jpeg") is data
    assert image.encode("jpeg", width=320) is data
    assert image.encode("jpeg", width=320, height=240) is data
    assert image.rotated(180).rotated(180).encode("jpeg") is data
    assert image.encode("jpeg", quality=50) != data


@pytest.mark.parametrize("options", [{"progressive": True}, {"subsampling": "4:4:4"}, {"subsampling": "4:2:2"}])
def test_jpegs_of_several_kinds_are_decoded(options: dict[str, Any]) -> None:
    image = JpegImage(jpeg_of(quarters(641, 481), **options))
    assert_corners(image.encode("png"), "PNG", (641, 481))
    assert_corners(image.encode("jpeg", width=160), "JPEG", (160, 120))


def test_a_jpeg_in_four_inks_keeps_its_colours() -> None:
    image = JpegImage(jpeg_of(quarters(320, 240), "CMYK", quality=95))
    assert_corners(image.encode("png"), "PNG", (320, 240))


def test_a_grey_jpeg_stays_grey() -> None:
    image = JpegImage(jpeg_of(quarters(320, 240), "L"))
    grey = [(round(0.299 * r + 0.587 * g + 0.114 * b),) * 3 for r, g, b in CORNERS]
    assert_corners(image.encode("jpeg", quality=90), "JPEG", (320, 240), tuple(grey))
    assert_corners(image.encode("png"), "PNG", (320, 240), tuple(grey))


def test_a_jpeg_that_is_cut_off_is_an_error_wherever_it_has_to_be_decoded() -> None:
    whole = jpeg_of(np.random.default_rng(1).integers(0, 255, (240, 320, 3), np.uint8))
    thumbnail = jpeg_of(quarters(32, 24))
    with_thumbnail = whole[:2] + b"\xff\xed" + struct.pack(">H", len(thumbnail) + 2) + thumbnail + whole[2:]
    assert opened(JpegImage(with_thumbnail).encode("jpeg", width=160), "JPEG").size == (160, 120)
    for data in (whole, with_thumbnail):
        for image in (JpegImage(data[: len(data) // 2]), JpegImage(data[:-2])):
            for way in (lambda it: it.encode("png"), lambda it: it.encode("jpeg", quality=50)):
                with pytest.raises(ValueError, match="cut off"):
                    way(image)
            with pytest.raises(ValueError, match="cut off"):
                image.rotated(90).encode("jpeg")


@pytest.mark.parametrize("data", [b"", b"no picture at all", jpeg_of(quarters(320, 240))[:100]])
def test_what_is_no_jpeg_is_an_error_in_plain_words(data: bytes) -> None:
    with pytest.raises(ValueError, match="this is no JPEG"):
        _ = JpegImage(data).width
    with pytest.raises(ValueError, match="this is no JPEG"):
        JpegImage(data).encode("png")


def test_stray_bytes_of_a_webcam_do_not_matter() -> None:
    whole = jpeg_of(quarters(320, 240))
    stray = whole[:-2] + b"\x12\x34\x56\x78\x12" + whole[-2:]
    assert_corners(JpegImage(stray).encode("jpeg", quality=90), "JPEG", (320, 240))


def test_bytes_after_the_end_of_a_jpeg_do_not_matter() -> None:
    image = JpegImage(jpeg_of(quarters(320, 240)) + bytes(64))
    assert_corners(image.encode("jpeg", width=160), "JPEG", (160, 120))


@KINDS
def test_encoding_twice_and_from_several_threads_gives_the_same(make: Callable[[int, int], Image]) -> None:
    image = make(320, 240).rotated(90)
    with ThreadPoolExecutor(4) as pool:
        found = set(pool.map(lambda _: image.encode("jpeg", width=120), range(12)))
    assert found == {image.encode("jpeg", width=120)}


def test_memory_that_may_not_be_written_and_parts_of_larger_planes_are_fine() -> None:
    pixels = quarters(64, 48)
    pixels.setflags(write=False)
    assert_corners(RgbImage(pixels).encode("jpeg"), "JPEG", (64, 48))
    assert_corners(RgbImage(pixels[:, :50]).rotated(0).encode("jpeg", width=25), "JPEG", (25, 24))
    whole = yuv_image(80, 48)
    assert isinstance(whole, YuvImage)
    part = YuvImage(whole.y[:, 8:72], whole.u[:, 4:36], whole.v[:, 4:36])
    part.y.setflags(write=False)
    assert_corners(part.encode("jpeg"), "JPEG", (64, 48))


@pytest.mark.parametrize(
    ("asked", "got"),
    [((0, 0), (1920, 1080)), ((640, 0), (640, 360)), ((0, 360), (640, 360)), ((1, 0), (1, 1)), ((7, 9), (7, 9))],
)
def test_the_other_side_is_in_proportion(asked: tuple[int, int], got: tuple[int, int]) -> None:
    assert target_size(1920, 1080, *asked) == got


@pytest.mark.parametrize("kind", ["rgb", "yuv", "jpeg"])
def test_a_picture_of_another_shape_is_cut_and_not_squeezed(kind: str) -> None:
    pixels = np.zeros((100, 300, 3), np.uint8)
    pixels[:, 100:200] = 255  # a white square in the middle
    image: RgbImage | YuvImage | JpegImage = RgbImage(pixels)
    if kind == "yuv":
        tint = np.full((50, 150), 128, np.uint8)
        image = YuvImage(np.ascontiguousarray(pixels[..., 0]), tint, tint)
    elif kind == "jpeg":
        image = JpegImage(image.encode("jpeg"))
    with PIL.Image.open(io.BytesIO(image.encode("jpeg", width=50, height=50))) as square:
        assert square.size == (50, 50) and np.asarray(square.convert("L")).mean() > 245
    with PIL.Image.open(io.BytesIO(image.rotated(90).encode("png", width=50, height=50))) as square:
        assert square.size == (50, 50) and np.asarray(square.convert("L")).mean() > 245
