"""Reads a response store without a recipe: reconstructs dialogues from the requests and responses in it.

- A request for answers has the user messages, intent and category in its prompt. Topic, flow, persona and manner are in
  the prompt of the user messages, which is found by its messages.
- A usable response without a later draw is a dialogue. A response that was drawn again was unusable, for the parser's
  reason or, if the parser has none, for a reason of the recipe's checks.
- A judge's request has the dialogue in its prompt. Answers that were scored and drawn again had a low score.
- Plan indices and dialogues that were given up stay unknown, since they depend on the recipe.
- For dialogues that were made turn by turn only the tokens are counted, because it depends on the recipe which messages
  belong together and whether a dialogue is complete.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Generator, Iterator, Sequence
from typing import Any, NamedTuple

from consistent_chat.dialogue import judge, parse, prompts
from consistent_chat.dialogue.by_turns import ANSWER, USER_MESSAGE
from consistent_chat.dialogue.judge import COMPARISON, CRITERIA, FAULT, Judgement, Opinion, stage_of
from consistent_chat.dialogue.parse import Reason, Unusable
from consistent_chat.dialogue.reasoning import reasoning
from consistent_chat.prices import Tokens, beyond, billed
from consistent_chat.reports.records import ReportRow, ReportSource, builtin_titles
from consistent_chat.request import Response, canonical_json, request_key
from consistent_chat.row import REASONING
from consistent_chat.store import ResponseStore
from consistent_chat.store.record import Record
from consistent_chat.text import counted

ROLES = ("user", "assistant")
"""The roles in a dialogue."""
CHECKED = "drawn_again"
"""The reason of a readable response that was drawn again."""


class Asked(NamedTuple):
    """A valid record: its stage, the number of messages requested, the messages received.

    `failure` is reason and detail, or None.
    """

    stage: str
    turns: int
    key: str
    request: dict[str, Any]
    response: Response
    messages: tuple[str, ...]
    failure: tuple[str, str] | None

    @property
    def prompt(self) -> str:
        """The part of the prompt that differs between dialogues."""
        return str(self.request["messages"][0]["content"])

    @property
    def blanks(self) -> dict[str, str]:
        """The values in the prompt; {} if another version of the prompts made it."""
        return prompts.blanks(f"{self.stage}.user", self.prompt)


class Judged(NamedTuple):
    """What the judges of a dialogue say under the same instructions, with their request keys and all their draws.

    `beyond` are uncounted billed tokens by model.
    """

    system: str
    keys: tuple[str, ...]
    draws: int
    judgement: Judgement
    beyond: tuple[tuple[str, Tokens], ...]

    def joined(self, other: Judged) -> Judged:
        """Return both combined, or the first if the other has different instructions or is from the same model."""
        one, two = self.judgement, other.judgement
        if self.system != other.system or one.criteria != two.criteria or two.models[0] in one.models:
            return self
        both = Judgement(one.criteria, one.opinions + two.opinions)
        return Judged(self.system, self.keys + other.keys, self.draws + other.draws, both, self.beyond + other.beyond)

    @property
    def bill(self) -> list[tuple[str, Tokens]]:
        """The billed tokens by model."""
        said = self.judgement.opinions
        return [*((each.model, Tokens(each.input_tokens, each.output_tokens)) for each in said), *self.beyond]


class Facets(NamedTuple):
    """The values in the prompt of a dialogue's user messages, and its tokens; `beyond` are uncounted billed tokens."""

    key: str
    topic: str
    flow: str
    persona: str
    manner: str
    draws: int
    input_tokens: int
    output_tokens: int
    beyond: Tokens
    model: str = ""

    @property
    def bill(self) -> tuple[str, Tokens]:
        """The model, and its billed tokens."""
        return self.model, Tokens(self.input_tokens, self.output_tokens).plus(self.beyond)


def entries(store: ResponseStore, reading: ReportSource) -> Iterator[ReportRow]:
    """Yield the dialogues and failed draws of a store in its order; failed draws of user messages come last."""
    skeletons = {_digest(asked.messages): _facets(asked) for asked in _asked(store, "skeleton") if not asked.failure}
    judged, in_vain = _judgements(store)
    unfinished, unmatched = dict.fromkeys(skeletons), dict(judged)
    for asked in _asked(store, "answers"):
        users = _users(asked)
        whole = _digest([*users, *asked.messages])
        facets, said = skeletons.get(_digest(users)), judged.get(whole)
        unmatched.pop(whole, None)
        if asked.failure:
            yield _failed(asked, facets.topic if facets else "", said)
        elif users:
            unfinished.pop(_digest(users), None)
            yield ReportRow(_row(asked, users, facets, said), used=_beyond(asked, facets, said))
    yield from in_vain
    for asked in _asked(store, "skeleton"):
        if asked.failure:
            yield ReportRow(None, [_failure(asked, asked.blanks.get("topic", ""))], _beyond(asked))
    yield from (ReportRow(None, used=[skeletons[digest].bill]) for digest in unfinished)
    yield from (ReportRow(None, used=said.bill) for said in unmatched.values())
    by_turns = yield from _messages(store, unfinished)
    _note_incomplete(reading, len(unfinished), by_turns)


