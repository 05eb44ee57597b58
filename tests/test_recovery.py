"""What a start makes of rows without files, files without rows, and what a crash left between the two."""

from __future__ import annotations

import json
import os
import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import config
from piapi.api.services import Services
from piapi.clock import format_time
from piapi.errors import DataDiskMissing, StorageBusy, StorageFull
from piapi.services import recovery
from piapi.services.events import Events
from piapi.services.recovery import Recovery
from piapi.storage.database import Database, to_millis
from piapi.storage.inventory import Inventory
from piapi.storage.photos import PhotoLibrary
from tests.conftest import Api, assert_problem
from tests.fakes import FakeClock
from tests.library import execute, file_of, started, take


def events_of(settings: config.Settings, type: str) -> list[tuple[str, dict[str, Any]]]:
    rows = execute(settings, "SELECT subject, data FROM events WHERE type = ? ORDER BY id", type)
    return [(subject, json.loads(data)) for subject, data in rows]


# A file without a row -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", ["jpeg", "png"])
def test_a_photo_whose_row_is_lost_gets_the_same_row_again_from_its_file(
    settings: config.Settings, format: str
) -> None:
    with started(settings) as api:
        photo = take(api, format=format, label="Tomaten, ärgerlich grün")
    execute(settings, "DELETE FROM photos")
    with started(settings) as api:
        assert api.get(photo["links"]["self"]).get_json() == photo
        assert api.get("/photos").get_json()["items"] == [photo]
    assert events_of(settings, "photo.recovered") == [
        ("camera:demo", {"id": photo["id"], "captured_at": photo["captured_at"]})
    ]


def test_a_file_that_does_not_say_where_it_is_from_is_adopted_all_the_same(settings: config.Settings) -> None:
    folder = settings.storage.path / "photos" / "ab"
    folder.mkdir(parents=True)
    Image.new("RGB", (40, 30)).save(folder / "ab00000000000001.jpg")
    Image.new("L", (20, 10)).save(folder / "ab00000000000002.dng", "TIFF")
    os.utime(folder / "ab00000000000001.jpg", (1_700_000_000, 1_700_000_000))
    with started(settings) as api:
        jpeg = api.get("/photos/ab00000000000001").get_json()
        assert (jpeg["camera"], jpeg["captured_at"]) == ("recovered", "2023-11-14T22:13:20.000Z")
        assert (jpeg["width"], jpeg["height"], jpeg["format"]) == (40, 30, "jpeg")
        dng = api.get("/photos/ab00000000000002").get_json()
        assert (dng["width"], dng["height"], dng["format"]) == (20, 10, "dng")


@pytest.mark.parametrize("comment", [b"", b"no json", b"[1]", b'{"camera": 5, "captured_at": "soon", "label": []}'])
def test_a_file_with_a_comment_of_somebody_else_is_adopted(settings: config.Settings, comment: bytes) -> None:
    folder = settings.storage.path / "photos" / "ab"
    folder.mkdir(parents=True)
    exif = Image.Exif()
    exif[0x8769] = {0x9286: b"ASCII\0\0\0" + comment}
    Image.new("RGB", (40, 30)).save(folder / "ab00000000000001.jpg", exif=exif)
    with started(settings) as api:
        found = api.get("/photos/ab00000000000001").get_json()
        assert found["camera"] == "recovered" and found["label"] is None and found["metadata"] == {}


@pytest.mark.parametrize(
    ("name", "keep"), [("jpeg", 300), ("jpeg", -3), ("png", 300), ("jpeg", 0), ("dng", 2)], ids=str
)
def test_a_file_that_is_no_whole_picture_is_set_aside_and_not_deleted(
    settings: config.Settings, name: str, keep: int, caplog: pytest.LogCaptureFixture
) -> None:
    with started(settings) as api:
        photo = take(api, format="jpeg" if name == "dng" else name)
    path = file_of(settings, photo)
    data = path.read_bytes()[:keep]
    path.write_bytes(data)
    if name == "dng":
        path = path.rename(path.with_suffix(".dng"))
    execute(settings, "DELETE FROM photos")
    with started(settings) as api:
        assert api.get("/photos").get_json()["items"] == []
    assert not path.exists()
    assert (settings.storage.path / "set-aside" / path.name).read_bytes() == data
    assert "no whole picture" in caplog.text


