"""Tests of splits: no topic is in two of them, and a split that grows changes neither itself nor another."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from datasets import load_dataset
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from consistent_chat.cli import main
from consistent_chat.errors import RecipeError
from consistent_chat.plan import splits
from consistent_chat.plan.plan import Plan, Spec
from consistent_chat.recipe import Recipe
from consistent_chat.recipe.taxonomy import Category, Flow, Intent, Manner, Persona, Taxonomy, Topic, builtin
from consistent_chat.recipe.taxonomy.types import SENSITIVE
from tests.provider import Provider

pytestmark = pytest.mark.usefixtures("folder")

LAW = settings(derandomize=True)
MODEL = "claude-sonnet-4-6"
THREE = {"train": 18, "validation": 1, "test": 1}
SEEDS = st.integers(-(2**63), 2**63 - 1)
NUMBERS = st.dictionaries(st.sampled_from(["train", "validation", "test", "dev"]), st.integers(1, 40), min_size=1)
FLOW = Flow("flow", "Flow", ("begin", "end"))


@st.composite
def taxonomies(draw: st.DrawFn) -> Taxonomy:
    """Draw a taxonomy of up to three intents, in which a topic may be in several places."""
    topics = st.lists(st.integers(0, 60).map(lambda n: f"Topic {n}"), min_size=4, max_size=30, unique=True)
    intents = {}
    for key in ("first", "second", "third")[: draw(st.integers(1, 3))]:
        half = draw(topics)
        shouted = [f"TOPIC {n}" for n in range(draw(st.integers(0, 5)))]
        own = [f"{key} {n}" for n in range(draw(st.integers(1, 20)))]
        named = (("C1", half), ("C2", [*shouted, *own]))
        categories = tuple(Category(name, tuple(map(Topic, texts))) for name, texts in named)
        intents[key] = Intent(key, key.title(), "a purpose", (FLOW,), categories)
    return Taxonomy(intents, (Persona("a baker"), Persona("a pilot")), (Manner("terse", "short"),))


def divided(whole: Taxonomy, seed: int, numbers: dict[str, int]) -> dict[str, Recipe]:
    """Return the recipe of each split; skip taxonomies with too few topics."""
    try:
        return splits.recipes(Recipe(taxonomy=whole, seed=seed, splits=numbers))
    except RecipeError:
        assume(False)
        raise


def topics(recipe: Recipe) -> set[str]:
    """Return all topics that a recipe can draw, in lower case."""
    intents = recipe.full_taxonomy.intents.values()
    return {topic.text.casefold() for intent in intents for topic in intent.topics()}


def drawn(spec: Spec) -> tuple[Any, ...]:
    """Return the parts of a spec that determine its requests."""
    return (spec.intent.key, spec.category, spec.topic, spec.flow, spec.persona, spec.manner, spec.repeat)


@LAW
@given(taxonomies(), SEEDS, NUMBERS)
def test_no_topic_is_in_two_splits_and_none_is_lost(whole: Taxonomy, seed: int, numbers: dict[str, int]) -> None:
    """Each topic is in exactly one split, even if it is in several intents or twice in one.

    Substitutes are drawn from the same split.
    """
    parts = divided(whole, seed, numbers)
    assert Counter(topic for part in parts.values() for topic in topics(part)) == Counter(
        topics(Recipe(taxonomy=whole))
    )
    for part in parts.values():
        plan = Plan(part)
        assert {plan.spec(i, n).topic.casefold() for i in range(len(plan)) for n in (0, 1, 8)} <= topics(part)
        assert list(part.full_taxonomy.intents) == list(whole.intents)


@LAW
@given(taxonomies(), SEEDS, NUMBERS, st.data())
def test_a_split_that_grows_changes_no_spec(
    whole: Taxonomy, seed: int, numbers: dict[str, int], data: st.DataObject
) -> None:
    """A split that grows changes no spec of its own or of other splits, even beyond its number of topics."""
    grown = data.draw(st.sampled_from(sorted(numbers)))
    before = divided(whole, seed, numbers)
    after = divided(whole, seed, {**numbers, grown: numbers[grown] + data.draw(st.integers(1, 200))})
    for split in numbers:
        short, long = Plan(before[split]), Plan(after[split])
        assert list(short) == [long[i] for i in range(len(short))]
        assert split == grown or before[split] == after[split]


@LAW
@given(taxonomies(), SEEDS, NUMBERS)
def test_a_split_that_is_added_takes_topics_from_the_main_one_alone(
    whole: Taxonomy, seed: int, numbers: dict[str, int]
) -> None:
    """An added split takes topics only from the main split, and the other splits do not change."""
    named = {"train": 1, **numbers}
    before, after = divided(whole, seed, named), divided(whole, seed, {**named, "added": 5})
    assert topics(after["added"]) | topics(after["train"]) == topics(before["train"])
    assert all(before[split] == after[split] for split in named if split != "train")


@pytest.mark.slow
@settings(LAW, max_examples=5)
@given(SEEDS)
def test_the_main_split_begins_as_a_plan_without_splits(seed: int) -> None:
    """The main split begins with the same specs as a plan without splits, so recorded responses are found again.

    Most topics of each intent keep their order.
    """
    part = splits.recipes(Recipe(seed=seed, splits={**THREE, "train": 137}))["train"]
    whole = Plan(Recipe(seed=seed, num_dialogs_per_intent=137))
    assert list(map(drawn, Plan(part))) == list(map(drawn, whole))


@pytest.mark.parametrize("numbers", [{"validation": 1, "train": 18}, {"train": 18, "validation": 1}])
def test_train_has_most_of_the_topics_wherever_it_is_named(numbers: dict[str, int]) -> None:
    """`train` has nine tenths of each intent's topics, whether it is the first or the last split."""
    parts = splits.recipes(Recipe(splits=numbers))
    assert list(parts) == list(numbers)
    assert len(topics(parts["validation"])) == sum(map(tenth, builtin().intents.values()))
    assert len(topics(parts["train"])) == len(topics(Recipe())) - len(topics(parts["validation"]))


