"""Dialogues are made in plan order with one call per request, for any answers in any order."""

from __future__ import annotations

import asyncio
import itertools
import random
import threading
import time
from collections.abc import Iterator

import pytest

from consistent_chat import drivers
from consistent_chat.dialogue.work import Dialogue
from consistent_chat.drivers import Limits, RunStats
from consistent_chat.drivers.replay import replay_until_missing
from consistent_chat.errors import BudgetSpent, MissingResponse, ServingError, TransportError, UnfilledSlot
from consistent_chat.plan.plan import Plan
from consistent_chat.prices import estimated, price_of
from consistent_chat.recipe import Recipe
from consistent_chat.request import Request, Response
from consistent_chat.store import ResponseStore
from tests.answers import Answers, good

RECIPE = Recipe(model="claude-sonnet-4-6", num_dialogs_per_intent=4, num_turns_per_dialog=2)
COUNT = len(Plan(RECIPE))


def dialogues(
    place: str, serving: object = None, recipe: Recipe = RECIPE, stats: RunStats | None = None, **limits: object
) -> Iterator[Dialogue]:
    """Run all dialogues of a recipe with a separate store."""
    opener = None if serving is None else lambda: serving
    indices = range(len(Plan(recipe)))
    return drivers.run(recipe, indices, ResponseStore(place), opener, Limits(**limits), stats or RunStats())  # type: ignore[arg-type]


def test_dialogues_come_in_plan_order_whatever_order_answers_come_in(place: str) -> None:
    """Dialogues come in plan order, although later answers arrive earlier."""

    class Shuffled(Answers):
        async def answer(self, request: Request) -> Response:
            self.delay = random.Random(request.key).random() / 50
            return await super().answer(request)

    assert [dialogue.spec.index for dialogue in dialogues(place, Shuffled())] == list(range(COUNT))


def test_a_second_run_makes_no_call_and_gives_the_same(place: str) -> None:
    """A second run makes no calls and gives the same dialogues."""
    serving = Answers()
    first = list(dialogues(place, serving))
    assert serving.calls == 2 * COUNT
    assert list(dialogues(place, serving)) == first
    assert list(dialogues(place)) == first
    assert serving.calls == 2 * COUNT


def test_at_most_max_concurrency_calls_are_in_flight_and_all_of_them_are_used(place: str) -> None:
    """The number of calls in flight reaches `max_concurrency` and never exceeds it."""
    serving = Answers(delay=0.005)
    list(dialogues(place, serving, max_concurrency=7))
    assert serving.peak == 7


def test_the_first_dialogue_needs_two_calls_and_no_more(place: str) -> None:
    """The first dialogue is available after at most four calls, before the rest of the plan."""
    serving = Answers(delay=0.005)
    run = dialogues(place, serving, max_concurrency=1)
    next(run)
    assert serving.calls <= 4
    run.close()


