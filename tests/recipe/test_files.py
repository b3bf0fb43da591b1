"""Recipe files, which may come from strangers: their values are read and bounded, and errors name the line."""

from __future__ import annotations

import contextlib
import gc
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consistent_chat.errors import RecipeError
from consistent_chat.plan.splits import recipes as splits_of
from consistent_chat.recipe import FIELDS, Recipe, safe_yaml
from consistent_chat.recipe.taxonomy import Persona

LAW = settings(derandomize=True)


FILE = "r.consistent_chat.yaml"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Create a folder for a recipe, next to a secret file."""
    (tmp_path / "secret.yaml").write_text("personas: [a spy]", "utf-8")
    (tmp_path / "recipes" / "below").mkdir(parents=True)
    return tmp_path / "recipes"


def read(folder: Path, text: str | bytes, **overrides: Any) -> Recipe:
    """Write a recipe file, and read it."""
    path = folder / FILE
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))
    return Recipe.from_file(str(path), **overrides)


def refusal(folder: Path, text: str | bytes, **overrides: Any) -> str:
    """Return the error message about a recipe file. It must be one line of less than 600 characters."""
    with pytest.raises(RecipeError) as caught:
        read(folder, text, **overrides)
    message = str(caught.value)
    assert len(message) < 600
    assert "\n" not in message
    return message


def test_a_file_says_what_keywords_say(folder: Path) -> None:
    """A file and keywords give equal recipes. A keyword overrides the value in the file."""
    text = "model: m\nintents: [simulation]\ntemperature: 1\nnum_turns_per_dialog: 3"
    assert read(folder, text) == Recipe("m", intents=("simulation",), temperature=1.0, num_turns_per_dialog=3)
    assert read(folder, text, num_turns_per_dialog=4).num_turns_per_dialog == 4


DECIMAL = "Write a decimal number without leading zeros, or put it in quotes if it is text."


BOOLEAN = "Write true or false, or put it in quotes if it is text."


REFUSED = {
    "modle: m": f"{FILE}, line 1 (modle): a recipe file has no field 'modle'. Did you mean 'model'?",
    "seed: 0\napi_key: x": f"{FILE}, line 2 (api_key): a recipe file has no field 'api_key'. Use: {', '.join(FIELDS)}.",
    "seed: 0\nbase_url: http://x": f"{FILE}, line 2 (base_url): a recipe file has no field 'base_url'. Use: "
    f"{', '.join(FIELDS)}.",
    "origin: elsewhere": f"{FILE}, line 1 (origin): a recipe file has no field 'origin'. Use: {', '.join(FIELDS)}.",
    "seed: 0\ntemperature: hot": f"{FILE}, line 2 (temperature): temperature must be a number from 0 to 2, not 'hot'.",
    "seed: 0\nintents: [simulatio]": f"{FILE}, line 2 (intents): there is no intent 'simulatio'. "
    "Did you mean 'simulation'?",
    "": f"{FILE} must be a mapping of recipe fields. Use: {', '.join(FIELDS)}.",
    "- model": f"{FILE}, line 1 must be a mapping of recipe fields. Use: {', '.join(FIELDS)}.",
    "seed: !!python/object/apply:os.system [ls]": f"{FILE}, line 1: the tag tag:yaml.org,2002:python/object/apply:"
    "os.system is not allowed. Use plain YAML values.",
    "model: &a m\nlanguage: *a": f"{FILE}, line 1: anchors and aliases (& and *) are not allowed. Write out the value.",
    "seed: 1\nseed: 2": f"{FILE}, line 2: the key 'seed' is repeated. Remove one.",
    "[a]: 1": f"{FILE}, line 1: a key must be plain text. Correct it.",
    "seed:\n " + "[" * 100_000: f"{FILE}, line 2: nested more than 16 levels deep. Make it flatter.",
    "taxonomy: 3": f"{FILE}, line 1 (taxonomy) must be a mapping or the name of a file next to the recipe.",
    "seed: 0\ntaxonomy:\n  personas: [3]": f"{FILE}, line 3 (personas.0) must be text, not 3. Put it in quotes.",
    "? " * 2_000: f"{FILE}, line 1: nested more than 16 levels deep. Make it flatter.",
    "model: [" + "{a: " * 300: f"{FILE}, line 1: nested more than 16 levels deep. Make it flatter.",
    "seed: 2026-13-01": f"{FILE}, line 1 (seed): YAML reads 2026-13-01 as a date. Put it in quotes.",
    "<<: {seed: 1}": f"{FILE}, line 1: YAML reads << as a merge key. Put it in quotes.",
    **{
        f"model: m\nseed: {number}": f"{FILE}, line 2 (seed): YAML reads {number} as an octal, hexadecimal, binary or "
        f"base 60 number, or one with underscores. {DECIMAL}"
        for number in ("010", "-0_17", "1:30", "190:20:30", "0b101", "00", "0x10", "1_000", "+0x1F")
    },
    **{
        f"temperature: {number}": f"{FILE}, line 1 (temperature): YAML reads {number} as infinity, not a number, "
        f"a base 60 number or one with underscores. {DECIMAL}"
        for number in ("1:30.5", ".inf", "-.INF", ".nan", "0_1.5")
    },
    **{
        f"intents: [{word}]": f"{FILE}, line 1 (intents.0): YAML reads {word} as true or false. {BOOLEAN}"
        for word in ("yes", "No", "ON", "off")
    },
    "provenance: no": f"{FILE}, line 1 (provenance): YAML reads no as true or false. {BOOLEAN}",
    "splits:\n  on: 3": f"{FILE}, line 2: YAML reads on as true or false. {BOOLEAN}",
    "splits:\n  2024-01-01: 3": f"{FILE}, line 2: YAML reads 2024-01-01 as a date. Put it in quotes.",
    "seed: 0x" + "f" * 10_000: f"{FILE}, line 1 (seed): a number has more than 100 characters. Make it shorter.",
    "#" * (safe_yaml.MAX_BYTES + 1): f"{FILE} is larger than 4 MiB. Make it smaller.",
}


@pytest.mark.parametrize("text", REFUSED, ids=lambda text: text[:25])
def test_a_bad_file_is_one_clear_message(text: str, folder: Path) -> None:
    """A wrong file gives one message with file, line, key and remedy."""
    assert refusal(folder, text) == REFUSED[text]


@pytest.mark.parametrize(
    "text",
    [
        "temperature: 1" + ":1" * 20_000 + ".5",
        "seed: 1" + ":1" * 1_000_000,
        "intents: {" + "a: " * 1_000_000,
        "-\n" * 1_000_000,
        "? " * 1_000_000,
    ],
    ids=lambda text: text[:16],
)
def test_a_hostile_file_is_refused_soon(text: str, folder: Path) -> None:
    """Sexagesimal numbers, nested keys and a million items are refused within 5 s of CPU."""
    started = time.process_time()
    refusal(folder, text)
    assert time.process_time() - started < 5


def test_a_syntax_error_names_its_place(folder: Path) -> None:
    """The message has the file, the YAML library's own words with the line, and the remedy."""
    said = refusal(folder, "a: b: c")
    assert said.startswith(f"{FILE} is not valid YAML: ")
    assert "line 1" in said
    assert said.endswith(" Correct it.")


