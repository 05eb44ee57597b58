"""Many photos as one tar stream: which ones, whole or noticed as cut off, and with nothing left behind."""

from __future__ import annotations

import hashlib
import io
import json
import os
import socket
import tarfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from piapi.api.services import Services
from piapi.models import Photo, PhotoFilter
from piapi.services.photos import ARCHIVE_PAGE, MOST_ARCHIVES
from tests.conftest import Api, assert_problem, faults_of
from tests.service import Service, running

BEGAN = datetime(2026, 11, 20, 21, 37, 28, 123000, tzinfo=UTC)


def keep(services: Services, number: int, camera: str = "demo", size: int = 1000, label: str | None = None) -> Photo:
    """A photo of `size` bytes that no camera took."""
    data = os.urandom(size)
    photo = Photo(
        seq=0,
        id=f"{number:016x}",
        camera=camera,
        captured_at=BEGAN + timedelta(minutes=number),
        width=1,
        height=1,
        size_bytes=size,
        format="jpeg",
        sha256=hashlib.sha256(data).hexdigest(),
        label=label,
        pinned=False,
        metadata={},
        emulated=True,
    )
    return services.photos._library.add(photo, data)


def unpacked(data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]


def test_it_holds_each_photo_by_a_name_and_time_of_its_own(api: Api, services: Services) -> None:
    photos = [keep(services, number, size=size) for number, size in enumerate((0, 1, 511, 512, 513, 70_000))]
    response = api.get("/photos.tar")
    assert response.content_type == "application/x-tar"
    assert response.headers["Content-Disposition"] == 'attachment; filename="photos.tar"'
    data = response.get_data()
    found = unpacked(data)
    assert list(found)[-1] == "2026-11-20T213728.123Z-demo-0000000000000000.jpg"
    assert [hashlib.sha256(content).hexdigest() for content in found.values()] == [
        photo.sha256 for photo in reversed(photos)
    ]
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        members = archive.getmembers()
    assert [member.mtime for member in members] == [int(photo.captured_at.timestamp()) for photo in reversed(photos)]
    assert {member.mode for member in members} == {0o644}
    assert data.endswith(bytes(1024)) and len(data) % 512 == 0


def test_more_than_a_page_of_photos_is_all_there(api: Api, services: Services) -> None:
    photos = [keep(services, number) for number in range(2 * ARCHIVE_PAGE + 1)]
    assert len(unpacked(api.get("/photos.tar").get_data())) == len(photos)


def test_of_nothing_it_is_an_empty_archive(api: Api) -> None:
    assert unpacked(api.get("/photos.tar").get_data()) == {}


