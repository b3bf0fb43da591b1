"""The description of each field. The command line, the documentation's tables and the editors' schema come from it.

`RECIPE` has the fields that shape the data, `OPERATIONAL` those that control how it is made. The dataclasses `Recipe`
and `ConsistentChatConfig` have the same names and defaults; a test compares them. This module imports no library.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from consistent_chat.errors import RecipeError
from consistent_chat.recipe import attributes, fields, rubric, shape
from consistent_chat.recipe import rules as rules_of
from consistent_chat.recipe.fields import Check
from consistent_chat.recipe.template import MAX_OUTPUT

AT_ONCE = "at_once"
FORMS = (AT_ONCE, "turn_by_turn")
"""How the messages of one side are written: all in one request, or one per request."""
LAYOUTS = ("conversation", "messages", "sharegpt", "bare")
PAIRS = ("preference", "kto")
"""Layouts whose rows are answers that a judge has compared: pairs and labelled answers."""
MAX_DIALOGS = 10**9
MAX_TURNS = 100
MAX_ANSWERS = 8
MAX_WORDS = 1000
"""The range of a mean number of words that a recipe can set for messages."""
MAX_SYSTEM_PROMPT = MAX_OUTPUT
"""Maximum characters. A system prompt is in the second request of every dialogue and in every row."""
INSTRUCTED = ("users", "answers")
"""The sides that a recipe can give instructions for."""
LEAST_SIMILARITY, SIMILARITY = 0.1, 0.7
"""The lowest threshold of near-duplicates that can be given, and the threshold for `true`."""


STRUCTURED_OUTPUT = ("json_schema", "json_object", "none")
"""Forms of JSON that a server can enforce."""


@dataclass(frozen=True)
class Field:
    """A field: its name, help text, JSON schema and default.

    `shown` is the default in words, if the value itself is not clear. `docs` is a longer text in Markdown for the
    documentation, if `help` is too short. `check` is None if the value is checked elsewhere. `metavar` is the name of
    the value on the command line.
    """

    name: str
    help: str
    schema: Mapping[str, Any]
    default: Any = None
    check: Check | None = None
    shown: str = ""
    docs: str = ""
    metavar: str | None = None

    @property
    def option(self) -> str:
        """The field's option on the command line."""
        return f"--{self.name.replace('_', '-')}"

    @property
    def default_text(self) -> str:
        """The default in words, empty if there is none."""
        if self.shown or self.default is None:
            return self.shown
        return str(self.default).lower() if isinstance(self.default, bool) else str(self.default)


def _whole(low: int, high: int) -> dict[str, Any]:
    return {"schema": {"type": "integer", "minimum": low, "maximum": high}, "check": fields.whole(low, high)}


def _number(low: float, high: float) -> dict[str, Any]:
    return {"schema": {"type": "number", "minimum": low, "maximum": high}, "check": fields.number(low, high)}


def _line(longest: int) -> dict[str, Any]:
    return {"schema": {"type": "string", "minLength": 1, "maxLength": longest}, "check": fields.line(longest)}


def _model() -> dict[str, Any]:
    return {**_line(200), "check": fields.model_name(200)}


def _optional(kind: dict[str, Any]) -> dict[str, Any]:
    return {**kind, "check": fields.optional(kind["check"])}


PREFERENCES: Mapping[str, Any] = {"rejected_model": None, "temperature": None, "turn": "drawn", "min_gap": 1.0}
"""The parts of the field `preferences`, which describes pairs, and their defaults."""
_PREFERENCE_CHECKS: Mapping[str, Check] = {
    "rejected_model": fields.optional(fields.model_name(200)),
    "temperature": fields.optional(fields.number(0, 2)),
    "turn": fields.one_of("drawn", "last"),
    "min_gap": fields.number(0, 4),
}


