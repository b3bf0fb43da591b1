"""The prompts of all stages: text files in this folder, and the functions that fill them in.

The system text is the same for all dialogues of a recipe, so that providers can cache it; the parts that differ come
last.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from importlib import resources
from string import Template

from consistent_chat.plan.cards import Spec
from consistent_chat.plan.shape import Shape, Size
from consistent_chat.recipe.rubric import BUILTIN, Criterion, Rubric
from consistent_chat.recipe.taxonomy.types import PASTED
from consistent_chat.request import quoted

NAMES = (
    *("skeleton.system", "skeleton.system_language", "skeleton.user"),
    *("answers.system", "answers.system_language", "answers.system_prompt", "answers.user"),
    *("judge.system", "judge.user"),
)

NOTES_LANGUAGE = "english"
"""The language of the prompts. Dialogues in it need no instruction about the language."""
WITH_SOURCE = ("skeleton.source", "answers.source", "judge.source", "answers.given")
"""The prompts of recipes with seeds."""
OF_RUBRICS = ("rubric.system", "rubric.source", *(f"criterion.{name}" for name in BUILTIN))
"""The prompts of recipes that define criteria."""
TURN_BY_TURN = tuple(f"user_message.{part}" for part in ("system", "user", "turn", "goes_on", "may_end", "last"))
"""The prompts of recipes whose user messages are written turn by turn."""
COMPARISON = ("comparison.system", "comparison.user")
"""The prompts of recipes with preferences."""
EXTENDING = ("skeleton.extend", "answers.extend")
"""The prompts of recipes that extend given conversations."""
CHAT_LENGTH = ("chat.length",)
"""The prompt of recipes whose answers are written turn by turn, and have a length."""
INSTRUCTIONS = "instructions"
"""The prompt of recipes with instructions, which follow ours."""
_SOURCES = (*WITH_SOURCE, "rubric.source")
_ALL = len(NAMES) + len(WITH_SOURCE) + len(OF_RUBRICS) + len(TURN_BY_TURN) + len(COMPARISON) + len(EXTENDING) + 2

NO_PART = "answer what is asked"
NO_SIZES = "what each message calls for"
NOTHING_HAPPENS = "nothing in particular"


def contents(
    with_source: bool = False,
    turn_by_turn: bool = False,
    with_instructions: bool = False,
    with_rubric: bool = False,
    with_pairs: bool = False,
    extending: bool = False,
    with_chat_length: bool = False,
) -> dict[str, str]:
    """Return every prompt's text by name, for the recipe's fingerprint."""
    parts = (
        (WITH_SOURCE, with_source),
        (TURN_BY_TURN, turn_by_turn),
        ((INSTRUCTIONS,), with_instructions),
        (OF_RUBRICS, with_rubric),
        (COMPARISON, with_pairs),
        (EXTENDING, extending),
        (CHAT_LENGTH, with_chat_length),
    )
    further = (name for names, is_used in parts if is_used for name in names)
    return {name: _text(name) for name in (*NAMES, *further)}


def skeleton(spec: Spec, language: str, instructions: str = "") -> tuple[str, str]:
    """Return the system and user texts that ask for a dialogue's user messages. `instructions` are the recipe's."""
    if spec.given_messages:
        user = _extended(spec)
    else:
        notes = _notes(spec, language)
        notes["sizes"] = _listed(spec.shape.messages)
        user = _form("skeleton.user") % notes
    return _system("skeleton.system", language, None, instructions), _with_source("skeleton.source", user, spec)


def user_message(
    spec: Spec, users: Sequence[str], replies: Sequence[str], language: str, least: int, instructions: str = ""
) -> tuple[str, str]:
    """Return the system and user texts that ask for the user's next message; each earlier message has an answer.

    From turn `least` on, the message may be the last. The text that changes from turn to turn is at the end.
    """
    number, turns = len(users) + 1, spec.shape.turns
    end = "last" if number >= turns else "goes_on" if number < least else "may_end"
    said = {
        "conversation": _conversation(users, replies),
        "number": number,
        "turns": turns,
        "size": _sized(spec.shape.messages[number - 1]),
        "end": _text(f"user_message.{end}"),
    }
    notes = _with_source("skeleton.source", _form("user_message.user") % _notes(spec, language), spec)
    system = _system("user_message.system", language, None, instructions)
    return system, f"{notes}\n\n{_form('user_message.turn') % said}"


def chat_system(spec: Spec, system_prompt: str | None, instructions: str = "", with_length: bool = False) -> str:
    """Return the system text of a real chat: system prompt, instructions, source and lengths, if the recipe has them.

    It is the same for all turns, so that providers can cache the chat that follows it.
    """
    source = _with_source("answers.source", "", spec).lstrip()
    sizes = _listed(spec.shape.replies) if with_length else ""
    length = _form("chat.length") % {"sizes": sizes} if sizes else ""
    return "\n\n".join(filter(None, (system_prompt, instructions, source, length)))


def answers(
    spec: Spec, messages: Sequence[str], language: str, system_prompt: str | None = None, instructions: str = ""
) -> tuple[str, str]:
    """Return the system and user texts that ask for the answers to all of a dialogue's user messages.

    The answers follow `system_prompt`, which the user does not see.
    """
    before = len(spec.given_answers)
    lines = [f'"user_{number}": {quoted(text)}' for number, text in enumerate(messages[before:], 1)]
    name = "answers.extend" if before else "answers.given" if spec.given_messages else "answers.user"
    drawn = {
        **_about(spec),
        "part": spec.flow.answers or NO_PART,
        "outcome": _placed(spec.shape.outcome.answers, spec.shape) or NOTHING_HAPPENS,
        "sizes": _listed(spec.shape.replies[before:]) or NO_SIZES,
        "messages": "{\n" + ",\n".join(lines) + "\n}",
    }
    if before:
        drawn |= {
            "conversation": _conversation(messages[:before], spec.given_answers),
            "turns": str(len(messages) - before),
        }
    user = _form(name) % drawn
    return _system("answers.system", language, system_prompt, instructions), _with_source("answers.source", user, spec)


def _extended(spec: Spec) -> str:
    """Return the user text that asks for further messages of a given conversation."""
    said = _conversation(spec.given_messages, spec.given_answers)
    return _form("skeleton.extend") % {"conversation": said, "turns": spec.added_turns}


def judge(
    spec: Spec,
    messages: Sequence[str],
    replies: Sequence[str],
    language: str,
    system_prompt: str | None = None,
    rubric: Rubric | None = None,
) -> tuple[str, str]:
    """Return the system and user texts that ask for the scores of a dialogue, with its assistant's system prompt."""
    conversation = _conversation(messages, replies, system_prompt)
    user = _form("judge.user") % {"turns": len(messages), "conversation": conversation}
    if rubric is None:
        return _system("judge.system", language), _with_source("judge.source", user, spec)
    system = _rubric_system(rubric.criteria, language)
    return system, _with_source("rubric.source", user, spec)


