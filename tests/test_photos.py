"""The photo library over HTTP: taking, finding, fetching, changing, removing."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image
from PIL.ExifTags import IFD, Base

import config
from piapi.api.services import Services
from piapi.app import create_app
from tests.conftest import Api, assert_problem, faults_of, wish_id


def take(api: Api, camera: str = "demo", **wanted: Any) -> dict[str, Any]:
    response = api.post(f"/cameras/{camera}/photos", json=wanted)
    assert response.status_code == 201, response.get_data(as_text=True)
    photo: dict[str, Any] = response.get_json()
    assert response.headers["Location"] == photo["links"]["self"]
    return photo


def image_of(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


# Taking ---------------------------------------------------------------------------------------------------------------


def test_a_photo_is_taken_and_fetched_back(api: Api) -> None:
    photo = take(api, label="tomatoes")
    assert api.get(photo["links"]["self"]).get_json() == photo
    data = api.get(photo["links"]["file"]).get_data()
    assert len(data) == photo["size_bytes"] and hashlib.sha256(data).hexdigest() == photo["sha256"]
    image = image_of(data)
    assert image.format == "JPEG" and image.size == (photo["width"], photo["height"]) == (640, 480)
    assert photo["label"] == "tomatoes" and photo["camera"] == "demo" and photo["emulated"] is True
    assert photo["pinned"] is False and photo["metadata"]["exposure_s"] > 0


def test_a_photo_needs_no_body(api: Api) -> None:
    assert api.post("/cameras/demo/photos").status_code == 201
    assert api.post("/cameras/demo/photos", data=b"", content_type="image/gif").status_code == 201


def test_the_file_and_the_row_are_on_disk_when_the_answer_comes(api: Api, settings: config.Settings) -> None:
    photo = take(api)
    files = [path for path in (settings.storage.path / "photos").rglob("*") if path.is_file()]
    assert [path.name for path in files] == [f"{photo['id']}.jpg"]
    assert hashlib.sha256(files[0].read_bytes()).hexdigest() == photo["sha256"]


@pytest.mark.parametrize(
    ("wanted", "size"),
    [
        ({"width": 320}, (320, 240)),
        ({"height": 120}, (160, 120)),
        ({"width": 200, "height": 200}, (200, 200)),
        ({"width": 4608, "height": 2592}, (4608, 2592)),
        ({"width": 1}, (1, 1)),
    ],
    ids=str,
)
def test_a_photo_has_the_size_that_was_asked_for(api: Api, wanted: dict[str, int], size: tuple[int, int]) -> None:
    photo = take(api, **wanted)
    assert (photo["width"], photo["height"]) == size
    assert image_of(api.get(photo["links"]["file"]).get_data()).size == size


def test_a_png_is_not_to_be_had_as_a_jpeg(api: Api) -> None:
    links = take(api, format="png", width=64)["links"]
    for path in (links["self"], links["file"]):
        assert_problem(api.get(path, headers={"Accept": "image/jpeg"}), 406, "not-acceptable")
        assert api.get(path, headers={"Accept": "image/png"}).content_type == "image/png"


def test_a_parameter_that_nobody_takes_is_refused(api: Api) -> None:
    path = take(api)["links"]["self"]
    for response in (api.get(f"{path}?foo=1"), api.post("/cameras/demo/photos?lable=x"), api.get("/cameras/demo?x=1")):
        assert_problem(response, 422, "invalid")


def test_a_png_is_a_png(api: Api) -> None:
    photo = take(api, format="png", width=320)
    response = api.get(photo["links"]["file"])
    assert response.content_type == "image/png" and image_of(response.get_data()).format == "PNG"


def test_quality_makes_a_difference(api: Api) -> None:
    assert take(api, quality=20)["size_bytes"] < take(api, quality=95)["size_bytes"]


def test_controls_of_a_photo_hold_for_it_alone(api: Api) -> None:
    def brightness(photo: dict[str, Any]) -> float:
        thumbnail = image_of(api.get(photo["links"]["thumbnail"]).get_data()).convert("L")
        pixels = thumbnail.tobytes()
        return sum(pixels) / len(pixels)

    before, dark, after = take(api), take(api, controls={"brightness": -0.8}), take(api)
    assert brightness(dark) < brightness(before) - 30
    assert abs(brightness(after) - brightness(before)) < 15


def test_exif_says_when_and_what(api: Api) -> None:
    photo = take(api)
    exif = image_of(api.get(photo["links"]["file"]).get_data()).getexif()
    details = exif.get_ifd(IFD.Exif)
    stamp = photo["captured_at"]
    assert exif[Base.Orientation] == 1 and exif[Base.Software] == "piapi"
    assert details[Base.DateTimeOriginal] == stamp[:10].replace("-", ":") + " " + stamp[11:19]
    assert details[Base.SubsecTimeOriginal] == stamp[20:23] and details[Base.OffsetTimeOriginal] == "+00:00"
    assert float(details[Base.ExposureTime]) == pytest.approx(photo["metadata"]["exposure_s"], rel=0.01)


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({"width": 0}, {"/width"}),
        ({"width": -5}, {"/width"}),
        ({"width": 4609}, {"/width"}),
        ({"height": 2593}, {"/height"}),
        ({"width": 10**9}, {"/width"}),
        ({"width": "5"}, {"/width"}),
        ({"width": 5.5}, {"/width"}),
        ({"width": True}, {"/width"}),
        ({"width": None}, {"/width"}),
        ({"quality": 0}, {"/quality"}),
        ({"quality": 101}, {"/quality"}),
        ({"format": "tiff"}, {"/format"}),
        ({"format": "dng"}, {"/format"}),
        ({"format": 1}, {"/format"}),
        ({"label": "x" * 101}, {"/label"}),
        ({"label": "a\u0000b"}, {"/label"}),
        ({"label": 5}, {"/label"}),
        ({"label": "\ud800"}, {"/label"}),
        ({"controls": {"sepia": 1}}, {"/controls/sepia"}),
        ({"controls": {"brightness": 7}}, {"/controls/brightness"}),
        ({"controls": {"brightness": "much"}}, {"/controls/brightness"}),
        ({"controls": {"brightness": [1]}}, {"/controls/brightness/value"}),
        ({"controls": {"sepia": 1, "gain": -1}}, {"/controls/sepia", "/controls/gain"}),
        ({"controls": []}, {"/controls"}),
        ({"shutter": 1}, {"/shutter"}),
        ({"width": 0, "quality": 101, "shutter": 1}, {"/width", "/quality", "/shutter"}),
        ({"a/b~c": 1}, {"/a~1b~0c"}),
    ],
    ids=wish_id,
)
def test_a_wrong_wish_names_all_that_is_wrong_and_takes_nothing(
    api: Api, body: dict[str, Any], where: set[str]
) -> None:
    assert faults_of(assert_problem(api.post("/cameras/demo/photos", json=body), 422, "invalid")) == where
    assert api.get("/photos").get_json()["items"] == []


@pytest.mark.parametrize(
    ("data", "content_type", "status", "slug"),
    [
        (b"{", "application/json", 400, "malformed-json"),
        (b'{"width": NaN}', "application/json", 400, "malformed-json"),
        (b"\xff\xfe", "application/json", 400, "malformed-json"),
        (b"[" * 30_000, "application/json", 400, "malformed-json"),
        (b'{"label": "a", "label": "b"}', "application/json", 400, "malformed-json"),
        (b"[]", "application/json", 422, "invalid"),
        (b"5", "application/json", 422, "invalid"),
        (b"null", "application/json", 422, "invalid"),
        (b"{}", "text/plain", 415, "unsupported-media-type"),
        (b"{}", None, 415, "unsupported-media-type"),
        (b"width=5", "application/x-www-form-urlencoded", 415, "unsupported-media-type"),
        (b" " * 65_537, "application/json", 413, "too-large"),
        (b"x" * 1_000_000, "text/plain", 413, "too-large"),
    ],
)
def test_a_body_that_is_none_is_refused(
    api: Api, data: bytes, content_type: str | None, status: int, slug: str
) -> None:
    response = api.post("/cameras/demo/photos", data=data, content_type=content_type)
    document = assert_problem(response, status, slug)
    if slug == "invalid":
        assert faults_of(document) == {""}


def test_no_space_above_the_floor_is_507_and_nothing_is_kept(
    api: Api, settings: config.Settings, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services.photos._library, "_floor_bytes", 2**62)
    document = assert_problem(api.post("/cameras/demo/photos"), 507, "insufficient-storage")
    assert "floor_bytes" in document["detail"]
    assert api.get("/photos").get_json()["items"] == []
    assert not [path for path in (settings.storage.path / "photos").rglob("*") if path.is_file()]


# Finding --------------------------------------------------------------------------------------------------------------


def test_photos_are_listed_newest_first_and_paged_by_key(api: Api) -> None:
    ids = [take(api)["id"] for _ in range(5)]
    first = api.get("/photos?limit=2").get_json()
    take(api)  # an insert between two pages neither repeats nor skips
    seen = [item["id"] for item in first["items"]]
    path = first["links"].get("next")
    while path:
        page = api.get(path).get_json()
        assert len(page["items"]) <= 2
        seen += [item["id"] for item in page["items"]]
        path = page["links"].get("next")
    assert seen == ids[::-1]


def test_photos_are_filtered(api: Api) -> None:
    one, two = take(api, label="a"), take(api, "back", label="b")
    three = take(api, label="b")

    def found(query: str) -> list[str]:
        return [item["id"] for item in api.get(f"/photos?{query}").get_json()["items"]]

    assert found("camera=back") == [two["id"]]
    assert found("camera=nothing") == []
    assert found("label=b") == [three["id"], two["id"]]
    assert found(f"since={two['captured_at']}") == [three["id"], two["id"]]
    assert found(f"until={two['captured_at']}") == [one["id"]]
    assert found(f"since={two['captured_at']}&camera=demo&label=b") == [three["id"]]
    assert found("since=2000-01-01T00:00:00%2B02:00&limit=200") == [three["id"], two["id"], one["id"]]
    assert [item["id"] for item in api.get("/cameras/back/photos").get_json()["items"]] == [two["id"]]


def test_the_link_to_the_next_page_keeps_the_filter(api: Api) -> None:
    for _ in range(3):
        take(api, label="a b&c")
    page = api.get("/photos?limit=1&label=a+b%26c").get_json()
    assert "label=a+b%26c" in page["links"]["next"] and "limit=1" in page["links"]["next"]
    assert len(api.get(page["links"]["next"]).get_json()["items"]) == 1


@pytest.mark.parametrize(
    ("query", "where"),
    [
        ("limit=0", {"limit"}),
        ("limit=201", {"limit"}),
        ("limit=x", {"limit"}),
        ("limit=1_0", {"limit"}),
        ("limit=+5", {"limit"}),
        ("limit=", {"limit"}),
        ("limit=1&limit=2", {"limit"}),
        ("limt=5", {"limt"}),
        ("cursor=made-up", {"cursor"}),
        ("cursor=W10", {"cursor"}),
        ("cursor=WzEsMl0sXQ", {"cursor"}),
        ("cursor=WzEsInh5Il0", {"cursor"}),
        ("cursor=%C3%A4", {"cursor"}),
        ("cursor=WzEsIlx1ZDgwMCJd", {"cursor"}),
        ("cursor=" + "A" * 201, {"cursor"}),
        ("since=yesterday", {"since"}),
        ("since=2026-13-01T00:00:00Z", {"since"}),
        ("until=2026-11-20", {"until"}),
        ("until=9999-12-31T23:59:59-23:59", {"until"}),
        ("limit=0&since=x", {"limit", "since"}),
    ],
)
def test_a_wrong_query_names_the_parameter(api: Api, query: str, where: set[str]) -> None:
    assert faults_of(assert_problem(api.get(f"/photos?{query}"), 422, "invalid")) == where


def test_a_cursor_with_a_number_too_large_for_the_database_is_refused(api: Api) -> None:
    from piapi.api.collections import encode_cursor

    assert_problem(api.get(f"/photos?cursor={encode_cursor([2**63, 1])}"), 422, "invalid")


# Fetching -------------------------------------------------------------------------------------------------------------


def test_a_file_has_its_hash_as_tag_and_is_not_sent_twice(api: Api) -> None:
    photo = take(api)
    response = api.get(photo["links"]["file"])
    assert response.headers["ETag"] == f'"{photo["sha256"]}"'
    assert "immutable" in response.headers["Cache-Control"] and response.headers["Accept-Ranges"] == "bytes"
    again = api.get(photo["links"]["file"], headers={"If-None-Match": response.headers["ETag"]})
    assert again.status_code == 304 and again.get_data() == b"" and again.headers["ETag"] == response.headers["ETag"]
    assert api.get(photo["links"]["file"], headers={"If-None-Match": '"other"'}).status_code == 200


@pytest.mark.parametrize(
    ("wanted", "span"),
    [
        ("bytes=0-9", slice(0, 10)),
        ("bytes=10-", slice(10, None)),
        ("bytes=-10", slice(-10, None)),
        ("bytes=5-99999999", slice(5, None)),
        ("bytes=-99999999", slice(0, None)),
        ("bytes=0-", slice(0, None)),
        ("bytes=0-0", slice(0, 1)),
    ],
)
def test_a_range_is_a_part(api: Api, wanted: str, span: slice) -> None:
    photo = take(api)
    whole = api.get(photo["links"]["file"]).get_data()
    response = api.get(photo["links"]["file"], headers={"Range": wanted})
    assert response.status_code == 206 and response.get_data() == whole[span]
    assert response.headers["Content-Range"].endswith(f"/{len(whole)}")
    assert int(response.headers["Content-Length"]) == len(whole[span])


@pytest.mark.parametrize("wanted", ["bytes=0-1,5-6", "lines=1-2", "bytes=x", "bytes", "bytes=5-1"])
def test_a_range_that_we_do_not_serve_is_answered_with_all(api: Api, wanted: str) -> None:
    photo = take(api)
    response = api.get(photo["links"]["file"], headers={"Range": wanted})
    assert response.status_code == 200 and len(response.get_data()) == photo["size_bytes"]


def test_a_range_beyond_the_end_says_how_long_it_is(api: Api) -> None:
    photo = take(api)
    response = api.get(photo["links"]["file"], headers={"Range": f"bytes={photo['size_bytes']}-"})
    assert_problem(response, 416, "range-not-satisfiable")
    assert response.headers["Content-Range"] == f"bytes */{photo['size_bytes']}"


def test_a_range_of_another_version_is_answered_with_all(api: Api) -> None:
    photo = take(api)
    mine, other = f'"{photo["sha256"]}"', '"other"'
    part = {"Range": "bytes=0-9"}
    assert api.get(photo["links"]["file"], headers={**part, "If-Range": mine}).status_code == 206
    assert api.get(photo["links"]["file"], headers={**part, "If-Range": other}).status_code == 200
    assert api.get(photo["links"]["file"], headers={**part, "If-Range": f"W/{mine}"}).status_code == 200


def test_head_tells_all_but_the_bytes(api: Api) -> None:
    photo = take(api)
    response = api.open("HEAD", photo["links"]["file"])
    assert response.status_code == 200 and response.get_data() == b""
    assert int(response.headers["Content-Length"]) == photo["size_bytes"]


def test_accept_chooses_between_the_image_and_its_description(api: Api) -> None:
    photo = take(api)
    path = photo["links"]["self"]
    for accept, kind in (
        ("image/*", "image/jpeg"),
        ("image/jpeg", "image/jpeg"),
        ("image/avif,image/webp,image/*;q=0.8", "image/jpeg"),
        ("application/json", "application/json"),
        ("*/*", "application/json"),
        ("", "application/json"),
    ):
        response = api.get(path, headers={"Accept": accept})
        assert response.content_type == kind, accept
        assert "Accept" in response.headers["Vary"]
    assert_problem(api.get(path, headers={"Accept": "text/plain"}), 406, "not-acceptable")


@pytest.mark.parametrize(("asked", "got"), [(1, 160), (160, 160), (161, 320), (640, 640), (1281, 1280), (16384, 1280)])
def test_a_thumbnail_is_rounded_up_to_a_kept_size(api: Api, asked: int, got: int) -> None:
    photo = take(api, width=2304, height=1296)
    response = api.get(f"{photo['links']['thumbnail']}?width={asked}")
    image = image_of(response.get_data())
    assert image.format == "JPEG" and image.width == got


def test_a_thumbnail_is_made_once_and_never_larger_than_the_photo(api: Api, settings: config.Settings) -> None:
    photo = take(api, width=320)
    first = api.get(f"{photo['links']['thumbnail']}?width=1280")
    assert image_of(first.get_data()).size == (320, 240)
    kept = list((settings.storage.path / "thumbnails").rglob("*.jpg"))
    assert len(kept) == 1
    kept[0].write_bytes(b"kept\xff\xd9")
    assert api.get(f"{photo['links']['thumbnail']}?width=1280").get_data() == b"kept\xff\xd9"
    assert api.get(f"{photo['links']['thumbnail']}?width=900", headers={"If-None-Match": "*"}).status_code == 304


@pytest.mark.parametrize("width", ["0", "-1", "x", "16385", "1.5"])
def test_a_thumbnail_of_no_width_is_refused(api: Api, width: str) -> None:
    photo = take(api)
    response = api.get(f"{photo['links']['thumbnail']}?width={width}")
    assert faults_of(assert_problem(response, 422, "invalid")) == {"width"}


@pytest.mark.parametrize("path", ["", "/file", "/thumbnail"])
def test_a_photo_that_is_not_there_is_404(api: Api, path: str) -> None:
    assert_problem(api.get(f"/photos/0123456789abcdef{path}"), 404, "not-found")
    assert_problem(api.get(f"/photos/%2e%2e%2fpiapi.db{path}"), 404, "not-found")


# Changing and removing ------------------------------------------------------------------------------------------------


def test_label_and_pin_change_and_stay(api: Api) -> None:
    photo = take(api)
    changed = api.patch(photo["links"]["self"], json={"label": "new", "pinned": True})
    assert changed.status_code == 200
    assert changed.get_json() == {**photo, "label": "new", "pinned": True}
    assert api.get(photo["links"]["self"]).get_json() == changed.get_json()
    assert api.patch(photo["links"]["self"], json={"label": None}).get_json()["label"] is None
    assert api.get(photo["links"]["self"]).get_json()["pinned"] is True


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({}, {""}),
        ({"pinned": "yes"}, {"/pinned"}),
        ({"pinned": 1}, {"/pinned"}),
        ({"pinned": None}, {"/pinned"}),
        ({"width": 5}, {"/width"}),
        ({"label": "x" * 101, "pinned": 0}, {"/label", "/pinned"}),
    ],
    ids=wish_id,
)
def test_a_wrong_change_changes_nothing(api: Api, body: dict[str, Any], where: set[str]) -> None:
    photo = take(api)
    assert faults_of(assert_problem(api.patch(photo["links"]["self"], json=body), 422, "invalid")) == where
    assert api.get(photo["links"]["self"]).get_json() == photo


def test_if_match_guards_a_change(api: Api) -> None:
    photo = take(api)
    path = photo["links"]["self"]
    tag = api.get(path).headers["ETag"]
    assert api.get(path, headers={"If-None-Match": tag}).status_code == 304
    changed = api.patch(path, json={"pinned": True}, headers={"If-Match": tag})
    assert changed.status_code == 200 and changed.headers["ETag"] != tag
    assert_problem(api.patch(path, json={"pinned": False}, headers={"If-Match": tag}), 412, "precondition-failed")
    assert_problem(api.delete(path, headers={"If-Match": tag}), 412, "precondition-failed")
    assert_problem(api.delete(path, headers={"If-Match": "garbage"}), 412, "precondition-failed")
    assert api.get(path).get_json()["pinned"] is True
    assert api.delete(path, headers={"If-Match": changed.headers["ETag"]}).status_code == 204


def test_a_removed_photo_is_gone_with_file_and_thumbnails(api: Api, settings: config.Settings) -> None:
    photo = take(api)
    api.get(photo["links"]["thumbnail"])
    assert api.delete(photo["links"]["self"]).status_code == 204
    for path in photo["links"]:
        if path != "camera":
            assert_problem(api.get(photo["links"][path]), 404, "not-found")
    assert_problem(api.delete(photo["links"]["self"]), 404, "not-found")
    left = [path for name in ("photos", "thumbnails") for path in (settings.storage.path / name).rglob("*.*")]
    assert left == []


def test_a_file_that_somebody_took_away_is_404_and_no_fault(api: Api, settings: config.Settings) -> None:
    photo = take(api)
    for path in (settings.storage.path / "photos").rglob("*.jpg"):
        path.unlink()
    assert_problem(api.get(photo["links"]["file"]), 404, "not-found")
    assert_problem(api.get(photo["links"]["thumbnail"]), 404, "not-found")


def test_photos_outlive_the_service(
    settings: config.Settings, api: Api, app: Any, client_with: Callable[..., Api]
) -> None:
    photo = take(api, label="kept")
    data = api.get(photo["links"]["file"]).get_data()
    app.extensions["piapi"].close()
    again = create_app(settings)
    again.extensions["piapi"].start()
    try:
        later = Api(again.test_client(), api.token)
        assert later.get(photo["links"]["self"]).get_json() == photo
        assert later.get(photo["links"]["file"]).get_data() == data
    finally:
        again.extensions["piapi"].close()


def test_what_was_half_written_is_gone_after_a_start(settings: config.Settings) -> None:
    part = settings.storage.path / "incoming" / "abcd.jpg.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"half")
    runtime = create_app(settings).extensions["piapi"]
    runtime.start()
    runtime.close()
    assert not part.exists()


def test_a_photo_whose_row_cannot_be_written_leaves_no_file(
    api: Api, services: Services, settings: config.Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    take(api)
    database = services.photos._library._database
    pages = database.read("PRAGMA page_count")[0][0]
    with database.write() as connection:
        connection.execute(f"PRAGMA max_page_count = {pages}")
    answers = [api.post("/cameras/demo/photos", json={"label": "x" * 100}) for _ in range(60)]
    assert_problem(answers[-1], 507, "insufficient-storage")
    kept = {path.stem for path in (settings.storage.path / "photos").rglob("*.*")}
    assert kept == {row["id"] for row in database.read("SELECT id FROM photos")}
    assert api.get("/photos").status_code == 200


def test_a_thumbnail_is_served_but_not_kept_where_there_is_no_space(
    api: Api, services: Services, settings: config.Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = take(api)
    monkeypatch.setattr(services.photos._library, "_floor_bytes", 2**62)
    assert image_of(api.get(photo["links"]["thumbnail"]).get_data()).width == 320
    assert not list((settings.storage.path / "thumbnails").rglob("*.jpg"))


def test_a_thumbnail_of_a_photo_removed_meanwhile_is_not_kept(
    api: Api, services: Services, settings: config.Settings
) -> None:
    photo = services.photos.get(take(api)["id"])
    services.photos.remove(photo.id, lambda _: None)
    services.photos._library.keep_thumbnail(photo, 320, b"picture")
    assert not list((settings.storage.path / "thumbnails").rglob("*.jpg"))
