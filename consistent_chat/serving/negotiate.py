"""Finds out, once a run, in which form a server takes requests: with a schema or without, with a temperature or not.

A serving starts with the best form, sends, and goes on to a simpler one when the server objects. What was found
out about a model holds for as long as the serving lives.
"""

from __future__ import annotations

import asyncio
import re
import warnings
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Generic, TypeVar

from consistent_chat.errors import RefusedRequest, ServingError, TransportError
from consistent_chat.request import Request, Response
from consistent_chat.serving.http import Fault, Peer

Form = TypeVar("Form")
Simpler = Callable[[Request, Form, "Fault"], "Form | None"]
"""Gives the form to try after a refusal, or None."""

GUESSED = frozenset({400, 422, 501})
"""Statuses that, without telling words, may be about the form."""


class Adapting(Generic[Form]):
    """Sends requests in the form that the server takes.

    With `plainer`, which gives the next plainer form or None, calls wait until one of them has been answered, so
    that a server's objections are met once and not by each of the calls that begin together; and until then a
    refusal that names nothing is taken to be about the form.
    """

    def __init__(self, peer: Peer, form: Form, plainer: Callable[[Form], Form | None] | None = None) -> None:
        self._peer, self._form, self._plainer = peer, form, plainer
        self._models: dict[str, Learnt[Form]] = {}

    def about(self, model: str) -> Learnt[Form]:
        """Return what is known of a model."""
        return self._models.setdefault(model, Learnt(self._form, self._plainer))

    async def answer(
        self,
        request: Request,
        send: Callable[[Request, Form], Awaitable[Response]],
        simpler: Simpler[Form],
    ) -> Response:
        """Return the answer; raise the error of a refusal for which `simpler` knows no other form.

        A refusal of this one prompt by the provider's filter is an answer, as if the model itself had declined.
        """
        try:
            return await self.about(request.model).ask(partial(send, request), partial(simpler, request))
        except Fault as fault:
            if fault.filtered:
                return Response(self._peer.quote(fault.message), "refusal")
            raise self._peer.error(fault, request.model) from None

    def read(self, request: Request, sent: Form, fault: Fault, simpler: Simpler[Form]) -> Response | ServingError:
        """Return what a refusal is that came later, for a request that was sent in this form.

        TransportError if the request may be asked again in the form that is now known.
        """
        if fault.filtered:
            return Response(self._peer.quote(fault.message), "refusal")
        learnt = self.about(request.model)
        error = self._peer.error(fault, request.model)
        if learnt.form is sent and isinstance(error, RefusedRequest):
            learnt.form = simpler(request, sent, fault) or sent
        return error if learnt.form is sent else TransportError(str(error))

    def leave_loop(self) -> None:
        """Let go of the event loop: the next answer may be in another one."""
        for learnt in self._models.values():
            learnt.first = None


class Learnt(Generic[Form]):
    """The form in which a server takes requests for one model, as far as it is known."""

    def __init__(self, form: Form, plainer: Callable[[Form], Form | None] | None) -> None:
        self.form = form
        self.first: asyncio.Lock | None = None
        self._plainer = plainer
        self._settled = plainer is None

    async def ask(
        self, send: Callable[[Form], Awaitable[Response]], simpler: Callable[[Form, Fault], Form | None]
    ) -> Response:
        """Return the answer; raise the Fault that no other form has helped against."""
        if not self._settled:
            self.first = self.first or asyncio.Lock()
            async with self.first:
                if not self._settled:
                    answer = await self._explore(send, simpler)
                    self._settled = True
                    return answer
        return await self._ask(send, simpler)

    async def _ask(
        self, send: Callable[[Form], Awaitable[Response]], simpler: Callable[[Form, Fault], Form | None]
    ) -> Response:
        while True:
            form = self.form
            try:
                return await send(form)
            except Fault as fault:
                if fault.filtered:
                    raise
                if self.form is form:  # else another call has moved on already
                    other = simpler(form, fault)
                    if other is None:
                        raise
                    self.form = other

    async def _explore(
        self, send: Callable[[Form], Awaitable[Response]], simpler: Callable[[Form, Fault], Form | None]
    ) -> Response:
        try:
            return await self._ask(send, simpler)
        except Fault as fault:
            if not _is_unexplained(fault):
                raise
            return await self._guess(fault, send, simpler)

    async def _guess(
        self,
        refusal: Fault,
        send: Callable[[Form], Awaitable[Response]],
        simpler: Callable[[Form, Fault], Form | None],
    ) -> Response:
        """Try all plainer forms. If none is taken, nothing has been learnt, and the first refusal is the error."""
        told = self.form
        try:
            while self._plainer and (plainer := self._plainer(self.form)) is not None:
                self.form = plainer
                try:
                    return await self._ask(send, simpler)
                except Fault as fault:
                    if not _is_unexplained(fault):
                        raise
            raise refusal
        except BaseException:
            self.form = told
            raise


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


def _is_unexplained(fault: Fault) -> bool:
    """Tell a refusal that may be about the form, although it does not say so, from all others."""
    return fault.status in GUESSED and not fault.filtered and not fault.unpaid
