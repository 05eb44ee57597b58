"""The film of a time-lapse: watchable at any moment, whole after whatever, and of the colours of its frames."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import threading
from array import array
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import PIL.Image
import pytest

from piapi.errors import DamagedPicture, HardwareError, NoFilm, StorageFull
from piapi.film import catalogue, encoder, mp4, nal, segments
from piapi.film.files import FilmFile, Span
from piapi.film.pictures import luminance
from piapi.film.rates import exact_rate
from piapi.film.reading import read_film
from piapi.film.writer import SEGMENT_FRAMES, FilmWriter
from piapi.timelapse import Film
from tests import footage
from tests.requirements import require

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


@pytest.fixture
def film(tmp_path: Path) -> FilmWriter:
    writer = FilmWriter(tmp_path / "film", 25)
    writer.open()
    return writer


def grey(level: int, width: int = 64, height: int = 48, quality: int = 90) -> bytes:
    return plain((level, level, level), width, height, quality)


def plain(colour: tuple[int, int, int], width: int = 64, height: int = 48, quality: int = 90) -> bytes:
    file = io.BytesIO()
    PIL.Image.new("RGB", (width, height), colour).save(file, "JPEG", quality=quality)
    return file.getvalue()


def level_of(index: int) -> int:
    """A grey that tells a frame from its neighbours."""
    return 40 + index * 37 % 160


def append(film: FilmWriter, indices: Sequence[int]) -> list[bool]:
    return [film.append(index, grey(level_of(index)), NOON, False) for index in indices]


def data_of(film: FilmFile) -> bytes:
    data = b"".join(_part(part) for part in film.parts)
    assert len(data) == film.size_bytes
    return data


def _part(part: bytes | Span) -> bytes:
    if isinstance(part, bytes):
        return part
    with part.path.open("rb") as file:
        file.seek(part.offset)
        return file.read(part.length)


def pictures(film: FilmFile) -> list[PIL.Image.Image]:
    import av

    with av.open(io.BytesIO(data_of(film))) as container:
        return [frame.to_image() for frame in container.decode(video=0)]


def keys_of(data: bytes) -> list[int]:
    """Places of the key frames, as the file has them."""
    import av

    with av.open(io.BytesIO(data)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    return [place for place, packet in enumerate(packets) if packet.is_keyframe]


def levels(film: FilmFile) -> list[int]:
    """The grey in the middle of each picture."""
    found = []
    for picture in pictures(film):
        pixel = picture.convert("L").getpixel((picture.width // 2, picture.height // 2))
        assert isinstance(pixel, int)
        found.append(pixel)
    return found


def shows(film: FilmFile, indices: Sequence[int]) -> bool:
    found = levels(film)
    return len(found) == len(indices) and all(
        abs(level - level_of(index)) <= 3 for level, index in zip(found, indices, strict=True)
    )


def probed(film: FilmFile, tmp_path: Path) -> dict[str, Any]:
    """What ffprobe says of a film, without a word of warning."""
    ffprobe = require("ffprobe")
    path = tmp_path / "film.mp4"
    path.write_bytes(data_of(film))
    command = [ffprobe, "-v", "warning", "-count_frames", "-show_streams", "-show_format", "-of", "json", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    found = json.loads(done.stdout)
    return dict(found["streams"][0]) | {"length": float(found["format"]["duration"])}


def test_before_the_first_frame_there_is_no_film(film: FilmWriter, tmp_path: Path) -> None:
    with pytest.raises(NoFilm):
        film.snapshot()
    with pytest.raises(NoFilm):
        read_film(tmp_path / "film", 25)
    film.finish()
    assert film.frames == 0
    assert film.last_index is None


def test_every_frame_is_in_the_film_as_soon_as_it_is_appended(film: FilmWriter) -> None:
    for index in range(3):
        append(film, [index])
        assert shows(film.snapshot(), range(index + 1))
    assert film.frames == 3
    assert film.closed_frames == 0


def test_the_sixtieth_frame_makes_a_segment_durable(film: FilmWriter, tmp_path: Path) -> None:
    closed = append(film, range(SEGMENT_FRAMES + 1))
    assert closed == [False] * (SEGMENT_FRAMES - 1) + [True, False]
    assert film.closed_frames == SEGMENT_FRAMES
    assert shows(film.snapshot(), range(SEGMENT_FRAMES + 1))
    again = FilmWriter(tmp_path / "film", 25)
    again.open()
    assert again.last_index == SEGMENT_FRAMES - 1


def test_a_segment_begins_with_a_key_frame_and_has_no_other(film: FilmWriter) -> None:
    for index in range(130):
        film.append(index, grey(90), NOON, False)
    assert keys_of(data_of(film.snapshot())) == [0, 60, 120]


def test_a_film_goes_on_after_its_writer_has_died(film: FilmWriter, tmp_path: Path) -> None:
    append(film, range(70))
    again = FilmWriter(tmp_path / "film", 25)
    again.open()
    append(again, range(60, 80))
    assert shows(again.snapshot(), range(80))
    assert list(again.indices()) == list(range(80))


def test_indices_may_have_gaps_and_may_not_go_back(film: FilmWriter) -> None:
    append(film, [-5, 3, 1 << 40])
    assert film.last_index == 1 << 40
    with pytest.raises(ValueError, match="is not after"):
        append(film, [3])
    assert film.frames == 3


def test_finishing_closes_what_is_open_however_short(film: FilmWriter, tmp_path: Path) -> None:
    append(film, range(62))
    film.finish()
    film.finish()
    assert film.closed_frames == 62
    assert shows(read_film(tmp_path / "film", 25), range(62))
    assert read_film(tmp_path / "film", 25) == film.snapshot()


def test_a_finished_film_may_still_go_on(film: FilmWriter) -> None:
    append(film, range(2))
    film.finish()
    append(film, range(2, 4))
    film.finish()
    assert shows(film.snapshot(), range(4))


def test_a_writer_at_rest_goes_on_with_a_new_encoder(film: FilmWriter) -> None:
    append(film, range(3))
    before = film.snapshot()
    film.rest()
    assert film.snapshot() == before
    append(film, range(3, 6))
    assert shows(film.snapshot(), range(6))


def test_the_tag_is_another_one_for_every_content(film: FilmWriter) -> None:
    tags = set()
    for index in range(SEGMENT_FRAMES + 2):
        append(film, [index])
        tags.add(film.snapshot().etag)
        assert film.snapshot().etag in tags
    assert len(tags) == SEGMENT_FRAMES + 2


def test_an_older_film_stays_readable_while_it_grows(film: FilmWriter) -> None:
    append(film, range(59))
    before = film.snapshot()
    append(film, range(59, 130))
    assert shows(before, range(59))


def test_a_head_and_the_end_of_a_later_film_are_a_film(film: FilmWriter, tmp_path: Path) -> None:
    """As `curl -C -` has it, and a player that has read the head and goes on with ranges."""
    older: list[FilmFile] = []
    for count in (1, 59, 60, 61, 119, 120, 125):
        append(film, range(film.frames, count))
        older.append(film.snapshot())
    whole = data_of(film.snapshot())
    for version in older:
        head = version.parts[0]
        assert isinstance(head, bytes)
        seen = data_of(version)
        assert whole[len(head) : len(seen)] == seen[len(head) :]
        for cut in (len(head), len(seen)):
            mixed = FilmFile((seen[:cut] + whole[cut:],), len(whole), "", 0, 0)
            assert int(probed(mixed, tmp_path)["nb_read_frames"]) == version.frames
            assert shows(mixed, range(version.frames))


def test_how_large_it_is_is_known_without_making_it(film: FilmWriter) -> None:
    for count in (1, 59, 60, 61, 125):
        append(film, range(film.frames, count))
        made = film.snapshot()
        assert film.extent() == Film(made.frames, made.duration_s, made.size_bytes)


def test_a_head_that_grows_keeps_its_length_but_for_a_few_times(film: FilmWriter) -> None:
    frames, lengths = 500_000, []
    append(film, [0])
    head = film.snapshot().parts[0]
    assert isinstance(head, bytes)
    for count in (*range(1, 30_000, 60), *range(30_000, frames, 30_000)):
        sizes, keys = array("I", [9]) * count, array("I", range(1, count + 1, 60))
        chunks = [60] * (count // 60) + [count % 60] * (count % 60 > 0)
        track = mp4.Track(b"", 64, 48, Fraction(25), sizes, keys, chunks, [9 * each for each in chunks])
        room = mp4.steady_room(count, len(keys), len(chunks))
        made = mp4.head(track, room=room, open_ended=True)
        assert len(made) == room and made.endswith(b"\0\0\0\0mdat")
        lengths.append(room)
    assert lengths == sorted(lengths)
    assert set(lengths) == {len(head) << doubled for doubled in range(7)}


def test_a_film_is_watched_while_it_grows(film: FilmWriter) -> None:
    append(film, [0])
    seen: list[int] = []
    faults: list[BaseException] = []
    over = threading.Event()

    def watch() -> None:
        try:
            while not over.is_set():
                made = film.snapshot()
                assert made.frames == len(levels(made))
                seen.append(made.frames)
        except BaseException as fault:  # noqa: BLE001
            faults.append(fault)

    watcher = threading.Thread(target=watch)
    watcher.start()
    append(film, range(1, 150))
    over.set()
    watcher.join()
    assert not faults
    assert seen == sorted(seen)
    assert shows(film.snapshot(), range(150))


def test_a_cut_off_segment_is_set_aside(film: FilmWriter, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    append(film, range(120))
    last = segments.path_of(tmp_path / "film", 1)
    for data in (b"", last.read_bytes()[:100], last.read_bytes()[:-1], bytes(1000)):
        last.write_bytes(data)
        again = FilmWriter(tmp_path / "film", 25)
        again.open()
        assert again.last_index == 59
        assert "is set aside" in caplog.text
        append(again, range(60, 120))
        assert shows(again.snapshot(), range(120))


def test_damaged_samples_at_the_end_are_seen(film: FilmWriter, tmp_path: Path) -> None:
    append(film, range(60))
    path = segments.path_of(tmp_path / "film", 0)
    path.write_bytes(path.read_bytes()[:-10] + bytes(10))
    again = FilmWriter(tmp_path / "film", 25)
    again.open()
    assert again.last_index is None


def test_remains_of_a_write_are_removed(film: FilmWriter, tmp_path: Path) -> None:
    append(film, range(3))
    part = tmp_path / "film" / "00000000.segment.part"
    part.write_bytes(b"half")
    FilmWriter(tmp_path / "film", 25).open()
    assert not part.exists()


@pytest.mark.parametrize("damage", ["none", "lost", "cut off", "behind"])
def test_the_index_is_a_convenience(film: FilmWriter, tmp_path: Path, damage: str) -> None:
    append(film, range(61))
    film.finish()
    index = tmp_path / "film" / "index"
    if damage == "lost":
        index.unlink()
    elif damage == "cut off":
        index.write_bytes(index.read_bytes()[:-5])
    elif damage == "behind":
        old = index.read_bytes()
        append(film, range(61, 63))
        film.finish()
        index.write_bytes(old)
    assert read_film(tmp_path / "film", 25) == film.snapshot()


def test_an_index_that_names_a_lost_segment_is_not_believed(film: FilmWriter, tmp_path: Path) -> None:
    append(film, range(61))
    film.finish()
    segments.path_of(tmp_path / "film", 0).unlink()
    assert read_film(tmp_path / "film", 25).frames == 1


@pytest.mark.parametrize(("index", "left"), [(200, 130), (125, 126), (120, 120), (119, 120), (100, 60), (-1, 0)])
def test_what_comes_after_a_tick_can_be_dropped_and_made_again(
    film: FilmWriter, tmp_path: Path, index: int, left: int
) -> None:
    append(film, range(130))
    if index == 120:
        left = 121
    film.truncate_after(index)
    assert film.frames == left
    assert film.last_index == (left - 1 if left else None)
    append(film, range(left, 140))
    film.finish()
    assert shows(read_film(tmp_path / "film", 25), range(140))


def test_a_damaged_jpeg_is_refused_and_harms_nothing(film: FilmWriter) -> None:
    whole = grey(100, 320, 240)
    append(film, [0])
    for data in (b"", b"GIF89a", whole[: len(whole) // 2], whole[:20] + b"\xff\xd9", b"\xff\xd8\xff\xd9"):
        with pytest.raises(DamagedPicture):
            film.append(1, data, NOON, False)
        with pytest.raises(DamagedPicture):
            luminance(data)
    append(film, range(1, 4))
    assert shows(film.snapshot(), range(4))


def test_a_full_disk_harms_nothing(film: FilmWriter, monkeypatch: pytest.MonkeyPatch) -> None:
    append(film, range(59))
    real, full = segments.write_durably, StorageFull("The disk is full.")

    def refuse(*_arguments: object) -> None:
        raise full

    monkeypatch.setattr(segments, "write_durably", refuse)
    assert append(film, [59]) == [False]
    with pytest.raises(StorageFull):
        append(film, [60])
    with pytest.raises(StorageFull):
        film.finish()
    assert shows(film.snapshot(), range(60))
    monkeypatch.setattr(segments, "write_durably", real)
    assert append(film, [60]) == [True]
    assert shows(film.snapshot(), range(61))


@pytest.mark.parametrize(
    "colour", [(128, 128, 128), (255, 255, 255), (0, 0, 0), (200, 30, 30), (30, 160, 60), (20, 60, 220)]
)
def test_colours_come_out_as_they_went_in(film: FilmWriter, tmp_path: Path, colour: tuple[int, int, int]) -> None:
    film.append(0, plain(colour, 320, 240, 100), NOON, False)
    path = tmp_path / "colour.mp4"
    path.write_bytes(data_of(film.snapshot()))
    command = [require("ffmpeg"), "-v", "error", "-i", path, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    pixels = subprocess.run(command, capture_output=True, check=True).stdout
    middle = pixels[(120 * 320 + 160) * 3 :][:3]
    assert all(abs(got - wanted) <= 3 for got, wanted in zip(middle, colour, strict=True)), tuple(middle)


def test_a_picture_of_a_film_is_like_its_frame(film: FilmWriter) -> None:
    film.append(0, footage.jpeg(3), NOON, False)
    file = io.BytesIO()
    pictures(film.snapshot())[0].save(file, "PNG")
    assert footage.matches(file.getvalue()) > footage.ALIKE


def test_ffprobe_finds_every_frame_and_all_tags(film: FilmWriter, tmp_path: Path) -> None:
    append(film, range(61))
    film.rest()
    append(film, range(61, 65))
    found = probed(film.snapshot(), tmp_path)
    assert int(found["nb_read_frames"]) == int(found["nb_frames"]) == 65
    assert (found["codec_name"], found["codec_tag_string"], found["pix_fmt"]) == ("h264", "avc1", "yuv420p")
    assert (found["color_range"], found["color_space"]) == ("tv", "smpte170m")
    assert (found["color_primaries"], found["color_transfer"]) == ("bt709", "bt709")
    assert found["sample_aspect_ratio"] == "1:1"
    assert found["length"] == pytest.approx(65 / 25)


@pytest.mark.parametrize(
    ("fps", "rate"),
    [
        (0.1, "1/10"),
        (23.976, "24000/1001"),
        (25.0, "25/1"),
        (29.97, "30000/1001"),
        (59.94, "60000/1001"),
        (120, "120/1"),
    ],
)
def test_the_rate_is_exact(tmp_path: Path, fps: float, rate: str) -> None:
    film = FilmWriter(tmp_path / "film", fps)
    film.open()
    append(film, range(3))
    assert exact_rate(fps) == Fraction(rate)
    assert film.snapshot().duration_s == pytest.approx(3 / Fraction(rate))
    found = probed(film.snapshot(), tmp_path)
    assert found["r_frame_rate"] == found["avg_frame_rate"] == rate


@pytest.mark.parametrize("fps", [0, -1, 0.05, 121, float("nan"), float("inf")])
def test_a_rate_out_of_range_is_refused(tmp_path: Path, fps: float) -> None:
    with pytest.raises(ValueError, match="rate"):
        FilmWriter(tmp_path, fps)


@pytest.mark.parametrize(
    ("frame", "width", "size"),
    [
        ((64, 48), 0, (64, 48)),
        ((65, 49), 0, (64, 48)),
        ((640, 361), 320, (320, 180)),
        ((64, 48), 99, (98, 74)),
        ((3, 5), 0, (2, 4)),
    ],
)
def test_sizes_are_even(tmp_path: Path, frame: tuple[int, int], width: int, size: tuple[int, int]) -> None:
    film = FilmWriter(tmp_path / "film", 30, width=width)
    film.open()
    film.append(0, grey(90, *frame), NOON, True)
    found = probed(film.snapshot(), tmp_path)
    assert (found["width"], found["height"]) == size


def test_a_frame_of_another_shape_is_fitted_in(film: FilmWriter) -> None:
    for index, size in enumerate([(160, 120), (120, 160), (640, 480), (161, 121), (320, 40)]):
        film.append(index, grey(200, *size), NOON, False)
    shown = [picture.convert("L") for picture in pictures(film.snapshot())]
    assert {picture.size for picture in shown} == {(160, 120)}
    assert all(abs(int(picture.getpixel((80, 60))) - 200) <= 3 for picture in shown)  # type: ignore[arg-type]
    assert [int(picture.getpixel((5, 60))) < 20 for picture in shown] == [False, True, False, False, False]  # type: ignore[arg-type]
    assert [int(picture.getpixel((80, 5))) < 20 for picture in shown] == [False, False, False, False, True]  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [(1920, 1080), (640, 480), (64, 48), (16, 16)])
def test_date_and_time_stand_in_a_corner(tmp_path: Path, size: tuple[int, int]) -> None:
    film = FilmWriter(tmp_path / "film", 30, zone=ZoneInfo("Europe/Berlin"))
    film.open()
    for index in range(2):
        film.append(index, grey(128, *size), NOON, index > 0)
    before, after = (picture.convert("L") for picture in pictures(film.snapshot()))
    box = (0, size[1] // 2, size[0], size[1])
    assert before.crop(box).getextrema()[0] > 120  # type: ignore[operator]
    darkest, lightest = after.crop(box).getextrema()
    assert darkest < 40  # type: ignore[operator]
    assert lightest > 200  # type: ignore[operator]
    if size[1] > 48:
        assert after.crop((0, 0, size[0], size[1] // 2)).getextrema()[0] > 120  # type: ignore[operator]


def test_luminance_is_that_of_the_jpeg() -> None:
    assert luminance(grey(0)) == pytest.approx(0, abs=0.01)
    assert luminance(grey(255, 641, 479)) == pytest.approx(1, abs=0.01)
    assert luminance(plain((255, 0, 0), 320, 240)) == pytest.approx(0.299, abs=0.01)


def test_an_encoder_that_holds_pictures_back_is_drained(film: FilmWriter, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the hardware of some Pi does."""
    monkeypatch.setattr(encoder, "_X264", {"preset": "superfast", "crf": "22", "forced-idr": "1", "bf": "0"})
    append(film, range(3))
    assert film.frames == 3
    assert film.last_index == 2
    assert list(film.indices()) == [0, 1, 2]
    assert shows(film.snapshot(), range(3))
    append(film, range(3, 65))
    film.finish()
    assert shows(film.snapshot(), range(65))


