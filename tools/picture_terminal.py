"""Makes docs/terminal.svg from a real run of the demo: `python -m tools.picture_terminal`.

The commands run in this process, in a folder of their own; the same output gives the same bytes. A test compares the
text with that of the present code. The picture asks for no font of another host, as rich's own would.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

from consistent_chat.cli import main as run

PICTURE = Path(__file__).absolute().parent.parent / "docs" / "terminal.svg"
WIDTH = 92
COMMANDS = ("consistent-chat preview demo -n 1", "consistent-chat build demo --output demo.parquet")
SHOWN = 26
"""Lines of an output that are shown; what follows, but for its last lines, is left out."""
LAST = 2


def session() -> str:
    """Return the SVG of a terminal in which the commands were run."""
    os.environ.update(FORCE_COLOR="1", COLUMNS=str(WIDTH))
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    for command in COMMANDS:
        console.print(Text.assemble(("$ ", "bold green"), (command, "bold")))
        lines = [line.rstrip() for line in _output(command).splitlines()]
        if len(lines) > SHOWN + LAST:
            lines = [*lines[:SHOWN], "[...]", *lines[-LAST:]]
        for line in lines:
            console.print(Text.from_ansi(line))
    return _without_fonts(console.export_svg(title="consistent-chat", unique_id="terminal"))


def _output(command: str) -> str:
    """Run a command here, and return what stays on a terminal: bars go, and the last line of a build stays."""
    printed, told = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(told):
        if run(shlex.split(command)[1:]):
            raise SystemExit(f"{command} failed: {told.getvalue()}")
    return printed.getvalue() or told.getvalue().splitlines()[-1]


def _without_fonts(svg: str) -> str:
    """Remove the fonts that are fetched from elsewhere; a reader's own monospaced font is used."""
    return re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL).replace("Fira Code", "DejaVu Sans Mono")


def main() -> None:
    """Write the picture."""
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        os.environ["HF_DATASETS_CACHE"] = folder  # read when `datasets` is imported, which the commands do
        PICTURE.write_text(session(), "utf-8")


if __name__ == "__main__":
    main()
