"""A store elsewhere."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from tests.stored import calm, forget


@pytest.fixture
def remote() -> Iterator[str]:
    """A store elsewhere, of which this machine has no copies; what a test tells its filesystem is forgotten."""
    forget()
    yield f"moody://{uuid.uuid4().hex}/responses"
    calm()