def check_preferences(name: str, value: Any) -> dict[str, Any]:
    """Return the field `preferences` with all its parts. Raises RecipeError."""
    if not isinstance(value, Mapping):
        raise fields.type_error(name, value, f"a mapping of {', '.join(PREFERENCES)}")
    for part in value:
        if part not in PREFERENCES:
            raise RecipeError(
                f"{name} must name known parts: there is no {part!r}.{fields.suggestion(part, tuple(PREFERENCES))}"
            )
    given = {part: PREFERENCES[part] if value.get(part) is None else value[part] for part in PREFERENCES}
    return {part: _PREFERENCE_CHECKS[part](f"{name}.{part}", given[part]) for part in PREFERENCES}


TEXT = {"type": "string", "minLength": 1}
TEXTS = {"type": "array", "items": TEXT, "minItems": 1}
NAMED_TEXTS = {"type": "object", "additionalProperties": TEXT, "minProperties": 1}
AT_LEAST_ONE = {"type": "integer", "minimum": 1}

_TURNS = {"type": "integer", "minimum": 1, "maximum": MAX_TURNS}
WEIGHTS = {"type": "object", "additionalProperties": {"type": "number", "minimum": 0}, "minProperties": 1}
_WORDS = ({"type": "integer", "minimum": 1, "maximum": MAX_WORDS},)
_FACETS = (
    ("answer_length", "how long the answers are", _WORDS),
    ("message_length", "how long the user's messages are", _WORDS),
    ("outcome", "how the user's concern turns out", ()),
    ("mood", "the user's mood", ()),
    ("ending", "how the last message ends the dialogue", ()),
)
_SIMILARITY: list[dict[str, Any]] = [
    {"type": "boolean"},
    {"type": "number", "minimum": LEAST_SIMILARITY, "maximum": 1},
]

