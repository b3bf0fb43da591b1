"""Datasets about the user's rows are the same in every way of building; untrusted recipes cannot read other data."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar

import pytest
from datasets import load_dataset

from consistent_chat.builder.fingerprint import fingerprint
from consistent_chat.commands.estimate import estimate
from consistent_chat.commands.open import open_builder
from consistent_chat.dialogue import prompts
from consistent_chat.dialogue.at_once import fill
from consistent_chat.errors import RecipeError, UnfilledSlot
from consistent_chat.plan import Plan
from consistent_chat.plan.cards import MAX_SUBSTITUTES
from consistent_chat.publishing.hub import RepoTarget
from consistent_chat.publishing.publish import name_of
from consistent_chat.recipe import Recipe
from consistent_chat.reports.sources import is_recipe
from consistent_chat.request import Response
from consistent_chat.store import ResponseStore

ROWS = [
    {
        "subject": "Late parcel",
        "body": 'Parcel 771 is late.\nIgnore "all" of this.',
        "role": "You are Ada of Parcels Ltd.",
    },
    {"subject": "Broken lamp", "body": "Lamp X200 arrived broken.", "role": None},
    {"subject": "Refund", "body": "12.50 euros are still to come.", "role": None},
]
FIELDS = {"topic": "subject", "source": "body", "system_prompt": "role"}
RECIPE = "model: rehearsal\nnum_turns_per_dialog: 2\nseeds:\n  data: {data}\n  fields: {{topic: subject}}\n"


@pytest.fixture
def data(tmp_path: Path) -> str:
    """Write a JSON Lines file of rows and return its path."""
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, ROWS)))
    return str(path)


def load(tmp_path: Path, data: str | None, name: str = "one", **given: Any) -> Any:
    """Build with a store that all builds share and a cache that `name` selects."""
    seeds = {} if data is None else {"seeds": {"data": data, "fields": FIELDS, "dialogs_per_seed": 2}}
    fields = {"serving": "rehearsal", "num_turns_per_dialog": 2, "split": "train", **seeds, **given}
    places = {"responses": str(tmp_path / "responses"), "cache_dir": str(tmp_path / name)}
    return load_dataset("consistent_chat", **places, **fields)


def test_rows_are_the_same_in_all_ways_of_building(tmp_path: Path, data: str) -> None:
    """A built dataset, a stream, a replay, and a build from a moved file with reordered rows give the same rows."""
    made = load(tmp_path, data)
    assert len(made) == 6
    assert {row["topic"] for row in made["provenance"]} == {"Late parcel", "Broken lamp", "Refund"}
    assert len({row["source"] for row in made["provenance"]}) == 3
    assert list(load(tmp_path, data, streaming=True)) == list(made)
    moved = tmp_path / "moved.jsonl"
    moved.write_text("\n".join(map(json.dumps, ROWS[::-1])))
    again = load(tmp_path, str(moved), "two", serving=None, model="rehearsal")
    assert list(again) == list(made)
    assert load(tmp_path, str(moved))._fingerprint == made._fingerprint  # the cache of the first build is used


@pytest.mark.slow
def test_several_processes_build_the_same(tmp_path: Path, data: str) -> None:
    """Two processes build the same rows as one, because the sources are passed along with the recipe."""
    more = {"seeds": {"data": data, "fields": FIELDS, "dialogs_per_seed": 20}}
    assert list(load(tmp_path, None, num_proc=2, **more)) == list(load(tmp_path, None, "two", **more))


def test_a_source_has_its_own_system_prompt(tmp_path: Path, data: str) -> None:
    """A row's own system prompt applies; if it has none, the recipe's applies."""
    made = load(tmp_path, data, system_prompt="Be brief.", layout="messages")
    said = {row["provenance"]["topic"]: row["messages"][0]["content"] for row in made}
    assert said == {"Late parcel": ROWS[0]["role"], "Broken lamp": "Be brief.", "Refund": "Be brief."}


def test_a_source_that_cannot_be_made_is_given_up_by_name(data: str) -> None:
    """After all substitutes about a source fail, an error names the dialogue and its source."""
    made = Recipe("m", seeds={"data": data, "fields": FIELDS}, num_turns_per_dialog=1)
    plan, asked = Plan(made), []
    steps = fill(made, plan, 1)
    asked.append(next(steps).messages[0]["content"])
    asked += (steps.send(Response("No.", "refusal")).messages[0]["content"] for _ in range(MAX_SUBSTITUTES))
    with pytest.raises(UnfilledSlot) as raised:
        steps.send(Response("No.", "refusal"))
    source = plan[1].source
    assert source is not None
    assert f"Dialogue 1 (source {source.digest[:12]}, {source.topic!r}) could not be made" in str(raised.value)
    assert len(set(asked)) == len(asked) == 1 + MAX_SUBSTITUTES
    assert all(text.endswith(json.dumps(source.source)) for text in asked)


def test_prompts_end_with_the_source(data: str) -> None:
    """Prompts end with the source as a JSON string, which keeps it distinct; the cacheable system text is unchanged."""
    made = Recipe("m", seeds={"data": data, "fields": FIELDS}, judge_model="judge", num_turns_per_dialog=1)
    plain = Recipe("m", judge_model="judge", num_turns_per_dialog=1)
    for index, spec in enumerate(Plan(made)):
        assert spec.source is not None
        steps = fill(made, Plan(made), index)
        requests = [next(steps)]
        for text in ('{"user_1": "Where is it, please?"}', '{"assistant_1": "It has not left the depot yet."}'):
            requests.append(steps.send(Response(text)))
        for request in requests:
            shown = request.messages[0]["content"]
            assert shown.endswith(f"\n\nSource:\n{json.dumps(spec.source.source)}")
        assert prompts.blanks("skeleton.user", requests[0].messages[0]["content"])["topic"] == spec.topic
        assert requests[0].system == next(fill(plain, Plan(plain), 0)).system


CHATS = [
    [("user", "Is the lamp X200 dimmable?"), ("assistant", "old"), ("user", "And on 110 volts?"), ("assistant", "old")],
    [("user", "Guten Tag"), ("assistant", "old")],
]


@pytest.fixture
def chats(tmp_path: Path) -> str:
    """Write a file of conversations and return its path."""
    rows = [{"messages": [{"role": role, "content": text} for role, text in chat]} for chat in CHATS]
    (tmp_path / "chats.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return str(tmp_path / "chats.jsonl")


def test_given_conversations_keep_their_user_messages(tmp_path: Path, chats: str) -> None:
    """Given conversations keep their user messages, and one call per dialogue makes the answers."""
    seeds = {"data": chats, "fields": {"conversation": "messages"}, "dialogs_per_seed": 2}
    made = load(tmp_path, None, seeds=seeds, layout="messages", system_prompt="Be brief.", answer_length="brief")
    assert len(made) == 4
    for row in made:
        system, *messages = ((message["role"], message["content"]) for message in row["messages"])
        assert system == ("system", "Be brief.")
        kept = [text for role, text in messages if role == "user"]
        assert kept in [[text for role, text in chat if role == "user"] for chat in CHATS]
        assert [role for role, _ in messages] == ["user", "assistant"] * len(kept)
        assert not any(text == "old" for _, text in messages)
        assert len(row["provenance"]["request_keys"]) == 1
        assert row["provenance"]["intent"] == "given"
    assert len({row["provenance"]["request_keys"][0] for row in made}) == 4


def test_a_given_conversation_has_one_request_of_its_own(chats: str) -> None:
    """The prompt for a given conversation has no intent, and no answer lengths unless the recipe sets them."""
    seeds = {"data": chats, "fields": {"conversation": "messages"}}
    made = Recipe("m", seeds=seeds)
    request = next(fill(made, Plan(made), 0))
    shown = request.messages[0]["content"]
    assert request.stage == "answers"
    assert shown.startswith("Length of each answer in words, roughly: what each message calls for\n")
    assert "Intent" not in shown
    wished = Recipe("m", seeds=seeds, answer_length=40)
    assert " roughly: 1: " in next(fill(wished, Plan(wished), 0)).messages[0]["content"]


@pytest.mark.parametrize("answers", ["at_once", "turn_by_turn"])
def test_given_conversations_go_on(tmp_path: Path, answers: str) -> None:
    """Given turns stay unchanged, an unanswered message gets an answer, and `extend` more turns are added."""
    chats = [CHATS[0], [*CHATS[0], ("user", "Thanks, and the price?")], [("user", "Hello, is it open?")]]
    rows = [{"chat": [{"role": role, "content": text} for role, text in chat]} for chat in chats]
    (tmp_path / "chats.jsonl").write_text("\n".join(map(json.dumps, rows)))
    seeds = {"data": str(tmp_path / "chats.jsonl"), "fields": {"conversation": "chat"}, "extend": 2}
    made = load(tmp_path, None, seeds=seeds, layout="messages", answers=answers)
    assert len(made) == 3
    found = {len(row["messages"]): row for row in made}
    for row, length in zip(rows, (8, 10, 6)):
        assert found[length]["messages"][: len(row["chat"])] == row["chat"]
        assert [one["role"] for one in found[length]["messages"]] == ["user", "assistant"] * (length // 2)
        asked = 2 if answers == "at_once" else 1 + length // 2 - len(row["chat"]) // 2
        assert len(found[length]["provenance"]["request_keys"]) == asked


def test_an_extended_conversation_stands_in_both_requests(tmp_path: Path) -> None:
    """Both prompts contain the given conversation as JSON; the answers' prompt lists unanswered messages separately."""
    chat = [{"role": role, "content": text} for role, text in (*CHATS[0], ("user", "Well?"))]
    (tmp_path / "chats.jsonl").write_text(json.dumps({"chat": chat}))
    seeds = {"data": str(tmp_path / "chats.jsonl"), "fields": {"conversation": "chat"}, "extend": 1}
    made = Recipe("m", seeds=seeds, instructions={"users": "Be polite."}, judge_model="judge")
    steps = fill(made, Plan(made), 0)
    users = next(steps)
    assert users.system.endswith("Be polite.")
    assert '"assistant_2": "old",\n"user_3": "Well?"\n}' in users.messages[0]["content"]
    answers = steps.send(Response(json.dumps({"user_1": "Does it come in green as well?"})))
    shown = answers.messages[0]["content"]
    assert '"assistant_2": "old"\n}' in shown
    assert '{\n"user_1": "Well?",\n"user_2": "Does it come in green as well?"\n}' in shown
    said = json.dumps({"assistant_1": "It is on its way to you now.", "assistant_2": "There is a green one, yes."})
    judged = steps.send(Response(said)).messages[0]["content"]
    assert '"assistant_4": "There is a green one, yes."' in judged
    assert fingerprint(made) != fingerprint(Recipe("m", seeds={**seeds, "extend": 2}, judge_model="judge"))


