"""What the guest's kernel did: calls of its functions, in order, none missed (its trace/kprobetrace.rst)."""

from __future__ import annotations

import contextlib
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tests.lab.guest import Guest

FOLDER = "/sys/kernel/tracing"
LITTLE = "echo 0 >/proc/sys/debug/kprobes-optimization; echo 0 >options/record-cmd"
"""Else the kernel writes over its own code where it is busiest, in its scheduler, too, and QEMU is not good at that:
now and then a guest panics."""

DRIVES = {
    "gpio_sim_direction_output": "line=%si:u32 level=%dx:s32",
    "gpio_sim_set": "line=%si:u32 level=%dx:s32",
    "gpio_sim_set_multiple": "lines=+0(%si):x64 levels=+0(%dx):x64",
}
"""The functions by which the kernel drives a line, and where their arguments are on this machine (x86-64 psABI)."""

_CALL = re.compile(r"^ *\S+-(?P<task>\d+) .*? (?P<name>\w+): \(.*?\)(?P<arguments>.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Call:
    """One call of a function, by the thread `task`."""

    name: str
    task: int
    arguments: Mapping[str, int]


@dataclass(frozen=True)
class Trace:
    """All calls since it was begun."""

    guest: Guest

    def begin_anew(self) -> None:
        """What was until now is forgotten."""
        self.guest.run(f"echo >{FOLDER}/trace")

    def calls(self) -> list[Call]:
        """Until now, in order."""
        return [
            Call(
                call["name"],
                int(call["task"]),
                {k: int(v, 0) for k, v in re.findall(r"(\w+)=(\S+)", call["arguments"])},
            )
            for call in _CALL.finditer(self.guest.run(f"cat {FOLDER}/trace"))
        ]

    def levels_driven(self) -> dict[int, list[int]]:
        """Each line's levels, one after the other, as the kernel was told to drive them; for a trace of DRIVES."""
        driven: dict[int, list[int]] = defaultdict(list)
        for said in (call.arguments for call in self.calls()):
            if "line" in said:
                driven[said["line"]].append(said["level"])
            else:
                for line in (line for line in range(64) if said["lines"] >> line & 1):
                    driven[line].append(said["levels"] >> line & 1)
        return driven


@contextlib.contextmanager
def traced(guest: Guest, probes: Mapping[str, str]) -> Iterator[Trace]:
    """From now on. `probes`: function → where its arguments are, as kprobes write it."""
    events = "\n".join(f"p:{function} {function} {arguments}" for function, arguments in probes.items())
    guest.run(f"mountpoint -q {FOLDER} || mount -t tracefs tracefs {FOLDER}; cd {FOLDER}; {LITTLE}")
    guest.write(f"{FOLDER}/kprobe_events", events + "\n")
    try:
        trace = Trace(guest)
        trace.begin_anew()
        guest.run(f"cd {FOLDER}; echo 1 >events/kprobes/enable")
        yield trace
    finally:
        guest.run(f"cd {FOLDER}; echo 0 >events/kprobes/enable; echo >kprobe_events; echo >trace")
