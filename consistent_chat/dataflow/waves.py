"""Runs dialogues in waves: all that wait for an answer at the same time are asked for in one call a stage.

For servings that take many prompts in one call, as DataFlow's do. Every answer is kept before the next call; what is
recorded already is not asked.
"""

from __future__ import annotations

import contextlib
import logging
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from consistent_chat.dialogue.at_once import Dialogue, FailedDraw, Steps
from consistent_chat.drivers import Limits, RunStats, Usage
from consistent_chat.drivers.budget import Budget
from consistent_chat.drivers.replay import REPLAY_DRAWS, replay_until_missing, walk
from consistent_chat.drivers.retry import HOPELESS, SHOWN, backoff
from consistent_chat.errors import (
    ConsistentChatError,
    MissingResponse,
    ServingError,
    TransportError,
    UnfilledSlot,
)
from consistent_chat.request import Request, Response
from consistent_chat.store import ResponseStore
from consistent_chat.store.miss import explain_miss

Begin = Callable[[int, list[FailedDraw]], Steps]
"""Begins the dialogue at a place of the plan; its unusable answers go into the list."""
Ask = Callable[[Sequence[Request]], "list[Response | None]"]

WAVE = 1000
"""Dialogues in a wave: enough for any serving, and what a run that is killed can lose is one call's answers."""
TRIES = 3
"""Maximum attempts of a prompt without an answer, and maximum waves in a row without any answer."""
DECLINED = Response("", "refusal")
"""What is kept for a prompt that got no answer in all its tries while others did: its substitute takes its place."""


@dataclass
class _Slot:
    """One dialogue under way: what it asks next, or None and the dialogue itself when it is done."""

    index: int
    steps: Steps
    failed: list[FailedDraw]
    request: Request | None = None
    dialogue: Dialogue | None = None
    tries: int = 0

    def stand(self, step: Dialogue | Request) -> None:
        """Take the next step."""
        self.tries = 0
        self.request, self.dialogue = (None, step) if isinstance(step, Dialogue) else (step, None)


_Asked = tuple[_Slot, Request]


