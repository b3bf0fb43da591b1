"""Finds mixed-up roles and wrong speakers.

Mixed-up roles: a transcript in one message, a role's name before a message, an answer that echoes the question. Wrong
speakers: the user speaks in an answer, the assistant in a user message, or a narrator in either.
"""

from __future__ import annotations

import functools
import re

from consistent_chat.dialogue.checks.side import Side, phrases
from consistent_chat.dialogue.parse import Reason

SHORTEST_ECHO = 14
"""Minimum characters of an answer that counts as an echo."""
MOST_MARKS = 8
"""Maximum number of characters by which an echo is longer than the message: quotation marks, a full stop."""
LEAST_WORDS = 5
"""Minimum characters of an echo: a shorter answer may repeat the user's words ("Yes, Tuesday at nine.")."""
USER = "user|human|benutzer|nutzer|usuario|utilisateur|utente|用户|ユーザー"
ASSISTANT = (
    "assistant|ai assistant|ai|chatbot|bot|chatgpt|claude|assistent|ki|asistente|assistente|助手|ai助手|アシスタント"
)


def transcripts(side: Side) -> None:
    """Raise Unusable if a message begins with a role's name, has lines of both roles, or tokens of a chat template."""
    for number, message in enumerate(side.lower):
        if _TOKEN(side.prose(number)):
            raise side.unusable(number, Reason.MIXED_ROLES, "has the special tokens of a chat template")
        _transcript(side, number, message)


def _transcript(side: Side, number: int, message: str) -> None:
    if match := _PREFIX(message):
        raise side.unusable(number, Reason.MIXED_ROLES, f"begins with {match[0].strip()!r}")
    if "\n" in message and _has_both(message) and _has_both(side.prose(number)):
        raise side.unusable(number, Reason.MIXED_ROLES, "is a transcript of both roles")


def _has_both(text: str) -> bool:
    lines = text.split("\n")
    return any(map(_OF_USER, lines)) and any(map(_OF_ASSISTANT, lines))


def echoes(side: Side) -> None:
    """Raise Unusable if an answer is, word for word, one of the user's own messages."""
    longest = max(map(len, side.asked), default=0) + MOST_MARKS
    short = [number for number, text in enumerate(side.messages) if SHORTEST_ECHO < len(text) <= longest]
    lengths = {len(text.strip(_EDGES)) for text in side.asked} if short else ()
    for number in short:
        text = side.messages[number]
        if text.isascii() and len(text.strip(_EDGES)) not in lengths:  # lower case changes the length of no ASCII text
            continue
        said = _plain(text)
        if not said or said not in map(_plain, side.asked):
            continue
        if len(said.split()) >= LEAST_WORDS or not said.isascii():
            raise side.unusable(number, Reason.MIXED_ROLES, "repeats a user message word for word")


def _plain(text: str) -> str:
    return text.lower().strip(_EDGES).replace("\u2019", "'")


def _line(names: str) -> str:
    number = r"(?: ?(?:message|turn|answer|response))?(?: ?[0-9]+)?"
    return rf"[ \t>*_#\[(\"-]*(?:{names}){number}[*_\])\"]*[ \t]*[:：]"


_EDGES = " \n\"'.?!…¿¡»«“”。？！"
_TOKENS = (
    r"<\|(?:im_start|im_end|user|assistant|system|end|eot_id|start_header_id|endoftext)\|>|\[/?inst\]|<start_of_turn>"
    r"|</s>"
)
_PREFIX = re.compile(_line(f"{USER}|{ASSISTANT}")).match
_OF_USER = re.compile(_line(USER)).match
_OF_ASSISTANT = re.compile(_line(ASSISTANT)).match
_TOKEN = re.compile(_TOKENS).search
SIGNS = {"role_line": rf"\n{_line(f'{USER}|{ASSISTANT}')}", "chat_token": _TOKENS}
"""RE2 patterns, one of which occurs in every transcript."""


LONGEST_REFUSAL = 160
"""Maximum characters of an answer that only declines."""


def boilerplate(side: Side) -> None:
    """Raise Unusable if an answer only declines, or mentions the model in a conversation that is not about machines."""
    known, asked = phrases(side.language), side.asked
    for number, text in enumerate(side.lower) if "refusals" in side.signs else ():
        if len(text) < LONGEST_REFUSAL and known.refusals.fullmatch(text):
            raise side.unusable(number, Reason.BOILERPLATE, f"only declines: {text[:60]!r}")
    is_about = functools.cache(lambda number: _ABOUT_MACHINES("\n".join(asked[: number + 1]).lower()))
    for number, phrase in side.matches("boilerplate", known.boilerplate):
        if not is_about(number):
            raise side.unusable(number, Reason.BOILERPLATE, f"mentions the model: {phrase!r}")


def leaks_reasoning(side: Side) -> None:
    """Raise Unusable if a message reasons about "the user" although the conversation has not mentioned users."""
    is_answer = side.role == "assistant"
    is_about = functools.cache(lambda number: is_answer and _ABOUT_USERS("\n".join(side.asked[: number + 1]).lower()))
    start = functools.cache(lambda number: side.lower[number].lstrip(" \"'(*"))
    for number, phrase in side.matches("reasoning", phrases(side.language).reasoning):
        if (is_answer or start(number).startswith(phrase)) and not is_about(number):
            raise side.unusable(number, Reason.LEAKS_REASONING, f"talks about the user: {phrase!r}")


def swapped_roles(side: Side) -> None:
    """Raise Unusable if an answer asks for help or thanks for it as a user would, except in a role play."""
    is_play = functools.cache(lambda number: _ROLE_PLAY("\n".join(side.asked[: number + 1]).lower()))
    for number, phrase in side.matches("flips", phrases(side.language).flips):
        if not is_play(number):
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
