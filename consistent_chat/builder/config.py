"""The options of `load_dataset("consistent_chat", ...)`, and their checks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from importlib import resources
from typing import Any

import datasets

from consistent_chat.drivers import Limits
from consistent_chat.drivers.limits import PER_SERVER
from consistent_chat.errors import RecipeError
from consistent_chat.plan import splits
from consistent_chat.recipe import FIELDS, Recipe, paths, seeds, suggestion
from consistent_chat.recipe.description import BY_ROLE, STRUCTURED_OUTPUT
from consistent_chat.recipe.fields import boolean, one_of, optional, whole
from consistent_chat.recipe.seeds import personas
from consistent_chat.serving import roles
from consistent_chat.serving.settings import Abilities
from consistent_chat.store import Mode, StoreLocation, adjacent_store, default_location, options_beside

MOST_TOKENS = 2**31 - 1
"""The largest token limit that a user can state."""
DRIVERS = ("online", "batch")
DEMO = resources.files("consistent_chat") / "demo"
DEMOS = {
    "demo": {"train": "demo/demo"},
    "demo_languages": {name: f"demo_languages/{name}" for name in ("code", "german", "japanese", "spanish")},
}
"""The configs with recorded responses: for each split, its recipe file in the package."""


@dataclass
class ConsistentChatConfig(datasets.BuilderConfig):
    """The options of `load_dataset("consistent_chat", ...)`.

    Fields that shape the data (None means the value in the recipe file, or else the default of `Recipe`): `model`,
    `num_dialogs_per_intent` (20), `num_turns_per_dialog` (6), `temperature` (0.9), `seed` (0), `intents` (all nine),
    `language` ("English"), `taxonomy`, `layout` ("conversation"), `provenance` (True), `personas`, `manners`,
    `system_prompt`, `splits`, `drop_near_duplicates` (False), `checks` (all), `answer_length`, `message_length`,
    `outcome`, `mood`, `ending` (mixed), `sensitive_share` (0.03), `judge_model` (none), `min_score` (None), `judge`
    (none), `num_answers` (1), `reasoning` (False), `seeds` (none), `user_model` (`model`), `users` ("at_once"),
    `answers` ("at_once"), `rules` (none), `review` (none), `instructions` (none), `attributes` (none), `decontaminate`
    (none), `preferences` (none).

    Operational fields, which are not part of the dataset's identity: serving: "anthropic", "openai", "huggingface",
    "rehearsal", a plugin's name, or an object with a coroutine method `answer`; or these by role: {"user": ...,
    "assistant": ..., "judge": ...}. None makes no calls. base_url: the server's address (default: the provider's).
    api_key: the key (default: the provider's environment variable). responses: URL or path of the response store, or
    several: all are read, the first is written. mode: "record" (look up, else call and store), "replay" (look up only)
    or "refresh" (call and supersede). max_concurrency: calls in flight. max_draws: maximum draws of a request before
    its spec is given up. timeout: seconds per call. max_cost: US dollars, max_calls: answered calls; a build stops when
    it reaches one of them, and a rerun continues. max_requests_per_minute, max_tokens_per_minute: the account's limits;
    tokens are those of prompts and answers together. max_output_tokens, context_tokens, structured_output, system_role,
    streaming: what the server supports, if you want to state it instead of having it detected. With servings by role,
    max_concurrency, the limits per minute and what the servers support may be given by role as well: {"assistant":
    ...}. A single limit applies to all servers together. wait_for_server: seconds to wait for a server that cannot be
    reached yet. driver: "online" (calls one by one) or "batch" (the provider's batch API: half the price, within a
    day). max_waves: maximum number of consecutive batches that a dialogue may need with driver="batch". detach: with
    driver="batch", submit missing requests and raise BatchesPending instead of waiting.
    """

    model: str | None = None
    num_dialogs_per_intent: int | None = None
    num_turns_per_dialog: Any = None
    temperature: float | None = None
    seed: int | None = None
    intents: Any = None
    language: Any = None
    taxonomy: Any = None
    layout: str | None = None
    provenance: bool | None = None
    personas: Any = None
    manners: Any = None
    system_prompt: str | None = None
    splits: Any = None
    drop_near_duplicates: Any = None
    checks: Any = None
    answer_length: Any = None
    message_length: Any = None
    outcome: Any = None
    mood: Any = None
    ending: Any = None
    sensitive_share: float | None = None
    judge_model: str | None = None
    min_score: float | None = None
    judge: Any = None
    num_answers: int | None = None
    reasoning: bool | None = None
    seeds: Any = None
    user_model: str | None = None
    users: str | None = None
    answers: str | None = None
    rules: Any = None
    review: Any = None
    instructions: Any = None
    attributes: Any = None
    decontaminate: Any = None
    preferences: Any = None

    serving: Any = None
    base_url: Any = None
    api_key: Any = field(default=None, repr=False)
    responses: Any = None
    mode: str = Mode.RECORD.value
    max_concurrency: Any = Limits.max_concurrency
    max_draws: int = Limits.max_draws
    timeout: float = Limits.timeout
    max_cost: float | None = None
    max_calls: int | None = None
    max_requests_per_minute: Any = None
    max_tokens_per_minute: Any = None
    max_output_tokens: Any = None
    context_tokens: Any = None
    structured_output: Any = None
    system_role: Any = None
    streaming: Any = None
    wait_for_server: float = Limits.wait_for_server
    driver: str = DRIVERS[0]
    max_waves: int = 8
    detach: bool = False

    def create_config_id(self, config_kwargs: dict[str, Any], custom_features: Any = None) -> str:
        """Return a provisional name of the cache directory; the builder, which can read the recipe files, sets it."""
        return f"{self.name}-unidentified"

    def recipes(self, reading: Callable[[str], Mapping[str, Any]]) -> dict[str, Recipe]:
        """Return the recipe of each split. `reading` returns the options with which to open a file.

        Raises RecipeError.
        """
        given = {name: getattr(self, name) for name in FIELDS if getattr(self, name) is not None}
        urls = self.recipe_files()
        if self._is_rehearsed("assistant"):  # so that rehearsed text is not mistaken for a model's
            given["model"] = "rehearsal"
        if isinstance(self.seeds, Mapping) and isinstance(self.seeds.get("data"), str):
            given["seeds"] = seeds.prepare(self.seeds, reading(self.seeds["data"]))
        if isinstance(self.personas, Mapping) and isinstance(self.personas.get("data"), str):
            given["personas"] = personas.load(self.personas, reading(self.personas["data"]))
        if not urls:
            return self._rehearsed(splits.recipes(Recipe.from_mapping(given)))
        recipes = {split: Recipe.from_file(url, reading(url), **given) for split, url in urls.items()}
        return self._rehearsed(_divided(recipes))

    def _rehearsed(self, recipes: dict[str, Recipe]) -> dict[str, Recipe]:
        """Set the judges, the user model and the rejected model, if rehearsed, to the rehearsal's model."""
        rehearsed = [self._is_rehearsed(role) for role in ("judge", "user", "alternative")]
        return {split: _rehearsed(recipe, *rehearsed) for split, recipe in recipes.items()}

    def _is_rehearsed(self, role: str) -> bool:
        serving = self.serving.get(role) if isinstance(self.serving, Mapping) else self.serving
        return isinstance(serving, str) and serving == "rehearsal"

    @property
    def is_demo(self) -> bool:
        """Whether the recipe and the responses are part of the package."""
        return self.name in DEMOS and not self.data_files

    def recipe_files(self) -> dict[str, str]:
        """Return the path or URL of each split's recipe file; empty if there are only keywords. Raises RecipeError."""
        if self.is_demo:
            package = resources.files("consistent_chat")
            return {split: f"{package / path}.consistent_chat.yaml" for split, path in DEMOS[self.name].items()}
        return {str(split): _only(split, list(named)) for split, named in (self.data_files or {}).items()}

    def limits(self) -> Limits:
        """Return the run's limits. Raises RecipeError for values out of range."""
        self._check_roles()
        given = {limit.name: getattr(self, limit.name) for limit in fields(Limits) if limit.name != "roles"}
        servers = {
            role: Limits(**{name: self._rate_limiter(name, role) for name in PER_SERVER}) for role in self._roles
        }
        for name in PER_SERVER:
            if isinstance(given[name], Mapping):
                given[name] = None
        if given["max_concurrency"] is None:
            given["max_concurrency"] = sum(own.max_concurrency for own in servers.values())
        return Limits(**given, roles=servers)

    @property
    def _roles(self) -> tuple[str, ...]:
        """The roles with separate servings, if any."""
        return tuple(self.serving) if isinstance(self.serving, Mapping) else ()

    def _check_roles(self) -> None:
        """Raise RecipeError for values by role that do not fit the servings."""
        for name in BY_ROLE:
            roles.check_value(name, getattr(self, name), self.serving)

    def _rate_limiter(self, name: str, role: str) -> Any:
        """Return a limit for the server of one role; a single number for all servers is a limit of the run."""
        value, default = getattr(self, name), getattr(Limits, name)
        if not isinstance(value, Mapping) and name != "max_concurrency":
            return default
        return roles.of_role(value, role, default)

    def abilities(self) -> Abilities | dict[str, Abilities]:
        """Return the stated abilities of the server, or of each role's server.

        Raises RecipeError for invalid values.
        """
        self._check_roles()
        return {role: self._abilities(role) for role in self._roles} or self._abilities("")

    def _abilities(self, role: str) -> Abilities:
        stated = {one.name: roles.of_role(getattr(self, one.name), role, None) for one in fields(Abilities)}
        for name in ("max_output_tokens", "context_tokens"):
            optional(whole(1, MOST_TOKENS))(name, stated[name])
        for name in ("system_role", "streaming"):
            optional(boolean)(name, stated[name])
        optional(one_of(*STRUCTURED_OUTPUT))("structured_output", stated["structured_output"])
        return Abilities(**stated)

    def checked_mode(self) -> Mode:
        """Return the mode. Raises RecipeError for an unknown name."""
        modes = tuple(mode.value for mode in Mode)
        if self.mode not in modes:
            raise RecipeError(f"there is no mode {self.mode!r}.{suggestion(self.mode, modes)}")
        if self.mode == Mode.REFRESH and self.serving is None:
            raise RecipeError("mode='refresh' calls the model again. Pass serving= as well.")
        return Mode(self.mode)

    def checked_driver(self) -> str:
        """Return the driver's name. Raises RecipeError for an unknown name."""
        if self.driver not in DRIVERS:
            raise RecipeError(f"there is no driver {self.driver!r}.{suggestion(self.driver, DRIVERS)}")
        if self.detach and self.driver != "batch":
            raise RecipeError("detach needs the batch driver. Pass driver='batch' as well.")
        return self.driver

    def places(self) -> list[str]:
        """Return the URLs of the response stores that the caller names. Only the first is written."""
        named = paths("responses", default_location() if self.responses is None else self.responses)
        return list(dict.fromkeys(named))

    def adjacent_places(self, storage_options: Mapping[str, Any]) -> list[str]:
        """Return the URLs of stores next to recipe files that the caller does not name.

        Raises RecipeError, StoreError.
        """
        named = self.places()
        own = [StoreLocation(url, storage_options) for url in named]
        found = []
        for recipe in dict.fromkeys(self.recipe_files().values()):
            options = options_beside(recipe, storage_options, named)
            url = adjacent_store(recipe, options)
            if url is not None and not any(StoreLocation(url, options).is_same(one) for one in own):
                found.append(url)
        return list(dict.fromkeys(found))


def _rehearsed(recipe: Recipe, judge: bool, user: bool, other: bool) -> Recipe:
    if judge and recipe.judge_model is not None:
        several = [f"rehearsal-{number}" for number in range(1, len(recipe.judges) + 1)]
        names = {"model": several} if len(several) > 1 else {}
        recipe = replace(recipe, judge_model=None, judge={**(recipe.judge or {}), "model": "rehearsal", **names})
    pairs = recipe.preferences
    if other and pairs is not None and (pairs["rejected_model"] or recipe.model) != "rehearsal":
        recipe = replace(recipe, preferences={**pairs, "rejected_model": "rehearsal"})
    if user and recipe.user_writer != "rehearsal":
        recipe = replace(recipe, user_model="rehearsal")
    return recipe


def _divided(recipes: dict[str, Recipe]) -> dict[str, Recipe]:
    """Return the recipe of each split. A single recipe may define splits itself."""
    named = [recipe for recipe in recipes.values() if recipe.splits is not None]
    if not named:
        return recipes
    if len(recipes) > 1:
        raise RecipeError(
            f"There are {len(recipes)} recipe files, one for each of the splits {', '.join(recipes)}, but splits= is "
            f"set as well. Use one recipe file with splits, or several without."
        )
    return splits.recipes(named[0])


def _only(split: Any, paths: Mapping[int, str] | list[str]) -> str:
    if not paths:
        raise RecipeError(f"The recipe of the split '{split}' was not found, or cannot be read. Check the path or URL.")
    if len(paths) > 1:
        raise RecipeError(
            f"The split '{split}' names {len(paths)} files ({', '.join(map(str, paths))}), but a split has one "
            f"recipe. Name the splits: data_files={{'train': ..., 'test': ...}}."
        )
    return str(paths[0])
