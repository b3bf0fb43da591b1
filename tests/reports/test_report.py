"""`consistent-chat report`: the sources that it reads, and its output."""

from __future__ import annotations

import errno
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from consistent_chat.builder.config import DEMO as DEMO_FOLDER
from consistent_chat.cli import main
from consistent_chat.errors import ConsistentChatError
from consistent_chat.reports import Summary, report
from consistent_chat.store import ResponseStore
from tests import ROOT, forked
from tests.hub import Hub
from tests.provider import Provider, Reply

DEMO = str(DEMO_FOLDER / "responses")
REHEARSAL = ("--serving", "rehearsal", "--num-dialogs-per-intent", "2", "--num-turns-per-dialog", "3")


pytestmark = pytest.mark.usefixtures("folder")


def build(*options: str) -> None:
    """Run `consistent-chat build` with these options."""
    assert main(["build", *options]) == 0


def counted(summary: Summary) -> dict[str, Any]:
    """Return the figures that must be equal for all sources of the same dialogues."""
    total = summary.total
    return {
        "by intent": [(title, group.dialogues) for title, group in summary.intents],
        "words": (dict(total.query_words), dict(total.response_words)),
        "reasons": total.reasons,
        "tokens": summary.tokens,
    }


def test_the_demo_is_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    """The table has a row per intent and the paper's figures, in plain text of at most 100 columns.

    Below it, failed draws are counted by reason.
    """
    assert main(["report", "demo"]) == 0
    said = capsys.readouterr().out
    assert re.search(r"^Problem Solving +2 +12\.0 +12\.1 +27 +44\.4 +115$", said, re.M)
    assert re.search(
        r"^the paper, by intent +1,551.1,637 +15\.4.15\.7 +18\.7.20\.8 +37.46 +55\.6.62\.9 +118.135$", said, re.M
    )
    assert "failed draws: 3 (1 no json, 1 truncated, 1 wrong turn count)" in said
    assert "\x1b" not in said
    assert max(map(len, said.splitlines())) <= 100


