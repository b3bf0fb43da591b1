"""Builds against real servers on this machine, in both protocols, and tells what each build took.

`nox -s servers` runs it: llama.cpp's server with SmolLM2-135M, and LiteLLM's proxy in front of it, each in an
environment of its own. A build makes one dialogue of two turns. Most of the time is the model's, which needs several
draws.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

MODEL = "smollm2"
CONTEXT = 4096
"""Tokens of each of the two slots: the default recipe has to fit into it."""
LONGEST_ANSWER = 512
"""Tokens. With a schema a small model writes within a text until the limit, in some of its draws."""
LLAMA = """
import sys, threading, xllamacpp
params = xllamacpp.CommonParams()
params.model.path, params.hostnames, params.port = sys.argv[1], ["127.0.0.1"], int(sys.argv[2])
params.n_ctx, params.n_parallel, params.warmup = int(sys.argv[3]), 2, False
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
server = xllamacpp.Server(params)
threading.Event().wait()
"""
"""The server of llama.cpp, as the package xllamacpp brings it. More threads than cores that are free slow it down."""
PROXY = """
model_list:
  - model_name: {model}
    litellm_params: {{model: hosted_vllm/{model}, api_base: "{url}/v1", api_key: none}}
general_settings: {{dangerously_permit_weak_or_unset_master_key: true}}
"""
"""LiteLLM's proxy does not start without a key of its own unless it is told to; here it serves this machine alone.

Under the name `openai/` it sends what comes by Anthropic's protocol to `/responses`, which llama.cpp does not have;
under `hosted_vllm/` it uses `/chat/completions` for both.
"""
START_SECONDS, BUILD_SECONDS = 300.0, 1800.0


def main() -> int:
    """Build with each server and protocol; return 1 if a build failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("llama_python", help="a Python with xllamacpp")
    parser.add_argument("gguf", help="the model's file")
    parser.add_argument("litellm", nargs="?", help="LiteLLM's command; none leaves the proxy out")
    given = parser.parse_args()
    codes = []
    with tempfile.TemporaryDirectory() as folder, llama(given.llama_python, given.gguf) as url:
        codes += [build(folder, "llama.cpp", protocol, url) for protocol in ("openai", "anthropic")]
        if given.litellm:
            with proxy(given.litellm, folder, url) as front:
                codes += [build(folder, "LiteLLM", protocol, front) for protocol in ("openai", "anthropic")]
    return int(any(codes))


def build(folder: str, server: str, protocol: str, url: str) -> int:
    """Run a build, print what it took and its last line, and return its exit code."""
    home = Path(folder, f"{server}-{protocol}")
    address = f"{url}/v1" if protocol == "openai" else url
    options = {
        "--serving": protocol,
        "--base-url": address,
        "--model": MODEL,
        "--num-dialogs-per-intent": 1,
        "--intents": "educational",
        "--num-turns-per-dialog": 2,
        "--context-tokens": CONTEXT,
        "--max-output-tokens": LONGEST_ANSWER,
        "--max-concurrency": 2,
        "--max-draws": 12,
        "--checks": "false",
        "--responses": home / "responses",
        "--output": home / "rows.jsonl",
    }
    words = [str(word) for pair in options.items() for word in pair]
    keys = {"OPENAI_API_KEY": "no-key-is-needed", "ANTHROPIC_API_KEY": "no-key-is-needed", "HF_HOME": str(home)}
    home.mkdir()
    began = time.monotonic()
    ran = subprocess.run(
        [sys.executable, "-m", "consistent_chat", "build", *words],
        env={**os.environ, **keys},
        capture_output=True,
        text=True,
        timeout=BUILD_SECONDS,
        check=False,
    )
    last = (ran.stdout + ran.stderr).strip().splitlines()[-1:]
    print(
        f"{server}, {protocol}: {time.monotonic() - began:.0f} s, exit code {ran.returncode}: {''.join(last)}",
        flush=True,
    )
    return ran.returncode


@contextlib.contextmanager
def llama(python: str, gguf: str) -> Iterator[str]:
    """Run llama.cpp's server and give its address."""
    port = free_port()
    command = [python, "-c", LLAMA, gguf, str(port), str(2 * CONTEXT)]
    with running(command, f"http://127.0.0.1:{port}", "/v1/models") as url:
        yield url


@contextlib.contextmanager
def proxy(command: str, folder: str, url: str) -> Iterator[str]:
    """Run LiteLLM's proxy in front of a server and give its address."""
    port, config = free_port(), Path(folder, "proxy.yaml")
    config.write_text(PROXY.format(model=MODEL, url=url), "utf-8")
    words = [command, "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
    with running(words, f"http://127.0.0.1:{port}", "/health/liveliness") as front:
        yield front


@contextlib.contextmanager
def running(command: list[str], url: str, path: str) -> Iterator[str]:
    """Run a server until the block ends; the block begins when its path is answered."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + START_SECONDS
            while not is_answered(url + path):
                if process.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    raise SystemExit(f"{command[0]} did not start: {log.read()[-2000:].decode('utf-8', 'replace')}")
                time.sleep(0.5)
            yield url
        finally:
            process.terminate()
            process.wait(30)


def is_answered(url: str) -> bool:
    """Tell whether a server answers at an address."""
    try:
        with urllib.request.urlopen(url, timeout=10):
            return True
    except (urllib.error.URLError, OSError):
        return False


def free_port() -> int:
    """Return a port that is free now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


if __name__ == "__main__":
    sys.exit(main())
