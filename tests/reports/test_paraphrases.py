"""Paraphrases found by embeddings from any `/v1/embeddings` server.

Embeddings are stored like responses, and a replay finds the same pairs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from consistent_chat.cli import main
from consistent_chat.drivers import retry
from consistent_chat.errors import ConsistentChatError, ServingError
from consistent_chat.reports import report
from consistent_chat.reports.paraphrases import find_paraphrases
from consistent_chat.store import ResponseStore, verify
from tests.provider import Provider

MEANINGS = {"sofa": 0, "couch": 0, "cat": 1, "tomcat": 1, "rain": 2, "drizzle": 2}
TEXTS = ["my sofa is torn", "a cat that sneezes", "the couch has a hole", "drizzle all week", "rain for a week"]


class EmbeddingServer(Provider):
    """A server whose vectors count the meanings of words. It first sends the `faults`, one per call."""

    faults: list[web.Response]
    inputs: list[str]

    def _route(self, router: web.UrlDispatcher) -> None:
        self.faults, self.inputs = [], []
        router.add_post("/v1/embeddings", self._embed)

    async def _embed(self, request: web.Request) -> web.Response:
        body = await request.json()
        if body["model"] == "no-such-model":
            return web.json_response({"error": {"message": "no such model"}}, status=404)
        if self.faults:
            return self.faults.pop(0)
        self.inputs.append(body["input"])
        vector = [0.001, 0.0, 0.0]
        for word in body["input"].split():
            if word in MEANINGS:
                vector[MEANINGS[word]] += 1 / 3
        return web.json_response({"data": [{"embedding": vector}], "usage": {"prompt_tokens": 7}})


@pytest.fixture
def server(folder: Path) -> Iterator[EmbeddingServer]:
    """Run the server, and give the test a working directory."""
    with EmbeddingServer() as running:
        yield running


def found(url: str | None = None, texts: list[str] = TEXTS, **given: Any) -> list[tuple[int, int]]:
    """Return the pairs of paraphrases among the texts."""
    made = find_paraphrases(texts, "words-v1", url, **{"responses": "vectors", **given})
    return [(match.number, match.earlier) for match in made.matches]


def test_other_words_for_the_same_are_found_once_and_for_all(server: EmbeddingServer) -> None:
    """Each text is embedded once. Later runs find the same pairs from the store, without a server."""
    assert found(server.openai_url) == [(2, 0), (4, 3)]
    assert sorted(server.inputs) == sorted(TEXTS)
    assert found() == found(server.openai_url) == [(2, 0), (4, 3)]
    assert len(server.inputs) == len(TEXTS)
    assert found(similarity=0.0) == [(1, 0), (2, 0), (3, 0), (4, 0)]
    assert not verify("vectors").faults
    kept = [record.kept.answer() for record in ResponseStore("vectors").records()]
    assert {response.input_tokens for response in kept} == {7}


def test_what_is_not_stored_needs_an_address(server: EmbeddingServer) -> None:
    """A text whose embedding is not stored raises an error that asks for a server."""
    found(server.openai_url, TEXTS[:2])
    with pytest.raises(
        ConsistentChatError, match=r"Some embeddings of words-v1 are not in the response store\. Pass emb"
    ):
        found()


def test_faults_are_retried_and_never_stored(server: EmbeddingServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bodies without a vector or with a value that is not a number are retried. An unknown model stops at once."""
    monkeypatch.setattr(retry, "FIRST_PAUSE", 0.001)
    wrong = [{"data": []}, {"data": [{"embedding": [1, "2"]}]}, {"object": "list"}]
    server.faults = [web.json_response(body) for body in wrong]
    assert found(server.openai_url, TEXTS[:1]) == []
    assert not server.faults
    with pytest.raises(ServingError, match="no such model"):
        find_paraphrases(TEXTS, "no-such-model", server.openai_url, responses="vectors")


def test_the_report_tells_them_in_terminal_and_page(
    server: EmbeddingServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """The terminal and the page both report the paraphrases, and a later report makes no call."""
    rows = [[{"role": "user", "value": text}, {"role": "assistant", "value": "Yes."}] for text in TEXTS]
    Path("made.jsonl").write_text("".join(json.dumps({"conversation": row}) + "\n" for row in rows), "utf-8")
    options = ["--embedding-model", "words-v1", "--embedding-store", "vectors"]
    assert main(["report", "made.jsonl", *options, "--embedding-url", server.openai_url]) == 0
    told = (
        "2 of 5 dialogues paraphrase an earlier one, by embeddings of words-v1 with a cosine of at least 0.9: 3 of 1 "
    )
    assert told in " ".join(capsys.readouterr().out.split())
    assert (
        report("made.jsonl", "made.html", embedding_model="words-v1", embedding_store="vectors").notes[-1][:99]
        == told[:99]
    )
    assert told in Path("made.html").read_text("utf-8")
    assert len(server.inputs) == 5
