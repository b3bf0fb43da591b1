"""Detects, once per run, the form in which a server accepts requests: with or without a schema, a temperature, etc.

A serving starts with the best form, and tries a simpler one after each refusal. What it learned about a model
stays valid until the serving is closed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Generic, TypeVar

from consistent_chat.errors import RefusedRequest, ServingError, TransportError
from consistent_chat.request import Request, Response
from consistent_chat.serving.cap import Limits, check_fits, is_too_high
from consistent_chat.serving.http import Fault, Peer

Form = TypeVar("Form", bound=Limits)


Simpler = Callable[[Request, Form, "Fault"], "Form | None"]
"""Returns the form to try after a refusal, or None."""

HEAD_START = 0.01
"""Seconds in which only one call is sent to a server whose form is not known yet. Servers refuse a form before they
generate, so most refuse it in this time, once; a call that is not refused by then does not hold up the others."""
STUMBLES = 3
"""A 500 may be about the form if it occurs this often before the first answer."""
GUESSED = frozenset({400, 422, 501})
"""Statuses that may be about the form even without a message."""
FORMAL = GUESSED | {413, 500}
"""Statuses that may be about the form."""


class Unsent(TransportError):
    """A request that was not sent because the first request was refused in every form; it is sent later."""


class Negotiator(Generic[Form]):
    """Sends requests in a form that the server accepts. `plainer` returns the next plainer form or None.

    If it is given, the first call has a head start, so that usually only one call gets the server's refusals; until a
    call was answered, a refusal without a reason is taken as a refusal of the form.
    """

    def __init__(self, peer: Peer, form: Form, plainer: Callable[[Form], Form | None] | None = None) -> None:
        self._peer, self._form, self._plainer = peer, form, plainer
        self._models: dict[tuple[str, str, float | None], ModelForm[Form]] = {}
        self.contexts: Mapping[str, int] = {}
        """Contexts in tokens by model, as the server lists them. The context of its only model is also under ""."""

    def about(self, model: str, stage: str = "", temperature: float | None = None) -> ModelForm[Form]:
        """Return the known form of a model's requests of a stage at a temperature.

        A new stage copies the form of another, except for its temperature: if the judge's temperature was refused, the
        writer's is still sent.
        """
        key = (model, stage, temperature)
        if key not in self._models:
            known = next((one for (name, *_), one in self._models.items() if name == model and one.settled), None)
            form: Any = self._form if known is None else known.form
            if form is not self._form:
                form = replace(form, temperature=True)
            listed = self.contexts.get(model, self.contexts.get(""))
            if form.context is None and listed is not None:
                form = replace(form, context=listed)
            self._models[key] = ModelForm(form, self._plainer)
            self._models[key].settled = known is not None or self._plainer is None
        return self._models[key]

    async def answer(
        self,
        request: Request,
        send: Callable[[Request, Form], Awaitable[Response]],
        simpler: Simpler[Form],
    ) -> Response:
        """Return the answer. If `simpler` has no other form, raise the error of the refusal.

        If the provider's filter refuses this prompt, that counts as an answer, as if the model itself had declined.
        """
        try:
            learnt = self.about(request.model, request.stage, request.temperature)
            check_fits(request, learnt.form)
            return await learnt.ask(partial(send, request), partial(simpler, request))
        except Waited as waited:
            raise Unsent(str(self._peer.error(waited.fault, request.model))) from None
        except Fault as fault:
            if fault.filtered:
                return Response(self._peer.quote(fault.message), "refusal")
            raise self._error(fault, request) from None

    def read(self, request: Request, sent: Form, fault: Fault, simpler: Simpler[Form]) -> Response | ServingError:
        """Return the error or answer for a refusal that arrives later, of a request that was sent in this form.

        TransportError means that the request can be sent again in the form that is known now.
        """
        if fault.filtered:
            return Response(self._peer.quote(fault.message), "refusal")
        learnt, error = self.about(request.model), self._error(fault, request)
        if learnt.form is sent and isinstance(error, RefusedRequest):
            try:
                learnt.form = simpler(request, sent, fault) or sent
            except ServingError as final:
                return final
        if learnt.form is not sent:
            error = TransportError(str(error))
            error.billed = fault.billed
        return error

    def _error(self, fault: Fault, request: Request) -> ServingError:
        error = self._peer.error(fault, request.model)
        error.billed = fault.billed
        return error

    def leave_loop(self) -> None:
        """Release the event loop: the next answer may be in another one."""
        for learnt in self._models.values():
            learnt.exploration = None


class Waited(Exception):
    """Raised in a call that was waiting for the first one when that was refused in every form."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault)
        self.fault = fault


class Exploration:
    """One call that detects the form. Others wait for its head start, and if it was refused in that time, for its end.

    `proved` is the form in which another call was answered meanwhile, or None.
    """

    def __init__(self) -> None:
        self.is_refused = False
        self.proved: Any = None
        self._head_start, self._end = asyncio.Event(), asyncio.Event()
        self._timer = asyncio.get_running_loop().call_later(HEAD_START, self._head_start.set)

    async def wait(self) -> None:
        """Wait until the others may send, too."""
        await self._head_start.wait()
        if self.is_refused:
            await self.wait_for_end()

    async def wait_for_end(self) -> None:
        """Wait until the form is known, or the call has failed."""
        await self._end.wait()

    def end(self) -> None:
        """Let all waiting calls continue, in the same step of the event loop."""
        self._timer.cancel()
        self._head_start.set()
        self._end.set()


