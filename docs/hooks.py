"""Build the pages made of what lies outside docs/: the command reference, CONTRIBUTING.md."""

import re
from enum import EnumType
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from mkdocs.structure.files import File, Files

from ledcli.cli.app import COMMANDS, load_command

INTRODUCTION = """# Commands

Every command has `--help`, and `--json` for scripts: one object per result on standard output,
everything for people on standard error. `LED_DEBUG=1` shows the trace of an error, `LED_HOME` moves
the folder of installed models, led.toml and the cache, and `NO_COLOR` turns colours off.

| exit status | meaning |
| --- | --- |
| 0 | all done |
| 1 | some inputs failed, the others are done; or the work failed (no space, a damaged model) |
| 2 | wrong usage; nothing was done |
| 130 | interrupted by Ctrl-C |
"""


def on_files(files: Files, config: object) -> Files:
    """Add `commands.md`, written from the commands themselves, and `contributing.md`."""
    text = INTRODUCTION + "".join(section(f"led {c.name}", load_command(c.name)) for c in COMMANDS)
    files.append(File.generated(config, "commands.md", content=text))
    text = (
        (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text("utf-8").replace("](docs/", "](")
    )
    files.append(File.generated(config, "contributing.md", content=text))
    return files


def section(path: str, command: Any, depth: int = 2) -> str:
    """Write one command, and the commands in it if it is a group."""
    verbs = getattr(command, "commands", {})
    lines = [f"\n{'#' * depth} {path}\n", help_of(command)]
    if not verbs:
        rows = [row(each) for each in command.params if getattr(each, "help", None)]
        lines += ["\n| option | meaning | default |", "| --- | --- | --- |", *rows]
    text = "\n".join(lines) + "\n"
    return text + "".join(section(f"{path} {n}", v, depth + 1) for n, v in verbs.items())


def help_of(command: Any) -> str:
    """Return the help of a command as Markdown; indented examples are code already."""
    text = plain(command.help or "")
    return re.sub(r"^Examples$", "**Examples**", text, flags=re.MULTILINE)


def row(parameter: Any) -> str:
    """Write one option or argument as a row of a table."""
    metavar = parameter.metavar or "|".join(choices(parameter))
    options = [name for name in parameter.opts if name.startswith("-")]
    if options:
        options[0] = f"{options[0]} {metavar}".strip()
    names = ", ".join(f"`{name}`" for name in options or [metavar or parameter.name.upper()])
    return f"| {names} | {cell(parameter.help)} | {default(parameter)} |".replace("\n", " ")


def choices(parameter: Any) -> list[str]:
    """Return the values that an option accepts; nothing if they are not a list."""
    annotation = parameter.type_descriptor.annotation
    if isinstance(annotation, EnumType):
        return [each.value for each in annotation]
    return list(get_args(annotation)) if get_origin(annotation) is Literal else []


def default(parameter: Any) -> str:
    """Return the default of an option as `--help` shows it; nothing for a flag."""
    if isinstance(parameter.show_default, str):
        return cell(parameter.show_default)
    value = getattr(parameter.default, "value", parameter.default)
    if value is None or value is False or value == ... or callable(value):
        return ""
    return f"`{value}`"


def plain(text: str) -> str:
    """Undo the escapes that keep rich from reading square brackets as markup."""
    return text.replace("\\[", "[")


def cell(text: str) -> str:
    """Write help in a table, commands and options as code: a line must not break inside of one."""
    code = r"'(led [^']+)'|(?<!\S)(--[a-z-]+)"
    return re.sub(code, lambda found: f"`{found[1] or found[2]}`", plain(text))
