"""The `datasets` builder. It opens no files itself, because `datasets` would patch `open` here for streams."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import datasets

from consistent_chat import drivers, duplicates
from consistent_chat.builder.config import DEMOS, ConsistentChatConfig
from consistent_chat.builder.execution import ExecutionOptions
from consistent_chat.builder.features import features
from consistent_chat.builder.fingerprint import fingerprint
from consistent_chat.builder.hooks import BuilderHooks, check_cache, heap_frozen
from consistent_chat.builder.progress import BatchBar, CallsBar, dialogues_bar, told_if_stopped
from consistent_chat.dialogue.parse import Reason
from consistent_chat.dialogue.work import Dialogue
from consistent_chat.drivers import RunStats, Usage
from consistent_chat.drivers.shared_usage import SharedUsage
from consistent_chat.errors import BudgetSpent, ConsistentChatError, RecipeError
from consistent_chat.plan.plan import Plan
from consistent_chat.plan.splits import Shard
from consistent_chat.recipe import Recipe, taxonomy
from consistent_chat.recipe.description import PAIRS
from consistent_chat.registration import NAME, normalize_data_files
from consistent_chat.row import rows
from consistent_chat.store import Mode, ResponseStore, StoreLocation, options_beside
from consistent_chat.text import languages

logger = logging.getLogger(__name__)

_patched_for_streaming = True
"""Tells `datasets` not to patch this module: patching would import scipy (0.2 s), and is not needed here."""

MOST_PARTS, LEAST_IN_A_PART = 64, 16
"""A split is divided into parts, for `num_proc` and for the workers of a stream.

