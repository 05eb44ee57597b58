"""piapi for gunicorn, with somebody who drives the lines of its simulated board: a datagram `line level` is an edge.

The board tells only of edges that are made in its own process. So the driver is a thread in here, and its word for
each edge is the moment, in nanoseconds of CLOCK_BOOTTIME, just before it.
"""

from __future__ import annotations

import os
import socket
import threading
import time

import config
from piapi.app import create_app
from piapi.clock import SystemClock
from piapi.hardware.boards import board_of
from piapi.hardware.gpio_simulated import SimulatedBoard

settings = config.in_force()
clock = SystemClock()
board = board_of("simulated", None, (settings.storage.path / "run").absolute(), clock)
assert isinstance(board, SimulatedBoard)
app = create_app(settings, clock=clock, board=board)


def drive(driver: socket.socket, lines: SimulatedBoard) -> None:
    """For ever."""
    while True:
        order, client = driver.recvfrom(64)
        line, level = map(int, order.split())
        moment = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        lines.drive(line, bool(level))
        driver.sendto(b"%d" % moment, client)


driver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
driver.bind(("127.0.0.1", int(os.environ["WIRED_PORT"])))
threading.Thread(target=drive, args=(driver, board), name="driver", daemon=True).start()
