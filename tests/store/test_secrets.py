"""Tests of passwords of stores: they are never shown, and they are sent only to servers that the caller names."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consistent_chat.cli import main
from consistent_chat.errors import StoreError
from consistent_chat.store import ResponseStore, adjacent_store, options_beside, verify
from consistent_chat.text.sanitize import secrets_of, without_secrets
from tests.sockets import SocketServer
from tests.stored import fill

USER, PASSWORD = "mallory-user", "hunter2-secret"
FLAT = {"username": USER, "password": PASSWORD, "ftp": {"timeout": 3}}


class Canary(SocketServer):
    """An FTP server that refuses all logins and records what it receives."""

    def __init__(self) -> None:
        self.told = b""
        super().__init__()

    def talk(self, connection: socket.socket) -> None:
        """Refuse the login of one client."""
        connection.sendall(b"220 hello\r\n")
        while data := connection.recv(1000):
            self.told += data
            refused = b"530 not you, " + data.split(b" ", 1)[-1].strip() + b"\r\n"
            connection.sendall(b"331 password?\r\n" if data.startswith(b"USER") else refused)


@pytest.fixture
def canary() -> Iterator[Canary]:
    """Yield a server whose errors quote what it received."""
    server = Canary()
    yield server
    server.close()


def test_a_password_in_a_stores_url_is_not_shown(canary: Canary, capsys: pytest.CaptureFixture[str]) -> None:
    """A password in a store's URL is not shown, although the server receives it and quotes it in its error."""
    url = f"ftp://{USER}:{PASSWORD}@127.0.0.1:{canary.port}/responses"
    with pytest.raises(StoreError, match=f"ftp://127.0.0.1:{canary.port}/responses") as caught:
        verify(url)
    assert main(["verify", url]) == 1
    assert main(["pack", url]) == 1
    said = capsys.readouterr()
    for text in (str(caught.value), said.out, said.err):
        assert USER not in text
        assert PASSWORD not in text
    assert PASSWORD.encode() in canary.told


def test_a_password_in_options_is_not_shown(canary: Canary) -> None:
    """A password in the options is sent to the server that the caller names, but the error does not repeat it."""
    with pytest.raises(StoreError) as caught:
        ResponseStore(f"ftp://127.0.0.1:{canary.port}/responses", FLAT)
    assert PASSWORD not in str(caught.value)
    assert PASSWORD.encode() in canary.told


def test_a_strangers_server_is_not_told_the_callers_password(canary: Canary, tmp_path: object) -> None:
    """Options that are not under a protocol's name are not sent to a server that the caller has not named."""
    url = f"ftp://127.0.0.1:{canary.port}/theirs/a.consistent_chat.yaml"
    fill(str(tmp_path), 1)
    with pytest.raises(StoreError):
        adjacent_store(url, options_beside(url, FLAT, [str(tmp_path)]))
    with pytest.raises(StoreError):
        ResponseStore(str(tmp_path), FLAT, adjacent=[f"ftp://127.0.0.1:{canary.port}/theirs/responses"])
    assert b"USER" in canary.told
    assert USER.encode() not in canary.told
    assert PASSWORD.encode() not in canary.told


@pytest.mark.parametrize(
    ("url", "named", "gets"),
    [
        ("ftp://theirs/a", ["ftp://mine/b"], False),
        ("ftp://mine/a", ["ftp://me:pw@MINE/b"], True),
        ("sftp://mine/a", ["ftp://mine/b"], False),
        ("ftp://mine:21/a", ["ftp://mine:22/b"], False),
        ("ftp://mine@theirs/a", ["ftp://mine/b"], False),
        ("abfs://container@theirs.dfs.core.windows.net/a", ["abfs://container@mine.dfs.core.windows.net/a"], False),
        ("s3://theirs/a", ["s3://mine/b"], True),
        ("/a/b", ["ftp://mine/b"], True),
    ],
)
def test_flat_options_go_to_the_servers_that_the_caller_names(url: str, named: list[str], gets: bool) -> None:
    """Flat options apply to servers that the caller names and to URLs without a server.

    Options under a protocol's name apply to that protocol.
    """
    options = options_beside(url, {"password": "x", "ftp": {"timeout": 3}}, named)
    assert ("password" in options) is gets
    assert options["ftp"] == {"timeout": 3}


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("ftp://me:pw@host/a", "ftp://host/a"),
        ("sftp://me@host/a", "sftp://host/a"),
        ("ftp://me:p/w@host/a", "ftp://host/a"),
        ("ftp://me:p@w@host/a", "ftp://host/a"),
        ("https://host/a?api_key=pw&b=1", "https://host/a"),
        ("filecache::ftp://me:pw@host/a", "filecache::ftp://host/a"),
        ("hf://datasets/me/repo@main/responses", "hf://datasets/me/repo@main/responses"),
        ("s3://bucket/a@b", "s3://bucket/a@b"),
        ("ftp://host:21/a@b", "ftp://host:21/a@b"),
        ("/home/me?/responses", "/home/me?/responses"),
    ],
)
def test_a_url_is_shown_without_user_password_and_query(url: str, shown: str) -> None:
    """A URL is shown without its user, password and query; the rest is unchanged."""
    assert without_secrets(url) == shown


def test_a_quoted_password_is_known_by_itself_too() -> None:
    """The decoded form of a percent-encoded password is also a secret, because the server receives that form."""
    assert {"p%40ss", "p@ss"} <= set(secrets_of("ftp://me:p%40ss@host/a"))


@given(password=st.text(st.characters(exclude_characters=" @/?#", exclude_categories=["C", "Z"]), min_size=3))
def test_no_password_is_shown(password: str) -> None:
    """No password, whatever its characters, is shown, and each is among the secrets that are removed from errors."""
    url = f"ftp://me:{password}@host/a"
    assert without_secrets(url) == "ftp://host/a"
    assert any(password in secret or secret in password for secret in secrets_of(url))
