"""A data folder whose disk is not mounted stops the start, and nothing is made in its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from piapi import timekeeping
from piapi.errors import DataDiskMissing
from piapi.storage.marker import MARKER, require_disk
from piapi.timekeeping import clock_is_synchronised


@pytest.fixture
def mounts(tmp_path: Path) -> Path:
    """As /proc/self/mountinfo."""
    path = tmp_path / "mountinfo"
    path.write_text("22 1 8:2 / / rw,relatime shared:1 - ext4 /dev/root rw\n")
    return path


@pytest.fixture
def fstab(tmp_path: Path) -> Path:
    """One with a disk `photo disk` that is to be mounted in the test's folder."""
    path = tmp_path / "fstab"
    mount = str(tmp_path / "photo disk").replace(" ", "\\040")
    path.write_text(
        f"# /dev/sdz {tmp_path} ext4\nproc /proc proc defaults 0 0\n/dev/sda1  {mount}\text4 nofail 0 2\n"
        "/swapfile none swap sw 0 0\n\nshort\n"
    )
    return path


def test_a_folder_below_a_mount_point_that_is_not_mounted_is_refused(tmp_path: Path, fstab: Path, mounts: Path) -> None:
    folder = tmp_path / "photo disk" / "piapi"
    with pytest.raises(DataDiskMissing, match=r"not mounted: `mount .*photo disk`"):
        require_disk(folder, False, fstab, mounts)
    assert not folder.exists()
    with mounts.open("a") as file:
        mount = str(folder.parent).replace(" ", "\\040")
        file.write(f"40 22 8:17 / {mount} rw shared:2 - ext4 /dev/sda1 rw\n")
    require_disk(folder, False, fstab, mounts)


def test_a_folder_elsewhere_is_no_matter_of_that_disk(tmp_path: Path, fstab: Path, mounts: Path) -> None:
    require_disk(tmp_path / "photo disk of mine", False, fstab, mounts)
    require_disk(tmp_path / "data", False, fstab, mounts)
    require_disk(tmp_path / "photo disk", False, fstab, tmp_path / "no mountinfo")
    require_disk(tmp_path / "photo disk", False, tmp_path / "no fstab", mounts)


def test_a_link_to_a_disk_that_is_not_mounted_is_seen_through(tmp_path: Path, fstab: Path, mounts: Path) -> None:
    (tmp_path / "data").symlink_to(tmp_path / "photo disk" / "piapi")
    with pytest.raises(DataDiskMissing):
        require_disk(tmp_path / "data", False, fstab, mounts)


def test_an_own_disk_is_known_by_a_file_on_it(tmp_path: Path, mounts: Path) -> None:
    folder = tmp_path / "data"
    with pytest.raises(DataDiskMissing, match=f"touch {folder}/{MARKER}"):
        require_disk(folder, True, tmp_path / "fstab", mounts)
    assert not folder.exists()
    folder.mkdir()
    with pytest.raises(DataDiskMissing):
        require_disk(folder, True, tmp_path / "fstab", mounts)
    (folder / MARKER).touch()
    require_disk(folder, True, tmp_path / "fstab", mounts)


def test_the_machine_says_whether_its_clock_is_right_or_that_it_does_not_know() -> None:
    assert clock_is_synchronised() in (True, False, None)


@pytest.mark.parametrize(("asked", "is_there", "says"), [(None, True, False), (None, False, None), (True, True, True)])
def test_where_the_kernel_may_not_be_asked_timesyncd_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: bool | None, is_there: bool, says: bool | None
) -> None:
    folder = tmp_path / "timesync"
    if is_there:
        folder.mkdir()
    monkeypatch.setattr(timekeeping, "_SYNCHRONISED", folder / "synchronized")
    monkeypatch.setattr(timekeeping, "_ask_kernel", lambda: asked)
    assert timekeeping.clock_is_synchronised() is says
    folder.mkdir(exist_ok=True)
    (folder / "synchronized").touch()
    assert timekeeping.clock_is_synchronised() is True
