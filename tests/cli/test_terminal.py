"""Tests that untrusted text reaches the terminal as visible text: no command prints a byte that controls it.

Everything that can come from other people contains escapes, control characters, direction overrides, invisible
characters and line breaks: recipes, servers, stores, batch logs, manifests, columns and file names.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from consistent_chat.cli import main
from consistent_chat.output.places import StandardOutput
from consistent_chat.store import Batch, BatchLog
from tests.sockets import SocketServer
from tests.store.test_hostile import changed, packed, record
from tests.stored import fill

pytestmark = pytest.mark.usefixtures("folder")

HOSTILE = (
    "x\x1b]52;c;aGk=\x07\x1b[2J\x9b31m\x1bP\x08\x7f\u202egnp\u2066\u200f\u200b\u200d\u2060\u00ad\ufeff\u3164"
    "\U000e0041\u2028\u0085\r\nERROR forged\rforged\n\nERROR forged"
)
"""Writes the clipboard, clears the screen, changes colours, turns text around, hides text, forges lines."""
JOINED = "\U0001f469\u200d\U0001f52c"
"""A scientist, whom an emoji of two and a joiner show."""
Captured = pytest.CaptureFixture[str]


def assert_visible(capfd: Captured) -> str:
    """Check that everything written to the terminal is visible text, and return it."""
    captured = capfd.readouterr()
    for said in captured:
        plain = said.replace(JOINED, "")
        unseen = {character for character in plain if not character.isprintable() and character not in "\n\t"}
        assert not unseen, (unseen, said)
        assert not [line for line in said.splitlines() if line.startswith(("ERROR forged", "forged"))]
    return "".join(captured)


def recipe(**fields: Any) -> str:
    """Write a recipe file and return its name."""
    Path("a.consistent_chat.yaml").write_text(yaml.safe_dump({"model": "m", "num_dialogs_per_intent": 1, **fields}))
    return "a.consistent_chat.yaml"


def taxonomy(text: str) -> dict[str, Any]:
    """Return a taxonomy that has the text in the place of each name."""
    flow = {"title": text, "steps": [text]}
    intent = {"title": text, "purpose": text, "flows": ["f"], "categories": {text: [text]}}
    return {"flows": {"f": flow}, "intents": {"i": intent}, "personas": [text], "manners": {text: text}}


RECIPES: dict[str, dict[str, Any]] = {
    "key": {HOSTILE: 1},
    "value": {"model": HOSTILE},
    "type": {"seed": HOSTILE},
    "language": {"language": HOSTILE},
    "list": {"intents": [HOSTILE]},
    "splits": {"splits": {HOSTILE: 1}},
    "checks": {"checks": {HOSTILE: 1}},
    "layout": {"layout": HOSTILE},
    "system prompt": {"system_prompt": HOSTILE},
    "judge": {"judge_model": HOSTILE},
    "file": {"taxonomy": HOSTILE},
    "personas": {"personas": [HOSTILE]},
    "manners": {"manners": {HOSTILE: 1}},
    "key of a taxonomy": {"taxonomy": {HOSTILE: 1}},
    "names of a taxonomy": {"taxonomy": taxonomy(HOSTILE)},
    "title": {"taxonomy": taxonomy("a\u202eb\u200bc\x9b1m")},
    "joined": {"taxonomy": taxonomy(f"a {JOINED}")},
    "flow": {"taxonomy": {"flows": {HOSTILE: {"title": "t", "steps": ["s"]}}, "intents": {HOSTILE: {}}}},
}
COMMANDS = [
    ["preview", "{}", "--serving", "rehearsal", "-n", "1"],
    ["estimate", "{}"],
    ["build", "{}", "--serving", "rehearsal", "--output", "made", "--verbose"],
    ["report", "{}"],
    ["publish", "{}", "me/made"],
]


@pytest.mark.slow_after(4)
@pytest.mark.parametrize("fields", RECIPES.values(), ids=RECIPES)
def test_a_recipes_texts_are_shown(fields: dict[str, Any], capfd: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    """A recipe's keys, values and names are printed as visible text, whether it is refused or built."""
    monkeypatch.setenv("HF_TOKEN", "hf_of_nobody")
    path = recipe(**{"num_turns_per_dialog": 1, **fields})
    for command in COMMANDS[: None if "taxonomy" in fields else 2]:
        main([part.format(path) for part in command])
        assert_visible(capfd)


