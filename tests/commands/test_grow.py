"""`consistent-chat grow` adds entries that a model writes to a taxonomy file, and stores the responses."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from consistent_chat.cli import main
from consistent_chat.commands.grow import estimate, grow
from consistent_chat.commands.grow.tasks import Entry, Known, read_entry
from consistent_chat.errors import MissingResponse, RecipeError
from consistent_chat.plan import Plan
from consistent_chat.recipe import Recipe, taxonomy
from consistent_chat.recipe.safe_yaml import parse
from consistent_chat.recipe.taxonomy.types import MINORS
from tests.provider import Call, Provider, Reply

GARDEN = """\
# My garden.
intents:
  garden:
    title: Gardening
    purpose: something grows, or does not
    flows: [in_pieces]
    categories:
      Orchard: [an old pear tree that fruits only every other year]  # it is mine
      Pond:
        needs: [adult]
        topics: |
          a heron that empties a pond of its goldfish
          frogspawn in a birdbath [child]
"""
WORDS = ["apple", "plum", "cherry", "quince", "walnut", "hazel", "medlar", "almond", "fig", "olive", "grape", "currant"]


@pytest.fixture(autouse=True)
def _garden(folder: Path) -> None:
    Path("garden.yaml").write_text(GARDEN, "utf-8")


def writing(entry: Callable[[str, int], str]) -> Callable[[Call], Reply]:
    """Return a script that fills each key with an entry made from the key and the number of the call."""
    return lambda call: Reply.text(json.dumps({name: entry(name, call.number) for name in call.names}))


def told(name: str, number: int) -> str:
    """Return an entry that differs from all others."""
    place = int(name.rpartition("_")[2])
    return f"{WORDS[place % 12]} number{number} case{place} of{number * 31 + place} kind{place * 7 + number}"


@pytest.fixture
def model() -> Iterator[Provider]:
    """Run a model that writes good entries."""
    with Provider(writing(told)) as provider:
        yield provider


def calling(provider: Provider) -> dict[str, object]:
    """Return the options that name a provider and a model with a price."""
    return {"serving": "anthropic", "base_url": provider.url, "api_key": "k", "model": "claude-haiku-4-5", **STORE}


STORE = {"responses": "store"}


def categories(path: str) -> dict[str, list[tuple[str, list[str]]]]:
    """Return the topics of the garden by category, each with its needs."""
    intent = taxonomy.load(parse(Path(path).read_text("utf-8"), path)).intents["garden"]
    return {one.name: [(topic.text, sorted(topic.needs)) for topic in one.topics] for one in intent.categories}


def test_topics_are_added_to_each_category_and_the_file_keeps_its_own_text(model: Provider) -> None:
    """New topics come last, with their category's needs or for adults; the file keeps its text and comments."""
    grown = grow("garden.yaml", "more.yaml", number=25, **calling(model))
    assert len(model.requests) == 4
    assert str(grown).startswith("50 new topics in 2 categories (4 calls, ")
    text = Path("more.yaml").read_text("utf-8")
    assert text.startswith(GARDEN)
    assert "(claude-haiku-4-5)" in text
    made = categories("more.yaml")
    assert {name: len(topics) for name, topics in made.items()} == {"Orchard": 26, "Pond": 27}
    assert {needs for topics in made.values() for _, (needs, *_) in topics[2:]} == {"adult"}
    shown = model.requests[-1].body["messages"][0]["content"]
    assert "frogspawn in a birdbath" in shown
    assert "Entries to write: exactly 5." in shown


def test_the_same_responses_give_the_same_file_without_a_key(model: Provider) -> None:
    """A replay gives the same file without calls, and missing responses raise an error and write nothing."""
    grow("garden.yaml", "more.yaml", number=3, **calling(model))
    grow("garden.yaml", "again.yaml", number=3, model="claude-haiku-4-5", **STORE)
    assert Path("more.yaml").read_bytes() == Path("again.yaml").read_bytes()
    with pytest.raises(MissingResponse, match="No response is recorded"):
        grow("garden.yaml", "other.yaml", number=4, model="claude-haiku-4-5", **STORE)
    assert not Path("other.yaml").exists()