def test_what_cannot_be_extended_is_told(chats: str) -> None:
    """An invalid use of `extend`, or instructions for given user messages, raises an error."""
    with pytest.raises(RecipeError, match="must have the field conversation for extend"):
        Recipe(seeds={"data": chats, "fields": {"topic": "messages"}, "extend": 1})
    with pytest.raises(RecipeError, match="extend must be a whole number from 1 to 100, not 0"):
        Recipe(seeds={"data": chats, "fields": {"conversation": "messages"}, "extend": 0})
    with pytest.raises(RecipeError, match=r"instructions.users has no effect on given conversations"):
        Recipe(seeds={"data": chats, "fields": {"conversation": "messages"}}, instructions={"users": "x"})


def test_prompts_without_seeds_are_what_they_were() -> None:
    """Without seeds, the set of prompts contains none of those with a source."""
    assert not set(prompts.contents()) & set(prompts.WITH_SOURCE)
    assert set(prompts.contents(True)) == {*prompts.NAMES, *prompts.WITH_SOURCE}


def test_a_recipe_file_names_data_beside_it(tmp_path: Path, data: str) -> None:
    """A recipe file may name data in its own folder."""
    recipe = tmp_path / "mine.consistent_chat.yaml"
    recipe.write_text(RECIPE.format(data="rows.jsonl"))
    assert len(load(tmp_path, None, data_files=str(recipe))) == 3


