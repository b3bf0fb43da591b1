"""Test the serving without a model."""

from __future__ import annotations

import asyncio
import time

import pytest

from consistent_chat.dialogue import parse
from consistent_chat.serving.rehearsal import Rehearsal
from tests.servings import request


def test_texts_are_usable_different_and_always_the_same() -> None:
    """Rehearsed texts are usable, differ from each other, and depend only on the request key and the message's name."""

    async def all_texts() -> list[str]:
        names = ("assistant_1", "assistant_2", "assistant_3")
        responses = [await Rehearsal().answer(request(names=names, draw=draw)) for draw in range(200)]
        return [text for response in responses for text in parse.messages(response, names)]

    texts = asyncio.run(all_texts())
    assert texts == asyncio.run(all_texts())
    assert len(set(texts)) == 600
    assert all(text.startswith("Rehearsal ") for text in texts)


@pytest.mark.parametrize(("stage", "role", "words"), [("skeleton", "user", 20), ("answers", "assistant", 60)])
def test_texts_have_a_plausible_length(stage: str, role: str, words: int) -> None:
    """Rehearsed texts have a plausible length, so that a rehearsal needs about as much space as the real run."""
    response = asyncio.run(Rehearsal().answer(request(names=(f"{role}_1",), stage=stage)))
    (text,) = parse.messages(response, (f"{role}_1",))
    assert words * 0.7 < len(text.split()) < words * 1.3
    assert response.output_tokens is not None
    assert response.output_tokens > words


def test_an_answer_takes_microseconds() -> None:
    """An answer takes less than 600 microseconds, so that a rehearsal of a million calls takes minutes."""
    names = tuple(f"assistant_{number}" for number in range(1, 7))
    requests = [request(names=names, draw=draw) for draw in range(300)]

    async def answer_all() -> float:
        serving, start = Rehearsal(), time.thread_time()
        for one in requests:
            await serving.answer(one)
        return (time.thread_time() - start) / len(requests)

    assert min(asyncio.run(answer_all()) for _ in range(3)) < 600e-6