@pytest.mark.parametrize(
    "raw", ["a: [\x1b]52;c;x\x07", "!!\u202epython/x 1", "? \x9b\n: \x1b[2J", "a: &\u202e 1\nb: *\u200b"]
)
def test_what_is_no_yaml_is_shown(raw: str, capfd: Captured) -> None:
    """Invalid YAML is printed as visible text, although the parser's message quotes it."""
    Path("a.consistent_chat.yaml").write_text(raw)
    assert main(["estimate", "a.consistent_chat.yaml"]) != 0
    assert_visible(capfd)


ARGUMENTS = [
    [HOSTILE],
    ["build", HOSTILE, "--output", "x"],
    ["build", "demo", "--output", HOSTILE, f"--{HOSTILE}"],
    ["build", "--serving", HOSTILE, "--output", "x"],
    ["build", "--checks", HOSTILE, "--output", "x"],
    ["report", HOSTILE],
    ["report", f"me/{HOSTILE}"],
    ["check", f"{HOSTILE}.jsonl"],
    ["verify", f"hf://datasets/me/{HOSTILE}"],
    ["verify", f"me/{HOSTILE}"],
    ["publish", "demo", f"me/{HOSTILE}"],
    ["pack", f"{HOSTILE}://x"],
    ["pack", f"s3://{HOSTILE}"],
    ["batches", "--responses", HOSTILE],
]


@pytest.mark.parametrize("arguments", ARGUMENTS, ids=lambda given: given[0][:7])
def test_names_of_datasets_files_and_options_are_shown(arguments: list[str], capfd: Captured) -> None:
    """Arguments, which may be copied from a web page, are printed as visible text."""
    main(arguments)
    assert_visible(capfd)


class Hostile(SocketServer):
    """A server that answers everything with the same bytes."""

    def __init__(self, reply: bytes) -> None:
        self._reply = reply
        super().__init__()
        self.url = f"http://127.0.0.1:{self.port}"

    def talk(self, connection: socket.socket) -> None:
        """Read one request, and send the reply."""
        with contextlib.suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head:
                head += connection.recv(65536)
            length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0] or 0)
            rest = length - len(head.partition(b"\r\n\r\n")[2])
            while rest > 0:
                rest -= len(connection.recv(65536))
            connection.sendall(self._reply)


RAW = HOSTILE.encode("utf-8")
LINE = RAW.replace(b"\r", b"").replace(b"\n", b"")


