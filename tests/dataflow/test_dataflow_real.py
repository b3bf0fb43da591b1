"""The operator in the real DataFlow, with its pipelines, storages, servings and prompts (`nox -s dataflow`)."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas
import pytest

pytest.importorskip("dataflow.core", reason="DataFlow is not installed")

from dataflow.core import LLMServingABC, OperatorABC
from dataflow.pipeline import PipelineABC
from dataflow.prompts.general_text import ConsistentChatPrompt
from dataflow.serving import APILLMServing_request
from dataflow.utils.registry import OPERATOR_REGISTRY
from dataflow.utils.storage import DataFlowStorage, FileStorage, LazyFileStorage

from consistent_chat import dataflow as ours
from consistent_chat.dataflow import ConsistentChatGenerator
from consistent_chat.errors import ServingError
from tests import ROOT
from tests.dataflow.test_dataflow import is_exact, made, operator
from tests.dataflow_parts import TheirServing, good
from tests.provider import Call, Provider, Reply

PIPELINE = "statics/pipelines/api_pipelines/text_conversation_synthesis_pipeline.py"
THEIR_IMPORT = "from dataflow.operators.conversations import ConsistentChatGenerator"
OUR_IMPORT = "from consistent_chat.dataflow import ConsistentChatGenerator"


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run each test in an empty folder, with a key and a separate response store."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DF_API_KEY", "sk-of-dataflow")
    monkeypatch.setattr("consistent_chat.dataflow.operator.default_location", lambda: str(tmp_path / "responses"))


@pytest.fixture
def provider() -> Iterator[Provider]:
    """Run a server that answers every prompt. Its first call fails, and its second gives half an answer."""

    def script(call: Call) -> Reply:
        system, user = (message["content"] for message in call.body["messages"])
        return (
            [Reply.error(500, "Busy"), Reply.text('{"turns"')][call.number]
            if call.number < 2
            else Reply.text(good(user, system))
        )

    with Provider(script) as provider:
        yield provider


def api(provider: Provider) -> APILLMServing_request:
    """Return DataFlow's own serving, which returns None after one failed attempt."""
    url = f"{provider.openai_url}/chat/completions"
    return APILLMServing_request(api_url=url, model_name="gpt-4o", max_workers=8, max_retries=1)


def storage(folder: Path, kind: str = "jsonl") -> FileStorage:
    """Return DataFlow's own storage."""
    return FileStorage("", cache_path=str(folder / "cache"), file_name_prefix="dataflow_cache_step", cache_type=kind)


class Counting(OperatorABC):
    """A later operator of a pipeline, which reads the output of this package's operator."""

    def run(self, storage: Any, input_conversation_key: str, output_count_key: str) -> None:
        """Count the messages of each dialogue."""
        frame = storage.read("dataframe")
        frame[output_count_key] = [len(talk) for talk in frame[input_conversation_key]]
        storage.write(frame)


def test_all_of_ours_counts_as_theirs() -> None:
    """The package's classes count as subclasses of DataFlow's as soon as both are imported.

    DataFlow's classes do not count as subclasses of the package's.
    """
    assert issubclass(ConsistentChatGenerator, OperatorABC)
    assert issubclass(ours.APILLMServing_request, LLMServingABC)
    assert issubclass(ours.FileStorage, DataFlowStorage)
    assert not issubclass(FileStorage, ours.DataFlowStorage)


