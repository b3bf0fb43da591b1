"""Makes this package's classes count as DataFlow's own where DataFlow is in use, so that its pipelines compile.

DataFlow's base classes are abstract ones, to which a class may be added from outside. So nothing here imports
DataFlow, which takes seconds: it is joined when it has been imported, at the latest when an operator is made.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

from consistent_chat.dataflow.interfaces import DataFlowStorage, LLMServingABC
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
    """Let DataFlow's registry return our operator instead of its own of the same name. Imports DataFlow."""
    try:
        importlib.import_module(CORE)
        importlib.import_module(STORAGE)
        registry: Any = importlib.import_module(REGISTRY)
    except ImportError as error:
        raise ConsistentChatError(f"DataFlow cannot be imported: {error}. pip install open-dataflow") from error
    join(operator)
    registry.OPERATOR_REGISTRY.get_obj_map()[operator.__name__] = operator


def _found(module: str, name: str) -> Any:
    """Return a module's attribute of this name, or None if the module is not imported or is another package's."""
    return getattr(sys.modules.get(module), name, None)