def tenth(intent: Intent) -> int:
    """Return a tenth of an intent's ordinary topics plus a tenth of its sensitive ones."""
    sensitive = sum(SENSITIVE in topic.needs for topic in intent.topics())
    return (sum(1 for _ in intent.topics()) - sensitive) // 10 + sensitive // 10


def test_without_the_name_train_the_first_has_most_of_them() -> None:
    """If no split is called `train`, the first split has most of the topics."""
    parts = splits.recipes(Recipe(splits={"fit": 5, "probe": 5}))
    assert len(topics(parts["fit"])) > 9 * len(topics(parts["probe"])) > 0


def test_too_few_topics_for_so_many_splits_are_said_with_numbers() -> None:
    """Too few topics for the number of splits is an error that gives both numbers, before any call."""
    one = {"intents": {"bees": {**_BEES, "categories": {"Swarms": ["a swarm in May", "a swarm in July"]}}}}
    message = (
        r"^The intent 'bees' has 2 topics for 3 splits, and no topic is left for 'train': splits share no topics. "
        "Give the intent more topics in a taxonomy, or use fewer splits.$"
    )
    with pytest.raises(RecipeError, match=message):
        load_dataset("consistent_chat", serving="rehearsal", taxonomy=one, splits=THREE)


_BEES = {"title": "Bees", "purpose": "to keep bees", "flows": ["time_sequence"]}

WRONG: dict[str, Any] = {
    "splits must be a mapping of names to dialogues per intent, such as {'train': 18, 'test': 1}, not {}.": {},
    "splits must have names of up to 60 letters, digits and _, not 'all'.": {"all": 1},
    "splits must have names of up to 60 letters, digits and _, not 'a/b'.": {"a/b": 1},
    "splits must have names of up to 60 letters, digits and _, not 1.": {1: 1},
    "splits must have names that differ in more than capitals, because they become file names.": {"test": 1, "Test": 1},
    "splits must give dialogues per intent: test must be a whole number from 1 to 1000000000, not 0.": {"test": 0},
    "splits must give dialogues per intent: test must be a whole number from 1 to 1000000000, not True.": {
        "test": True
    },
    "splits must give dialogues per intent: their sum must be a whole number from 1 to 1000000000, not 1000000001.": {
        "train": 10**9,
        "test": 1,
    },
}