def test_a_recipe_names_the_grown_file_as_plain_data(model: Provider) -> None:
    """A recipe uses the new topics of a grown file, and a grown file can be grown again."""
    grow("garden.yaml", "more.yaml", number=2, **calling(model))
    grow("more.yaml", "most.yaml", add="personas", number=3, **calling(model))
    grow("most.yaml", "all.yaml", number=2, **calling(model))
    assert len(categories("all.yaml")["Pond"]) == 6
    Path("x.consistent_chat.yaml").write_text("model: m\ntaxonomy: all.yaml\nintents: [garden]", "utf-8")
    recipe = Recipe.from_file("x.consistent_chat.yaml")
    assert len({spec.topic for spec in Plan(recipe)}) == 11
    assert len(recipe.chosen_taxonomy.personas) == len(taxonomy.builtin().personas) + 3


def test_categories_come_with_topics() -> None:
    """New categories get ten topics each, and a category that already exists is not added."""
    names = {"category_1": "Orchard", "category_2": "1. Compost Heaps.", "category_3": '"Beehives"'}
    with Provider(writing(lambda name, number: names.get(name) or told(name, number))) as provider:
        grown = grow("garden.yaml", "more.yaml", add="categories", number=3, intents=["garden"], **calling(provider))
    made = categories("more.yaml")
    assert {"Compost Heaps", "Beehives"} <= made.keys()
    assert len(made) == len(grown.topics) + 2
    assert all(len(topics) == 10 for topics in [*made.values()][2:])


def test_what_is_there_is_not_added_and_a_model_that_repeats_itself_stops() -> None:
    """Near-copies of existing entries are not added, and a model that repeats itself stops after 3 calls."""
    same = (
        "A heron that empties a pond of its goldfish.",
        "1. a heron that empties the pond of its goldfish",
        "new one",
    )
    with Provider(writing(lambda name, _: same[int(name[-1]) - 1])) as provider:
        grow("garden.yaml", "more.yaml", number=3, categories=["Pond"], **calling(provider))
        assert len(provider.requests) == 3
    assert categories("more.yaml")["Pond"][2:] == [("new one", ["adult"])]


HOSTILE = [
    "\x1b[31mred",
    "right\u202eleft",
    "x" * 501,
    "...",
    "*anchor [adult]",
    "&a !!python/object:os.system {a: b}",
    "extend:\n  personas: []",
    "no: yes",
    "# no comment",
    "[adult]",
    "a [[b]] c [sensitive, evil_tag]",
]


def test_hostile_texts_end_up_as_plain_entries_or_not_at_all() -> None:
    """Control characters, YAML markup and unknown tags in answers do not reach the taxonomy file."""
    with Provider(writing(lambda name, _: HOSTILE[int(name[6:]) - 1])) as provider:
        grow("garden.yaml", "more.yaml", number=len(HOSTILE), categories=["Pond"], **calling(provider))
    text = Path("more.yaml").read_text("utf-8")
    assert not re.search("[\x1b\u202e]", text)
    added = yaml.safe_load(text)["extend"]["intents"]["garden"]["categories"]["Pond"]
    named = [one if isinstance(one, str) else next(iter(one)) for one in added]
    assert named == ["*anchor", "&a !!python/object:os.system {a: b}", "no: yes",
                     "# no comment", "a [[b]] c"]  # fmt: skip
    needs = dict(categories("more.yaml")["Pond"])
    assert needs["*anchor"] == ["adult"]
    assert needs["a [[b]] c"] == ["adult", "sensitive"]


def test_a_topic_that_fits_no_persona_is_left_out() -> None:
    """A topic that fits no persona is left out, because it would make the file invalid."""
    Path("garden.yaml").write_text(GARDEN + "personas: [{a gardener: [adult]}, {a pupil: [child]}]", "utf-8")
    entries = ("for both, which nobody is [adult, child]", "for a pupil [child]")
    with Provider(writing(lambda name, _: entries[int(name[6:]) - 1])) as provider:
        grow("garden.yaml", "more.yaml", number=2, categories=["Pond"], **calling(provider))
    assert categories("more.yaml")["Pond"][2:] == [("for a pupil", ["child"])]


@given(st.text(), st.frozensets(st.sampled_from(["adult", "teen", "grave"])))
def test_any_text_is_read_or_left_out(text: str, tags: frozenset[str]) -> None:
    """Any text is left out or gives an entry that a file can store and that reads the same again."""
    found = read_entry(text, tags)
    if found is not None:
        assert found.tags <= tags
        assert read_entry(str(found), tags) == found
        assert yaml.safe_load(yaml.safe_dump([found.text])) == [found.text]


