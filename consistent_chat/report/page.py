"""The report as one HTML file that needs nothing else: it opens offline, and its policy lets it fetch nothing."""

from __future__ import annotations

import base64
import contextlib
import errno
import hashlib
import html
import re
import tempfile
from collections.abc import Iterable, Iterator
from importlib import resources
from pathlib import Path

from markupsafe import Markup

from consistent_chat.errors import RecipeError
from consistent_chat.files import atomic_write
from consistent_chat.report.payload import Payload
from consistent_chat.report.sections import sections
from consistent_chat.report.summary import Summary
from consistent_chat.text.templates import environment
from consistent_chat.version import __version__

SUFFIXES = (".html", ".htm")

_TEMPLATES = environment("consistent_chat.report")


@contextlib.contextmanager
def writing(path: str, summary: Summary) -> Iterator[Payload]:
    """Take entries for a page that is at `path` when all went well. Raises RecipeError where no file can be written."""
    with contextlib.ExitStack() as stack:
        try:
            output = stack.enter_context(atomic_write(_target(path)))
        except OSError as error:
            raise RecipeError(f"--html {path} cannot be written: {error.strerror}. Give another path.") from None
        payload = Payload(summary, stack.enter_context(tempfile.TemporaryFile()))
        yield payload
        for text in _page(summary, payload):
            output.write(text.encode("utf-8"))


def _target(path: str) -> Path:
    target = Path(path).expanduser()
    if target.suffix not in SUFFIXES:  # it may be the dataset that is named by mistake
        raise RecipeError(f"--html {path} must end in {' or '.join(SUFFIXES)}.")
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, "it is a folder")
    return target


def _page(summary: Summary, payload: Payload) -> Iterator[str]:
    """Yield the page in pieces, so that its dialogues are never in memory all at once."""
    style, script, values = _file("page.css"), _file("page.js"), sections(summary)
    models = [used.model for used in summary.used]
    return _TEMPLATES.get_template("page.html.jinja").generate(
        **values,
        payload=payload,
        writers=[model for model in models if model not in summary.judges],
        scorers=[model for model in models if model in summary.judges],
        style=Markup(style),  # noqa: S704 - the package's own file
        script=Markup(script),  # noqa: S704 - the package's own file
        style_digests=[_digest(sheet) for sheet in [style, *_styles(values["plots"].values())]],
        script_digest=_digest(script),
        version=__version__,
    )


def _styles(plots: Iterable[str]) -> list[str]:
    """Return the style sheets within plots, as a browser reads them."""
    found = (text for plot in plots for text in re.findall(r"<style>(.*?)</style>", plot, re.DOTALL))
    return [html.unescape(text) for text in dict.fromkeys(found)]


def _digest(text: str) -> str:
    """Return the SHA-256 of a style sheet or script as the policy names it, in base64."""
    return base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")


def _file(name: str) -> str:
    return resources.files("consistent_chat.report").joinpath(name).read_text("utf-8")
