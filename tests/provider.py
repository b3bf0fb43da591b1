"""A local provider of models for tests: a real HTTP server in a thread, without a model.

It speaks the Messages protocol (`POST /v1/messages`) and Chat Completions (`POST /v1/chat/completions`), answers
with the JSON that the request asks for, and refuses what the documented services refuse. A script may replace any
answer:

    def script(call):
        return Reply.error(529, "Overloaded") if call.number == 0 else None

    with Provider(script) as provider:
        serving = Anthropic(base_url=provider.url, api_key="key")
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import json
import re
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from tests.faults import GOOD, Reply

OLD_VERSION = "2023-06-01"
"""The last `anthropic-version` that knows the field `temperature`."""


@dataclass(frozen=True)
class Call:
    """One request as it arrived. `number` counts all requests from 0, `attempt` those with exactly the same body.

    `names` are the keys that the answer must have. They determine the `stage`: "skeleton", "answers" or "judge".
    """

    number: int
    protocol: str
    headers: Mapping[str, str]
    body: Mapping[str, Any]
    attempt: int
    names: tuple[str, ...]

    @property
    def stage(self) -> str:
        first = self.names[0]
        return "skeleton" if first.startswith("user") else "answers" if first.startswith("assistant") else "judge"

    @property
    def texts(self) -> dict[str, Any]:
        """Return the texts of a good answer, or a judge's best scores.

        The texts are always the same for the same prompt, and different for different prompts.
        """
        if self.stage == "judge":
            said = {name: f"Reason of {name}." if name.endswith("_reason") else 5 for name in self.names}
            return {**said, **({"at_fault": "none"} if "at_fault" in said else {})}
        mark = self.mark
        return {name: f"This is {name.replace('_', ' message ')} of conversation {mark}." for name in self.names}

    @property
    def mark(self) -> str:
        """Return ten hexadecimal digits that identify the prompt."""
        said = json.dumps([self.body.get("system"), self.body.get("messages")], sort_keys=True)
        return hashlib.sha256(said.encode()).hexdigest()[:10]


CROWDED = Reply.error(429, "Too many requests at once")

Script = Callable[[Call], "Reply | None"]


class Provider:
    """The server, as a context manager. Each answer takes `delay` seconds.

    `requests` holds every call in the order of arrival, and `replies` the pairs (call, reply). `models` is the reply to
    requests for the list of models, and `listed` counts these requests. `in_flight_peak` is the maximum number of
    concurrent calls. Calls beyond `capacity` concurrent ones are answered with status 429.
    """

    def __init__(
        self, script: Script | None = None, delay: float = 0.0, capacity: float = float("inf"), port: int = 0
    ) -> None:
        self._script = script or (lambda call: None)
        self._delay, self._capacity, self.port = delay, capacity, port
        self._seen: Counter[str] = Counter()
        self._in_flight = 0
        self.requests: list[Call] = []
        self.replies: list[tuple[Call, Reply]] = []
        self.in_flight_peak = 0
        self.url = ""
        self.models: Reply | None = None
        self.listed = 0

    @property
    def openai_url(self) -> str:
        return f"{self.url}/v1"

    def __enter__(self) -> Provider:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result()
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _start(self) -> None:
        app = web.Application(client_max_size=2**28)
        self._route(app.router)
        self._closing = asyncio.Event()
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"

    def _route(self, router: web.UrlDispatcher) -> None:
        router.add_post("/v1/messages", self._serve)
        router.add_post("/v1/chat/completions", self._serve)
        router.add_get("/v1/models", self._list_models)

    async def _stop(self) -> None:
        self._closing.set()
        await self._runner.cleanup()

    async def _list_models(self, request: web.Request) -> web.StreamResponse:
        self.listed += 1
        if self.models is None:
            raise web.HTTPNotFound
        if self.models.ending == "hang":
            await self._closing.wait()
        return web.Response(status=self.models.status, body=self.models.raw, headers=self.models.headers)

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        protocol = "anthropic" if request.path.endswith("/messages") else "openai"
        self._in_flight += 1
        self.in_flight_peak = max(self.in_flight_peak, self._in_flight)
        try:
            call = self._record(protocol, request.headers, await request.read())
            if self._in_flight > self._capacity:
                return await self._send(request, call, CROWDED)
            reply = objection(call) or self._script(call) or GOOD
            await asyncio.sleep(self._delay)
            return await self._send(request, call, reply)
        finally:
            self._in_flight -= 1

    def _record(self, protocol: str, headers: Mapping[str, str], raw: bytes) -> Call:
        body, digest = json.loads(raw), hashlib.sha256(raw).hexdigest()
        plain = {name.lower(): value for name, value in headers.items()}
        call = Call(len(self.requests), protocol, plain, body, self._seen[digest], _names(body))
        self._seen[digest] += 1
        self.requests.append(call)
        return call

    async def _send(self, request: web.Request, call: Call, reply: Reply) -> web.StreamResponse:
        self.replies.append((call, reply))
        if reply.ending == "hang":
            await self._closing.wait()
        if reply.ending == "reset":
            _reset(request)
        body = answer(call, reply) if reply.raw is None else reply.raw
        headers = {"content-type": "application/json", **reply.headers}
        if reply.ending == "cut":
            response = web.StreamResponse(headers={**headers, "content-length": str(len(body))})
            await response.prepare(request)
            await response.write(body[: len(body) // 2])
            assert request.transport is not None
            request.transport.close()
            return response
        return web.Response(status=reply.status, body=body, headers=headers)


def _reset(request: web.Request) -> None:
    """Close the connection with a TCP reset instead of a normal end."""
    assert request.transport is not None
    linger = struct.pack("ii", 1, 0)
    request.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    request.transport.abort()


def objection(call: Call) -> Reply | None:
    """Return the refusal that the documented services would send, or None."""
    key = call.headers.get("authorization", "").removeprefix("Bearer ") or call.headers.get("x-api-key")
    if key in (None, "wrong-key"):
        return Reply.error(401, "invalid x-api-key")
    if call.body.get("model") == "no-such-model":
        return Reply.error(404, "model: no-such-model")
    if call.protocol == "anthropic" and "temperature" in call.body:
        return _objection_to_temperature(call)
    return None


def _objection_to_temperature(call: Call) -> Reply | None:
    if call.headers.get("anthropic-version", "") > OLD_VERSION:
        return Reply.error(400, "temperature: Extra inputs are not permitted")
    digits = [int(part) for part in re.split(r"[-.@]", call.body["model"]) if part.isdigit() and len(part) < 3]
    if call.body["model"].startswith("claude") and [*digits, 0][:2] >= [4, 7]:
        return Reply.error(400, "`temperature` is deprecated for this model.")
    if not 0 <= call.body["temperature"] <= 1:
        return Reply.error(400, "temperature: range: 0..1")
    return None


def _names(body: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the keys that an answer must have: those in the schema, or otherwise those that the prompt names."""
    asked = (body.get("output_config") or {}).get("format") or body.get("response_format") or {}
    schema = asked.get("schema") or asked.get("value") or asked.get("json_schema", {}).get("schema")
    if schema:
        return tuple(schema["properties"])
    prompt = json.dumps([body.get("system"), body.get("messages")]).replace('\\"', '"')
    found = re.search(r'"(user|assistant)_1\W+to\W+\1_(\d+)', prompt)
    if found is None:
        return ("assistant_1",)
    return tuple(f"{found[1]}_{number}" for number in range(1, int(found[2]) + 1))


