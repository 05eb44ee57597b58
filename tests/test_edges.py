"""Edges of lines as the kernel tells of them, through pipes in the place of its descriptors."""

from __future__ import annotations

import contextlib
import os
import queue
import time
from collections.abc import Iterator
from functools import partial

import pytest

from piapi.lines import edges
from piapi.lines.edges import EVENT, RISING, Edges

PATIENCE_S = 20.0
MS = 1_000_000
LONG = 60_000 * MS
"""A debounce time that does not pass."""


class Heard:
    """Lines, and all that is told of them."""

    def __init__(self, edges: Edges, pipes: contextlib.ExitStack) -> None:
        self.edges, self._pipes = edges, pipes
        self.told: queue.SimpleQueue[tuple[str, bool, int]] = queue.SimpleQueue()
        self.ends: dict[str, tuple[int, int]] = {}

    def line(self, name: str, *events: tuple[int, bool], debounce_ns: int = 0) -> None:
        """One that is high; `events` are there before anybody listens, so that they are read at once."""
        self.ends[name] = os.pipe()
        for end in self.ends[name]:
            self._pipes.callback(os.close, end)
        self.move(name, *events)
        self.edges.listen(self.ends[name][0], True, debounce_ns, partial(self._put, name))

    def move(self, name: str, *events: tuple[int, bool]) -> None:
        """Its edges: when, and to which level."""
        os.write(self.ends[name][1], b"".join(EVENT.pack(at, RISING if level else RISING + 1) for at, level in events))

    def next(self) -> tuple[str, bool, int]:
        return self.told.get(timeout=PATIENCE_S)

    def _put(self, name: str, level: bool, at: int) -> None:
        self.told.put((name, level, at))


@pytest.fixture
def heard() -> Iterator[Heard]:
    with contextlib.ExitStack() as pipes, contextlib.closing(Edges()) as edges:
        yield Heard(edges, pipes)


def test_edges_are_told_in_the_order_of_their_times(heard: Heard) -> None:
    heard.line("a", (10, False), (30, True))
    heard.line("b")
    assert [heard.next(), heard.next()] == [("a", False, 10), ("a", True, 30)]
    heard.move("b", (40, False))
    assert heard.next() == ("b", False, 40)


def test_a_press_that_is_read_late_is_told(heard: Heard) -> None:
    """It was steady for long enough, whatever kept us from looking."""
    heard.line("button", (0, False), (100 * MS, True), debounce_ns=20 * MS)
    assert [heard.next(), heard.next()] == [("button", False, 0), ("button", True, 100 * MS)]


def test_bounces_are_one_edge_at_the_last_of_them(heard: Heard) -> None:
    heard.line("a", *((n * MS, n % 2 == 1) for n in range(9)), (LONG, True), debounce_ns=LONG - 10 * MS)
    assert heard.next() == ("a", False, 8 * MS)
    assert heard.told.empty()


def test_what_is_back_where_it_was_is_not_told(heard: Heard) -> None:
    heard.line("a", (0, False), (MS, True), (2 * LONG, False), (4 * LONG, True), debounce_ns=LONG)
    assert heard.next() == ("a", False, 2 * LONG)


def test_an_edge_that_was_lost_hides_no_other(heard: Heard) -> None:
    """What was told is that it is high; the edge itself says that it was not."""
    heard.line("a", (0, True), (LONG, False), debounce_ns=LONG)
    assert heard.next() == ("a", True, 0)


def test_nothing_is_told_of_a_line_that_was_forgotten(heard: Heard) -> None:
    heard.line("a", (0, False), debounce_ns=50 * MS)
    heard.edges.forget(heard.ends["a"][0])
    heard.edges.forget(heard.ends["a"][0])
    heard.line("b", (0, False), debounce_ns=50 * MS)
    assert heard.next() == ("b", False, 0)
    assert heard.told.empty()


def test_a_fault_in_telling_ends_nothing(heard: Heard, caplog: pytest.LogCaptureFixture) -> None:
    def fault(level: bool, at: int) -> None:
        raise ValueError("nobody knows")

    heard.line("a")
    heard.edges.forget(heard.ends["a"][0])
    heard.edges.listen(heard.ends["a"][0], True, 0, fault)
    heard.move("a", (0, False))
    heard.line("b", (10, False))
    assert heard.next() == ("b", False, 10)
    heard.move("a", (20, True))
    heard.move("b", (30, True))
    assert heard.next() == ("b", True, 30)
    assert "nobody knows" in caplog.text


@pytest.mark.parametrize("error", [None, OSError(19, "No such device")])
def test_a_chip_that_is_gone_keeps_nothing_busy(
    heard: Heard, monkeypatch: pytest.MonkeyPatch, error: OSError | None
) -> None:
    """Its descriptor is ready for ever."""
    reads: list[int] = []
    read = os.read

    def read_or_fail(descriptor: int, size: int) -> bytes:
        reads.append(descriptor)
        if descriptor != gone:
            return read(descriptor, size)
        if error:
            raise error
        return b""

    heard.line("gone")
    heard.line("b")
    gone = heard.ends["gone"][0]
    monkeypatch.setattr(edges.os, "read", read_or_fail)
    heard.move("gone", (0, False))
    for at, level in ((10, False), (20, True), (30, False)):
        heard.move("b", (at, level))
        assert heard.next() == ("b", level, at)
    assert reads.count(gone) == 1


def test_noise_costs_no_look_at_each_edge(heard: Heard, monkeypatch: pytest.MonkeyPatch) -> None:
    heard.line("aerial", debounce_ns=LONG)
    heard.line("b", debounce_ns=MS)
    looks: list[int] = []
    settled = Edges._settled
    monkeypatch.setattr(Edges, "_settled", lambda self: looks.append(0) or settled(self))  # type: ignore[func-returns-value]
    began = time.monotonic()
    for number in range(1000):
        heard.move("aerial", (number, number % 2 == 1))
    heard.move("b", (0, False))
    assert heard.next() == ("b", False, 0)
    assert len(looks) <= (time.monotonic() - began) / edges._BATCH_S + 4
