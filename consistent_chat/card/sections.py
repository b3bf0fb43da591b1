"""What a card says, section by section: Markdown of this package's own words; all other text goes through `html`."""

from __future__ import annotations

import json
import shlex
import urllib.parse
from collections.abc import Iterable, Iterator

from consistent_chat.card import tables
from consistent_chat.card.about import About, Seen
from consistent_chat.card.html import code, fence, line, message, plain
from consistent_chat.stats import PAPER, SAMPLE, Diversity
from consistent_chat.text.sanitize import visible

TURNS = 8
"""Turns of a sample that are shown."""

IMAGES = """\
![Words by turn](plots/turns.svg)

![Intents by category](plots/categories.svg)

![Tokens of a dialogue](plots/tokens.svg)"""

STAND_INS = {
    "rehearsal": "No model was asked: the messages are made up for a rehearsal, of no use for training.",
    "demo": "No model was asked: the messages were written for a demonstration.",
}
"""What there is to say of models that are none."""

MAKING = """\
After the [ConsistentChat paper](https://arxiv.org/abs/2506.03558): from an intent, a topic and an information flow, a
model first wrote all user messages of a dialogue, then all answers. Which dialogues there are follows from the recipe
alone; every response is kept as it came."""

COUNTING = f"""\
Mean / maximum, and for comparison what the paper ({PAPER.source}) reports of its {PAPER.dialogues:,} dialogues.
Utterances are messages of either side. Words are what white space sets apart; in scripts without spaces, letters."""

REBUILDING = """\
The rows come out again, byte for byte, from the recipe and the recorded responses beside it. It takes the package
`consistent_chat`, no key, and no call to a model."""

LIMITS = """\
- What a machine writes can be wrong, out of date and biased. Nothing here is medical, legal or financial advice.
- The people in it, and what they tell of themselves, are invented. The build checks form, not truth.
- All of a dialogue's user messages were written before its answers: the user never replies to what an answer says."""


def sections(about: About, seen: Seen, has_licence: bool) -> Iterator[str]:
    """Yield the parts of a card, each without a blank line at its ends."""
    yield _introduction(about, seen)
    yield f"## Use it\n\n{_use(about)}"
    yield f"## How it was made\n\n{_making(about)}\n\n{tables.fields(about.recipes)}"
    yield f"## In numbers\n\n{COUNTING}\n\n{tables.numbers(seen.statistics, about.titles)}"
    if seen.scores:
        yield _judged(about, seen)
    yield IMAGES
    yield f"## Redraws, substitutes, duplicates\n\n{_redraws(about, seen)}"
    yield f"## Cost\n\n{_cost(about, seen)}"
    yield "\n\n".join(["## Samples", *_samples(about, seen)])
    yield f"## Rebuild and verify it\n\n{_rebuild(about)}"
    yield f"## Limits\n\n{LIMITS}\n{_terms(has_licence)}"


def _introduction(about: About, seen: Seen) -> str:
    recipes = about.recipes.values()
    models = {recipe.model or "" for recipe in recipes}
    said = [STAND_INS[model] for model in sorted(models & STAND_INS.keys())]
    if real := sorted(models - STAND_INS.keys()):
        said.append(f"Every message was written by a machine ({', '.join(map(code, real))}), none by a person.")
    most = [recipe.num_turns_per_dialog for recipe in recipes]
    turns = f"{' or '.join(map(str, sorted(set(most))))} turn{'s' if max(most) > 1 else ''}"
    languages = " and ".join(sorted({line(recipe.language) for recipe in recipes}))
    count = f"{seen.statistics.total.dialogues:,} dialogues"
    return f"<p>{count} between a user and an assistant in {languages}, of {turns} each. {' '.join(said)}</p>"


def _use(about: About) -> str:
    names = [config["config_name"] for config in about.configs[1:] if config.get("data_files") != []]
    loads = [f"{_variable(name)} = load_dataset({_quoted(about.name)}, {_quoted(name)})" for name in names]
    first = f"dialogues = load_dataset({_quoted(about.name)})"
    return fence("python", ["from datasets import load_dataset", "", first, *loads])


def _variable(name: str) -> str:
    return name if name.isidentifier() and name.isascii() else "more"


def _making(about: About) -> str:
    files = dict.fromkeys(about.files.values())
    links = ", ".join(f'<a href="{urllib.parse.quote(visible(file), safe="")}">{code(file)}</a>' for file in files)
    return f"{MAKING}\n\n<p>The recipe: {links}</p>"


