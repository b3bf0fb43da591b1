"""DataFlow's interface, for its users: the operator, its storage and its serving. DataFlow need not be installed.

    operator.py    ConsistentChatGenerator
    storage.py     FileStorage: the same files as DataFlow's
    serving.py     APILLMServing_request, over our own serving; any other serving of DataFlow, for the wave driver
    templates.py   DataFlow's prompt objects and the shapes of their answers
    compat.py      what DataFlow expects of servings and storages; where it is installed, ours count as its own

The driver for such servings is `drivers/waves.py`.

Importing this package never imports DataFlow.
"""

from consistent_chat.dataflow.compat import DataFlowStorage, LLMServingABC, join, take_over
from consistent_chat.dataflow.operator import ConsistentChatGenerator
from consistent_chat.dataflow.serving import APILLMServing_request
from consistent_chat.dataflow.storage import FileStorage

__all__ = [
    "APILLMServing_request",
    "ConsistentChatGenerator",
    "DataFlowStorage",
    "FileStorage",
    "LLMServingABC",
    "register",
]


def register() -> None:
    """Let DataFlow's registry return our ConsistentChatGenerator instead of its own. Imports DataFlow."""
    take_over(ConsistentChatGenerator)


join(ConsistentChatGenerator)
