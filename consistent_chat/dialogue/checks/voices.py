"""Checks of the speaker: the assistant speaks in answers, the user in messages, and a narrator in neither."""

from __future__ import annotations

import re

from consistent_chat.dialogue.checks.phrases import phrases
from consistent_chat.dialogue.checks.side import Side
from consistent_chat.dialogue.parse import Reason

LONGEST_REFUSAL = 160
"""Maximum characters of an answer that only declines."""


def boilerplate(side: Side) -> None:
    """Raise Unusable if an answer speaks of the model, unless the conversation is about machines, or only declines."""
    known, asked = phrases(side.language), side.asked
    for number, text in enumerate(side.lower) if "refusals" in side.signs else ():
        if len(text) < LONGEST_REFUSAL and known.refusals.fullmatch(text):
            raise side.unusable(number, Reason.BOILERPLATE, f"only declines: {text[:60]!r}")
    for number, phrase in side.matches("boilerplate", known.boilerplate):
        if not _ABOUT_MACHINES("\n".join(asked[: number + 1]).lower()):
            raise side.unusable(number, Reason.BOILERPLATE, f"speaks of the model: {phrase!r}")


def leaks_reasoning(side: Side) -> None:
    """Raise Unusable if a message reasons about the user although the conversation has not mentioned one."""
    asked = side.asked
    for number, phrase in side.matches("reasoning", phrases(side.language).reasoning):
        said = "\n".join(asked[: number + 1] if side.role == "assistant" else asked[:number]).lower()
        about = side.role == "assistant" and _ABOUT_USERS(said)
        begins = side.role == "assistant" or side.lower[number].lstrip(" \"'(*").startswith(phrase)
        if begins and not about:
            raise side.unusable(number, Reason.LEAKS_REASONING, f"speaks of the user: {phrase!r}")


def swapped_roles(side: Side) -> None:
    """Raise Unusable if an answer asks for help or thanks for it, as a user does, except in a role play."""
    for number, phrase in side.matches("flips", phrases(side.language).flips):
        if not _ROLE_PLAY("\n".join(side.asked[: number + 1]).lower()):
            raise side.unusable(number, Reason.SWAPPED_ROLES, f"speaks as the user: {phrase!r}")


_ABOUT_MACHINES = re.compile(
    r"\b(?:ai|ais|ki|ia|robots?|bots?|chatbots?|computers?|machines?|language models?|chatgpt|gpt|llms?|openai"
    r"|sprachmodell\w*"
    r"|are you (?:an?|the|human|real|sure)|who are you|what are you|bist du|es-tu|eres (?:un|una|human))\b|人工智能"
    r"|机器人|你是谁"
).search
_ABOUT_USERS = re.compile(
    r"\busers?\b|\bapp\b|form\b|login|\bbug\b|website|software|\bpage\b|feature|nutzer|utilisat|usuari|utent|gebruiker"
    r"|пользоват|用户|ユーザー|사용자"
).search
_ROLE_PLAY = re.compile(
    r"\b(?:act as|acting|play|pretend|role-?play|you'?re (?:an?|the|my)|you are (?:an?|the|my)|be my|as if you|imagine"
    r"|interview"
    r"|improvis\w+|practi[sc]e|simulat\w+|character|scene|story|dialogue|rollenspiel|spiel\w*|stell dir vor|actúa|juega"
    r"|imagina|joue\w*|imagine\w*)\b|扮演|角色|演じ|역할|сыгра|представь"
).search
