"""The taxonomy: the built-in one, and what users can replace or add."""

from __future__ import annotations

from typing import Any

import pytest

from consistent_chat.errors import RecipeError
from consistent_chat.recipe import safe_yaml, shape, taxonomy
from consistent_chat.recipe.taxonomy import Category, Persona, Taxonomy, Topic

PAPER = {
    "diagnosis_to_solution": {"problem_solving", "health_consultation", "transaction"},
    "theory_to_scenarios": {"educational", "simulation"},
    "needs_to_solutions": {"simulation", "emotional_support", "transaction"},
    "concepts_to_connections": {"educational", "information_retrieval"},
    "single_to_multiple_perspectives": {"entertainment", "emotional_support"},
    "time_sequence": {"exploratory", "information_retrieval"},
    "hypothesis_testing": {"health_consultation", "exploratory", "entertainment"},
}
"""Which intents take which information flow, after arXiv 2506.03558."""

INTENTS = (
    "problem_solving",
    "educational",
    "health_consultation",
    "exploratory",
    "entertainment",
    "simulation",
    "emotional_support",
    "information_retrieval",
    "transaction",
)
SMALL_WORDS = {"a", "an", "and", "at", "by", "for", "from", "in", "of", "on", "or", "the", "to", "with"}

OWN = """\
flows:
  there_and_back:
    title: There and Back
    steps: [go there, come back]
intents:
  travel:
    title: Travel
    purpose: getting about
    flows: [there_and_back]
    categories:
      Trains:
        - a night train
        - a delayed train
"""


def own(text: str) -> Taxonomy:
    """Load a user's taxonomy from the text of its file."""
    return taxonomy.load(safe_yaml.parse(text, "own.yaml"))


def refusal(text: str) -> str:
    """Return the error message about a user's taxonomy file."""
    with pytest.raises(RecipeError) as caught:
        own(text)
    return str(caught.value)


def topics(whole: Taxonomy) -> list[str]:
    """Return all topics of a taxonomy."""
    return [topic.text for intent in whole.intents.values() for topic in intent.topics()]


def test_the_nine_intents_are_the_papers() -> None:
    """The built-in taxonomy has the nine intents of the paper, in the documented order."""
    assert tuple(taxonomy.builtin().intents) == INTENTS


@pytest.mark.parametrize("flow", PAPER)
def test_each_flow_belongs_to_the_papers_intents(flow: str) -> None:
    """Each information flow belongs at least to the intents that the paper assigns to it."""
    intents = taxonomy.builtin().intents.values()
    assert {intent.key for intent in intents if flow in {own.key for own in intent.all_flows()}} >= PAPER[flow]


def test_a_flow_says_what_either_side_does() -> None:
    """Every flow has at least two steps of the user, and a text about the assistant's part.

    The flows include the paper's seven and others.
    """
    flows = {flow.key: flow for intent in taxonomy.builtin().intents.values() for flow in intent.all_flows()}
    assert set(flows) > set(PAPER)
    assert all(len(flow.steps) >= 2 and flow.answers for flow in flows.values())


@pytest.mark.parametrize("key", INTENTS)
def test_an_intent_is_broad(key: str) -> None:
    """Each intent has at least fifteen categories with ten topics each."""
    categories = taxonomy.builtin().intents[key].categories
    assert len(categories) >= 15
    assert min(len(category.topics) for category in categories) >= 10


def test_categories_are_in_title_case_and_different() -> None:
    """Names of categories are in title case and all different.

    They are the values of a column, for example "Travel Planning".
    """
    names = [category.name for intent in taxonomy.builtin().intents.values() for category in intent.categories]
    words = [word for name in names for word in name.split() if word not in SMALL_WORDS]
    assert all(word[0].isupper() for word in words)
    assert all(name[0].isupper() for name in names)
    assert len(set(names)) == len(names)


def test_there_are_many_topics_and_no_two_are_alike() -> None:
    """There are at least 3,600 topics, and no two of all intents are equal without regard to case."""
    found = topics(taxonomy.builtin())
    assert len(found) >= 3600
    assert len({topic.casefold() for topic in found}) == len(found)


def test_many_people_speak() -> None:
    """There are at least 140 personas, all different, and at least 12 manners."""
    personas = {persona.text for persona in taxonomy.builtin().personas}
    assert len(personas) == len(taxonomy.builtin().personas) >= 140
    assert len({manner.name for manner in taxonomy.builtin().manners}) >= 12