Parts must not be too small, because a stream that calls a model works on one part at a time. The number of parts is a
power of two, since the number of nodes usually is.
"""

MOST_PLACES = 2**48
"""More dialogues than any plan has, so that the keys of rows at one position differ from those at all other positions.
"""


class ConsistentChat(BuilderHooks, datasets.GeneratorBasedBuilder):
    """Builds consistent multi-turn dialogues from a recipe and the raw responses of a model."""

    all_stats: dict[str, RunStats]
    """The calls and tokens of this build by split; empty if the dataset was already in the cache."""

    BUILDER_CONFIG_CLASS = ConsistentChatConfig
    DEFAULT_CONFIG_NAME = "default"
    BUILDER_CONFIGS = [
        ConsistentChatConfig(name="default"),
        *(ConsistentChatConfig(name=demo) for demo in DEMOS),
        *(ConsistentChatConfig(name=intent, intents=[intent]) for intent in taxonomy.builtin().intents),
    ]

    def __init__(self, cache_dir: str | None = None, dataset_name: str | None = None, **given: Any) -> None:
        check_cache(cache_dir or datasets.config.HF_DATASETS_CACHE)
        super().__init__(
            cache_dir, dataset_name or NAME, **{**given, "data_files": normalize_data_files(given.get("data_files"))}
        )

    def validate_config(self, config: ConsistentChatConfig, custom_features: Any) -> str:
        """Check what can be checked before a call.

        Return the name of the cache directory, which identifies the data.
        """
        self.recipes = config.recipes(self.reading)
        adjacent = config.adjacent_places(self._store_options)
        self.execution = self._options(config, adjacent)
        self.spent = Usage()
        self._warned: set[str] = set()  # the splits about which a warning was given
        self._counted = ""  # the folder in which the processes of a build keep their counts
        self.execution.check_serving(self.recipes.values())
        for told in filter(
            None, {languages.unknown(one): None for recipe in self.recipes.values() for one in recipe.languages}
        ):
            logger.warning(told)
        if any(recipe.drop_near_duplicates for recipe in self.recipes.values()):
            duplicates.check()
        identity = [(split, fingerprint(recipe)) for split, recipe in self.recipes.items()]
        shaping = (identity, custom_features, *self._foreign(config, adjacent))
        digest = hashlib.sha256(repr(shaping).encode("utf-8")).hexdigest()
        return f"{config.name}-{digest[:16]}"

    def _options(self, config: ConsistentChatConfig, adjacent: Sequence[str]) -> ExecutionOptions:
        return ExecutionOptions(
            serving=config.serving,
            base_url=config.base_url,
            api_key=config.api_key,
            places=tuple(config.places()),
            adjacent=tuple(adjacent),
            storage_options=self._store_options,
            mode=config.checked_mode(),
            limits=config.limits(),
            abilities=config.abilities(),
            driver=config.checked_driver(),
            detach=config.detach,
            max_waves=config.max_waves,
        )

    def _foreign(self, config: ConsistentChatConfig, adjacent: Sequence[str]) -> list[Any]:
        """Return a digest of the stores next to recipe files. Rows made with them differ from rows made without.

        The store of a demo does not count, because it belongs to the package.
        """
        named = config.places()
        options = [options_beside(url, self._store_options, named) for url in adjacent]
        stores = [] if config.is_demo else [StoreLocation(url, given) for url, given in zip(adjacent, options)]
        return sorted(store.content() for store in stores)

    def download_and_prepare(self, *args: Any, **kwargs: Any) -> None:
        """Build the dataset. A refresh rebuilds it even if it is in the cache."""
        processes = kwargs.get("num_proc")
        if processes is not None and processes < 1:
            raise RecipeError(f"num_proc must be a whole number of at least 1, not {processes}.")
        if self.execution.mode is Mode.REFRESH:
            kwargs["download_mode"] = datasets.DownloadMode.REUSE_CACHE_IF_EXISTS
        columns, self.info.features = self.info.features, _Plain(self.info.features)
        try:
            with tempfile.TemporaryDirectory() as self._counted, self._shared(processes or 1), heap_frozen():
                with told_if_stopped(lambda: self._summed().values()):
                    super().download_and_prepare(*args, **kwargs)
                if hasattr(self, "all_stats"):
                    self.all_stats = self._summed()
        finally:
            self._counted = ""
            self.info.features = columns
        self._check_pairs()
        self._tell_marks()

    def _summed(self) -> dict[str, RunStats]:
        return {split: RunStats.summed(self._counted, split) for split in self.recipes}

    @contextlib.contextmanager
    def _shared(self, processes: int) -> Iterator[None]:
        """Let several processes share one budget during the block."""
        limits = self.execution.limits
        is_bounded = limits.max_calls is not None or limits.max_cost is not None
        if processes == 1 or not (is_bounded and self.execution.may_call):
            yield
            return
        self.spent = shared = SharedUsage(self._counted, self.spent)
        try:
            yield
        finally:
            if self.spent is shared:  # otherwise it is spent, and the next build has a new one
                self.spent = shared.alone()

    def _tell_marks(self) -> None:
        """Warn about marks of a review that do not name a dialogue of this dataset."""
        reviews = {recipe.loaded_review for recipe in self.recipes.values() if recipe.loaded_review is not None}
        all_stats = list(getattr(self, "all_stats", {}).values())  # empty if the dataset was in the cache
        marks = sum(len(review.marks) for review in reviews)
        applied = sum(stats.marks + stats.failed[Reason.REJECTED.value] for stats in all_stats)
        if all_stats and applied < marks:
            logger.warning(
                "%d of %d marks of the review do not name a dialogue of this dataset, because the recipe has changed "
                "or the dialogues were replaced. These marks have no effect.",
                marks - applied,
                marks,
            )

    def _check_pairs(self) -> None:
        """Raise ConsistentChatError if a layout of pairs gave no rows, because `datasets` could not read the result."""
        for split, recipe in self.recipes.items():
            if recipe.layout in PAIRS and not self.info.splits[split].num_examples:
                raise ConsistentChatError(
                    f"There are no pairs in {split}: none of its {len(self.plans()[split])} dialogues has answers "
                    f"that scored too low or lower than others. Raise min_score or num_answers, make more dialogues, "
                    f"or "
                    "use layout='kto'."
                )

    def _info(self) -> datasets.DatasetInfo:
        recipe, *others = self.recipes.values()
        if any(_columns(other) != _columns(recipe) for other in others):
            raise RecipeError(
                "All splits must have the same columns. Give them the same layout, provenance, reasoning, attributes "
                "and criteria, and give all of them or none a judge, several judges, a user_model, seeds, a review "
                "and preferences."
            )
        return datasets.DatasetInfo(
            description="Consistent multi-turn dialogues, made by consistent_chat from a recipe.",
            homepage="https://arxiv.org/abs/2506.03558",
            features=features(recipe),
        )

    def _split_generators(self, dl_manager: Any) -> list[datasets.SplitGenerator]:
        if self.is_inspected(dl_manager):
            return [datasets.SplitGenerator(name=split) for split in self.recipes]
        self.all_stats = {}
        self.execution.import_ahead()
        self._fill_all(dl_manager.is_streaming)
        generators = []
        for split, plan in self.plans().items():
            parts = [(0, len(plan))] if self.recipes[split].drop_near_duplicates else _parts(len(plan))
            generators.append(_split_generator(split, parts))
        return generators

    def plans(self) -> dict[str, Plan]:
        """Return the plan of each split. Warns if combinations repeat. Raises RecipeError without a model."""
        if any(recipe.model is None for recipe in self.recipes.values()):
            raise RecipeError(
                "No model is set. Pass model= (and serving= to call it), or try the config 'demo', or "
                "serving='rehearsal'."
            )
        plans = {split: Plan(recipe) for split, recipe in self.recipes.items()}
        for split in [split for split in plans if split not in self._warned]:
            self._warned.add(split)
            for intent, dialogs in plans[split].exhausted.items():
                logger.warning(
                    "After %d of %d dialogues, the intent %r repeats combinations of topic, flow, persona and manner. "
                    "Add topics or personas to the taxonomy for more combinations.",
                    dialogs,
                    self.recipes[split].num_dialogs_per_intent,
                    intent,
                )
        return plans

    def _generate_examples(self, split: str, parts: list[tuple[int, int]]) -> Iterator[tuple[int, dict[str, Any]]]:
        recipe = self.recipes[split]
        indices = (index for part in parts for index in range(*part))
        with RunStats.recorded(self._counted, split) as stats:
            for dialogue in self._made(split, indices, stats):
                for number, values in enumerate(rows(dialogue, recipe)):
                    yield dialogue.spec.index + number * MOST_PLACES, values
            logger.info("%s: %s", split, stats)

    def replay(self, split: str) -> Iterator[Dialogue]:
        """Yield all dialogues of a split's plan from recorded responses, in order; raises MissingResponse."""
        recipe, plan = self.recipes[split], self.plans()[split]
        return drivers.run(recipe, range(len(plan)), self.recorded(), None, self.execution.limits, RunStats())

    def recorded(self) -> ResponseStore:
        """Open the response store to read recorded responses, including those from before a refresh."""
        return self.execution.recorded()

    def dialogues(self, split: str, indices: Sequence[int], stats: RunStats) -> Iterator[Dialogue]:
        """Yield the dialogues at these positions of a split's plan, in this order, and count them in `stats`."""
        with told_if_stopped(lambda: [stats]):
            self.fill_from_batches({split: indices}, stats)
            yield from self._made(split, indices, stats)

    def fill(
        self, places: Mapping[str, Sequence[int]], all_stats: dict[str, RunStats] | None = None
    ) -> dict[str, RunStats]:
        """Fill the store with the responses for these positions of the splits' plans; return the counts of each split.

        The counts are kept in `all_stats`, which a progress bar may watch.
        """
        all_stats = {split: RunStats() for split in places} if all_stats is None else all_stats
        with told_if_stopped(all_stats.values):
            self.fill_from_batches(places, next(iter(all_stats.values()), RunStats()))
            for split, indices in places.items():
                with dialogues_bar(f"Filling {split}", len(indices)) as bar:
                    for _ in self._made(split, indices, all_stats[split]):
                        bar.update()
        return all_stats

    def fill_from_batches(self, places: Mapping[str, Iterable[int]], stats: RunStats) -> None:
        """Get missing responses by batches. With the online driver, only wait for open batches."""
        parts = [drivers.PlanSlice(self.recipes[split], indices) for split, indices in places.items()]
        with self._budgeted(), BatchBar(next(iter(self.recipes.values())).model) as bar:
            self.execution.fill_from_batches(parts, stats, self.spent, bar.show)

    def _made(self, split: str, indices: Iterable[int], stats: RunStats) -> Iterator[Dialogue]:
        """Yield the dialogues at these positions, after batches have filled the store."""
        recipe = self.recipes[split]
        with self._budgeted(), CallsBar(recipe, stats):
            execution = self.execution.split(self.num_workers(), isinstance(self.spent, SharedUsage))
            for dialogue in execution.run(recipe, indices, stats, self.spent):
                for draw in dialogue.failed:
                    logger.info("%s", draw)
                yield dialogue

    def _fill_all(self, is_streaming: bool) -> None:
        """Fill the store from batches for all splits at once, before other processes start."""
        if is_streaming and self.execution.by_batch:
            raise RecipeError(
                "A stream cannot wait for batches. Build with driver='batch' first, or run `consistent-chat warm`."
            )
        with RunStats.recorded(self._counted, next(iter(self.recipes))) as stats:
            self.fill_from_batches({split: range(len(plan)) for split, plan in self.plans().items()}, stats)

    @contextlib.contextmanager
    def _budgeted(self) -> Iterator[None]:
        """Start a new budget after one is spent, because a caller who reruns the build wants it to continue."""
        try:
            yield
        except BudgetSpent as error:
            self.spent = Usage()
            if self.execution.mode is Mode.REFRESH:
                raise BudgetSpent(
                    f"{error} A refresh starts from the beginning each time. To continue, use mode='record'."
                ) from None
            raise

    @property
    def _store_options(self) -> dict[str, Any]:
        """The options for all stores: a token for the Hub also applies to stores on the Hub."""
        hub = {"token": self.token, **{k: v for k, v in self.storage_options.get("hf", {}).items() if v is not None}}
        return {**self.storage_options, "hf": hub} if self.token else self.storage_options

    def store(self) -> ResponseStore:
        """Open the response store."""
        return self.execution.store()


