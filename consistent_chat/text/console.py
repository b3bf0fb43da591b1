"""The terminal: everything that this package prints passes through here, and cannot send commands to the terminal.

`say`, `tell` and `tell_lines` print, `log_to_stderr` shows log lines, `screen` and `shown` are for tables and
dialogues, `for_bar` is for the text of progress bars, and `guard` takes what others print: log lines of libraries,
warnings, tracebacks. It turns off the bars of the Hub's client, which show names of strangers' files as they are. What
comes from files, servers and models is made visible: escapes, controls, overrides of direction.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import sys
import traceback
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from consistent_chat.text.sanitize import sanitize, sanitize_line

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

WIDTH = 100
"""The maximum width of output in columns, also used when the output is a file or a pipe."""
NO_BARS = "HF_DATASETS_DISABLE_PROGRESS_BARS"
"""The variable of `datasets`, read when it is imported."""
NO_HUB_BARS = "HF_HUB_DISABLE_PROGRESS_BARS"
"""The same variable of the Hub's client."""
_LOGGER = logging.getLogger("consistent_chat")
_is_quiet = False
_has_lines_only = False


def complain(text: object) -> None:
    """Print an error to the standard error, as one line."""
    _print(sanitize_line(str(text)), sys.stderr)


def say(text: object) -> None:
    """Print a status message to the standard error, as one line, unless the command is quiet."""
    if not _is_quiet:
        complain(text)


def tell(text: object) -> None:
    """Print a result to the standard output, as one line."""
    _print(sanitize_line(str(text)), sys.stdout)


def tell_lines(text: str) -> None:
    """Print a text of this package to the standard output, with its line breaks."""
    _print(sanitize(text), sys.stdout)


def for_bar(text: str, width: int = WIDTH) -> str:
    """Return a text for a progress bar: one line, cut between words if it is too long."""
    line = sanitize_line(text)
    return line if len(line) <= width else line[: width - 3].rsplit(" ", 1)[0] + "..."


def screen() -> Console:
    """Return a console for the standard output. Characters that its encoding lacks are printed as escapes."""
    from rich.console import Console
    from rich.segment import Segment

    class Screen(Console):
        """Prints only visible text, including in tables and rules."""

        def render(self, renderable: Any, options: Any = None) -> Iterator[Segment]:
            """Yield what is printed."""
            for segment in super().render(renderable, options):
                yield segment if segment.control else Segment(sanitize(segment.text), segment.style)

    _tolerate(sys.stdout)
    width = shutil.get_terminal_size((WIDTH, 24)).columns
    return Screen(width=min(width, WIDTH), markup=False, highlight=False, emoji=False)


def shown(text: str, lines: bool = False) -> Text:
    """Return a text without control characters and overrides of direction, on one line unless it may have `lines`."""
    from rich.text import Text

    return Text(sanitize(text) if lines else sanitize_line(text))


def log_to_stderr(verbose: bool = False) -> None:
    """Show the log lines of this package: warnings, and with `verbose` all others. A second call changes the level."""
    if not any(isinstance(handler, _Lines) for handler in _LOGGER.handlers):
        _LOGGER.addHandler(_Lines())
    _LOGGER.setLevel(logging.INFO if verbose else logging.WARNING)


@contextlib.contextmanager
def guard() -> Iterator[None]:
    """Make safe to show what libraries log, all warnings and, from then on, tracebacks of this package's errors."""
    create, form = logging.getLogRecordFactory(), warnings.formatwarning

    def visible_record(*args: Any, **given: Any) -> logging.LogRecord:
        record = create(*args, **given)
        with contextlib.suppress(Exception):  # a message that does not match its arguments: its handler reports it
            record.msg, record.args = sanitize_line(record.getMessage()), ()
        if record.exc_info:
            record.exc_text = _traceback(*record.exc_info)
        return record

    def visible_warning(message: Any, *_: Any, **__: Any) -> str:
        return f"Warning: {sanitize_line(str(message))}\n"

    logging.setLogRecordFactory(visible_record)
    warnings.formatwarning = visible_warning
    sys.excepthook = _print_traceback
    try:
        with _without_hub_bars():
            yield
    finally:
        logging.setLogRecordFactory(create)
        warnings.formatwarning = form


@contextlib.contextmanager
def _without_hub_bars() -> Iterator[None]:
    """Show no bars of the Hub's client, whether it is imported already or later."""
    before, loaded = os.environ.get(NO_HUB_BARS), sys.modules.get("huggingface_hub.utils")
    os.environ[NO_HUB_BARS] = "1"
    had_bars = loaded is not None and before is None and not loaded.are_progress_bars_disabled()
    if loaded is not None and had_bars:
        loaded.disable_progress_bars()
    try:
        yield
    finally:
        os.environ.pop(NO_HUB_BARS)
        if before is not None:
            os.environ[NO_HUB_BARS] = before
        if loaded is not None and had_bars:
            loaded.enable_progress_bars()


def _print_traceback(*error: Any) -> None:
    _print(_traceback(*error), sys.stderr)


def _traceback(*error: Any) -> str:
    """Return a traceback whose lines are all indented, so that no line of it looks like another message."""
    return "\n".join(f"  {line}" for line in sanitize("".join(traceback.format_exception(*error))).splitlines())


def lines_only() -> bool:
    """Return whether progress is printed as lines, because the standard error of a command is not a terminal."""
    return _has_lines_only and not _is_quiet


@contextlib.contextmanager
def lines_instead_of_bars() -> Iterator[None]:
    """Show no bars, which would fill a log with carriage returns; long operations print their progress as lines."""
    global _has_lines_only
    before, _has_lines_only = _has_lines_only, True
    try:
        with _no_bars():
            yield
    finally:
        _has_lines_only = before


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Show only errors: no progress bars, warnings or status messages."""
    global _is_quiet
    before, _is_quiet = _is_quiet, True
    level = _LOGGER.level
    _LOGGER.setLevel(logging.ERROR)
    try:
        with _no_bars():
            yield
    finally:
        _LOGGER.setLevel(level)
        _is_quiet = before


@contextlib.contextmanager
def _no_bars() -> Iterator[None]:
    """Hide the bars of `datasets`, whether it is imported already or later."""
    before, loaded = os.environ.get(NO_BARS), sys.modules.get("datasets")
    os.environ[NO_BARS] = "1"
    had_bars = loaded is not None and loaded.is_progress_bar_enabled()
    try:
        with _without_bars(loaded if had_bars else None):
            yield
    finally:
        os.environ.pop(NO_BARS)
        if before is not None:
            os.environ[NO_BARS] = before


@contextlib.contextmanager
def _without_bars(loaded: Any) -> Iterator[None]:
    """Hide the bars of `datasets` if it is imported already."""
    if loaded is None:
        yield
        return
    loaded.disable_progress_bars()
    try:
        yield
    finally:
        loaded.enable_progress_bars()


class _Lines(logging.Handler):
    """Writes each record as one visible line, above the bars that are shown."""

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(OSError, ValueError):  # a closed standard error
            complain(record.getMessage())


def _print(text: str, stream: Any) -> None:
    """Print a text above the progress bars."""
    _tolerate(stream)
    with _room(stream):
        print(text, file=stream, flush=True)


def _room(stream: Any) -> contextlib.AbstractContextManager[Any]:
    tqdm = getattr(sys.modules.get("tqdm"), "tqdm", None)
    return contextlib.nullcontext() if tqdm is None else tqdm.external_write_mode(file=stream)


def _tolerate(stream: Any) -> None:
    """Print characters that the encoding of a stream lacks as escapes."""
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="backslashreplace")