@pytest.mark.parametrize("message", WRONG)
def test_what_is_no_split_is_refused(message: str) -> None:
    """Invalid splits raise a RecipeError that says what is valid."""
    with pytest.raises(RecipeError) as caught:
        Recipe(splits=WRONG[message])
    assert str(caught.value) == message


def test_there_is_one_way_to_say_how_many() -> None:
    """It is an error to give both splits and num_dialogs_per_intent, as keywords or in a file's mapping."""
    both = "splits must not be given with num_dialogs_per_intent: both set the number of dialogues. Give one of them."
    for make in (Recipe, lambda **given: Recipe.from_mapping(given)):
        with pytest.raises(RecipeError) as caught:
            make(num_dialogs_per_intent=7, splits=THREE)
        assert str(caught.value) == both
    with pytest.raises(RecipeError):
        Recipe.from_mapping({"num_dialogs_per_intent": 20, "splits": THREE})
    assert Recipe(splits=THREE).num_dialogs_per_intent == 20
    assert replace(Recipe(splits=THREE), seed=1).splits == THREE


def load(provider: Provider | None = None, **given: Any) -> Any:
    """Load a small dataset; if a provider is given, call it."""
    called = {} if provider is None else {"serving": "anthropic", "base_url": provider.url, "api_key": "a-key"}
    small = {"model": MODEL, "num_turns_per_dialog": 1, "responses": "responses"}
    return load_dataset("consistent_chat", **{**small, **called, **given})


@pytest.mark.slow
def test_a_dataset_of_three_splits(provider: Provider, folder: Path) -> None:
    """Each split has the given number of dialogues per intent and its own indices from 0.

    Replays with several processes and streams give the same rows.
    """
    chosen = {"splits": THREE, "intents": ["simulation", "educational", "transaction"]}
    made = load(provider, **chosen)
    assert {split: len(rows) for split, rows in made.items()} == {"train": 54, "validation": 3, "test": 3}
    assert len(provider.requests) == 2 * 60
    seen = {split: {p["topic"] for p in rows["provenance"]} for split, rows in made.items()}
    assert not seen["train"] & seen["validation"]
    assert not seen["train"] & seen["test"]
    assert not seen["validation"] & seen["test"]
    for split, rows in made.items():
        assert [p["index"] for p in rows["provenance"]] == list(range(len(rows)))
        assert set(Counter(p["intent"] for p in rows["provenance"]).values()) == {THREE[split]}
        assert list(load(**chosen, split=split, streaming=True)) == list(rows)
    again = load(**chosen, num_proc=2, cache_dir=str(folder / "again"))
    assert all(again[split][:] == rows[:] for split, rows in made.items())
    assert len(provider.requests) == 2 * 60


@pytest.mark.slow
def test_growing_a_split_asks_for_the_new_dialogues_alone(provider: Provider) -> None:
    """Only new dialogues are requested when a split grows or when a dataset built without splits is divided."""
    load(provider, num_dialogs_per_intent=2, intents=["simulation", "exploratory"])
    chosen = {"intents": ["simulation", "exploratory"]}
    small = load(provider, splits={"train": 2, "test": 1}, **chosen)
    assert len(provider.requests) == 2 * 2 * (2 + 1)
    large = load(provider, splits={"train": 3, "test": 1}, **chosen)
    assert len(provider.requests) == 2 * 2 * (3 + 1)
    assert large["train"][:4] == small["train"][:]
    assert large["test"][:] == small["test"][:]


def test_more_dialogues_than_topics_use_them_again() -> None:
    """A split with more dialogues than topics repeats its topics with other facets."""
    rows = load(serving="rehearsal", splits={"train": 1, "test": 60}, intents=["simulation"], split="test")
    places = rows["provenance"]
    assert len({p["topic"] for p in places}) == tenth(builtin().intents["simulation"])
    assert len({(p["topic"], p["persona"], p["manner"], p["information_flow"]) for p in places}) == 60


FILE = "model: rehearsal\nnum_turns_per_dialog: 1\nintents: [simulation]\n"


