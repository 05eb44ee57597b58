"""EXIF as another program reads it."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from typing import Any

import pytest
from PIL import Image
from PIL.ExifTags import IFD, Base

from piapi.services.exif import record_for, record_of, with_exif
from tests.lapse import jpeg

AT = datetime(2026, 6, 21, 4, 5, 6, 78_900, UTC)


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def of_jpeg(data: bytes) -> bytes:
    return data


def of_png(data: bytes) -> bytes:
    file = io.BytesIO()
    opened(data).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("as_file", [of_jpeg, of_png])
def test_all_that_is_known_is_read_back(as_file: Any) -> None:
    metadata = {"exposure_s": 0.0125, "gain": 2.5}
    record = record_for("yard", AT, "grün", metadata, True)
    picture = opened(with_exif(as_file(jpeg()), AT, "imx708", metadata, record))
    exif = picture.getexif()
    details = dict(exif.get_ifd(IFD.Exif))
    assert dict(exif) == {
        Base.Orientation: 1, Base.Software: "piapi", Base.DateTime: "2026:06:21 04:05:06", Base.Model: "imx708",
        IFD.Exif: exif[IFD.Exif],
    }  # fmt: skip
    assert details.pop(Base.UserComment).startswith(b"ASCII\0\0\0")
    assert details == {
        Base.DateTimeOriginal: "2026:06:21 04:05:06", Base.SubsecTimeOriginal: "078", Base.OffsetTimeOriginal: "+00:00",
        Base.ExposureTime: 0.0125, Base.ISOSpeedRatings: 250,
    }  # fmt: skip
    assert record_of(picture) == record
    picture.load()


def test_what_is_not_known_is_not_written() -> None:
    exif = opened(with_exif(jpeg(), AT, None, {})).getexif()
    assert set(exif) == {Base.Orientation, Base.Software, Base.DateTime, IFD.Exif}
    assert set(exif.get_ifd(IFD.Exif)) == {Base.DateTimeOriginal, Base.SubsecTimeOriginal, Base.OffsetTimeOriginal}


@pytest.mark.parametrize("model", ["C", "C12", "C123", "Kamera für draußen"])
def test_a_name_of_any_length_leaves_the_rest_in_its_place(model: str) -> None:
    exif = opened(with_exif(jpeg(), AT, model, {"exposure_s": 1.0})).getexif()
    assert exif[Base.Model] == model.encode("ascii", "replace").decode()
    assert exif.get_ifd(IFD.Exif)[Base.ExposureTime] == 1.0


@pytest.mark.parametrize(("gain", "iso"), [(0.001, 0), (1.0, 100), (10_000.0, 65_535)])
def test_a_gain_is_within_what_its_field_holds(gain: float, iso: int) -> None:
    exif = opened(with_exif(jpeg(), AT, None, {"gain": gain})).getexif()
    assert exif.get_ifd(IFD.Exif)[Base.ISOSpeedRatings] == iso


def test_exif_that_was_there_is_replaced() -> None:
    once = with_exif(jpeg(), AT, "first", {})
    twice = with_exif(once, AT, "second", {})
    assert twice.count(b"Exif\0\0") == 1
    assert opened(twice).getexif()[Base.Model] == "second"
