"""Test the stage of a request: the request names it, or it is derived from the stored schema."""

from __future__ import annotations

from consistent_chat.dialogue.at_once import converse
from consistent_chat.dialogue.judge import stage_of
from consistent_chat.dialogue.work import Bill
from consistent_chat.plan.plan import Plan
from consistent_chat.recipe import Recipe
from consistent_chat.serving.rehearsal import Rehearsal
from tests.servings import asked


def test_the_stage_derived_from_a_stored_schema_is_the_one_the_request_tells() -> None:
    """The stage derived from the stored schema equals the request's own stage, for all three stages.

    A store contains only the schema.
    """
    recipe = Recipe(model="m", judge_model="j", num_dialogs_per_intent=1)
    steps = converse(recipe, Plan(recipe).spec(0), [], Bill())
    request, told = next(steps), []
    try:
        while True:
            told.append((request.stage, stage_of(request.schema)))
            (response,) = asked(Quiet(), request)
            request = steps.send(response)
    except StopIteration:
        assert told == [(stage, stage) for stage in ("skeleton", "answers", "judge")]


def test_other_schemas_have_no_stage() -> None:
    """Schemas of other programs' requests in a store have no stage."""
    for schema in ({}, {"required": []}, {"required": [["user_1"]]}, {"required": ["user_2"]}, {"type": "array"}):
        assert stage_of(schema) == ""


class Quiet(Rehearsal):
    """A rehearsal that can be closed."""

    async def close(self) -> None:
        """Do nothing."""
