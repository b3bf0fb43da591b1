"""Finds out, once a run, in which form a server takes requests: with a schema or without, with a temperature or not.

A serving starts with the best form, sends, and goes on to a simpler one when the server objects. What was found
out about a model holds for as long as the serving lives.
"""

from __future__ import annotations

import asyncio
import re
import warnings
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Generic, TypeVar

from consistent_chat.errors import RefusedRequest, ServingError, TransportError
from consistent_chat.request import Request, Response
from consistent_chat.serving.cap import Limits, check_fits, is_too_high
from consistent_chat.serving.http import LOOKED_AT, Fault, Peer

Form = TypeVar("Form", bound=Limits)


Simpler = Callable[[Request, Form, "Fault"], "Form | None"]
"""Gives the form to try after a refusal, or None."""

STUMBLES = 3
"""A 500 that comes so often before any answer may be about the form."""
GUESSED = frozenset({400, 422, 501})
"""Statuses that, without telling words, may be about the form."""


class Unsent(TransportError):
    """A request that waited for the first one, which was refused in every form: it is sent when that is settled."""


class Adapting(Generic[Form]):
    """Sends requests in the form that the server takes.

    With `plainer`, which gives the next plainer form or None, calls wait until one of them has been answered, so
    that a server's objections are met once and not by each of the calls that begin together; and until then a
    refusal that names nothing is taken to be about the form.
    """

    def __init__(self, peer: Peer, form: Form, plainer: Callable[[Form], Form | None] | None = None) -> None:
        self._peer, self._form, self._plainer = peer, form, plainer
        self._models: dict[tuple[str, str, float | None], Learnt[Form]] = {}

    def about(self, model: str, stage: str = "", temperature: float | None = None) -> Learnt[Form]:
        """Return what is known of a model's requests of a stage at a temperature.

        Of others it takes over all but the temperature: a refusal of a judge's does not cost the writer its own.
        """
        key = (model, stage, temperature)
        if key not in self._models:
            known = next((one for (name, *_), one in self._models.items() if name == model and one.settled), None)
            form: Any = self._form if known is None else known.form
            if form is not self._form:
                form = replace(form, temperature=True)
            self._models[key] = Learnt(form, self._plainer)
            self._models[key].settled = known is not None or self._plainer is None
        return self._models[key]

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
            learnt = self.about(request.model, request.stage, request.temperature)
            check_fits(request, learnt.form)
            return await learnt.ask(partial(send, request), partial(simpler, request))
        except Waited as waited:
            raise Unsent(str(self._peer.error(waited.fault, request.model))) from None
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
            try:
                learnt.form = simpler(request, sent, fault) or sent
            except ServingError as final:
                return final
        return error if learnt.form is sent else TransportError(str(error))

    def leave_loop(self) -> None:
        """Let go of the event loop: the next answer may be in another one."""
        for learnt in self._models.values():
            learnt.first = None


class Waited(Exception):
    """Raised for a call that waited for the first one while that was refused in every form."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault)
        self.fault = fault


class Learnt(Generic[Form]):
    """The form in which a server takes requests for one model, as far as it is known."""

    def __init__(self, form: Form, plainer: Callable[[Form], Form | None] | None) -> None:
        self.form = form
        self.first: asyncio.Lock | None = None
        self._plainer = plainer
        self.settled = plainer is None
        self._answered = self.settled
        self._refused: Fault | None = None  # in every form, the last time
        self._stumbles = 0

    async def ask(
        self, send: Callable[[Form], Awaitable[Response]], simpler: Callable[[Form, Fault], Form | None]
    ) -> Response:
        """Return the answer; raise the Fault that no other form has helped against."""
        if not self.settled:
            self.first = self.first or asyncio.Lock()
            refused = self._refused
            async with self.first:
                if self._refused is not None and self._refused is not refused:
                    raise Waited(self._refused)
                if not self.settled:
                    answer = await self._explore(send, simpler)
                    self.settled = self._answered = True
                    return answer

        try:
            answer = await self._ask(send, simpler)
        except Fault as fault:
            if self._answered or not self._is_unexplained(fault):
                raise
            answer = await self._guess(fault, send, simpler)
        self._answered = True
        return answer

    def _is_unexplained(self, fault: Fault) -> bool:
        """Tell a refusal that may be about the form, although it does not say so, from all others.

        A 500 may be so only if it comes again and again: servers fail for other reasons.
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
                if self.form is form:  # else another call has moved on already
                    other = simpler(form, fault)
                    if other is None:
                        tried: Any = form
                        if tried.cap != before.cap:  # a lower one was no help
                            self.form = replace(tried, cap=before.cap)
                        raise
                    self.form = other

    async def _explore(
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
        """Try all plainer forms. If none is taken, nothing has been learnt, and the first refusal is the error."""
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


def blamed(fault: Fault, names: Mapping[str, str]) -> list[str]:
    """Return which of these things a refusal names, the one it names first first.

    `names` gives each thing's pattern. The order matters because some servers repeat the whole request in their
    message, after what they object to.
    """
    text = f"{fault.param or ''} {fault.message[:LOOKED_AT]}"
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


def check_scale(peer: Peer, request: Request, fault: Fault) -> None:
    """Raise ServingError where a refusal is of this temperature, and not of all: then the recipe must change.

    It says so where it names a lower one, or a scale.
    """
    message = fault.message[:LOOKED_AT]
    lower = any(0 < float(number) < request.temperature for number in _NUMBER.findall(message))
    if request.temperature > 0 and (lower or _SCALE.search(message)):
        raise ServingError(
            f"{peer.place} does not take the temperature {request.temperature:g} for the model {request.model!r}. It "
            f"answered {fault.status}: {peer.quote(message)}. Set temperature= to a value that it takes, or choose "
            "another model."
        )


_NUMBER = re.compile(r"(?<![\w.-])\d(?:\.\d+)?(?![\w-])(?!\.\d)")
"""A number below ten that stands alone: not a part of a version, an address or a code."""


_SCALE = re.compile(
    r"temperature\W{1,4}(?:range|must be (?:between|in|less|at most|<)|input should be (?:less|greater) than)"
    r"|temperature.{0,40}?(?:between|\brange\b|at most|less than|<=|\[0)",
    re.IGNORECASE | re.DOTALL,
)
