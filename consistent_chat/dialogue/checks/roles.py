"""Finds mixed-up roles: a transcript in one message, a role's name before it, an answer that echoes the question."""

from __future__ import annotations

import re

from consistent_chat.dialogue.checks.side import Side
from consistent_chat.dialogue.parse import Reason

SHORTEST_ECHO = 14
"""Minimum characters of an answer that counts as an echo."""
MOST_MARKS = 8
"""Maximum characters by which an echo is longer than the message: quotation marks, a full stop."""
LEAST_WORDS = 5
"""A shorter answer may be the user's own words: "Yes, Tuesday at nine."."""
USER = "user|human|benutzer|nutzer|usuario|utilisateur|utente|用户|ユーザー"
ASSISTANT = (
    "assistant|ai assistant|ai|chatbot|bot|chatgpt|claude|assistent|ki|asistente|assistente|助手|ai助手|アシスタント"
)


def transcripts(side: Side) -> None:
    """Raise Unusable if a message begins with a role's name, has lines of both roles or tokens of a template."""
    for number, message in enumerate(side.lower):
        if _TOKEN(side.prose(number)):
            raise side.unusable(number, Reason.MIXED_ROLES, "has the marks of a chat template")
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
    if side.shortest > longest:
        return
    own = {_plain(said) for said in side.asked} - {""}
    for number, message in enumerate(side.messages):
        said = _plain(message) if SHORTEST_ECHO < len(message) <= longest else ""
        if said in own and (len(said.split()) >= LEAST_WORDS or not said.isascii()):
            raise side.unusable(number, Reason.MIXED_ROLES, "is a message of the user, word for word")


def _plain(text: str) -> str:
    return text.lower().strip(" \n\"'.?!…¿¡»«“”。？！").replace("\u2019", "'")


def _line(names: str) -> str:
    number = r"(?: ?(?:message|turn|answer|response))?(?: ?[0-9]+)?"
    return rf"[ \t>*_#\[(\"-]*(?:{names}){number}[*_\])\"]*[ \t]*[:：]"


_TOKENS = (
    r"<\|(?:im_start|im_end|user|assistant|system|end|eot_id|start_header_id|endoftext)\|>|\[/?inst\]|<start_of_turn>"
    r"|</s>"
)
_PREFIX = re.compile(_line(f"{USER}|{ASSISTANT}")).match
_OF_USER = re.compile(_line(USER)).match
_OF_ASSISTANT = re.compile(_line(ASSISTANT)).match
_TOKEN = re.compile(_TOKENS).search
SIGNS = {"role_line": f"(?m:^){_line(f'{USER}|{ASSISTANT}')}", "chat_token": _TOKENS}
"""RE2 patterns, one of which occurs in every transcript."""
