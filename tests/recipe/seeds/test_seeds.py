"""Seeds: reading sources from files, and the errors about wrong files and settings."""

from __future__ import annotations

import io
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from consistent_chat.errors import RecipeError
from consistent_chat.recipe import Recipe
from consistent_chat.recipe.seeds import Seeds, documents, load, rows, sources
from consistent_chat.recipe.seeds.documents import Chunk, chunks
from consistent_chat.recipe.seeds.rows import batches
from consistent_chat.recipe.seeds.source import digest

ROWS = [
    {"subject": "Late parcel", "body": "Parcel 771 has not arrived.\nIt was sent on 3 May.", "customer": "a nurse"},
    {"subject": "Größe", "body": 'The "large" one, please; 00123', "customer": None},
    {"subject": "ランプ", "body": "壊れている。", "customer": ""},
]
FIELDS = {"topic": "subject", "source": "body", "persona": "customer"}


def as_csv(path: Path, rows: list[dict[str, Any]]) -> str:
    """Write rows as spreadsheet programs write CSV, with a byte order mark and CRLF, and return the path."""
    quote = lambda value: '"' + str(value or "").replace('"', '""').replace("\n", "\r\n") + '"'  # noqa: E731
    lines = [",".join(rows[0]), *(",".join(map(quote, row.values())) for row in rows)]
    (path / "rows.csv").write_bytes(("\ufeff" + "\r\n".join(lines)).encode())
    return str(path / "rows.csv")


def as_json(path: Path, rows: list[dict[str, Any]]) -> str:
    """Write rows as JSON lines, without null values, and return the path."""
    lines = (json.dumps({name: value for name, value in row.items() if value is not None}) for row in rows)
    (path / "rows.jsonl").write_text("\n".join(lines))
    return str(path / "rows.jsonl")


def as_parquet(path: Path, rows: list[dict[str, Any]]) -> str:
    """Write rows as Parquet, and return the path."""
    parquet.write_table(pa.Table.from_pylist(rows), path / "rows.parquet")
    return str(path / "rows.parquet")


def loaded(data: str, **more: Any) -> Seeds:
    """Read seeds with all fields."""
    return load({"data": data, "fields": FIELDS, **more})


def error(path: Path, content: bytes, name: str = "rows.csv", **more: Any) -> str:
    """Return the error message about a file with this content."""
    (path / name).write_bytes(content)
    with pytest.raises(RecipeError) as raised:
        loaded(str(path / name), **more)
    return str(raised.value)


@pytest.mark.parametrize("write", [as_csv, as_json, as_parquet])
def test_all_forms_of_a_table_are_the_same_sources(
    tmp_path: Path, write: Callable[[Path, list[dict[str, Any]]], str]
) -> None:
    """CSV, JSON lines and Parquet give equal seeds.

    Format, order, kind of line breaks and missing values do not change their identity.
    """
    seeds = loaded(write(tmp_path, ROWS))
    assert seeds == loaded(as_parquet(tmp_path, ROWS[::-1]))
    assert {source.topic for source in seeds.sources} == {"Late parcel", "Größe", "ランプ"}
    late = next(source for source in seeds.sources if source.topic == "Late parcel")
    assert late[1:7] == ("Late parcel", "", "a nurse", "", "Parcel 771 has not arrived.\nIt was sent on 3 May.", "")
    assert [source.digest for source in seeds.sources] == sorted(source.digest for source in seeds.sources)


def test_a_digest_is_what_it_was() -> None:
    """The digest of a source never changes, because the rows of published datasets contain it."""
    assert (
        digest(("topic", "persona", "source"), ("Größe", "", "a\nb")).hex()
        == "8c0a73f36ee1df9d5e69750219c4906e0b710da20a806f3609cfe8eba5b1c4fc"
    )


