"""Which of its files a killed process lets go first.

The kernel closes them when the process ends, the highest number first (exit_files() and task_work_run() of Linux since
4.3), and one after the other: what has a lower number than a camera waits until that camera has stopped, for seconds at
worst. So lines get the last numbers that there are, and outputs come after inputs, whose interrupts have to end.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import resource
import socket
import threading
from collections.abc import Iterator

INPUTS, OUTPUTS = 192, 96
"""So many of the last numbers are theirs: a chip has at most 54 lines."""

_MOST = 4096
_FEWEST = 512
_AT_ONCE = 253  # SCM_MAX_FD of the kernel

_turn = threading.Lock()


def end_of_numbers() -> int:
    """The number that no file has; 0 where there may be so few that all are left to others."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    limit = _MOST if limit == resource.RLIM_INFINITY else min(limit, _MOST)
    return limit if limit >= _FEWEST else 0


def with_last_number(opened: socket.socket) -> socket.socket:
    """The same with one of the numbers of inputs: its end is heard before a camera has stopped. Any, where these are
    taken."""
    if end := end_of_numbers():
        with contextlib.suppress(OSError):
            number = fcntl.fcntl(opened, fcntl.F_DUPFD_CLOEXEC, end - INPUTS)
            opened.close()
            return socket.socket(fileno=number)
    return opened


@contextlib.contextmanager
def last_numbers(count: int) -> Iterator[None]:
    """What is opened in here gets one of the last `count` numbers, as all before are taken meanwhile: by one file that
    is sent from here to here, hundreds of times at once, as lines wait for it."""
    with _turn, contextlib.ExitStack() as taken:
        if end := end_of_numbers():
            with contextlib.suppress(OSError):  # then it gets any
                _take_all_below(end - count, taken)
        yield


def _take_all_below(lowest: int, taken: contextlib.ExitStack) -> None:
    null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    taken.callback(os.close, null)
    sender, receiver = (taken.enter_context(end) for end in socket.socketpair())
    receiver.setblocking(False)
    highest = max(null, sender.fileno(), receiver.fileno())
    while highest < lowest - 1:
        socket.send_fds(sender, [b"-"], [null] * min(_AT_ONCE, lowest - 1 - highest))
        _, numbers, _, _ = socket.recv_fds(receiver, 1, _AT_ONCE, socket.MSG_CMSG_CLOEXEC)
        for number in numbers:
            taken.callback(os.close, number)
        if not numbers:
            raise OSError("no file may be opened any more")
        highest = max(highest, *numbers)