def test_topics_without_tags_meet_no_minor(model: Provider) -> None:
    """New topics without tags are for adults, so none of them fits a child or a teenager."""
    grow(None, "more.yaml", number=3, categories=["Emails and Letters"], **calling(model))
    whole = taxonomy.load(parse(Path("more.yaml").read_text("utf-8"), "more.yaml"))
    old = {topic.text for topic in taxonomy.builtin().intents["problem_solving"].topics()}
    added = [topic for topic in whole.intents["problem_solving"].topics() if topic.text not in old]
    young = [persona for persona in whole.personas if persona.tags & MINORS and "adult" not in persona.tags]
    assert added
    assert young
    assert not [topic for topic in added for persona in young if persona.fits(topic.needs)]


def test_budgets_stop_it_and_it_resumes(model: Provider, capsys: pytest.CaptureFixture[str]) -> None:
    """A reached budget gives exit code 3 and writes no file, and the next run makes only the remaining call."""
    options = [f"--{name.replace('_', '-')}={value}" for name, value in calling(model).items()]
    command = ["grow", "garden.yaml", "-n", "2", "--output", "more.yaml", *options]
    assert main([*command, "--max-calls", "1"]) == 3
    assert not Path("more.yaml").exists()
    assert main(command) == 0
    assert len(model.requests) == 2
    assert "more.yaml: 4 new topics in 2 categories (1 call, " in capsys.readouterr().err
    assert main(command) == 2
    assert "more.yaml exists already" in capsys.readouterr().err


def test_an_estimate_makes_no_calls(model: Provider) -> None:
    """The estimate counts the calls that are not recorded, and makes none."""
    before = estimate("garden.yaml", number=25, **calling(model))
    assert (before.calls, before.tokens.output > 0) == (4, True)
    assert re.fullmatch(r"to do: 4 calls, about [\d,]+ tokens in, [\d,]+ out; about \$0\.\d{4}", str(before))
    assert not model.requests
    grow("garden.yaml", "more.yaml", number=25, **calling(model))
    assert estimate("garden.yaml", number=25, model="claude-haiku-4-5", **STORE).calls == 0
    assert estimate("garden.yaml", add="categories", number=2, intents=["garden"], **calling(model)).calls == 3


def test_unusable_responses_are_drawn_again_and_a_refusal_costs_its_category() -> None:
    """Unusable responses are drawn again, and a refusal leaves out its category, as in a build."""

    def script(call: Call) -> Reply:
        if "Category: Pond" in call.body["messages"][0]["content"]:
            return Reply.refusal()
        return Reply.text("Sure!") if call.attempt == 0 else writing(told)(call)

    with Provider(script) as provider:
        grown = grow("garden.yaml", "more.yaml", number=2, **calling(provider))
    assert [*grown.topics] == [("garden", "Orchard")]
    assert grown.stats.failed == {"no_json": 1, "refused": 1}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"add": "flows"}, "A model cannot add 'flows'"),
        ({"categories": ["Pnod"]}, "There is no category 'Pnod'. .*'Pond'"),
        ({"source": "none.yaml"}, "none.yaml cannot be read"),
        ({"model": None, "serving": None}, "No model is set"),
    ],
)
def test_mistakes_are_named_before_a_call(given: dict[str, object], message: str, model: Provider) -> None:
    """Invalid arguments raise an error before any call, and no file is written."""
    options: dict[str, object] = {"source": "garden.yaml", **calling(model), **given}
    with pytest.raises(RecipeError, match=message):
        grow(options.pop("source"), "more.yaml", **options)  # type: ignore[arg-type]
    assert not model.requests
    assert not Path("more.yaml").exists()


def test_a_prompt_shows_a_bounded_number_of_entries() -> None:
    """The prompt shows at most 60 entries from the whole list, including the last one."""
    texts = [f"entry {number} of {number * 7}" for number in range(1000)]
    shown = Known(texts).shown(60)
    assert len(shown) <= 60
    assert shown[-1] == texts[-1]
    assert texts.index(shown[0]) < 20
    assert Known([]).shown(60) == []
    assert str(Entry("a", frozenset({"b", "a"}))) == "a [a, b]"
