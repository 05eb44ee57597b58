"""Data folders in every bad state, against the real service: a clear message, no traceback, and nothing lost."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from piapi.storage import schema
from tests.requirements import mount
from tests.service import BIN, ROOT, environment, running

SIMULATED = """
[storage]
floor_bytes = 0
[cameras.front]
backend = "simulated"
width = 640
height = 480
"""


def refused(folder: Path, config: str = SIMULATED) -> str:
    """What a start says that comes to nothing."""
    (folder / "piapi.toml").write_text(config)
    done = subprocess.run(
        [sys.executable, ROOT / "run.py"],
        cwd=folder,
        env=environment(folder, PIAPI_CONFIG=str(folder / "piapi.toml")),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr, done.stderr
    assert "piapi cannot start" in done.stderr, done.stderr
    return done.stderr


def command(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BIN / "piapi", *arguments],
        cwd=folder,
        env=environment(folder, PIAPI_CONFIG=str(folder / "piapi.toml")),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below, with its bytes; not the lock."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "piapi.lock"
    }


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


# The database ---------------------------------------------------------------------------------------------------------


def test_a_database_from_the_future_is_said_and_left_alone(tmp_path: Path, data: Path) -> None:
    with contextlib.closing(sqlite3.connect(data / "piapi.db")) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
    before = contents(data)
    assert "later piapi" in refused(tmp_path)
    assert contents(data) == before


def test_a_damaged_database_is_said_and_left_alone(tmp_path: Path, data: Path) -> None:
    (data / "piapi.db").write_bytes(b"this is no database" * 500)
    before = contents(data)
    assert "left as it is" in refused(tmp_path)
    assert contents(data) == before


def test_a_database_with_a_damaged_page_is_said_and_left_alone(tmp_path: Path, data: Path) -> None:
    """It opens, and only what is read of it later is at fault."""
    with contextlib.closing(sqlite3.connect(data / "piapi.db")) as connection:
        for step in schema.STEPS:
            connection.executescript(step)
        connection.execute(f"PRAGMA user_version = {schema.VERSION}")
        roots = connection.execute(
            "SELECT rootpage FROM sqlite_master WHERE tbl_name = 'photos' AND rootpage"
        ).fetchall()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
        connection.execute("PRAGMA journal_mode = WAL")
    with (data / "piapi.db").open("r+b") as file:
        for (root,) in roots:
            file.seek((root - 1) * size)
            file.write(b"\xff" * size)
    before = (data / "piapi.db").read_bytes()
    said = refused(tmp_path)
    assert "piapi cannot start: " in said and "left as it is" in said and "Traceback" not in said
    assert (data / "piapi.db").read_bytes() == before


def test_a_database_of_the_first_schema_is_migrated_with_its_photos_and_a_copy_kept(tmp_path: Path, data: Path) -> None:
    with contextlib.closing(sqlite3.connect(data / "piapi.db")) as connection, connection:
        connection.executescript(schema.STEPS[0] + "PRAGMA user_version = 1;")
        for number in range(3):
            path = data / "photos" / "ab" / f"ab{number:014x}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (64, 48), (number * 80, 0, 0)).save(path)
            digest, size = hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_size
            connection.execute(
                "INSERT INTO photos (id, camera, captured_at, width, height, size_bytes, format, sha256, label, pinned,"
                " metadata, emulated) VALUES (?, 'front', ?, 64, 48, ?, 'jpeg', ?, 'old', 1, '{}', 0)",
                (path.stem, 1_700_000_000_000 + number, size, digest),
            )
        connection.execute("INSERT INTO camera_settings VALUES ('front', 180, '{}')")
    with running(tmp_path, SIMULATED) as service:
        assert service.call("GET", "/api/v1/health/ready")[0] == 200  # migrated; the command line would not do it
        token = service.token()
        items = json.loads(service.call("GET", "/api/v1/photos", token)[2])["items"]
        assert len(items) == 3 and all(item["label"] == "old" and item["pinned"] for item in items)
        for item in items:
            status, _, body = service.call("GET", item["links"]["file"], token)
            assert status == 200 and hashlib.sha256(body).hexdigest() == item["sha256"]
        assert service.call("POST", "/api/v1/cameras/front/photos", token)[0] == 201
        assert command(tmp_path, "fsck").returncode == 0
    with contextlib.closing(sqlite3.connect(data / "piapi.db.v1")) as copy:
        assert copy.execute("PRAGMA user_version").fetchone() == (1,)
        assert copy.execute("SELECT count(*) FROM photos").fetchone() == (3,)
    with contextlib.closing(sqlite3.connect(data / "piapi.db")) as connection:
        totals = connection.execute("SELECT photos, bytes FROM photo_totals").fetchone()
        assert totals == connection.execute("SELECT count(*), sum(size_bytes) FROM photos").fetchone()


# The folder -----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Nobody may write to it, be it root: as a disk that the kernel has mounted read-only for its errors."""
    if os.geteuid() != 0:
        folder.chmod(0o500)
        yield
        folder.chmod(0o700)
        return
    mount("--bind", folder, folder)
    try:
        mount("-o", "remount,bind,ro", folder)
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


