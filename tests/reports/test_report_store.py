"""Reports on a response store: with its recipe, without it, and of an unfinished run."""

from __future__ import annotations

import json
from typing import Any

import pytest

import consistent_chat
from consistent_chat.cli import main
from consistent_chat.reports import report
from consistent_chat.reports.sources import read
from consistent_chat.request import Request, Response
from consistent_chat.store import ResponseStore
from tests.reports.test_report import DEMO, REHEARSAL, asked, build, counted

pytestmark = pytest.mark.usefixtures("folder")


@pytest.mark.slow
def test_a_store_by_itself_says_the_same_as_with_its_recipe() -> None:
    """A report without a recipe rebuilds the dialogues from the requests and responses, with the same figures."""
    alone = report(DEMO)
    assert counted(alone) == counted(report(DEMO, recipe="demo")) == counted(report("demo", responses=DEMO))
    topics = {entry.origin["topic"] for entry in read(DEMO).entries if entry.row}
    assert topics == {entry.origin["topic"] for entry in read("demo").entries}


def test_what_is_recorded_of_an_unfinished_run_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """A report shows the finished dialogues of an unfinished run, and says how many are missing.

    It does so with the recipe and from the store alone.
    """
    options = (*REHEARSAL, "--responses", "store")
    assert main(["build", *options, "--max-calls", "21", "--output", "made.parquet"]) == 3
    recipe = {"model": "rehearsal", "num_dialogs_per_intent": 2, "num_turns_per_dialog": 3}
    by_recipe = report(responses="store", **recipe)
    alone = report("store")
    assert counted(by_recipe) == {**counted(alone), "tokens": by_recipe.tokens}
    done = alone.total.dialogues
    assert 0 < done < 18
    assert by_recipe.notes == [f"{18 - done} of 18 dialogues of train are not recorded, or not finished."]
    assert alone.notes == [f"{21 - 2 * done} dialogues have user messages but no usable answers yet."]
    main(["report", "store"])
    assert alone.notes[0] in capsys.readouterr().out


def again(request: dict[str, Any], **changes: Any) -> Request:
    """Return a stored request as a Request, with these changes."""
    fields = {name: value for name, value in {**request, **changes}.items() if name != "format"}
    return Request(**{**fields, "messages": tuple(fields["messages"])})


def test_of_several_answers_in_a_store_one_holds() -> None:
    """A refreshed response replaces the earlier one.

    A response that was followed by another draw counts as unusable.
    """
    build(*REHEARSAL, "--intents", "simulation", "--responses", "store", "--output", "made.parquet")
    first, second = (
        request for request in asked("store", "assistant") if '"assistant_1"' in json.dumps(request["schema"])
    )
    new = {f"assistant_{number}": f"anew {number}" for number in (1, 2, 3)}
    refreshed = ResponseStore("store", refresh=True)
    refreshed.keep(again(first), Response(json.dumps(new)))
    refreshed.keep(again(second, draw=1), Response(json.dumps(new)))
    refreshed.close()
    entries = list(read("store").entries)
    texts = [text for entry in entries if entry.row for role, text in entry.messages if role == "assistant"]
    assert texts == ["anew 1", "anew 2", "anew 3"] * 2
    assert [failure["reason"] for entry in entries for failure in entry.failures] == ["drawn_again"]


def test_prompts_of_another_version_are_read_as_far_as_they_can_be() -> None:
    """With another version's prompts, user messages are found by their names; intent and category are unknown."""
    build(*REHEARSAL, "--intents", "simulation", "--responses", "store", "--output", "made.parquet")
    request = next(request for request in asked("store", "assistant") if "user_3" in request["messages"][0]["content"])
    said = {"role": "user", "content": 'Answer all of these: {"user_1": "a", "user_2": "b", "user_3": "c"}. Thanks!'}
    store = ResponseStore("other")
    answers = Response(json.dumps({f"assistant_{number}": f"to {number}" for number in (1, 2, 3)}))
    store.keep(again(request, messages=[said]), answers)
    store.close()
    (entry,) = read("other").entries
    assert [text for _, text in entry.messages] == ["a", "to 1", "b", "to 2", "c", "to 3"]
    assert [title for title, _ in report("other").intents] == ["not stated"]


def test_judged_dialogues_of_a_store_are_those_of_its_recipe() -> None:
    """Judged dialogues have the same scores, words and tokens with and without their recipe."""
    given = {"num_dialogs_per_intent": 1, "num_turns_per_dialog": 2, "intents": ["transaction"],
             "judge_model": "judge", "min_score": 3.0, "responses": "judged", "serving": "rehearsal"}  # fmt: skip
    consistent_chat.build(None, "judged.jsonl", **given)
    by_recipe, alone = report(None, **given), report("judged")
    assert by_recipe.scores
    assert alone.scores == by_recipe.scores
    assert counted(alone) == counted(by_recipe)
