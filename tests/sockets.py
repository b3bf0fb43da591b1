"""A server on a plain socket, for tests of the bytes that a client sends."""

from __future__ import annotations

import socket
import threading


class SocketServer:
    """Accept connections on a free local port, and pass each one to `talk` in its own thread."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def talk(self, connection: socket.socket) -> None:
        """Answer one client. The connection is closed afterwards."""
        raise NotImplementedError

    def close(self) -> None:
        """Stop accepting connections."""
        self._socket.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection:
            self.talk(connection)
