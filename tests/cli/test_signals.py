"""Tests of signals that stop a command while it waits for a server.

The command prints one line, ends with the documented exit code and leaves nothing behind.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from consistent_chat.cli import STOPPED
from tests import ROOT, forked

WAIT = 120
"""Seconds until what does not come is a fault."""


class Silent:
    """A server that accepts requests and never answers."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self.address = "127.0.0.1:{}".format(*self._socket.getsockname()[1:])
        self.asked = threading.Event()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self._open.append(connection)
            threading.Thread(target=self._listen, args=(connection,), daemon=True).start()

    def _listen(self, connection: socket.socket) -> None:
        if connection.recv(1 << 16):
            self.asked.set()

    def close(self) -> None:
        """Close all sockets."""
        for one in (self._socket, *self._open):
            one.close()


@pytest.fixture
def silent() -> Iterator[Silent]:
    """Yield a server that never answers."""
    server = Silent()
    yield server
    server.close()


COMMANDS = {
    "publish": (["publish", "demo", "me/made"], signal.SIGTERM),
    "verify": (["verify", "http://{}/responses"], signal.SIGHUP),
    "verify a dataset": (["verify", "me/made"], signal.SIGINT),
    "report": (["report", "http://{}/rows.jsonl", "--html", "page.html"], signal.SIGTERM),
    "batches": (["batches", "--responses", "http://{}/responses"], signal.SIGHUP),
}
"""Commands, and a signal for each; {} is the server's address."""


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_a_signal_ends_a_command_with_one_line(name: str, silent: Silent, tmp_path: Path) -> None:
    """A signal ends a command with one line, even while it waits in a library for the Hub, a website or a provider."""
    arguments, number = COMMANDS[name]
    command = [sys.executable, "-m", "consistent_chat", *(part.format(silent.address) for part in arguments)]
    hub = {"HF_ENDPOINT": f"http://{silent.address}", "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "0"}
    environment = {**os.environ, **hub, "PYTHONPATH": str(ROOT), "HF_TOKEN": "hf_any", "TMPDIR": str(tmp_path)}
    running = forked.start(command, environment, tmp_path)
    try:
        assert silent.asked.wait(WAIT)
        running.send_signal(number)
        done = running.finish(WAIT)
    finally:
        running.send_signal(signal.SIGKILL)
    assert done.returncode == STOPPED, done.stderr
    assert [line for line in done.stderr.splitlines() if line.strip()] == [
        "consistent-chat: Stopped. All answers are kept; rerun to resume."
    ]
    assert {path.name for path in tmp_path.iterdir()} <= {"home"}