def answer(call: Call, reply: Reply) -> bytes:
    """Return the body of a reply."""
    text = "" if reply.empty else reply.edit(json.dumps(call.texts, ensure_ascii=False))
    asked, said = _words(json.dumps(call.body)), _words(text)
    answer = _message(call, reply, text) if call.protocol == "anthropic" else _completion(call, reply, text)
    kinds = ("input", "output") if call.protocol == "anthropic" else ("prompt", "completion")
    usage = {"usage": {f"{kinds[0]}_tokens": asked, f"{kinds[1]}_tokens": said}} if reply.usage else {}
    return reply.garble(json.dumps({**answer, **usage}).encode())


@functools.lru_cache(4)
def _words(text: str) -> int:
    """Return the number of words. The result is cached, because some faults send the same 5 MB repeatedly."""
    return len(text.split())


def _message(call: Call, reply: Reply, text: str) -> dict[str, Any]:
    reasons = {"stop": "end_turn", "length": "max_tokens"}
    return {
        "id": f"msg_{call.number}",
        "type": "message",
        "role": "assistant",
        "model": call.body["model"],
        "content": [] if reply.empty else [{"type": "text", "text": text}],
        "stop_reason": reasons.get(reply.finish, reply.finish),
        "stop_sequence": None,
    }


def _completion(call: Call, reply: Reply, text: str) -> dict[str, Any]:
    declined = reply.finish == "refusal"
    message = {"role": "assistant", "content": text, "refusal": None}
    if declined:
        message = {"role": "assistant", "content": None, "refusal": "I cannot help with that."}
    return {
        "id": f"chatcmpl-{call.number}",
        "object": "chat.completion",
        "created": 0,
        "model": call.body["model"],
        "choices": [{"index": 0, "message": message, "finish_reason": "stop" if declined else reply.finish}],
    }