@dataclass
class WaveDriver:
    """Runs all dialogues of a plan, in its order. Without `ask`, a response that the store lacks is an error."""

    begin: Begin
    ask: Ask | None
    store: ResponseStore
    limits: Limits
    tally: RunStats
    model: str
    _answered: bool = False
    _silent: int = 0  # calls in a row without any answer
    _in_vain: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    _declined: list[Request] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._budget = Budget(self.limits, Usage(), [self.model])

    def run(self, count: int) -> Iterator[Dialogue]:
        """Yield the dialogues at the first `count` places; the store is closed at the end."""
        try:
            for start in range(0, count, WAVE):
                yield from self._wave(range(start, min(count, start + WAVE)))
        finally:
            self.store.close()

    def _wave(self, indices: range) -> Iterator[Dialogue]:
        seats = [self._begun(index) for index in indices]
        # What an earlier run has brought to its end shows that the serving answers: a prompt without an answer may then
        # be declined. If it is the serving that is away, its substitute gets none either, and nothing is kept of it.
        self._answered = self._answered or any(seat.dialogue is not None for seat in seats)
        while stages := dict.fromkeys(request.stage for _, request in _waiting(seats)):
            for stage in stages:
                self._ask([asked for asked in _waiting(seats) if asked[1].stage == stage])
        self._confirm()
        for seat in seats:
            if seat.dialogue is not None:
                self.tally.finished(seat.dialogue)
                yield seat.dialogue

    def _begun(self, index: int) -> _Slot:
        failed: list[FailedDraw] = []
        progress = walk(partial(self.begin, index), self.store, self._max_draws, failed)
        seat = _Slot(index, progress.steps, failed)
        seat.stand(progress.step)
        return seat

    def _go_on(self, seat: _Slot, answer: Response) -> None:
        seat.stand(replay_until_missing(seat.steps, answer, self.store.find, self._max_draws))

    @property
    def _max_draws(self) -> int:
        return REPLAY_DRAWS if self.ask is None else self.limits.max_draws

    def _ask(self, asked: list[_Asked]) -> None:
        if self.ask is None:
            seat, request = asked[0]
            raise MissingResponse(explain_miss(request, seat.index, self.store))
        self.store.prepare()
        reserved = self._reserved(asked)
        asked = asked[: len(reserved)]
        answers: list[Response | None] = [None] * len(asked)
        try:
            answers = self.ask([request for _, request in asked])
            for number, (_, request) in enumerate(asked):
                if (answer := answers[number]) is not None:
                    answers[number] = self.store.keep(request, answer)
        finally:
            for (_, request), cost, answer in zip(asked, reserved, answers):
                self._budget.settle(request, cost, answer)
        self._take(asked, answers)

    def _reserved(self, asked: list[_Asked]) -> list[float]:
        """Return the worst cost of each call, of as many as the budget has room for; raise BudgetSpent for none."""
        reserved: list[float] = []
        for _, request in asked:
            dollars = self._budget.reserve(request)
            if dollars is None:  # the others go in a later call, when these are settled
                break
            reserved.append(dollars)
        return reserved

    def _take(self, asked: list[_Asked], answers: list[Response | None]) -> None:
        given = [(seat, request, answer) for (seat, request), answer in zip(asked, answers) if answer is not None]
        missed = [one for one, answer in zip(asked, answers) if answer is None]
        if given:
            self._answered, self._silent = True, 0
            self._use(given)
        if missed:
            self._miss(missed, in_silence=not given)

    def _use(self, given: list[tuple[_Slot, Request, Response]]) -> None:
        """Go on with what was answered; raise UnfilledSlot when call after call of a stage brings nothing of use."""
        usable = 0
        for seat, request, answer in given:
            self.tally.called(answer, self._budget.price(request.model))
            self._go_on(seat, answer)
            usable += all(draw.key != request.key for draw in seat.failed)
        in_vain = self._in_vain[given[0][1].stage]
        in_vain.append(len(given))
        if usable:
            in_vain.clear()
        elif len(in_vain) >= TRIES and sum(in_vain) >= HOPELESS:
            raise UnfilledSlot(_despair(sum(in_vain), given[-1][0].failed[-1], self.model))

    def _miss(self, missed: list[_Asked], in_silence: bool) -> None:
        """Record prompts without an answer; wait if all lack one; decline those that were asked often enough."""
        fault = TransportError(self._why(len(missed)))
        if in_silence:
            self._silent += 1
            if self._silent > TRIES or (self._silent == TRIES and not self._answered):
                raise ServingError(f"{fault} All answers are kept; run again to go on.")
            time.sleep(backoff(self._silent, fault))
        for seat, request in missed:
            seat.tries += 1
            self.tally.retried(fault)
            if seat.tries >= TRIES and self._answered:
                self._declined.append(request)
                self._go_on(seat, DECLINED)

    def _confirm(self) -> None:
        """Keep what was declined, now that all dialogues are made: so the serving was there until the end."""
        for request in self._declined:
            self.store.keep(request, DECLINED)
        self._declined.clear()

    def _why(self, count: int) -> str:
        name, oddity = getattr(self.ask, "name", "The serving"), getattr(self.ask, "oddity", "")
        reason = f": {oddity.rstrip('.')}." if oddity else ". Its own log may say why."
        return f"{name} gave no answer to {count} prompt{'s' * (count != 1)}{reason}"


def _waiting(seats: list[_Slot]) -> list[_Asked]:
    return [(seat, seat.request) for seat in seats if seat.request is not None]


def _despair(count: int, fault: FailedDraw, model: str) -> str:
    return (
        f"{count} answers in a row were of no use, and the run stops. The last: {fault.reason.value} "
        f"({fault.detail}): {fault.response.text[:SHOWN]!r}. Look at what {model!r} answers; try another model. All "
        "answers are kept."
    )


logger = logging.getLogger(__name__)

MODEL_NAMES = ("model_name", "hf_model_name_or_path", "model_name_or_path", "model")
"""Where DataFlow's servings keep the name of their model."""
TEMPERATURES = ("temperature", "vllm_temperature", "sgl_temperature")
"""Where they keep their temperature, if not within `configs` or `sampling_params`."""