@pytest.mark.parametrize(("written", "value"), [("12", 12), ("+12", 12), ("-3", -3), ("1000", 1000)])
def test_plain_numbers_are_read(written: str, value: int, folder: Path) -> None:
    """A plain whole number has its usual value."""
    assert read(folder, f"seed: {written}").seed == value


@pytest.mark.parametrize(
    ("written", "value"), [("0.5", 0.5), (".5", 0.5), ("1.", 1.0), ("1.0e+0", 1.0), ("1.5E-1", 0.15), ("'0'", None)]
)
def test_plain_fractions_are_read(written: str, value: float | None, folder: Path) -> None:
    """A plain decimal number has its usual value, and a quoted one is text and therefore refused."""
    if value is None:
        assert "must be a number" in refusal(folder, f"temperature: {written}")
    else:
        assert read(folder, f"temperature: {written}").temperature == value


def _large(lines: int) -> str:
    personas = "".join(f"    - somebody with the number {number}\n" for number in range(lines))
    return f"taxonomy:\n  personas:\n{personas}  extend:\n   personas:\n{personas}"


def _with_splits(number: int) -> str:
    topics = "".join(f"      - topic {n}\n" for n in range(20 * number))
    splits = ", ".join(f"s{n}: 1" for n in range(number))
    head = "  intents:\n   one:\n    title: One\n    purpose: test\n    flows: [f]\n    categories:\n     c:\n"
    return f"splits: {{{splits}}}\ntaxonomy:\n  flows: {{f: {{title: F, steps: [a, b]}}}}\n{head}{topics}"


@pytest.mark.slow
@pytest.mark.parametrize(("text", "small"), [(_large, 2_000), (_with_splits, 200)], ids=["personas", "splits"])
def test_reading_takes_linear_time(text: Callable[[int], str], small: int, folder: Path) -> None:
    """A recipe of four times the size takes less than nine times as long to read, where sixteen would be quadratic."""

    def seconds(size: int) -> float:
        written = text(size)
        gc.disable()  # it would also visit the objects of other tests, more often for a larger recipe
        try:
            started = time.process_time()
            splits_of(read(folder, written))
            return time.process_time() - started
        finally:
            gc.enable()

    seconds(small)
    quick = min(seconds(small) for _ in range(3))
    assert min(seconds(4 * small) for _ in range(2)) < 9 * quick