def test_no_name_in_the_built_in_taxonomy_leads_nowhere() -> None:
    """Every tag, flow and intent that the built-in taxonomy refers to exists, so no topic is left without personas."""
    whole = taxonomy.builtin()
    has = {tag for persona in whole.personas for tag in persona.tags}
    marks = {"sensitive", "grave", "play"}
    needs = {tag for intent in whole.intents.values() for topic in intent.topics() for tag in topic.needs}
    assert needs <= has | marks
    flows = {flow.key for intent in whole.intents.values() for flow in intent.all_flows()}
    named = {tag for manner in whole.manners for tag in manner.unlike | manner.needs}
    assert named <= has | marks
    known = has | marks | flows | {manner.name for manner in whole.manners}
    options = [option for facet in shape.FACETS for option in shape.options(facet)]
    assert {name for option in options for name in option.unlike} <= known
    assert {name for option in options for name in option.intents} <= set(INTENTS)
    assert {kind for option in options for kind, _ in option.sizes} <= set(shape.sizes())


def test_a_section_that_is_named_replaces_the_built_in_one() -> None:
    """A section in a user's file replaces the built-in section. Other sections stay the same."""
    loaded = own(OWN)
    assert list(loaded.intents) == ["travel"]
    assert loaded.intents["travel"].flows[0].steps == ("go there", "come back")
    assert loaded.personas == taxonomy.builtin().personas


def test_extend_adds_to_the_built_in_one() -> None:
    """`extend` adds topics to a category, categories to an intent, new intents, and new personas at the end."""
    base = taxonomy.builtin()
    first = base.intents["educational"].categories[0].name
    loaded = own(f"""\
extend:
  personas: [a lighthouse keeper, {base.personas[0].text}]
  intents:
    educational:
      categories:
        {first}: [a topic of my own]
        Beekeeping: [a swarm in May]
    travel: {{title: Travel, purpose: getting about, flows: [time_sequence], categories: {{Trains: [a night train]}}}}
""")
    categories = {category.name: category for category in loaded.intents["educational"].categories}
    before = base.intents["educational"].categories[0]
    assert loaded.personas == (*base.personas, Persona("a lighthouse keeper"))
    assert categories[first] == before._replace(
        topics=(*before.topics, Topic("a topic of my own", frozenset({"teen"})))
    )
    assert categories["Beekeeping"] == Category("Beekeeping", (Topic("a swarm in May"),))
    assert list(loaded.intents) == [*INTENTS, "travel"]
    assert loaded.intents["simulation"] == base.intents["simulation"]


def test_a_mere_value_under_extend_replaces() -> None:
    """A single value under `extend`, such as a title, replaces the built-in value."""
    loaded = own("extend: {intents: {educational: {title: Teaching}}}")
    assert loaded.intents["educational"].title == "Teaching"
    assert taxonomy.builtin().intents["educational"].title == "Educational Interaction"


def test_only_keeps_the_taxonomys_order() -> None:
    """Chosen intents keep the order of the taxonomy."""
    chosen = taxonomy.builtin().only(["transaction", "educational"])
    assert list(chosen.intents) == ["educational", "transaction"]


def test_white_space_in_texts_is_folded() -> None:
    """White space in a text is collapsed, so that a wrapped text is one line in the prompt."""
    assert own('personas: ["  a\\n  baker "]').personas == (Persona("a baker"),)


MISTAKES = {
    "[a, b]": "own.yaml, line 1 must be a mapping with some of: flows, intents, personas, manners, extend.",
    "topics: [a]": "own.yaml, line 1 (topics) is not a known name. Use: flows, intents, personas, manners, extend.",
    "extend:\n  topics: [a]": "own.yaml, line 2 (extend.topics) is not a known name. "
    "Use: flows, intents, personas, manners.",
    "extend: 3": "own.yaml, line 1 (extend) must be a mapping, not int.",
    "extend:\n  personas: {a: b}": "own.yaml, line 2 (extend.personas) must be a list, like the built-in one.",
    "personas: []": "own.yaml, line 1 (personas) is empty. Give at least one entry, or leave it out.",
    "personas:\n  - a\n  - 3": "own.yaml, line 3 (personas.1) must be text, not 3. Put it in quotes.",
    "personas:\n  - yes": "own.yaml, line 2 (personas.0): YAML reads yes as true or false. Write true or false, or put "
    "it in quotes if it is text.",
    "personas:\n  - 7": "own.yaml, line 2 (personas.0) must be text, not 7. Put it in quotes.",
    "personas:\n  - a\n  - b\n  - a": "own.yaml, line 4 (personas.2): 'a' is repeated. Remove one.",
    "personas: ['']": "own.yaml, line 1 (personas.0) must have 1 to 500 characters, not 0.",
    f"personas: [{'a' * 501}]": "own.yaml, line 1 (personas.0) must have 1 to 500 characters, not 501.",
    "personas: a": "own.yaml, line 1 (personas) must be a list, not str.",
    "manners:\n  2024: new": "own.yaml, line 2 (manners.2024): the name 2024 must be text. Put it in quotes.",
    "manners:\n  'a  b': new": "own.yaml, line 2 (manners.a  b): the name 'a  b' has extra white space. Write 'a b'.",
    OWN.replace("    purpose: getting about\n", ""): "own.yaml, line 6 (intents.travel) lacks 'purpose'. Add it.",
    OWN.replace("purpose:", "porpoise:"): "own.yaml, line 8 (intents.travel.porpoise) is not a known name. "
    "Use: title, purpose, flows, categories.",
    OWN.replace("[there_and_back]", "[away]"): "own.yaml, line 9 (intents.travel.flows.0): there is no flow 'away'. "
    "Use one of: there_and_back.",
    OWN.replace("flows: [there_and_back]", "flows: []"): "own.yaml, line 9 (intents.travel.flows) is empty. "
    "Give at least one entry.",
    OWN.partition("      Trains")[0][:-1] + " {}": "own.yaml, line 10 (intents.travel.categories) is empty. "
    "Give at least one category.",
    OWN.replace("a delayed train", "a night train"): "own.yaml, line 13 (intents.travel.categories.Trains.1): "
    "'a night train' is repeated. Remove one.",
    "extend:\n  intents:\n    educational:\n      categories:\n        New: text": "own.yaml, line 5 "
    "(intents.educational.categories.New) must be a list, not str.",
}


