"""Tests of the display of URLs: everything that could be a key is left out, also where an error quotes it."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consistent_chat.text.sanitize import is_secret, redact, secret_values, without_secrets, without_user

WORDS = st.text(string.ascii_letters + string.digits, min_size=8, max_size=20)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://me:pass@host/data", "https://host/data"),
        ("https://me:pa/ss@host/data", "https://host/data"),
        ("s3://bucket/a@b/c", "s3://bucket/a@b/c"),
        ("https://host:8080/a@b", "https://host:8080/a@b"),
        ("https://host/rows.jsonl?sig=x%2Fy#top", "https://host/rows.jsonl#top"),
        ("cannot open https://me@host/x?key=1, or https://u:p@h/y", "cannot open https://host/x or https://h/y"),
        ("folder/what?.jsonl", "folder/what?.jsonl"),
        ("me@host", "me@host"),
    ],
)
def test_user_password_and_query_are_left_out(url: str, shown: str) -> None:
    """User, password and query are left out of a URL.

    A port, a branch after an @ and a path with a question mark are kept.
    """
    assert without_secrets(url) == shown


def test_a_query_may_be_part_of_a_files_name() -> None:
    """`without_user` keeps the query, which may be part of a file's name."""
    assert without_user("memory://u:p@host/a?b") == "memory://host/a?b"


@pytest.mark.parametrize("name", ["password", "aws_secret_access_key", "TOKEN", "sas_token", "api-key", "credential"])
def test_names_of_secrets_are_known(name: str) -> None:
    """Names of secrets are recognized in any letter case and as part of a longer name."""
    assert is_secret(name)
    assert not is_secret("endpoint_url")


@given(user=WORDS, password=WORDS, query=WORDS, option=WORDS)
def test_no_error_quotes_a_secret(user: str, password: str, query: str, option: str) -> None:
    """An error text shows no secret, neither in a URL nor alone, nor one from nested options."""
    options = {"client": {"secret": option, "region": "north"}, "key": option, "port": 5}
    url = f"ftp://{user}:{password}@host/data?sig={query}"
    error = f"{url} failed: {user} {password} {query} {option} in north"
    said = redact(error, url, options)
    assert not [secret for secret in (user, password, query, option) if secret in said.replace("[secret]", "")]
    assert "north" in said
    assert secret_values(options) == [option, option]
