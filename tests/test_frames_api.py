"""Frames and films over HTTP: the ledger, pictures, archive, replay, and the film with its ranges."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import tarfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import TestResponse

from piapi.api.replay import Replay
from piapi.api.services import Services
from piapi.errors import StorageError
from piapi.server.bodies import FileSpan, Later, StreamEnded
from piapi.services.places import MOST
from piapi.timelapse import Row
from tests.conftest import Api, assert_problem, faults_of
from tests.requirements import require
from tests.service import eventually, running
from tests.test_timelapse_crashes import frames_of
from tests.test_timelapses_api import get, start

COUNT = 7
BEGAN = datetime(2026, 11, 20, 21, 37, 28, tzinfo=UTC)


@pytest.fixture
def done(api: Api) -> dict[str, Any]:
    """A time-lapse that has finished."""
    made = start(api, interval_s=0.1, count=COUNT, width=160)
    eventually(lambda: get(api, made)["state"] == "finished")
    return get(api, made)


@pytest.fixture
def scheduled(api: Api) -> dict[str, Any]:
    """One that has not begun."""
    return start(api, start_at=(datetime.now(UTC) + timedelta(hours=1)).isoformat(timespec="seconds"))


def ledger(api: Api, made: dict[str, Any], query: str = "") -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = api.get(made["links"]["frames"] + query).get_json()["items"]
    return items


# The ledger and its pictures


def test_each_tick_that_was_due_is_a_row_newest_first(api: Api, done: dict[str, Any]) -> None:
    rows = ledger(api, done)
    assert [row["index"] for row in rows] == list(range(COUNT))[::-1]
    captured = [row for row in rows if row["status"] == "captured"]
    assert len(captured) == done["frames_captured"] > 0
    for row in rows:
        assert (row["cause"] is None) == (row["status"] == "captured") == ("file" in row["links"])
        assert (row["lateness_ms"] is not None) == (row["status"] == "captured")
    assert len({row["due_at"] for row in rows}) == COUNT
    assert all(0 <= row["luminance"] <= 1 and row["size_bytes"] > 0 for row in captured)


def test_the_ledger_comes_in_pages_by_the_tick(api: Api, done: dict[str, Any]) -> None:
    page = api.get(done["links"]["frames"] + "?limit=3").get_json()
    seen = [row["index"] for row in page["items"]]
    while "next" in page["links"]:
        page = api.get(page["links"]["next"]).get_json()
        seen += [row["index"] for row in page["items"]]
    assert seen == list(range(COUNT))[::-1]
    for query in ("limit=x", "cursor=x", "index=1"):
        assert_problem(api.get(f"{done['links']['frames']}?{query}"), 422, "invalid")


def test_a_frame_is_a_jpeg_that_never_changes(api: Api, done: dict[str, Any]) -> None:
    row = next(row for row in ledger(api, done) if row["status"] == "captured")
    response = api.get(row["links"]["file"])
    data = response.get_data()
    assert (response.content_type, len(data)) == ("image/jpeg", row["size_bytes"])
    assert data.startswith(b"\xff\xd8") and "immutable" in response.headers["Cache-Control"]
    assert response.headers["X-Captured-At"] == row["captured_at"]
    etag = response.headers["ETag"]
    assert etag == f'"{hashlib.sha256(data).hexdigest()}"'
    assert api.get(row["links"]["file"], headers={"If-None-Match": etag}).status_code == 304
    part = api.get(row["links"]["file"], headers={"Range": "bytes=2-5"})
    assert (part.status_code, part.get_data()) == (206, data[2:6])
    latest = api.get(done["links"]["latest"])
    assert latest.get_data() == data and latest.headers["ETag"] == etag
    assert "no-cache" in latest.headers["Cache-Control"]
    assert api.get(done["links"]["latest"], headers={"If-None-Match": etag}).status_code == 304


@pytest.mark.parametrize("index", ["7", "-1", "00", "x", "1.0", "9" * 16, "9" * 15, "٣"])
def test_a_frame_that_never_was_is_not_found(api: Api, done: dict[str, Any], index: str) -> None:
    assert_problem(api.get(f"{done['links']['frames']}/{index}/file"), 404, "not-found")


def test_before_the_first_frame_there_is_nothing_and_it_is_said(api: Api, scheduled: dict[str, Any]) -> None:
    assert ledger(api, scheduled) == []
    for name in ("latest", "preview", "video"):
        assert_problem(api.get(scheduled["links"][name]), 409, "conflict")
    assert unpacked(api.get(scheduled["links"]["frames"] + ".tar")) == {}
    assert_problem(api.get(scheduled["links"]["frames"] + "/0/file"), 404, "not-found")


@pytest.mark.parametrize(
    ("name", "kind"), [("latest", "image/jpeg"), ("preview", "multipart/x-mixed-replace"), ("video", "video/mp4")]
)
def test_who_does_not_want_what_there_is_gets_nothing(api: Api, done: dict[str, Any], name: str, kind: str) -> None:
    refused = api.get(done["links"][name], headers={"Accept": "text/html"})
    assert kind in assert_problem(refused, 406, "not-acceptable")["detail"]


# All of them


def unpacked(response: TestResponse) -> dict[str, bytes]:
    assert response.status_code == 200
    assert response.content_type == "application/x-tar"
    with tarfile.open(fileobj=io.BytesIO(response.get_data())) as archive:
        return {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]


def test_the_archive_has_each_frame_in_order(api: Api, done: dict[str, Any]) -> None:
    found = unpacked(api.get(done["links"]["frames"] + ".tar"))
    kept = [row for row in ledger(api, done)[::-1] if "file" in row["links"]]
    assert list(found) == [f"{row['index']:09d}.jpg" for row in kept]
    assert [len(data) for data in found.values()] == [row["size_bytes"] for row in kept]


def test_a_few_archives_at_once_are_enough_and_their_places_are_given_back(api: Api, done: dict[str, Any]) -> None:
    url = done["links"]["frames"] + ".tar"
    for _ in range(2):
        responses = [api.get(url, buffered=False) for _ in range(MOST)]
        assert_problem(api.get(url), 429, "too-many-requests")
        for response in responses:
            response.close()
    assert api.get(url).status_code == 200


# Replayed


def parts(data: bytes) -> list[tuple[str, bytes]]:
    """Of MJPEG: when each frame was captured, and its bytes."""
    found = []
    assert data.startswith(b"--frame\r\n")
    data = data.removeprefix(b"--frame\r\n")
    while data:
        head, _, rest = data.partition(b"\r\n\r\n")
        fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        size = int(fields["Content-Length"])
        found.append((fields["X-Captured-At"], rest[:size]))
        assert rest[size:].startswith(b"\r\n--frame\r\n")
        data = rest[size:].removeprefix(b"\r\n--frame\r\n")
    return found


def test_a_preview_is_every_frame_in_order_up_to_the_last(api: Api, done: dict[str, Any]) -> None:
    response = api.get(done["links"]["preview"] + "?fps=60")
    assert response.content_type == "multipart/x-mixed-replace; boundary=frame"
    frames = unpacked(api.get(done["links"]["frames"] + ".tar"))
    seen = parts(response.get_data())
    assert [data for _, data in seen] == list(frames.values())
    assert [at for at, _ in seen] == [row["captured_at"] for row in ledger(api, done)[::-1] if row["captured_at"]]


def test_previews_are_few_and_count_as_viewers(api: Api, services: Services, done: dict[str, Any]) -> None:
    url = done["links"]["preview"]
    for _ in range(2):
        watching = [api.get(url, buffered=False) for _ in range(3)]  # as many as [server] max_viewers
        assert_problem(api.get(url), 503, "hardware-unavailable")
        assert_problem(api.get("/cameras/demo/stream"), 503, "hardware-unavailable")
        for response in watching:
            response.close()
    taken = [services.replays.take() for _ in range(MOST)]
    assert_problem(api.get(url), 429, "too-many-requests")
    for give_back in taken:
        give_back()
    assert api.get(url + "?fps=60").status_code == 200


@pytest.mark.parametrize("query", ["fps=0", "fps=-5", "fps=61", "fps=x", "width=5"])
def test_a_wrong_pace_names_the_parameter(api: Api, done: dict[str, Any], query: str) -> None:
    document = assert_problem(api.get(f"{done['links']['preview']}?{query}"), 422, "invalid")
    assert faults_of(document) == {query.partition("=")[0]}


def row(index: int) -> Row:
    return Row(index, BEGAN, "captured", captured_at=BEGAN + timedelta(seconds=index), has_file=True)


class Frames:
    """Some files, and one that has gone."""

    def __init__(self, folder: Path) -> None:
        for index in (0, 2, 3):
            (folder / f"{index}").write_bytes(b"jpeg%d" % index)
        self.folder = folder
        self.closed = 0

    def __iter__(self) -> Iterator[tuple[Row, Path]]:
        return ((row(index), self.folder / f"{index}") for index in range(4))

    def replay(self, fps: float) -> Replay:
        return Replay(iter(self), fps, lambda: True, self.close)

    def close(self) -> None:
        self.closed += 1


def sent(replay: Replay, now: float) -> bytes | float:
    """The frame that is given now, or when there will be one."""
    part = replay.next(now)
    if isinstance(part, Later):
        return part.at
    assert part is not None
    (file,) = (item for item in part if isinstance(item, FileSpan))
    return b"".join(file)


def test_a_replay_keeps_its_pace_and_leaves_out_what_has_gone(tmp_path: Path) -> None:
    frames = Frames(tmp_path)
    replay = frames.replay(fps=4)
    assert [sent(replay, now) for now in (100.0, 100.0, 100.1)] == [b"jpeg0", 100.25, 100.25]
    assert [sent(replay, now) for now in (100.26, 100.27)] == [b"jpeg2", 100.5], "a little late, and on the grid"
    assert [sent(replay, now) for now in (100.5, 100.5)] == [b"jpeg3", 100.75]
    with pytest.raises(StreamEnded):
        replay.next(100.75)
    replay.close()
    assert frames.closed == 1


def test_a_replay_whose_reader_took_nothing_does_not_hurry_afterwards(tmp_path: Path) -> None:
    replay = Frames(tmp_path).replay(fps=4)
    assert [sent(replay, now) for now in (100.0, 109.0, 109.0, 109.25)] == [b"jpeg0", b"jpeg2", 109.25, b"jpeg3"]


def test_a_replay_of_what_cannot_be_read_is_cut_off(tmp_path: Path) -> None:
    (tmp_path / "0").symlink_to("0")
    with pytest.raises(StorageError):
        Replay(iter([(row(0), tmp_path / "0")]), 5, lambda: True, lambda: None).next(1.0)


# The film


def film(api: Api, made: dict[str, Any], **headers: str) -> TestResponse:
    return api.get(made["links"]["video"], headers={name.replace("_", "-"): value for name, value in headers.items()})


def test_the_film_has_every_frame_and_any_part_of_it_can_be_asked_for(api: Api, done: dict[str, Any]) -> None:
    import av

    whole = film(api, done)
    data = whole.get_data()
    assert (whole.status_code, whole.content_type, whole.content_length) == (200, "video/mp4", len(data))
    assert whole.headers["Accept-Ranges"] == "bytes" and "no-cache" in whole.headers["Cache-Control"]
    with av.open(io.BytesIO(data)) as container:
        assert sum(1 for _ in container.decode(video=0)) == done["frames_captured"]
    size = len(data)
    for asked, start_, stop in (
        ("0-0", 0, 1), ("10-99", 10, 100), (f"{size - 1}-", size - 1, size), ("-20", size - 20, size),
        ("0-", 0, size), (f"5-{size * 2}", 5, size),
    ):  # fmt: skip
        part = film(api, done, Range=f"bytes={asked}")
        assert (part.status_code, part.get_data()) == (206, data[start_:stop])
        assert part.headers["Content-Range"] == f"bytes {start_}-{stop - 1}/{size}"
    refused = film(api, done, Range=f"bytes={size}-")
    assert_problem(refused, 416, "range-not-satisfiable")
    assert refused.headers["Content-Range"] == f"bytes */{size}"
    assert film(api, done, Range="bytes=0-1,5-6").status_code == 200
    head = api.open("HEAD", done["links"]["video"], headers={"Range": "bytes=0-5"})
    assert (head.status_code, head.content_length, head.get_data()) == (200, size, b"")
    about = get(api, done)["video"]
    assert (about["frames"], about["size_bytes"]) == (done["frames_captured"], size)
    assert about["duration_s"] == pytest.approx(about["frames"] / 30, abs=0.05)
    assert api.get("/timelapses").get_json()["items"][0]["video"] == about


def test_a_film_that_is_here_already_is_not_sent_and_a_range_of_another_is_none(api: Api, done: dict[str, Any]) -> None:
    whole = film(api, done)
    etag = whole.headers["ETag"]
    same = film(api, done, If_None_Match=etag)
    assert same.status_code == 304 and same.headers["ETag"] == etag
    assert film(api, done, Range="bytes=0-9", If_Range=etag).status_code == 206
    assert film(api, done, Range="bytes=0-9", If_Range='"another"').status_code == 200


def test_a_film_grows_and_with_every_frame_it_is_another(api: Api) -> None:
    made = start(api, interval_s=0.3, count=1000, width=160)
    seen: dict[str, str] = {}

    def grown() -> bool:
        if get(api, made)["frames_captured"]:
            response = film(api, made)
            seen[response.headers["ETag"]] = hashlib.sha256(response.get_data()).hexdigest()
        return len(seen) >= 3

    eventually(grown)
    assert len(set(seen.values())) == len(seen)


def test_ranges_of_a_film_that_grows_belong_together(api: Api, tmp_path: Path) -> None:
    """Players and `curl -C -` ask for the rest of what they have without saying of which version."""
    require("ffprobe")
    made = start(api, interval_s=0.1, count=100_000, width=64, height=48)

    def paused_with(frames: int) -> tuple[int, bytes]:
        """So many at least: how many, by the ledger, and the film as it is then."""
        api.patch(made["links"]["self"], json={"state": "running"})
        eventually(lambda: get(api, made)["frames_captured"] >= frames)
        api.patch(made["links"]["self"], json={"state": "paused"})
        captured = [row for row in ledger(api, made, "?limit=200") if row["status"] == "captured"]
        return len(captured), film(api, made).get_data()

    frames, first = paused_with(3)
    assert frames_of(first, tmp_path) == frames
    tag = film(api, made).headers["ETag"]
    more, later = paused_with(frames + 3)
    assert frames_of(later, tmp_path) == more > frames
    assert film(api, made, Range=f"bytes={len(first)}-", If_Range=tag).status_code == 200
    for have in (len(first) // 2 * 2, len(first) - 1, len(first)):
        rest = film(api, made, Range=f"bytes={have}-")
        assert rest.status_code == 206
        assert frames_of(first[:have] + rest.get_data(), tmp_path) == frames
    begin = first.index(b"mdat") + 4
    assert film(api, made, Range=f"bytes={begin}-{len(first) - 1}").get_data() == first[begin:]


def test_nothing_stays_open(api: Api, done: dict[str, Any], client_with: Callable[..., Api]) -> None:
    def descriptors() -> int:
        return len(list(Path(f"/proc/{os.getpid()}/fd").iterdir()))

    paths = [done["links"]["video"], done["links"]["preview"] + "?fps=60", done["links"]["frames"] + ".tar"]
    for path in paths:
        api.get(path)
    before = descriptors()
    for path in paths * 3:
        api.get(path)
        response = api.get(path, buffered=False)
        next(response.iter_encoded())
        response.close()
        api.open("HEAD", path)
    assert descriptors() <= before


# From the service

CONFIG = """
[storage]
floor_bytes = 0
[server]
threads = 4
[cameras.front]
backend = "simulated"
width = 160
height = 120
"""


def test_film_and_preview_are_sent_by_the_service_without_a_thread_for_each(tmp_path: Path) -> None:
    with running(tmp_path, CONFIG) as service:
        token = service.token()
        wanted = {"interval_s": 0.1, "count": 130}
        _, _, body = service.call("POST", "/api/v1/cameras/front/timelapses", token, wanted)
        links = json.loads(body)["links"]

        def state() -> dict[str, Any]:
            found: dict[str, Any] = json.loads(service.call("GET", links["self"], token)[2])
            return found

        eventually(lambda: state()["frames_due"] >= 65)  # a segment is closed, the next one open
        with contextlib.ExitStack() as watching:
            for _ in range(MOST):
                connection = watching.enter_context(contextlib.closing(service.connect()))
                connection.request("GET", links["preview"] + "?fps=1", headers={"Authorization": f"Bearer {token}"})
                response = watching.enter_context(connection.getresponse())  # it has the socket from now on
                assert response.read(100).startswith(b"--frame\r\nContent-Type: image/jpeg\r\n")
            eventually(lambda: state()["state"] == "finished")
            assert service.call("GET", links["preview"], token)[0] == 429
        film = service.call("GET", links["video"], token)[2]
        with contextlib.closing(service.connect()) as connection:
            pieces = []
            for begin in range(0, len(film), 5000):
                headers = {"Authorization": f"Bearer {token}", "Range": f"bytes={begin}-{begin + 4999}"}
                connection.request("GET", links["video"], headers=headers)
                response = connection.getresponse()
                pieces.append(response.read())
                assert response.status == 206
            assert b"".join(pieces) == film
        assert len(film) == state()["video"]["size_bytes"]
        eventually(lambda: service.call("GET", links["preview"] + "?fps=60", token)[0] == 200)
        began = time.monotonic()
        replayed = parts(service.call("GET", links["preview"] + "?fps=60", token)[2])
        assert len(replayed) == state()["frames_captured"]
        assert (len(replayed) - 1) / 60 <= time.monotonic() - began < 20
        assert service.stop() == 0
        assert b"Traceback" not in service.said, service.said.decode()
