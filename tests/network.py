"""A network between a browser and piapi that can be lost, as wireless ones are: nothing gets through, and nobody is
told. It is cut outside of the browser, where nothing that the browser does can get around it."""

from __future__ import annotations

import contextlib
import socket
import threading


class Network:
    """Passes on what is sent to `port`, until it is cut."""

    def __init__(self, towards: int) -> None:
        self._towards = towards
        self._passing = threading.Event()
        self._ends: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()
        self.mend()

    def cut(self) -> None:
        """From now on nothing gets through."""
        self._passing.clear()

    def mend(self) -> None:
        """All gets through again, also what was sent in the meantime: TCP repeats it."""
        self._passing.set()

    def close(self) -> None:
        """Close all connections and end the threads."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._threads.pop(0).join()
        self._listener.close()
        for end in self._ends:
            with contextlib.suppress(OSError):  # where the other side has closed it
                end.shutdown(socket.SHUT_RDWR)
        self.mend()
        for thread in self._threads:
            thread.join()
        for end in self._ends:
            end.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:  # `close`
                return
            far = socket.create_connection(("127.0.0.1", self._towards))
            self._ends += near, far
            for pair in ((near, far), (far, near)):
                self._threads.append(thread := threading.Thread(target=self._pass_on, args=pair))
                thread.start()

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):  # a connection that is reset, on either side
            while data := source.recv(65536):
                self._passing.wait()
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
            return
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)
