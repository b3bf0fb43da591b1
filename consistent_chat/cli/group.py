"""The command `consistent-chat` itself: lists its commands by section, and suggests the nearest for a mistyped one."""

from __future__ import annotations

import contextlib
import difflib
import functools
import os
import sys
from typing import Any

import click

from consistent_chat.recipe.description import OPERATIONAL, RECIPE
from consistent_chat.version import __version__

TITLES = {"Options": (), "What to make (each overrides the recipe file)": RECIPE, "How to make it": OPERATIONAL}
SECTIONS = {described.name: title for title, fields in TITLES.items() for described in fields}
"""The section of a command's help in which each field is listed."""


class Commands(click.Group):
    """A group that lists its commands by section, in the order of definition."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands as they are defined, which is the order in which they are used."""
        return list(self.commands)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find a command. Raises UsageError, which suggests the nearest name, for an unknown command."""
        if args[0] not in self.commands and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], self.commands, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else f"Use one of: {', '.join(self.commands)}."
            raise click.UsageError(f"There is no command {args[0]!r}. {hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands of each section under its title."""
        width = max(map(len, self.commands))
        sections: dict[str, list[tuple[str, str]]] = {}
        for name, command in self.commands.items():
            title = getattr(command, "section", "Commands")
            sections.setdefault(title, []).append((name.ljust(width), command.get_short_help_str(80)))
        for title, rows in sections.items():
            with formatter.section(title):
                formatter.write_dl(rows)


class Command(click.Command):
    """A command of a section. Its options may take several values in a row, as in `--intents one two`."""

    def __init__(self, *args: Any, section: str = "Commands", examples: str = "", **given: Any) -> None:
        super().__init__(*args, **given)
        self.section, self.examples = section, examples
        self.params.append(
            click.Option(["-q", "--quiet"], is_flag=True, expose_value=False, help="Show only errors.", callback=_quiet)
        )

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Repeat the name of an option with several values before each value, as click expects."""
        several = {name for option in self.params if getattr(option, "takes_several", False) for name in option.opts}
        return super().parse_args(ctx, _spread(args, several))

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command, without progress bars if it is quiet. A closed output, as with `head`, is not an error."""
        from consistent_chat.text.console import quiet

        with quiet() if ctx.meta.get("quiet") else contextlib.nullcontext():
            try:
                return super().invoke(ctx)
            except BrokenPipeError:  # the reader of the output has stopped reading, as `head` does
                _discard_output()
        return None

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the command's own options, then the recipe's fields, then the operational ones."""
        sections: dict[str, list[tuple[str, str]]] = {title: [] for title in TITLES}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None:
                sections[SECTIONS.get(str(param.name), "Options")].append(record)
        for title, rows in sections.items():
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples, one per line."""
        if self.examples:
            with formatter.section("Examples"):
                for line in self.examples.splitlines():
                    formatter.write(f"{'':{formatter.current_indent}}{line}\n")


def _discard_output() -> None:
    """Discard the buffer of the standard output, which would otherwise cause an error message at exit."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _quiet(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    ctx.meta["quiet"] = value


def _spread(args: list[str], several: set[str]) -> list[str]:
    spread: list[str] = []
    name = ""
    for number, arg in enumerate(args):
        if arg == "--":
            return [*spread, *args[number:]]
        if arg in several:
            name, first = arg, True
            continue
        if name and (not arg.startswith("-") or arg == "-"):
            spread += [name, arg]
            first = False
            continue
        if name and first:
            spread.append(name)  # no value: click reports it
        name = ""
        spread.append(arg)
    return [*spread, name] if name and first else spread


MAKE, SHOW, SHARE, KEEP = "Make a dataset", "Look at it", "Share it", "Response stores"


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="consistent-chat", message="%(prog)s %(version)s")
def cli() -> None:
    """Make consistent multi-turn dialogues.

    RECIPE is a recipe file or "demo"; its fields can also be given as options. Exit codes: 0 done, 1 failed, 2 wrong
    usage, 3 stopped by --max-calls or --max-cost, 130 stopped by Ctrl-C, SIGTERM or SIGHUP with all answers kept.
    """


command = functools.partial(cli.command, cls=Command)
