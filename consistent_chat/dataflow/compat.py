"""The interfaces of DataFlow's servings and storages. If DataFlow is in use, this package's classes implement them.

DataFlow's base classes are abstract ones, to which a class may be added from outside. So nothing here imports
DataFlow, which takes seconds: it is joined when it has been imported, at the latest when an operator is made.
"""

from __future__ import annotations

import importlib
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from consistent_chat.errors import ConsistentChatError

CORE, STORAGE, REGISTRY = "dataflow.core", "dataflow.utils.storage", "dataflow.utils.registry"


def join(operator: type) -> None:
    """Add our classes to those of DataFlow's modules that are imported; leave the registry's own entries alone."""
    bases = (
        (CORE, "OperatorABC", operator),
        (CORE, "LLMServingABC", LLMServingABC),
        (STORAGE, "DataFlowStorage", DataFlowStorage),
    )
    for module, name, own in bases:
        base = _found(module, name)
        if base is not None and not issubclass(own, base):
            base.register(own)
    registry = _found(REGISTRY, "OPERATOR_REGISTRY")
    if registry is not None:
        registry.register(operator)  # the first registration keeps the name, by DataFlow's rule


def take_over(operator: type) -> None:
    """Let DataFlow's registry return our operator instead of its own one of the same name. Imports DataFlow."""
    try:
        importlib.import_module(CORE)
        importlib.import_module(STORAGE)
        registry: Any = importlib.import_module(REGISTRY)
    except ImportError as error:
        raise ConsistentChatError(f"DataFlow cannot be imported: {error}. pip install open-dataflow") from error
    join(operator)
    registry.OPERATOR_REGISTRY.get_obj_map()[operator.__name__] = operator


def _found(module: str, name: str) -> Any:
    """Return a module's attribute of this name, or None if the module is not imported or belongs to another package."""
    return getattr(sys.modules.get(module), name, None)


class LLMServingABC(ABC):
    """The interface of a serving: it answers many prompts in one call."""

    @abstractmethod
    def generate_from_input(self, user_inputs: list[str], system_prompt: str) -> Sequence[str | None]:
        """Return an answer to each prompt, in order; None for a prompt without one."""

    def start_serving(self) -> None:  # noqa: B027  it may do nothing
        """Prepare to answer."""

    def cleanup(self) -> None:  # noqa: B027
        """Release all resources."""


class DataFlowStorage(ABC):
    """The interface of a storage: it keeps the rows between operators."""

    @abstractmethod
    def get_keys_from_dataframe(self) -> list[str]:
        """Return the names of the columns."""

    @abstractmethod
    def read(self, output_type: str = "dataframe") -> Any:
        """Return the rows of the last step: "dataframe", or "dict" for a list of dicts."""

    @abstractmethod
    def write(self, data: Any) -> Any:
        """Write a DataFrame or a list of dicts."""
