"""A disk that is really full: a small tmpfs, filled to the last byte by somebody else."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import config
from piapi.app import create_app
from piapi.runtime import Runtime
from tests.conftest import Api, assert_problem
from tests.gates import Gate, is_filmed
from tests.requirements import mount
from tests.service import eventually

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a tmpfs")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with mounted(tmp_path / "disk", "8m") as folder:
        yield folder


@contextlib.contextmanager
def mounted(folder: Path, size: str) -> Iterator[Path]:
    """A disk of that size."""
    folder.mkdir()
    mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder)
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


class Machine:
    """piapi on that disk."""

    def __init__(self, settings: config.Settings, token: str | None) -> None:
        self.folder = settings.storage.path
        self.app = create_app(settings)
        self.runtime: Runtime = self.app.extensions["piapi"]
        self.runtime.start()
        token = token or self.runtime.services.access.create_token("test", role="admin")[1]
        self.api = Api(self.app.test_client(), token)

    def take(self) -> dict[str, Any]:
        response = self.api.post("/cameras/demo/photos", json={"width": 320})
        assert response.status_code == 201, response.get_data(as_text=True)
        photo: dict[str, Any] = response.get_json()
        return photo

    def fill(self) -> None:
        """Somebody else takes all that is left."""
        for size in (65536, 512):
            with (self.folder.parent / "film.mkv").open("ab", buffering=0) as file, contextlib.suppress(OSError):
                while file.write(bytes(size)) == size:
                    pass
        assert os.statvfs(self.folder).f_bavail == 0

    def chore(self, name: str) -> None:
        next(chore for chore in self.runtime._chores if chore.name == name).do()

    def files(self) -> set[str]:
        return {path.stem for path in (self.folder / "photos").rglob("*.*")}

    def rows(self) -> set[str]:
        return {row["id"] for row in self.runtime._database.read("SELECT id FROM photos")}

    def told(self, *types: str) -> list[str]:
        rows = self.runtime._database.read("SELECT type FROM events ORDER BY id")
        return [row["type"] for row in rows if row["type"] in types]


@pytest.fixture
def on_disk(disk: Path, settings: config.Settings) -> config.Settings:
    return replace(settings, storage=replace(settings.storage, path=disk / "data"))


@pytest.fixture
def on_larger_disk(tmp_path: Path, settings: config.Settings) -> Iterator[config.Settings]:
    """One that has room for the log's blocks ahead."""
    with mounted(tmp_path / "disk", "32m") as disk:
        yield replace(settings, storage=replace(settings.storage, path=disk / "data"))


@contextlib.contextmanager
def machine(settings: config.Settings, token: str | None = None) -> Iterator[Machine]:
    one = Machine(settings, token)
    try:
        yield one
    finally:
        one.runtime.close()


def sound(folder: Path) -> bool:
    with contextlib.closing(sqlite3.connect(folder / "piapi.db")) as connection:
        return bool(connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)])


def test_a_full_disk_refuses_photos_reads_deletes_and_goes_on_by_itself(on_disk: config.Settings) -> None:
    with machine(on_disk) as pi:
        photos = [pi.take() for _ in range(5)]
        pi.fill()
        for _ in range(3):
            assert_problem(pi.api.post("/cameras/demo/photos", json={"width": 320}), 507, "insufficient-storage")
        assert pi.files() == pi.rows() == {photo["id"] for photo in photos}
        assert not list((pi.folder / "incoming").iterdir())
        for photo in photos:
            data = pi.api.get(photo["links"]["file"]).get_data()
            assert hashlib.sha256(data).hexdigest() == photo["sha256"]
        assert pi.api.get(photos[0]["links"]["thumbnail"]).status_code == 200
        assert len(pi.api.get("/photos").get_json()["items"]) == 5
        for photo in photos[:4]:
            assert pi.api.delete(photo["links"]["self"]).status_code == 204
        assert pi.files() == pi.rows() == {photos[4]["id"]}
        (pi.folder.parent / "film.mkv").unlink()
        new = pi.take()
        pi.chore("free space")
        assert (pi.folder / "reserve").exists()
        assert pi.told("storage.low", "storage.ok") in (["storage.low", "storage.ok"], [])
        assert pi.files() == pi.rows() == {photos[4]["id"], new["id"]}
    assert sound(pi.folder)


def test_photos_can_be_deleted_where_what_is_freed_is_not_piapi_s(
    tmp_path: Path, on_larger_disk: config.Settings
) -> None:
    """Root has taken the blocks that ext4 keeps for it: what piapi gives up then is root's."""
    with machine(on_larger_disk) as pi:
        photos = [pi.take() for _ in range(20)]
        pi.fill()
        pi.runtime._database._make_room = lambda: False
        for photo in photos:
            assert pi.api.delete(photo["links"]["self"]).status_code == 204
            pi.fill()
        assert pi.files() == pi.rows() == set()
        crashed = shutil.copytree(pi.folder, tmp_path / "crashed")
    assert sound(pi.folder)
    assert sound(crashed)


def test_photos_fill_the_disk_until_one_is_refused_and_none_is_half(on_disk: config.Settings) -> None:
    with machine(on_disk) as pi:
        told: set[str] = set()
        for _ in range(2000):
            response = pi.api.post("/cameras/demo/photos", json={"width": 640, "quality": 95})
            if response.status_code == 507:
                break
            told.add(response.get_json()["id"])
        assert response.status_code == 507 and len(told) > 5
        assert pi.files() == pi.rows() == told
    with machine(on_disk, pi.api.token) as pi:
        assert pi.files() == pi.rows() == told
    assert sound(pi.folder)


