"""Where a stated limit binds, an estimate says it."""

from __future__ import annotations

import pytest

from consistent_chat.commands.bounds import bound_by
from consistent_chat.plan.plan import Plan
from consistent_chat.recipe import Recipe
from consistent_chat.serving.settings import Abilities

DEFAULT = Recipe(model="some-model")


@pytest.mark.parametrize(
    ("stated", "said"),
    [
        (Abilities(), ""),
        (Abilities(context_tokens=32_768, max_output_tokens=16_384), ""),
        (Abilities(max_output_tokens=4096), "max_output_tokens= leaves 4,096 of 7,168 tokens"),
        (Abilities(context_tokens=8192), "context_tokens= leaves "),
        (Abilities(context_tokens=4096, max_output_tokens=8192), "context_tokens= leaves "),
        (Abilities(context_tokens=1024), "Set num_turns_per_dialog= to "),
    ],
)
def test_the_limit_that_binds_is_named(stated: Abilities, said: str) -> None:
    """With what it leaves, or with what to change where nothing fits."""
    line = bound_by(DEFAULT, Plan(DEFAULT), stated)
    assert said in line
    assert bool(line) == bool(said)
