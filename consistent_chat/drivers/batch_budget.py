"""The budget of the batch driver: the maximum cost of each batch stays reserved until its results are collected."""

from __future__ import annotations

from consistent_chat.drivers.budget import Budget, Usage
from consistent_chat.drivers.limits import Limits
from consistent_chat.prices import Price, price_of
from consistent_chat.serving.batches import DISCOUNT
from consistent_chat.store.batch_log import Batch


class BatchBudget(Budget):
    """A budget at batch prices, with the calls and dollars reserved for the run's own batches."""

    def __init__(self, limits: Limits, spent: Usage) -> None:
        super().__init__(limits, spent, prices=batch_price, by_batch=True)
        self._usage = spent
        self._held: dict[int, tuple[int, float]] = {}

    def hold(self, batch: Batch, calls: int, reserved: float) -> None:
        """Keep the reservation of calls while their batch is open."""
        self._held[batch.number] = calls, reserved

    def holds(self, batch: Batch) -> bool:
        """Tell whether a batch has a reservation."""
        return batch.number in self._held

    def release_batch(self, batch: Batch) -> None:
        """Release the reservation of a batch."""
        self.release(*self._held.pop(batch.number, (0, 0.0)))

    def close(self) -> None:
        """Count the reservations of batches that are still open as spent."""
        for calls, reserved in self._held.values():
            self._usage.settle(reserved, calls, reserved, calls)
        self._held.clear()


def batch_price(model: str) -> Price | None:
    """Return a model's price in a batch, or None if the table of prices does not have it."""
    price = price_of(model)
    return price and price.times(DISCOUNT)