def test_below_the_floor_of_a_real_disk_it_is_said_and_taken_back(on_disk: config.Settings) -> None:
    floored = replace(on_disk, storage=replace(on_disk.storage, floor_bytes=3_000_000))
    with machine(floored) as pi:
        photo = pi.take()
        hog = pi.folder.parent / "film.mkv"
        hog.write_bytes(bytes(os.statvfs(pi.folder).f_bavail * 4096 - 2_900_000))
        pi.chore("free space")
        pi.chore("free space")
        assert pi.told("storage.low", "storage.ok") == ["storage.low"]
        assert (
            "never used" in assert_problem(pi.api.post("/cameras/demo/photos"), 507, "insufficient-storage")["detail"]
        )
        assert pi.api.delete(photo["links"]["self"]).status_code == 204
        hog.unlink()
        pi.take()
        pi.chore("free space")
        assert pi.told("storage.low", "storage.ok") == ["storage.low", "storage.ok"]


def test_a_start_on_a_full_disk_works_and_photos_can_be_deleted(on_disk: config.Settings) -> None:
    with machine(on_disk) as pi:
        photos = [pi.take() for _ in range(3)]
        token = pi.api.token
        pi.fill()
    pi.fill()
    with machine(on_disk, token) as pi:
        assert len(pi.api.get("/photos").get_json()["items"]) == 3
        for photo in photos:
            assert pi.api.delete(photo["links"]["self"]).status_code == 204
    assert sound(on_disk.storage.path)


def test_a_log_that_has_its_blocks_outlives_a_stop_on_a_full_disk(on_larger_disk: config.Settings) -> None:
    """So the next start can write. Python 3.11 cannot tell SQLite to keep it: there, what is there is shown."""
    can_keep = sys.version_info >= (3, 12)
    with machine(on_larger_disk) as pi:
        photo = pi.take()
        token = pi.api.token
        with contextlib.closing(sqlite3.connect(pi.folder / "piapi.db")) as connection:
            connection.execute("PRAGMA wal_checkpoint")  # at the stop nothing keeps SQLite from removing the log
        (pi.folder / "reserve").unlink()
        pi.fill()
    pi.fill()
    with machine(on_larger_disk, token) as pi:
        deleted = pi.api.delete(photo["links"]["self"]).status_code
        assert deleted == 204 or (deleted == 507 and not can_keep)
        (pi.folder.parent / "film.mkv").unlink()
    assert not (pi.folder / "piapi.db-wal").exists(), "with room again, a stop leaves one file"
    assert sound(pi.folder)


def test_a_start_where_root_has_filled_the_disk_shows_what_there_is_and_goes_on_by_itself(
    on_larger_disk: config.Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """After a stop that had room, and so left no log. What piapi gives up belongs to the blocks that ext4 keeps."""
    with machine(on_larger_disk) as pi:
        photo = pi.take()
        token = pi.api.token
    (pi.folder / "reserve").unlink()
    pi.fill()
    with machine(on_larger_disk, token) as pi:
        assert "not shared" in caplog.text
        assert hashlib.sha256(pi.api.get(photo["links"]["file"]).get_data()).hexdigest() == photo["sha256"]
        assert pi.api.get("/cameras/demo/snapshot").status_code == 200
        assert_problem(pi.api.post("/cameras/demo/photos", json={"width": 320}), 507, "insufficient-storage")
        assert_problem(pi.api.delete(photo["links"]["self"]), 507, "insufficient-storage")
        (pi.folder.parent / "film.mkv").unlink()
        new = pi.take()
    assert sound(pi.folder)
    with machine(on_larger_disk, token) as pi:
        assert pi.rows() == {photo["id"], new["id"]}
        assert sound(pi.folder), "others may look at it again"


def test_retention_works_on_a_full_disk(on_disk: config.Settings) -> None:
    wanted = replace(on_disk, storage=replace(on_disk.storage, quota_bytes=1))
    with machine(wanted) as pi:
        for _ in range(10):
            pi.take()
        pi.fill()
        pi.chore("the quota of photos")
        assert pi.files() == pi.rows() == set()
        assert len(pi.told("photo.removed")) == 10


def test_a_render_that_fills_the_disk_fails_and_says_so(on_disk: config.Settings) -> None:
    with machine(on_disk) as pi:
        wanted = {"interval_s": 0.1, "count": 3, "width": 160}
        lapse = pi.api.post("/cameras/demo/timelapses", json=wanted).get_json()
        eventually(lambda: pi.api.get(lapse["links"]["self"]).get_json()["state"] == "finished")
        eventually(lambda: is_filmed(pi.api.get(lapse["links"]["self"]).get_json()))
        gate = Gate(max((pi.folder / "timelapses").glob("*/frames/*/*.jpg")))
        render = pi.api.post(lapse["links"]["renders"]).get_json()
        with contextlib.closing(gate):
            gate.wait()
            pi.fill()
            gate.open()

        def found() -> dict[str, Any]:
            document: dict[str, Any] = pi.api.get(render["links"]["self"]).get_json()
            return document

        eventually(lambda: found()["state"] not in ("queued", "running"))
        assert (found()["state"], "disk is full" in found()["detail"]) == ("failed", True)
        assert list((pi.folder / "timelapses").glob("*/renders/*")) == []
        assert pi.api.delete(render["links"]["self"]).status_code == 200
    assert sound(on_disk.storage.path)
