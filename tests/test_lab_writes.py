"""The disks that the lab's power cuts leave, made of a log by hand: no guest is needed to see that they can lose."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from tests.lab.writes import DISCARD, FLUSH, FUA, MAGIC, SECTOR, Cut, CutDisks, writes_of

SECTORS, SEEDS = 8, 200
OLD = b"."


class Log:
    """As QEMU writes it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.path, self.start = folder, folder / "log", folder / "start"
        self.start.write_bytes(OLD * SECTORS * SECTOR)
        self.path.write_bytes(struct.pack("<QQQI", MAGIC, 1, 0, SECTOR).ljust(SECTOR, b"\0"))

    def add(self, sector: int, content: bytes, flags: int = 0) -> None:
        """One letter of `content` for each sector."""
        data = b"" if flags & DISCARD else b"".join(bytes([letter]) * SECTOR for letter in content)
        with self.path.open("ab") as file:
            file.write(struct.pack("<QQQQ", sector, len(content), flags, 0).ljust(SECTOR, b"\0") + data)

    def flush(self) -> None:
        self.add(0, b"", FLUSH)

    def disks(self) -> CutDisks:
        return CutDisks(self.start, self.path, self.folder / "base", list(writes_of(self.path)))

    def left(self, *cuts: Cut) -> list[bytes]:
        """The disk after each, a letter for each sector."""
        disks, path, found = self.disks(), self.folder / "disk", []
        for cut in cuts:
            disks.make(cut, path)
            data = path.read_bytes()
            assert data == b"".join(data[at : at + 1] * SECTOR for at in range(0, len(data), SECTOR))
            found.append(data[::SECTOR])
        return found

    def possible(self, writes: int) -> set[bytes]:
        """What there may be after so many."""
        return set(self.left(*(Cut(writes, seed) for seed in range(SEEDS))))


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path)


def test_what_a_flush_followed_is_there_whatever_happens(log: Log) -> None:
    log.add(0, b"ab")
    log.add(4, b"c")
    log.flush()
    assert log.possible(3) == {b"ab..c..."}


def test_what_no_flush_followed_may_be_lost_or_torn_and_in_any_order(log: Log) -> None:
    log.add(0, b"ab")
    log.add(4, b"c")
    assert log.possible(2) == {
        b"........", b"ab......", b"a.......", b".b......",
        b"....c...", b"ab..c...", b"a...c...", b".b..c...",
    }  # fmt: skip


def test_a_flush_says_nothing_of_what_came_after_it(log: Log) -> None:
    log.add(0, b"a")
    log.flush()
    log.add(0, b"b")
    assert log.possible(3) == {b"a.......", b"b......."}


def test_a_cut_before_the_flush_may_lose_what_the_flush_would_have_kept(log: Log) -> None:
    log.add(0, b"a")
    log.flush()
    assert log.possible(1) == {b"........", b"a......."}


def test_what_was_written_with_fua_is_there_and_says_nothing_of_what_was_before(log: Log) -> None:
    log.add(0, b"a")
    log.add(1, b"b", FUA)
    assert log.possible(2) == {b".b......", b"ab......"}


def test_what_was_written_over_never_comes_back_over_what_is_durable(log: Log) -> None:
    log.add(0, b"a")
    log.add(0, b"b", FUA)
    assert log.possible(2) == {b"b......."}


def test_what_comes_after_the_cut_has_never_been(log: Log) -> None:
    log.add(0, b"a")
    log.add(0, b"b")
    log.flush()
    assert log.possible(0) == {b"........"}
    assert log.possible(1) == {b"........", b"a......."}


def test_what_was_discarded_is_empty_or_as_it_was(log: Log) -> None:
    log.add(0, b"a")
    log.flush()
    log.add(0, b"_", DISCARD)
    assert log.possible(3) == {b"a.......", b"\0......."}


def test_disks_made_one_after_the_other_are_those_made_alone(log: Log) -> None:
    for number in range(SECTORS):
        log.add(number, bytes([ord("a") + number]))
        if number % 3 == 1:
            log.flush()
    cuts = [Cut(writes, seed) for writes in range(len(list(writes_of(log.path))) + 1) for seed in range(5)]
    assert log.left(*cuts) == [log.left(cut)[0] for cut in cuts]
    with pytest.raises(AssertionError, match="in their order"):
        log.left(cuts[-1], cuts[0])


def test_an_entry_that_is_being_written_is_none_yet(log: Log) -> None:
    log.add(0, b"a")
    with log.path.open("ab") as file:
        file.write(struct.pack("<QQQQ", 1, 2, 0, 0).ljust(SECTOR, b"\0") + bytes(SECTOR))
    assert [write.sector for write in writes_of(log.path)] == [0]