def test_the_selection_is_that_of_the_list(api: Api, services: Services, client_with: Callable[..., Api]) -> None:
    for number in range(6):
        keep(services, number, camera=("demo", "back")[number % 2], label=("a", None)[number // 3])

    def numbers(client: Api, **query: str) -> list[int]:
        found = unpacked(client.get("/photos.tar", query_string=query).get_data())
        listed = client.get("/photos", query_string=query).get_json()["items"]
        assert [name[-20:-4] for name in found] == [photo["id"] for photo in listed]
        return [int(name[-20:-4], 16) for name in found]

    assert numbers(api, camera="back") == [5, 3, 1]
    assert numbers(api, label="a") == [2, 1, 0]
    assert numbers(api, since="2026-11-20T21:39:28.123Z", until="2026-11-20T21:41:28.123Z") == [3, 2]
    assert numbers(client_with("camera:demo:view")) == [4, 2, 0]
    assert numbers(client_with("camera:demo:view"), camera="back") == []
    assert numbers(client_with("door:garage:open")) == []


def test_a_photo_that_is_deleted_meanwhile_is_left_out_unless_it_is_on_its_way(api: Api, services: Services) -> None:
    for number in range(3):
        keep(services, number)
    response = api.get("/photos.tar", buffered=False)
    parts = response.iter_encoded()
    data = next(parts) + next(parts)
    for number in (2, 1):
        assert api.delete(f"/photos/{number:016x}").status_code == 204
    found = unpacked(data + b"".join(parts))
    response.close()
    assert [int(name[-20:-4], 16) for name in found] == [2, 0]


def test_who_may_not_and_what_makes_no_sense_is_refused(api: Api, nobody: Api) -> None:
    assert_problem(nobody.get("/photos.tar"), 401, "unauthenticated")
    assert_problem(api.get("/photos.tar", headers={"Accept": "application/json"}), 406, "not-acceptable")
    assert_problem(api.post("/photos.tar"), 405, "method-not-allowed")
    for query, where in (("limit=1", "limit"), ("since=now", "since"), ("camera=a&camera=b", "camera")):
        assert faults_of(assert_problem(api.get(f"/photos.tar?{query}"), 422, "invalid")) == {where}


def test_a_few_at_once_are_enough_and_their_places_are_given_back(api: Api, services: Services) -> None:
    keep(services, 1)
    for _ in range(3):
        responses = [api.get("/photos.tar", buffered=False) for _ in range(MOST_ARCHIVES)]
        refused = api.get("/photos.tar")
        assert_problem(refused, 429, "too-many-requests")
        assert int(refused.headers["Retry-After"]) > 0
        next(responses[0].iter_encoded())
        assert open_photos(os.getpid()) == MOST_ARCHIVES
        for response in responses:
            response.close()
    for _ in range(2 * MOST_ARCHIVES):
        assert api.open("HEAD", "/photos.tar").status_code == 200
        assert len(unpacked(api.get("/photos.tar").get_data())) == 1
    assert open_photos(os.getpid()) == 0


def test_a_file_that_cannot_be_read_cuts_it_off(api: Api, services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    photo = keep(services, 1)
    path = services.photos.file(photo)
    path.unlink()
    path.symlink_to(path)  # a loop
    archive = services.photos.archive(PhotoFilter())
    archive.close()
    with pytest.raises(Exception, match="cannot be read"):
        api.get("/photos.tar").get_data()


# From the service -----------------------------------------------------------------------------------------------------


def worker_of(service: Service) -> int:
    pid = service.process.pid
    (worker,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(worker)


def open_photos(worker: int) -> int:
    found = 0
    for entry in Path(f"/proc/{worker}/fd").iterdir():
        try:
            found += "/photos/" in str(entry.readlink())
        except FileNotFoundError:
            continue
    return found


def enlarge(service: Service, photo: dict[str, Any], size: int) -> None:
    """A photo's file becomes so large that no buffer holds it."""
    os.truncate(service.folder / "data" / "photos" / photo["id"][:2] / f"{photo['id']}.jpg", size)


def wait_until(service: Service, holds: Callable[[], bool]) -> None:
    for _ in range(1000):
        if holds():
            return
        service.call("GET", "/api/v1/health/live")
    raise AssertionError("waited in vain")


def test_it_is_sent_whole_from_the_disk_and_a_reader_that_goes_leaves_nothing(tmp_path: Path) -> None:
    with running(tmp_path) as service:
        token = service.token()
        photos = []
        for _ in range(5):
            _, _, body = service.call("POST", "/api/v1/cameras/demo/photos", token, {"width": 640})
            photos.append(json.loads(body))
        status, headers, data = service.call("GET", "/api/v1/photos.tar", token)
        assert (status, headers["transfer-encoding"]) == (200, "chunked")
        found = unpacked(data)
        assert {hashlib.sha256(content).hexdigest() for content in found.values()} == {
            photo["sha256"] for photo in photos
        }
        for photo in photos:
            enlarge(service, photo, 50_000_000)
        worker = worker_of(service)
        gone = []
        for _ in range(MOST_ARCHIVES):
            gone.append(socket.create_connection(("127.0.0.1", service.port), timeout=30))
            gone[-1].sendall(
                f"GET /api/v1/photos.tar HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
            )
            assert gone[-1].recv(1000).startswith(b"HTTP/1.1 200 ")
        wait_until(service, lambda: open_photos(worker) == MOST_ARCHIVES)
        assert service.call("GET", "/api/v1/photos.tar", token)[0] == 429
        for client in gone:
            client.close()
        wait_until(service, lambda: open_photos(worker) == 0)
        status, _, data = service.call("GET", "/api/v1/photos.tar", token)
        assert status == 200 and len(data) > 250_000_000
    assert b"Traceback" not in service.said