def test_rows_without_text_and_repeated_rows_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Rows without text and repeated rows are left out, with one warning for each reason that names the rows."""
    empty = {"subject": "Nothing", "body": "  ", "customer": "x"}
    seeds = loaded(as_json(tmp_path, [*ROWS, empty, ROWS[0], ROWS[1]]))
    assert seeds == loaded(as_json(tmp_path, ROWS))
    assert [record.getMessage() for record in caplog.records] == [
        "rows.jsonl: 1 sources of 6 rows are left out: they have no text in 'body' (row 4).",
        "rows.jsonl: 2 sources of 6 rows are left out: they have the same content as an earlier row (row 5, row 6).",
    ]


def test_wrong_files_are_told_in_one_line(tmp_path: Path) -> None:
    """A wrong file raises an error of one line that names the file, the fault and, where possible, the remedy."""
    body = b"subject,bodi,customer\na,b,c\n"
    assert error(tmp_path, body) == "rows.csv has no column 'body'. Did you mean 'bodi'?"
    assert error(tmp_path, b'{"subject": "a", "bodi": "b", "customer": 1}', "rows.jsonl").endswith(
        "Did you mean 'bodi'?"
    )
    latin = "subject,body,customer\na,Größe,c\n".encode("latin-1")
    assert error(tmp_path, latin) == "rows.csv is not UTF-8 text. Save it as UTF-8 (in Excel: CSV UTF-8)."
    assert error(tmp_path, b'{"body": "Gr\xf6"}', "rows.jsonl").startswith("rows.jsonl is not UTF-8 text.")
    assert "row 1: 'body' is a list, not text" in error(tmp_path, b'{"body": ["b"]}', "rows.jsonl")
    assert "row 1: 'body' has a NUL character" in error(tmp_path, b'{"body": "a\\u0000"}', "rows.jsonl")
    assert "row 1: 'body' has a lone surrogate" in error(tmp_path, b'{"body": "\\ud800"}', "rows.jsonl")
    assert "line 2 is not valid JSON" in error(tmp_path, b'{"body": "a"}\n{"body"', "rows.jsonl")
    assert "line 1 must be a JSON object, not a list" in error(tmp_path, b"[1]", "rows.jsonl")
    assert error(tmp_path, b"not Parquet", "rows.parquet").startswith("rows.parquet is not a valid parquet file: ")
    assert error(tmp_path, b"subject,body,customer\na\n").startswith("rows.csv is not a valid csv file: ")
    assert error(tmp_path, b"").startswith("rows.csv is not a valid csv file: ")
    assert error(tmp_path, b"subject,body,body,customer\n").startswith("rows.csv has the column 'body' twice.")
    assert error(tmp_path, b"subject,body,customer\n").startswith("rows.csv has no row with text in 'body'.")
    assert error(tmp_path, b"x", "rows.doc").startswith("rows.doc must end in .csv, ")
    long = b'{"body": "%b"}' % (b"x" * 100_001)
    assert error(tmp_path, long, "rows.jsonl") == (
        "rows.jsonl, row 1: 'body' has 100,001 characters; the maximum is 100,000. Shorten it, or divide sources with "
        "chunk: {words: 800}."
    )


def test_what_cannot_be_opened_is_an_error(tmp_path: Path) -> None:
    """A missing file raises an error, and so does a pipe, which is never waited for."""
    with pytest.raises(RecipeError, match=r"none.csv cannot be read: No such file"):
        loaded(str(tmp_path / "none.csv"))
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(RecipeError, match=r"pipe.csv cannot be read: it is not a plain file"):
        loaded(str(tmp_path / "pipe.csv"))


def test_too_many_sources_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too many sources, or too many rows without text, raise an error before they fill the disk."""
    monkeypatch.setattr("consistent_chat.recipe.seeds.seeds.MAX_SOURCES", 2)
    with pytest.raises(RecipeError, match="has more than 2 sources"):
        loaded(as_json(tmp_path, ROWS))
    with pytest.raises(RecipeError, match=r"has more than 2 rows without text. Use fewer rows"):
        loaded(as_json(tmp_path, [{**row, "body": ""} for row in ROWS]))


