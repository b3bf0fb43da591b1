"""A server on a bare socket, for tests of what goes over the wire."""

from __future__ import annotations

import socket
import threading


class SocketServer:
    """Accepts connections on a free port of this machine and passes each to `talk`, in its own thread."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def talk(self, connection: socket.socket) -> None:
        """Answer one client; the connection is closed afterwards."""
        raise NotImplementedError

    def close(self) -> None:
        """Stop."""
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
