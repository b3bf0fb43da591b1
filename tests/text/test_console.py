"""Tests of the console, which captures what libraries print and shows it as visible lines."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Callable

import pytest

from consistent_chat.errors import ConsistentChatError, TransportError
from consistent_chat.text.console import NO_HUB_BARS, for_bar, guard, log_to_stderr
from consistent_chat.text.sanitize import sanitize
from tests.cli.test_terminal import HOSTILE, JOINED, Captured, assert_visible


def test_what_libraries_log_and_warn_of_is_shown(capfd: Captured) -> None:
    """Logs and warnings of libraries and the traceback of an unexpected error are shown as visible text."""
    log_to_stderr()
    other = logging.getLogger("a.library")
    other.addHandler(handler := logging.StreamHandler())
    with guard(), warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings._showwarnmsg_impl(warnings.WarningMessage(HOSTILE, UserWarning, HOSTILE, 1))  # type: ignore[attr-defined]
        other.warning("%s", HOSTILE)
        logging.getLogger("consistent_chat.store").warning(HOSTILE.replace("%", ""))
        try:
            raise ValueError(HOSTILE)
        except ValueError:
            other.exception("failed")
            sys.excepthook(*sys.exc_info())
    other.removeHandler(handler)
    sys.excepthook = sys.__excepthook__
    said = assert_visible(capfd)
    assert "ValueError" in said


@pytest.mark.parametrize("kind", [ConsistentChatError, TransportError])
def test_an_error_is_one_visible_line(kind: Callable[[str], Exception]) -> None:
    """The text of an error is one line of visible characters, also where Python prints it."""
    assert str(kind(HOSTILE)).isprintable()


def test_a_bars_text_is_one_visible_line() -> None:
    """The text of a progress bar is one line of visible characters, however long it is."""
    assert for_bar(HOSTILE * 10).isprintable()


def test_bars_of_the_hubs_client_are_not_shown(capfd: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    """Progress bars of the Hub's client are hidden during a command, because they show file names unchanged.

    After the command, the bars are enabled as before, whether or not the client had been imported.
    """
    from huggingface_hub.utils import are_progress_bars_disabled
    from huggingface_hub.utils import tqdm as hub_bar

    monkeypatch.delenv(NO_HUB_BARS, raising=False)
    with guard(), hub_bar(desc=HOSTILE, total=2) as bar:
        assert os.environ[NO_HUB_BARS] == "1"
        bar.update()
    assert capfd.readouterr() == ("", "")
    assert NO_HUB_BARS not in os.environ
    assert not are_progress_bars_disabled()


def test_joiners_that_scripts_need_stay() -> None:
    """Zero-width characters are kept where Hindi, Persian, Khmer and emoji need them, and replaced elsewhere."""
    texts = ("\u0915\u094d\u200d\u0937", "\u0645\u06cc\u200c\u062e", "\u1797\u17b6\u200b\u1781", JOINED)
    assert [sanitize(text) for text in texts] == [*texts]
    assert sanitize("pay\u200bpal, a\u200d") == "pay\ufffdpal, a\ufffd"
