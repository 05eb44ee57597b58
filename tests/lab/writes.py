"""A disk whose every write is logged, and the disks that a power cut at any of them may leave.

QEMU's `blklogwrites` writes the format of Linux' dm-log-writes (its admin-guide, device-mapper/log-writes.rst):
a super block, then for each write one padded header and its data. Killing QEMU would lose no write that the guest has
made, so it shows nothing; leaving out what came after the last flush does.

An entry's place is that of the write's end, and a flush's is that of its beginning: QEMU is told to pass none on to the
host (`no-flush`), so nothing can end between a flush's beginning and its entry. What stands before a flush had
therefore ended when it was asked for, and is durable; what stands behind it is promised by nobody.
"""

from __future__ import annotations

import random
import struct
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from tests.lab.guest import Guest
from tests.lab.image import LabError, sh

SECTOR = 512
MAGIC = 0x6A736677736872
FLUSH, FUA, DISCARD = 1, 2, 4
SIZE = "192M"

_SUPER, _ENTRY = struct.Struct("<QQQI"), struct.Struct("<QQQQ")


@dataclass(frozen=True, slots=True)
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

    @property
    def is_durable(self) -> bool:
        """Whether it is, once it is done (FUA); that says nothing of those before it."""
        return bool(self.flags & FUA)

    @property
    def is_discard(self) -> bool:
        return bool(self.flags & DISCARD)


def writes_of(log: Path) -> Iterator[Write]:
    """All that were done, in their order."""
    size, at = log.stat().st_size, SECTOR
    with log.open("rb") as file:
        magic, _, _, sector_size = _SUPER.unpack(file.read(_SUPER.size))
        assert (magic, sector_size) == (MAGIC, SECTOR)
        while at + SECTOR <= size:
            file.seek(at)
            sector, sectors, flags, _ = _ENTRY.unpack(file.read(_ENTRY.size))
            data_at = at + SECTOR
            at = data_at + (0 if flags & DISCARD else sectors * SECTOR)
            if at <= size:
                yield Write(sector, sectors, flags, data_at)


@dataclass(frozen=True, slots=True, order=True)
class Cut:
    """The power goes when so many writes were done. What became of those since the last flush hangs on the seed."""

    writes: int
    seed: int


class CutDisks:
    """The disks that cuts leave, made one after the other: a base goes on with the log, and is never made anew."""

    def __init__(self, start: Path, log: Path, base: Path, writes: Sequence[Write]) -> None:
        """`start`: the disk before the first of all `writes`; `base`: where a copy of it may grow."""
        self._log, self._base, self._writes = log, base, writes
        self._applied = 0
        copy(start, base)

    def make(self, cut: Cut, path: Path) -> None:
        """One of them. Its cut is not before the one of the call before."""
        flushed = self.flushed_by(cut)
        with self._log.open("rb") as log:
            with self._base.open("r+b") as base:
                for write in self._writes[self._applied : flushed]:
                    apply(write, range(write.sectors), log, base)
            assert self._applied <= flushed, "cuts have to come in their order"
            self._applied = flushed
            copy(self._base, path)
            with path.open("r+b") as disk:
                for write, sectors in left_of(self._writes[flushed : cut.writes], random.Random(cut.seed)):
                    apply(write, sectors, log, disk)

    def flushed_by(self, cut: Cut) -> int:
        """How many writes are durable."""
        return next((number for number in range(cut.writes, 0, -1) if self._writes[number - 1].is_flush), 0)


def left_of(pending: Sequence[Write], chance: random.Random) -> Iterator[tuple[Write, Sequence[int]]]:
    """What is there of writes that no flush has followed, in the order in which to apply them: sectors of each.

    Each may be lost, or whole, or torn: a disk promises to write a sector at once, and nothing of more than one. In
    whatever order a disk works, a sector is then what one of these writes, or none, has made of it. Now and then all
    of them are lost, or all are there.
    """
    fate = chance.choice(("lost", "whole", "any", "any"))
    for write in pending:
        kind = chance.choice(("lost", "whole", "torn")) if fate == "any" else fate
        if write.is_durable or kind == "whole":
            yield write, range(write.sectors)
        elif kind == "torn":
            yield write, [sector for sector in range(write.sectors) if chance.random() < 0.5]


def apply(write: Write, sectors: Sequence[int], log: BinaryIO, disk: BinaryIO) -> None:
    """Write those sectors of it that are named, from 0."""
    log.seek(write.data_at)
    data = bytes(write.sectors * SECTOR) if write.is_discard else log.read(write.sectors * SECTOR)
    if len(sectors) == write.sectors:
        disk.seek(write.sector * SECTOR)
        disk.write(data)
        return
    for sector in sectors:
        disk.seek((write.sector + sector) * SECTOR)
        disk.write(data[sector * SECTOR : (sector + 1) * SECTOR])


def copy(disk: Path, path: Path) -> None:
    """With its holes."""
    sh("cp", "--sparse=auto", disk, path)


class LoggedDisk:
    """An empty ext4 of `SIZE` in a folder, and the log of all that is written to it."""

    def __init__(self, folder: Path) -> None:
        self.start, self.log = folder / "data.start", folder / "data.log"
        self._disk = folder / "data.raw"
        sh("mke2fs", "-q", "-t", "ext4", "-b", "4096", self.start, SIZE)  # blocks as on a Pi's card
        copy(self.start, self._disk)
        self.log.touch()

    def plug_into(self, guest: Guest) -> None:
        """It is /dev/sda there."""
        guest.monitor.call(
            "blockdev-add",
            **{"driver": "blklogwrites", "node-name": "data", "log-sector-size": SECTOR},
            file={"driver": "file", "filename": str(self._disk), "cache": {"no-flush": True}},
            log={"driver": "file", "filename": str(self.log), "cache": {"no-flush": True}},
        )
        guest.monitor.call("device_add", driver="scsi-hd", drive="data", bus="scsi.0")
        guest.run("udevadm settle; test -b /dev/sda")

    def position(self) -> int:
        """Bytes of log: all that is acknowledged now was written, and flushed, before."""
        return self.log.stat().st_size


def read_out(disk: Path, folder: Path) -> None:
    """All files of an ext4 that was not unmounted: its journal is replayed first, as a mount would."""
    done = subprocess.run(("e2fsck", "-fy", disk), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode not in (0, 1):
        raise LabError(f"e2fsck ended with {done.returncode} and printed\n{done.stdout.decode(errors='replace')}")
    folder.mkdir()
    sh("debugfs", "-R", f"rdump / {folder}", disk)
