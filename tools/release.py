"""Tries a release against an index on this machine: what is in `dist` is installed as users will install it.

    python tools/release.py dist            # from a folder with one wheel and one sdist

Serves the folder as a package index (PEP 503) beside the public one, and installs from it: the wheel and the sdist,
each into a fresh environment, where the README's demo is then built twice with the same bytes. Of each extra, pip
resolves all requirements without installing them. Exit code 0 if all of it works.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

NAME = "consistent-chat"
EXTRAS = ("openai", "quality", "s3", "browser", "ray")


class _Silent(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def main(dist: Path) -> None:
    """Try everything in turn; raise CalledProcessError at the first step that fails."""
    with tempfile.TemporaryDirectory() as folder, index(dist, Path(folder)) as url:
        for form in ("--only-binary", "--no-binary"):
            python = environment(Path(folder, form))
            run(python, "-m", "pip", "install", "-q", "--extra-index-url", url, form, NAME, "--pre", NAME)
            try_demo(python, Path(folder, form))
            print(f"installed with {form}, and the demo built twice with the same bytes")
        for extra in EXTRAS:
            wanted = f"{NAME}[{extra}]"
            run(python, "-m", "pip", "install", "-q", "--dry-run", "--pre", "--extra-index-url", url, wanted)
            print(f"{wanted}: its requirements can be met")


@contextlib.contextmanager
def index(dist: Path, folder: Path) -> Iterator[str]:
    """Serve the files of a folder as the index of one package, and yield its URL."""
    place = folder / "simple" / NAME
    place.mkdir(parents=True)
    for file in dist.iterdir():
        shutil.copy(file, place)
    handler = functools.partial(_Silent, directory=str(folder))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/simple/"
    finally:
        server.shutdown()


def environment(folder: Path) -> Path:
    """Make a virtual environment, and return its interpreter."""
    run(Path(sys.executable), "-m", "venv", folder)
    return folder / "bin" / "python"


def try_demo(python: Path, folder: Path) -> None:
    """Build the README's demo twice, from two caches, outside of the source tree; the bytes must be the same."""
    written = [folder / f"{number}.parquet" for number in (1, 2)]
    for path in written:
        given = {**os.environ, "HF_HOME": str(path.with_suffix("")), "PYTHONPATH": ""}
        run(python, "-m", "consistent_chat", "build", "demo", "--output", path, cwd=folder, env=given)
    if written[0].read_bytes() != written[1].read_bytes():
        raise SystemExit("The demo has other bytes when it is built again.")


def run(*command: str | Path, **given: object) -> None:
    """Run a command; raise CalledProcessError if it fails."""
    subprocess.run([str(part) for part in command], check=True, **given)  # type: ignore[call-overload]


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
