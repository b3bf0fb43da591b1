"""Secrets of every kind are planted, all commands run, and no output contains any of them in any encoding."""

from __future__ import annotations

import http.server
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import published
from tests.batches import BatchProvider
from tests.faults import Reply
from tests.hub import Hub
from tests.hub.machines import Machine, machine
from tests.planted import SECRETS, found, found_in, packed
from tests.provider import Call
from tests.published import KNOWS_BUCKETS
from tests.sockets import SocketServer

KEY, GATEWAY, TOKEN, OPTION, PASSWORD, QUERY, ID, SECRET, PROXY = SECRETS.values()
SMALL = ["--num-dialogs-per-intent", "1", "--num-turns-per-dialog", "2", "--intents", "simulation", "educational"]


@pytest.mark.parametrize("kind", SECRETS)
def test_the_search_finds_what_is_hidden(kind: str) -> None:
    """The search finds a secret in every packing and encoding, and finds nothing where there is no secret."""
    hidden = packed(SECRETS[kind])
    assert {name: found(content) for name, content in hidden.items()} == {name: {kind} for name in hidden}
    assert not any(found(content) for content in packed("no secret at all").values())


class Proxy(SocketServer):
    """A proxy that refuses all requests and quotes its own password."""

    def __init__(self) -> None:
        self.told = b""
        super().__init__()
        self.address = f"127.0.0.1:{self.port}"

    def talk(self, connection: socket.socket) -> None:
        """Refuse one request."""
        self.told += connection.recv(1 << 16)
        body = json.dumps({"error": {"message": f"Not you: http://me:{PROXY}@{self.address}"}}).encode()
        head = b"HTTP/1.1 407 No, %b\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
        connection.sendall(head % (PROXY.encode(), len(body)) + body)


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    """Run a proxy with credentials. All requests to other machines go through it."""
    running = Proxy()
    yield running
    running.close()


@pytest.fixture
def hub() -> Iterator[Hub]:
    """Run a Hub that knows the token."""
    with Hub() as running:
        running.tokens[TOKEN] = "write"
        yield running


def indiscreet(call: Call) -> Reply | None:
    """Refuse some calls with an error that quotes their key, and give unusable answers to some others."""
    if call.number % 7 == 1:
        return Reply.error(500, f"No good: {call.headers.get('authorization')} {call.headers.get('x-api-key')}")
    return Reply.text("I would rather not.") if call.number % 5 == 2 and call.attempt == 0 else None


@pytest.fixture
def provider() -> Iterator[BatchProvider]:
    """Run a provider that quotes keys in its errors."""
    with BatchProvider(indiscreet) as running:
        running.script_online()
        yield running


@pytest.fixture
def user(hub: Hub, provider: BatchProvider, proxy: Proxy, tmp_path: Path) -> Iterator[Machine]:
    """Provide a machine with secrets in its environment.

    Its home, cache and temporary files are in the test's folder.
    """
    through = f"http://me:{PROXY}@{proxy.address}"
    (tmp_path / "tmp").mkdir()
    named = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy"), through)
    made = machine(
        hub, tmp_path / "home", HF_TOKEN=TOKEN, ANTHROPIC_API_KEY=KEY, OPENAI_API_KEY=GATEWAY,
        ANTHROPIC_BASE_URL=provider.url, TMPDIR=str(tmp_path / "tmp"), HOME=str(tmp_path / "home"),
        no_proxy="127.0.0.1", NO_PROXY="127.0.0.1", AWS_ACCESS_KEY_ID=ID, AWS_SECRET_ACCESS_KEY=SECRET, **named,
    )  # fmt: skip
    yield made
    made.pool.shutdown()


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[str]:
    """Run a website with the files of the test's `work` folder, and return its address."""

    class Files(http.server.SimpleHTTPRequestHandler):
        """Serve the files for any query, and log nothing."""

        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(tmp_path / "work"))

        def log_message(self, *_: Any) -> None:
            """Log nothing."""

    (tmp_path / "work").mkdir()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Files) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def loaded(**given: Any) -> str:
    """Return the outcome or traceback of a build by `load_dataset`, and the representation of the builder's config."""
    import traceback

    from datasets import load_dataset, load_dataset_builder

    fields = {"num_dialogs_per_intent": 1, "intents": ["simulation"], "model": "m", **given}
    try:
        shown = repr(load_dataset_builder("consistent_chat", **fields).config)
        return shown + repr(load_dataset("consistent_chat", **fields))
    except Exception:
        return traceback.format_exc()


