"""The columns of a dataset and their types, in the order of `row.rows`."""

from __future__ import annotations

from typing import Any

from datasets import Features, Value

from consistent_chat.dialogue.judge import CRITERIA, FAULT
from consistent_chat.recipe import Recipe
from consistent_chat.recipe.shape import FACETS
from consistent_chat.row import BARE, LAYOUTS, PAIRED, REASONING, Layout

TEXT, NUMBER = Value("string"), Value("int64")


def features(recipe: Recipe) -> Features:
    """Return the columns of a recipe's rows."""
    kinds = {"preference": _preference, "kto": _labelled}
    if recipe.layout == BARE:
        layout = LAYOUTS[BARE]
        return Features({layout.column: [_message(layout, recipe)]})
    columns = {"category": TEXT, **kinds.get(recipe.layout, _conversation)(recipe)}
    return Features({**columns, "provenance": _provenance(recipe)} if recipe.provenance else columns)


def _conversation(recipe: Recipe) -> dict[str, Any]:
    layout = LAYOUTS[recipe.layout]
    columns: dict[str, Any] = {layout.column: [_message(layout, recipe)]}
    if recipe.reasoning:
        columns[REASONING] = TEXT
    if recipe.judge_model is not None:
        columns["judgement"] = _judgement(recipe)
    return columns


def _message(layout: Layout, recipe: Recipe) -> dict[str, Any]:
    thought = {layout.reasoning: TEXT} if recipe.reasoning and layout.reasoning else {}
    return {layout.role: TEXT, layout.text: TEXT, **thought}


def _preference(recipe: Recipe) -> dict[str, Any]:
    sides = ("chosen", "rejected")
    if recipe.preferences is not None:
        return {
            **{name: _paired() for name in ("prompt", *sides)},
            **{f"score_{side}": Value("float64") for side in sides},
            **{f"reason_{side}": TEXT for side in sides},
            "judgement": _judgement(recipe),
        }
    return {
        **{side: _paired() for side in sides},
        **{f"score_{side}": Value("float64") for side in sides},
        **{f"judgement_{side}": _judgement(recipe) for side in sides},
    }


def _of_pairs(recipe: Recipe) -> dict[str, Any]:
    if recipe.preferences is not None:
        return {"turn": NUMBER, "chosen_model": TEXT, "rejected_model": TEXT, "pair_request_keys": [TEXT]}
    return {"rejected_request_keys": [TEXT]} if recipe.layout == "preference" else {}


def _labelled(recipe: Recipe) -> dict[str, Any]:
    judged = {"label": Value("bool"), "score": Value("float64"), "judgement": _judgement(recipe)}
    return {"prompt": _paired(), "completion": _paired(), **judged}


def _paired() -> list[Any]:
    return [{PAIRED.role: TEXT, PAIRED.text: TEXT}]


def _judgement(recipe: Recipe) -> dict[str, Any]:
    names = CRITERIA if recipe.rubric is None else recipe.rubric.names
    own = {**dict.fromkeys(names, NUMBER), **dict.fromkeys((f"{name}_reason" for name in names), TEXT)}
    fault = {} if recipe.rubric is None else {FAULT: TEXT}
    source = {"model": TEXT, **dict.fromkeys(("input_tokens", "output_tokens"), NUMBER)}
    several = {"agreement": Value("float64"), "judges": [{**own, **fault, **source}]}
    return {
        **own,
        **({} if recipe.rubric is None else {"score": Value("float64")}),
        **fault,
        **(several if len(recipe.judges) > 1 else {}),
        **source,
    }


def _provenance(recipe: Recipe) -> dict[str, Any]:
    names = ("language", "intent", "topic", "information_flow", "persona", "manner", *FACETS, "model")
    return {
        "id": TEXT,
        "index": NUMBER,
        **dict.fromkeys(names, TEXT),
        **({} if recipe.loaded_seeds is None else {"source": TEXT}),
        **({} if recipe.attributes is None else {"attributes": dict.fromkeys(recipe.attributes, TEXT)}),
        **({} if recipe.user_model is None else {"user_model": TEXT}),
        "sensitive": Value("bool"),
        "draws": NUMBER,
        "request_keys": [TEXT],
        "input_tokens": NUMBER,
        "output_tokens": NUMBER,
        **({} if recipe.loaded_review is None else {"edited": [TEXT]}),
        **_of_pairs(recipe),
    }
