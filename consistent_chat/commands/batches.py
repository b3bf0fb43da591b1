"""Lists a store's batches with their state at the provider, for `consistent-chat batches`."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from typing import Any

from consistent_chat.drivers.batch_client import BatchClient
from consistent_chat.errors import ConsistentChatError, RecipeError
from consistent_chat.serving import Serving, registry, roles
from consistent_chat.serving.batches import BatchStatus
from consistent_chat.store import Batch, BatchLog
from consistent_chat.text.sanitize import without_secrets


def list_batches(
    url: str,
    storage_options: Mapping[str, Any] | None,
    closed: bool = False,
    base_url: str | Mapping[str, str] | None = None,
    api_key: str | Mapping[str, str] | None = None,
) -> list[str]:
    """Return a line for each batch of a store; collected batches are included only if `closed`.

    Addresses and keys may be given by role, for batches that were submitted to servings by role. If a provider cannot
    be reached, for example without a key, the line says so.
    """
    clients: dict[str, BatchClient] = {}
    try:
        return [
            f"{batch.number}  {batch.id or 'not confirmed'}  {_place(batch)}  {batch.model}  "
            f"{batch.requests:,} requests  {batch.when}  {_provider_state(batch, clients, base_url, api_key)}"
            for batch in BatchLog(url, storage_options).read()
            if batch.is_open or closed
        ]
    finally:
        for client in clients.values():
            client.close()


def forget_batch(url: str, storage_options: Mapping[str, Any] | None, number: int) -> Batch:
    """Give up a batch: the next build sends its requests again. Raises RecipeError if the batch is not open."""
    log = BatchLog(url, storage_options)
    batch = next((batch for batch in log.read() if batch.number == number and batch.is_open), None)
    if batch is None:
        raise RecipeError(f"There is no open batch {number} in {without_secrets(url)}.")
    log.close(batch, "given up")
    return batch


def _place(batch: Batch) -> str:
    return f"{batch.role}={batch.serving}" if batch.role else batch.serving


def _provider_state(batch: Batch, clients: dict[str, BatchClient], base_url: Any, api_key: Any) -> str:
    if batch.outcome is not None:
        return batch.outcome
    if batch.id is None:
        return "the next build checks whether it was submitted"
    try:
        place = _place(batch)
        if place not in clients:
            address = {"base_url": base_url, "api_key": api_key}
            clients[place] = BatchClient(partial(_open, batch, **address))
        return _described(clients[place].state(batch.id))
    except ConsistentChatError as error:
        return f"its state is unknown: {error}"


def _open(batch: Batch, base_url: Any, api_key: Any) -> Serving:
    own = {name: value for name, value in (("base_url", base_url), ("api_key", api_key)) if isinstance(value, Mapping)}
    if batch.role and (own or not (base_url or api_key)):
        return roles.open_role(
            batch.role, {batch.role: batch.serving}, own.get("base_url"), own.get("api_key"), model=batch.model
        )
    address = {"base_url": None, "api_key": None} if own else {"base_url": base_url, "api_key": api_key}
    return registry.open_serving(batch.serving, model=batch.model, **address)


def _described(state: BatchStatus) -> str:
    said = f"{state.status}, {state.done:,} of {state.requests:,} processed"
    if state.ended:
        return f"{said}; the next build collects it"
    if state.expires is None:
        return said
    return f"{said}, expires {time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime(state.expires))}"
