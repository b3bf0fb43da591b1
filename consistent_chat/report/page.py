"""The report as one HTML file that needs nothing else: it opens offline, and its policy lets it fetch nothing."""

from __future__ import annotations

import base64
import contextlib
import errno
import hashlib
import os
import tempfile
from collections.abc import Iterator
from html import escape
from importlib import resources
from pathlib import Path
from string import Template

from consistent_chat.errors import RecipeError
from consistent_chat.report.payload import Payload
from consistent_chat.report.sections import contents, sections, styles
from consistent_chat.report.summary import Summary
from consistent_chat.text.sanitize import visible
from consistent_chat.version import __version__

SUFFIXES = (".html", ".htm")


@contextlib.contextmanager
def writing(path: str, summary: Summary) -> Iterator[Payload]:
    """Take entries for a page that is at `path` when all went well. Raises RecipeError where no file can be written."""
    target = Path(path).expanduser()
    if target.suffix not in SUFFIXES:  # it may be the dataset that is named by mistake
        raise RecipeError(f"--html {path} must end in {' or '.join(SUFFIXES)}.")
    partial = target.with_name(f".{target.name}.partial")
    try:
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder")
        output = partial.open("wb")
    except OSError as error:
        raise RecipeError(f"--html {path} cannot be written: {error.strerror}. Give another path.") from None
    try:
        with output, tempfile.TemporaryFile() as file:
            packed = Payload(summary, file)
            yield packed
            before, after = _page(summary)
            output.write(before)
            packed.write(output)
            output.write(after)
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)


def _page(summary: Summary) -> list[bytes]:
    """Return what stands before and after the packed dialogues."""
    style, script, html = _file("page.css"), _file("page.js"), sections(summary)
    blanks = {
        "policy": _policy([style, *styles(html)], script),
        "title": escape(visible(summary.title)),
        "lead": escape(_lead(summary)),
        "style": style,
        "script": script,
        "contents": contents(),
        "sections": html,
        "footer": f"Made by consistent_chat {escape(__version__)}. This file holds all of it, and fetches nothing.",
    }
    return [Template(half).substitute(blanks).encode("utf-8") for half in _file("page.html").split("$data")]


def _lead(summary: Summary) -> str:
    said = [f"{summary.total.dialogues:,} dialogues"]
    for what, judged in (("written", False), ("scored", True)):
        models = ", ".join(used.model for used in summary.used if (used.model in summary.judges) is judged)
        said += [f"{what} by {visible(models)}"] if models else []
    return f"{', '.join(said)}."


def _policy(styles: list[str], script: str) -> str:
    """Return a Content-Security-Policy: these style sheets, this script, and nothing else from anywhere.

    `trusted-types` forbids the script itself, and whatever might come into it, to make markup of text.
    """
    sheets = " ".join(map(_hash, styles))
    return (
        f"default-src 'none'; style-src {sheets}; script-src {_hash(script)}; base-uri 'none'; form-action 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode('utf-8')).digest()).decode('ascii')}'"


def _file(name: str) -> str:
    return resources.files("consistent_chat.report").joinpath(name).read_text("utf-8")
