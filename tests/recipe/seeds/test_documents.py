"""Folders of documents as seeds: the text of each format, and the warnings about documents that are left out."""

from __future__ import annotations

import io
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from docx import Document

from consistent_chat.errors import RecipeError
from consistent_chat.recipe.seeds import Seeds, documents, load
from consistent_chat.recipe.seeds.documents import Unreadable, text_of

PAGE = b"""<html><head><title>t</title></head><body><h1>Lamp  X200</h1><script>no()</script>
<p>It is <b>dimm</b>able.</p><ul><li>110 volts<li>230 volts</ul>
<table><tr><td>Price<td>30 euros</table></body></html>"""


def docx() -> bytes:
    """Return a document with a paragraph, a table and another paragraph."""
    made, file = Document(), io.BytesIO()
    made.add_paragraph("Lamp X200")
    table = made.add_table(1, 2)
    table.cell(0, 0).text, table.cell(0, 1).text = "Price", "30 euros"
    made.add_paragraph("Größe: 12 cm")
    made.save(file)
    return file.getvalue()


def pdf(*pages: str) -> bytes:
    """Return a PDF with a line of text on each page."""
    count = len(pages)
    kids = " ".join(f"{3 + 2 * number} 0 R" for number in range(count))
    font = "<< /Font << /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> >>"
    objects = ["<< /Type /Catalog /Pages 2 0 R >>", f"<< /Type /Pages /Kids [{kids}] /Count {count} >>"]
    for number, text in enumerate(pages):
        drawn = f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET" if text else ""
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Resources {font} /Contents {4 + 2 * number} 0 R >>"
        )
        objects.append(f"<< /Length {len(drawn)} >>\nstream\n{drawn}\nendstream")
    content, places = b"%PDF-1.4\n", []
    for number, part in enumerate(objects, 1):
        places.append(len(content))
        content += f"{number} 0 obj\n{part}\nendobj\n".encode()
    table = "".join(f"{place:010d} 00000 n \n" for place in places)
    return (
        content
        + (
            f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}"
            f"trailer << /Size {len(objects) + 1} /Root 1 0 R >>\nstartxref\n{len(content)}\n%%EOF\n"
        ).encode()
    )


def loaded(data: Path, **more: Any) -> Seeds:
    """Read documents as sources."""
    return load({"data": str(data), "fields": {"topic": "path", "source": "text"}, **more})


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("a.txt", "\ufeffLamp\r\nX200 ".encode(), "Lamp\nX200"),
        ("a.md", b"# Lamp\n\nIt is *dimmable*.  \n", "# Lamp\n\nIt is *dimmable*."),
        ("a.HTML", PAGE, "Lamp X200\nIt is dimmable.\n110 volts\n230 volts\nPrice 30 euros"),
        ("a.docx", docx(), "Lamp X200\nPrice | 30 euros\nGröße: 12 cm"),
        ("a.pdf", pdf("Lamp X200", "30 euros"), "Lamp X200\n\n30 euros"),
    ],
)
def test_documents_are_text(tmp_path: Path, name: str, content: bytes, text: str) -> None:
    """The text of each format is read from a file in a folder, and from a file that is named directly."""
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / name).write_bytes(content)
    assert [(one.topic, one.source) for one in loaded(tmp_path).sources] == [(f"below/{name}", text)]
    assert [(one.topic, one.source) for one in loaded(tmp_path / "below" / name).sources] == [(name, text)]


def test_files_that_cannot_be_read_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One warning names each unreadable file with its reason. Links and hidden files are not read."""
    files = {
        "a.md": b"A lamp",
        "b.png": b"\x89PNG",
        "c.txt": "Größe".encode("latin-1"),
        "d.pdf": b"%PDF-1.4 and no more",
        "e.docx": b"PK\x03\x04",
        "f.pdf": pdf(""),
        ".hidden.md": b"Not a document",
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "g.md").symlink_to(__file__)
    assert [one.topic for one in loaded(tmp_path).sources] == ["a.md"]
    (record,) = (one.getMessage() for one in caplog.records if "left out" in one.getMessage())
    lines = record.splitlines()
    assert lines[0].endswith(": 6 files of 7 are left out:")
    reasons = dict(line.strip().split(": ", 1) for line in lines[1:])
    assert list(reasons) == ["b.png", "c.txt", "d.pdf", "e.docx", "f.pdf", "g.md"]
    assert reasons["b.png"].startswith("it does not end in .txt")
    assert reasons["c.txt"] == "it is not UTF-8 text"
    assert reasons["d.pdf"].startswith("it is not a valid pdf file: ")
    assert reasons["e.docx"].startswith("it is not a valid docx file: ")
    assert reasons["f.pdf"].startswith("there is no text in it")
    assert reasons["g.md"] == "it is a link"


def test_a_folder_without_text_is_an_error(tmp_path: Path) -> None:
    """A folder or a file without text raises an error.

    So does an unknown column, and a text that is too long for one source.
    """
    with pytest.raises(RecipeError, match="has no row with text in 'text'"):
        loaded(tmp_path)
    (tmp_path / "a.txt").write_text(" ")
    with pytest.raises(RecipeError, match=r"The text of a.txt cannot be read: there is no text in it"):
        loaded(tmp_path / "a.txt")
    with pytest.raises(RecipeError, match=r"Documents have no column 'txt'. Did you mean 'text'?"):
        load({"data": str(tmp_path), "fields": {"source": "txt"}})
    (tmp_path / "a.txt").write_text("word " * 50_000)
    with pytest.raises(RecipeError, match=r"a.txt: 'text' has .*divide sources with chunk"):
        loaded(tmp_path)
    assert len(loaded(tmp_path, chunk={"words": 5000}).sources) == 1  # the chunks of this text are equal


@pytest.mark.slow
def test_a_document_that_unpacks_to_too_much_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A document over the limit of bytes is refused before it is unpacked, and so is a PDF with too many pages."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("word/document.xml", " " * (documents.MAX_BYTES + 1))
    with pytest.raises(Unreadable, match="unpacks to more than"):
        text_of(file.getvalue(), "a.docx")
    monkeypatch.setattr(documents, "MAX_PAGES", 1)
    with pytest.raises(Unreadable, match="more than 1 pages"):
        text_of(pdf("a", "b"), "a.pdf")


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing library raises an error with the command that installs it."""
    monkeypatch.setitem(sys.modules, "pypdf", None)
    with pytest.raises(RecipeError, match=r"Reading a.pdf needs pypdf .* Run `pip install pypdf`"):
        text_of(b"", "a.pdf")
