"""The recipe: everything that shapes the data, and nothing operational.

A recipe comes from keyword arguments or from a YAML file. A stranger may have written a file, so it is plain data and
cannot name code, an address, or a file outside its own folder.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any

from consistent_chat.errors import RecipeError
from consistent_chat.recipe import attributes, file, rubric, taxonomy, template
from consistent_chat.recipe.description import AT_ONCE, CHECKS, LATER, PAIRS, RECIPE
from consistent_chat.recipe.fields import native, suggestion
from consistent_chat.recipe.ngrams import Ngrams
from consistent_chat.recipe.review import Review
from consistent_chat.recipe.rubric import NEEDS_SOURCE, Rubric
from consistent_chat.recipe.seeds import Seeds, UnreadSeeds, prepare
from consistent_chat.recipe.shape import WEIGHT
from consistent_chat.recipe.taxonomy import Manner, Persona, Taxonomy


@dataclass(frozen=True)
class Recipe:
    """A recipe. Equal recipes and the same responses give the same rows, byte for byte.

    `consistent_chat.recipe.description` describes each field.

    Raises:
        RecipeError: a value is wrong; the message names the field and the values that it accepts.
    """

    model: str | None = None
    num_dialogs_per_intent: int = 20
    num_turns_per_dialog: int | tuple[int, int] | Mapping[int, float] = 6
    temperature: float = 0.9
    seed: int = 0
    intents: tuple[str, ...] | None = None
    language: Any = "English"
    taxonomy: Taxonomy | Mapping[str, Any] | str | os.PathLike[str] | None = None
    layout: str = "conversation"
    provenance: bool = True
    personas: tuple[str, ...] | Mapping[str, Any] | None = None
    manners: Mapping[str, str] | None = None
    system_prompt: str | None = None
    splits: Mapping[str, int] | None = None
    drop_near_duplicates: bool | float | Mapping[str, float] = False
    checks: Any = None
    answer_length: str | int | Mapping[str, float] | None = None
    message_length: str | int | Mapping[str, float] | None = None
    outcome: str | Mapping[str, float] | None = None
    mood: str | Mapping[str, float] | None = None
    ending: str | Mapping[str, float] | None = None
    sensitive_share: float = 0.03
    judge_model: str | None = None
    min_score: float | None = None
    judge: Mapping[str, Any] | None = None
    num_answers: int = 1
    reasoning: bool = False
    seeds: Seeds | UnreadSeeds | Mapping[str, Any] | None = None
    user_model: str | None = None
    users: str = AT_ONCE
    answers: str = AT_ONCE
    rules: Mapping[str, Any] | None = None
    review: Review | Mapping[str, Any] | str | os.PathLike[str] | None = None
    instructions: Mapping[str, str] | None = None
    attributes: Mapping[str, Any] | None = None
    decontaminate: tuple[Ngrams, ...] | Sequence[Any] | str | os.PathLike[str] | None = None
    preferences: Mapping[str, Any] | None = None
    origin: str = field(default="", compare=False, repr=False)

    def __post_init__(self) -> None:
        set_field = object.__setattr__  # the dataclass is frozen; this sets the canonical form of each value
        for one in fields(self):
            set_field(self, one.name, native(getattr(self, one.name)))
        set_field(self, "taxonomy", file.taxonomy_of(self.taxonomy))
        set_field(self, "review", file.review_of(self.review))
        set_field(self, "decontaminate", file.ngrams_of(self.decontaminate))
        try:
            for name, check in CHECKS.items():
                set_field(self, name, check(name, getattr(self, name)))
            set_field(self, "personas", file.personas_of(self.personas))
            set_field(self, "manners", file.manners_of(self.manners))
            set_field(self, "seeds", _seeds(self))
            set_field(self, "num_dialogs_per_intent", _sum_of_splits(self))
            set_field(self, "intents", self.full_taxonomy.keys_of(self.intents))
            for name, value in zip(("judge", "judge_model"), rubric.settled(self.judge, self.judge_model)):
                set_field(self, name, value)
            _check_judge(self)
            _check_pairs(self)
            _check_form(self)
            if (seeds := self.loaded_seeds) is not None:
                attributes.check_private(seeds, self.system_prompt or "")
            attributes.check_names(self.templates, self.loaded_seeds, self.attributes or {}, attributes.TRIED)
        except RecipeError as error:
            raise RecipeError(f"{file.at(self.origin)}{error}") from None

    def check_sources(self) -> None:
        """Raise RecipeError if a template cannot be rendered with one of the sources.

        This takes seconds for many sources.
        """
        attributes.check_names(self.templates, self.loaded_seeds, self.attributes or {}, None)

    def __getstate__(self) -> dict[str, Any]:
        """Pickle only the fields; values that are computed from them are computed again when they are needed."""
        return {one.name: getattr(self, one.name) for one in fields(self)}

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any], origin: str = "") -> Recipe:
        """Return the recipe with these fields. Raises RecipeError for unknown names, and suggests the nearest one."""
        for name in values:
            if name not in FIELDS:
                raise RecipeError(f"{file.at(origin)}there is no field {name!r}.{suggestion(name, FIELDS)}")
        if all(values.get(name) is not None for name in SIZES):
            raise RecipeError(f"{file.at(origin)}{_TWO_SIZES}")
        return cls(**values, origin=origin)

    @classmethod
    def from_file(cls, url: str, storage_options: Mapping[str, Any] | None = None, **overrides: Any) -> Recipe:
        """Read a recipe file from a path or any fsspec URL. `overrides` replace values in the file."""
        document = file.read(url, storage_options or {})
        values = file.contents(document, FIELDS, url, storage_options or {})
        resized = any(overrides.get(name) is not None for name in SIZES)
        kept = {name: value for name, value in values.items() if not (resized and name in SIZES)}
        kept = rubric.without_judges(kept, overrides)
        try:
            return cls.from_mapping({**kept, **overrides}, origin=document.origin)
        except RecipeError as error:
            raise file.with_line(error, document, values, overrides) from None

    @cached_property
    def full_taxonomy(self) -> Taxonomy:
        """The taxonomy with all intents, and with the recipe's personas and manners."""
        base = self.taxonomy if isinstance(self.taxonomy, Taxonomy) else taxonomy.builtin()
        if self.personas is None and self.manners is None:
            return base
        personas = base.personas if self.personas is None else tuple(map(Persona, self.personas))
        manners = base.manners if self.manners is None else tuple(Manner(*one) for one in self.manners.items())
        return replace(base, personas=personas, manners=manners)

    @property
    def loaded_seeds(self) -> Seeds | None:
        """The seeds with their sources, which were read when the recipe was made."""
        return self.seeds if isinstance(self.seeds, Seeds) else None

    @property
    def templates(self) -> dict[str, str]:
        """The texts that are templates, by field name."""
        by_side = {f"instructions.{side}": text for side, text in (self.instructions or {}).items()}
        given = {"system_prompt": self.system_prompt or "", **by_side}
        return {place: text for place, text in given.items() if template.is_template(text)}

    @property
    def loaded_review(self) -> Review | None:
        """The review, which was read when the recipe was made."""
        return self.review if isinstance(self.review, Review) else None

    @property
    def kept_out(self) -> tuple[Ngrams, ...]:
        """The n-grams of texts that dialogues must not contain, which were read when the recipe was made."""
        given = self.decontaminate if isinstance(self.decontaminate, tuple) else ()
        return tuple(one for one in given if isinstance(one, Ngrams))

    @cached_property
    def chosen_taxonomy(self) -> Taxonomy:
        """The taxonomy with only the chosen intents."""
        return self.full_taxonomy if self.intents is None else self.full_taxonomy.only(self.intents)

    @cached_property
    def rubric(self) -> Rubric | None:
        """The recipe's own criteria; None for the three built-in ones."""
        return rubric.rubric(self.judge)

    @property
    def judges(self) -> tuple[str, ...]:
        """The models that score each dialogue, in order; empty without a judge."""
        named = (self.judge or {}).get("model")
        return tuple(named) if named else () if self.judge_model is None else (self.judge_model,)

    @property
    def models(self) -> tuple[str, ...]:
        """The models that are called: the writer, the user's model, the judges, and the other model of pairs."""
        named = (self.model, self.user_model, *self.judges, (self.preferences or {}).get("rejected_model"))
        return tuple(dict.fromkeys(model for model in named if model is not None))

    @property
    def rejects(self) -> bool:
        """Whether the recipe sets a minimum score."""
        return self.min_score is not None or any(one.least for one in (self.rubric.criteria if self.rubric else ()))

    @cached_property
    def turn_weights(self) -> dict[int, int]:
        """The numbers of turns that a dialogue can have, with their weights as whole numbers."""
        given = self.num_turns_per_dialog
        if isinstance(given, Mapping):
            weights = {number: round(weight * WEIGHT) for number, weight in given.items()}
            return {number: weight for number, weight in weights.items() if weight}
        low, high = given if isinstance(given, tuple) else (given, given)
        return dict.fromkeys(range(low, high + 1), 1)

    @cached_property
    def languages(self) -> dict[str, Recipe]:
        """The recipe in each of its languages, by name; only itself if it has one language."""
        if isinstance(self.language, str):
            return {self.language: self}
        found = {name: copy.copy(self) for name in self.language}
        for name, one in found.items():
            object.__setattr__(one, "language", name)
        return found

    @property
    def user_writer(self) -> str:
        """The model that writes the user's side; empty if the recipe names none."""
        return self.user_model or self.model or ""

    @cached_property
    def enabled_checks(self) -> frozenset[str]:
        """The names of the package's checks that are on."""
        return frozenset(name for name, limit in self.checks.items() if limit)

    @property
    def has_checks(self) -> bool:
        """Whether messages are checked: by the package's checks, by rules, or for texts that they must not contain."""
        return bool(self.enabled_checks) or self.rules is not None or bool(self.decontaminate)

    @property
    def most_waves(self) -> int:
        """The maximum number of consecutive requests that a dialogue needs if every response is usable."""
        each = 2 if self.users != AT_ONCE else 1
        if self.answers == AT_ONCE:
            messages = 1 + self.num_answers * (1 + len(self.judges))
        else:
            messages = each * self.most_turns + (self.users == AT_ONCE) + len(self.judges)
        return messages + (0 if self.preferences is None else 3)

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles that need a model: the user and the assistant, and if used, the judge and the other model of pairs.

        A recipe without a model makes no dialogues, but can judge chats of any origin.
        """
        judge = () if self.judge_model is None else ("judge",)
        sides = () if self.model is None else ("user", "assistant")
        return (*sides, *judge, *(() if self.preferences is None else ("alternative",)))

    @property
    def most_turns(self) -> int:
        """The maximum number of turns of a dialogue."""
        return max(self.turn_weights)

    def values(self) -> dict[str, Any]:
        """Return the values of all fields by name, without default values of the fields in LATER."""
        used = (name for name in FIELDS if name not in LATER or getattr(self, name) != getattr(Recipe, name))
        return {name: getattr(self, name) for name in used}

    def with_model(self, model: str) -> Recipe:
        """Return the same recipe for another model."""
        return replace(self, model=model)


FIELDS = tuple(described.name for described in RECIPE)
"""The names of all fields, in the order of the documentation."""
SIZES = ("num_dialogs_per_intent", "splits")
"""The two fields for the number of dialogues. Only one of them may be given."""
_TWO_SIZES = "splits must not be given with num_dialogs_per_intent: both set the number of dialogues. Give one of them."

_SEEDS_COUNT = (
    "num_dialogs_per_intent must not be given with seeds, whose sources determine the number of dialogues. Set "
    "dialogs_per_seed within seeds."
)


def _check_judge(recipe: Recipe) -> None:
    if recipe.min_score is not None and recipe.judge_model is None:
        raise RecipeError("min_score needs a judge. Pass judge_model= as well.")
    if recipe.num_answers > 1 and (recipe.judge_model is None or recipe.answers != AT_ONCE):
        raise RecipeError(
            "num_answers must be 1 without a judge, or with answers: turn_by_turn. Pass judge_model= as well, and "
            "leave answers out."
        )
    if recipe.rubric is None or NEEDS_SOURCE not in recipe.rubric.names:
        return
    built_in = any(one.name == NEEDS_SOURCE and not one.text for one in recipe.rubric.criteria)
    seeds = recipe.loaded_seeds
    if built_in and (seeds is None or "source" not in seeds.sources.fields):
        raise RecipeError(
            f"judge must have your own text for {NEEDS_SOURCE}: the built-in text compares answers with a source, and "
            f"the recipe has no seeds with a source."
        )


def _check_form(recipe: Recipe) -> None:
    """Raise RecipeError for fields that do not combine with given conversations, or with messages turn by turn."""
    seeds = recipe.loaded_seeds
    is_given = seeds is not None and "conversation" in seeds.sources.fields
    if seeds is not None and is_given and not seeds.extend and "users" in (recipe.instructions or {}):
        raise RecipeError(
            "instructions.users has no effect on given conversations, whose user messages are kept. Leave it out."
        )
    if recipe.answers == AT_ONCE:
        if recipe.users != AT_ONCE:
            raise RecipeError(
                "users: turn_by_turn needs answers: turn_by_turn, because each user message reacts to an answer."
            )
        return
    if recipe.users != AT_ONCE and is_given:
        raise RecipeError(
            "users: turn_by_turn cannot be combined with given conversations: their user messages are kept, and added "
            "ones are written together. Leave users out."
        )


def _seeds(recipe: Recipe) -> Seeds | None:
    if recipe.seeds is None:
        return None
    if recipe.num_dialogs_per_intent != Recipe.num_dialogs_per_intent:
        raise RecipeError(_SEEDS_COUNT)
    if isinstance(recipe.seeds, Seeds):
        return recipe.seeds
    unread = recipe.seeds if isinstance(recipe.seeds, UnreadSeeds) else prepare(recipe.seeds)
    return unread.read(
        *attributes.columns_of(attributes.used_names(recipe.templates, recipe.attributes or {}), unread.fields)
    )


def _sum_of_splits(recipe: Recipe) -> int:
    if recipe.splits is None or recipe.seeds is not None:
        return recipe.num_dialogs_per_intent
    together = sum(recipe.splits.values())
    if recipe.num_dialogs_per_intent not in (Recipe.num_dialogs_per_intent, together):
        raise RecipeError(_TWO_SIZES)
    return together


def _check_pairs(recipe: Recipe) -> None:
    """Raise RecipeError if the recipe lacks a field that its layout of pairs needs."""
    if recipe.preferences is not None and (recipe.layout != "preference" or recipe.judge_model is None):
        raise RecipeError("preferences needs layout 'preference' and a judge. Pass layout= and judge_model= as well.")
    if recipe.layout not in PAIRS:
        return
    has_alternatives = recipe.num_answers > 1 and recipe.layout == "preference"
    if not (recipe.rejects or recipe.preferences is not None or has_alternatives):
        raise RecipeError(
            f"layout {recipe.layout!r} needs answers that a judge has rejected. Pass judge_model= and min_score= as "
            f"well."
        )
    if recipe.reasoning:
        raise RecipeError(f"layout {recipe.layout!r} has no reasoning. Leave reasoning out, or use layout 'messages'.")
