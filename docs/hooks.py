"""Build the pages that follow from the code: the command reference."""

import re
from typing import Any

from mkdocs.structure.files import File, Files

from ledcli.cli.app import COMMANDS, _load

INTRODUCTION = """# Commands

Every command has `--help`, and `--json` for scripts: one object per result on standard output,
everything for people on standard error. Exit status: 0 all done, 1 some inputs failed (the rest
are done), 2 bad usage, 130 interrupted. `LED_DEBUG=1` shows the trace of an error, `LED_HOME` moves
the folder of installed models, and `NO_COLOR` turns colours off.
"""


def on_files(files: Files, config: object) -> Files:
    """Add `commands.md`, written from the commands themselves."""
    text = INTRODUCTION + "".join(section(f"led {c.name}", _load(c.name)) for c in COMMANDS)
    files.append(File.generated(config, "commands.md", content=text))
    return files


def section(path: str, command: Any, depth: int = 2) -> str:
    """Write one command, and the commands in it if it is a group."""
    verbs = getattr(command, "commands", {})
    lines = [f"\n{'#' * depth} {path}\n", *help_of(command)]
    options = [row(each) for each in command.params if getattr(each, "help", None)]
    if options and not verbs:
        lines += ["\n| option | meaning | default |", "| --- | --- | --- |", *options]
    text = "\n".join(lines) + "\n"
    return text + "".join(section(f"{path} {n}", v, depth + 1) for n, v in verbs.items())


def help_of(command: Any) -> list[str]:
    """Return the help of a command as Markdown; indented examples are code already."""
    text = plain(command.help or "")
    return [re.sub(r"^Examples$", "**Examples**", text, flags=re.MULTILINE)]


def row(parameter: Any) -> str:
    """Write one option as a row of a table."""
    names = ", ".join(f"`{name}`" for name in parameter.opts if name.startswith("-"))
    names = names or f"`{parameter.human_readable_name}`"
    shown = parameter.show_default
    default = shown if isinstance(shown, str) else parameter.default
    if default is None or default is False or callable(default) or default == ...:
        default = ""
    default = getattr(default, "value", default)
    return f"| {names} | {plain(parameter.help)} | {default} |".replace("\n", " ")


def plain(text: str) -> str:
    """Undo the escapes that keep rich from reading square brackets as markup."""
    return text.replace("\\[", "[")
