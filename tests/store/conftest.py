"""Fixtures for the tests of the response store."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from tests.stored import calm, forget


@pytest.fixture
def remote() -> Iterator[str]:
    """Yield the URL of a remote store of which this machine has no copies, and reset the test filesystem afterwards."""
    forget()
    yield f"moody://{uuid.uuid4().hex}/responses"
    calm()