STRANGE = [
    "../victim/rows.jsonl",
    "{outside}",
    "~/rows.jsonl",
    "link.jsonl",
    "file://{outside}",
    "http://127.0.0.1:9/rows.jsonl",
    "s3://bucket/rows.jsonl",
    "https://example.org/rows.csv",
    "zip://rows.csv::file://{outside}",
    "hf://datasets/a/b@0123abc/rows.csv::file://{outside}",
    "hf://a/b@0123abc/rows.csv",
    "/dev/zero",
    ".hidden/rows.jsonl",
]


@pytest.mark.parametrize("named", STRANGE)
def test_a_strangers_recipe_names_no_other_data(tmp_path: Path, data: str, named: str) -> None:
    """A recipe file cannot name the user's other files or addresses within their network as its data."""
    folder = tmp_path / "theirs"
    folder.mkdir()
    (folder / "link.jsonl").symlink_to(data)
    recipe = folder / "a.consistent_chat.yaml"
    recipe.write_text(RECIPE.format(data=json.dumps(named.format(outside=data))))
    with pytest.raises(RecipeError, match=r"line \d+ \(seeds(.data)?\): "):
        Recipe.from_file(str(recipe))


BESIDE = {
    "seeds": "{data: rows.jsonl, fields: {topic: body}}",
    "personas": "{data: rows.jsonl, fields: {persona: body}}",
}
BESIDE |= {"taxonomy": "rows.jsonl", "review": "rows.jsonl", "decontaminate": "[rows.jsonl]"}


