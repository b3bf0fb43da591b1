"""Checks the settings of an HTTP serving: key, address and model, as the user gives them."""

from __future__ import annotations

import ipaddress
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from consistent_chat.errors import RecipeError, ServingError
from consistent_chat.recipe.fields import is_model_name
from consistent_chat.text.sanitize import sanitize


@dataclass(frozen=True)
class Abilities:
    """The stated abilities of a server; None means that the ability is detected.

    `max_output_tokens` is the longest answer, `context_tokens` bounds prompt and answer together, `structured_output`
    is "json_schema", "json_object" or "none", `system_role` tells whether the server accepts a system message,
    `streaming` whether answers are read as a stream.
    """

    max_output_tokens: int | None = None
    context_tokens: int | None = None
    structured_output: str | None = None
    system_role: bool | None = None
    streaming: bool | None = None


UNKNOWN = Abilities()
"""No abilities are stated."""


def find_key(name: str, api_key: str | None, variables: Sequence[str]) -> tuple[str, str] | None:
    """Return the key and its origin ("api_key" or an environment variable), or None if there is none."""
    given = [("api_key", api_key), *((variable, os.environ.get(variable)) for variable in variables)]
    for origin, key in given:
        if not key:
            continue
        if not isinstance(key, str) or not key.strip().isascii() or not key.strip().isprintable() or " " in key.strip():
            raise ServingError(
                f"The key for {name} in {origin} has characters that no key has, such as a space or line break. "
                "Copy the key again."
            )
        return key.strip(), origin
    return None


def require_key(name: str, api_key: str | None, variables: Sequence[str]) -> tuple[str, str]:
    """Return the key and its origin; raise a ServingError that names the variable to set."""
    found = find_key(name, api_key, variables)
    if found is None:
        raise ServingError(f"There is no key for {name}. Set the environment variable {variables[0]} or pass api_key=.")
    return found


def checked_url(base_url: str | None) -> str | None:
    """Return a server's address as given. Raises RecipeError, which shows no secret, if it is not an address."""
    if base_url is None:
        return None
    try:
        parts = urlsplit(base_url)
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and base_url.isprintable()
    except (ValueError, TypeError, AttributeError):
        good = False
    if isinstance(base_url, str) and "@" in (parts.netloc if good else base_url):  # a path may contain it
        raise RecipeError("base_url must not have a user name or password in it. Pass the key as api_key=.")
    if isinstance(base_url, str) and ("?" in base_url or "#" in base_url):
        raise RecipeError("base_url must not have a query (?...) or a fragment (#...). Pass the key as api_key=.")
    if not good:
        raise RecipeError(f"base_url must be an address such as 'http://localhost:8000/v1', not {base_url!r:.200}.")
    return base_url


def checked_model(model: str) -> str:
    """Return a model's name as given. Raises RecipeError for an address or invalid characters.

    Some clients treat a model name that is a URL as the server to call, and would send the key there.
    """
    if is_model_name(model):
        return model
    raise RecipeError(
        f"The model {sanitize(model)!r:.200} is not a name: it has white space, a control character or '://'. "
        "Pass the model's name as model=, and a server's address as base_url=."
    )


def warn_of_plain_http(base_url: str | None, has_key: bool) -> None:
    """Warn if a key would go to another machine without encryption."""
    parts = urlsplit(base_url or "")
    host = parts.hostname or ""
    if has_key and parts.scheme == "http" and not _is_this_machine(host):
        warnings.warn(
            f"The key is sent to {host} over plain http, where others on the network can read it. Use https in "
            f"base_url.",
            UserWarning,
            stacklevel=2,
        )


def _is_this_machine(host: str) -> bool:
    """Return whether a host is the loopback. Only addresses count: a name such as 127.example.org can be any host."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