@pytest.mark.parametrize("text", MISTAKES, ids=lambda text: MISTAKES[text][10:50])
def test_a_mistake_is_named_with_its_line_and_key(text: str) -> None:
    """A mistake raises an error with file, line and key."""
    assert refusal(text) == MISTAKES[text]


def test_a_topic_with_half_a_character_is_refused() -> None:
    """A text with half a surrogate pair is refused, because no model can receive it."""
    given: dict[str, Any] = {"personas": ["half \ud800"]}
    with pytest.raises(RecipeError, match=r"taxonomy \(personas.0\) has a character that is not valid text"):
        taxonomy.load(safe_yaml.Document(given, "taxonomy"))


TAGGED = """\
personas:
  - a passer-by
  - a shepherd: [adult, worker]
  - a schoolgirl: [teen]
manners:
  terse: says little
  florid: {description: says much, unlike: [grave, teen], needs: [adult]}
intents:
  farm:
    title: Farm
    purpose: animals
    flows: [in_pieces, rounds]
    categories:
      Sheep:
        needs: [adult]
        flows: [rounds]
        topics: |
          a ewe that limps
          a dog that has to be put down [adult, grave]
      Hens: [an egg without a shell, {a fox at dusk: [teen]}]
"""


def test_needs_flows_and_tags_are_read() -> None:
    """Topics are read from lines or from a list, with their own needs or those of the category.

    Personas and manners are read with their tags.
    """
    whole = own(TAGGED)
    sheep, hens = whole.intents["farm"].categories
    assert sheep.topics == (
        Topic("a ewe that limps", frozenset({"adult"})),
        Topic("a dog that has to be put down", frozenset({"adult", "grave"})),
    )
    assert hens.topics == (Topic("an egg without a shell"), Topic("a fox at dusk", frozenset({"teen"})))
    assert [flow.key for flow in sheep.flows] == ["rounds"]
    assert hens.flows == ()
    anyone, shepherd, girl = whole.personas
    assert [persona.text for persona in whole.personas if persona.fits(sheep.topics[0].needs)] == [
        "a passer-by",
        "a shepherd",
    ]
    assert all(persona.fits(hens.topics[1].needs) for persona in (anyone, shepherd, girl))
    florid = whole.manners[1]
    assert [florid.fits(persona, frozenset()) for persona in whole.personas] == [True, True, False]
    assert not florid.fits(shepherd, sheep.topics[1].marks)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "  - a passer-by\n  - a shepherd: [adult, worker]\n",
            "",
            "own.yaml: no persona fits the topic 'a ewe that limps' of 'farm', which needs adult. "
            "Add a persona that has these tags, or one without tags.",
        ),
        (
            "[adult, worker]",
            "[Adult]",
            "own.yaml, line 3 (personas.1.a shepherd.0) must be a tag of lower-case letters and _, not 'Adult'.",
        ),
        (
            "flows: [rounds]",
            "flow: [rounds]",
            "own.yaml, line 16 (intents.farm.categories.Sheep.flow) is not a known name. Use: topics, needs, flows.",
        ),
    ],
    ids=["nobody", "tag", "field"],
)
def test_mistakes_in_needs_and_tags_are_named(old: str, new: str, message: str) -> None:
    """Mistakes in needs and tags raise errors that name file, line and key, or the topic that no persona fits."""
    assert refusal(TAGGED.replace(old, new)) == message