@pytest.mark.parametrize("held", [False, True])
def test_hardware_that_fails_loses_no_frame(
    film: FilmWriter, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, held: bool
) -> None:
    """x264 plays the hardware, and breaks; what it holds then goes through another one."""
    import av

    real = encoder.Encoder.encode

    def failing(self: encoder.Encoder, picture: av.VideoFrame, *, key: bool) -> list[nal.Picture]:
        if self.name == encoder.HARDWARE and self._place >= 3:
            raise av.FFmpegError(5, "Input/output error")
        return real(self, picture, key=key)

    monkeypatch.setattr(encoder.Encoder, "encode", failing)
    monkeypatch.setattr(encoder, "_given_up", set())
    if held:
        monkeypatch.setattr(encoder, "_X264", {"preset": "superfast", "crf": "22", "forced-idr": "1", "bf": "0"})
    append(film, [0])
    assert film._encoder
    film._encoder.name = encoder.HARDWARE
    append(film, range(1, 10))
    film.finish()
    assert shows(film.snapshot(), range(10))
    assert "has failed" in caplog.text


class Wrapped:
    """x264, as the hardware: of what goes in and comes out a test makes something else."""

    def __init__(self, context: Any, into: Any, out: Any) -> None:
        self.context, self.into, self.out = context, into, out
        self.time_base, self.width, self.height = context.time_base, context.width, context.height

    def encode(self, picture: Any) -> list[Any]:
        packets = self.context.encode(picture and self.into(picture))
        return [changed for packet in packets for changed in self.out(packet)]