def test_dataflow_may_be_imported_later() -> None:
    """If DataFlow is imported later, new instances of this package's classes still count as instances of DataFlow's."""
    code = (
        "from consistent_chat.dataflow import ConsistentChatGenerator as C, FileStorage as S; "
        "from dataflow.core import OperatorABC; from dataflow.utils.storage import DataFlowStorage; "
        "print(isinstance(C('rehearsal'), OperatorABC), isinstance(S(''), DataFlowStorage))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.endswith("True True\n")


def test_the_registry_gives_ours() -> None:
    """After `register`, DataFlow's registry returns this package's operator under the original name."""
    ours.register()
    assert OPERATOR_REGISTRY.get("ConsistentChatGenerator") is ConsistentChatGenerator
    assert "category" in OPERATOR_REGISTRY.get("ConsistentChatGenerator").get_desc("zh")


def test_their_own_pipeline_runs_with_our_operator(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    """DataFlow's text_conversation_synthesis_pipeline runs with one changed import and a changed server address."""
    spec = importlib.util.find_spec("dataflow")
    assert spec is not None
    assert spec.origin is not None
    text = (Path(spec.origin).parent / PIPELINE).read_text("utf-8")
    assert THEIR_IMPORT in text
    text = text.replace(THEIR_IMPORT, OUR_IMPORT)
    text = re.sub(r'api_url="[^"]*"', f'api_url="{provider.openai_url}/chat/completions"', text)
    exec(compile(text, PIPELINE, "exec"), {"__name__": "__main__"})
    lines = Path("cache/dataflow_cache_step_step1.jsonl").read_text("utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    assert len(rows) == 45
    assert {tuple(row) for row in rows} == {("category", "conversation")}
    assert {len(row["conversation"]) for row in rows} == {12}
    assert {call.body["temperature"] for call in provider.requests} == {0.9}


@pytest.mark.parametrize("template", [None, ConsistentChatPrompt()], ids=["our prompts", "their prompts"])
def test_a_pipeline_compiles_and_runs(template: Any, provider: Provider, tmp_path: Path) -> None:
    """A pipeline compiles and runs: later operators know the operator's columns, and the serving is used."""

    class Pipeline(PipelineABC):
        def __init__(self) -> None:
            super().__init__()
            self.storage = storage(tmp_path)
            self.generator = operator(api(provider), tmp_path / "responses", prompt_template=template)
            self.counting = Counting()

        def forward(self) -> None:
            self.generator.run(storage=self.storage.step())
            self.counting.run(
                storage=self.storage.step(), input_conversation_key="conversation", output_count_key="messages"
            )

    pipeline = Pipeline()
    pipeline.compile()
    assert pipeline.final_keys == ["category", "conversation", "messages"]
    assert pipeline.llm_serving_list[0] is not None
    assert provider.requests == []
    pipeline.forward()
    path = tmp_path / "cache" / "dataflow_cache_step_step2.jsonl"
    assert [json.loads(line)["messages"] for line in path.read_text("utf-8").splitlines()] == [6] * 18


def test_our_parts_stand_in_a_pipeline_too(provider: Provider, tmp_path: Path) -> None:
    """A pipeline also runs with this package's storage and serving."""

    class Pipeline(PipelineABC):
        def __init__(self) -> None:
            super().__init__()
            self.storage = ours.FileStorage("", cache_path=str(tmp_path / "cache"))
            serving = ours.APILLMServing_request(f"{provider.openai_url}/chat/completions", model_name="gpt-4o")
            self.generator = operator(serving, tmp_path / "responses")

        def forward(self) -> None:
            self.generator.run(storage=self.storage.step())

    pipeline = Pipeline()
    pipeline.compile()
    pipeline.forward()
    assert (tmp_path / "cache" / "dataflow_cache_step_step1.jsonl").read_text("utf-8").count("\n") == 18


@pytest.mark.parametrize("template", [None, ConsistentChatPrompt()], ids=["our prompts", "their prompts"])
def test_their_serving_is_asked_for_what_is_missing(template: Any, provider: Provider, tmp_path: Path) -> None:
    """A failed call is retried, an unusable answer is drawn again, and a second run makes no calls."""
    first = made(api(provider), tmp_path, prompt_template=template)
    assert is_exact(first)
    assert len(provider.requests) == 36 + 2
    assert made(api(provider), tmp_path, prompt_template=template).equals(first)
    assert len(provider.requests) == 36 + 2


def test_their_serving_without_a_server_is_one_message(tmp_path: Path) -> None:
    """If the serving returns None for every prompt, the run stops with one error."""
    serving = APILLMServing_request(api_url="http://127.0.0.1:1/v1/chat/completions", max_retries=1)
    with pytest.raises(ServingError, match="APILLMServing_request gave no answer to 18 prompts"):
        made(serving, tmp_path)


def test_a_subclass_of_their_serving_is_enough(tmp_path: Path) -> None:
    """The operator calls only `generate_from_input` of a serving."""

    class Serving(LLMServingABC):
        model_name, temperature = "mine", 0.0

        def generate_from_input(self, user_inputs: list[str], system_prompt: str) -> Any:
            return TheirServing().generate_from_input(user_inputs, system_prompt)

        def start_serving(self) -> None:
            raise AssertionError

        def cleanup(self) -> None:
            raise AssertionError

    serving = Serving()
    serving.temperature = 0.1
    assert is_exact(made(serving, tmp_path))


@pytest.mark.parametrize("kind", ["json", "jsonl", "csv", "parquet", "pickle"])
def test_files_are_the_same_bytes(kind: str, tmp_path: Path) -> None:
    """The storages of DataFlow and of this package write the same bytes, or equal data for pickle."""
    theirs, own = storage(tmp_path, kind), ours.FileStorage("", str(tmp_path / "own"), cache_type=kind)
    for place in (theirs, own):
        operator(TheirServing(), tmp_path / "responses").run(place.step())
    name = f"dataflow_cache_step_step1.{kind}"
    own_file, their_file = tmp_path / "own" / name, tmp_path / "cache" / name
    if kind == "pickle":  # its bytes depend on which strings are the same object
        assert pandas.read_pickle(own_file).equals(pandas.read_pickle(their_file))
    else:
        assert own_file.read_bytes() == their_file.read_bytes()
    if kind in ("json", "jsonl", "parquet"):
        assert str(own.step().read("dict")) == str(theirs.step().read("dict"))


def test_their_lazy_storage_takes_our_rows(tmp_path: Path) -> None:
    """The operator also works with DataFlow's lazy storage, which keeps the rows in memory."""
    lazy = LazyFileStorage("", cache_path=str(tmp_path), save_on_exit=False)
    operator(TheirServing(), tmp_path / "responses").run(lazy.step())
    assert is_exact(lazy.step().read("dataframe"))