def test_too_much_text_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too much text in all rows raises an error, because a small file can contain a lot of text."""
    monkeypatch.setattr("consistent_chat.recipe.seeds.seeds.MAX_CHARACTERS", 20)
    with pytest.raises(RecipeError, match=r"has more than 20 characters in all rows. Use fewer rows"):
        loaded(as_json(tmp_path, ROWS))


def _repeated(count: int, words: str) -> pa.Array:
    """Return an array that repeats a text, which a file then contains only once."""
    return pa.DictionaryArray.from_arrays(pa.array([0] * count, pa.int32()), [words])


def _in_lists(count: int, words: str) -> pa.Array:
    said = pa.StructArray.from_arrays([_repeated(2 * count, "user"), _repeated(2 * count, words)], ["role", "content"])
    return pa.ListArray.from_arrays(range(0, 2 * count + 1, 2), said)


def _in_fixed_lists(count: int, words: str) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(_repeated(2 * count, words), 2)


@pytest.mark.parametrize(
    ("repeated", "written"),
    [
        (_repeated, {}),
        (_in_lists, {}),
        (_in_fixed_lists, {}),
        (_repeated, {"use_dictionary": False}),
        (_repeated, {"use_dictionary": False, "column_encoding": {"body": "DELTA_BYTE_ARRAY"}}),
    ],
)
def test_a_text_that_repeats_is_decoded_a_few_times_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repeated: Callable[[int, str], pa.Array], written: dict[str, Any]
) -> None:
    """A repeated text, also within a list, is decoded in small batches.

    A file of 2 KB can repeat a text of 50 MB thousands of times.
    """
    monkeypatch.setattr("consistent_chat.recipe.seeds.rows.MAX_LINE", 10_000)
    table = pa.table({"body": pa.concat_arrays([repeated(1, "short"), repeated(300, "x" * 1000)]), "other": range(301)})
    parquet.write_table(table, tmp_path / "rows.parquet", store_schema=False, **written)
    with (tmp_path / "rows.parquet").open("rb") as file:
        read = list(batches(file, "rows.parquet", ["other", "body"]))
    assert max(batch.nbytes for batch in read) <= 12_000  # this includes offsets and numbers
    assert [row for batch in read for row in batch.to_pylist()] == table.select(["other", "body"]).to_pylist()


@pytest.mark.parametrize("repeated", [_repeated, _in_lists, _in_fixed_lists])
def test_a_row_that_is_too_large_is_never_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repeated: Callable[[int, str], pa.Array]
) -> None:
    """A row over the limit raises an error with a remedy, and is never decoded."""
    monkeypatch.setattr("consistent_chat.recipe.seeds.rows.MAX_LINE", 2**20)
    parquet.write_table(pa.table({"body": repeated(1, "x" * 2**20 + "y")}), tmp_path / "rows.parquet")
    with pytest.raises(
        RecipeError, match=r"^rows.parquet has a row of more than 1 MiB. Divide the row, or leave it out.$"
    ):
        load({"data": str(tmp_path / "rows.parquet"), "fields": {"source": "body"}})


def test_names_of_columns_are_cut_in_messages(tmp_path: Path) -> None:
    """Long names of columns are shortened in messages. The message about a file without columns says so."""
    assert len(error(tmp_path, b"subject,customer," + b"x" * 100_000)) < 200
    assert error(tmp_path, b"\n\n", "rows.jsonl") == "rows.jsonl has no column 'subject'. It has no columns."


WRONG: list[tuple[Any, str]] = [
    (["a.csv"], "seeds must be a mapping with data and fields"),
    ({"data": "a.csv", "feilds": {}}, "seeds must not have 'feilds'. Did you mean 'fields'?"),
    ({"fields": {"topic": "a"}}, "seeds must have data: it must be a path"),
    ({"data": "a.csv"}, "seeds must have fields: they must be a mapping"),
    ({"data": "a.csv", "fields": {"topics": "a"}}, "there is no 'topics'. Did you mean 'topic'?"),
    ({"data": "a.csv", "fields": {"topic": 3}}, "names of columns: topic must be text"),
    ({"data": "a.csv", "fields": {"persona": "a"}}, "seeds must have the field topic, source or conv"),
    ({"data": "a.csv", "fields": {"topic": "a"}, "dialogs_per_seed": 0}, "dialogs_per_seed must be a whole number"),
    ({"data": "a.csv", "fields": {"source": "a"}, "chunk": 800}, "chunk must be a mapping"),
    ({"data": "a.csv", "fields": {"source": "a"}, "chunk": {"words": 8, "overlap": 8}}, "chunk.overlap must be"),
    ({"data": "a.csv", "fields": {"topic": "a"}, "chunk": {"words": 8}}, "the field source, and not"),
    (
        {"data": "a.csv", "fields": {"conversation": "a", "persona": "b"}},
        "seeds must not have persona with conversation",
    ),
    ({"data": "http://169.254.169.254/a.csv", "fields": {"topic": "a"}}, "not at http://169.254.169.254/a.csv"),
    ({"data": "hf://datasets/a/b@0123abc/x::file:///a.csv", "fields": {"topic": "a"}}, "must have an address of"),
    ({"data": "hf://datasets/a/b@0123abc/../c/a.csv", "fields": {"topic": "a"}}, "must have an address of"),
    ({"data": "hf://buckets/a/b/a.csv", "fields": {"topic": "a"}}, "must have an address of the form"),
]


@pytest.mark.parametrize(("given", "message"), WRONG)
def test_wrong_settings_are_told_before_anything_is_read(given: Any, message: str) -> None:
    """A wrong setting raises an error before any file is read, with the nearest name for a mistyped one."""
    with pytest.raises(RecipeError) as raised:
        Recipe(seeds=given)
    assert message in str(raised.value)


def test_a_number_of_dialogues_for_each_intent_is_refused(tmp_path: Path) -> None:
    """`num_dialogs_per_intent` is refused together with seeds, because the sources determine the number."""
    with pytest.raises(RecipeError, match="Set dialogs_per_seed within seeds"):
        Recipe(num_dialogs_per_intent=3, seeds={"data": as_json(tmp_path, ROWS), "fields": FIELDS})


def test_a_large_table_lies_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A large table is kept in a file that is mapped into memory, and pickling it passes only the path."""
    small = loaded(as_json(tmp_path, ROWS))
    expected, whole = list(small.sources), len(pickle.dumps(small))
    assert list(pickle.loads(pickle.dumps(small)).sources) == expected
    monkeypatch.setattr(sources, "IN_MEMORY", 0)
    monkeypatch.setattr(sources, "ROWS", 2)
    large = loaded(as_json(tmp_path, ROWS))
    assert large == small
    assert list(large.sources) == expected
    assert list(pickle.loads(pickle.dumps(large)).sources) == expected
    assert len(pickle.dumps(large)) < whole