@pytest.fixture
def hardware(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Makes a hardware of x264: `hardware(into=…, out=…)`."""
    opened = encoder._opened

    def install(into: Any = lambda picture: picture, out: Any = lambda packet: [packet]) -> None:
        def open(name: str, *about: Any) -> Any:
            context = opened(encoder.SOFTWARE, *about)
            return Wrapped(context, into, out) if name == encoder.HARDWARE else context

        monkeypatch.setattr(encoder, "_opened", open)

    encoder.choose.cache_clear()
    yield install
    encoder.choose.cache_clear()


def apart(packet: Any) -> list[Any]:
    """Parameter sets come once, before the first picture, in a packet of their own: as V4L2 gives them."""
    import av

    units = bytes(packet).replace(b"\0\0\0\1", b"\0\0\1").split(b"\0\0\1")[1:]
    sets, rest = ([b"\0\0\0\1" + each for each in units if (each[0] & 31 in (7, 8)) == own] for own in (True, False))
    made = [av.Packet(b"".join(rest))]
    return [av.Packet(b"".join(sets)), *made] if sets and packet.pts == 0 else made


def skewed(picture: Any) -> Any:
    """Each row begins a little later than it should."""
    plane, row = picture.planes[0], picture.planes[0].line_size
    data = bytes(plane)
    plane.update(b"".join(data[y * row : y * row + row][-y % row :] + data[y * row : y * row + row][: -y % row]
                          for y in range(len(data) // row)))  # fmt: skip
    return picture


def test_hardware_is_chosen_where_pictures_come_through_it(hardware: Callable[..., None]) -> None:
    hardware()
    assert encoder.choose(64, 48) == encoder.HARDWARE


@pytest.mark.parametrize(
    "fault",
    [{"into": skewed}, {"out": lambda packet: []}, {"out": lambda packet: apart(packet)[-1:]}],
    ids=["skewed", "nothing", "not all of it"],
)
def test_hardware_that_spoils_pictures_is_not_chosen(hardware: Callable[..., None], fault: dict[str, Any]) -> None:
    hardware(**fault)
    assert encoder.choose(64, 48) == encoder.SOFTWARE


def test_hardware_that_cuts_pictures_off_is_not_chosen(
    hardware: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    hardware(into=lambda picture: picture.reformat(48, 48))
    opened = encoder._opened
    monkeypatch.setattr(encoder, "_opened", lambda name, _width, *about: opened(name, 48, *about))
    assert encoder.choose(64, 48) == encoder.SOFTWARE


def test_parameter_sets_that_come_once_and_apart_are_those_of_each_key(
    film: FilmWriter, tmp_path: Path, hardware: Callable[..., None]
) -> None:
    hardware(out=apart)
    append(film, range(125))
    assert film._encoder and film._encoder.name == encoder.HARDWARE
    made = film.snapshot()
    assert shows(made, range(125))
    assert set(range(0, 125, 60)) <= set(keys_of(data_of(made)))
    assert int(probed(made, tmp_path)["nb_read_frames"]) == 125


def test_an_encoder_that_fails_for_good_says_so_and_keeps_the_film(
    film: FilmWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    import av

    append(film, range(3))

    def failing(*_arguments: object, **_more: object) -> None:
        raise av.FFmpegError(12, "Cannot allocate memory")

    with monkeypatch.context() as broken:
        broken.setattr(encoder.Encoder, "encode", failing)
        with pytest.raises(HardwareError, match="cannot be encoded"):
            append(film, [3])
    assert film.frames == 3
    append(film, range(3, 6))
    assert shows(film.snapshot(), range(6))


def test_other_parameter_sets_stay_where_they_are(
    film: FilmWriter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a change from hardware to software."""
    append(film, range(61))
    film.rest()
    monkeypatch.setattr(encoder, "_X264", {"preset": "ultrafast", "tune": "zerolatency", "forced-idr": "1", "bf": "0"})
    append(film, range(61, 65))
    film.rest()
    monkeypatch.undo()
    append(film, range(65, 130))
    film.finish()
    assert shows(film.snapshot(), range(130))
    found = probed(read_film(tmp_path / "film", 25), tmp_path)
    assert found["codec_tag_string"] == "avc3"
    assert int(found["nb_read_frames"]) == 130


def test_hardware_streams_are_told_their_colours() -> None:
    import av

    context: Any = av.CodecContext.create("libx264", "w")
    context.width, context.height, context.pix_fmt, context.time_base = 64, 48, "yuv420p", Fraction(1, 25)
    packets = context.encode(av.VideoFrame(64, 48, "yuv420p")) + context.encode(None)
    (untagged,) = [nal.split(bytes(packet)).sets for packet in packets]
    tagging = encoder.tagging_filter()
    stream = b"".join(bytes(out) for packet in packets for out in tagging.filter(packet))
    assert nal.split(stream).sets != untagged
    with av.open(io.BytesIO(stream), format="h264") as container:
        next(container.decode(video=0))
        seen = container.streams.video[0].codec_context
        assert (seen.color_range, seen.color_primaries, seen.color_trc, seen.colorspace) == (1, 1, 1, 6)


def test_a_film_of_a_month_opens_at_once(tmp_path: Path) -> None:
    """Counted, not timed: its segments are not read."""
    film = FilmWriter(tmp_path / "film", 30)
    film.open()
    append(film, range(60))
    film.finish()
    known, _bad = catalogue.load(tmp_path / "film")
    head = segments.read(segments.path_of(tmp_path / "film", 0))
    for ordinal in range(1, 200):
        shifted = array("q", (index + 60 * ordinal for index in head.indices))
        known.add(ordinal, segments.Head(**{**vars(head), "indices": shifted}))
        shutil.copyfile(segments.path_of(tmp_path / "film", 0), segments.path_of(tmp_path / "film", ordinal))
    known.save(tmp_path / "film")
    made = read_film(tmp_path / "film", 30)
    assert made.frames == 12_000
    assert sum(isinstance(part, Span) for part in made.parts) == 200
    again = FilmWriter(tmp_path / "film", 30)
    again.open()
    assert again.last_index == 11_999