@pytest.mark.slow
def test_the_number_of_splits_is_bounded(folder: Path) -> None:
    """More than 1,000 splits are refused before anything is computed for them."""
    names = ", ".join(f"s{n}: 1" for n in range(5_000))
    expected = f"{FILE}, line 1 (splits): splits must have at most 1,000 names, not 5,000."
    assert refusal(folder, f"splits: {{{names}}}") == expected


def test_a_file_that_is_no_text_is_refused(folder: Path) -> None:
    """A file that is not UTF-8 text is refused."""
    assert refusal(folder, b"\x89PNG\xff").endswith(f"{FILE} is not UTF-8 text. Save it as UTF-8.")


def test_a_file_that_is_not_there_is_named(folder: Path) -> None:
    """The message about a missing file has the path as it was given."""
    path = str(folder / "none.yaml")
    with pytest.raises(RecipeError) as caught:
        Recipe.from_file(path)
    assert str(caught.value).startswith(f"{path} cannot be read: ")
    assert str(caught.value).endswith(" Check the path or URL.")


def test_a_wrong_override_is_not_blamed_on_the_file(folder: Path) -> None:
    """The message about a wrong keyword does not mention the recipe file."""
    assert refusal(folder, "seed: 1", seed=0.5).startswith("seed must be a whole number")
    assert refusal(folder, "seed: 1", sed=1) == "there is no field 'sed'. Did you mean 'seed'?"


@pytest.mark.parametrize("name", ["own.yaml", "below/own.yaml", "./own.yaml"])
def test_a_taxonomy_may_lie_beside_or_below_the_recipe(name: str, folder: Path) -> None:
    """A relative path of a taxonomy starts at the recipe's folder, not at the working directory."""
    (folder / name).write_text("personas: [a lighthouse keeper]", "utf-8")
    assert read(folder, f"taxonomy: {name}").full_taxonomy.personas == (Persona("a lighthouse keeper"),)


OUTSIDE = [
    "../secret.yaml",
    "below/../../secret.yaml",
    "/etc/passwd",
    "~/secret.yaml",
    "file:///etc/passwd",
    "https://example.org/own.yaml",
    "simplecache::own.yaml",
    "..\\secret.yaml",
    "C:/secret.yaml",
    "a//b",
    "",
]


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_taxonomy_may_not_lie_elsewhere(name: str, folder: Path) -> None:
    """A recipe cannot read a taxonomy outside its own folder."""
    place = f"{FILE}, line 2 (taxonomy)"
    expected = f"{place}: {name!r} must be a relative path within the recipe's own folder."
    assert refusal(folder, f"seed: 0\ntaxonomy: '{name}'") == expected


def test_a_mistake_in_a_taxonomy_names_the_taxonomys_line(folder: Path) -> None:
    """The message about a mistake in a taxonomy file names that file and its line."""
    (folder / "own.yaml").write_text("# mine\npersonas: [1]", "utf-8")
    assert refusal(folder, "taxonomy: own.yaml").startswith("own.yaml, line 2 (personas.0) must be text")


def test_a_recipe_and_its_taxonomy_are_read_from_any_url() -> None:
    """A recipe at a URL finds its taxonomy in the same remote folder."""
    files = fsspec.filesystem("memory")
    files.pipe({"/remote/r.yaml": b"taxonomy: own.yaml", "/remote/own.yaml": b"personas: [a pilot]"})
    assert Recipe.from_file("memory://remote/r.yaml").full_taxonomy.personas == (Persona("a pilot"),)


MARKS = [": ", "\n", "  ", "- ", "[", "]", "{", "}", "'", '"', "1", "~", "&a ", "*a", "!", "|", "<<", "=", "1:1", "\0"]


YAML_LIKE = st.lists(st.sampled_from([*FIELDS, *MARKS]), max_size=15).map("".join)


@LAW
@given(st.text(max_size=60) | YAML_LIKE)
def test_any_text_is_a_recipe_or_a_recipe_error(text: str) -> None:
    """Any text is either a recipe or raises RecipeError, and never another exception."""
    fsspec.filesystem("memory").pipe("/any/r.yaml", text.encode("utf-8", "surrogatepass"))
    with contextlib.suppress(RecipeError):
        assert isinstance(Recipe.from_file("memory://any/r.yaml"), Recipe)
