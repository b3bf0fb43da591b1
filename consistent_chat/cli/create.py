"""Commands that make and show datasets. Each imports what it needs when it runs, so that help appears immediately."""

from __future__ import annotations

from typing import Any

import click

from consistent_chat.cli.group import MAKE, command
from consistent_chat.cli.options import CALLING, COUNT, Repeated, detach, fields, recipe_argument, recipe_fields
from consistent_chat.errors import RecipeError
from consistent_chat.text.console import say, tell, tell_lines


@command(section=MAKE, examples="consistent-chat init support\nconsistent-chat init support --folder recipes")
@click.argument("name")
@click.option("--folder", default=".", metavar="PATH", help="where to write the files (the current folder)")
def init(name: str, folder: str) -> None:
    """Write a recipe and a taxonomy to start from.

    NAME is the first part of the names of the files. The recipe lists all fields with their meaning. Its first line
    names the schema with which editors complete and check it.
    """
    from consistent_chat.commands.recipe_files import init as write_files

    for path in write_files(name, folder):
        tell(path)


@command(
    section=MAKE,
    examples="consistent-chat taxonomy support.taxonomy.yaml\nconsistent-chat taxonomy topics.csv --output topics.yaml",
)
@click.argument("source", metavar="[FILE]", required=False)
@click.option("--output", metavar="FILE", help="the YAML file to convert a CSV file to")
@fields("storage_options")
def taxonomy(source: str | None, output: str | None, storage_options: dict[str, Any] | None) -> None:
    """Check a taxonomy and count its topics, or convert a CSV file to one.

    FILE is a YAML file; without it, the built-in taxonomy. A CSV file has the columns intent, category, topic and,
    optionally, needs.
    """
    from consistent_chat.commands.recipe_files import convert, count

    is_table = source is not None and source.lower().endswith(".csv")
    if is_table != (output is not None):
        raise click.UsageError("A .csv file needs --output, and only a .csv file can have it. Pass both or neither.")
    tell_lines(str(convert(str(source), output) if output is not None else count(source, storage_options)))


@command(
    section=MAKE,
    examples="consistent-chat grow --add personas -n 50 --serving rehearsal --output more.yaml\n"
    "consistent-chat grow garden.yaml --serving anthropic --model claude-haiku-4-5 --max-cost 1 --output more.yaml",
)
@click.argument("source", metavar="[TAXONOMY]", required=False)
@click.option("--output", metavar="FILE", help="the taxonomy file to write")
@click.option(
    "--add", type=click.Choice(["topics", "categories", "personas"]), default="topics", help="what to add (topics)"
)
@click.option(
    "-n",
    "--number",
    type=COUNT,
    default=10,
    metavar="N",
    help="topics per category, categories per intent or personas (10)",
)
@click.option("--category", "categories", cls=Repeated, multiple=True, metavar="NAME", help="add topics only here")
@click.option("--estimate", "only_estimate", is_flag=True, help="show calls, tokens and dollars, and make no calls")
@fields(*CALLING)
def grow(source: str | None, output: str | None, only_estimate: bool, **options: Any) -> None:
    """Have a model write more topics, categories or personas.

    TAXONOMY is a YAML file; without it, the built-in taxonomy. The file at --output has its content and the new
    entries. All responses are stored: with the same store, the same command needs no calls and writes the same file.
    """
    from consistent_chat.commands import grow as growing

    if only_estimate:
        tell_lines(str(growing.estimate(source, **options)))
        return
    if output is None:
        raise click.UsageError("Pass --output FILE, or --estimate.")
    say(f"{output}: {growing.grow(source, output, **options)}")


@command(
    section=MAKE,
    examples="consistent-chat prompts demo -n 1\nconsistent-chat prompts my.consistent_chat.yaml --language German",
)
@recipe_argument
@click.option("-n", "--number", type=COUNT, default=1, metavar="N", help="dialogues whose requests are shown (1)")
@recipe_fields
def prompts(recipe: str | None, number: int, **options: Any) -> None:
    """Show the requests that the model gets. Makes no calls; rehearsed texts replace the model's."""
    from consistent_chat.commands.open import open_builder
    from consistent_chat.commands.preview import requests

    for split_recipe in open_builder(recipe, **options).recipes.values():
        for shown in requests(split_recipe, number):
            tell_lines(str(shown))


@command(
    section=MAKE,
    examples="consistent-chat preview demo\nconsistent-chat preview my.consistent_chat.yaml --serving anthropic -n 5",
)
@recipe_argument
@click.option("-n", "--number", type=COUNT, default=3, metavar="N", help="dialogues to make (3)")
@recipe_fields
def preview(recipe: str | None, number: int, **options: Any) -> None:
    """Make a few dialogues, show them, and estimate the rest.

    Their answers are stored, so the build does not pay for them again.
    """
    from consistent_chat.api import preview as show

    show(recipe, number, **options)