def test_two_files_of_one_name_are_both_set_aside(settings: config.Settings) -> None:
    folder = settings.storage.path / "photos" / "ab"
    for data in (b"one", b"two"):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "ab00000000000001.jpg").write_bytes(data)
        with started(settings):
            pass
    kept = {path.read_bytes() for path in (settings.storage.path / "set-aside").iterdir()}
    assert kept == {b"one", b"two"}


def test_files_that_are_not_ours_are_left_alone(settings: config.Settings) -> None:
    data = settings.storage.path
    others = [data / "notes.txt", data / "photos" / "holiday.jpg", data / "photos" / "ab" / "me.jpg"]
    others += [data / "photos" / "2026" / "ab00000000000001.jpg", data / "photos" / "ab" / "cd00000000000001.jpg"]
    others += [data / "photos" / "ab" / "AB00000000000001.jpg", data / "thumbnails" / "ab" / "x-160.jpg"]
    for path in others:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"mine")
    with started(settings) as api:
        assert api.get("/photos").get_json()["items"] == []
    assert all(path.read_bytes() == b"mine" for path in others)


def test_what_there_is_no_time_for_at_a_start_is_adopted_afterwards(
    settings: config.Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with started(settings) as api:
        photos = [take(api) for _ in range(4)]
    execute(settings, "DELETE FROM photos")
    clock = FakeClock()
    real = recovery.read_photo

    def slow(path: Path) -> Any:
        clock.advance(2.0)
        return real(path)

    monkeypatch.setattr(recovery, "read_photo", slow)
    database = Database(settings.storage.path / "piapi.db")
    database.open()
    library = PhotoLibrary(database, settings.storage.path)
    mending = Recovery(library, Inventory(database, settings.storage.path), Events(database, clock), clock)
    mending.run()
    count = "SELECT count(*) FROM photos"
    assert execute(settings, count) == [(2,)]
    mending.adopt_more()
    mending.adopt_more()
    assert {id for (id,) in execute(settings, "SELECT id FROM photos")} == {photo["id"] for photo in photos}
    database.close()


def test_an_adoption_that_fails_is_tried_again(settings: config.Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    with started(settings) as api:
        take(api)
    execute(settings, "DELETE FROM photos")
    clock = FakeClock()
    database = Database(settings.storage.path / "piapi.db")
    database.open()
    library = PhotoLibrary(database, settings.storage.path)
    mending = Recovery(library, Inventory(database, settings.storage.path), Events(database, clock), clock)

    def busy(*_: object, **__: object) -> None:
        raise StorageBusy("later")

    with monkeypatch.context() as patch:
        patch.setattr(library, "add_row", busy)
        with pytest.raises(StorageBusy):
            mending.run()
    mending.adopt_more()
    assert execute(settings, "SELECT count(*) FROM photos") == [(1,)]
    database.close()


def test_a_start_on_a_full_disk_goes_on_and_mends_when_there_is_space(
    settings: config.Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with started(settings) as api:
        stray, gone, kept = (take(api) for _ in range(3))
        token = api.token
    execute(settings, "DELETE FROM photos WHERE id = ?", stray["id"])
    file_of(settings, gone).unlink()

    def full(*_: object, **__: object) -> None:
        raise StorageFull("full")

    with monkeypatch.context() as patch:
        patch.setattr(PhotoLibrary, "add_row", full)
        patch.setattr(Inventory, "mark", full)
        with started(settings, token) as api:
            assert_problem(api.get(gone["links"]["file"]), 404, "not-found")
            assert api.delete(kept["links"]["self"]).status_code == 204
    with started(settings, token) as api:
        assert [item["id"] for item in api.get("/photos").get_json()["items"]] == [stray["id"]]


# Killed in between ----------------------------------------------------------------------------------------------------


def test_a_photo_cut_off_between_file_and_row_makes_no_photo_and_is_set_aside(
    settings: config.Settings, caplog: pytest.LogCaptureFixture
) -> None:
    with started(settings) as api:
        photo = take(api)
    path = file_of(settings, photo)
    execute(settings, "DELETE FROM photos")
    mark = settings.storage.path / "incoming" / f"{path.name}.pending"
    mark.touch()
    with started(settings) as api:
        assert api.get("/photos").get_json()["items"] == []
    assert not mark.exists() and not path.exists()
    assert (settings.storage.path / "set-aside" / path.name).exists()
    assert "never acknowledged" in caplog.text


def test_a_photo_killed_after_its_row_was_kept_is_kept(settings: config.Settings) -> None:
    with started(settings) as api:
        photo = take(api)
        assert not list((settings.storage.path / "incoming").iterdir())
    mark = settings.storage.path / "incoming" / f"{file_of(settings, photo).name}.pending"
    mark.touch()
    with started(settings) as api:
        assert api.get(photo["links"]["file"]).status_code == 200
    assert not mark.exists()


def test_a_photo_that_fails_leaves_no_mark(api: Api, services: Services, settings: config.Settings) -> None:
    def refuse(connection: sqlite3.Connection) -> None:
        raise StorageBusy("later")

    library = services.photos._library
    photo = services.photos.get(take(api)["id"])
    services.photos.remove(photo.id, lambda _: None)
    with pytest.raises(StorageBusy):
        library.add(photo, b"data", refuse)
    assert not list((settings.storage.path / "incoming").iterdir())
    assert not library.path(photo).exists()


def test_a_deletion_is_durable_before_it_is_acknowledged(
    api: Api, settings: config.Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = take(api)
    path = file_of(settings, photo)
    synced: list[tuple[Path, bool]] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append((Path(f"/proc/self/fd/{descriptor}").readlink(), path.exists()))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    assert api.delete(photo["links"]["self"]).status_code == 204
    assert (path.parent, False) in synced


def test_a_deletion_cut_off_before_the_file_had_gone_comes_back_whole(
    settings: config.Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with started(settings) as api:
        photo = take(api)
        monkeypatch.setattr(Path, "unlink", lambda *_, **__: (_ for _ in ()).throw(OSError(5, "Input/output error")))
        assert api.delete(photo["links"]["self"]).status_code == 500
        monkeypatch.undo()
        assert_problem(api.get(photo["links"]["self"]), 404, "not-found")
    with started(settings) as api:
        assert api.get(photo["links"]["self"]).get_json() == photo


# A row without its file -----------------------------------------------------------------------------------------------


def test_a_photo_whose_file_has_gone_is_hidden_and_whole_again_when_it_is_back(
    settings: config.Settings, caplog: pytest.LogCaptureFixture
) -> None:
    with started(settings) as api:
        photo, other = take(api, label="x"), take(api, label="x")
    path = file_of(settings, photo)
    elsewhere = path.rename(settings.storage.path / "elsewhere")
    with started(settings) as api:
        assert f"the file of photo {photo['id']} has gone" in caplog.text
        for query in ("", "?camera=demo", "?label=x"):
            assert [item["id"] for item in api.get(f"/photos{query}").get_json()["items"]] == [other["id"]]
        for link in ("self", "file", "thumbnail"):
            assert "has gone" in assert_problem(api.get(photo["links"][link]), 404, "not-found")["detail"]
        assert_problem(api.patch(photo["links"]["self"], json={"pinned": True}), 404, "not-found")
    with started(settings):
        pass
    elsewhere.rename(path)
    with started(settings) as api:
        assert api.get(photo["links"]["self"]).get_json() == photo
        assert len(api.get("/photos").get_json()["items"]) == 2
    assert events_of(settings, "storage.mended") == [
        ("system:storage", {"missing": 1, "found": 0}),
        ("system:storage", {"missing": 0, "found": 1}),
    ]


def test_a_photo_whose_file_has_gone_can_be_deleted(settings: config.Settings) -> None:
    with started(settings) as api:
        photo, _ = take(api), take(api)
    file_of(settings, photo).unlink()
    with started(settings) as api:
        assert api.delete(photo["links"]["self"]).status_code == 204
        assert_problem(api.delete(photo["links"]["self"]), 404, "not-found")
    assert execute(settings, "SELECT count(*) FROM photos") == [(1,)]


def test_a_start_without_any_of_the_files_is_refused_and_marks_nothing(settings: config.Settings) -> None:
    with started(settings) as api:
        photos = [take(api) for _ in range(3)]
    files = [file_of(settings, photo) for photo in photos]
    pictures = settings.storage.path / "photos"
    elsewhere = pictures.rename(settings.storage.path / "unmounted")
    with pytest.raises(DataDiskMissing, match=r"3 photos.*[Mm]ount"), started(settings):
        pass
    assert execute(settings, "SELECT count(*) FROM photos WHERE missing_since IS NOT NULL") == [(0,)]
    for folder in pictures.iterdir():
        folder.rmdir()
    pictures.rmdir()
    elsewhere.rename(pictures)
    assert all(path.exists() for path in files)
    with started(settings) as api:
        assert len(api.get("/photos").get_json()["items"]) == 3


def test_the_log_names_twenty_and_sums_up_the_rest(settings: config.Settings, caplog: pytest.LogCaptureFixture) -> None:
    with started(settings) as api:
        kept = take(api)
    row = execute(settings, "SELECT camera, width, height, format, sha256, metadata FROM photos")[0]
    for number in range(30):
        execute(
            settings,
            "INSERT INTO photos (id, captured_at, size_bytes, pinned, emulated, camera, width, height, format, sha256,"
            " metadata) VALUES (?, 0, 1, 0, 0, ?, ?, ?, ?, ?, ?)",
            f"{number:016x}",
            *row,
        )
    with started(settings):
        pass
    lines = [record for record in caplog.records if "has gone" in record.getMessage()]
    assert len(lines) == 21 and "10 more" in lines[-1].getMessage()
    assert file_of(settings, kept).exists()


# Thumbnails -----------------------------------------------------------------------------------------------------------


def test_thumbnails_of_photos_that_are_gone_and_half_written_ones_go(settings: config.Settings) -> None:
    with started(settings) as api:
        photo = take(api)
        api.get(photo["links"]["thumbnail"])
    folder = settings.storage.path / "thumbnails" / photo["id"][:2]
    stray = folder / f"{photo['id'][:2]}00000000000000-160.jpg"
    part = folder / f"{photo['id']}-160.jpg.77.7f.part"
    for path in (stray, part):
        path.write_bytes(b"x")
    with started(settings):
        pass
    assert [path.name for path in folder.iterdir()] == [f"{photo['id']}-320.jpg"]


def test_a_thumbnail_that_a_power_cut_left_empty_is_made_again(api: Api, settings: config.Settings) -> None:
    photo = take(api)
    whole = api.get(photo["links"]["thumbnail"]).get_data()
    (kept,) = (settings.storage.path / "thumbnails").rglob("*.jpg")
    for damaged in (b"", whole[:100], bytes(len(whole))):
        kept.write_bytes(damaged)
        assert api.get(photo["links"]["thumbnail"]).get_data() == whole
    assert kept.read_bytes() == whole


# Figures that are kept along ------------------------------------------------------------------------------------------


def test_the_bytes_of_all_photos_are_counted_through_every_change(settings: config.Settings) -> None:
    counted = "SELECT photos, bytes FROM photo_totals"
    real = "SELECT count(*), coalesce(sum(size_bytes), 0) FROM photos WHERE missing_since IS NULL"
    with started(settings) as api:
        photos = [take(api) for _ in range(3)]
        api.patch(photos[0]["links"]["self"], json={"pinned": True})
        api.delete(photos[1]["links"]["self"])
        assert execute(settings, counted) == execute(settings, real) != [(0, 0)]
    path = file_of(settings, photos[2])
    path.rename(settings.storage.path / "elsewhere")
    with started(settings):
        assert execute(settings, counted) == execute(settings, real) == [(1, photos[0]["size_bytes"])]
    (settings.storage.path / "elsewhere").rename(path)
    with started(settings) as api:
        assert execute(settings, counted) == execute(settings, real)
        api.delete(photos[0]["links"]["self"])
    path.unlink()
    stray = settings.storage.path / "photos" / "ab" / "ab00000000000001.jpg"
    stray.parent.mkdir(exist_ok=True)
    Image.new("RGB", (40, 30)).save(stray)
    with started(settings) as api:
        api.delete(photos[2]["links"]["self"])
        assert execute(settings, counted) == execute(settings, real) == [(1, stray.stat().st_size)]


def test_a_row_made_again_is_not_dated_by_a_clock_that_was_believed(settings: config.Settings) -> None:
    with started(settings) as api:
        photo = take(api)
    execute(settings, "DELETE FROM photos")
    with started(settings):
        pass
    moment = datetime.fromisoformat(photo["captured_at"]).astimezone(UTC)
    assert execute(settings, "SELECT is_dated, captured_at FROM photos") == [(0, to_millis(moment))]
    assert format_time(moment) == photo["captured_at"]