def comparison(
    spec: Spec,
    messages: Sequence[str],
    replies: Sequence[str],
    answers: tuple[str, str],
    language: str,
    system_prompt: str | None = None,
) -> tuple[str, str]:
    """Return the system and user texts that ask which of two answers to the last of the messages is better."""
    said = [text for pair in zip(messages, replies) for text in pair] + [messages[-1]]
    names = [f"{role}_{number}" for number in range(1, len(messages) + 1) for role in ("user", "assistant")]
    system = [] if system_prompt is None else [("system", system_prompt)]
    conversation = _object([*system, *zip(names, said)])
    given = {"conversation": conversation, "answers": _object(list(zip(("first", "second"), answers)))}
    user = _form("comparison.user") % given
    return _system("comparison.system", language), _with_source("judge.source", user, spec)


def _object(texts: Sequence[tuple[str, str]]) -> str:
    """Return texts by name as a JSON object, one per line."""
    return "{\n" + ",\n".join(f'"{name}": {quoted(text)}' for name, text in texts) + "\n}"


@functools.lru_cache(maxsize=64)
def _rubric_system(criteria: tuple[Criterion, ...], language: str) -> str:
    names = [name for one in criteria for name in (f"{one.name}_reason", one.name)]
    lines = (f"- {one.name}: {one.text or _form(f'criterion.{one.name}') % {'language': language}}" for one in criteria)
    return _form("rubric.system") % {
        "criteria": "\n".join(lines),
        "keys": ", ".join(f'"{name}"' for name in names),
        "language": language,
    }


def _conversation(messages: Sequence[str], replies: Sequence[str], system_prompt: str | None = None) -> str:
    """Return a chat as a JSON object, one message per line; the last messages may have no reply yet."""
    pairs = enumerate(zip(messages, replies), 1)
    lines = [f'"user_{n}": {quoted(asked)},\n"assistant_{n}": {quoted(said)}' for n, (asked, said) in pairs]
    lines += [f'"user_{n}": {quoted(asked)}' for n, asked in enumerate(messages[len(replies) :], len(replies) + 1)]
    lines[:0] = [] if system_prompt is None else [f'"system": {quoted(system_prompt)}']
    return "{\n" + ",\n".join(lines) + "\n}"


