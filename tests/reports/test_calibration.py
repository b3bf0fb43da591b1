"""`judge --calibrate` measures how far a judge agrees with the package's labelled dialogues."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from consistent_chat.cli import main
from consistent_chat.dialogue.checks import findings
from consistent_chat.dialogue.judge import CRITERIA
from consistent_chat.errors import RecipeError
from consistent_chat.recipe.rules import thresholds
from consistent_chat.reports.calibration import LEVELS, Calibration, Labelled, calibrate, labelled
from consistent_chat.request import Request, Response

LABELS = {(label.chat.users, label.chat.answers): label for label in labelled()}
SCORES = {"good": 5, "subtle": 3, "plain": 1}


@pytest.fixture(autouse=True)
def _here(folder: Path) -> None:
    """Run each test in a separate folder with its own caches."""


class Judge:
    """A serving that knows each dialogue's label. `score` gives the score of the criterion that the flaw violates."""

    def __init__(self, score: Callable[[Labelled, str], int]) -> None:
        self.score, self.calls = score, 0

    async def answer(self, request: Request) -> Response:
        """Return the scores of a dialogue, with 5 for every criterion that its flaw does not violate."""
        self.calls += 1
        shown = json.loads(request.messages[0]["content"].partition("\n")[2])
        sides = (tuple(text for name, text in shown.items() if name.startswith(side)) for side in ("user", "assistant"))
        label = LABELS[tuple(sides)]  # type: ignore[index]  # a pair
        said: dict[str, Any] = {}
        for name in CRITERIA:
            score = self.score(label, request.model) if name == label.criterion else 5
            said |= {f"{name}_reason": "So.", name: score}
        return Response(json.dumps({**said, "at_fault": label.fault if label.level != "good" else "none"}))


def run(serving: Judge, **given: Any) -> Calibration:
    """Calibrate a judge, and return the result."""
    return calibrate(**{"serving": serving, "judge_model": "m", "responses": "responses", **given})


def test_the_labels_are_whole() -> None:
    """Each entry has three versions, with as many answers as messages.

    The checks find nothing in the good version.
    """
    assert len(LABELS) == len(labelled()) == 48
    for label in labelled():
        assert label.criterion in CRITERIA
        assert label.fault in ("user", "assistant")
        assert len(label.chat.users) == len(label.chat.answers) >= 2
        if label.level == "good":
            assert findings(label.chat.users, label.chat.answers, thresholds("checks", None), "English") == []
    first = [label for label in labelled() if label.entry == 0]
    assert [label.level for label in first] == list(LEVELS)


@pytest.mark.parametrize(
    ("score", "agreement", "in_order"),
    [
        (lambda label, model: SCORES[label.level], 1.0, "16/16"),
        (lambda label, model: 5, 1 / 3, "0/16"),
        (lambda label, model: 1, 2 / 3, "0/16"),
    ],
    ids=["right", "content", "harsh"],
)
def test_agreement_is_that_of_the_judge(score: Any, agreement: float, in_order: str) -> None:
    """The figures give a judge's true agreement, and a second run makes no call."""
    judge = Judge(score)
    made = run(judge)
    assert made.agreement("m") == pytest.approx(agreement)
    assert str(made.judges["m"]["all", "in order"]) == in_order
    assert str(made.judges["m"]["all", "at fault"]) == "32/32"
    assert judge.calls == 48
    assert str(calibrate(judge_model="m", responses="responses")) == str(made)


def test_each_of_several_judges_has_its_table() -> None:
    """Two judges, one correct and one that accepts everything, have separate tables."""
    judge = Judge(lambda label, model: SCORES[label.level] if model == "good" else 5)
    made = run(judge, judge_model=None, judge={"model": ["good", "lazy"]})
    assert (made.agreement("good"), made.agreement("lazy")) == (1, pytest.approx(1 / 3))
    assert made.agreement("good", "contradiction") == 1
    assert "good: agrees with 100% of the labels" in str(made)
    assert "lazy: agrees with 33% of the labels" in str(made)


def test_other_criteria_have_no_labels() -> None:
    """Custom criteria raise one clear error before any call."""
    judge = Judge(lambda label, model: 5)
    with pytest.raises(RecipeError, match="The labels are about the built-in criteria"):
        run(judge, judge={"criteria": {"tone": "Kind?"}})
    assert not judge.calls


def test_the_command_prints_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    """The command prints a table by kind. Naming both a dataset and --calibrate, or neither, is a usage error."""
    assert main(["judge", "--calibrate", "--serving", "rehearsal", "--responses", "responses"]) == 0
    said = capsys.readouterr().out
    assert "rehearsal: agrees with 33% of the labels" in said
    assert "speaks to the judge   2/2     0/2    0/2       0/2" in said
    assert main(["judge", "--calibrate", "demo"]) == 2
    assert main(["judge", "--serving", "rehearsal"]) == 2
