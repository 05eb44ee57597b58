"""What holds for every output, whoever switches it."""

from __future__ import annotations

from typing import Any

import pytest

from piapi.errors import Conflict, LineBusy
from piapi.services.outputs import Output, OutputRules, Outputs
from piapi.services.timetable import Timetable
from tests.fake_board import FakeBoard, FakeGuard
from tests.fakes import FakeClock

End = tuple[float, float, str]


class Bench:
    """Outputs on a board that a test watches, with a clock that it moves."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.board = FakeBoard()
        self.guard = FakeGuard(self.board)
        self.timetable = Timetable(self.clock)
        self.outputs = Outputs(self.board, self.guard, self.timetable, self.clock)
        self.ends: list[End] = []

    def output(self, name: str, line: int = 17, **rules: Any) -> Output:
        output = self.outputs.add(name, OutputRules(line, **rules))
        self.outputs.claim(output)
        return output

    def on(self, output: Output, for_s: float | None = None) -> float:
        self.outputs.take(output)
        return self.outputs.turn_on(output, for_s, lambda *end: self.ends.append(end))

    def passes(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.timetable.keep_due()


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.mark.parametrize("active_low", [False, True])
def test_an_output_is_claimed_at_its_inactive_level_and_nothing_else_is_ever_written(
    bench: Bench, active_low: bool
) -> None:
    bench.output("relay", active_low=active_low)
    bench.outputs.close()
    assert bench.board.written(17) == [active_low]


def test_the_lease_is_there_before_the_edge_and_ends_after_it(bench: Bench) -> None:
    bench.on(bench.output("relay"), 1.0)
    bench.passes(1.0)
    steps = [(what, level) for what, _, level in bench.board.history]
    assert steps == [("output", False), ("lease", None), ("write", True), ("write", False), ("end", None)]


def test_a_pulse_ends_at_its_time_and_tells_how_long_it_was(bench: Bench) -> None:
    relay = bench.output("relay")
    began = bench.on(relay, 0.5)
    bench.passes(0.4)
    assert relay.is_on
    bench.passes(0.1)
    assert not relay.is_on and bench.ends == [(began, began + 0.5, "time")]


def test_the_longest_time_on_holds_whatever_was_asked_for(bench: Bench) -> None:
    heater = bench.output("heater", max_on_s=10.0)
    for asked in (None, 60.0):
        bench.on(heater, asked)
        assert bench.guard.leases[17] == (False, 10.0)
        bench.passes(10.0)
        assert not heater.is_on and bench.ends[-1][2] == "limit"


def test_off_is_at_once_and_its_time_does_not_end_the_next_one(bench: Bench) -> None:
    relay = bench.output("relay")
    bench.on(relay, 1.0)
    bench.passes(0.9)
    assert bench.outputs.turn_off(relay) and not bench.outputs.turn_off(relay)
    bench.on(relay, 1.0)
    bench.passes(0.5)
    assert relay.is_on, "the end of the first pulse is not that of the second"
    assert [end[2] for end in bench.ends] == ["off"]


def test_the_shortest_gap_is_kept(bench: Bench) -> None:
    relay = bench.output("relay", min_gap_s=2.0)
    bench.on(relay, 0.5)
    bench.passes(0.5)
    bench.clock.advance(1.9)
    with pytest.raises(Conflict, match=r"in 0\.1 s"):
        bench.on(relay)
    bench.clock.advance(0.1)
    bench.on(relay)


def test_two_of_a_group_are_never_on_together_and_keep_their_dead_time(bench: Bench) -> None:
    up = bench.output("up", 5, interlock="motor", dead_time_s=0.5)
    down = bench.output("down", 6, interlock="motor")
    other = bench.output("other", 7)
    bench.on(up)
    bench.on(other)
    with pytest.raises(Conflict, match="exclude each other"):
        bench.on(down)
    bench.outputs.turn_off(up)
    with pytest.raises(Conflict, match=r"up went off just now; down may go on in 0\.5 s"):
        bench.on(down)
    bench.clock.advance(0.5)
    bench.on(down)


def test_whoever_writes_down_the_intent_has_the_output_meanwhile(bench: Bench) -> None:
    up, down = (bench.output(name, line, interlock="m") for name, line in (("up", 5), ("down", 6)))
    bench.outputs.take(up)
    for output in (up, down):
        with pytest.raises(Conflict):
            bench.outputs.take(output)
    bench.outputs.give_up(up)
    bench.outputs.take(down)


def test_without_the_guard_nothing_goes_on(bench: Bench) -> None:
    relay = bench.output("relay")
    bench.guard.fails = True
    with pytest.raises(LineBusy):
        bench.on(relay)
    assert bench.board.written(17) == [False] and not relay.is_on
    bench.guard.fails = False
    bench.on(relay)


def test_a_line_that_cannot_be_written_is_off_and_its_lease_has_ended(bench: Bench) -> None:
    relay = bench.output("relay")
    bench.board.fail_next = LineBusy("gone")
    with pytest.raises(LineBusy):
        bench.on(relay, 1.0)
    assert not relay.is_on and bench.guard.leases == {} and bench.board.levels[17] is False


def test_a_line_that_cannot_be_switched_off_stays_leased_so_that_the_guard_does_it(bench: Bench) -> None:
    relay = bench.output("relay")
    bench.on(relay, 1.0)
    bench.board.fail_next = LineBusy("gone")
    bench.passes(1.0)
    assert 17 in bench.guard.leases and relay.is_on


def test_what_may_not_stay_on_goes_off_at_the_end_and_the_rest_is_left_as_it_is(bench: Bench) -> None:
    relay, lamp = bench.output("relay", 5), bench.output("lamp", 6, off_at_death=False)
    bench.on(relay)
    bench.on(lamp)
    assert 6 not in bench.guard.leases
    bench.outputs.close()
    bench.outputs.close()
    assert bench.board.levels == {5: False, 6: True} and bench.ends[0][2] == "stop"
    with pytest.raises(LineBusy):
        bench.on(relay)


def test_once_the_end_has_begun_nothing_goes_on_any_more_not_even_what_was_taken(bench: Bench) -> None:
    relay, taken, keeps = bench.output("relay"), bench.output("taken", 18), bench.output("keeps", 5, off_at_death=False)
    bench.on(relay)
    bench.on(keeps)
    bench.outputs.take(taken)
    bench.outputs.interrupt()
    assert not relay.is_on and keeps.is_on
    with pytest.raises(LineBusy, match="ending"):
        bench.outputs.turn_on(taken, 1.0, lambda *end: None)
    with pytest.raises(LineBusy, match="ending"):
        bench.outputs.take(relay)
    assert bench.outputs.turn_off(keeps), "off is always allowed"
    assert bench.board.written(18) == [False]


def test_an_output_that_keeps_its_level_is_claimed_at_it(bench: Bench) -> None:
    lamp = bench.outputs.add("lamp", OutputRules(6, off_at_death=False))
    bench.outputs.claim(lamp, on=True)
    assert bench.board.written(6) == [True] and lamp.is_on
    with pytest.raises(ValueError, match="never on when it is claimed"):
        bench.outputs.claim(bench.outputs.add("relay", OutputRules(5)), on=True)


def test_a_pulse_of_an_output_that_keeps_its_level_ends_with_the_process_all_the_same(bench: Bench) -> None:
    lamp = bench.output("lamp", 6, off_at_death=False)
    bench.on(lamp, 1.0)
    assert bench.guard.leases == {6: (False, 1.0)}
    bench.outputs.close()
    assert bench.board.levels == {6: False} and bench.guard.leases == {} and bench.ends[0][2] == "stop"


def test_two_of_a_group_are_not_left_on_together_by_a_start(bench: Bench) -> None:
    up, down = (
        bench.outputs.add(name, OutputRules(line, interlock="motor", off_at_death=False))
        for name, line in (("up", 5), ("down", 6))
    )
    for output in (up, down):
        bench.outputs.claim(output, on=True)
    assert bench.board.levels == {5: True, 6: False} and not down.is_on


def test_what_could_not_be_switched_off_is_tried_again_and_is_not_given_back_while_it_is_on(bench: Bench) -> None:
    relay = bench.output("relay")
    bench.on(relay)
    bench.board.fail_next = LineBusy("gone")
    bench.outputs.close()
    assert not bench.outputs.are_off and bench.board.levels == {17: True} and 17 in bench.guard.leases
    assert ("release", 17, None) not in bench.board.history
    bench.outputs.close()
    assert bench.outputs.are_off and bench.board.levels == {17: False} and bench.guard.leases == {}


def test_a_gap_that_began_before_this_process_goes_on(bench: Bench) -> None:
    relay = bench.output("relay", min_gap_s=60.0)
    bench.outputs.note_off(relay, 59.0)
    with pytest.raises(Conflict, match=r"in 1\.0 s"):
        bench.on(relay)
    bench.clock.advance(1.0)
    bench.on(relay)


def test_leases_without_an_end_are_renewed(bench: Bench) -> None:
    bench.on(bench.output("relay", 5))
    bench.on(bench.output("pulse", 6), 1.0)
    bench.guard.history.clear()
    bench.outputs.renew()
    assert bench.guard.history == [("lease", 5)]
