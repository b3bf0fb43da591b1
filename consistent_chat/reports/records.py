"""The input of a report: rows with their failed draws, and the source that they come from."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from consistent_chat.prices import Tokens
from consistent_chat.recipe import taxonomy
from consistent_chat.recipe.review import Review
from consistent_chat.row import LAYOUTS, REASONING
from consistent_chat.stats import DialogueSample


class ReportRow(NamedTuple):
    """A row of any layout with its failed draws; the row is None if only draws are known.

    `used` are billed tokens by model that are in neither; `source` is the text of the source, if known. The tokens of a
    row are those of all its models; `undivided` says that `used` does not divide them between a user_model and model.
    """

    row: Mapping[str, Any] | None
    failures: Sequence[Mapping[str, Any]] = ()
    used: Sequence[tuple[str, Tokens]] = ()
    source: str = ""
    undivided: bool = False

    @property
    def writer(self) -> str:
        """The model of the row's tokens, except those of judges, or both models; empty if unknown."""
        model, users = (str(self.origin.get(name) or "") for name in ("model", "user_model"))
        return f"{model} and {users}" if self.undivided and users not in ("", model) else model

    @property
    def origin(self) -> Mapping[str, Any]:
        """The row's provenance, or {} if it has none."""
        return (self.row or {}).get("provenance") or {}

    @property
    def answers_key(self) -> str:
        """The request key of the row's last answers, which identifies the row in a review; empty if unknown.

        The keys of the judges follow it.
        """
        keys = self.origin.get("request_keys") or ()
        said = (self.row or {}).get("judgement")
        last = 1 if said is None else 1 + len(said.get("judges") or (said,))
        return str(keys[-last]) if len(keys) >= last else ""

    @property
    def messages(self) -> list[tuple[str, str]]:
        """The row's messages as (role, text). Roles are "user" and "assistant", or as in the row."""
        layout = next(layout for layout in LAYOUTS.values() if layout.column in (self.row or {}))
        roles = {layout.user: "user", layout.assistant: "assistant"}
        said = (self.row or {})[layout.column]
        return [(roles.get(message[layout.role], message[layout.role]), message[layout.text] or "") for message in said]

    @property
    def reasoning(self) -> str:
        """The model's reasoning before its answers; empty if the row has none."""
        thought = (self.row or {}).get(REASONING)
        return thought if isinstance(thought, str) else ""

    @property
    def extras(self) -> dict[str, Any]:
        """The values of additional columns, such as a judge's, by name.

        Fields of a struct are named "column: field".
        """
        known = {"category", "provenance", *(layout.column for layout in LAYOUTS.values())}
        known |= {REASONING} if self.reasoning else set()
        columns = ((name, value) for name, value in (self.row or {}).items() if name not in known)
        fields = (_fields(name, value) for name, value in columns)
        return {name: value for named in fields for name, value in named if value is not None}

    @property
    def scores(self) -> dict[str, int]:
        """The whole numbers in additional columns, except token counts, and the agreement of several judges."""
        whole = {name: value for name, value in self.extras.items() if isinstance(value, int)}
        found = {name: value for name, value in whole.items() if not name.endswith("_tokens")}
        agreement = self.extras.get("judgement: agreement")
        if isinstance(agreement, float) and 0 <= agreement <= 1:
            found["agreement of the judges in percent"] = round(100 * agreement)
        return found

    @property
    def judges(self) -> list[tuple[str, Tokens]]:
        """The judges' models with their tokens, which the row's tokens include."""
        said = (self.row or {}).get("judgement")
        several = said.get("judges") if isinstance(said, dict) else None
        each = several if isinstance(several, list) else [said]
        named = [one for one in each if isinstance(one, dict) and isinstance(one.get("model"), str)]
        return [(one["model"], _tokens(one)) for one in named]

    def talk(self) -> DialogueSample:
        """Return the sample for the statistics. A row without an intent gets the built-in intent of its category."""
        talk = DialogueSample.of_row(self.row or {}, self.failures)
        return talk if talk.intent else talk._replace(intent=intents_by_category().get(talk.category, ""))


def _tokens(said: Mapping[str, Any]) -> Tokens:
    counts = (said.get(name) for name in ("input_tokens", "output_tokens"))
    return Tokens(*(count if isinstance(count, int) else 0 for count in counts))


def _fields(name: str, value: Any) -> list[tuple[str, Any]]:
    fields = value.items() if isinstance(value, dict) else [("", value)]
    return [(f"{name}: {field}" if field else name, inner) for field, inner in fields]


@dataclass
class ReportSource:
    """A source of entries, which are read lazily.

    `title` is the name of the source, `titles` are the titles of intents by their keys. After all entries are read,
    `notes` say what is missing. `review` is the recipe's review.
    """

    title: str
    entries: Iterator[ReportRow]
    titles: Mapping[str, str]
    notes: list[str] = field(default_factory=list)
    review: Review | None = None


def builtin_titles() -> dict[str, str]:
    """Return the titles of the built-in intents by their keys."""
    return {key: intent.title for key, intent in taxonomy.builtin().intents.items()}


@functools.lru_cache(maxsize=1)
def intents_by_category() -> dict[str, str]:
    """Return the keys of the built-in intents by category; each category belongs to one intent."""
    intents = taxonomy.builtin().intents.items()
    return {category.name: key for key, intent in intents for category in intent.categories}
