"""How often whole numbers were seen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable


class Distribution(Counter[int]):
    """How often each whole number was seen."""

    @property
    def mean(self) -> float:
        """The arithmetic mean; 0 where nothing was seen."""
        return self.sum / (self.total() or 1)

    @property
    def sum(self) -> int:
        """All that was seen, added up."""
        return sum(value * count for value, count in self.items())

    @property
    def largest(self) -> int:
        """The maximum; 0 where nothing was seen."""
        return max(self, default=0)

    def quantile(self, share: float) -> int:
        """Return the least value that this share (0 to 1) of all is not above; 0 where nothing was seen."""
        left = share * self.total()
        for value in sorted(self):
            left -= self[value]
            if left <= 0:
                return value
        return self.largest


def together(distributions: Iterable[Distribution]) -> Distribution:
    """Return the distribution of all that was seen in several."""
    whole = Distribution()
    for distribution in distributions:
        whole.update(distribution)
    return whole