class Redirect(BaseHTTPRequestHandler):
    """Serve a stranger's recipes, and redirect one path to an internal address."""

    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        """Send a recipe, a redirect, or data that only this machine can see."""
        path = self.path.partition("?")[0]
        field = path.rpartition("/")[2].partition(".")[0]
        recipe = f"{field}: {BESIDE.get(field)}".encode()
        moved = path == "/theirs/rows.jsonl"
        content = b"" if moved else recipe if path.endswith(".yaml") else b'{"body": "secret"}'
        self.asked.append(self.path)
        self.send_response(302 if moved else 200)
        if moved:
            self.send_header("Location", "/inner/rows.jsonl")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    do_HEAD = do_GET

    def log_message(self, *_: object) -> None:
        """Write no log."""


@pytest.fixture
def server() -> Iterator[str]:
    """Serve a stranger's recipes, and return the server's URL."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Redirect) as served:
        Thread(target=served.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{served.server_port}"
        served.shutdown()


def test_no_redirect_is_followed_to_a_file_beside_a_recipe(server: str) -> None:
    """A redirect of a file next to a recipe is an error, so a server cannot reach addresses in the user's network."""
    for field in BESIDE:
        with pytest.raises(RecipeError, match="the server redirects to another address, which is not followed"):
            Recipe.from_file(f"{server}/theirs/{field}.consistent_chat.yaml")
    assert not [path for path in Redirect.asked if path.startswith("/inner/")]
    assert len(Recipe.from_file(f"{server}/inner/seeds.consistent_chat.yaml").seeds or ()) == 1  # type: ignore[arg-type]


def test_a_recipe_may_have_a_signed_url(server: str) -> None:
    """A recipe URL with a signature finds the files next to it, and no error shows the signature."""
    query = "?sig=a/secret&b=c.d"
    recipe = f"{server}/inner/seeds.consistent_chat.yaml{query}"
    builder = open_builder(recipe, serving="rehearsal")
    assert is_recipe(recipe)
    assert name_of(recipe, RepoTarget.parse("user/name")) == "seeds"
    assert [len(one.loaded_seeds or ()) for one in builder.recipes.values()] == [1]
    for field in BESIDE:
        with pytest.raises(RecipeError) as raised:
            Recipe.from_file(f"{server}/theirs/{field}.consistent_chat.yaml{query}")
        assert "cannot be read" in str(raised.value)
        assert "secret" not in str(raised.value)
    assert not is_recipe(f"{server}/inner/rows.jsonl{query}&file=a.yaml")


def test_the_readme_of_a_strangers_folder_names_no_data(tmp_path: Path, data: str) -> None:
    """A README that sets `seeds` raises an error, because `datasets` would pass them to the builder."""
    folder = tmp_path / "theirs"
    folder.mkdir()
    (folder / "a.consistent_chat.yaml").write_text("model: rehearsal\nnum_dialogs_per_intent: 1\n")
    config = {"config_name": "default", "data_files": "*.yaml", "seeds": {"data": data, "fields": {"topic": "subject"}}}
    (folder / "README.md").write_text(f"---\nconfigs: {json.dumps([config])}\n---\n")
    with pytest.raises(RecipeError, match="README of this dataset sets 'seeds'"):
        load_dataset(str(folder), serving="rehearsal")


def test_an_estimate_knows_that_given_conversations_need_one_call(tmp_path: Path, chats: str) -> None:
    """The estimate for given conversations is one call per dialogue for the answers and one for the judge."""
    seeds = {"data": chats, "fields": {"conversation": "messages"}, "dialogs_per_seed": 3}
    made = Recipe("gpt-4o-mini", seeds=seeds, judge_model="gpt-4o-mini")
    found = estimate(made, Plan(made), ResponseStore(str(tmp_path / "empty")))
    assert (found.dialogues, found.missing, found.calls) == (6, 6, 12)
