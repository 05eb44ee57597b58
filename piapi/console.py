"""The socket on which the service hears the machine's own command line, and who is at its other end.

It lies in the run folder: RUNTIME_DIRECTORY, which systemd makes, or `run` in the data folder. Who may open it is the
service's user, or root; the kernel says who did (SO_PEERCRED, unix(7)), so no token is needed.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path

NAME = "piapi.sock"

#: Bytes of a socket's path, at most: `sun_path` without its last zero (unix(7)).
MOST_PATH = 107

_CREDENTIALS = struct.Struct("3i")


def run_folder(data: Path, environ: Mapping[str, str] = os.environ) -> Path:
    """Where the service has what lasts as long as it runs."""
    return Path(environ.get("RUNTIME_DIRECTORY") or data / "run").absolute()


@contextlib.contextmanager
def address_in(folder: Path) -> Iterator[str]:
    """The path of the socket, as connect(2) and bind(2) take it: a long one goes by way of a descriptor of the folder,
    and is good as long as the block runs. Raises OSError where there is no such folder."""
    path = str(folder / NAME)
    if len(os.fsencode(path)) <= MOST_PATH:
        yield path
        return
    descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{NAME}"
    finally:
        os.close(descriptor)


def make_place(folder: Path) -> None:
    """Make sure that the socket can be bound there, and remove the one that a killed service has left.

    Call it with the lock of the data folder. Raises OSError: not every file system has sockets, and what is no socket
    is left alone.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / NAME
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise FileExistsError(f"{path} is there, and no socket")
        path.unlink()
    with address_in(folder) as address, socket.socket(socket.AF_UNIX) as trial:
        trial.bind(address)
    path.unlink()


def user_at(connection: socket.socket) -> int | None:
    """The user at the other end of a local socket, as it was opened; None for one that is not local."""
    if connection.family != socket.AF_UNIX:
        return None
    data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    user: int = _CREDENTIALS.unpack(data)[1]
    return user
