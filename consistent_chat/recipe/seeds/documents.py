"""Documents as text: plain text, Markdown, HTML, DOCX and PDF files, by the libraries of the extra `documents`.

The text that a library reads from a file may change with its version. The digest of a source is that of the text, so
a dataset made with another version is another dataset, and a published one has the texts. A pure function of the text
and two numbers divides a text into chunks.
"""

from __future__ import annotations

import io
import os
import re
import zipfile
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO, NamedTuple

from consistent_chat.errors import RecipeError
from consistent_chat.files import NO_LINKS, read_plain
from consistent_chat.recipe.fields import suggestion

COLUMNS = ("text", "path", "name")
"""The columns of a document: its text, its path within the folder, and its file name without the extension."""
MAX_FILES = 100_000
MAX_BYTES = 64 * 2**20
"""Maximum size of a document, before and after unpacking."""
MAX_PAGES = 5_000

_NOT_TEXT = ("script", "style", "template", "noscript", "head")
_BLOCKS = ("p", "div", "br", "li", "tr", "table", "section", "article", "pre", "h1", "h2", "h3", "h4", "h5", "h6")


class Unreadable(ValueError):
    """The text of a document cannot be read; the message has the reason."""


class Folder:
    """The documents in a folder and below, in the order of their paths; links are not followed.

    `unreadable` has the reason for each document that was left out. Raises RecipeError for too many files.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self.paths = _paths(folder)
        self.unreadable: dict[str, str] = {}

    def rows(self, columns: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
        """Yield the number, from 1, and the values of each document that can be read. Raises RecipeError."""
        check(columns)
        for number, path in enumerate(self.paths, 1):
            try:
                content = read_plain(os.path.join(self._folder, path), MAX_BYTES, NO_LINKS)
                yield number, _values(path, text_of(content, path), columns)
            except OSError as error:
                self.unreadable[path] = str(error.strerror)
            except Unreadable as error:
                self.unreadable[path] = str(error)


def row(file: BinaryIO, name: str, columns: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """Yield the only document of a file. Raises RecipeError if it cannot be read."""
    check(columns)
    content = file.read(MAX_BYTES + 1)
    try:
        if len(content) > MAX_BYTES:
            raise Unreadable(f"it is larger than {MAX_BYTES:,} bytes")
        yield 1, _values(name, text_of(content, name), columns)
    except Unreadable as error:
        raise RecipeError(f"The text of {name} cannot be read: {error}.") from None


def check(columns: Sequence[str]) -> None:
    """Raise RecipeError for a column that documents do not have."""
    for column in columns:
        if column not in COLUMNS:
            raise RecipeError(f"Documents have no column {column!r}.{suggestion(column, COLUMNS)}")


def _paths(folder: str) -> list[str]:
    """Return the paths of all files in a folder and below, sorted, with `/` as separator, except hidden files."""
    found = []
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        inner = os.path.relpath(place, folder).replace(os.sep, "/")
        found += [name if inner == "." else f"{inner}/{name}" for name in files if not name.startswith(".")]
        if len(found) > MAX_FILES:
            raise RecipeError(f"{folder} has more than {MAX_FILES:,} files. Use fewer files.")
    return sorted(found)


def text_of(content: bytes, path: str) -> str:
    """Return the text of a document, read by its extension, one paragraph per line. Raises Unreadable, RecipeError."""
    ending = path.lower().rpartition(".")[2]
    if ending not in FORMS:
        raise Unreadable(f"it does not end in {', '.join(f'.{one}' for one in FORMS)}")
    try:
        text = FORMS[ending](content)
    except UnicodeDecodeError:
        raise Unreadable("it is not UTF-8 text") from None
    except ImportError as error:
        library = LIBRARIES[ending]
        raise RecipeError(f"Reading {path} needs {library} ({error}). Run `pip install {library}`.") from None
    except Unreadable:
        raise
    except Exception as error:  # for a damaged file, libraries raise various errors
        raise Unreadable(f"it is not a valid {ending} file: {' '.join(str(error).split())[:200]}") from None
    text = "\n".join(line.rstrip() for line in text.replace("\0", "").splitlines()).strip()
    if not text:
        raise Unreadable("there is no text in it; if it is a scan, recognize its text first")
    return text


def _values(path: str, text: str, columns: Sequence[str]) -> list[str]:
    name = path.rpartition("/")[2]
    known = {"text": text, "path": path, "name": name.rpartition(".")[0] or name}
    return [known[column] for column in columns]


def _plain(content: bytes) -> str:
    return content.decode("utf-8-sig")


def _html(content: bytes) -> str:
    from bs4 import BeautifulSoup

    page = BeautifulSoup(content, "html.parser")
    for part in page.find_all(_NOT_TEXT):
        part.decompose()
    for part in page.find_all(_BLOCKS):
        part.insert_before("\n")
        part.append("\n")
    for part in page.find_all(["td", "th"]):
        part.insert_before(" ")
    lines = (" ".join(line.split()) for line in page.get_text().splitlines())
    return "\n".join(line for line in lines if line)


def _docx(content: bytes) -> str:
    from docx import Document
    from docx.table import Table

    with zipfile.ZipFile(io.BytesIO(content)) as packed:
        if sum(part.file_size for part in packed.infolist()) > MAX_BYTES:
            raise Unreadable(f"it unpacks to more than {MAX_BYTES:,} bytes")
    blocks = []
    for block in Document(io.BytesIO(content)).iter_inner_content():
        if isinstance(block, Table):
            blocks += [" | ".join(cell.text.strip() for cell in row.cells) for row in block.rows]
        else:
            blocks.append(block.text)
    return "\n".join(blocks)


def _pdf(content: bytes) -> str:
    from pypdf import PdfReader

    pages = PdfReader(io.BytesIO(content))
    if pages.is_encrypted and not pages.decrypt(""):
        raise Unreadable("it is encrypted")
    if len(pages.pages) > MAX_PAGES:
        raise Unreadable(f"it has more than {MAX_PAGES:,} pages")
    return "\n\n".join(page.extract_text() for page in pages.pages)


FORMS: dict[str, Callable[[bytes], str]] = {
    "txt": _plain,
    "md": _plain,
    "markdown": _plain,
    "html": _html,
    "htm": _html,
    "docx": _docx,
    "pdf": _pdf,
}
"""The function that reads a document, by the extension of its name."""
LIBRARIES = {"html": "beautifulsoup4", "htm": "beautifulsoup4", "docx": "python-docx", "pdf": "pypdf"}
"""The library of the extra `documents` that a format needs."""


_CJK = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_WORDS = re.compile(f"[{_CJK}]|[^\\s{_CJK}]{{1,50}}")
"""A word: a character of a script without spaces, or up to 50 characters without white space."""


class Chunk(NamedTuple):
    """How a text is divided: into chunks of `words` words, which begin with the last `overlap` of the one before."""

    words: int
    overlap: int = 0


def chunks(text: str, size: Chunk) -> list[str]:
    """Return the chunks of a text, in order. No chunk is part of another."""
    spans = [found.span() for found in _WORDS.finditer(text)]
    found = []
    for first in range(0, len(spans), size.words - size.overlap):
        part = spans[first : first + size.words]
        found.append(text[part[0][0] : part[-1][1]])
        if first + size.words >= len(spans):
            break
    return found
