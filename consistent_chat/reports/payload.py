"""The dialogues of a page: parts of JSON, each compressed and in base64, so that no text can end its HTML element.

They take about half of the text's size. The page's script unpacks a part to show it, and all parts in turn to search
them. Parts are kept in a temporary file; memory has one title for each entry. Markdown is stored as a tree of plain
values, from which the page builds elements that it knows: a list of texts and elements `[tag, children]` or, for a
numbered list, `["ol", children, first number]`. HTML is neither read nor made, and addresses are not linked: they
follow their text.
"""

from __future__ import annotations

import base64
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO

from markdown_it import MarkdownIt
from markdown_it.token import Token

from consistent_chat.dialogue.judge import FAULT
from consistent_chat.recipe.review import Review
from consistent_chat.recipe.shape import FACETS
from consistent_chat.reports.records import ReportRow
from consistent_chat.reports.summary import Summary, words
from consistent_chat.request import canonical_json
from consistent_chat.text.sanitize import sanitize

PART = 200
"""Number of entries in a part. A part is unpacked as a whole."""
TITLE = 120
"""Maximum number of characters of a title in the list."""
RENDERED = 5_000
"""Markdown is rendered in the first dialogues, up to this number. A long answer takes half a millisecond."""
ROLES = {
    "user": "User",
    "assistant": "Assistant",
    "system": "System",
    "reasoning": "Reasoning",
    "judge": "Judgement",
    "source": "Source",
    "raw": "What the model said",
}
ABOUT = ("intent", "intentTitle", "category", "reason", "redrawn")
"""The values by which entries are filtered. Entries with equal values share one record."""
FACTS = {
    "id": "Id",
    "category": "Category",
    "topic": "Topic",
    "information_flow": "Information flow",
    "persona": "Persona",
    "manner": "Manner",
    "mood": "Mood",
    "outcome": "Outcome",
    "ending": "Ending",
    "answer_length": "Length of answers",
    "message_length": "Length of messages",
    "language": "Language",
    "source": "Digest of the source",
    "model": "Model",
    "user_model": "Model of the user's side",
    "split": "Split",
    "index": "Index in the plan",
    "draws": "Responses",
    "input_tokens": "Tokens in",
    "output_tokens": "Tokens out",
    "stage": "Stage",
    "draw": "Draw",
    "detail": "Detail",
    "finish": "Ended with",
}
"""The facts shown of an entry, in this order, if known."""

OF_RUBRICS = ("score", FAULT, "agreement")
"""Fields of a judgement, other than scores, if it is by the recipe's criteria or by several judges."""


