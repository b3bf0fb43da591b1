"""The prompts of all stages, as text files beside this module, and how they are filled in.

The system text is the same for all dialogues of a recipe, so that providers can cache it; what differs comes last.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from string import Template

from consistent_chat.plan.plan import Spec
from consistent_chat.request import quoted

NAMES = (
    *("skeleton.system", "skeleton.user", "answers.system", "answers.system_prompt", "answers.user"),
    *("judge.system", "judge.user"),
)


def contents() -> dict[str, str]:
    """Return every prompt's text by name, for the recipe's fingerprint."""
    return {name: _text(name) for name in NAMES}


def skeleton(spec: Spec, turns: int, language: str) -> tuple[str, str]:
    """Return system and user text that ask for a dialogue's user messages."""
    drawn = {
        "topic": spec.topic,
        "flow": spec.flow.title,
        "steps": _numbered(spec.flow.steps),
        "persona": spec.persona,
        "manner": spec.manner[0],
        "manner_description": spec.manner[1],
    }
    user = _form("skeleton.user") % {**_about(spec, turns, language), **drawn}
    return _system("skeleton.system", turns, language), user


def answers(spec: Spec, messages: Sequence[str], language: str, system_prompt: str | None = None) -> tuple[str, str]:
    """Return system and user text that ask for the answers to all of a dialogue's user messages.

    The answers are to keep to `system_prompt`, which the user does not see.
    """
    turns = len(messages)
    lines = [f'"user_{number}": {quoted(text)}' for number, text in enumerate(messages, 1)]
    numbered = "{\n" + ",\n".join(lines) + "\n}"
    user = _form("answers.user") % {**_about(spec, turns, language), "messages": numbered}
    return _system("answers.system", turns, language, system_prompt), user


def judge(
    messages: Sequence[str], replies: Sequence[str], language: str, system_prompt: str | None = None
) -> tuple[str, str]:
    """Return system and user text that ask for the scores of a dialogue, with what its assistant was told first."""
    turns = len(messages)
    pairs = enumerate(zip(messages, replies), 1)
    lines = [f'"user_{n}": {quoted(asked)},\n"assistant_{n}": {quoted(said)}' for n, (asked, said) in pairs]
    lines[:0] = [] if system_prompt is None else [f'"system": {quoted(system_prompt)}']
    user = _form("judge.user") % {"turns": turns, "conversation": "{\n" + ",\n".join(lines) + "\n}"}
    return _system("judge.system", turns, language), user


def blanks(name: str, text: str) -> dict[str, str]:
    """Return what a prompt of this name was filled in with, by the names of its blanks; empty where it is another."""
    fixed, names = _parts(name)
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


def _about(spec: Spec, turns: int, language: str) -> Mapping[str, object]:
    return {
        "intent": spec.intent.title,
        "purpose": spec.intent.purpose,
        "category": spec.category,
        "turns": turns,
        "language": language,
    }


@functools.lru_cache(maxsize=64)
def _numbered(steps: tuple[str, ...]) -> str:
    return "\n".join(f"  {number}. {step}" for number, step in enumerate(steps, 1))


@functools.lru_cache(maxsize=64)
def _system(name: str, turns: int, language: str, system_prompt: str | None = None) -> str:
    system = _form(name) % {"turns": turns, "language": language}
    if system_prompt is None:
        return system
    rest = _form(f"{name}_prompt") % {"turns": turns, "system_prompt": quoted(system_prompt)}
    return f"{system}\n\n{rest}"


@functools.lru_cache(maxsize=len(NAMES))
def _form(name: str) -> str:
    """Return a prompt as a format for `%`, which is filled in five times as fast as a Template."""
    return Template(_text(name).replace("%", "%%")).substitute(_Blanks())


@functools.lru_cache(maxsize=len(NAMES))
def _parts(name: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return a prompt's fixed texts and the names of the blanks between them: each is searched for once, in order."""
    parts = re.split(r"\$(\w+)", _text(name))
    return tuple(parts[::2]), tuple(parts[1::2])


class _Blanks(dict[str, str]):
    """Every name of a blank in a Template, as the blank of that name in a format for `%`."""

    def __missing__(self, name: str) -> str:
        return f"%({name})s"


@functools.lru_cache(maxsize=len(NAMES))
def _text(name: str) -> str:
    return resources.files("consistent_chat.dialogue.prompts").joinpath(f"{name}.txt").read_text("utf-8").strip()
