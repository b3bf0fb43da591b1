"""Writes docs/commands.md, the reference of the command line, from the commands themselves.

Run `python -m tools.commands_page` after a change of a command; a test compares the page with the code.
"""

from __future__ import annotations

import re
from pathlib import Path

import click

from consistent_chat.cli import all_commands
from consistent_chat.cli.group import SECTIONS, Command
from consistent_chat.recipe.description import OPERATIONAL, RECIPE

PAGE = Path(__file__).absolute().parent.parent / "docs" / "commands.md"
HEAD = """# Commands

`RECIPE` is a recipe file, `demo`, or another [config](recipes.md). Each field of a recipe is also an option, with its
name in kebab case: `num_turns_per_dialog` is `--num-turns-per-dialog`. An option overrides the file. All commands take
`--help` and `--quiet`, which shows only errors.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 stopped by `--max-calls` or `--max-cost`, 130 stopped by Ctrl-C, SIGTERM
or SIGHUP with all answers kept.
"""
FIELDS = {
    "all fields of a recipe": ({field.name for field in RECIPE}, "recipes.md#fields"),
    "all operational fields": ({field.name for field in OPERATIONAL}, "recipes.md#operational-fields"),
}


def page() -> str:
    """Return the text of the page."""
    return "\n".join([HEAD, *(_section(name, command) for name, command in all_commands().commands.items())])


def _section(name: str, command: click.Command) -> str:
    context = click.Context(command, info_name=f"consistent-chat {name}")
    arguments = [param for param in command.params if isinstance(param, click.Argument)]
    usage = " ".join(["consistent-chat", name, *(_argument(argument) for argument in arguments), "[OPTIONS]"])
    paragraphs = [" ".join(part.split()) for part in str(command.help).split("\n\n")]
    parts = [f"## {name}", f"```text\n{usage}\n```", *map(_literal, paragraphs), _options(command), _fields(command)]
    if isinstance(command, Command) and command.examples:
        lines = "\n".join(f"$ {line}" for line in command.examples.splitlines())
        parts.append(f"```console\n{lines}\n```")
    context.close()
    return "\n\n".join(filter(None, parts)) + "\n"


def _argument(argument: click.Argument) -> str:
    shown = argument.metavar or str(argument.name).upper()
    return shown if argument.required or shown.startswith("[") else f"[{shown}]"


def _options(command: click.Command) -> str:
    """Return a table of the options that are no fields."""
    own = [
        param
        for param in command.params
        if isinstance(param, click.Option) and param.name not in SECTIONS and param.name != "quiet"
    ]
    rows = [f"| {_names(option)} | {_literal(str(option.help))} |" for option in own]
    return "\n".join(["| option | |", "|---|---|", *rows]) if rows else ""


def _names(option: click.Option) -> str:
    value = "" if option.is_flag else f" {option.metavar or _kind(option)}"
    return ", ".join(f"`{name}{value}`" for name in (*option.opts, *option.secondary_opts))


def _kind(option: click.Option) -> str:
    if isinstance(option.type, click.Choice):
        return " or ".join(map(str, option.type.choices))
    return option.type.name.upper().replace(" RANGE", "")


def _fields(command: click.Command) -> str:
    """Say which fields are options: all of a kind, or by name."""
    taken = {str(param.name) for param in command.params}
    whole = [f"[{text}]({link})" for text, (names, link) in FIELDS.items() if names <= taken]
    covered = {name for names, _ in FIELDS.values() if names <= taken for name in names}
    single = [f"`--{name.replace('_', '-')}`" for name in SECTIONS if name in taken - covered]
    listed = [*whole, *single]
    return f"Takes as options: {', '.join(listed)}." if listed else ""


def _literal(text: str) -> str:
    """Return text in which options and placeholders are code, and no bar ends a cell."""
    text = re.sub(r"(?<![\w`-])(--[a-z][\w-]*)", r"`\1`", " ".join(text.split()))
    return text.replace("|", "\\|").replace("*", "\\*").replace("<", "&lt;")


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