def test_the_shape_of_the_demo_stands_beside_natural_dialogues(capsys: pytest.CaptureFixture[str]) -> None:
    """The report compares the demo's lengths with natural dialogues.

    It also shows outcomes, moods, endings, openings, topics and alarms.
    """
    assert main(["report", "demo"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "words of mean 5 % 25 % median 75 % 95 % variation user messages, first" in said
    assert re.search(r"user messages, all 12\.4 3 7 10 15 29 0\.71 answers, first", said)
    assert re.search(r"MT-Bench-101, user messages . . . 11 . . 0\.7.0\.8", said)
    for line in ("outcomes: partly 22%", "moods: cheerful 33%, neutral 33%", "endings: stops 61%"):
        assert line in said
    assert 'openings of answers: "that is the" 3' in said
    assert "topics: 18, each used once alarms of checks: 0 of 18 dialogues" in said


def test_repetition_and_alarms_are_shown_in_terminal_and_page(capsys: pytest.CaptureFixture[str]) -> None:
    """The report counts near-duplicates and findings by side, and shows repeated openings and topics.

    It also gives the self-similarity of dialogues about one topic. The terminal and the page both show all of this.
    """
    answer = "Certainly! Turn the blue valve to the left, wait a minute for it, and then look whether water drips."
    asked = ("my boiler drips at night", "something else, is tea or coffee better for a tired old cat")
    rows = [
        {"conversation": [{"role": "user", "value": text}, {"role": "assistant", "value": answer}], "category": "c",
         "provenance": {"topic": "a <b>topic</b>", "outcome": "left_open"}}
        for text in (*asked, "As an AI language model, I cannot assist with that request.")
    ]  # fmt: skip
    Path("made.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    assert main(["report", "made.jsonl", "--html", "made.html"]) == 0
    said, page = " ".join(capsys.readouterr().out.split()), Path("made.html").read_text("utf-8")
    assert "0 near-duplicates by user messages, 2 by answers" in said
    assert 'openings of answers: "certainly turn the" 3' in said
    assert re.search(r"topics: 1, each used 3 times; self-similarity of dialogues about one topic 0\.\d+", said)
    assert "outcomes: left open 100%" in said
    assert re.search(r"alarms of checks: [1-3] of 3 dialogues: \d [a-z ]+ \((users|answers)\)", said)
    for heading in ("Lengths by side and position", "Common openings", "Topics used most", "Findings of the checks"):
        assert f'aria-label="{heading}"' in page
    assert "a &lt;b&gt;topic&lt;/b&gt;" in page


@pytest.mark.slow_after(1)
@pytest.mark.parametrize("columns", [50, 64, 80, 88])
def test_it_fits_narrow_terminals(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No line is longer than the terminal is wide, and intents and figures stay readable."""
    monkeypatch.setenv("COLUMNS", str(columns))
    main(["report", "demo"])
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines())) <= columns
    assert "Entertainment" in said
    assert "1,551" in said


@pytest.mark.slow_after(1)
@pytest.mark.parametrize("layout", ["conversation", "messages", "sharegpt"])
@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
def test_files_of_any_layout_say_the_same_as_a_replay(layout: str, suffix: str) -> None:
    """Files of every layout and format give the same figures as a replay.

    A folder works too. Failed draws may be named, or be in a file next to the data.
    """
    options = ("--layout", layout, "--failures", f"failures.{suffix}")
    build("demo", *options, "--output", f"made.{suffix}")
    build("demo", *options, "--output", "made")
    replayed = counted(report("demo"))
    assert counted(report(f"made.{suffix}", failures=f"failures.{suffix}")) == replayed
    assert report("made").total.failed.total() == 0
    Path(f"failures.{suffix}").rename(f"made/failures.{suffix}")
    assert counted(report("made")) == replayed


@pytest.mark.slow
def test_without_provenance_the_categories_tell_the_intents() -> None:
    """Without provenance, categories determine the intents, and failed draws are still counted."""
    build("demo", "--no-provenance", "--output", "made.jsonl", "--failures", "failures.jsonl")
    summary = report("made.jsonl", failures="failures.jsonl")
    assert [title for title, _ in summary.intents] == [title for title, _ in report("demo").intents]
    assert summary.total.failed.total() == 3


def asked(store: str, stage: str) -> list[dict[str, Any]]:
    """Return the stored requests of a stage."""
    return [record.asked() for record in ResponseStore(store).records() if f"{stage}_1" in record.request]


def test_tokens_of_two_models_have_no_price() -> None:
    """Where rows have the tokens of a user_model and of model in one count, the report of a file gives no cost."""
    talk = [{"role": "user", "content": "How much yeast is in bread?"}, {"role": "assistant", "content": "A little."}]
    origin = {"model": "gpt-4o-mini", "user_model": "claude-opus-4-1", "input_tokens": 500, "output_tokens": 60}
    models = ("claude-opus-4-1", "gpt-4o-mini")
    rows = [{"messages": talk, "provenance": {**origin, "user_model": model}} for model in models]
    Path("made.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    whole = report("made.jsonl")
    alone, both = whole.used
    assert (both.model, both.total, both.cost) == ("gpt-4o-mini and claude-opus-4-1", 560, None)
    assert (alone.model, alone.total) == ("gpt-4o-mini", 560)
    assert alone.cost
    assert whole.judges == set()


def test_tokens_cost_what_the_model_costs() -> None:
    """Tokens are counted per model, include those of failed draws, and cost the model's price. File and store agree."""
    with Provider(lambda call: Reply.text("no JSON") if len(provider.requests) == 2 else None) as provider:
        options = (
            "--serving",
            "anthropic",
            "--base-url",
            provider.url,
            "--api-key",
            "k",
            "--model",
            "claude-sonnet-4-6",
        )
        build(*options, "--num-dialogs-per-intent", "1", "--responses", "store", "--output", "made.parquet")
    by_file, by_store = report("made.parquet"), report("store")
    assert by_file.tokens == by_store.tokens
    assert by_store.total.reasons == {"no_json": 1}
    ((model, tokens, cost),) = by_store.used
    assert model == "claude-sonnet-4-6"
    assert cost == pytest.approx(tokens.input * 3e-6 + tokens.output * 15e-6)


REPORT_BOTH = """
import sys
from consistent_chat.cli import main
for source in sys.argv[1:]:
    print("SOURCE", flush=True)
    assert main(["report", source]) == 0
"""


@pytest.mark.slow
def test_a_repo_on_the_hub(folder: Path) -> None:
    """A report reads a repository on the Hub by its id or by URL.

    By id it reads the data and the failed draws, but not the responses. By a folder's URL it reads only that folder.
    """
    build("demo", "--output", "data/train.parquet", "--failures", "failures/train.parquet")
    paths = [*Path("data").iterdir(), *Path("failures").iterdir()]
    responses = {f"responses/{path.relative_to(DEMO)}": path for path in Path(DEMO).rglob("*") if path.is_file()}
    with Hub() as hub:
        files = {**{str(path): path for path in paths}, **responses}
        hub.repos["me/demo"] = {name: path.read_bytes() for name, path in files.items()}
        settings = {"HF_ENDPOINT": hub.url, "HF_HOME": str(folder / "home"), "HF_HUB_OFFLINE": "0"}
        command = [sys.executable, "-c", REPORT_BOTH, "me/demo", "hf://datasets/me/demo/data"]
        environment = {**os.environ, **settings, "PYTHONPATH": str(ROOT)}
        done = forked.run(command, environment)
    _, by_id, by_url = done.stdout.split("SOURCE\n")
    assert all(re.search(r"^all +18 ", said, re.M) for said in (by_id, by_url)), done.stderr
    assert ["failed draws: 3" in said for said in (by_id, by_url)] == [True, False]


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["nothing.parquet"], 2, "nothing.parquet does not exist. Pass a dataset"),
        (["dmeo"], 2, "dmeo does not exist"),
        (["there.yaml"], 2, "There is no recipe file there.yaml"),
        (["lines.jsonl", "--model", "m"], 2, "Only recipes accept model, and lines.jsonl is not a recipe"),
        (
            ["lines.jsonl"],
            1,
            "lines.jsonl, row 2 is not a dialogue: it needs a list of messages, each with role and content.",
        ),
        (["broken.jsonl"], 1, "broken.jsonl cannot be read"),
        (["broken.parquet"], 1, "broken.parquet cannot be read"),
        (["."], 1, "broken.parquet cannot be read"),
        (["empty"], 1, "There are no dialogues in files ending in .parquet or .jsonl (there are none)"),
        (["other.jsonl"], 1, "other.jsonl: no column conversation, messages, conversations. Pass another file"),
        (["demo", "--html", "made.parquet"], 2, "--html made.parquet must end in .html or .htm."),
        (["demo", "--html", "folder.html"], 2, f"--html folder.html cannot be written: {os.strerror(errno.EISDIR)}"),
        (["good.jsonl", "--failures", "none.jsonl"], 2, "none.jsonl does not exist"),
        (["good.jsonl", "--failures", "good.jsonl"], 1, "good.jsonl, row 1 is not a failed draw"),
        (["demo", "--failures", "good.jsonl"], 2, "failures= is only for datasets"),
        (["odd.jsonl"], 1, "odd.jsonl, row 1, provenance: topic is of type int, not str."),
        (
            ["demo", "--html", "good.jsonl/page.html"],
            2,
            "--html good.jsonl/page.html cannot be written: ",
        ),
        (["--model", "m", "--responses", "none"], 1, "180 of 180 dialogues of train are not recorded"),
    ],
)
def test_what_is_wrong_is_one_message(
    options: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """An error gives one message without traceback and writes no page. Exit code 1 is a failure, 2 is wrong usage."""
    Path("empty").mkdir()
    Path("folder.html").mkdir()
    Path("good.jsonl").write_text('{"messages": [{"role": "user", "content": null}]}\n')
    Path("odd.jsonl").write_text('{"messages": [], "provenance": {"topic": 5}}\n')
    Path("lines.jsonl").write_text('{"messages": []}\n{"messages": [{"role": "user", "content": 5}]}\n')
    Path("other.jsonl").write_text('{"text": "of no use"}\n')
    Path("broken.jsonl").write_text('{"messages": []}\n{"mess')
    Path("broken.parquet").write_bytes(b"PAR1 and nothing more")
    assert main(["report", *options]) == code
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said
    assert [path.name for path in Path().glob("*.html*")] == ["folder.html"]


def test_a_judges_scores_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    """The report shows the mean and the minimum of a judge's scores on the terminal and on the page."""
    rows = [{"messages": [], "judgement": {"consistency": score, "consistency_reason": "so"}} for score in (3, 5)]
    Path("judged.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["report", "judged.jsonl", "--html", "judged.html"]) == 0
    assert "judgement: consistency: 4.00 on average, at least 3" in capsys.readouterr().out
    cells = "judgement: consistency</th><td>2</td><td>4.00</td><td>3</td><td>5</td>"
    assert cells in Path("judged.html").read_text("utf-8")


def test_near_duplicates_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    """Near-duplicates are counted by user messages. An exact duplicate counts as a near-duplicate too."""
    said = " ".join(f"word{number}" for number in range(60))
    texts = (said, f"{said} more", "something quite else that nobody said", said)
    rows = [{"messages": [{"role": "user", "content": text}]} for text in texts]
    Path("alike.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["report", "alike.jsonl"]) == 0
    assert "duplicates: 1 word for word; 2 near-duplicates" in capsys.readouterr().out


def test_nothing_is_called_and_nothing_written(folder: Path) -> None:
    """A report makes no calls, even if a serving is named, and creates no store."""
    with Provider() as provider, pytest.raises(ConsistentChatError, match="not recorded"):
        report(None, serving="anthropic", base_url=provider.url, model="m", responses="none")
    assert provider.requests == []
    report("demo")
    assert not Path("none").exists()


@pytest.mark.slow
def test_the_same_dialogues_give_the_same_page() -> None:
    """Two reports on the same dialogues write identical bytes."""
    for name in ("one.html", "other.html"):
        report("demo", html=name)
    assert Path("one.html").read_bytes() == Path("other.html").read_bytes()


def test_the_page_stands_whole_or_not_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error in the middle of a dataset leaves the previous page unchanged."""
    Path("lines.jsonl").write_text('{"messages": []}\n{"messages": 5}\n')
    Path("page.html").write_text("of before")
    with pytest.raises(ConsistentChatError):
        report("lines.jsonl", html="page.html")
    assert Path("page.html").read_text() == "of before"
    assert sorted(path.name for path in Path().iterdir()) == ["lines.jsonl", "page.html"]


def test_hostile_words_do_not_drive_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Control characters in the names of intents and models never reach the terminal."""
    row = {
        "category": "c",
        "messages": [],
        "provenance": {"intent": "\x1b[2Jgone\u202e", "model": "m\x07\ud83d", "input_tokens": 1},
    }
    Path("lines.jsonl").write_text(json.dumps(row) + "\n")
    assert main(["report", "lines.jsonl"]) == 0
    said = capsys.readouterr().out
    assert "\ufffd[2Jgone" in said
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f\u202e\ud800-\udfff]", said)


def test_one_dialogue_is_told_in_the_singular_and_without_the_paper(capsys: pytest.CaptureFixture[str]) -> None:
    """One dialogue is described in the singular. The paper's figures are shown only for dialogues of its intents."""
    said = [{"role": role, "content": "Hello there"} for role in ("user", "assistant")]
    Path("own.jsonl").write_text(json.dumps({"category": "My own", "messages": said}) + "\n")
    assert main(["report", "own.jsonl", "--html", "own.html"]) == 0
    printed, page = capsys.readouterr().out, Path("own.html").read_text("utf-8")
    assert "on 1 dialogue\n" in printed
    assert "the paper" not in printed
    assert "1 dialogue." in page
    assert "of 1 intent, 1 category" in page
    assert "The paper" not in page