def test_a_disk_that_takes_no_table_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table that cannot be written raises an error with its folder."""
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setattr(sources, "IN_MEMORY", 0)
    monkeypatch.setattr(sources, "_folder", lambda: tmp_path / "file" / "seeds")
    with pytest.raises(
        RecipeError, match=r"table of the seeds cannot be written to .*seeds: Not a directory. Free space there"
    ):
        loaded(as_json(tmp_path, ROWS))


PIECES = [b"{", b'"body"', b":", b"[", b"]", b"}", b",", b"\n", b"body,subject,customer\n", b'"', b"a", b"\xff", b"\0"]
PIECES += [b"PAR1", b"%PDF-1.4", b"PK\x03\x04", b"<p>", b"\xef\xbb\xbf", b"1e999", b"null", b"\\ud800"]


@given(st.sampled_from(sorted(rows.READERS)), st.lists(st.sampled_from(PIECES), max_size=20).map(b"".join))
def test_any_bytes_are_read_or_refused(ending: str, content: bytes) -> None:
    """A file with any bytes is read, or raises RecipeError with its name."""
    column = "text" if ending in documents.FORMS else "body"
    message = "rows."
    try:
        for _ in rows.read(io.BytesIO(content), f"rows.{ending}", [column]):
            pass
    except RecipeError as refused:
        message = str(refused)
    assert "rows." in message


TEXTS = st.text(st.sampled_from("ab \n中ลx."), max_size=60)


@given(TEXTS, st.integers(1, 9), st.integers(0, 8))
def test_chunks_are_all_of_a_text(text: str, words: int, overlap: int) -> None:
    """Chunks lose no word, and without an overlap they contain every word once."""
    found = chunks(text, Chunk(words, min(overlap, words - 1)))
    assert all(part in text and part == part.strip() for part in found)
    if overlap == 0:
        assert "".join("".join(found).split()) == "".join(text.split())
    assert bool(found) is bool(text.strip())


def test_each_chunk_is_a_source_of_its_own(tmp_path: Path) -> None:
    """Each chunk is a separate source with the other fields of its row.

    With an overlap, a chunk starts with the last words of the previous one.
    """
    seeds = loaded(as_json(tmp_path, ROWS[:1]), chunk={"words": 4, "overlap": 1})
    texts = {source.source for source in seeds.sources}
    assert texts == {"Parcel 771 has not", "not arrived.\nIt was", "was sent on 3", "3 May."}
    assert {source.persona for source in seeds.sources} == {"a nurse"}
