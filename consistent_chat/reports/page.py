"""The report as one self-contained HTML file. It opens offline; its content security policy forbids requests."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import html
import re
import tempfile
from collections.abc import Iterable, Iterator
from importlib import resources

from markupsafe import Markup

from consistent_chat.errors import RecipeError
from consistent_chat.output import Output
from consistent_chat.output.local import StandardOutput
from consistent_chat.recipe.review import Review
from consistent_chat.reports.payload import Payload
from consistent_chat.reports.sections import sections
from consistent_chat.reports.summary import Summary
from consistent_chat.text.templates import environment
from consistent_chat.version import __version__

SUFFIXES = (".html", ".htm")

_TEMPLATES = environment("consistent_chat.reports")


@contextlib.contextmanager
def writing(place: Output, summary: Summary, review: Review | None = None) -> Iterator[Payload]:
    """Collect entries for a page, and write it to `place` at the end, with the marks of a review to go on from.

    Raises RecipeError if it cannot be written.
    """
    if place.suffix not in SUFFIXES and not isinstance(place, StandardOutput):  # may be the dataset's own name
        raise RecipeError(f"--html {place.name} must end in {' or '.join(SUFFIXES)}.")
    place.check()
    with tempfile.TemporaryFile() as spool:
        payload = Payload(summary, spool, review)
        yield payload
        with place.write() as file:
            for text in _page(summary, payload):
                file.write(text.encode("utf-8"))


def _page(summary: Summary, payload: Payload) -> Iterator[str]:
    """Yield the page in pieces, so that memory never holds all of its dialogues."""
    style, script, values = _file("page.css"), _file("marks.js") + _file("page.js"), sections(summary)
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
    """Return the style sheets in SVG plots, as a browser reads them."""
    found = (text for plot in plots for text in re.findall(r"<style>(.*?)</style>", plot, re.DOTALL))
    return [html.unescape(text) for text in dict.fromkeys(found)]


def _digest(text: str) -> str:
    """Return the SHA-256 of a style sheet or script in base64, for the content security policy."""
    return base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")


def _file(name: str) -> str:
    return resources.files("consistent_chat.reports").joinpath(name).read_text("utf-8")
