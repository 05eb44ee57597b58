"""A disk whose every write is logged, and the disks that a power cut at any of them may leave.

QEMU's `blklogwrites` writes the format of Linux' dm-log-writes (its admin-guide, device-mapper/log-writes.rst):
a super block, then for each write one padded header and its data. Killing QEMU would lose no write that the guest has
made, so it shows nothing; leaving out what came after the last flush does.
"""

from __future__ import annotations

import os
import random
import shutil
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from tests.lab.guest import Guest
from tests.lab.image import sh

SECTOR = 512
MAGIC = 0x6A736677736872
FLUSH, FUA, DISCARD = 1, 2, 4
SIZE = "192M"

_SUPER, _ENTRY = struct.Struct("<QQQI"), struct.Struct("<QQQQ")


@dataclass(frozen=True)
class Write:
    """One entry: where it goes in sectors, where in the log its data is, and whether it is a flush."""

    sector: int
    sectors: int
    flags: int
    data_at: int

    @property
    def begins_at(self) -> int:
        """Bytes of log before it."""
        return self.data_at - SECTOR

    @property
    def is_flush(self) -> bool:
        """Whether all before it is durable once it is done."""
        return bool(self.flags & FLUSH)


class LoggedDisk:
    """An empty ext4 of `SIZE` in a folder, and the log of all that is written to it."""

    def __init__(self, folder: Path) -> None:
        self.start, self.log = folder / "data.start", folder / "data.log"
        self._disk = folder / "data.raw"
        sh("mke2fs", "-q", "-t", "ext4", self.start, SIZE)
        shutil.copy(self.start, self._disk)
        self.log.touch()

    def plug_into(self, guest: Guest) -> None:
        """It is /dev/sda there."""
        guest.monitor.call(
            "blockdev-add",
            **{"driver": "blklogwrites", "node-name": "data", "log-sector-size": SECTOR},
            file={"driver": "file", "filename": str(self._disk)},
            log={"driver": "file", "filename": str(self.log)},
        )
        guest.monitor.call("device_add", driver="scsi-hd", drive="data", bus="scsi.0")
        guest.run("udevadm settle; test -b /dev/sda")

    def position(self) -> int:
        """Bytes of log: all that is acknowledged now was written, and flushed, before."""
        return self.log.stat().st_size

    def writes(self) -> Iterator[Write]:
        """All so far, in the order in which they were done."""
        with self.log.open("rb") as log:
            magic, _, _, sector_size = _SUPER.unpack(log.read(_SUPER.size))
            assert (magic, sector_size) == (MAGIC, SECTOR)
            size, at = self.position(), SECTOR
            while at + SECTOR <= size:
                log.seek(at)
                sector, sectors, flags, _ = _ENTRY.unpack(log.read(_ENTRY.size))
                data_at = at + SECTOR
                at = data_at + (0 if flags & DISCARD else sectors * SECTOR)
                if at <= size:
                    yield Write(sector, sectors, flags, data_at)

    def after_cut(self, writes: list[Write], path: Path, chance: random.Random) -> None:
        """The disk when the power goes after these: what came since the last flush may be lost, or be there in part."""
        flushed = max((number for number, write in enumerate(writes) if write.is_flush), default=-1)
        pending = [write for write in writes[flushed + 1 :] if chance.random() < 0.5 or write.flags & FUA]
        chance.shuffle(pending)
        shutil.copy(self.start, path)
        with self.log.open("rb") as log, path.open("r+b") as disk:
            for write in [*writes[: flushed + 1], *pending]:
                apply(write, log, disk)


def apply(write: Write, log: BinaryIO, disk: BinaryIO) -> None:
    disk.seek(write.sector * SECTOR)
    if write.flags & DISCARD:
        disk.write(bytes(write.sectors * SECTOR))
    else:
        log.seek(write.data_at)
        disk.write(log.read(write.sectors * SECTOR))


def read_out(disk: Path, folder: Path) -> None:
    """All files of an ext4 that was not unmounted: its journal is replayed first, as a mount would."""
    done = os.waitstatus_to_exitcode(os.system(f"e2fsck -fy {disk} >{folder}.e2fsck 2>&1"))  # noqa: S605
    assert done in (0, 1), Path(f"{folder}.e2fsck").read_text()
    folder.mkdir()
    sh("debugfs", "-R", f"rdump / {folder}", disk)