def test_a_new_folder_that_is_read_only_is_said(tmp_path: Path, data: Path) -> None:
    with read_only(data):
        assert "cannot be written" in refused(tmp_path)
        assert list(data.iterdir()) == []
        done = command(tmp_path, "tokens", "list")
    assert done.returncode == 1 and "Traceback" not in done.stderr


def test_a_folder_that_has_become_read_only_is_said_and_nothing_is_lost(tmp_path: Path) -> None:
    with running(tmp_path, SIMULATED) as service:
        token = service.token()
        photo = json.loads(service.call("POST", "/api/v1/cameras/front/photos", token)[2])
    folder = tmp_path / "data"
    before = contents(folder)
    with read_only(folder):
        assert "cannot be written" in refused(tmp_path)
        for arguments in (("tokens", "list"), ("fsck",), ("backup", str(tmp_path / "backup.tar"))):
            done = command(tmp_path, *arguments)
            assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
            assert "cannot be" in done.stderr
    assert contents(folder) == before
    with running(tmp_path, SIMULATED) as service:
        assert service.call("GET", photo["links"]["file"], token)[0] == 200


def test_a_second_service_on_one_folder_is_refused(tmp_path: Path) -> None:
    with running(tmp_path, SIMULATED) as service:
        assert "in use by another piapi" in refused(tmp_path)
        assert service.call("GET", "/api/v1/health/ready")[0] == 200
        for arguments in (("restore", str(tmp_path / "piapi.toml")), ("fsck", "--mend")):
            done = command(tmp_path, *arguments)
            assert done.returncode == 1 and "Traceback" not in done.stderr


def test_a_disk_that_is_not_there_stops_the_start_and_nothing_is_made_in_its_place(tmp_path: Path) -> None:
    config = SIMULATED.replace("[storage]", "[storage]\non_own_disk = true")
    assert "piapi.disk" in refused(tmp_path, config)
    assert not (tmp_path / "data").exists()
    done = command(tmp_path, "tokens", "list")
    assert done.returncode == 1 and "piapi.disk" in done.stderr and not (tmp_path / "data").exists()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "piapi.disk").touch()
    with running(tmp_path, config) as service:
        assert service.call("GET", "/api/v1/health/ready")[0] == 200


def test_a_photos_folder_that_is_not_mounted_stops_the_start(tmp_path: Path, data: Path) -> None:
    with running(tmp_path, SIMULATED) as service:
        token = service.token()
        assert service.call("POST", "/api/v1/cameras/front/photos", token)[0] == 201
    (data / "photos").rename(data / "elsewhere")
    assert "Mount the disk" in refused(tmp_path)
    shutil.rmtree(data / "photos")
    (data / "elsewhere").rename(data / "photos")
    with running(tmp_path, SIMULATED) as service:
        assert len(json.loads(service.call("GET", "/api/v1/photos", token)[2])["items"]) == 1


# Settings, and a backup beside the service ----------------------------------------------------------------------------


def test_all_of_three_wrong_settings_are_named(tmp_path: Path) -> None:
    said = refused(tmp_path, "[server]\nport = -1\n[storage]\nquota_byte = 5\non_own_disk = 'yes'\n")
    for key in ("server.port", "storage.quota_byte", "storage.on_own_disk"):
        assert key in said
    assert not (tmp_path / "data").exists()


def test_a_backup_beside_the_service_is_put_back_whole(tmp_path: Path) -> None:
    with running(tmp_path, SIMULATED) as service:
        token = service.token()
        photo = json.loads(service.call("POST", "/api/v1/cameras/front/photos", token)[2])
        done = command(tmp_path, "backup", "backup.tar", "--files")
        assert done.returncode == 0, done.stderr
    shutil.rmtree(tmp_path / "data")
    assert command(tmp_path, "restore", "backup.tar").returncode == 0
    with running(tmp_path, SIMULATED) as service:
        _, _, body = service.call("GET", photo["links"]["file"], token)
        assert hashlib.sha256(body).hexdigest() == photo["sha256"]
        assert command(tmp_path, "fsck").stdout == ""
