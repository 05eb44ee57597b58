"""A process that drives a line of a simulated board under leases, as the service does; tests kill it and stop it.

`python -m tests.guard_owner FILE SOCKET [start]`, then commands on standard input, each answered by a line.
"""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
import threading
from pathlib import Path

from piapi.clock import SystemClock
from piapi.errors import PiApiError
from piapi.hardware.gpio_simulated import SimulatedBoard
from piapi.hardware.leases import Leases, start_command

LINE = 17


class Owner:
    """The relay is active low: at rest the line is high."""

    def __init__(self, file: Path, path: Path, start: bool) -> None:
        command = start_command(sys.executable, path, "--simulated", str(file)) if start else None
        self.board = SimulatedBoard(file, SystemClock(), keep_history=True)
        self.leases = Leases(path, command, self.lost)
        self.board.open()
        self.board.claim_output(LINE, True)
        self.leases.open()

    def lost(self, lines: frozenset[int]) -> None:
        for line in lines:
            self.board.write(line, True)
        say(f"lost {sorted(lines)}")

    def on(self, for_s: str) -> None:
        """Lease, then switch on."""
        self.leases.lease(LINE, True, float(for_s))
        self.board.write(LINE, False)

    def off(self) -> None:
        """Switch off, then end the lease."""
        self.board.write(LINE, True)
        self.leases.end(LINE)

    def pulses(self) -> None:
        """On and off for random times, until killed."""
        never = threading.Event()
        say("pulsing")
        while True:
            self.on("5")
            never.wait(random.uniform(0, 0.03))
            self.off()
            never.wait(random.uniform(0, 0.005))

    def drop(self) -> None:
        """The connection ends without a word, and the process lives."""
        assert self.leases._connection
        self.leases._connection._socket.shutdown(socket.SHUT_RDWR)

    def heir(self) -> None:
        """A child, forked without care, that holds the line too until its standard input, a pipe of the test, ends."""
        if os.fork() == 0:
            sys.stdin.readline()
            os._exit(0)

    def child(self) -> None:
        """A child, started as one should."""
        subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)

    def nothing(self) -> None:
        """Whether it is alive."""

    def close(self) -> None:
        """The service ends."""
        self.leases.close()
        self.board.close()


def say(what: str) -> None:
    sys.stdout.write(what + "\n")
    sys.stdout.flush()


def main() -> None:
    owner = Owner(Path(sys.argv[1]), Path(sys.argv[2]), "start" in sys.argv[3:])
    say("ready")
    for line in sys.stdin:
        name, *arguments = line.split()
        try:
            getattr(owner, name)(*arguments)
        except PiApiError as error:
            say(f"{type(error).__name__}: {error}")
        else:
            say("done")


if __name__ == "__main__":
    main()
