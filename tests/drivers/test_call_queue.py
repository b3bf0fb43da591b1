"""Calls wait in the order of their dialogues, but the last dialogues of a run are not started late."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consistent_chat.drivers.call_queue import CallQueue, Order
from consistent_chat.drivers.calls import started_early
from consistent_chat.drivers.limits import Limits


@given(st.lists(st.builds(Order, st.integers(0, 9), st.integers(0, 3))))
def test_earlier_dialogues_go_first(orders: list[Order]) -> None:
    """While many dialogues wait to be started, calls go in the order of the plan, whenever they came."""
    queue = CallQueue[Order](few=-1)
    for order in orders:
        queue.push(order, order)
    assert [order.dialogue for order in emptied(queue)] == sorted(order.dialogue for order in orders)


@given(st.lists(st.builds(Order, st.integers(0, 9), st.integers(0, 3))))
def test_when_few_are_left_those_with_the_fewest_answers_go_first(orders: list[Order]) -> None:
    """Once only few dialogues wait to be started, calls go by the answers that a dialogue has, then by the plan."""
    queue = CallQueue[Order](few=len(orders))
    for order in orders:
        queue.push(order, order)
    assert emptied(queue) == sorted(orders, key=lambda order: (order.answers, order.dialogue))


@given(dialogs=st.integers(1, 60), calls=st.integers(1, 5), slots=st.integers(1, 12))
def test_slots_are_never_idle_without_need(dialogs: int, calls: int, slots: int) -> None:
    """Dialogues of equal length take as few rounds of calls as possible, although each call waits for the one before.

    That number is known: no more calls than slots in a round, and no fewer rounds than a dialogue has calls.
    """
    assert rounds(dialogs, calls, slots, few=slots - 1) == max(calls, math.ceil(dialogs * calls / slots))


def test_the_order_of_the_plan_alone_leaves_slots_idle() -> None:
    """Without the exception for the last dialogues, 7 dialogues of 5 calls in 4 slots take a round more."""
    assert (rounds(7, 5, 4, few=-1), rounds(7, 5, 4, few=3)) == (10, 9)


@pytest.mark.parametrize("budget", [{"max_calls": 100}, {"max_cost": 1.0}])
def test_within_a_budget_calls_finish_dialogues(budget: dict[str, Any]) -> None:
    """With a budget, dialogues are finished before others are started, so that it buys as many as possible."""
    queue = CallQueue[Order](started_early(Limits(**budget)))
    for order in (Order(1), Order(0, answers=1)):
        queue.push(order, order)
    assert emptied(queue) == [Order(0, answers=1), Order(1)]


def emptied(queue: CallQueue[Order]) -> list[Order]:
    """Return all calls of a queue, which is empty then."""
    calls = []
    while queue:
        calls.append(queue.next()[1])
        queue.pop()
    return calls


def rounds(dialogs: int, calls: int, slots: int, few: int) -> int:
    """Return how many rounds of calls dialogues take whose next call waits again after each round."""
    queue = CallQueue[Order](few)
    waiting = [Order(dialogue) for dialogue in range(dialogs)]
    count = 0
    while waiting or queue:
        for order in waiting:
            queue.push(order, order)
        waiting = []
        while queue and len(waiting) < slots:
            waiting.append(queue.next()[1].following(is_usable=True))
            queue.pop()
        waiting = [order for order in waiting if order.answers < calls]
        count += 1
    return count
