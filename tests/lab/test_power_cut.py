"""The power goes at any write to the data disk: all that was acknowledged by then is there."""

from __future__ import annotations

import contextlib
import hashlib
import random
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

import config
from piapi.app import create_app
from piapi.clock import SystemClock
from piapi.services.inspection import Inspection
from piapi.storage.database import Database
from tests.lab.conftest import Pi
from tests.lab.writes import read_out

PHOTOS, CUTS = 6, 12


@dataclass(frozen=True)
class Acknowledged:
    """A photo of which a client was told, and how long the disk's log was then."""

    id: str
    sha256: str
    at: int


def settings(folder: Path) -> config.Settings:
    """Those of the guest, with cameras that are here."""
    cameras = {name: config.Camera(backend="simulated", width=640, height=480) for name in ("webcam", "front")}
    return config.Settings(storage=config.Storage(path=folder, floor_bytes=0), cameras=cameras)


def assert_kept(folder: Path, photos: list[Acknowledged]) -> None:
    """piapi starts on what was left, has every photo whole, and finds no fault."""
    app = create_app(settings(folder))
    runtime = app.extensions["piapi"]
    runtime.start()
    try:
        _, token = runtime.services.access.create_token("cut", role="admin")
        client = app.test_client()
        for photo in photos:
            answer = client.get(f"/api/v1/photos/{photo.id}/file", headers={"Authorization": f"Bearer {token}"})
            assert answer.status_code == 200, answer.data
            assert hashlib.sha256(answer.data).hexdigest() == photo.sha256
    finally:
        runtime.close()
    with contextlib.closing(Database(folder / "piapi.db")) as database:
        database.open(migrate=False)
        assert list(Inspection(database, folder, SystemClock()).faults(False)) == []


@pytest.mark.smoke
def test_every_photo_that_was_acknowledged_outlives_a_power_cut(pi: Pi, tmp_path: Path) -> None:
    began, kept = pi.disk.position(), []
    for _ in range(PHOTOS):
        photo = pi.ask("POST", "cameras/webcam/photos", {}, expected=201)
        kept.append(Acknowledged(photo["id"], photo["sha256"], pi.disk.position()))
    writes, chance = list(pi.disk.writes()), random.Random(4711)
    during = [number for number, write in enumerate(writes) if write.begins_at >= began]
    looked_for = 0
    for cut in sorted(chance.sample(during, CUTS)):
        disk, folder = tmp_path / "disk", tmp_path / "data"
        pi.disk.after_cut(writes[:cut], disk, chance)
        read_out(disk, folder)
        by_then = [photo for photo in kept if photo.at <= writes[cut].begins_at]
        assert_kept(folder, by_then)
        looked_for += len(by_then)
        shutil.rmtree(folder)
    assert looked_for > CUTS
