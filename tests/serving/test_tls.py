"""Test that clients share a TLS context as long as the environment names the same certificates."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

import anthropic
import openai
import pytest

from consistent_chat.serving.tls import shared, trusted
from consistent_chat.serving.wire import http_library, open_client


def context() -> ssl.SSLContext:
    """Return an empty context, which is created quickly."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def test_a_context_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process has one context of each kind for all callers."""
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    assert shared(context) is shared(context)
    assert trusted() is trusted()
    assert trusted().verify_mode is ssl.CERT_REQUIRED
    assert trusted().check_hostname


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_other_certificates_are_read(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new client uses a new context if the variable or the file that it names has changed."""
    before, path = shared(context), tmp_path / "certificates"
    path.write_text("")
    monkeypatch.setenv(name, str(path))
    named = shared(context)
    assert named is not before
    assert shared(context) is named
    os.utime(path, ns=(1, 1))
    assert shared(context) is not named
    path.unlink()
    assert shared(context) is not before


def test_clients_of_sdks_share_the_context_of_their_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second client of an SDK reads no certificates, because it shares the context of its HTTP library."""
    made: list[str] = []
    create = ssl.SSLContext.load_verify_locations
    monkeypatch.setattr(
        ssl.SSLContext, "load_verify_locations", lambda *given, **named: (made.append(""), create(*given, **named))
    )
    for sdk in (anthropic, openai):
        assert open_client(sdk, 10) is not open_client(sdk, 10)
        count = len(made)
        open_client(sdk, 10)
        assert len(made) == count
    assert shared(http_library(anthropic).create_ssl_context).verify_mode is ssl.CERT_REQUIRED
