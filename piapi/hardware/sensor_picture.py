"""Pictures out of a sensor's buffers: planes found in an array, and the wanted shape cut out of the middle.

A sensor has one shape (4:3, 16:9), and its scaler would squeeze a picture of another. So everything is scaled in the
sensor's shape, and what is too much is cut off: that costs nothing, as the planes are views.
"""

from __future__ import annotations

import math

from piapi.hardware.imaging import Pixels, RgbImage, YuvImage

#: Width and height in pixels.
Size = tuple[int, int]

#: libcamera's names tell the order from the most significant byte down: BGR888 is R, G, B in memory.
FORMATS = ("YUV420", "BGR888", "RGB888")


def covering(wanted: Size, whole: Size) -> Size:
    """The smallest even size of the shape of `whole`, and within it, that `wanted` fits into."""
    share = min(1.0, max(wanted[0] / whole[0], wanted[1] / whole[1]))
    width, height = (min(math.ceil(side * share / 2 - 1e-6) * 2, side) for side in whole)
    return width, height


def picture_of(array: Pixels, format: str, size: Size) -> YuvImage | RgbImage:
    """The picture in an array as picamera2's `make_array` gives it, without copying.

    Of YUV420 that is one array as wide as a padded row (the stride): the rows of Y, then those of U and of V, which
    are half as long, so that two of them stand in one row.
    """
    if format == "BGR888":
        return RgbImage(array)
    if format == "RGB888":
        return RgbImage(array[:, :, ::-1])
    width, height = size
    halves = array.reshape(array.shape[0] * 2, array.shape[1] // 2)
    chroma = height // 2
    u, v = (halves[top : top + chroma, : width // 2] for top in (2 * height, 2 * height + chroma))
    return YuvImage(array[:height, :width], u, v)


def cut_to_size(picture: YuvImage | RgbImage, size: Size) -> YuvImage | RgbImage:
    """The middle of a picture, at most of this size; both sides are made even."""
    width, height = min(size[0], picture.width) // 2 * 2, min(size[1], picture.height) // 2 * 2
    if (width, height) == (picture.width, picture.height):
        return picture
    left, top = (picture.width - width) // 4 * 2, (picture.height - height) // 4 * 2
    if isinstance(picture, RgbImage):
        return RgbImage(picture.pixels[top : top + height, left : left + width])
    rows, columns = slice(top // 2, (top + height) // 2), slice(left // 2, (left + width) // 2)
    y = picture.y[top : top + height, left : left + width]
    return YuvImage(y, picture.u[rows, columns], picture.v[rows, columns])


def cut_to_shape(picture: YuvImage | RgbImage, shape: Size) -> YuvImage | RgbImage:
    """The most of a picture that has the proportions of `shape`."""
    scale = min(picture.width / shape[0], picture.height / shape[1])
    return cut_to_size(picture, (round(shape[0] * scale), round(shape[1] * scale)))