class Payload:
    """Collects entries in a file, packed, for a page's template."""

    def __init__(self, summary: Summary, file: BinaryIO, review: Review | None = None) -> None:
        self._summary, self._file, self._review = summary, file, review
        self._abouts: dict[tuple[str, ...], int] = {}
        self._items: list[tuple[int, str]] = []
        self._part: list[tuple[Sequence[Any], ...]] = []
        self._rendered = 0

    def add(self, entry: ReportRow) -> None:
        """Add the dialogue of an entry, and its failed draws."""
        if entry.row is not None:
            values = {**entry.row, **entry.origin, "intent": entry.talk().intent}
            messages = entry.messages
            title = values.get("topic") or next((text for role, text in messages if role == "user"), "")
            self._list(values, title, "", "yes" if _is_redrawn(entry) else "")
            judged = _judged(values.get("judgement"))
            extras = [
                (words(name).capitalize(), str(value))
                for name, value in entry.extras.items()
                if not (judged and name.startswith("judgement: "))
            ]
            keys = [str(key) for key in entry.origin.get("request_keys") or ()]
            name = [*keys, entry.answers_key] if keys else []
            source = [("source", entry.source)] if entry.source else []
            said = self._with_trees([*_with_reasoning(messages, entry.reasoning), *source])
            self._pack([*_facts(values), *extras], [*said, *judged], name)
        for failure in entry.failures:
            reason = str(failure["reason"])
            self._list(failure, failure.get("topic") or words(reason), reason, "")
            self._pack([("Reason", words(reason)), *_facts(failure)], [("raw", str(failure["response"]))])

    def index(self) -> str:
        """Return the list of all entries, packed."""
        return _packed(
            {
                "about": [dict(zip(ABOUT, about)) for about in self._abouts],
                "intents": self._intents(),
                "items": self._items,
                "roles": ROLES,
                "size": PART,
            }
        )

    def parts(self) -> Iterator[str]:
        """Yield the entries, `PART` at a time, packed."""
        self._flush()
        self._file.seek(0)
        for line in self._file:
            yield line.decode("ascii").rstrip("\n")

    def _intents(self) -> list[tuple[str, str]]:
        others = sorted({about[0] for about in self._abouts} - set(self._summary.titles))
        return [(key, self._summary.title_of(key)) for key in (*self._summary.titles, *others)]

    def _with_trees(self, messages: list[tuple[str, str]]) -> list[tuple[Any, ...]]:
        """Return messages with the tree of their Markdown, if they have any."""
        self._rendered += 1
        if self._rendered > RENDERED:
            return list(messages)
        trees = ((role, text, tree(text)) for role, text in messages)
        return [one if one[2] is not None else one[:2] for one in trees]

    def _list(self, values: Mapping[str, Any], title: str, reason: str, redrawn: str) -> None:
        intent, category = str(values.get("intent") or ""), sanitize(str(values.get("category") or ""))
        about = (intent, sanitize(self._summary.title_of(intent)), category, reason, redrawn)
        self._items.append((self._abouts.setdefault(about, len(self._abouts)), _title(title)))

    def review(self) -> str:
        """Return the marks of an earlier review, packed."""
        return _packed([mark.plain for mark in self._review.marks] if self._review else [])

    def _pack(self, facts: Sequence[Any], messages: Sequence[Any], keys: Sequence[str] = ()) -> None:
        """Add an entry with the keys by which marks name a dialogue: its request keys, and that of its last answers."""
        self._part.append((facts, messages, keys) if keys else (facts, messages))
        if len(self._part) == PART:
            self._flush()

    def _flush(self) -> None:
        if self._part:
            self._file.write(f"{_packed(self._part)}\n".encode("ascii"))
            self._part = []


