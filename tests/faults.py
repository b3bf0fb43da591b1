"""Replies of a provider: a good answer, or one of the named faults.

Each catalogue says how the package handles its faults. `every`, `share` and `for_prompts` put faults into a run, and
always the same ones.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from consistent_chat import drivers
from consistent_chat.dialogue.work import Dialogue
from consistent_chat.drivers import Limits, RunStats
from consistent_chat.plan.plan import Plan
from consistent_chat.recipe import Recipe
from consistent_chat.store import ResponseStore

if TYPE_CHECKING:
    from tests.provider import Call, Script


@dataclass(frozen=True)
class Reply:
    """A reply of the server. The default is a good answer; the class methods make all other replies.

    `edit` changes the model's text, `garble` the bytes of the body around it.
    """

    edit: Callable[[str], str] = str
    garble: Callable[[bytes], bytes] = bytes
    finish: str = "stop"
    usage: bool = True
    empty: bool = False
    status: int = 200
    raw: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    ending: str = "whole"

    @classmethod
    def text(cls, text: str, finish: str = "stop") -> Reply:
        """Return a reply with this text as the model's whole answer."""
        return cls(edit=lambda _: text, finish=finish)

    @classmethod
    def error(cls, status: int, message: str, headers: Mapping[str, str] | None = None, **fields: str) -> Reply:
        """Return an error in the protocols' common form; `fields` go beside its message."""
        error = {"type": "some_error", "message": message, **fields}
        return cls.body(status, json.dumps({"type": "error", "error": error}), headers)

    @classmethod
    def body(cls, status: int, body: str | bytes, headers: Mapping[str, str] | None = None) -> Reply:
        """Return a reply with this status and exactly this body."""
        raw = body.encode("utf-8", "surrogateescape") if isinstance(body, str) else body
        return cls(status=status, raw=raw, headers={"content-type": "application/json", **(headers or {})})

    @classmethod
    def refusal(cls) -> Reply:
        """Return a reply in which the model refuses and gives no text."""
        return cls(finish="refusal", empty=True)

    @classmethod
    def truncation(cls) -> Reply:
        """Return a good answer that is cut in the middle, as at the limit of tokens."""
        return cls(edit=lambda good: good[: len(good) // 2], finish="length")

    @classmethod
    def html_page(cls, status: int = 200) -> Reply:
        """Return an HTML page, as a proxy between client and provider sends it."""
        page = "<html><head><title>Sign in</title></head><body>Please sign in.</body></html>"
        return cls.body(status, page, {"content-type": "text/html"})

    @classmethod
    def cut_body(cls) -> Reply:
        """Return a reply whose connection breaks in the middle of the body."""
        return cls(ending="cut")

    @classmethod
    def reset(cls) -> Reply:
        """Return a reply whose connection breaks before any data is sent."""
        return cls(ending="reset")

    @classmethod
    def hang(cls) -> Reply:
        """Return a reply that sends nothing and leaves the connection open."""
        return cls(ending="hang")

    @classmethod
    def fenced(cls) -> Reply:
        """Return a good answer inside a Markdown fence."""
        return cls(edit=lambda good: f"```json\n{good}\n```")

    @classmethod
    def in_prose(cls) -> Reply:
        """Return a good answer with prose around it."""
        return cls(edit=lambda good: f"Certainly! Here it is:\n\n{good}\n\nI hope that this helps.")

    @classmethod
    def wrong_count(cls, by: int = -1) -> Reply:
        """Return an answer with one message too few, or with `by=1` one too many."""
        return cls(edit=lambda good: _recounted(json.loads(good), by))

    @classmethod
    def no_usage(cls) -> Reply:
        """Return a good answer without token counts."""
        return cls(usage=False)


GOOD = Reply()
"""A good answer. A script that returns None means the same."""

PASSING = {
    **{f"status {status}": Reply.error(status, "Busy") for status in (408, 409, 429, 500, 502, 503, 529)},
    "html error page": Reply.html_page(502),
    "reset": Reply.reset(),
    "body cut": Reply.cut_body(),
    "half a body": Reply(garble=lambda body: body[: len(body) // 2]),
    "hang": Reply.hang(),
    "html page": Reply.html_page(),
    "empty body": Reply.body(200, b""),
    "error with status 200": Reply.error(200, "Overloaded"),
    "body is null": Reply.body(200, "null"),
}
"""Faults on the way: the same call is tried again, and nothing of them is kept."""

UNUSABLE = {
    "empty content": Reply(empty=True),
    "empty text": Reply.text(""),
    "refusal": Reply.refusal(),
    "truncation": Reply.truncation(),
    "prose": Reply.text("I would rather talk about the weather. It is {fine}, and [so] are you."),
    "malformed json": Reply(edit=lambda good: good.replace('": "', '" "', 1)),
    "unclosed json": Reply(edit=lambda good: good[:-2]),
    "list of messages": Reply(edit=lambda good: _listed(good, lambda text: {"role": "user", "content": text})),
    "list of lists": Reply(edit=lambda good: _listed(good, lambda text: [text])),
    "string": Reply(edit=json.dumps),
    "number": Reply.text("42"),
    "null": Reply.text("null"),
    "nested object": Reply(edit=lambda good: json.dumps({"dialogue": json.loads(good)})),
    "nested messages": Reply(edit=lambda good: _changed(good, lambda text: {"text": text})),
    "one message too few": Reply.wrong_count(-1),
    "one message too many": Reply.wrong_count(1),
    "duplicate key": Reply(edit=lambda good: good[:-1] + ", " + good[1:]),
    "an empty message": Reply(edit=lambda good: _changed(good, lambda text: " \n")),
    "a message of null": Reply(edit=lambda good: _changed(good, lambda text: None)),
    "a message that is a number": Reply(edit=lambda good: _changed(good, lambda text: 42)),
    "5 MB of prose": Reply.text("All work and no play. " * 230_000),
    "5 MB of brackets": Reply.text('{"user_1": [' * 420_000),
    "invalid utf-8": Reply(garble=lambda body: body.replace(b"This is", b"This \xff\xfe is")),
    "nul": Reply(edit=lambda good: good.replace("This is", "This \\u0000 is")),
    "half a surrogate pair": Reply(edit=lambda good: good.replace("This is", "This \\ud800 is")),
}
"""Unusable answers: they are paid for and kept, and the request is sent again as another draw."""

HARMLESS = {
    "missing usage": Reply.no_usage(),
    "fenced": Reply.fenced(),
    "in prose": Reply.in_prose(),
    "list of texts": Reply(edit=lambda good: _listed(good, lambda text: text)),
    "byte order mark": Reply(garble=lambda body: b"\xef\xbb\xbf" + body),
}
"""Good answers in an odd form."""

QUOTA = Reply.error(
    429,
    "You exceeded your current quota, please check your plan and billing details.",
    {"retry-after": "1"},
    type="insufficient_quota",
    code="insufficient_quota",
)
"""OpenAI's word for an account without money, by the status of a crowded server."""
CREDIT = Reply.error(
    400,
    "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or purchase "
    "credits.",
    type="invalid_request_error",
)
"""Anthropic's word for the same."""

FINAL = {
    "status 400": Reply.error(400, "messages: invalid"),
    "status 401": Reply.error(401, "invalid x-api-key"),
    "status 403": Reply.error(403, "Your key may not use this model"),
    "status 404": Reply.error(404, "model: not found"),
    "status 413": Reply.error(413, "Request exceeds the maximum size"),
    "insufficient quota": QUOTA,
    "credit balance": CREDIT,
}
"""Faults that stay: one clear error at once."""


def every(number: int, reply: Reply) -> Script:
    """Return a script that replaces every n-th answer, beginning with the first."""
    return lambda call: reply if call.number % number == 0 else None


def share(percent: int, replies: Sequence[Reply], seed: int) -> Script:
    """Return a script that replaces a percentage of answers; the seed and the call's number decide which."""

    def script(call: Call) -> Reply | None:
        chance, choice = _numbers(seed, call.number)
        return replies[choice % len(replies)] if chance % 100 < percent else None

    return script


def for_prompts(percent: int, replies: Sequence[Reply], seed: int) -> Script:
    """Return a script that replaces the answers to a percentage of prompts, in any order of arrival."""

    def script(call: Call) -> Reply | None:
        chance, choice = _numbers(seed, call.texts)
        return replies[choice % len(replies)] if chance % 100 < percent else None

    return script


def run(
    place: str, recipe: Recipe, serving: Any = None, stats: RunStats | None = None, **limits: Any
) -> list[Dialogue]:
    """Return all dialogues of a recipe. Without a serving, return those that the store contains."""
    opener = None if serving is None else lambda: serving
    indices = range(len(Plan(recipe)))
    return list(drivers.run(recipe, indices, ResponseStore(place), opener, Limits(**limits), stats or RunStats()))


def _numbers(*parts: object) -> tuple[int, int]:
    digest = hashlib.sha256(json.dumps(parts).encode()).digest()
    return int.from_bytes(digest[:8], "big"), int.from_bytes(digest[8:16], "big")


def _listed(good: str, change: Callable[[str], Any]) -> str:
    return json.dumps([change(text) for text in json.loads(good).values()])


def _changed(good: str, change: Callable[[str], Any]) -> str:
    """Change only the last message of a good answer."""
    texts = json.loads(good)
    name = list(texts)[-1]
    return json.dumps({**texts, name: change(texts[name])})


def _recounted(texts: dict[str, str], by: int) -> str:
    stem = next(iter(texts)).rpartition("_")[0]
    values = [*texts.values(), *["One more."] * max(by, 0)][: len(texts) + by]
    return json.dumps({f"{stem}_{number}": text for number, text in enumerate(values, 1)})
