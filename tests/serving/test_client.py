"""Test the HTTP layer with hostile servers: endless bodies, compressed bombs, and invalid addresses."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
import zlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consistent_chat.errors import RecipeError, TransportError
from consistent_chat.recipe import Recipe
from consistent_chat.serving.client import events
from consistent_chat.serving.http import MOST_BYTES, Peer
from consistent_chat.serving.settings import checked_url, warn_of_plain_http
from tests.provider import Provider, Reply
from tests.servings import KINDS, asked, opened, request, said

GZIP = {"content-encoding": "gzip"}


@pytest.fixture(autouse=True)
def _online(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the Hugging Face serving call servers; only the loopback interface can be reached."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)


def bomb() -> bytes:
    """Return 64 MB of zeros in compressed form."""
    return gzip.compress(bytes(4 * MOST_BYTES), 1)


@pytest.mark.parametrize("reply", [Reply.body(200, bomb(), GZIP), Reply.body(200, b" " * (MOST_BYTES + 1))])
def test_a_body_has_a_bound_after_decoding(reply: Reply) -> None:
    """A body above 16 MB after decompression is a server error and is not read to its end."""
    error = said("openai", reply)
    assert isinstance(error, TransportError)
    assert "the limit of 16 MB" in str(error)


def test_a_compressed_answer_is_read() -> None:
    """A compressed answer is read, as servers and proxies send it."""
    whole = {"choices": [{"message": {"content": "hello"}, "finish_reason": "stop"}]}
    assert said("openai", Reply.body(200, gzip.compress(json.dumps(whole).encode()), GZIP)).text == "hello"


@pytest.mark.parametrize("body", [b"no gzip", gzip.compress(b"{}" * 99)[:-9]], ids=["no gzip", "cut"])
def test_a_damaged_compressed_answer_is_a_passing_fault(body: bytes) -> None:
    """A damaged compressed answer is a temporary error, which the driver retries."""
    assert isinstance(said("openai", Reply.body(200, body, GZIP)), TransportError)


@given(st.binary(max_size=200), st.lists(st.integers(0, 240), max_size=8), st.sampled_from([b"\n", b"\r\n", b"\r"]))
def test_events_are_the_same_however_the_stream_is_cut(text: bytes, cuts: list[int], end: bytes) -> None:
    """A stream gives the same events if it is cut anywhere, with each of the three kinds of line end."""
    plain = b"data: " + text.replace(b"\r", b"").replace(b"\n", b"\ndata: ") + b"\n\nevent: x\ndata: [DONE]\n\n"
    stream = plain.replace(b"\n", end)

    async def read(pieces: list[bytes]) -> list[tuple[bytes, bytes]]:
        async def given_pieces() -> AsyncIterator[bytes]:
            for piece in pieces:
                yield piece

        return [event async for event in events(given_pieces())]

    ends = sorted({min(cut, len(stream)) for cut in cuts} | {0, len(stream)})
    pieces = [stream[start:end] for start, end in zip(ends, ends[1:])]
    assert asyncio.run(read(pieces)) == asyncio.run(read([plain]))


@pytest.mark.parametrize("model", ["http://127.0.0.1:1/x", "https://host", "a b", "a\nb", "a\x1bb", "hf://me/x"])
def test_a_model_is_a_name(model: str) -> None:
    """An address instead of a model name is refused by the recipe, and by each serving before a call."""
    for fields in ({"model": model}, {"judge_model": model}):
        with pytest.raises(RecipeError, match=r"name of a model|one line"):
            Recipe(**fields)
    with Provider() as provider:
        errors = [asked(opened(kind, provider), request(model))[0] for kind in KINDS]
    assert all(isinstance(error, RecipeError) for error in errors)
    assert provider.requests == []


@pytest.mark.parametrize("url", ["https://h/v1?api_key=s3cret", "https://h/v1#s3cret", "h?k=s3cret"])
def test_an_address_has_no_query_and_no_fragment(url: str) -> None:
    """An address with a query or fragment is refused, and the message does not show it, as it may contain a key."""
    with pytest.raises(RecipeError, match="must not have a query") as seen:
        checked_url(url)
    assert "s3cret" not in str(seen.value)


def test_a_key_over_plain_http_to_another_machine_is_warned_of(recwarn: Any) -> None:
    """A key that is sent to another machine over plain HTTP causes a warning; loopback addresses and HTTPS do not."""
    for url in ("http://127.0.0.1:8000", "http://localhost/v1", "http://[::1]:1", "https://example.org", None):
        warn_of_plain_http(url, True)
    warn_of_plain_http("http://example.org", False)
    assert not recwarn.list
    for host in ("example.org", "127.example.org", "localhost.example.org", "[::2]", "10.0.0.1"):
        with pytest.warns(UserWarning, match=r"key is sent to [\w.:]+ over plain http"):
            warn_of_plain_http(f"http://{host}/v1", True)


@pytest.mark.parametrize("words", ["sk-" * 40_000, "Bearer " * 40_000, "hf_a." * 40_000, "\x1b]52;c;x\x07" * 20_000])
def test_a_servers_words_are_quoted_in_linear_time_without_controls(words: str) -> None:
    """Long error messages of a server are quoted in linear time, shortened and without control characters."""
    began = time.thread_time()
    shown = Peer("A", "B", "a-long-key").quote(words)
    assert time.thread_time() - began < 2
    assert len(shown) <= 300
    assert shown.isprintable()


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_stream_is_read_under_another_type(end: str) -> None:
    """A stream is read even if a proxy changed its content type or sends comments to keep the connection open."""
    chunks = [{"choices": [{"delta": {"content": text}}]} for text in ("hel", "lo")]
    lines = ": keep-alive\n\n" + "".join(f"data: {json.dumps(chunk)}\n\n: waiting\n\n" for chunk in chunks)
    stream = (lines + "data: [DONE]\n\n").replace("\n", end)
    assert said("openai", Reply.body(200, stream, {"content-type": "text/plain"})).text == "hello"


def test_deflate_is_read_too() -> None:
    """An answer compressed with deflate is read in the form with a zlib header, which the standard requires."""
    whole = {"choices": [{"message": {"content": "hello"}}]}
    packed = zlib.compress(json.dumps(whole).encode())
    assert said("openai", Reply.body(200, packed, {"content-encoding": "deflate"})).text == "hello"
