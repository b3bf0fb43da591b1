"""What DataFlow expects of a serving and of a storage, for code that names or subclasses them without DataFlow."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any


class LLMServingABC(ABC):
    """Whatever answers prompts, many in one call."""

    @abstractmethod
    def generate_from_input(self, user_inputs: list[str], system_prompt: str) -> Sequence[str | None]:
        """Return an answer to each prompt, in order; None for a prompt without one."""

    def start_serving(self) -> None:  # noqa: B027  it may do nothing
        """Prepare to answer."""

    def cleanup(self) -> None:  # noqa: B027
        """Release all resources."""


class DataFlowStorage(ABC):
    """Whatever keeps the rows between operators."""

    @abstractmethod
    def get_keys_from_dataframe(self) -> list[str]:
        """Return the names of the columns."""

    @abstractmethod
    def read(self, output_type: str = "dataframe") -> Any:
        """Return the rows of the last step: "dataframe", or "dict" for a list of dicts."""

    @abstractmethod
    def write(self, data: Any) -> Any:
        """Write a DataFrame or a list of dicts."""
