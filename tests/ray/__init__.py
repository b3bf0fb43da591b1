"""Constants and types that the tests of Ray share. Their fixtures are in conftest.py."""

from __future__ import annotations

from typing import Any

WAIT = 300
"""Seconds after which a wait fails: on a small machine under load, a process and its Ray take a minute."""
Store = dict[str, Any]
"""The options that name a response store."""