class ModelForm(Generic[Form]):
    """The form in which a server accepts requests for one model, as known so far."""

    def __init__(self, form: Form, plainer: Callable[[Form], Form | None] | None) -> None:
        self.form = form
        self.exploration: Exploration | None = None
        self._plainer = plainer
        self.settled = plainer is None
        self._answered = self.settled
        self._refused: Fault | None = None  # in every form, the last time
        self._stumbles = 0

    async def ask(
        self, send: Callable[[Form], Awaitable[Response]], simpler: Callable[[Form, Fault], Form | None]
    ) -> Response:
        """Return the answer. Raises the Fault that occurs in every form."""
        refused = self._refused
        while not self.settled:
            if (exploration := self.exploration) is None:
                return await self._explore(send, simpler)
            await exploration.wait()
            if self._refused is not None and self._refused is not refused:
                raise Waited(self._refused)
            if exploration is self.exploration and not self.settled:
                answer = await self._ask_early(send, exploration)
                if answer is not None:
                    return answer
        return await self._ask_settled(send, simpler)

    async def _ask_early(
        self, send: Callable[[Form], Awaitable[Response]], exploration: Exploration
    ) -> Response | None:
        """Send a call while the first one is in flight. Return its answer, or None if a new form must be tried.

        A refused call waits until the first one has ended, because that may find a form that the server accepts.
        """
        form: Any = self.form
        try:
            answer = await send(form)
        except Fault as fault:
            if fault.status not in FORMAL or fault.filtered or fault.unpaid:
                raise
            exploration.is_refused = True
            await exploration.wait_for_end()
            if self.form is form:
                raise
            return None
        if not self.settled:
            exploration.proved = self.form = form
            self.settled = self._answered = True
            exploration.end()
        return answer

    async def _ask_settled(
        self, send: Callable[[Form], Awaitable[Response]], simpler: Callable[[Form, Fault], Form | None]
    ) -> Response:
        try:
            answer = await self._ask(send, simpler)
        except Fault as fault:
            if self._answered or not self._is_unexplained(fault):
                raise
            answer = await self._guess(fault, send, simpler)
        self._answered = True
        return answer

    def _is_unexplained(self, fault: Fault) -> bool:
        """Return whether a refusal may be about the form although it does not say so.

        A 500 counts only if it is repeated, because servers also fail for other reasons.
        """
        if fault.filtered or fault.unpaid or is_too_high(fault):
            return False
        if fault.status == 500:
            self._stumbles += 1
            return self._stumbles % STUMBLES == 0
        return fault.status in GUESSED

    async def _ask(
        self, send: Callable[[Form], Awaitable[Response]], simpler: Callable[[Form, Fault], Form | None]
    ) -> Response:
        before: Any = self.form
        while True:
            form: Any = self.form
            try:
                return await send(form)
            except Fault as fault:
                if fault.filtered:
                    raise
                if self.form is form:  # otherwise another call has already changed the form
                    other = simpler(form, fault)
                    if other is None:
                        tried: Any = form
                        if tried.cap != before.cap:  # a lower temperature did not help
                            self.form = replace(tried, cap=before.cap)
                        raise
                    self.form = other

    async def _explore(
        self, send: Callable[[Form], Awaitable[Response]], simpler: Callable[[Form, Fault], Form | None]
    ) -> Response:
        """Return the answer in the first form that is accepted, and keep that form for all other calls."""
        exploration = self.exploration = Exploration()

        async def observed(form: Form) -> Response:
            try:
                return await send(form)
            except Fault:
                exploration.is_refused = True
                raise

        try:
            answer = await self._ask_unsettled(observed, simpler)
            self.settled = self._answered = True
            return answer
        finally:
            if exploration.proved is not None:
                self.form = exploration.proved
            self.exploration = None
            exploration.end()

    async def _ask_unsettled(
        self, send: Callable[[Form], Awaitable[Response]], simpler: Callable[[Form, Fault], Form | None]
    ) -> Response:
        try:
            return await self._ask(send, simpler)
        except Fault as fault:
            if not self._is_unexplained(fault):
                raise
            try:
                return await self._guess(fault, send, simpler)
            except Fault as last:
                if last is fault:
                    self._refused = fault
                raise

    async def _guess(
        self,
        refusal: Fault,
        send: Callable[[Form], Awaitable[Response]],
        simpler: Callable[[Form, Fault], Form | None],
    ) -> Response:
        """Try all plainer forms. If none of them is accepted, keep the best form and raise the first refusal."""
        told = self.form
        try:
            while self._plainer and (plainer := self._plainer(self.form)) is not None:
                self.form = plainer
                try:
                    return await self._ask(send, simpler)
                except Fault as fault:
                    if fault.status not in (500, *GUESSED) or fault.filtered or fault.unpaid:
                        raise
            raise refusal
        except BaseException:
            self.form = told
            raise
