"""Runs dialogues in waves: all that wait for an answer at the same time are asked for in one call a stage.

For servings that take many prompts in one call, as DataFlow's do. Every answer is kept before the next call; what is
recorded already is not asked.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from consistent_chat.dialogue import Dialogue, FailedDraw, Steps
from consistent_chat.drive import Limits, Spent, Tally
from consistent_chat.drive.breaker import HOPELESS, SHOWN
from consistent_chat.drive.limits import Budget
from consistent_chat.drive.replay import advance
from consistent_chat.drive.retry import pause
from consistent_chat.errors import BudgetSpent, MissingResponse, ServingError, TransportError, UnfilledSlot
from consistent_chat.request import Request, Response
from consistent_chat.store import ResponseStore
from consistent_chat.store.nearest import describe_miss

Begin = Callable[[int, list[FailedDraw]], Steps]
"""Begins the dialogue at a place of the plan; its unusable answers go into the list."""
Ask = Callable[[Sequence[Request]], "list[Response | None]"]

WAVE = 1000
"""Dialogues in a wave: enough for any serving, and what a run that is killed can lose is one call's answers."""
TRIES = 3
"""How often a prompt is asked that gets no answer, and how often in a row nobody may get one."""
DECLINED = Response("", "refusal")
"""What is kept for a prompt that got no answer in all its tries while others did: its substitute takes its place."""


@dataclass
class _Seat:
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


_Asked = tuple[_Seat, Request]


@dataclass
class Waves:
    """Runs all dialogues of a plan, in its order. Without `ask`, a response that the store lacks is an error."""

    begin: Begin
    ask: Ask | None
    store: ResponseStore
    limits: Limits
    tally: Tally
    model: str
    _answered: bool = False
    _silent: int = 0  # calls in a row without any answer
    _in_vain: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    _declined: list[Request] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._budget = Budget(self.limits, Spent(), [self.model])

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
        while stages := dict.fromkeys(_stage(request) for _, request in _waiting(seats)):
            for stage in stages:
                self._ask([asked for asked in _waiting(seats) if _stage(asked[1]) == stage])
        self._confirm()
        for seat in seats:
            if seat.dialogue is not None:
                self.tally.finished(seat.dialogue)
                yield seat.dialogue

    def _begun(self, index: int) -> _Seat:
        failed: list[FailedDraw] = []
        seat = _Seat(index, self.begin(index, failed), failed)
        self._go_on(seat, None)
        return seat

    def _go_on(self, seat: _Seat, answer: Response | None) -> None:
        seat.stand(advance(seat.steps, answer, self.store.find, self._may_ask))

    def _may_ask(self, request: Request) -> bool:
        """Say whether a draw that is not recorded may be asked for; as in the other drivers, a replay asks for none."""
        return request.draw < (1 if self.ask is None else self.limits.max_draws)

    def _ask(self, asked: list[_Asked]) -> None:
        if self.ask is None:
            seat, request = asked[0]
            raise MissingResponse(describe_miss(request, seat.index, self.store))
        self.store.prepare()
        reserved = self._reserved(asked)
        asked = asked[: len(reserved)]
        answers: list[Response | None] = [None] * len(asked)
        try:
            answers = self.ask([request for _, request in asked])
            for (_, request), answer in zip(asked, answers):
                if answer is not None:
                    self.store.keep(request, answer)
        finally:
            for (_, request), cost, answer in zip(asked, reserved, answers):
                self._budget.settle(request, cost, answer)
        self._take(asked, answers)

    def _reserved(self, asked: list[_Asked]) -> list[float]:
        """Return the worst cost of each call, of as many as the budget has room for; raise BudgetSpent for none."""
        reserved: list[float] = []
        for _, request in asked:
            try:
                reserved.append(self._budget.reserve(request))
            except BudgetSpent:
                if not reserved:
                    raise
                break
        return reserved

    def _take(self, asked: list[_Asked], answers: list[Response | None]) -> None:
        given = [(seat, request, answer) for (seat, request), answer in zip(asked, answers) if answer is not None]
        missed = [one for one, answer in zip(asked, answers) if answer is None]
        if given:
            self._answered, self._silent = True, 0
            self._use(given)
        if missed:
            self._miss(missed, in_silence=not given)

    def _use(self, given: list[tuple[_Seat, Request, Response]]) -> None:
        """Go on with what was answered; raise UnfilledSlot when call after call of a stage brings nothing of use."""
        usable = 0
        for seat, request, answer in given:
            self.tally.called(answer, self._budget.price(request.model))
            self._go_on(seat, answer)
            usable += all(draw.key != request.key for draw in seat.failed)
        in_vain = self._in_vain[_stage(given[0][1])]
        in_vain.append(len(given))
        if usable:
            in_vain.clear()
        elif len(in_vain) >= TRIES and sum(in_vain) >= HOPELESS:
            raise UnfilledSlot(_despair(sum(in_vain), given[-1][0].failed[-1], self.model))

    def _miss(self, missed: list[_Asked], in_silence: bool) -> None:
        """Note who got no answer; wait if nobody did; decline for those who have been asked often enough."""
        fault = TransportError(self._why(len(missed)))
        if in_silence:
            self._silent += 1
            if self._silent > TRIES or (self._silent == TRIES and not self._answered):
                raise ServingError(f"{fault} All answers are kept; run again to go on.")
            time.sleep(pause(self._silent, fault))
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


def _waiting(seats: list[_Seat]) -> list[_Asked]:
    return [(seat, seat.request) for seat in seats if seat.request is not None]


def _stage(request: Request) -> str:
    """Return a request's stage, by the first thing that its answer is to have."""
    return str(next(iter(request.schema["properties"])))


def _despair(count: int, fault: FailedDraw, model: str) -> str:
    return (
        f"{count} answers in a row were of no use, and the run stops. The last: {fault.reason.value} "
        f"({fault.detail}): {fault.response.text[:SHOWN]!r}. Look at what {model!r} answers; try another model. All "
        "answers are kept."
    )
