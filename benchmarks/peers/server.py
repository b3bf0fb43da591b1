"""A server of chat completions for all peers: it answers in the form that a prompt asks for, always with six turns.

After 0.2 seconds, and with each of five faults to `faults` of a hundred calls, which depend on the request and on how
often it came. `GET /seen` tells the number of calls. It is started by compare.py.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import re
import sys
import time
from collections import Counter
from typing import Any

from aiohttp import web

SECONDS, TURNS = 0.2, 6
FAULTS = ("429", "500", "malformed", "truncated", "wrong count")
FILLER = " and goes on for as long as messages usually do, with a reason for the question and what was tried before."
KEYS = re.compile(r'the keys "(user|assistant)_1" to')


def answer(prompt: str, mark: str, turns: int) -> str:
    """Return the text that a prompt asks for: keys of ours, or DataFlow's questions or responses."""
    texts = [f"Text {number} of {mark} speaks of the matter{FILLER}" for number in range(1, turns + 1)]
    if role := KEYS.search(prompt):
        return json.dumps({f"{role[1]}_{number}": text for number, text in enumerate(texts, 1)})
    if '"turns"' in prompt or "'turns'" in prompt:
        return json.dumps({"category": f"Category {mark}", "turns": texts})
    return json.dumps([{"response": text} for text in texts])


class Server:
    """Answers, and counts."""

    def __init__(self, faults: int) -> None:
        self._faults, self._seen = faults, Counter[str]()
        self._first = self._last = 0.0

    async def handle(self, request: web.BaseRequest) -> web.Response:
        """Answer one request."""
        if request.path == "/seen":
            counted = {"calls": self._seen.total(), "requests": len(self._seen)}
            return web.json_response({**counted, "seconds": self._last - self._first})
        if request.method != "POST":
            return web.json_response({"error": {"message": "Not found"}}, status=404)
        self._first = self._first or time.monotonic()
        messages = (await request.json())["messages"]
        prompt = "\n".join(str(message["content"]) for message in messages)
        mark = hashlib.sha256(prompt.encode()).hexdigest()
        chance = int(hashlib.sha256(f"{mark} {self._seen[mark]}".encode()).hexdigest()[:8], 16) / 16**8
        self._seen[mark] += 1
        number = int(chance * 100 // self._faults) if self._faults else len(FAULTS)
        fault = FAULTS[number] if number < len(FAULTS) else ""
        await asyncio.sleep(0 if fault == "429" else SECONDS)
        self._last = time.monotonic()
        if fault in ("429", "500"):
            return web.json_response({"error": {"message": "Not now"}}, status=int(fault))
        text = answer(prompt, mark[:8], TURNS - (fault == "wrong count"))
        text = {"malformed": text.replace(":", ""), "truncated": text[: len(text) // 2]}.get(fault, text)
        return web.json_response(_completion(text, "length" if fault == "truncated" else "stop"))


def _completion(text: str, finish: str) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}
    usage = {"prompt_tokens": 700, "completion_tokens": len(text) // 4, "total_tokens": 700 + len(text) // 4}
    return {
        "id": "1",
        "object": "chat.completion",
        "created": 1,
        "model": "gpt-4o-mini",
        "choices": [choice],
        "usage": usage,
    }


async def _serve(faults: int) -> None:
    logging.disable(logging.ERROR)  # peers that are killed break off their calls
    runner = web.ServerRunner(web.Server(Server(faults).handle))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