@command(
    section=MAKE,
    examples="consistent-chat estimate my.consistent_chat.yaml --model claude-haiku-4-5\n"
    "consistent-chat estimate my.consistent_chat.yaml --serving anthropic --pilot 9",
)
@recipe_argument
@click.option("--pilot", type=COUNT, default=None, metavar="N", help="make the first N dialogues to measure")
@recipe_fields
def estimate(recipe: str | None, pilot: int | None, **options: Any) -> None:
    """Estimate calls, tokens and dollars before a build. Makes no calls, except for a pilot."""
    from consistent_chat.commands.estimate import estimate as estimated
    from consistent_chat.commands.estimate_notes import bound_by, compare
    from consistent_chat.commands.open import open_builder
    from consistent_chat.recipe.description import AT_ONCE

    builder = open_builder(recipe, **options)
    for split, plan in builder.plans().items():
        if pilot:
            all_stats = builder.fill({split: range(min(pilot, len(plan)))})
            say(f"{split}: pilot of {all_stats[split]}")
        tell_lines(f"{split}: {estimated(builder.recipes[split], plan, builder.store())}")
        if bound := bound_by(builder.recipes[split], plan, builder.config.abilities()):
            tell_lines(bound)
        if builder.recipes[split].answers != AT_ONCE:
            tell_lines("without recorded responses, in each form:")
            for form in compare(builder.recipes[split], plan):
                tell_lines(f"  {form}")


@command(
    section=MAKE,
    examples="consistent-chat build demo --output demo.parquet\n"
    "consistent-chat build my.consistent_chat.yaml --serving anthropic --max-cost 5 --output data",
)
@recipe_argument
@click.option(
    "--output",
    required=True,
    metavar="PATH",
    help="a .parquet or .jsonl file, a folder, a URL, or - for JSON lines on the standard output",
)
@click.option("--num-proc", type=int, metavar="N", help="number of parallel processes")
@click.option("--failures", metavar="FILE", help="a .parquet or .jsonl file for answers that were unusable")
@click.option("--force", is_flag=True, help="rebuild from recorded responses even if the dataset is in the cache")
@detach
@click.option("-v", "--verbose", is_flag=True, help="print each unusable answer and its reason as it arrives")
@recipe_fields  # fmt: skip
def build(recipe: str | None, output: str, verbose: bool, **options: Any) -> None:
    """Build a dataset and write it to a file or folder."""
    from consistent_chat.commands.build import build as built
    from consistent_chat.text.console import log_to_stderr

    if verbose:
        log_to_stderr(verbose=True)
    say(built(recipe, output, **options))


@command(
    section=MAKE,
    examples="consistent-chat warm my.consistent_chat.yaml --serving anthropic --shard 3/16\n"
    "consistent-chat warm my.consistent_chat.yaml --serving anthropic --ray",
)
@recipe_argument
@click.option("--shard", default=None, metavar="I/N", help="make only part I of N, such as 1/16")
@click.option(
    "--ray",
    is_flag=False,
    flag_value="",
    default=None,
    metavar="[ADDRESS]",
    help="use a Ray cluster: this machine's, or the one at ADDRESS",
)
@detach
@recipe_fields  # fmt: skip
def warm(recipe: str | None, shard: str | None, ray: str | None, **options: Any) -> None:
    """Fill the response store without writing a dataset.

    It makes all responses, those of one shard, or all with the processes of a Ray cluster.
    """
    if ray is not None and shard is not None:
        raise click.UsageError(
            "--shard cannot be combined with --ray, which divides the work itself. Leave out one of them."
        )
    if recipe is None and ray and ray.endswith((".yaml", ".yml")):
        raise RecipeError(f"--ray treats {ray} as the address of a cluster. Put the recipe before --ray.")
    all_stats = _warmed(recipe, shard or "1/1", ray, options)
    done = "; ".join(f"{split}: {stats}" for split, stats in all_stats.items())
    whole = "" if shard in (None, "1/1") else f"shard {shard}, "
    say(f"warmed {whole}{done or 'no dialogues'}")


def _warmed(recipe: str | None, shard: str, ray: str | None, options: dict[str, Any]) -> dict[str, Any]:
    if ray is None:
        from consistent_chat.commands.open import warm as warm_here

        return warm_here(recipe, shard, **options)
    from consistent_chat.ray import warm as warm_with_ray

    return warm_with_ray(recipe, ray or None, **options)


@command(
    section=MAKE,
    examples="consistent-chat ngrams questions.txt --output mine.ngrams\n"
    "consistent-chat ngrams mt_bench.jsonl --column turns --name mt-bench --output mt-bench.ngrams",
)
@click.argument("sources", metavar="FILE...", nargs=-1, required=True)
@click.option("--output", required=True, metavar="FILE", help="the file of hashed n-grams to write")
@click.option(
    "--column", "columns", cls=Repeated, multiple=True, metavar="NAME", help="of a table: a column with texts"
)
@click.option("--words", type=COUNT, default=13, metavar="N", help="words in a run, 5 to 50 (13)")
@click.option("--name", metavar="NAME", help="what findings call the texts (default: the name of the output)")
def ngrams(sources: tuple[str, ...], output: str, columns: list[str] | None, words: int, name: str | None) -> None:
    """Hash the n-grams of texts that dialogues must not contain, for the field decontaminate.

    FILE is a text file with one text per line, or a table (.jsonl, .csv, .parquet).
    """
    from consistent_chat.commands.recipe_files import ngrams as make

    made = make(sources, output, columns or (), words, name)
    say(f"{output}: {len(made):,} hashed runs of {made.words} words of {made.name!r}")


@command(section=MAKE, examples="consistent-chat schema > recipe.schema.json")
def schema() -> None:
    """Print the JSON schema of recipe files, for editors."""
    import json

    from consistent_chat.recipe.description import json_schema

    tell_lines(json.dumps(json_schema(), indent=2))