@pytest.mark.slow
def test_secrets_of_every_sort_are_in_no_artefact(
    hub: Hub, user: Machine, provider: BatchProvider, proxy: Proxy, shared: str, tmp_path: Path
) -> None:
    """No store, cache, log, card, report, repository, job or error contains a secret.

    The keys, the password of the proxy and the secret of the job still reach the servers that they are for.
    """
    work = tmp_path / "work"
    store, rows = str(work / "responses"), str(work / "rows.jsonl")
    anthropic = ["--serving", "anthropic", "--model", "claude-haiku-4-5", *SMALL, "--responses", store]
    openai = ["--serving", "openai", "--model", "m", "--base-url", provider.openai_url, *SMALL]
    said: list[str] = []

    def run(*arguments: str, code: int | None = 0) -> None:
        done = user.run(published.command, *arguments)
        assert code is None or done.code == code, (arguments, done.said)
        (work / f"said-{len(said)}.log").write_text(done.said)
        said.append(done.said)

    run("build", "default", *anthropic, "-v", "--output", rows, "--failures", str(work / "failed.jsonl"))
    run("build", "default", *anthropic, "--output", str(work / "rows.parquet"))
    run("build", "default", *openai, "-v", "--responses", str(work / "b"), "--output", str(work / "rows"))
    run("warm", "default", *openai, "--api-key", OPTION, "--responses", str(work / "c"))
    batch = ["--driver", "batch", "--responses", str(work / "d")]
    run("warm", "default", *anthropic[:-2], *batch, "--detach")
    run("batches", *batch[2:])
    run("warm", "default", *anthropic[:-2], *batch, code=None)
    run("estimate", "default", *anthropic)
    run("preview", "default", *anthropic)
    run("report", rows, "--html", str(work / "report.html"))
    run("report", store, "--html", str(work / "store.html"))
    run("verify", store)
    run("publish", "default", "me/made", *anthropic)
    run("publish", "default", "me/live", *anthropic, "--live", "--seed", "1")
    if KNOWS_BUCKETS:
        job = [
            "--serving",
            "anthropic",
            "--model",
            "claude-haiku-4-5",
            *SMALL,
            "--on-hub",
            "--secret",
            "OPENAI_API_KEY",
        ]
        run("publish", "default", "me/job", *job)

    (work / "notes.txt").write_text("x")
    (work / "notes.jsonl").write_text("x")
    (work / "good.consistent_chat.yaml").write_text(
        "model: rehearsal\nintents: [simulation]\nnum_dialogs_per_intent: 1"
    )
    (work / "bad.consistent_chat.yaml").write_text("seed: [")
    recipes = [f"{shared}/{name}.consistent_chat.yaml" for name in ("good", "bad", "none")]
    told = "--storage-options", json.dumps({"key": ID, "secret": SECRET, "endpoint_url": "http://127.0.0.1:1"})
    elsewhere = ["--base-url", "http://provider.invalid/v1"]
    written = ["--responses", str(work / "e"), "--output", str(work / "e.jsonl")]
    wrong = [*openai[:4], *SMALL, "--seed", "5", *written]
    url, site = f"ftp://me:{PASSWORD}@127.0.0.1:1/responses", f"http://127.0.0.1:1/x?sig={QUERY}"
    for arguments in (
        ["build", "default", *wrong, *elsewhere],
        ["build", "default", *wrong, "--base-url", f"http://me:{PASSWORD}@127.0.0.1:1/v1"],
        ["build", "default", *wrong, "--base-url", f"http://127.0.0.1:1/v1?api_key={QUERY}"],
        ["build", "default", *wrong, "--base-url", f"http://127.0.0.1:1/v1#{QUERY}"],
        ["verify", url],
        ["report", url],
        ["build", "demo", "--responses", url, "--output", str(work / "f.jsonl")],
        ["build", "demo", "--output", url],
        ["verify", "s3://bucket/responses", *told],
        ["build", "demo", "--output", "s3://bucket/rows.jsonl", *told],
        ["report", "s3://bucket/responses", *told],
        *([command, site] for command in ("verify", "report", "check", "pack")),
        ["report", f"{shared}/rows.jsonl?sig={QUERY}", "--failures", f"{shared}/none.jsonl?sig={QUERY}"],
        ["report", f"{shared}/notes.txt?sig={QUERY}"],
        ["check", f"{shared}/notes.txt?sig={QUERY}"],
        ["check", f"{shared}/notes.jsonl?sig={QUERY}"],
        ["report", f"{shared}/none.jsonl?sig={QUERY}", "--seed", "1"],
        ["publish", "default", "me/query", *wrong[:-4], "--base-url", f"http://127.0.0.1:1/?key={QUERY}", "--on-hub"],
        *(["build", f"{recipe}?key={QUERY}{end}", *written] for recipe in recipes for end in ("", "&.yaml")),
        *(["build", recipe.replace("//", f"//me:{PASSWORD}@"), *written] for recipe in recipes),
        ["publish", f"{recipes[0]}?key={QUERY}&.yaml", "me/shared"],
        ["verify", "me/not-there"],
    ):
        run(*arguments, code=None)
        assert said[-1], arguments
        assert "option '" not in said[-1], arguments
    for given in (
        {"serving": "openai", "api_key": OPTION, "base_url": "http://127.0.0.1:1/v1"},
        {"serving": "openai", "base_url": "http://provider.invalid/v1"},
        {"responses": url, "storage_options": {"secret": SECRET, "key": ID}},
        {"serving": "openai", "base_url": f"http://127.0.0.1:1/v1?key={QUERY}", "storage_options": {"key": ID}},
        {"data_files": f"{recipes[1]}?key={QUERY}", "serving": "rehearsal"},
        {"data_files": recipes[2].replace("//", f"//me:{PASSWORD}@"), "serving": "rehearsal"},
    ):
        (work / f"raised-{len(said)}.log").write_text(user.run(loaded, **given))
        said.append("")

    assert {KEY, GATEWAY, OPTION} <= {
        str(call.headers.get("authorization", "")).removeprefix("Bearer ") for call in provider.requests
    }
    assert proxy.told
    if hub.jobs:
        assert hub.jobs[-1]["secrets"]["OPENAI_API_KEY"] == GATEWAY
    hidden = found_in(tmp_path)
    for repos in (hub.repos, hub.buckets):
        for name, files in repos.items():
            hidden |= {f"{name}/{path}": kinds for path, content in files.items() if (kinds := found(content))}
    for job in hub.jobs:
        hidden |= {"job": kinds} if (kinds := found(json.dumps({**job, "secrets": {}}).encode())) else {}
    assert hidden == {}
