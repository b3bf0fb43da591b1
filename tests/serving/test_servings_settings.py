"""Settings that cannot be followed: temperatures off the scale, addresses with a password."""

from __future__ import annotations

import pytest

from consistent_chat.errors import RecipeError, ServingError
from consistent_chat.serving.settings import checked_url
from tests.provider import Provider, Reply
from tests.servings import NEW, OLD, asked, opened, request


class TestHighTemperatures:
    """Anthropic's scale ends at 1."""

    def test_a_temperature_above_it_is_an_error_before_any_call(self) -> None:
        """It is never left out for that."""
        with Provider() as provider:
            (error,) = asked(opened("anthropic", provider), request(OLD, temperature=1.5))
        assert type(error) is ServingError
        assert str(error) == (
            "The temperature of 1.5 is too high for the model 'claude-sonnet-4-6': Anthropic's Messages API takes 0 to "
            "1. Set temperature= to 1 or less, or choose another serving=."
        )
        assert provider.requests == []

    def test_a_model_without_temperatures_has_none_that_is_too_high(self) -> None:
        """The warning says what becomes of it."""
        with Provider() as provider, pytest.warns(UserWarning, match="without the recipe's temperature of 1.5"):
            (response,) = asked(opened("anthropic", provider), request(NEW, temperature=1.5))
        assert response.finish == "stop"

    @pytest.mark.parametrize("words", ["temperature: range: 0..0.5", "temperature: Input should be less than 0.5"])
    def test_a_server_with_a_shorter_scale_is_quoted(self, words: str) -> None:
        """It takes temperatures, so none is left out."""
        with Provider(lambda call: Reply.error(400, words)) as provider:
            (error,) = asked(opened("anthropic", provider), request())
        assert words in str(error)
        assert len(provider.requests) == 1


@pytest.mark.parametrize("url", ["http://h/accounts/@cf/v1", "https://h:8000/@a/v1"])
def test_an_address_may_have_an_at_sign_in_its_path(url: str) -> None:
    """Only before the host it ends a user's name."""
    assert checked_url(url) == url


@pytest.mark.parametrize("url", ["me:hunter2@h", "http://me:hunt/er2@h/v1", "http://me@h/@cf/v1", "//me:hunter2@h"])
def test_a_password_in_an_address_is_never_shown(url: str) -> None:
    """Not even in an invalid address."""
    with pytest.raises(RecipeError, match="must not have a user name or password") as seen:
        checked_url(url)
    assert "hunt" not in str(seen.value)