def _note_incomplete(reading: ReportSource, unfinished: int, by_turns: int) -> None:
    """Note the numbers of dialogues without usable answers, and of those made turn by turn."""
    if unfinished:
        reading.notes.append(
            f"{counted(unfinished, 'dialogue')} {'has' if unfinished == 1 else 'have'} "
            "user messages but no usable answers yet."
        )
    if by_turns:
        reading.notes.append(
            f"{counted(by_turns, 'dialogue')} {'was' if by_turns == 1 else 'were'} made turn by turn. Only their "
            f"tokens are counted here. A report with the recipe (--recipe, recipe=) includes the dialogues."
        )


def _messages(store: ResponseStore, unfinished: dict[bytes, None]) -> Generator[ReportRow, None, int]:
    """Yield the tokens of messages that were made one by one, and of comparisons; return the number of chats.

    A dialogue with an answer to its last user message is removed from `unfinished`.
    """
    started = 0
    for record in store.records():
        request = record.asked()
        if stage_of(request.get("schema")) in (ANSWER, USER_MESSAGE, COMPARISON) and store.holds(record):
            if request.get("schema") is None:
                started += len(request["messages"]) == 1 and request["draw"] == 0
                unfinished.pop(_digest([message["content"] for message in request["messages"][::2]]), None)
            yield ReportRow(None, used=[(str(request["model"]), billed(record.kept.answer()))])
    return started


def _judgements(store: ResponseStore) -> tuple[dict[bytes, Judged], list[ReportRow]]:
    """Return judges' scores by the digest of a dialogue's messages, and the unusable responses of judges."""
    judged: dict[bytes, Judged] = {}
    in_vain = []
    for record in store.records():
        request = record.asked()
        if stage_of(request.get("schema")) == "judge" and store.holds(record):
            response = record.kept.answer()
            try:
                said = _judged(record, request, response)
            except Unusable as error:
                failure = (error.reason.value, error.detail)
                asked = Asked("judge", 0, record.key, request, response, (), failure)
                in_vain.append(ReportRow(None, [_failure(asked, "")], _beyond(asked)))
                continue
            digest = _digest(_shown(request))
            judged[digest] = judged[digest].joined(said) if digest in judged else said
    return judged, in_vain


def _judged(record: Record, request: dict[str, Any], response: Response) -> Judged:
    """Return what one judge says. Raises Unusable."""
    names, model, tokens = request["schema"]["required"], str(request["model"]), _counts(response)
    criteria = tuple(names[1:-1:2]) if names[-1] == FAULT else CRITERIA
    scores, fault = judge.read(response, criteria, names[-1] == FAULT)
    judgement = Judgement(criteria, (Opinion(model, scores, fault, *tokens),))
    further = ((model, beyond(billed(response), *tokens)),)
    return Judged(str(request.get("system")), (record.key,), request["draw"] + 1, judgement, further)


def _shown(request: dict[str, Any]) -> list[str]:
    """Return the messages in a judge's prompt: the user messages, then the answers."""
    prompt = str(request["messages"][0]["content"])
    text = prompts.blanks("judge.user", prompt).get("conversation", "")
    try:
        said = json.loads(text, strict=False)
    except ValueError:  # from another version of the prompts
        return []
    return [said[name] for role in ROLES for name in said if name.startswith(f"{role}_")]


def _failed(asked: Asked, topic: str, said: Judged | None) -> ReportRow:
    """Return the failed draws of answers that were scored and drawn again, because the score was too low."""
    failure = _failure(asked, topic)
    if said is None:
        return ReportRow(None, [failure], _beyond(asked))
    judgement = said.judgement
    if failure["reason"] == CHECKED:
        failure = {**failure, "reason": Reason.LOW_SCORE.value, "detail": judgement.worst}
    counted = [(each.model, Tokens(each.input_tokens, each.output_tokens)) for each in judgement.opinions]
    return ReportRow(None, [failure], [*counted, *_beyond(asked, None, said)])


