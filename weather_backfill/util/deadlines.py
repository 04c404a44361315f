"""Total time limit for an exchange over sockets, whose own time limits begin anew with each byte that arrives."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Deadline:
    """Sockets that are shut down when the time is over; `passed` says whether it was."""

    def __init__(self) -> None:
        self.passed = False
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []

    def watch(self, connected: socket.socket) -> None:
        """Shut this connection down when the time is over, also in the middle of a TLS handshake."""
        # A duplicate: TLS takes the descriptor out of the socket that it is given.
        duplicate = socket.socket(fileno=os.dup(connected.fileno()))
        with self._lock:
            self._sockets.append(duplicate)
            if self.passed:
                _shut(duplicate)

    def _pass(self) -> None:
        with self._lock:
            self.passed = True
            for connection in self._sockets:
                _shut(connection)

    def _close(self) -> None:
        with self._lock:
            for connection in self._sockets:
                connection.close()
            self._sockets.clear()


def _shut(connection: socket.socket) -> None:
    with suppress(OSError):  # the other side has ended it already
        connection.shutdown(socket.SHUT_RDWR)


@contextmanager
def deadline(seconds: float) -> Iterator[Deadline]:
    """Limit what is done within the context to `seconds`: then reads and writes of watched sockets fail."""
    watched = Deadline()
    timer = threading.Timer(seconds, watched._pass)
    timer.daemon = True
    timer.start()
    try:
        yield watched
    finally:
        timer.cancel()
        watched._close()
