"""Preference rows pair answers that a judge rejected with answers that passed, from recorded responses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from datasets import Features, Value, load_dataset

from consistent_chat.builder.features import features
from consistent_chat.cli import main
from consistent_chat.dialogue.judge import CRITERIA
from consistent_chat.errors import ConsistentChatError, MissingResponse, RecipeError
from consistent_chat.recipe import Recipe
from tests.provider import Call, Provider, Reply

pytestmark = pytest.mark.usefixtures("folder")

WRITER, JUDGE = "claude-sonnet-4-6", "claude-haiku-4-5"
FIELDS: dict[str, Any] = {
    "model": WRITER,
    "judge_model": JUDGE,
    "min_score": 4,
    "num_dialogs_per_intent": 2,
    "num_turns_per_dialog": 2,
    "responses": "responses",
}
MESSAGES = [{"role": Value("string"), "content": Value("string")}]


def load(provider: Provider | None = None, **given: Any) -> Any:
    """Load the dataset, calling the provider if there is one."""
    called = {} if provider is None else {"serving": "anthropic", "base_url": provider.url, "api_key": "a-key"}
    return load_dataset("consistent_chat", split="train", **{**FIELDS, **called, **given})


class Judge:
    """Reject the answers to some user messages a given number of times; each draw has different answers."""

    def __init__(self, times: Callable[[str], int]) -> None:
        self._times, self._seen, self.rejections = times, dict[str, int](), 0

    def __call__(self, call: Call) -> Reply | None:
        if call.stage == "answers":
            texts = {name: f"{text} For the {call.number}th time." for name, text in call.texts.items()}
            return Reply.text(json.dumps(texts))
        if call.stage == "skeleton":
            return None
        shown = json.loads(call.body["messages"][0]["content"].partition("\n")[2])
        first = self._seen.setdefault(shown["user_1"], 0)
        self._seen[shown["user_1"]] += 1
        is_bad = first < self._times(shown["user_1"])
        self.rejections += is_bad
        said = {f"{name}_reason": f"Reason {first}." for name in CRITERIA}
        return Reply.text(json.dumps({**said, **dict.fromkeys(CRITERIA, 5), "helpfulness": 2 if is_bad else 4}))


def filled(
    times: Callable[[str], int] = lambda said: sum(said.encode()) % 3, **given: Any
) -> tuple[Judge, list[dict[str, Any]]]:
    """Fill the store in the layout `messages`, and return the judge and the rows."""
    judge = Judge(times)
    with Provider(judge) as provider:
        rows = list(load(provider, layout="messages", **given))
    return judge, rows


def test_pairs_of_what_a_store_of_before_has() -> None:
    """An existing store gives one pair of whole conversations with scores for each rejection, without a call."""
    judge, rows = filled()
    pairs = list(load(layout="preference"))
    assert 0 < len(pairs) == judge.rejections != len(rows)
    by_index = {row["provenance"]["index"]: row for row in rows}
    for pair in pairs:
        row = by_index[pair["provenance"]["index"]]
        assert (pair["chosen"], pair["judgement_chosen"]) == (row["messages"], row["judgement"])
        assert (pair["score_chosen"], pair["score_rejected"]) == (4.0, 2.0)
        assert pair["rejected"][0] == pair["chosen"][0]
        assert [one["role"] for one in pair["rejected"]] == ["user", "assistant"] * 2
        assert pair["rejected"][1] != pair["chosen"][1]
        keys, other = pair["provenance"]["request_keys"], pair["provenance"].pop("rejected_request_keys")
        assert keys[0] == other[0]
        assert not set(keys[1:]) & set(other[1:])
        assert pair["provenance"].pop("id") not in {each["provenance"]["id"] for each in rows}
        assert pair["provenance"] == {name: value for name, value in row["provenance"].items() if name != "id"}
    assert {pair["judgement_rejected"]["helpfulness_reason"] for pair in pairs} == {"Reason 0.", "Reason 1."}


@pytest.mark.slow_after(1)
@pytest.mark.parametrize("given", [{"streaming": True}, {"system_prompt": "Be brief."}, {"provenance": False}])
def test_labels_are_those_of_the_scores(given: dict[str, Any]) -> None:
    """Each judged dialogue gives one row, with the first user message as the prompt and a label for pass or fail."""
    _, rows = filled(system_prompt=given.get("system_prompt"))
    made = list(load(layout="kto", **given))
    head = [{"role": "system", "content": "Be brief."}] if "system_prompt" in given else []
    assert {len(row["prompt"]) for row in made} == {len(head) + 1}
    assert all(row["prompt"][:-1] == head for row in made)
    assert [row["prompt"] + row["completion"] for row in made if row["label"]] == [row["messages"] for row in rows]
    assert {(row["label"], row["score"]) for row in made} == {(True, 4.0), (False, 2.0)}
    assert ("provenance" in made[0]) is given.get("provenance", True)
    assert list(made[0]) == list(features(_recipe("kto", given)))


def _recipe(layout: str, given: dict[str, Any]) -> Recipe:
    shaping = {name: value for name, value in {**FIELDS, **given}.items() if name not in ("responses", "streaming")}
    return Recipe(**shaping, layout=layout)


def test_the_columns_are_those_that_trl_reads() -> None:
    """The columns match TRL's conversational preference (implicit prompt) and unpaired preference formats."""
    pairs = features(_recipe("preference", {}))
    assert {name: pairs[name] for name in ("chosen", "rejected")} == Features(chosen=MESSAGES, rejected=MESSAGES)
    assert pairs["score_chosen"] == pairs["score_rejected"] == Value("float64")
    labelled = features(_recipe("kto", {}))
    assert {name: labelled[name] for name in ("prompt", "completion", "label")} == Features(
        prompt=MESSAGES, completion=MESSAGES, label=Value("bool")
    )
    assert "prompt" not in pairs


