"""Finds out, once a run, in which form a server takes requests: with a schema or without, with a temperature or not.

A serving starts with the best form, sends, and goes on to a simpler one when the server objects. What was found
out holds for the rest of the run.
"""

from __future__ import annotations

import asyncio
import re
import warnings
from collections.abc import Awaitable, Callable, Mapping
from typing import Generic, TypeVar

from consistent_chat.serving.http import Fault

Form = TypeVar("Form")
Answer = TypeVar("Answer")


class Adapting(Generic[Form]):
    """Sends requests in the form that the server takes.

    With `one_first`, calls wait until one of them has been answered, so that a server's objections are met once
    and not by each of the calls that begin together.
    """

    def __init__(self, form: Form, one_first: bool = False) -> None:
        self.form = form
        self._settled = not one_first
        self._first = asyncio.Lock()

    async def ask(
        self, send: Callable[[Form], Awaitable[Answer]], simpler: Callable[[Form, Fault], Form | None]
    ) -> Answer:
        """Return the answer; raise the Fault for which `simpler` knows no other form."""
        if not self._settled:
            async with self._first:
                if not self._settled:
                    answer = await self._ask(send, simpler)
                    self._settled = True
                    return answer
        return await self._ask(send, simpler)

    async def _ask(
        self, send: Callable[[Form], Awaitable[Answer]], simpler: Callable[[Form, Fault], Form | None]
    ) -> Answer:
        while True:
            form = self.form
            try:
                return await send(form)
            except Fault as fault:
                if self.form is form:  # else another call has moved on already
                    other = simpler(form, fault)
                    if other is None:
                        raise
                    self.form = other


def blamed(fault: Fault, names: Mapping[str, str]) -> list[str]:
    """Return which of these things a refusal names, the one it names first first.

    `names` gives each thing's pattern. The order matters because some servers repeat the whole request in their
    message, after what they object to.
    """
    text = f"{fault.param or ''} {fault.message}"
    found = {name: re.search(pattern, text, re.IGNORECASE) for name, pattern in names.items()}
    return sorted((name for name in names if found[name]), key=lambda name: found[name].start())  # type: ignore[union-attr]


def warn_no_temperature(model: str, temperature: float, why: str) -> None:
    """Say that the recipe's temperature has no effect on this model."""
    warnings.warn(
        f"The model {model!r} is called without the recipe's temperature of {temperature:g}: {why}. It samples at its "
        "own default, and variety comes from the prompts. For a temperature that counts, choose a model that takes it.",
        UserWarning,
        stacklevel=2,
    )
