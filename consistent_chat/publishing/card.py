"""The card of what is published, and its images."""

from __future__ import annotations

from collections.abc import Mapping

import yaml

from consistent_chat.dialogue import Dialogue
from consistent_chat.publishing import layout
from consistent_chat.publishing.making import Made
from consistent_chat.recipe import Recipe


class Card:
    """Looks at every dialogue, and then says what they are like."""

    def __init__(self, repo: str, licence: str | None, recipes: Mapping[str, Recipe]) -> None:
        self._repo, self._licence, self._recipes = repo, licence, recipes

    def see(self, split: str, dialogue: Dialogue) -> None:
        """Count a dialogue."""

    def files(self, made: Made, previous: str) -> dict[str, bytes]:
        """Return the card and its images by path; a person's own text in the previous card stays."""
        rows = [{"split": split, "path": f"{layout.DATA}/{split}-*"} for split in self._recipes]
        failures = [{"split": split, "path": layout.failures(split)} for split in self._recipes]
        responses = [{"split": "train", "path": f"{layout.RESPONSES}/packs/*.parquet"}]
        head = {
            "configs": [
                {"config_name": "default", "data_files": rows, "default": True},
                {"config_name": "failures", "data_files": failures},
                {"config_name": "responses", "data_files": responses},
            ]
        }
        text = f"---\n{yaml.safe_dump(head, sort_keys=False)}---\n\n# {self._repo}\n"
        return {layout.README: text.encode("utf-8")}