def test_calls_go_out_between_the_checks_of_responses_that_came_together(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Calls continue while the responses of a burst are checked, so the server does not wait for all the checks."""
    together, seen = asyncio.Event(), []

    class Burst(Answers):
        async def answer(self, request: Request) -> Response:
            self.began += 1
            if self.began == 8:
                together.set()
            await together.wait()
            return await super().answer(request)

        began = 0

    def checked(*given: object) -> object:
        seen.append(serving.began)
        return replay_until_missing(*given)  # type: ignore[arg-type]

    serving = Burst()
    monkeypatch.setattr("consistent_chat.drivers.online.replay_until_missing", checked)
    assert len(list(dialogues(place, serving, max_concurrency=8))) == COUNT
    assert seen[0] == 8
    assert seen[7] >= 15, "the places of those that wait for their check are in use again"


def test_stages_of_different_dialogues_overlap(place: str) -> None:
    """Dialogues do not wait for each other's stages: a slow skeleton delays only its own dialogue."""
    slowest, stats = Plan(RECIPE)[0].topic, RunStats()

    async def others_are_finished() -> None:
        while stats.calls < 2 * (COUNT - 1):
            await asyncio.sleep(0.001)

    class OneSlow(Answers):
        async def answer(self, request: Request) -> Response:
            if slowest in request.messages[0]["content"]:
                await asyncio.wait_for(others_are_finished(), 30)
            return await super().answer(request)

    run = dialogues(place, OneSlow(), stats=stats, max_concurrency=4)
    assert next(run).spec.topic == slowest
    run.close()


@pytest.mark.slow_after(2)
@pytest.mark.parametrize(
    "bad",
    [
        Response("I would rather talk about the weather."),
        Response('{"user_1": "only one"}'),
        Response('{"user_1": "cut', finish="length"),
        Response("", finish="refusal"),
        Response("[1, 2, 3]"),
        Response("null"),
        Response(""),
    ],
    ids=lambda response: response.text[:20] or response.finish,
)
def test_unusable_answers_never_cost_a_dialogue(place: str, bad: Response) -> None:
    """Unusable first draws do not change the number of dialogues, and a replay gives the same dialogues."""

    def script(request: Request, attempt: int) -> Response | None:
        return bad if request.draw == 0 and int(request.key[-1], 16) < 3 else None  # 8 substitutes may fail too

    stats = RunStats()
    made = list(dialogues(place, Answers(script), stats=stats))
    assert [len(dialogue.answers) for dialogue in made] == [2] * COUNT
    assert sum(stats.failed.values()) > 0
    assert list(dialogues(place)) == made


def test_a_spec_that_fails_for_good_is_replaced_by_its_substitute(place: str) -> None:
    """A spec that always fails is replaced by a substitute at the same index, which records the failed draw."""
    refused = Plan(RECIPE)[5]

    def script(request: Request, attempt: int) -> Response | None:
        return Response("", "refusal") if refused.topic in request.messages[0]["content"] else None

    made = list(dialogues(place, Answers(script)))[5]
    assert made.spec == Plan(RECIPE).spec(5, substitute=1)
    assert [draw.reason.value for draw in made.failed] == ["refused"]
    assert list(dialogues(place))[5] == made


def test_max_draws_bounds_what_is_asked_and_not_what_is_recorded(place: str) -> None:
    """`max_draws` limits new requests, and a later run with a lower limit still uses the stored answers."""

    def script(request: Request, attempt: int) -> Response | None:
        return Response("no") if request.draw < 3 and request.seed == 0 else None

    recipe = Recipe(model="m", num_dialogs_per_intent=1, num_turns_per_dialog=1, intents=("educational",))
    made = list(dialogues(place, Answers(script), recipe=recipe, max_draws=4))
    assert made[0].draws == 8
    assert list(dialogues(place, Answers(), recipe=recipe, max_draws=1)) == made


def test_a_model_that_never_answers_usably_ends_the_run(place: str) -> None:
    """A model that never gives a usable answer stops the run after nine failed specs."""
    serving = Answers(lambda request, attempt: Response("no"))
    recipe = Recipe(model="m", num_dialogs_per_intent=1, num_turns_per_dialog=1, intents=("educational",))
    with pytest.raises(UnfilledSlot, match=r"9 specs failed.*no_json"):
        list(dialogues(place, serving, recipe=recipe, max_draws=2))


@pytest.mark.slow
def test_transport_errors_are_tried_again_and_never_stored(place: str) -> None:
    """Transport errors on every first attempt are retried and cost no dialogue."""
    stats = RunStats()
    serving = Answers(lambda request, attempt: TransportError("busy", retry_after=0.0) if attempt == 0 else None)
    recipe = Recipe(model="m", num_dialogs_per_intent=1, num_turns_per_dialog=1)
    made = list(dialogues(place, serving, recipe=recipe, stats=stats))
    assert (stats.retries, stats.calls, len(made)) == (18, 18, 9)
    assert all(attempts == 2 for attempts in serving.asked.values())


@pytest.mark.slow
def test_a_crowded_server_gets_fewer_calls_and_all_of_them_are_answered(place: str) -> None:
    """A server that takes 5 calls at once and gets 20 rejects some of them, and no dialogue is lost."""

    def script(request: Request, attempt: int) -> Exception | None:
        return TransportError("429", retry_after=0.01, rate_limited=True) if serving.in_flight >= 5 else None

    serving, stats = Answers(script, delay=0.005), RunStats()
    assert len(list(dialogues(place, serving, max_concurrency=20, stats=stats))) == COUNT
    assert stats.calls == 2 * COUNT
    assert 0 < stats.retries < 2 * COUNT


def test_a_crowded_server_is_given_one_pause_for_all(place: str) -> None:
    """While the server asks for a pause, no calls are made."""
    begun: list[float] = []

    def script(request: Request, attempt: int) -> Exception | None:
        begun.append(time.monotonic())
        return TransportError("429", retry_after=0.6, rate_limited=True) if len(begun) == 10 else None

    list(dialogues(place, Answers(script), max_concurrency=4))
    gaps = [later - earlier for earlier, later in zip(begun, begun[1:])]
    assert max(gaps) >= 0.6


@pytest.mark.slow
def test_a_server_that_never_answers_is_given_up_soon(place: str) -> None:
    """A server that refuses every connection stops the run within 20 seconds."""
    serving = Answers(lambda request, attempt: TransportError("The connection was refused."))
    began = time.monotonic()
    with pytest.raises(ServingError, match=r"The connection was refused\. Stopping after 5 tries"):
        list(dialogues(place, serving))
    assert time.monotonic() - began < 20


def test_an_error_that_cannot_pass_stops_at_once_and_keeps_what_came(place: str) -> None:
    """A final error stops the run at once, and the next run uses the answers that came before it."""
    limit, answered = 10, itertools.count()

    def script(request: Request, attempt: int) -> Exception | None:
        return ServingError("the key was refused") if next(answered) >= limit else None

    serving = Answers(script)
    with pytest.raises(ServingError, match="the key was refused"):
        list(dialogues(place, serving, max_concurrency=2))
    assert serving.calls <= limit + 2
    rest = Answers()
    list(dialogues(place, rest))
    assert rest.calls == 2 * COUNT - limit


def test_a_servings_own_fault_is_named(place: str) -> None:
    """An exception in a serving raises an error that names the serving."""
    with pytest.raises(ServingError, match="The serving Answers failed with KeyError: 'oops'"):
        list(dialogues(place, Answers(lambda request, attempt: KeyError("oops"))))


def test_max_calls_stops_before_the_limit_and_the_next_run_goes_on(place: str) -> None:
    """`max_calls` is exact, including calls in flight, and the next run makes only the remaining calls."""
    first = Answers(delay=0.001)
    with pytest.raises(BudgetSpent, match="max_calls=20"):
        list(dialogues(place, first, max_calls=20))
    assert first.calls == 20
    second = Answers()
    assert len(list(dialogues(place, second))) == COUNT
    assert second.calls == 2 * COUNT - 20


def test_a_limit_that_is_enough_is_never_said_to_be_reached(place: str) -> None:
    """With a sufficient `max_cost`, calls wait for those in flight, and the run is completed."""
    stats, serving = RunStats(), Answers(delay=0.001)
    assert len(list(dialogues(place, serving, max_cost=0.1, stats=stats))) == COUNT
    assert 0 < (stats.cost or 0) <= 0.1


def test_answers_without_a_count_of_tokens_do_not_pass_max_cost(place: str) -> None:
    """Answers without a token count are charged by their texts, so that the limit is reached but not passed."""
    costs, price = list[float](), price_of(RECIPE.model or "")
    assert price is not None

    def uncounted(request: Request, attempt: int) -> Response:
        response = Response(good(request).text)
        costs.append(price.of(estimated(request, response)))
        return response

    with pytest.raises(BudgetSpent, match=r"max_cost=0\.1 is reached"):
        list(dialogues(place, Answers(uncounted), max_cost=0.1))
    assert abs(sum(costs) - 0.1) <= max(costs)


def test_without_a_serving_a_missing_response_is_an_error(place: str) -> None:
    """Without a serving, a missing response raises an error that says to pass `serving=`."""
    with pytest.raises(MissingResponse, match=r"The store is empty.*Pass serving="):
        list(dialogues(place))


def test_a_run_that_is_closed_early_keeps_what_is_in_flight(place: str) -> None:
    """Closing a run early keeps all answers of calls in flight and leaves no thread."""
    serving = Answers(delay=0.01)
    run = dialogues(place, serving, max_concurrency=5)
    next(run)
    run.close()
    kept = len(list(ResponseStore(place).records()))
    assert kept == serving.calls
    assert not any(thread.name == "consistent_chat" for thread in threading.enumerate())


def test_a_complete_store_opens_no_serving(place: str) -> None:
    """A run with a complete store does not open the serving."""
    list(dialogues(place, Answers()))

    def refuse() -> Answers:
        raise AssertionError("the serving was opened")

    made = drivers.run(RECIPE, range(COUNT), ResponseStore(place), refuse, Limits(), RunStats())
    assert len(list(made)) == COUNT


def test_refresh_asks_everything_once_more(place: str) -> None:
    """A refresh requests everything again, and the new answers replace the old ones in later runs."""
    old = list(dialogues(place, Answers()))
    fresh = Answers(lambda request, attempt: Response(good(request).text.replace(" of ", " anew of ")))
    opener = lambda: fresh  # noqa: E731
    made = list(drivers.run(RECIPE, range(COUNT), ResponseStore(place, refresh=True), opener, Limits(), RunStats()))
    assert fresh.calls == 2 * COUNT
    assert made != old
    assert list(dialogues(place)) == made