def test_a_recipe_file_may_name_splits() -> None:
    """A recipe file may set splits; a keyword for splits or num_dialogs_per_intent replaces them."""
    Path("own.consistent_chat.yaml").write_text(FILE + "splits:\n  train: 2\n  test: 1\n")
    given = {"data_files": "own.consistent_chat.yaml", "serving": "rehearsal"}
    assert load_dataset("consistent_chat", **given).num_rows == {"train": 2, "test": 1}
    assert load_dataset("consistent_chat", **given, num_dialogs_per_intent=3).num_rows == {"train": 3}
    assert load_dataset("consistent_chat", **given, splits={"held": 1, "out": 2}).num_rows == {"held": 1, "out": 2}
    Path("folder").mkdir()
    Path("own.consistent_chat.yaml").rename("folder/own.consistent_chat.yaml")
    assert load_dataset("./folder", serving="rehearsal").num_rows == {"train": 2, "test": 1}


def test_a_recipe_file_that_says_it_twice_is_named_with_the_line() -> None:
    """The error for a recipe file that sets the number twice or sets invalid splits names the file and the line."""
    for text, line in (("splits: {test: 1}\nnum_dialogs_per_intent: 3\n", 4), ("seed: 1\nsplits: {test: 0}\n", 5)):
        Path("own.consistent_chat.yaml").write_text(FILE + text)
        with pytest.raises(RecipeError, match=rf"^own.consistent_chat.yaml, line {line} \(splits\): splits must"):
            load_dataset("consistent_chat", data_files="own.consistent_chat.yaml")


def test_several_recipe_files_have_no_splits_of_their_own() -> None:
    """The keyword `splits` is an error with several recipe files, because each file is already a split."""
    for split in ("train", "test"):
        Path(f"{split}.consistent_chat.yaml").write_text(FILE)
    files = {split: f"{split}.consistent_chat.yaml" for split in ("train", "test")}
    with pytest.raises(RecipeError, match=r"^There are 2 recipe files, one for each of the splits train, test, but"):
        load_dataset("consistent_chat", data_files=files, splits=THREE)


def test_the_command_line_divides_too(capsys: pytest.CaptureFixture[str]) -> None:
    """`build --splits` writes a file for each split into a folder, and `estimate --splits` estimates each split."""
    options = ["--serving", "rehearsal", "--intents", "simulation", "--responses", "responses"]
    numbers = ["--splits", "train=2", "validation=1", "test=1"]
    assert main(["build", *options, *numbers, "--output", "made"]) == 0
    assert sorted(path.name for path in Path("made").iterdir()) == [
        "test.parquet",
        "train.parquet",
        "validation.parquet",
    ]
    assert load_dataset("./made").num_rows == {"train": 2, "validation": 1, "test": 1}
    assert main(["estimate", *options, "--splits", "train=3", "test=1"]) == 0
    said = capsys.readouterr().out
    assert "train: 3 dialogues, 2 of them recorded" in said
    assert "test: 1 dialogue" in said


@pytest.mark.parametrize(
    ("given", "message"), [("train", "give NAME=N, not 'train'"), ("train=1 train=2", "'train' is given twice")]
)
def test_the_command_line_says_what_it_takes(given: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A malformed or repeated value of --splits is wrong usage, with exit code 2."""
    assert main(["build", "--output", "made", "--splits", *given.split()]) == 2
    assert message in capsys.readouterr().err


def test_a_number_that_is_none_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    """A split's number that is not a number is wrong usage, with the same message as in a recipe."""
    assert main(["build", "--serving", "rehearsal", "--output", "made", "--splits", "train=many"]) == 2
    assert "train must be a whole number from 1 to 1000000000, not 'many'." in capsys.readouterr().err


def test_a_readme_may_name_splits(folder: Path) -> None:
    """A README of a dataset may set splits.

    This is harmless, because the user who loads the dataset still decides whether calls are made.
    """
    Path("theirs").mkdir()
    configs = [{"config_name": "default", "data_files": "*.consistent_chat.yaml", "splits": {"train": 1, "test": 1}}]
    Path("theirs/README.md").write_text(f"---\nconfigs: {json.dumps(configs)}\n---\n")
    Path("theirs/own.consistent_chat.yaml").write_text(FILE)
    assert load_dataset("./theirs", serving="rehearsal").num_rows == {"train": 1, "test": 1}
