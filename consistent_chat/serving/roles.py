"""Servings by role: the user's side, the assistant, the judge and the other model of pairs may have their own servers.

    serving={"user": "anthropic", "assistant": "openai@http://127.0.0.1:8000/v1", "judge": "anthropic"}

A server receives only the requests and the key of its role. For a role with its own address, the key is the one given
for this role, never a provider's key from the environment.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from consistent_chat.errors import RecipeError
from consistent_chat.recipe import suggestion
from consistent_chat.request import Request, Response
from consistent_chat.serving import Serving, registry
from consistent_chat.serving.settings import Abilities, checked_url

ROLES = ("user", "assistant", "judge", "alternative")
WITH_SERVING = ("base_url", "api_key")
"""Fields that must be given by role if serving is; other fields can also have one value for all roles."""
STAGES = {
    **dict.fromkeys(("skeleton", "user_message"), "user"),
    **dict.fromkeys(("answers", "answer"), "assistant"),
    **{role: role for role in ("judge", "alternative")},
}
"""The role that writes the responses of a stage; the assistant writes those of other stages."""
NO_KEY = "none"
"""Sent to a role's own address if there is no key; most local servers ignore the key."""


T = TypeVar("T")


class ServingByRole:
    """Sends each request to the serving of its role."""

    def __init__(self, servings: Mapping[str, Serving]) -> None:
        self._servings = dict(servings)

    async def answer(self, request: Request) -> Response:
        """Return the response of the role's model. Raises TransportError or ServingError."""
        return await self._servings[role_of(request.stage)].answer(request)

    async def close(self) -> None:
        """Close all servings."""
        for serving in {id(one): one for one in self._servings.values()}.values():
            close = getattr(serving, "close", None)
            if close is not None:
                await close()


def role_of(stage: str) -> str:
    """Return the role that writes the responses of a stage."""
    return STAGES.get(stage, "assistant")


def of_role(value: T | Mapping[str, T], role: str, default: T) -> T:
    """Return the value of a role, if values are given by role; otherwise the common value."""
    return value.get(role, default) if isinstance(value, Mapping) else value


def check_value(name: str, given: Any, serving: Any) -> None:
    """Raise RecipeError if a value that is given by role names a role that has no serving."""
    if not isinstance(given, Mapping):
        if name in WITH_SERVING and given is not None and isinstance(serving, Mapping):
            raise RecipeError(f"{name} must be given by role, as serving is. Pass {name}={{'assistant': ...}}.")
        return
    if not isinstance(serving, Mapping):
        raise RecipeError(f"{name} is given by role, but serving is not. Pass serving={{'assistant': ...}} as well.")
    for role in given:
        if role not in ROLES:
            raise RecipeError(f"{name}: there is no role {role!r}.{suggestion(role, ROLES)}")
        if role not in serving:
            raise RecipeError(f"{name} names the role {role!r}, which has no serving. Add it to serving=.")


def check(serving: Mapping[str, Any], base_url: Any, needed: Iterable[str]) -> None:
    """Raise RecipeError unless each needed role has a known serving."""
    for role in needed:
        if role not in serving:
            raise RecipeError(
                f"serving lacks the role {role!r}, which this recipe needs. Pass serving={{{role!r}: ...}}."
            )
    for role, one in serving.items():
        registry.check(_address(role, one, base_url)[0])


def open_servings(
    serving: Mapping[str, Any],
    base_url: Mapping[str, str] | None,
    api_key: Mapping[str, str] | None,
    max_concurrency: Mapping[str, int],
    abilities: Mapping[str, Abilities],
    **settings: Any,
) -> ServingByRole:
    """Open the servings of all roles. Raises RecipeError and ServingError as `registry.open_serving` does."""
    opened: dict[str, Serving] = {}
    for role in serving:
        own = {"max_concurrency": max_concurrency[role], "abilities": abilities[role]}
        opened[role] = open_role(role, serving, base_url, api_key, **own, **settings)
    return ServingByRole(opened)


def open_role(
    role: str,
    serving: Mapping[str, Any],
    base_url: Mapping[str, str] | None,
    api_key: Mapping[str, str] | None,
    **settings: Any,
) -> Serving:
    """Open the serving of one role."""
    name, url = _address(role, serving[role], base_url)
    key = (api_key or {}).get(role) or os.environ.get(f"CONSISTENT_CHAT_{role.upper()}_KEY")
    if url is not None and not key:
        key = NO_KEY
    return registry.open_serving(name, base_url=url, api_key=key, **settings)


def name_of(serving: Any) -> str:
    """Return the name of a serving without its address; for an object, the name of its class."""
    return serving.partition("@")[0] if isinstance(serving, str) else type(serving).__name__


def import_ahead(serving: Mapping[str, Any]) -> None:
    """Import what the servings need, in a thread."""
    for role, one in serving.items():
        registry.import_ahead(_address(role, one, None)[0])


def _address(role: str, serving: Any, base_url: Mapping[str, str] | None) -> tuple[Any, str | None]:
    """Return a role's serving and its address, which is part of the name ("openai@http://...") or is in base_url."""
    url = (base_url or {}).get(role)
    if not isinstance(serving, str) or "@" not in serving:
        return serving, checked_url(url)
    name, _, own = serving.partition("@")
    if url is not None:
        raise RecipeError(
            f"The serving of the role {role!r} has two addresses. Give the address either after @ or as base_url=."
        )
    return name, checked_url(own)
