"""How recipes are executed: the serving, the response store and the limits. These do not shape the data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from consistent_chat import drivers
from consistent_chat.builder.fingerprint import fingerprint
from consistent_chat.dialogue.check_identity import key_identity
from consistent_chat.dialogue.work import Dialogue
from consistent_chat.drivers import BatchOptions, BatchProgress, Limits, PendingRequests, PlanSlice, RunStats, Usage
from consistent_chat.errors import RecipeError
from consistent_chat.recipe import Recipe
from consistent_chat.recipe.fields import whole
from consistent_chat.serving import Serving, registry, roles
from consistent_chat.serving.settings import UNKNOWN, Abilities
from consistent_chat.store import BatchLog, Mode, ResponseStore
from consistent_chat.store.used import UsedResponses

MOST_WAVES = 1_000


@dataclass(frozen=True)
class ExecutionOptions:
    """The operational fields, checked. It can be pickled if the serving can, and its repr shows no secret."""

    serving: Any
    base_url: Any
    api_key: Any = field(repr=False)
    places: tuple[str, ...]
    storage_options: Mapping[str, Any] = field(repr=False)
    mode: Mode
    limits: Limits
    driver: str = "online"
    detach: bool = False
    max_waves: int = 8
    adjacent: tuple[str, ...] = ()
    abilities: Abilities | Mapping[str, Abilities] = UNKNOWN

    def check_serving(self, recipes: Iterable[Recipe]) -> None:
        """Raise RecipeError for an unknown serving, or servings by role that do not fit the recipes."""
        self._check_waves(recipes)
        if not isinstance(self.serving, Mapping):
            return registry.check(self.serving)
        return roles.check(self.serving, self.base_url, _needed(recipes))

    def _check_waves(self, recipes: Iterable[Recipe]) -> None:
        whole(1, MOST_WAVES)("max_waves", self.max_waves)
        waves = max((recipe.most_waves for recipe in recipes), default=0)
        if self.by_batch and waves > self.max_waves:
            raise RecipeError(
                f"A dialogue of this recipe needs {waves} consecutive batches, and each may take a day. Pass "
                f"max_waves={waves} to allow it, or use driver='online'."
            )

    @property
    def by_batch(self) -> bool:
        """Whether missing responses are requested in batches."""
        return self.driver == "batch"

    @property
    def may_call(self) -> bool:
        """Whether calls may be made."""
        return self.serving is not None and self.mode is not Mode.REPLAY

    def split(self, parts: int, shares_budget: bool = False) -> ExecutionOptions:
        """Return the options for one of several processes, so that all together keep the limits.

        If they share a budget, the limits on spending stay undivided. Limits only apply to calls, and no calls are made
        after batches.
        """
        if not self.may_call or self.by_batch:
            return self
        return replace(self, limits=self.limits.split_rate(parts) if shares_budget else self.limits.split(parts))

    def import_ahead(self) -> None:
        """Import what calls need in a thread, while the plan and the store are opened."""
        if self.may_call and not self.by_batch:
            (roles if isinstance(self.serving, Mapping) else registry).import_ahead(self.serving)

    def store(self) -> ResponseStore:
        """Open the response store."""
        return ResponseStore(
            self.places, self.storage_options, refresh=self.mode is Mode.REFRESH, adjacent=self.adjacent
        )

    def recorded(self) -> ResponseStore:
        """Open the response store to read recorded responses, including those from before a refresh."""
        return ResponseStore(self.places, self.storage_options, adjacent=self.adjacent)

    def run(self, recipe: Recipe, indices: Iterable[int], stats: RunStats, spent: Usage) -> Iterator[Dialogue]:
        """Yield the dialogues at these positions of a plan, in this order; with batches, only recorded ones."""
        store = self.recorded() if self.by_batch else self.store()
        opener = None if self.by_batch else self.opener(recipe)
        notes = UsedResponses(key_identity(fingerprint(recipe)))
        return drivers.run(recipe, indices, store, opener, self.limits, stats, spent, notes=notes)

    def fill_from_batches(
        self, parts: Sequence[PlanSlice], stats: RunStats, spent: Usage, watch: Callable[[BatchProgress], None]
    ) -> None:
        """Get the missing responses of parts of plans by batches.

        With the online driver, only wait for open batches.
        """
        recipes = [part.recipe for part in parts]
        if not (recipes and self.may_call) or (self.mode is Mode.REFRESH and not self.by_batch):
            return
        log = BatchLog(self.places[0], self.storage_options)
        if not self.by_batch and log.is_idle:
            return
        for recipe in recipes:
            recipe.check_sources()
        options = BatchOptions(
            serving=self._names(recipes),
            submits=self.by_batch,
            waits=not self.detach,
            watch=watch,
        )
        missing = PendingRequests(parts, self.limits.max_draws)
        drivers.fill(missing, self.store(), log, self._openers(recipes), self.limits, stats, spent, options)

    def _names(self, recipes: Iterable[Recipe]) -> str | dict[str, str]:
        """Return the name of the serving, or those of the servings that recipes need, by role."""
        if not isinstance(self.serving, Mapping):
            return roles.name_of(self.serving)
        return {role: roles.name_of(self.serving[role]) for role in _needed(recipes)}

    def _openers(self, recipes: Sequence[Recipe]) -> Callable[[], Serving] | dict[str, Callable[[], Serving]]:
        """Return a function that opens the serving, or functions for the servings that recipes need, by role."""
        if not isinstance(self.serving, Mapping):
            return self._opener(recipes[0])
        return {role: partial(self._open_role, role, recipes[0]) for role in _needed(recipes)}

    def _open_role(self, role: str, recipe: Recipe) -> Serving:
        own = {
            "max_concurrency": self.limits.roles[role].max_concurrency,
            "abilities": roles.of_role(self.abilities, role, UNKNOWN),
        }
        settings = {"model": recipe.model or "", "timeout": self.limits.timeout, **own}
        return roles.open_role(role, self.serving, self.base_url, self.api_key, **settings)

    def opener(self, recipe: Recipe) -> Callable[[], Serving] | None:
        """Return a function that opens the serving, or None if no calls may be made."""
        return self._opener(recipe) if self.may_call else None

    def _opener(self, recipe: Recipe) -> Callable[[], Serving]:
        by_role = {role: limits.max_concurrency for role, limits in self.limits.roles.items()}
        opening: Callable[..., Serving] = roles.open_servings if by_role else registry.open_serving

        def opened() -> Serving:
            recipe.check_sources()  # before the first call costs money
            return opening(
                self.serving,
                model=recipe.model or "",
                base_url=self.base_url,
                api_key=self.api_key,
                timeout=self.limits.timeout,
                max_concurrency=by_role or self.limits.max_concurrency,
                abilities=self.abilities,
            )

        return opened


def _needed(recipes: Iterable[Recipe]) -> list[str]:
    """Return the roles for which recipes need a serving."""
    return sorted({role for recipe in recipes for role in recipe.roles})