def _facts(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    known = {name: values.get(name) for name in FACTS}
    if not known["input_tokens"]:  # 0 where the provider gave no counts
        known.update(input_tokens=None, output_tokens=None)
    shown = [(name, label) for name, label in FACTS.items() if known[name] not in (None, "")]
    return [(label, words(str(known[name])) if name in FACETS else str(known[name])) for name, label in shown]


def _with_reasoning(messages: list[tuple[str, str]], thought: str) -> list[tuple[str, str]]:
    """Return messages with the model's reasoning before the first answer."""
    first = next((place for place, (role, _) in enumerate(messages) if role == "assistant"), len(messages))
    return [*messages[:first], ("reasoning", thought), *messages[first:]] if thought else messages


def _judged(said: Any) -> list[tuple[str, str]]:
    """Return a judge's scores and reasons as a message; empty if the row has no judgement in our format."""
    names = [name for name in said if isinstance(said.get(f"{name}_reason"), str)] if isinstance(said, dict) else []
    if not names or any(not isinstance(said[name], int) for name in names):
        return []
    lines = [f"{words(name).capitalize()} {said[name]}: {said[f'{name}_reason']}" for name in names]
    lines += [f"{words(name).capitalize()}: {said[name]}" for name in (*OF_RUBRICS, "model") if said.get(name)]
    return [("judge", "\n".join(lines))]


def _is_redrawn(entry: ReportRow) -> bool:
    """Return whether a dialogue needed more responses than it consists of."""
    return bool(entry.failures) or (entry.origin.get("draws") or 0) > len(entry.origin.get("request_keys") or "xx")


def _title(text: str) -> str:
    line = " ".join(sanitize(text[: 4 * TITLE]).split())
    return line if len(line) <= TITLE else f"{line[: TITLE - 1].rstrip()}…"


def _packed(data: Any) -> str:
    return base64.b64encode(zlib.compress(canonical_json(data))).decode("ascii")


TAGS = {
    "paragraph": "p",
    "bullet_list": "ul",
    "ordered_list": "ol",
    "list_item": "li",
    "blockquote": "blockquote",
    "em": "em",
    "strong": "strong",
    "s": "s",
    "table": "table",
    "thead": "thead",
    "tbody": "tbody",
    "tr": "tr",
    "th": "th",
    "td": "td",
}
"""The elements of a tree by the parser's names. Headings, code and rules are handled separately."""
LONGEST = 20_000
"""Maximum characters of a text that is parsed. A hostile text of this length takes half a second."""
DEEPEST = 20
"""Maximum depth of nested elements. Deeper ones are left out, but their texts are kept."""

_SIGNS = re.compile(r"[*_`#>|~\[\]<\\&]|^\s*(?:\d{1,9}[.)]|[-+])\s|^\s*-{3}", re.MULTILINE)
_PARSER = (
    MarkdownIt("commonmark", {"html": False, "maxNesting": DEEPEST})
    .enable(["table", "strikethrough"])
    # In chats, indented text is rarely code, and a line of hyphens rarely makes a heading; references would be lost.
    .disable(["code", "lheading", "reference", "html_block", "html_inline"])
)


def tree(text: str) -> list[Any] | None:
    """Return the tree of a text, or None if it has no Markdown or is too long."""
    if len(text) > LONGEST or not _SIGNS.search(text):
        return None
    made = _tree(_flat(_PARSER.parse(text)))
    return None if made == [["p", [text]]] else made


def _flat(tokens: Iterable[Token]) -> Iterator[Token]:
    """Yield the tokens of blocks and of their texts in one sequence."""
    for token in tokens:
        if token.type == "inline":
            yield from token.children or ()
        elif not token.hidden:
            yield token


def _tree(tokens: Iterable[Token]) -> list[Any]:
    """Return the elements of a sequence of opening, closing and single tokens."""
    made: list[Any] = []
    open_ones: list[tuple[list[Any], str]] = [(made, "")]  # children, and the address after them
    for token in tokens:
        children, _ = open_ones[-1]
        if token.nesting == 1:
            address = "" if token.markup == "autolink" else str(token.attrGet("href") or "")
            open_ones.append((_opened(children, token, len(open_ones)), address))
        elif token.nesting == -1:
            inner, address = open_ones.pop()
            if address:
                _add(inner, f" ({address})")
        else:
            _add(children, _leaf(token))
    return made


def _opened(children: list[Any], token: Token, depth: int) -> list[Any]:
    """Add the element that a token opens, and return its list of children. A link gets no element; its text stays."""
    kind = token.type.removesuffix("_open")
    tag = f"h{min(int(token.tag[1:]) + 3, 6)}" if kind == "heading" else TAGS.get(kind)
    if tag is None or depth > DEEPEST:
        return children
    first = token.attrGet("start")
    inner: list[Any] = []
    children.append([tag, inner] if first is None else [tag, inner, first])
    return inner


def _leaf(token: Token) -> str | list[Any]:
    if token.type in ("softbreak", "hardbreak"):
        return "\n"
    if token.type == "hr":
        return ["hr", []]
    if token.type == "code_inline":
        return ["code", [token.content]]
    if token.type == "fence":
        return ["pre", [["code", [token.content]]]]
    return f"{token.content} ({token.attrGet('src')})" if token.type == "image" else token.content


def _add(children: list[Any], part: str | list[Any]) -> None:
    """Add a text or an element. Consecutive texts are joined."""
    if isinstance(part, str) and children and isinstance(children[-1], str):
        children[-1] += part
    elif part:
        children.append(part)
