"""What the unit lets the service do, worked out by systemd's own lists."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.requirements import require

UNIT = Path(__file__).parent.parent / "systemd" / "piapi.service"


def calls_of(group: str) -> set[str]:
    """The system calls in a group such as @chown, and in the groups in that."""
    if not group.startswith("@"):
        return {group}
    said = subprocess.run(("systemd-analyze", "syscall-filter", group), capture_output=True, text=True, check=True)
    names = {line.strip() for line in said.stdout.splitlines()[1:] if line.strip() and "#" not in line}
    return set().union(*(calls_of(name) for name in names))


def allowed() -> set[str]:
    """As systemd.exec(5) reads SystemCallFilter=: the first line decides that it is a list of what is allowed."""
    calls: set[str] = set()
    for line in UNIT.read_text().splitlines():
        if line.startswith("SystemCallFilter="):
            value = line.partition("=")[2]
            named = set().union(*(calls_of(name) for name in value.removeprefix("~").split()))
            calls = calls - named if value.startswith("~") else calls | named
    return calls


@pytest.mark.parametrize("call", ["chown", "fchown"])
def test_gunicorn_may_make_its_socket(call: str) -> None:
    """It gives the socket to its user (gunicorn.sock.UnixSocket.bind); refused that, the service never starts."""
    require("systemd-analyze")
    assert call in allowed()


@pytest.mark.parametrize("call", ["mount", "init_module", "settimeofday", "reboot", "setuid"])
def test_what_is_for_root_is_refused(call: str) -> None:
    require("systemd-analyze")
    assert call not in allowed()
