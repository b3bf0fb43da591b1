"""Every reader of untrusted files handles random bytes quickly, and raises only the package's own errors."""

from __future__ import annotations

import functools
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consistent_chat.builder.config import DEMO
from consistent_chat.publishing.layout import Manifest
from tests.fuzz import TARGETS
from tests.stored import fill

SECONDS = 3.0
"""Of the processor, for one input of some kilobytes: what is quadratic takes longer."""


@functools.lru_cache(maxsize=1)
def samples() -> dict[str, bytes]:
    """Return a valid input for each target, for the tests to damage."""
    import tempfile

    folder = Path(tempfile.mkdtemp())
    fill(str(folder), 1, 2)
    (packed,) = (folder / "packs").glob("*.parquet")
    taxonomy = b"taxonomy:\n  personas: [a, b]\n  flows: {f: {title: t, steps: [s]}}\n"
    manifest = Manifest({"data/train-00000-of-00001.parquet": "0" * 64}, {"train": "a.consistent_chat.yaml"}, {})
    return {
        "recipe": (DEMO / "demo.consistent_chat.yaml").read_bytes() + taxonomy,
        "parser": b'Here: ```json\n{"user_1": "a", "user_2": "b"}\n```',
        "messages": b"What is it, and where can I buy one?\n\nIt is a lamp. You can buy it anywhere.",
        "journal": b'{"consistent_chat_journal":1}\n{"key":"sha256:0","request":"{}","response":"{}"}\n',
        "pack": packed.read_bytes(),
        "manifest": manifest.text(),
        "card": b"---\nlicense: mit\nconfigs:\n- config_name: default\n---\n# A card\n",
        "terminal": b"\x1b]52;c;x\x07\xc2\x9b\xe2\x80\xae",
    }


def damaged(draw: st.DrawFn, good: bytes) -> bytes:
    """Return bytes with pieces cut out, repeated or replaced."""
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(good)))
        end = draw(st.integers(start, min(len(good), start + 40)))
        piece = draw(st.binary(max_size=12) | st.text(max_size=8).map(lambda text: text.encode("utf-8", "replace")))
        repeat = draw(st.sampled_from([1, 1, 2, 300]))
        good = good[:start] + (piece or good[start:end]) * repeat + good[end:]
    return good


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
@settings(suppress_health_check=list(HealthCheck), derandomize=True)
@given(data=st.data())
def test_any_bytes_are_read_or_refused(name: str, data: st.DataObject) -> None:
    """Random bytes and damaged valid files raise only the package's own errors, within 3 s of CPU."""
    content = data.draw(st.binary(max_size=200) | st.composite(damaged)(samples()[name]))
    begun = time.process_time()
    TARGETS[name](content)
    assert time.process_time() - begun < SECONDS


@pytest.mark.parametrize("name", TARGETS)
def test_a_good_input_is_read(name: str) -> None:
    """Each target accepts a valid input. A target that refused every input would find nothing."""
    TARGETS[name](samples()[name])


REPEATED = [
    b"[",
    b"{a: ",
    b"- ",
    b"a: 1\n",
    b'{"',
    b'","',
    b"&a ",
    b"? ",
    b"---\n",
    b"'",
    b"a\n\n",
    b"\\n",
    b"1",
    b"://a:",
    b"\xe2\x80\xae",
]


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("piece", REPEATED)
def test_time_grows_no_faster_than_the_input(name: str, piece: bytes) -> None:
    """An input of four times the size takes less than eight times as long.

    Times under 0.5 s are too short to compare.
    """
    small, large = (min(seconds(name, piece * (size // len(piece))) for _ in range(3)) for size in (16_000, 64_000))
    assert large < max(0.5, 8 * small)


def seconds(name: str, content: bytes) -> float:
    """Return the CPU time of a target in seconds. The first of several measurements may include an import."""
    start = time.process_time()
    TARGETS[name](content)
    return time.process_time() - start
