"""The recipe field `judge`: the models that score dialogues, their criteria, and which scores are too low.

    judge:
      model: claude-haiku-4-5            # or a list of models
      criteria:
        grounded: true                   # a built-in criterion
        tone: {text: "...", weight: 2, least: 4}

A recipe may be a stranger's, so everything is bounded and checked here. `judge_model` and `min_score` are related
fields.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from consistent_chat.errors import RecipeError
from consistent_chat.recipe.fields import Check, model_name, number, suggestion, text, type_error
from consistent_chat.recipe.safe_yaml import excerpt

BUILTIN = ("consistency", "helpfulness", "naturalness", "grounded")
"""The criteria with built-in texts; the last needs a source."""
NEEDS_SOURCE = "grounded"
RESERVED = ("score", "at_fault", "agreement", "judges", "model", "input_tokens", "output_tokens")
"""Names of other fields of a judgement."""
MAX_CRITERIA, MAX_JUDGES = 12, 5
MAX_TEXT, MAX_MODEL = 2_000, 200
MAX_WEIGHT = 1_000
HIGHEST = 5
"""The best score; the worst is 1."""
_NAME = re.compile("[a-z][a-z0-9_]{0,39}")


@dataclass(frozen=True)
class Criterion:
    """What a score is about. The text of a built-in criterion is empty; `least` is the minimum score that passes."""

    name: str
    text: str = ""
    weight: float = 1.0
    least: float | None = None

    @property
    def plain(self) -> dict[str, Any]:
        """The criterion as in a recipe, without default values."""
        least = {} if self.least is None else {"least": self.least}
        weight = {} if self.weight == 1 else {"weight": self.weight}
        return {**({"text": self.text} if self.text else {}), **weight, **least}


@dataclass(frozen=True)
class Rubric:
    """The criteria of a recipe: first the built-in ones, then the others by name. The order is part of the requests."""

    criteria: tuple[Criterion, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the criteria."""
        return tuple(one.name for one in self.criteria)

    def score(self, scores: Mapping[str, int]) -> float:
        """Return the weighted mean of scores by name, to six digits, because later digits have rounding errors."""
        total = sum(one.weight for one in self.criteria)
        return round(sum(one.weight * scores[one.name] for one in self.criteria) / total, 6)

    def missed(self, scores: Mapping[str, int]) -> tuple[str, ...]:
        """Return the criteria whose scores are below their minimum."""
        return tuple(one.name for one in self.criteria if one.least is not None and scores[one.name] < one.least)


def judge(name: str, value: Any) -> dict[str, Any]:
    """Return the field `judge` in its canonical form: "model", a list, and "criteria". Raises RecipeError."""
    if not isinstance(value, Mapping) or not value:
        raise type_error(name, value, "a mapping with model and criteria")
    for field in value:
        if field not in ("model", "criteria"):
            raise RecipeError(f"{name} must have no field {field!r}.{suggestion(field, ('model', 'criteria'))}")
    models = _models(f"{name} must name models: one", value.get("model"))
    given = value.get("criteria")
    criteria = None if given is None else _criteria(f"{name} must be valid: criteria", given)
    return {**({"model": models} if models else {}), **({"criteria": criteria} if criteria else {})}


def settled(given: Mapping[str, Any] | None, judge_model: str | None) -> tuple[dict[str, Any] | None, str | None]:
    """Return the fields `judge` and `judge_model`; a single judge's model is only in `judge_model`.

    So `judge: {model: m}` is the same as `judge_model: m`. Raises RecipeError if the fields name different models, or
    none.
    """
    if given is None:
        return None, judge_model
    models = list(given.get("model", ()))
    if models and judge_model not in (None, models[0]):
        raise RecipeError(f"judge.model and judge_model name different models ({models[0]}, {judge_model}). Give one.")
    first = models[0] if models else judge_model
    if first is None:
        raise RecipeError("judge must name a model. Add `model` to it, or pass judge_model= as well.")
    rest = {name: part for name, part in given.items() if name != "model" or len(models) > 1}
    return rest or None, first


def rubric(given: Mapping[str, Any] | None) -> Rubric | None:
    """Return the rubric of the field `judge` in its canonical form; None for the three built-in criteria."""
    if given is None or "criteria" not in given:
        return None
    return Rubric(tuple(Criterion(name, **fields) for name, fields in _ordered(given["criteria"])))


def _ordered(criteria: Mapping[str, Any]) -> list[tuple[str, Any]]:
    places = {name: place for place, name in enumerate(BUILTIN)}
    return sorted(criteria.items(), key=lambda one: (places.get(one[0], len(places)), one[0]))


def _models(place: str, value: Any) -> list[str]:
    several = [] if value is None else list(value) if isinstance(value, (list, tuple)) else [value]
    models = [model_name(MAX_MODEL)(place, one) for one in several]
    if len(models) > MAX_JUDGES or (value is not None and not models):
        raise RecipeError(f"judge must name 1 to {MAX_JUDGES} models, not {len(models)}.")
    if len(set(models)) < len(models):
        raise RecipeError("judge must name different models, because the same model gives the same scores again.")
    return models


def _criteria(place: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping) or not 1 <= len(value) <= MAX_CRITERIA:
        raise type_error(place, value, f"a mapping of 1 to {MAX_CRITERIA} names to texts")
    found = [_criterion(place, name, given) for name, given in value.items()]
    for one in found:
        if f"{one.name}_reason" in value:
            raise RecipeError(
                f"{place} must not have {one.name}_reason: this is the name of the reason for {one.name}."
            )
    if not any(one.weight for one in found):
        raise RecipeError(f"{place} must have a criterion with a weight above 0.")
    return dict(_ordered({one.name: one.plain for one in found}))


def _criterion(place: str, name: Any, value: Any) -> Criterion:
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name in RESERVED:
        raise RecipeError(
            f"{place} must have names of up to 40 lower-case letters, digits and _, other than {', '.join(RESERVED)}; "
            f"not "
            f"{excerpt(name)}."
        )
    given = value if isinstance(value, Mapping) else {} if value is True else {"text": value}
    for field in given:
        if field not in _FIELDS:
            raise RecipeError(f"{place}.{name} must have no field {field!r}.{suggestion(field, tuple(_FIELDS))}")
    if given.get("text") is None and name not in BUILTIN:
        raise RecipeError(f"{place}.{name} must have a text. Only {', '.join(BUILTIN)} have built-in ones.")
    checked = {field: check(f"{place}.{name}.{field}", given[field]) for field, check in _FIELDS.items()
               if given.get(field) is not None}  # fmt: skip
    return Criterion(name, **checked)


def _line(name: str, value: Any) -> str:
    return " ".join(text(MAX_TEXT)(name, value).split())


_FIELDS: dict[str, Check] = {"text": _line, "weight": number(0, MAX_WEIGHT), "least": number(1, HIGHEST)}


def without_judges(values: dict[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a file without the judges that the overrides replace."""
    given = values.get("judge")
    if overrides.get("judge_model") is not None and isinstance(given, Mapping):
        rest = {name: part for name, part in given.items() if name != "model"}
        return {**values, "judge": rest or None}
    own = overrides.get("judge")
    replaced = isinstance(own, Mapping) and own.get("model") is not None
    return {name: value for name, value in values.items() if not (replaced and name == "judge_model")}