@pytest.mark.slow
def test_answers_of_a_spec_that_was_given_up_are_half_a_pair() -> None:
    """Answers of a spec that was given up make KTO rows but no pair, because no row has the same user messages."""
    hopeless = set[str]()

    def times(said: str) -> int:
        hopeless.update([said] if not hopeless else [])
        return 99 if said in hopeless else 0

    judge, rows = filled(times)
    assert len(rows) == 18
    assert judge.rejections == 4
    with pytest.raises(ConsistentChatError, match=r"^There are no pairs in train: none of its 18 dialogues"):
        load(layout="preference")
    assert list(load(layout="preference", streaming=True)) == []
    labels = load(layout="kto")
    assert labels["label"][:].count(False) == 4
    assert len(labels) == 22


def test_a_pair_needs_a_difference() -> None:
    """Two rejected draws with identical answers give a single row."""
    seen = dict[str, int]()

    def script(call: Call) -> Reply | None:
        if call.stage == "answers":
            at = seen[call.mark] = seen.get(call.mark, -1) + 1
            word = "twice" if at < 2 else "anew"
            return Reply.text(json.dumps({name: f"{text} Said {word}." for name, text in call.texts.items()}))
        bad = call.stage == "judge" and "twice" in json.dumps(call.body["messages"])
        return Reply.text(json.dumps({**call.texts, "helpfulness": 1})) if bad else None

    with Provider(script) as provider:
        pairs = load(provider, layout="preference")
        assert len(pairs) == 18
        assert len(load(provider, layout="kto")) == 36
    assert {row["draws"] for row in pairs["provenance"]} == {7}


@pytest.mark.parametrize("layout", ["preference", "kto"])
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "needs answers that a judge has rejected. Pass judge_model= and min_score= as well."),
        ({"judge_model": "j"}, "needs answers that a judge has rejected"),
        ({"judge_model": "j", "min_score": 3, "reasoning": True}, "has no reasoning. Leave reasoning out"),
    ],
)
def test_pairs_need_a_judge_that_rejects(layout: str, given: dict[str, Any], message: str) -> None:
    """A preference layout without a judge and `min_score`, or with reasoning, raises an error in the recipe."""
    with pytest.raises(RecipeError, match=f"^layout '{layout}' {message}"):
        Recipe(model="m", layout=layout, **given)


def test_what_is_not_recorded_is_missing() -> None:
    """A preference layout raises `MissingResponse` if responses are not recorded, as every layout does."""
    filled(lambda said: 0)
    with pytest.raises(MissingResponse):
        load(layout="preference", min_score=5)


@pytest.mark.slow
def test_the_command_tells_both_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    """The build command reports the number of rows and the number of dialogues that they come from."""
    judge, _ = filled()
    options = ["--model", WRITER, "--judge-model", JUDGE, "--num-dialogs-per-intent", "2",
               "--num-turns-per-dialog", "2", "--responses", "responses", "--layout", "preference"]  # fmt: skip
    assert main(["build", *options, "--min-score", "4", "--output", "pairs.jsonl"]) == 0
    assert f"{judge.rejections} rows of train from 18 dialogues" in capsys.readouterr().err
    assert main(["build", *options, "--min-score", "2", "--output", "none.parquet"]) == 1
    assert "There are no pairs in train" in capsys.readouterr().err
    assert not Path("none.parquet").exists()


@pytest.mark.slow
def test_a_report_of_pairs_is_one_of_the_dialogues(capsys: pytest.CaptureFixture[str]) -> None:
    """A report on a preference recipe counts the 18 dialogues that passed."""
    filled()
    Path("r.consistent_chat.yaml").write_text(
        json.dumps({**{name: value for name, value in FIELDS.items() if name != "responses"}, "layout": "preference"})
    )
    assert main(["report", "r.consistent_chat.yaml", "--responses", "responses"]) == 0
    assert "18" in capsys.readouterr().out


def test_pairs_are_not_published() -> None:
    """A preference layout cannot be published, because pairs can be made from a published dataset without a call."""
    from consistent_chat.publishing import publish

    with pytest.raises(RecipeError, match=r"'kto' cannot be published. Publish with layout='messages'"):
        publish(None, "user/repo", token="hf_x", layout="kto", **FIELDS)