def _redraws(about: About, seen: Seen) -> str:
    total = seen.statistics.total
    failed = total.failed.total()
    facts = [
        f"- Responses that were of no use and asked again: {failed:,}{', by reason:' if failed else '.'}",
        *(f"  - {count:,} {plain(reason)}" for reason, count in total.reasons.items()),
        f"- Plans of dialogues that failed for good, so that a substitute took their place: {total.substitutes:,}.",
        f"- Dialogues that are the same as an earlier one: {total.duplicates:,}. {_near_duplicates(about)}",
        f"- {_diversity(total.diversity)}",
    ]
    return "\n".join(facts)


def _near_duplicates(about: About) -> str:
    """Tell whether they were dropped, which the recipe says: how many is among the reasons."""
    dropped = [split for split, recipe in about.recipes.items() if recipe.drop_near_duplicates]
    if not dropped:
        return "Near-duplicates were not looked for."
    where = "" if len(dropped) == len(about.recipes) else f" of {', '.join(map(plain, dropped))}"
    return f"Near-duplicates{where} were dropped, as `drop_near_duplicates` says: none is left."


def _judged(about: About, seen: Seen) -> str:
    models = {recipe.judge_model for recipe in about.recipes.values() if recipe.judge_model is not None}
    judges = " and ".join(map(code, sorted(models)))
    means = ", ".join(f"{name} {scores.mean:.2f} (at least {min(scores)})" for name, scores in seen.scores.items())
    return (
        f"<p>The model {judges} scored each dialogue from 1 to 5; on average: {means}. Its reasons are in the rows.</p>"
    )


def _diversity(measured: Diversity) -> str:
    return (
        f"Of {measured.dialogues:,} dialogues (at most {SAMPLE}, chosen by hash): distinct-1 "
        f"{measured.distinct_1:.3f}, distinct-2 {measured.distinct_2:.3f} ([Li et al. "
        "2016](https://arxiv.org/abs/1510.03055)); mean Jaccard index of two dialogues' word pairs "
        f"{measured.self_similarity:.4f}."
    )


def _cost(about: About, seen: Seen) -> str:
    tokens_in, tokens_out = (sum(counts) for counts in zip(*seen.tokens.values())) if seen.tokens else (0, 0)
    if not tokens_in + tokens_out:
        return "The provider gave no counts of tokens, so that no cost is known."
    tokens = f"{tokens_in:,} tokens in, {tokens_out:,} tokens out, unusable responses included"
    cost = seen.cost(about.recipes)
    if cost is None:
        return f"{tokens}. No price is known for the model."
    return f"{tokens}: US$ {cost:,.4f} by the list prices for single calls."


def _samples(about: About, seen: Seen) -> Iterator[str]:
    """Yield dialogues that open at a click; the first one is open."""
    for number, talk in enumerate(seen.samples):
        what = [f"<b>{line(about.titles.get(talk.intent, talk.intent))}</b>", line(talk.category), line(talk.topic)]
        begin = f"<details{'' if number else ' open'}><summary>{' · '.join(what)}</summary>"
        turns = list(map(_turn, talk.user_messages, talk.answers))
        more = [f"<p>and {len(turns) - TURNS} more turns</p>"] if len(turns) > TURNS else []
        yield "\n".join([begin, *turns[:TURNS], *more, "</details>"])


def _turn(asked: str, answered: str) -> str:
    return (
        f'<p dir="auto"><b>User:</b> {message(asked)}</p>\n'
        f'<blockquote dir="auto"><b>Assistant:</b> {message(answered)}</blockquote>'
    )


def _rebuild(about: About) -> str:
    urls = {split: f"{about.url}/{file}" for split, file in about.files.items()}
    builds = [
        f"consistent-chat build {shlex.quote(url)} --output {shlex.quote(f'{split}.parquet')}"
        for split, url in urls.items()
    ]
    files = urls if len(urls) > 1 else next(iter(urls.values()), "")
    loads = ["import consistent_chat", "from datasets import load_dataset", "", *_load(files)]
    return (
        f"{REBUILDING}\n\n{fence('sh', [f'consistent-chat verify {shlex.quote(about.name)}', *builds])}\n\n"
        "Or in Python; with `serving=` and another field, a model is asked for what changes, and nothing else:\n\n"
        f"{fence('python', loads)}"
    )


def _load(files: dict[str, str] | str) -> Iterable[str]:
    if isinstance(files, str):
        return [f'dialogues = load_dataset("consistent_chat", data_files={_quoted(files)})']
    lines = (f"    {_quoted(split)}: {_quoted(url)}," for split, url in files.items())
    return ["files = {", *lines, "}", 'dialogues = load_dataset("consistent_chat", data_files=files)']


def _terms(has_licence: bool) -> str:
    if not has_licence:
        return (
            "- No licence was given: ask the owner before you use it. The terms of the model's provider apply as well."
        )
    return "- Besides the licence, the terms of the model's provider apply to what the model wrote."


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