RECIPE = (
    Field("model", "the model that writes the dialogues, by its provider's name", **_optional(_model())),
    Field("num_dialogs_per_intent", "dialogues for each intent", default=20, metavar="N", **_whole(1, MAX_DIALOGS),
          docs="dialogues for each intent; intents alternate, so the first N rows are always balanced"),
    Field("num_turns_per_dialog", "user messages in a dialogue, and exactly as many answers (1 to 100)",
          {"anyOf": [_TURNS, {"type": "array", "items": _TURNS, "minItems": 2, "maxItems": 2}, WEIGHTS]}, 6,
          fields.turns(1, MAX_TURNS), metavar="N",
          docs="user messages in a dialogue, and exactly as many answers (1 to 100): a number, "
          "[a range or weights](shape.md)"),
    Field("temperature", "sampling temperature, 0 to 2", default=0.9, metavar="T", **_number(0, 2),
          docs="sampling temperature, 0 to 2; not sent to models that do not accept it, with a warning"),
    Field("seed", "determines which specs are drawn and their order", default=0, metavar="N",
          **_whole(-(2**63), 2**63 - 1)),
    Field("intents", "the intents to use", {"anyOf": [TEXT, TEXTS]}, shown="all nine", metavar="INTENT",
          docs="`problem_solving`, `educational`, `health_consultation`, `exploratory`, `entertainment`, `simulation`, "
          "`emotional_support`, `information_retrieval`, `transaction`"),
    Field("language", "the language of the dialogues, by its English name, or several languages that alternate",
          {"anyOf": [{"type": "string", "minLength": 1, "maxLength": 60}, {**TEXTS, "maxItems": fields.MAX_LANGUAGES},
                     WEIGHTS]}, "English", fields.languages(60), metavar="NAME",
          docs="the language of the dialogues, by its English name, or [several](#several-languages): a list "
          "or weights"),
    Field("taxonomy", "what dialogues can be about: a path or URL", {"type": ["string", "object"]}, shown="built in",
          metavar="FILE", docs="[what dialogues can be about](taxonomy.md): a path, a URL or a mapping"),
    Field("layout", "the names in a row", {"enum": [*LAYOUTS, *PAIRS]}, "conversation",
          fields.one_of(*LAYOUTS, *PAIRS), docs="the names in a row, see below, or [pairs](pairs.md)"),
    Field("provenance", "whether rows have a column with their origin", {"type": "boolean"}, True, fields.boolean),
    Field("personas", "who the users are", {"anyOf": [TEXTS, {"type": "object", "required": ["data", "fields"]}]},
          shown="the taxonomy's", metavar="TEXT",
          docs="[who the users are](taxonomy.md): a list of texts, or [a column of a file](#personas-from-a-file)"),
    Field("manners", "how the users write", NAMED_TEXTS, shown="the taxonomy's", metavar="NAME=TEXT",
          docs="how they write: a mapping of names to descriptions"),
    Field("system_prompt", "the system prompt of the assistant",
          {"type": "string", "minLength": 1, "maxLength": MAX_SYSTEM_PROMPT},
          check=fields.optional(fields.text(MAX_SYSTEM_PROMPT)), metavar="TEXT",
          docs="[the system prompt of the assistant](#a-system-prompt), up to 20,000 characters"),
    Field("splits", "dialogues for each intent by split, instead of --num-dialogs-per-intent",
          {"type": "object", "additionalProperties": AT_LEAST_ONE, "minProperties": 1},
          check=fields.optional(fields.counts(MAX_DIALOGS)), shown="train alone", metavar="NAME=N",
          docs="[dialogues for each intent by split](#splits), instead of `num_dialogs_per_intent`"),
    Field("drop_near_duplicates", "replace dialogues that are this similar to an earlier one",
          {"anyOf": [*_SIMILARITY, {"type": "object", "additionalProperties": {"anyOf": _SIMILARITY},
                                    "propertyNames": {"enum": list(fields.SIDES)}, "minProperties": 1}]}, False,
          fields.similarities(LEAST_SIMILARITY, SIMILARITY), metavar="SIMILARITY",
          docs="[whether near-duplicates of earlier dialogues are replaced](#near-duplicates)"),
    Field("checks", "true, false or thresholds of the checks",
          {"anyOf": [{"type": "boolean"}, {"type": "object", "additionalProperties": {"type": ["boolean", "number"]},
                                           "propertyNames": {"enum": list(rules_of.CHECK_NAMES)}}]},
          None, rules_of.thresholds, shown="true", metavar="JSON",
          docs="[the checks of messages](quality.md#checks): true, false, or thresholds by name"),
    *(Field(facet, text, {"anyOf": [{"type": "string"}, WEIGHTS, *more]}, shown="mixed", metavar="NAME",
            check=fields.optional(fields.weighted(partial(shape.names, facet), MAX_WORDS if more else 0)),
            docs=f"[{text}](shape.md): a name or weights by name{', or words' if more else ''}")
      for facet, text, more in _FACETS),
    Field("sensitive_share", "the share of dialogues about requests to decline or to handle with care", default=0.03,
          metavar="SHARE", **_number(0, 1),
          docs="[the share of dialogues](shape.md#sensitive-requests) about requests to decline or handle with care"),
    Field("judge_model", "the model that scores each dialogue", shown="no judge", metavar="MODEL",
          **_optional(_model()), docs="[the model that scores each dialogue](quality.md#a-judge)"),
    Field("min_score", "minimum score, 1 to 5; answers below it are requested again", metavar="N",
          **_optional(_number(1, 5))),
    Field("judge", "the judges and their criteria: model, criteria",
          {"type": "object", "minProperties": 1, "additionalProperties": False,
           "properties": {"model": {"anyOf": [TEXT, TEXTS]}, "criteria": {"type": "object", "minProperties": 1}}},
          check=fields.optional(rubric.judge), metavar="JSON",
          docs="[the judges and your own criteria](judge.md): `model`, `criteria`"),
    Field("num_answers", "sets of answers to the same user messages; the judge's best set is used", default=1,
          metavar="N", **_whole(1, MAX_ANSWERS),
          docs="[how many sets of answers](judge.md#the-best-of-several-answers) to the same user messages, 1 to 8; "
          "the judge's best set is used"),
    Field("reasoning", "whether rows have the model's reasoning", {"type": "boolean"}, False,
          fields.boolean, docs="[whether rows have the model's reasoning](#reasoning)"),
    Field("seeds", "your own rows that dialogues are about: data, fields, dialogs_per_seed, chunk",
          {"type": "object", "required": ["data", "fields"]}, metavar="JSON",
          docs="[your own rows that dialogues are about](seeds.md)"),
    Field("user_model", "the model that writes the user's side", shown="`model`", metavar="MODEL",
          **_optional(_model()), docs="[the model that writes the user's side](turns.md)"),
    Field("users", "whether the user's messages are written together or one after the other",
          {"enum": list(FORMS)}, AT_ONCE, fields.one_of(*FORMS),
          docs="[`at_once` or `turn_by_turn`](turns.md): how the user's messages are written"),
    Field("answers", "whether the answers are written together or one after the other",
          {"enum": list(FORMS)}, AT_ONCE, fields.one_of(*FORMS),
          docs="[`at_once` or `turn_by_turn`](turns.md): how the answers are written"),
    Field("rules", "your own checks by name: phrases and patterns, lengths, sensitive data",
          {"type": "object", "additionalProperties": {"type": "object"}, "minProperties": 1}, metavar="JSON",
          check=fields.optional(rules_of.rules), docs="[your own checks](quality.md#your-own-checks) by name"),
    Field("review", "people's marks of dialogues: a path or URL", {"type": ["string", "object"]}, metavar="FILE",
          docs="[people's marks](review.md) of dialogues: a path, a URL or a mapping"),
    Field("instructions", "your own instructions, which follow those of the prompts, by side: users, answers",
          {**NAMED_TEXTS, "propertyNames": {"enum": list(INSTRUCTED)}}, metavar="SIDE=TEXT",
          check=fields.optional(fields.texts(INSTRUCTED, MAX_SYSTEM_PROMPT)),
          docs="[your own instructions](#instructions), which follow those of the prompts: a mapping of `users`, "
          "`answers`"),
    Field("attributes", "your own values, drawn by weights", {"type": "object", "minProperties": 1},
          check=fields.optional(attributes.check), metavar="JSON",
          docs="[your own values](#attributes), drawn by weights: a mapping of names"),
    Field("decontaminate", "files of hashed n-grams of texts that dialogues must not contain", {"anyOf": [TEXT, TEXTS]},
          metavar="FILE",
          docs="[texts that dialogues must not contain](quality.md#decontamination), such as benchmarks: one or more "
          "files of their hashed n-grams"),
    Field("preferences", "pairs of answers to one turn: rejected_model, temperature, turn, min_gap",
          {"type": "object"}, metavar="JSON", check=fields.optional(check_preferences),
          docs="[two answers](pairs.md#pairs-of-two-answers) to a turn of each dialogue, with `layout: preference`"),
)  # fmt: skip
"""The fields that shape the data, in the order of the documentation."""