class _Plain(datasets.Features):
    """Features that do not encode values, which already have the right types: encoding is most of the cost of a row."""

    def encode_example(self, example: dict[str, Any]) -> dict[str, Any]:
        return example

    def __reduce__(self) -> tuple[type[_Plain], tuple[dict[str, Any]]]:
        return _Plain, (dict(self),)


def _split_generator(split: str, parts: list[tuple[int, int]]) -> datasets.SplitGenerator:
    generator = datasets.SplitGenerator(name=split, gen_kwargs={"split": split, "parts": parts})
    generator.split_info.num_examples = parts[-1][1]  # the total of the progress bar
    return generator


def _columns(recipe: Recipe) -> tuple[object, ...]:
    optional = (recipe.judge_model, recipe.user_model, recipe.seeds, recipe.review, recipe.preferences)
    return (
        recipe.layout,
        recipe.provenance,
        recipe.reasoning,
        tuple(recipe.attributes or ()),
        None if recipe.rubric is None else recipe.rubric.names,
        len(recipe.judges) > 1,
        *(value is None for value in optional),
    )


def _parts(length: int) -> list[tuple[int, int]]:
    """Divide a plan into ranges of about the same length, in order. Their number is a power of two."""
    count = 1 << (max(1, min(MOST_PARTS, length // LEAST_IN_A_PART)).bit_length() - 1)
    ranges = [Shard(part, count).within(length) for part in range(1, count + 1)]
    return [(part.start, part.stop) for part in ranges]
