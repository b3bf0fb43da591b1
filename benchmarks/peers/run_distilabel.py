"""distilabel: a pipeline of two tasks of text generation, with a step between them, and its cache."""

import sys  # without postponed annotations: distilabel reads those of a step's function

import prompts
from distilabel.models import OpenAILLM
from distilabel.pipeline import Pipeline
from distilabel.steps import LoadDataFromDicts, StepInput, step
from distilabel.steps.tasks import TextGeneration
from distilabel.typing import StepOutput


@step(inputs=["questions"], outputs=["instruction", "system_prompt", "asked"])
def ask(inputs: StepInput) -> StepOutput:
    """Put the user's messages into the prompt of the second stage; drop those that cannot be read."""
    rows = [{**row, "asked": prompts.texts(row["questions"], "user")} for row in inputs]
    prompted = {"system_prompt": prompts.SYSTEM}
    yield [{**row, **prompted, "instruction": prompts.answering(row["asked"])} for row in rows if row["asked"]]


def main(url: str, dialogs: str, folder: str) -> None:
    """Run the pipeline: 100 prompts of a batch are in flight at once."""
    told = [{"instruction": row["user"], "system_prompt": row["system"]} for row in prompts.read(int(dialogs))]
    with Pipeline(name="peer", cache_dir=f"{folder}/cache") as pipeline:
        load = LoadDataFromDicts(data=told, batch_size=100)
        first = _task("skeletons", url, "questions")
        second = _task("answers", url, "answered")
        load >> first >> ask(name="ask", input_batch_size=100) >> second
    made = pipeline.run(use_cache=True)["default"]["train"]
    prompts.save(folder, [(row["asked"], prompts.texts(row["answered"], "assistant")) for row in made])


def _task(name: str, url: str, column: str) -> TextGeneration:
    generation = {"max_new_tokens": 8192, "temperature": 0.9}
    model = OpenAILLM(model="gpt-4o-mini", base_url=f"{url}/v1", api_key="a-key", generation_kwargs=generation)
    return TextGeneration(name=name, llm=model, input_batch_size=100, output_mappings={"generation": column})


if __name__ == "__main__":
    main(*sys.argv[1:])