class BatchedServingAdapter:
    """A serving of DataFlow, its own or anybody's, as what answers a batch of requests."""

    def __init__(self, serving: Any, temperature: float) -> None:
        self._serving = serving
        self._temperature = temperature
        if not _places(serving):
            _warn_own_temperature(serving, temperature)
        self.name = type(serving).__name__
        self.oddity = ""

    def __call__(self, requests: Sequence[Request]) -> list[Response | None]:
        """Return a response to each of these requests, which share their system text; None where none was given.

        Raises ServingError when the serving fails.
        """
        with _sampling_at(self._serving, self._temperature):
            return self._matched(requests)

    def _matched(self, requests: Sequence[Request]) -> list[Response | None]:
        answers = self._generated(requests)
        if len(answers) == len(requests):
            return [self._response(answer) for answer in answers]
        if len(requests) == 1:
            return [self._response(answers[0] if answers else None)]
        logger.warning(
            "%s gave %d answers to %d prompts, so answers cannot be matched to prompts. None is used, and each "
            "prompt is asked by itself. It should return None where it has no answer.",
            self.name,
            len(answers),
            len(requests),
        )
        return [answer for request in requests for answer in self._matched([request])]

    def _generated(self, requests: Sequence[Request]) -> Sequence[Any]:
        prompts = [str(request.messages[0]["content"]) for request in requests]
        try:
            answers = self._serving.generate_from_input(user_inputs=prompts, system_prompt=requests[0].system)
        except TransportError as error:
            self.oddity = str(error)
            return [None] * len(requests)
        except ConsistentChatError:
            raise
        except Exception as error:
            raise ServingError(
                f"The serving {self.name} failed with {type(error).__name__}: {error}. What it answered before is "
                "kept; run again to go on."
            ) from error
        if not isinstance(answers, (list, tuple)):
            self.oddity = f"it returned {type(answers).__name__} where a list should be"
            return [None] * len(requests)
        return answers

    def _response(self, answer: Any) -> Response | None:
        if isinstance(answer, str):
            return Response(answer)
        if answer is not None:
            self.oddity = f"it gave {type(answer).__name__} where text should be"
        return None


def model_of(serving: Any) -> str | None:
    """Return the name of a serving's model; None where it has none, and for a serving's name or no serving."""
    if serving is None or isinstance(serving, str):
        return None
    named = (getattr(serving, name, None) for name in MODEL_NAMES)
    return next((str(name) for name in named if isinstance(name, str) and name.strip()), None)


def unnamed(serving: Any) -> str:
    """Return the name under which the responses of a serving are kept that does not say which model it has."""
    name = type(serving).__name__
    warnings.warn(
        f"{name} has no attribute {MODEL_NAMES[0]!r}: its responses are kept under the name {name!r}. Pass model=, so "
        "that those of another model are not taken for them.",
        UserWarning,
        stacklevel=4,
    )
    return name


@contextlib.contextmanager
def _sampling_at(serving: Any, temperature: float) -> Iterator[None]:
    """Let a serving sample at this temperature for as long as this lasts. All of DataFlow's keep it in an attribute."""
    places = _places(serving)
    before = [place[name] for place, name in places]
    try:
        for place, name in places:
            place[name] = temperature
        yield
    finally:
        for (place, name), value in zip(places, before):
            place[name] = value


def _warn_own_temperature(serving: Any, temperature: float) -> None:
    warnings.warn(
        f"{type(serving).__name__} has none of the attributes in which DataFlow's servings keep their temperature "
        f"({', '.join(TEMPERATURES)}): it samples at its own, not at {temperature:g}.",
        UserWarning,
        stacklevel=5,
    )


def _places(serving: Any) -> list[tuple[dict[str, Any], str]]:
    """Return the dictionaries in which a serving keeps its temperature, each with its key there."""
    own = getattr(serving, "__dict__", {})
    found = [(own, name) for name in TEMPERATURES if name in own]
    for holder in (own.get("configs"), own.get("sampling_params")):
        fields = holder if isinstance(holder, dict) else getattr(holder, "__dict__", {})
        found += [(fields, "temperature")] if "temperature" in fields else []
    return found
