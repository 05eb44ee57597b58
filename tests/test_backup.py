"""piapi backup and restore: whole or not at all, beside a running service, and nothing that was there is lost."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import sqlite3
import stat
import sys
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import config
from piapi.storage import schema
from piapi.storage.backup import write_backup
from piapi.storage.files import FolderLock
from tests.library import execute, file_of, piapi, started, take


def backed_up(settings: config.Settings, target: Path, *options: str, **environ: str | None) -> Path:
    done = piapi(settings.storage.path, "backup", str(target), *options, **environ)
    assert done.exit_code == 0 and done.stdout == "", done.output
    return target


def restored(data: Path, archive: Path, **environ: str | None) -> str:
    done = piapi(data, "restore", str(archive), **environ)
    assert done.exit_code == 0, done.output
    return done.stdout


def elsewhere(settings: config.Settings, path: Path) -> config.Settings:
    return replace(settings, storage=replace(settings.storage, path=path))


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


# There and back -------------------------------------------------------------------------------------------------------


def test_everything_is_back_on_another_machine(settings: config.Settings, tmp_path: Path) -> None:
    with started(settings) as api:
        photos = [take(api, format=format, label="x") for format in ("jpeg", "png")]
        api.patch(photos[0]["links"]["self"], json={"pinned": True})
        before = api.get("/photos").get_json()
        data = {photo["id"]: api.get(photo["links"]["file"]).get_data() for photo in photos}
        archive = backed_up(settings, tmp_path / "backup.tar", "--files")
    new = elsewhere(settings, tmp_path / "new")
    said = restored(new.storage.path, archive)
    assert "2 pictures were put back" in said
    with started(new, api.token) as api:
        assert api.get("/photos").get_json() == before
        for photo in photos:
            assert api.get(photo["links"]["file"]).get_data() == data[photo["id"]]
    assert piapi(new.storage.path, "fsck").exit_code == 0


def test_an_older_backup_over_newer_photos_loses_neither(settings: config.Settings, tmp_path: Path) -> None:
    with started(settings) as api:
        old, deleted = take(api, label="old"), take(api, label="deleted since")
        archive = backed_up(settings, tmp_path / "backup.tar", "--files")
        api.delete(deleted["links"]["self"])
        new = take(api, label="new")
    said = restored(settings.storage.path, archive)
    assert "1 pictures were put back, 1 were there" in said and "kept as piapi.db.before-restore-" in said
    with started(settings, api.token) as api:
        assert {item["label"] for item in api.get("/photos").get_json()["items"]} == {"old", "deleted since", "new"}
        assert api.get(new["links"]["self"]).get_json() == new
        assert api.get(old["links"]["self"]).get_json() == old
    (kept,) = settings.storage.path.glob("piapi.db.before-restore-*")
    with contextlib.closing(sqlite3.connect(kept)) as connection:
        assert {id for (id,) in connection.execute("SELECT id FROM photos")} == {old["id"], new["id"]}
    assert piapi(settings.storage.path, "fsck").exit_code == 0


def test_a_backup_without_pictures_starts_where_there_are_none(settings: config.Settings, tmp_path: Path) -> None:
    with started(settings) as api:
        photo = take(api)
        archive = backed_up(settings, tmp_path / "backup.tar")
    with tarfile.open(archive) as tar:
        assert tar.getnames() == ["backup.json", "piapi.db", "end"]
    new = elsewhere(settings, tmp_path / "new")
    assert "1 photos have no file here" in restored(new.storage.path, archive)
    with started(new, api.token) as api:
        assert api.get("/photos").get_json()["items"] == []
    (new.storage.path / "photos" / photo["id"][:2]).mkdir()
    path = new.storage.path / "photos" / photo["id"][:2] / file_of(settings, photo).name
    path.write_bytes(file_of(settings, photo).read_bytes())
    with started(new, api.token) as api:
        assert api.get(photo["links"]["self"]).get_json() == photo


def test_a_file_with_other_bytes_is_left_as_it_is(settings: config.Settings, tmp_path: Path) -> None:
    with started(settings) as api:
        photo = take(api)
        archive = backed_up(settings, tmp_path / "backup.tar", "--files")
    file_of(settings, photo).write_bytes(b"something else")
    assert "1 pictures are there with other bytes" in restored(settings.storage.path, archive)
    assert file_of(settings, photo).read_bytes() == b"something else"


def test_a_picture_that_is_damaged_in_the_backup_is_said(settings: config.Settings, tmp_path: Path) -> None:
    with started(settings) as api:
        photo = take(api)
    file_of(settings, photo).write_bytes(b"bit rot")
    archive = backed_up(settings, tmp_path / "backup.tar", "--files")
    assert "1 of them are damaged" in restored(tmp_path / "new", archive)


def test_a_backup_of_the_schema_before_is_brought_forward(settings: config.Settings, tmp_path: Path) -> None:
    database = tmp_path / "old.db"
    with contextlib.closing(sqlite3.connect(database)) as connection:
        connection.executescript(schema.STEPS[0] + "PRAGMA user_version = 1;")
    archive = tmp_path / "backup.tar"
    archive.write_bytes(tar_of(**{**sound_parts(), "piapi.db": database.read_bytes()}))
    restored(settings.storage.path, archive)
    assert execute(settings, "PRAGMA user_version") == [(schema.VERSION,)]
    assert sorted(path.name for path in settings.storage.path.iterdir()) == ["incoming", "piapi.db", "piapi.lock"]
    assert not list((settings.storage.path / "incoming").iterdir())


# Settings -------------------------------------------------------------------------------------------------------------


def test_settings_go_into_their_place_only_where_there_are_none(settings: config.Settings, tmp_path: Path) -> None:
    with started(settings):
        pass
    file = tmp_path / "piapi.toml"
    file.write_text(f'[storage]\npath = "{tmp_path}/by-settings"\n')
    archive = backed_up(settings, tmp_path / "backup.tar", PIAPI_CONFIG=str(file))
    assert "settings are those of" in restored(settings.storage.path, archive, PIAPI_CONFIG=str(file))
    text = file.read_text()
    file.write_text("# mine\n")
    assert "piapi.toml.restored" in restored(settings.storage.path, archive, PIAPI_CONFIG=str(file))
    assert file.read_text() == "# mine\n" and (tmp_path / "piapi.toml.restored").read_text() == text
    file.unlink()
    restored(settings.storage.path, archive, PIAPI_CONFIG=str(file))
    assert file.read_text() == text and stat.S_IMODE(file.stat().st_mode) == 0o600


def test_without_settings_of_its_own_a_machine_goes_by_those_of_the_backup(
    settings: config.Settings, tmp_path: Path
) -> None:
    with started(settings):
        pass
    file = tmp_path / "piapi.toml"
    file.write_text(f'[storage]\npath = "{tmp_path}/by-settings"\n')
    archive = backed_up(settings, tmp_path / "backup.tar", PIAPI_CONFIG=str(file))
    done = piapi(tmp_path, "restore", str(archive), PIAPI_DATA=None, PIAPI_CONFIG=str(tmp_path / "new" / "piapi.toml"))
    assert done.exit_code == 0, done.output
    assert (tmp_path / "by-settings" / "piapi.db").exists() and (tmp_path / "new" / "piapi.toml").exists()


# Writing --------------------------------------------------------------------------------------------------------------


def test_it_is_for_its_owner_alone_and_holds_no_login(settings: config.Settings, tmp_path: Path) -> None:
    with started(settings):
        pass
    execute(settings, "INSERT INTO users VALUES ('ann', 'scrypt', '*:*:*', NULL, 0, 0)")
    execute(settings, "INSERT INTO sessions VALUES (?, 'ann', NULL, 0, 0)", b"hash-of-a-cookie")
    execute(
        settings, "INSERT INTO pairings VALUES ('1', ?, 'x', 's', NULL, NULL, 0, 0, 'y', 'boot', 0)", b"hash-of-a-code"
    )
    archive = backed_up(settings, tmp_path / "backup.tar")
    assert stat.S_IMODE(archive.stat().st_mode) == 0o600
    data = archive.read_bytes()
    assert not any(secret in data for secret in (b"hash-of-a-cookie", b"hash-of-a-code"))
    assert execute(settings, "SELECT count(*) FROM sessions") == [(1,)]
    assert not list((settings.storage.path / "incoming").iterdir())


def test_it_goes_to_standard_output(settings: config.Settings) -> None:
    with started(settings) as api:
        take(api)
        done = piapi(settings.storage.path, "backup", "-", "--files")
    assert done.exit_code == 0
    with tarfile.open(fileobj=io.BytesIO(done.stdout_bytes)) as tar:
        assert tar.getnames()[-1] == "end"
        manifest = json.load(tar.extractfile("backup.json"))  # type: ignore[arg-type]
    assert manifest["files"] is True and manifest["schema"] == schema.VERSION


def test_a_file_that_is_there_is_kept_unless_forced(settings: config.Settings, tmp_path: Path) -> None:
    with started(settings):
        pass
    target = tmp_path / "precious"
    target.write_text("precious")
    done = piapi(settings.storage.path, "backup", str(target))
    assert done.exit_code == 1 and "--force" in done.stderr and target.read_text() == "precious"
    backed_up(settings, target, "--force")
    assert tarfile.is_tarfile(target)


def test_a_backup_that_fails_leaves_nothing(
    settings: config.Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with started(settings) as api:
        take(api)
    target = tmp_path / "out" / "backup.tar"
    target.parent.mkdir()

    def full(*arguments: Any) -> Any:
        write_backup(*arguments)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sys.modules["piapi.cli.backup"], "write_backup", full)
    done = piapi(settings.storage.path, "backup", str(target), "--files")
    assert done.exit_code == 1
    assert not list(target.parent.iterdir()) and not list((settings.storage.path / "incoming").iterdir())


@pytest.mark.parametrize("target", ["nowhere/backup.tar", "."])
def test_a_place_that_cannot_be_written_is_said(settings: config.Settings, target: str) -> None:
    with started(settings):
        pass
    done = piapi(settings.storage.path, "backup", target)
    assert done.exit_code == 1 and "Traceback" not in done.output and done.stderr.startswith("Error")


def test_photos_deleted_meanwhile_are_left_out(settings: config.Settings, tmp_path: Path) -> None:
    with started(settings) as api:
        photo, _ = take(api), take(api)
        file_of(settings, photo).unlink()
        done = piapi(settings.storage.path, "backup", str(tmp_path / "backup.tar"), "--files")
    assert done.exit_code == 0 and "1 photos have no file" in done.stderr
    assert "1 photos have no file here" in restored(tmp_path / "new", tmp_path / "backup.tar")


# What is no backup ----------------------------------------------------------------------------------------------------


def tar_of(*more: tuple[tarfile.TarInfo, bytes], **files: bytes) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
        for member, data in more:
            tar.addfile(member, io.BytesIO(data))
    return target.getvalue()


def sound_parts() -> dict[str, bytes]:
    manifest = {"piapi_backup": 1, "made_at": "2026-01-01T00:00:00.000Z", "files": False}
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript("".join(schema.STEPS) + f"PRAGMA user_version = {schema.VERSION};")
        database = connection.serialize()
    return {"backup.json": json.dumps(manifest).encode(), "piapi.db": database, "end": b""}


def with_(**changed: bytes | None) -> Callable[[], bytes]:
    parts = {name.replace("_DOT_", "."): data for name, data in changed.items()}
    return lambda: tar_of(**{name: data for name, data in {**sound_parts(), **parts}.items() if data is not None})


def instead(name: str, type: bytes = tarfile.REGTYPE, link: str = "") -> Callable[[], bytes]:
    """A backup with one strange member before its end."""

    def make() -> bytes:
        member = tarfile.TarInfo(name)
        member.type, member.linkname = type, link
        parts = sound_parts()
        end = tarfile.TarInfo("end")
        del parts["end"]
        return tar_of((member, b""), (end, b""), **parts)

    return make


def of_version(version: int) -> bytes:
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        connection.execute(f"PRAGMA user_version = {version}")
        return connection.serialize()


@pytest.mark.parametrize(
    ("archive", "said"),
    [
        (lambda: b"", "no backup"),
        (lambda: b"no tar at all" * 100, "no backup"),
        (lambda: tar_of(hello=b"x"), "does not belong"),
        (with_(end=None), "cut off"),
        (lambda: with_()()[:1536], "no backup|cut off|damaged"),
        (with_(piapi_DOT_db=None), "no database"),
        (with_(piapi_DOT_db=b"no database" * 400), "damaged"),
        (with_(piapi_DOT_db=of_version(schema.VERSION + 1)), "schema"),
        (with_(piapi_DOT_db=of_version(0)), "schema"),
        (with_(piapi_DOT_db=of_version(1)), "damaged"),
        (with_(backup_DOT_json=b"{}"), "does not say so"),
        (with_(backup_DOT_json=b'{"piapi_backup": 2, "made_at": ""}'), "later piapi"),
        (instead("../evil"), "does not belong"),
        (instead("/etc/passwd"), "does not belong"),
        (instead("photos/ab/../../../evil.jpg"), "does not belong"),
        (instead("photos/cd/ab00000000000001.jpg"), "does not belong"),
        (instead("photos/ab/ab00000000000001.jpg"), "does not know"),
        (instead("photos/ab/ab00000000000001.jpg", tarfile.SYMTYPE, "/etc/passwd"), "does not belong"),
        (instead("piapi.db"), "two databases"),
        (instead("backup.json"), "does not belong"),
    ],
    ids=range(20),
)
def test_what_is_no_whole_backup_is_refused_and_changes_nothing(
    settings: config.Settings, tmp_path: Path, archive: Callable[[], bytes], said: str
) -> None:
    with started(settings) as api:
        photo = take(api)
    path = tmp_path / "backup.tar"
    path.write_bytes(archive())
    before = hashlib.sha256((settings.storage.path / "piapi.db").read_bytes()).digest()
    done = piapi(settings.storage.path, "restore", str(path))
    assert done.exit_code == 1 and re.search(said, done.stderr), done.output
    assert hashlib.sha256((settings.storage.path / "piapi.db").read_bytes()).digest() == before
    assert file_of(settings, photo).exists()
    assert not list((settings.storage.path / "incoming").iterdir())
    assert not list(settings.storage.path.glob("*before-restore*")) and not list(Path.cwd().iterdir())


def test_every_cut_of_a_backup_is_refused(settings: config.Settings, tmp_path: Path) -> None:
    whole = with_()()
    path = tmp_path / "backup.tar"
    with tarfile.open(fileobj=io.BytesIO(whole)) as tar:
        end = tar.getmember("end").offset
    for length in range(0, end, 4096):
        path.write_bytes(whole[:length])
        assert piapi(tmp_path / "data", "restore", str(path)).exit_code == 1, length
    assert not (tmp_path / "data" / "piapi.db").exists()


def test_it_is_refused_while_a_service_runs(settings: config.Settings, tmp_path: Path) -> None:
    with started(settings):
        archive = backed_up(settings, tmp_path / "backup.tar")
        lock = FolderLock(settings.storage.path)
        lock.acquire()
        done = piapi(settings.storage.path, "restore", str(archive))
        lock.release()
    assert done.exit_code == 1 and "in use by another piapi" in done.stderr


def test_pictures_that_do_not_fit_above_the_floor_are_refused(settings: config.Settings, tmp_path: Path) -> None:
    with started(settings) as api:
        take(api)
    archive = backed_up(settings, tmp_path / "backup.tar", "--files")
    (tmp_path / "here" / "piapi.toml").write_text(f"[storage]\nfloor_bytes = {2**50}\n")
    done = piapi(tmp_path / "new", "restore", str(archive))
    assert done.exit_code == 1 and "never used" in done.stderr
    assert not (tmp_path / "new" / "piapi.db").exists()


def test_a_damaged_database_is_kept_with_its_log_when_a_backup_takes_its_place(
    settings: config.Settings, tmp_path: Path
) -> None:
    with started(settings) as api:
        photo = take(api)
        archive = backed_up(settings, tmp_path / "backup.tar")
    path = settings.storage.path / "piapi.db"
    path.write_bytes(b"damaged" * 1000)
    path.with_name("piapi.db-wal").write_bytes(b"log")
    restored(settings.storage.path, archive)
    (kept,) = settings.storage.path.glob("piapi.db.before-restore-*[0-9]")
    assert kept.read_bytes() == b"damaged" * 1000
    with started(settings, api.token) as api:
        assert api.get(photo["links"]["self"]).get_json() == photo
    assert os.access(path, os.W_OK)