def blanks(name: str, text: str) -> dict[str, str]:
    """Return the values of a prompt's placeholders by name; empty if the text is from another prompt."""
    text, fixed, names = _without_source(name, text), *_parts(name)
    at, found = len(fixed[0]), dict[str, str]()
    if not text.startswith(fixed[0]) or not text.endswith(fixed[-1]):
        return {}
    for number, (blank, after) in enumerate(zip(names, fixed[1:]), 1):
        stop = at + len(found[blank]) if blank in found else text.find(after, at)
        stop = len(text) - len(after) if number == len(names) else stop
        if stop < at or not text.startswith(after, stop) or found.setdefault(blank, text[at:stop]) != text[at:stop]:
            return {}
        at = stop + len(after)
    return found


def _with_source(name: str, user: str, spec: Spec) -> str:
    """Return a prompt with the text of the dialogue's source, if it has one, as its last block."""
    if spec.source is None or not spec.source.source:
        return user
    return f"{user}\n\n{_form(name) % {'source': quoted(spec.source.source)}}"


def _without_source(name: str, text: str) -> str:
    """Return a prompt without its last block, if that is a source. A judge's prompt may have one or not."""
    names = ("judge.source", "rubric.source") if name == "judge.user" else (name.replace(".user", ".source"),)
    for source in names:
        text = text.partition(f"\n\n{_parts(source)[0][0]}")[0] if source in _SOURCES else text
    return text


def _notes(spec: Spec, language: str) -> dict[str, object]:
    """Return what the writer of the user's side is told about a dialogue."""
    shape = spec.shape
    return {
        **_about(spec),
        "topic": spec.topic,
        "flow": spec.flow.title,
        "steps": _numbered(spec.flow.steps),
        "persona": spec.persona,
        "manner": spec.manner[0],
        "manner_description": spec.manner[1],
        "mood": shape.mood.description,
        "outcome": _placed(shape.outcome.description, shape),
        "ending": shape.ending.description,
        "language": language,
    }


def _about(spec: Spec) -> dict[str, object]:
    return {
        "intent": spec.intent.title,
        "purpose": spec.intent.purpose,
        "category": spec.category,
        "turns": spec.shape.turns,
    }


def _placed(text: str, shape: Shape) -> str:
    """Return the text of an outcome, with message numbers filled in."""
    if "{" not in text:  # as most do
        return text
    return text.replace("{early}", str(shape.early)).replace("{late}", str(shape.late))


def _listed(sizes: Sequence[Size]) -> str:
    """Return the length of each message: "1: 12, 2: pasted material of 60 with a line on it, 3: 4"."""
    listed = [
        f"{number}: {words if kind != PASTED else _pasted(words)}" for number, (kind, words) in enumerate(sizes, 1)
    ]
    return ", ".join(listed)


def _sized(size: Size) -> str:
    kind, words = size
    return _pasted(words) if kind == PASTED else str(words)


def _pasted(words: int) -> str:
    return f"pasted material of {words} with a line on it"


@functools.lru_cache(maxsize=64)
def _numbered(steps: tuple[str, ...]) -> str:
    return "\n".join(f"  {number}. {step}" for number, step in enumerate(steps, 1))


@functools.lru_cache(maxsize=64)
def _system(name: str, language: str, system_prompt: str | None = None, instructions: str = "") -> str:
    parts = [_form(name) % {"language": language}]
    own = name.replace("user_message", "skeleton")
    if f"{own}_language" in NAMES and language.strip().casefold() != NOTES_LANGUAGE:
        parts.append(_form(f"{own}_language") % {"language": language})
    if system_prompt is not None and f"{name}_prompt" in NAMES:
        parts.append(_form(f"{name}_prompt") % {"system_prompt": quoted(system_prompt)})
    if instructions:
        parts.append(_form(INSTRUCTIONS) % {"instructions": instructions})
    return "\n\n".join(parts)


@functools.lru_cache(maxsize=_ALL)
def _form(name: str) -> str:
    """Return a prompt as a `%` format, which is filled in five times as fast as a Template."""
    return Template(_text(name).replace("%", "%%")).substitute(_Blanks())


@functools.lru_cache(maxsize=_ALL)
def _parts(name: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return a prompt's fixed texts and the names of the placeholders between them, in order."""
    parts = re.split(r"\$(\w+)", _text(name))
    return tuple(parts[::2]), tuple(parts[1::2])


class _Blanks(dict[str, str]):
    """Maps every name in a Template to its `%` placeholder."""

    def __missing__(self, name: str) -> str:
        return f"%({name})s"


@functools.lru_cache(maxsize=_ALL)
def _text(name: str) -> str:
    return resources.files("consistent_chat.dialogue.prompts").joinpath(f"{name}.txt").read_text("utf-8").strip()
