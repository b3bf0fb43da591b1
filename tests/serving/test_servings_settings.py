"""Test settings that cannot be applied: temperatures beyond the scale, and addresses with a password."""

from __future__ import annotations

import pytest

from consistent_chat.errors import RecipeError, ServingError
from consistent_chat.serving.settings import checked_url
from tests.provider import Provider, Reply
from tests.servings import NEW, OLD, asked, opened, request


class TestHighTemperatures:
    """Tests of temperatures above 1, where Anthropic's scale ends."""

    def test_a_temperature_above_it_is_an_error_before_any_call(self) -> None:
        """A temperature above the scale is an error before any call; it is never omitted."""
        with Provider() as provider:
            (error,) = asked(opened("anthropic", provider), request(OLD, temperature=1.5))
        assert type(error) is ServingError
        assert str(error) == (
            "The temperature of 1.5 is too high for the model 'claude-sonnet-4-6': Anthropic's Messages API takes 0 to "
            "1. Set temperature= to 1 or less, or choose another serving=."
        )
        assert provider.requests == []

    def test_a_model_without_temperatures_has_none_that_is_too_high(self) -> None:
        """A model that takes no temperature is called without one, and a warning says so."""
        with Provider() as provider, pytest.warns(UserWarning, match="without the recipe's temperature of 1.5"):
            (response,) = asked(opened("anthropic", provider), request(NEW, temperature=1.5))
        assert response.finish == "stop"

    @pytest.mark.parametrize("words", ["temperature: range: 0..0.5", "temperature: Input should be less than 0.5"])
    def test_a_server_with_a_shorter_scale_is_quoted(self, words: str) -> None:
        """An error about the range of temperatures is passed on.

        The server does take temperatures, so none is omitted.
        """
        with Provider(lambda call: Reply.error(400, words)) as provider:
            (error,) = asked(opened("anthropic", provider), request())
        assert words in str(error)
        assert len(provider.requests) == 1


@pytest.mark.parametrize("url", ["http://h/accounts/@cf/v1", "https://h:8000/@a/v1"])
def test_an_address_may_have_an_at_sign_in_its_path(url: str) -> None:
    """An at sign in the path of an address is accepted; only before the host does it end a user name."""
    assert checked_url(url) == url


@pytest.mark.parametrize("url", ["me:hunter2@h", "http://me:hunt/er2@h/v1", "http://me@h/@cf/v1", "//me:hunter2@h"])
def test_a_password_in_an_address_is_never_shown(url: str) -> None:
    """A password in an address is never shown, even if the address is invalid."""
    with pytest.raises(RecipeError, match="must not have a user name or password") as seen:
        checked_url(url)
    assert "hunt" not in str(seen.value)