def reply(status: bytes, body: bytes, *headers: bytes) -> bytes:
    """Return an HTTP response."""
    lines = [b"HTTP/1.1 " + status, b"content-length: %d" % len(body), b"connection: close", *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def chat(**fields: Any) -> bytes:
    """Return a completion with hostile fields."""
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": HOSTILE}}
    body = {"id": HOSTILE, "model": HOSTILE, "object": "chat.completion", "choices": [{**choice, **fields}]}
    return reply(b"200 OK", json.dumps(body).encode(), b"content-type: application/json")


ERROR = json.dumps({"error": {"message": HOSTILE, "type": HOSTILE, "code": HOSTILE, "param": HOSTILE}}).encode()
REPLIES = {
    "400": reply(b"400 " + LINE, ERROR, b"content-type: application/json"),
    "400 as text": reply(b"400 Bad", RAW, b"content-type: " + LINE),
    "401": reply(b"401 No", ERROR),
    "403": reply(b"403 No", RAW),
    "404": reply(b"404 No", b"<title>" + RAW + b"</title>"),
    "302": reply(b"302 Found", b"", b"location: http://x/" + LINE),
    "no HTTP": RAW,
    "bad status": reply(RAW, b""),
    "no JSON": reply(b"200 OK", RAW, b"content-type: text/html"),
    "text": chat(),
    "finish reason": chat(finish_reason=HOSTILE),
    "refusal": chat(message={"role": "assistant", "content": None, "refusal": HOSTILE}),
    "error inside": chat(error={"message": HOSTILE, "code": HOSTILE}),
    "no choice": reply(b"200 OK", json.dumps({HOSTILE: HOSTILE}).encode(), b"content-type: application/json"),
}


@pytest.mark.slow_after(3)
@pytest.mark.parametrize("sent", REPLIES.values(), ids=REPLIES)
def test_a_servers_words_are_shown(
    sent: bytes, capfd: Captured, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Text in a server's bodies, headers and status lines, of errors and of answers, is printed as visible text."""
    monkeypatch.setattr("asyncio.sleep", _at_once)
    server = Hostile(sent)
    given = ["--serving", "openai", "--base-url", server.url, "--api-key", "a-key", "--model", "m"]
    small = ["--num-dialogs-per-intent", "1", "--intents", "simulation", "--num-turns-per-dialog", "1"]
    assert main(["build", *given, *small, "--max-draws", "2", "-v", "--output", "made", "--failures", "f.jsonl"]) != 0
    server.close()
    assert "consistent-chat: " in assert_visible(capfd)


_SLEEP = asyncio.sleep


async def _at_once(seconds: float, *args: Any) -> None:
    await _SLEEP(0)


def test_a_log_of_batches_is_shown(capfd: Captured) -> None:
    """Ids, models and outcomes in a batch log are printed as visible text.

    They come from a provider or, in a copied store, from a stranger.
    """
    log = BatchLog("responses")
    Path("r").write_bytes(b"{}\n")
    for number, outcome in ((1, None), (2, HOSTILE)):
        batch = Batch(number, HOSTILE, HOSTILE, 1, before=HOSTILE, id=HOSTILE, writer=HOSTILE, name="a" * 32)
        assert log.begin(batch, Path("r"))
        if outcome:
            log.close(batch, outcome)
    main(["batches", "--all", "--responses", "responses"])
    assert_visible(capfd)
    main(["batches", "--forget", "1", "--responses", "responses"])
    assert_visible(capfd)


def test_a_stores_records_are_shown(capfd: Captured) -> None:
    """Requests, responses, names of packs and journals, and markers of stores are printed as visible text."""
    responses = json.dumps({"text": HOSTILE, "finish_reason": HOSTILE, HOSTILE: HOSTILE})
    packed(record(changed(model=HOSTILE), responses), record(changed(**{HOSTILE: HOSTILE}), responses))(Path("store"))
    fill("other", 1)
    names = ["verify", "report", "pack"]
    for where in ("store", "other"):
        for folder in ("packs", "journals"):
            (Path(where) / folder).mkdir(exist_ok=True)
            (
                Path(where) / folder / f"{HOSTILE.replace('/', '')}.{'parquet' if folder == 'packs' else 'jsonl'}"
            ).write_bytes(RAW)
        for name in names:
            main([name, where])
            assert_visible(capfd)
    Path("store/store.json").write_bytes(RAW)
    for name in names:
        main([name, "store"])
        assert_visible(capfd)


def manifest(**fields: Any) -> dict[str, Any]:
    """Return a manifest with hostile fields."""
    plain = {"files": {}, "recipes": {"train": "a.consistent_chat.yaml"}, "versions": {"pyarrow": "1"}}
    return {"consistent_chat_dataset": 1, **plain, **fields}


MANIFESTS = {
    "path": manifest(files={f"data/{HOSTILE}": "0" * 64}),
    "digest": manifest(files={"data/a.parquet": HOSTILE}),
    "split": manifest(recipes={HOSTILE: "a.consistent_chat.yaml"}),
    "recipe": manifest(recipes={"train": f"{HOSTILE}.consistent_chat.yaml"}),
    "version": manifest(versions={"pyarrow": HOSTILE}),
    "key": manifest(**{HOSTILE: {}}),
    "format": manifest(consistent_chat_dataset=HOSTILE),
    "files": manifest(),
}


@pytest.mark.parametrize("content", MANIFESTS.values(), ids=MANIFESTS)
def test_a_published_datasets_names_are_shown(content: dict[str, Any], capfd: Captured) -> None:
    """Text in the manifest, file names, recipe and card of a published dataset is printed as visible text."""
    files = {
        f"data/{HOSTILE}.parquet": RAW,
        "data/a\u202e.parquet": RAW,
        "failures/\x9b.parquet": RAW,
        "a\x1b[2J.py": b"",
    }
    files |= {"README.md": f'---\n{HOSTILE!r}: {HOSTILE!r}\nconfigs: [{{config_name: "\\e]0;x"}}]\n---\n'.encode()}
    files |= {"a.consistent_chat.yaml": json.dumps({HOSTILE: 1}).encode(), "responses/packs/\x1b.parquet": RAW}
    files |= {"consistent_chat.json": json.dumps(content).encode()}
    for path, text in files.items():
        Path("made", path).parent.mkdir(parents=True, exist_ok=True)
        Path("made", path).write_bytes(text)
    assert main(["verify", "made"]) != 0
    assert_visible(capfd)


def test_columns_and_rows_of_a_dataset_are_shown(capfd: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    """Columns and rows of any dataset are printed as visible text.

    The table is wide, because in a narrow one a wrapped line may begin with any word.
    """
    monkeypatch.setenv("COLUMNS", "400")
    turns = [{"role": "user", "value": HOSTILE}, {"role": "assistant", "value": HOSTILE}]
    rows = [{"conversation": turns, "category": HOSTILE, HOSTILE: HOSTILE, "intent": HOSTILE}]
    pq.write_table(pa.Table.from_pylist(rows), f"{HOSTILE}.parquet")
    pq.write_table(pa.Table.from_pylist([{HOSTILE: 1}]), "other.parquet")
    Path("bad.jsonl").write_bytes(b'{"' + RAW)
    for path in (f"{HOSTILE}.parquet", "other.parquet", "bad.jsonl"):
        for command in (["report", path], ["check", path], ["check", path, "--output", "found.jsonl"]):
            main(command)
            assert_visible(capfd)


def test_rows_on_a_terminal_are_shown(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are printed on a terminal as visible text; a pipe receives them unchanged."""
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    with StandardOutput("--output").write() as file:
        file.write(json.dumps({"text": HOSTILE}, ensure_ascii=False).encode())
    assert "52;c;" in assert_visible(capsys)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="a pseudo-terminal is needed")
def test_a_real_terminal_gets_only_our_own_escapes(tmp_path: Path) -> None:
    """A real terminal receives only the package's own escapes: colours and the cursor movements of progress bars."""
    import pty

    server = Hostile(REPLIES["text"])
    command = [sys.executable, "-m", "consistent_chat", "preview", "--serving", "openai", "--base-url", server.url]
    small = ["--api-key", "k", "--model", "m", "--num-dialogs-per-intent", "1", "--intents", "simulation", "-n", "1"]
    environment = {name: value for name, value in os.environ.items() if "PROGRESS_BARS" not in name}
    leader, follower = pty.openpty()
    done = subprocess.Popen([*command, *small], stdout=follower, stderr=follower, env=environment, cwd=tmp_path)
    os.close(follower)
    said = b"".join(_read_all(leader)).decode("utf-8", "replace")
    assert done.wait() == 1
    server.close()
    plain = re.sub(r"\x1b\[[\d;]*[mAK]|\r", "", said)
    assert not {character for character in plain if not character.isprintable() and character not in "\n\t"}, said


def _read_all(descriptor: int) -> Iterator[bytes]:
    with contextlib.suppress(OSError):  # the other end is closed
        while block := os.read(descriptor, 65536):
            yield block
