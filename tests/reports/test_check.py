"""`consistent-chat check` reads chats of any layout, counts findings, and writes a JSON line for each row."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from consistent_chat.cli import main
from consistent_chat.errors import ConsistentChatError
from consistent_chat.reports import report
from consistent_chat.reports.check import check_chats

CHATS: list[list[str]] = [
    ["is it far?", "Two miles.", "by bus?", "[Insert bus times here]"],
    ["capital of peru", "Lima.", "population", "About ten million."],
    ["Wie lange muss Hefeteig gehen?", "Als KI-Sprachmodell backe ich nicht.", "Und?", "Bis er sich verdoppelt."],
]


def rows(layout: str) -> list[dict[str, Any]]:
    """Return the chats as rows of a layout. Rows of ShareGPT have ids."""
    column, role, text, names = {
        "conversation": ("conversation", "role", "value", ("user", "assistant")),
        "messages": ("messages", "role", "content", ("user", "assistant")),
        "sharegpt": ("conversations", "from", "value", ("human", "gpt")),
    }[layout]
    made = [{column: [{role: names[at % 2], text: said} for at, said in enumerate(chat)]} for chat in CHATS]
    return [{"id": f"chat-{at}", **row} for at, row in enumerate(made)] if layout == "sharegpt" else made


def write(path: Path, found: list[dict[str, Any]]) -> str:
    """Write rows in the format that the file's suffix names."""
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(found), path)
    elif path.suffix == ".json":
        path.write_text(json.dumps(found))
    else:
        path.write_text("".join(f"{json.dumps(row)}\n" for row in found))
    return str(path)


@pytest.mark.parametrize("layout", ["conversation", "messages", "sharegpt"])
@pytest.mark.parametrize("suffix", ["jsonl", "json", "parquet"])
def test_chats_of_any_layout_and_format(layout: str, suffix: str, tmp_path: Path) -> None:
    """Each line has the row's id, or else its number from 1, and its reasons with side and turn."""
    source, output = write(tmp_path / f"chats.{suffix}", rows(layout)), tmp_path / "found.jsonl"
    assert main(["check", source, "--output", str(output)]) == 0
    lines = [json.loads(line) for line in output.read_text("utf-8").splitlines()]
    assert [line["id"] for line in lines] == (["chat-0", "chat-1", "chat-2"] if layout == "sharegpt" else [1, 2, 3])
    found = [[(each["reason"], each["side"], each["turn"]) for each in line["reasons"]] for line in lines]
    assert found == [[("placeholder", "answers", 2)], [], [("boilerplate", "answers", 1)]]


def test_counts_are_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command shows the counts by reason and side, and how many chats have findings."""
    assert main(["check", write(tmp_path / "chats.jsonl", rows("messages"))]) == 0
    said = capsys.readouterr()
    assert "placeholder" in said.out
    assert "2 of 3 chats have findings" in said.err


def test_the_demo_has_no_findings() -> None:
    """`check` also accepts a recipe with its stored responses, and finds nothing in the demo."""
    assert check_chats("demo").flagged == 0


def test_checks_can_be_left_out(tmp_path: Path) -> None:
    """A recipe's `checks` can disable a check."""
    source = write(tmp_path / "chats.jsonl", rows("messages"))
    assert check_chats(source, checks={"placeholder": False}).counts == {("boilerplate", "answers"): 1}


def test_other_roles_and_odd_messages(tmp_path: Path) -> None:
    """A chat with unusual messages is checked.

    It has a system prompt, a tool message, content in parts, a greeting, an empty answer and two user messages
    in a row.
    """
    chat = [
        {"role": "system", "content": "You are terse."},
        {"role": "assistant", "content": "Hello! How can I help you today?"},
        {"role": "user", "content": [{"type": "text", "text": "is it far?"}]},
        {"role": "user", "content": "to the lake, I mean"},
        {"role": "tool", "content": "{}"},
        {"role": "assistant", "content": None},
    ]
    report = check_chats(write(tmp_path / "chats.jsonl", [{"messages": chat}]))
    assert report.counts == {("unanswered_question", "answers"): 1}


def test_what_has_no_chats_is_named(tmp_path: Path) -> None:
    """A row without a chat raises an error that names the row and the columns that a chat needs."""
    with pytest.raises(
        ConsistentChatError,
        match=r"row 1 has no chat. .* \(role, value\), messages \(role, content\), conversations \(from, value\)\.$",
    ):
        check_chats(write(tmp_path / "chats.jsonl", [{"text": "hello"}]))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[str]:
    """Run a website that also sends a file for any path below the file's address, and return its address."""

    class Site(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            """Send the file that the path begins with."""
            name = self.path.lstrip("/").partition("?")[0].partition("/")[0]
            content = (tmp_path / name).read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_HEAD = do_GET

        def log_message(self, *_: Any) -> None:
            """Log nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.mark.parametrize("name", ["chats.jsonl", "chats.parquet"])
@pytest.mark.parametrize("query", ["?signature=x%2Fy", ""])
def test_a_file_of_a_website_is_not_taken_for_a_store(site: str, tmp_path: Path, name: str, query: str) -> None:
    """The URL of a file is read as a dataset, not as a response store.

    The website also answers for the path of a store's marker file, and a query may follow the file's suffix.
    """
    write(tmp_path / name, rows("messages"))
    assert check_chats(f"{site}/{name}{query}").chats == len(CHATS)
    assert report(f"{site}/{name}{query}").total.dialogues == len(CHATS)