def _beyond(asked: Asked, facets: Facets | None = None, said: Judged | None = None) -> list[tuple[str, Tokens]]:
    """Return the billed tokens, by model, that the counts of responses do not include."""
    own = beyond(billed(asked.response), *_counts(asked.response))
    model = str(asked.request["model"])
    found = [(model, own), *([(model, facets.beyond)] if facets else [])]
    found += said.beyond if said else []
    return [(name, tokens) for name, tokens in found if any(tokens)]


def _counts(response: Response) -> tuple[int, int]:
    return response.input_tokens or 0, response.output_tokens or 0


def _asked(store: ResponseStore, stage: str) -> Iterator[Asked]:
    """Yield the valid records of a stage: one response for each request."""
    for record in store.records():
        request = record.asked()
        if stage_of(request.get("schema")) == stage and store.holds(record):
            yield _parsed(store, stage, record, request, list(request["schema"]["required"]))


def _parsed(store: ResponseStore, stage: str, record: Record, request: dict[str, Any], names: Sequence[str]) -> Asked:
    response, failure = record.kept.answer(), None
    messages: tuple[str, ...] = ()
    try:
        messages = parse.messages(response, names)
        following = request_key(canonical_json({**request, "draw": request["draw"] + 1}))
        if store.has(following):
            failure = (CHECKED, "it is readable but was drawn again")
    except Unusable as error:
        failure = (error.reason.value, error.detail)
    return Asked(stage, len(names), record.key, request, response, messages, failure)


def _users(asked: Asked) -> tuple[str, ...]:
    """Return the user messages in the prompt for their answers."""
    names = [f"user_{number}" for number in range(1, asked.turns + 1)]
    try:
        return parse.messages(Response(asked.blanks.get("messages", asked.prompt)), names)
    except Unusable:
        return ()


def _facets(asked: Asked) -> Facets:
    said, response = asked.blanks, asked.response
    topic, flow, persona, manner = (said.get(name, "") for name in ("topic", "flow", "persona", "manner"))
    counts = _counts(response)
    draws = asked.request["draw"] + 1
    rest, model = beyond(billed(response), *counts), str(asked.request["model"])
    return Facets(asked.key, topic, flow, persona, manner, draws, *counts, rest, model)


def _row(asked: Asked, users: Sequence[str], facets: Facets | None, judged: Judged | None) -> dict[str, Any]:
    said = asked.blanks
    pairs = [(("user", user), ("assistant", answer)) for user, answer in zip(users, asked.messages)]
    response = asked.response
    before = facets or Facets("", "", "", "", "", 0, 0, 0, Tokens())
    draws, said_of_it = (judged.draws, judged.judgement.opinions) if judged else (0, ())
    tokens_in, tokens_out = (sum(column) for column in zip((0, 0), *(opinion[-2:] for opinion in said_of_it)))
    keys = (before.key, asked.key, *(judged.keys if judged else ()))
    return {
        "category": said.get("category", ""),
        "conversation": [{"role": role, "value": text} for pair in pairs for role, text in pair],
        **({REASONING: thought} if (thought := reasoning(response, asked.request["schema"]["required"])) else {}),
        **({"judgement": judged.judgement.plain()} if judged else {}),
        "provenance": {
            "intent": _intent(said),
            "topic": before.topic,
            "information_flow": before.flow,
            "persona": before.persona,
            "manner": before.manner,
            "model": asked.request["model"],
            "draws": before.draws + asked.request["draw"] + 1 + draws,
            "request_keys": [key for key in keys if key],
            "input_tokens": before.input_tokens + (response.input_tokens or 0) + tokens_in,
            "output_tokens": before.output_tokens + (response.output_tokens or 0) + tokens_out,
        },
    }


def _failure(asked: Asked, topic: str) -> dict[str, Any]:
    said, (reason, detail) = asked.blanks, asked.failure or ("", "")
    return {
        "intent": _intent(said),
        "category": said.get("category", ""),
        "topic": topic,
        "stage": asked.stage,
        "draw": asked.request["draw"],
        "substitute": 0,
        "reason": reason,
        "detail": detail,
        "response": asked.response.text,
        "finish": asked.response.finish,
        "request_key": asked.key,
        "model": asked.request["model"],
        "input_tokens": asked.response.input_tokens or 0,
        "output_tokens": asked.response.output_tokens or 0,
    }


def _intent(said: dict[str, str]) -> str:
    keys = {title: key for key, title in builtin_titles().items()}
    title = said.get("intent", "")
    return keys.get(title, title)


def _digest(messages: Sequence[str]) -> bytes:
    return hashlib.blake2b(json.dumps(messages).encode(), digest_size=16).digest()