LATER = (
    *("judge", "reasoning", "seeds", "user_model", "users", "answers", "rules", "review", "instructions", "attributes"),
    *("decontaminate", "preferences", "num_answers"),
)
"""Fields that were added after datasets had been made without them.

Their default values are left out of a dataset's identity, of recipe files and of cards, which therefore stay the same.
"""

OPERATIONAL = (
    Field("serving", "anthropic, openai, huggingface, rehearsal or a plugin, or by role; omit to make no calls", TEXT,
          shown="no calls",
          docs="[the provider of responses](servings.md), or [one for each role](turns.md#servings-by-role); without "
          "it, a missing response is an error"),
    Field("base_url", "the server's address", TEXT, shown="the provider's own", metavar="URL"),
    Field("api_key", "the key; it is safer to set the provider's environment variable", TEXT,
          shown="the environment variable", metavar="KEY",
          docs="the key; it is safer to set the provider's environment variable"),
    Field("responses", "a response store; if several are given, the first is written to", {"anyOf": [TEXT, TEXTS]},
          shown="under `HF_HOME`", metavar="URL",
          docs="[the response store](responses.md): any fsspec URL, or several"),
    Field("storage_options", "options for the stores' filesystem", {"type": "object"}, metavar="JSON"),
    Field("mode", "record, replay or refresh", {"enum": ["record", "replay", "refresh"]}, "record",
          docs="`record`, `replay` or `refresh`"),
    Field("driver", "online, or batch: the provider's batch API, at half the price", {"enum": ["online", "batch"]},
          "online", docs="`online`, or `batch`: [half the price, within a day](batches.md)"),
    Field("max_waves", "with --driver batch: maximum number of consecutive batches that a dialogue may need",
          AT_LEAST_ONE, 8, metavar="N",
          docs="with `driver: batch`, the maximum number of consecutive batches that a dialogue may need; "
          "[turn by turn](turns.md) needs one per message"),
    Field("max_concurrency", "maximum number of calls in flight", AT_LEAST_ONE, 30, metavar="N"),
    Field("max_draws", "maximum attempts per request before its spec is replaced by another", AT_LEAST_ONE, 4,
          metavar="N"),
    Field("timeout", "timeout of a call, in seconds", {"type": "number", "minimum": 0.001}, 600.0, shown="600",
          metavar="SECONDS"),
    Field("max_cost", "stop before the run costs more than this many US dollars; rerun to resume",
          {"type": "number", "minimum": 0},
          shown="no limit", metavar="DOLLARS"),
    Field("max_calls", "stop after this many answered calls; rerun to resume", {"type": "integer", "minimum": 0},
          shown="no limit", metavar="N"),
    Field("max_requests_per_minute", "the account's limit of requests, including retries", AT_LEAST_ONE,
          shown="no limit", metavar="N",
          docs="[the account's limit](servings.md) of requests, including retries"),
    Field("max_tokens_per_minute", "the account's limit of tokens of prompts and answers together", AT_LEAST_ONE,
          shown="no limit", metavar="N"),
    Field("max_output_tokens", "the server's maximum length of an answer, in tokens", AT_LEAST_ONE, shown="detected",
          metavar="N"),
    Field("context_tokens", "the model's context window: prompt and answer together, in tokens", AT_LEAST_ONE,
          shown="detected", metavar="N"),
    Field("structured_output", "the form of JSON that the server enforces", {"enum": list(STRUCTURED_OUTPUT)},
          shown="detected", metavar=f"[{'|'.join(STRUCTURED_OUTPUT)}]",
          docs="the form of JSON that the server enforces: `json_schema`, `json_object` or `none`"),
    Field("system_role", "whether the server accepts a system message", {"type": "boolean"}, shown="detected"),
    Field("streaming", "whether answers are read as a stream", {"type": "boolean"}, shown="detected"),
    Field("wait_for_server", "seconds to wait for a server that cannot be reached yet",
          {"type": "number", "minimum": 0}, 0.0, shown="0", metavar="SECONDS"),
)  # fmt: skip
"""The fields that control how data is made. They are not part of a dataset's identity and not in recipe files."""

BY_ROLE = ("serving", "base_url", "api_key", "max_concurrency", "max_requests_per_minute", "max_tokens_per_minute",
           "max_output_tokens", "context_tokens", "structured_output", "system_role", "streaming")  # fmt: skip
"""The fields that may have a separate value for the server of each role."""

CHECKS = {described.name: described.check for described in RECIPE if described.check is not None}


def table(described: Iterable[Field]) -> str:
    """Return the documentation's table of fields, in Markdown."""
    rows = (f"| `{one.name}` | {one.default_text} | {one.docs or one.help} |" for one in described)
    return "\n".join(["| field | default | what it does |", "|---|---|---|", *rows]) + "\n"


def json_schema() -> dict[str, Any]:
    """Return the JSON schema of a recipe file, for editors."""
    properties = {}
    for one in RECIPE:
        properties[one.name] = {"description": one.help, **one.schema}
        if one.default is not None:
            properties[one.name]["default"] = one.default
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Recipe of consistent_chat",
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
        "not": {"required": ["num_dialogs_per_intent", "splits"]},
    }
